"""Polynomials of a magnetisation direction and a drive, without those that say the same twice."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement

import jax.numpy as jnp
import numpy as np

SPHERE = 3
"""A state of three components is a magnetisation: it lives on a sphere."""
MANY = 256
"""Points from which on monomials are built up from lower ones."""


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


def monomials(x: jnp.ndarray, powers: np.ndarray) -> jnp.ndarray:
    """Evaluate monomials.

    Few points are looked up in tables of powers, which compiles in half the time; for many, each monomial is made
    of one of a lower degree, which runs four times as fast.

    Parameters
    ----------
    x : (..., n_features) array
    powers : (n_monomials, n_features) int ndarray

    Returns
    -------
    values : (..., n_monomials) array
    """
    return _looked_up(x, powers) if x.size < MANY * x.shape[-1] else _built_up(x, powers)


def _looked_up(x: jnp.ndarray, powers: np.ndarray) -> jnp.ndarray:
    table = [jnp.ones_like(x)]
    for _ in range(int(powers.max(initial=0))):
        table.append(table[-1] * x)
    stacked = jnp.stack(table, axis=-1)
    value = stacked[..., 0, powers[:, 0]]
    for column in range(1, powers.shape[1]):
        value = value * stacked[..., column, powers[:, column]]
    return value


def _built_up(x: jnp.ndarray, powers: np.ndarray) -> jnp.ndarray:
    columns = [x[..., column] for column in range(x.shape[-1])]
    one = (0,) * len(columns)
    known = {one: jnp.ones_like(columns[0])} if columns else {}

    def value(row: tuple[int, ...]) -> jnp.ndarray:
        if row not in known:
            steps = [(*row[:c], row[c] - 1, *row[c + 1 :]) for c in range(len(row)) if row[c]]
            lower = next((step for step in steps if step in known), steps[0])
            changed = next(c for c in range(len(row)) if lower[c] != row[c])
            known[row] = columns[changed] if lower == one else value(lower) * columns[changed]
        return known[row]

    return jnp.moveaxis(jnp.stack([value(tuple(row)) for row in powers.tolist()]), 0, -1)
