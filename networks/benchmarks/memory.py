"""What states remember of an input: linear memory, parity, and the capacity to process information."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import eval_legendre
from scipy.stats import chi2

from spinloom.device_models.errors import SpinloomError

FALSE_SHARE = 1e-4
"""How likely a capacity of nothing is to reach half of the threshold."""
REACHES = {1: 100, 2: 40, 3: 16, 4: 10, 5: 7}
"""How many delays of the input, from 0, the products of each degree are made of."""
_BATCH = 512


def delayed(u: np.ndarray, delays: int) -> np.ndarray:
    """The input 0, 1, ... samples ago, (n, delays); zero before it began.

    Examples
    --------
    >>> delayed(np.array([1.0, 2.0, 3.0]), 2).tolist()
    [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]]
    """
    rows = np.zeros((len(u), delays))
    for k in range(min(delays, len(u))):
        rows[k:, k] = u[: len(u) - k]
    return rows


def parities(u: np.ndarray, delays: int) -> np.ndarray:
    """Products of binary inputs, u[t] u[t-1] ... u[t-k] for k = 1, 2, ..., delays: (n, delays).

    Source: Bertschinger and Natschlager, Neural Computation 16, 1413 (2004), doi:10.1162/089976604323057443.

    Examples
    --------
    >>> parities(np.array([1.0, -1.0, -1.0]), 1).ravel().tolist()
    [0.0, -1.0, 1.0]
    """
    return np.cumprod(delayed(u, delays + 1), axis=1)[:, 1:]


def capacities(y: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Squared correlation of each output with its target, (K,): 1 for what is known, about 1/n for what is not.

    Parameters
    ----------
    y, target : (n, K) ndarray
        on samples that nothing was fitted to

    Examples
    --------
    >>> target = np.array([[1.0], [2.0], [4.0]])
    >>> capacities(3 - 2 * target, target).tolist()
    [1.0]
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        y, target = y - y.mean(axis=0), target - target.mean(axis=0)
        found = (y * target).sum(axis=0) ** 2 / ((y**2).sum(axis=0) * (target**2).sum(axis=0))
    return np.where(np.isfinite(found), found, 0.0)


class Information(NamedTuple):
    """What becomes of an input in the states.

    Attributes
    ----------
    degrees : dict of int to float
        capacity of all products of each degree
    total : float
        of all degrees; at most the number of independent states
    threshold : float
        capacities below it are taken for none
    rank : int
        number of independent states
    """

    degrees: dict[int, float]
    total: float
    threshold: float
    rank: int


def information(x: np.ndarray, u: np.ndarray, washout: int, reaches: dict[int, int] | None = None) -> Information:
    r"""Information processing capacity, by degree.

    The targets are products of Legendre polynomials of delayed inputs, orthogonal for inputs uniform in [-1, 1]. The
    capacity of a target z is the share of its variance that the best linear read-out of the states explains,
    :math:`C = z^\top X (X^\top X)^{-1} X^\top z / z^\top z`. Of n samples and N states a target that has nothing
    to do with them gets :math:`\chi^2_N / n`; what is below twice the quantile that this reaches with a probability
    of 1e-4 counts as zero. Source: Dambre, Verstraeten, Schrauwen and Massar, Scientific Reports 2, 514 (2012),
    doi:10.1038/srep00514.

    Parameters
    ----------
    x : (n, N) ndarray
        states
    u : (n,) ndarray
        what drove them, uniform in [-1, 1]
    washout : int
        samples left out first; the longest delay at least
    reaches : dict of int to int, optional
        number of delays of each degree's products; :data:`REACHES` if not given

    Returns
    -------
    found : Information

    Raises
    ------
    SpinloomError
        for fewer than two samples for each state, or states that are not finite

    Examples
    --------
    >>> u = np.random.default_rng(0).uniform(-1, 1, 3000)
    >>> register = information(delayed(u, 4), u, 100, {1: 10, 2: 6})
    >>> register.degrees[1] > 3.99, register.degrees[2], register.rank
    (True, 0.0, 4)
    """
    reaches = REACHES if reaches is None else reaches
    longest = max(reaches.values()) - 1
    if washout < longest:
        raise SpinloomError(f"washout: expected the longest delay, {longest}, at least, got {washout}")
    kept = x[washout:]
    if len(kept) < 2 * kept.shape[1]:
        raise SpinloomError(f"states: expected at least two samples for each of {kept.shape[1]}, got {len(kept)}")
    if not np.isfinite(kept).all():
        raise SpinloomError("states: expected finite numbers")
    basis = _independent(kept)
    n, rank = basis.shape
    threshold = 2 * float(chi2.isf(FALSE_SHARE, max(rank, 1))) / n
    degrees = {}
    for degree, reach in reaches.items():
        found = np.concatenate([_explained(basis, z) for z in _products(u, degree, reach, washout)])
        degrees[degree] = float(found[found > threshold].sum())
    return Information(degrees, sum(degrees.values()), threshold, rank)


def _independent(x: np.ndarray) -> np.ndarray:
    """An orthonormal basis of centred states, (n, rank)."""
    centred = x - x.mean(axis=0)
    spread = centred.std(axis=0)
    q, s, _ = np.linalg.svd(centred / np.where(spread > 1e-12, spread, 1.0), full_matrices=False)
    return q[:, s > 1e-6 * max(s.max(initial=0.0), 1e-12)]


def _explained(basis: np.ndarray, z: np.ndarray) -> np.ndarray:
    z = z - z.mean(axis=0)
    return ((basis.T @ z) ** 2).sum(axis=0) / (z**2).sum(axis=0)


def _products(u: np.ndarray, degree: int, reach: int, washout: int) -> Iterator[np.ndarray]:
    """All products of one degree, some at a time, (n, some)."""
    rows = delayed(u, reach)[washout:]
    powers = {k: eval_legendre(k, rows) for k in range(1, degree + 1)}
    batch: list[np.ndarray] = []
    for parts in _partitions(degree):
        for delays in combinations(range(reach), len(parts)):
            batch.append(np.prod([powers[part][:, delay] for part, delay in zip(parts, delays, strict=True)], axis=0))
            if len(batch) == _BATCH:
                yield np.stack(batch, axis=1)
                batch = []
    if batch:
        yield np.stack(batch, axis=1)


def _partitions(degree: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a degree as an ordered sum of positive degrees.

    Examples
    --------
    >>> list(_partitions(3))
    [(3,), (1, 2), (1, 1, 1), (2, 1)]
    """
    yield (degree,)
    for first in range(1, degree):
        for rest in _partitions(degree - first):
            yield (first, *rest)
