"""Polynomials of a magnetisation direction and a drive, without those that say the same twice."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import jax.numpy as jnp
import numpy as np

SPHERE = 3
"""A state of three components is a magnetisation: it lives on a sphere."""
MANY = 4096
"""Points times columns squared from which on monomials are built up from lower ones, by measurement."""


@cache
def exponents(n_features: int, degree: int, sphere_axis: int | None = None) -> np.ndarray:
    """Exponents of all monomials up to a total degree.

    On the unit sphere one squared component is 1 minus the two others, so every polynomial
    can be written with that component at most once. Leaving the others out makes the
    regression well conditioned; it changes nothing in what can be expressed.

    Parameters
    ----------
    n_features : int
    degree : int
    sphere_axis : int, optional
        the column whose exponent stays at most one

    Returns
    -------
    powers : (n_monomials, n_features) int ndarray
        the constant is left out

    Examples
    --------
    >>> len(exponents(4, 5)), len(exponents(4, 5, sphere_axis=1))
    (125, 90)
    """
    rows = []
    for total in range(1, degree + 1):
        for chosen in combinations_with_replacement(range(n_features), total):
            row = np.bincount(chosen, minlength=n_features)
            if sphere_axis is None or row[sphere_axis] <= 1:
                rows.append(row)
    return np.array(rows, dtype=int).reshape(-1, n_features)


def monomials(x: Any, powers: np.ndarray) -> Any:
    """Evaluate monomials: with NumPy those of a NumPy array, else with JAX.

    Few points are looked up in tables of powers, which costs a product for every column, and compiles in half the
    time; for many, and for many columns, those of each degree are made of those of the degree below.

    Parameters
    ----------
    x : (..., n_features) array
    powers : (n_monomials, n_features) int ndarray

    Returns
    -------
    values : (..., n_monomials) array
    """
    steps = None if x.size * x.shape[-1] < MANY else _steps(powers)
    return _looked_up(x, powers) if steps is None else _built_up(x, *steps)


def _looked_up(x: Any, powers: np.ndarray) -> Any:
    xp = _namespace(x)
    table = [xp.ones_like(x)]
    for _ in range(int(powers.max(initial=0))):
        table.append(table[-1] * x)
    stacked = xp.stack(table, axis=-1)
    value = stacked[..., 0, powers[:, 0]]
    for column in range(1, powers.shape[1]):
        value = value * stacked[..., column, powers[:, column]]
    return value


def _built_up(x: Any, steps: list[tuple[np.ndarray, np.ndarray]], order: np.ndarray) -> Any:
    xp = _namespace(x)
    columns = xp.moveaxis(x, -1, 0)
    level, levels = xp.ones_like(columns[:1]), []
    for lower, column in steps:
        level = level[lower] * columns[column]
        levels.append(level)
    values = xp.concatenate(levels)
    return xp.moveaxis(values if (np.diff(order) == 1).all() else values[order], 0, -1)


def _namespace(x: Any) -> Any:
    return np if isinstance(x, np.ndarray) else jnp


def _steps(powers: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray] | None:
    """For each degree, of which monomial of the degree below and which column each is the product.

    And where each of the powers is among the monomials in the order of their degree. None if the factors of one are
    not all among them.
    """
    total = powers.sum(axis=1)
    order = np.argsort(total, kind="stable")
    steps, below = [], {(0,) * powers.shape[1]: 0}
    for degree in range(1, int(total.max(initial=0)) + 1):
        rows = [tuple(row) for row in powers[order][total[order] == degree].tolist()]
        lowered = [[(below.get((*row[:c], row[c] - 1, *row[c + 1 :])), c) for c in range(len(row))] for row in rows]
        chosen = [next(((at, c) for at, c in each if at is not None), None) for each in lowered]
        if None in chosen or not chosen:
            return None
        steps.append((np.array([step[0] for step in chosen if step]), np.array([step[1] for step in chosen if step])))
        below = {row: at for at, row in enumerate(rows)}
    return (steps, np.argsort(order)) if steps and total.min() > 0 else None
