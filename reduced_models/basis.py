"""Polynomials of a magnetisation direction and a drive, without those that say the same twice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import jax.numpy as jnp
import numpy as np

SPHERE = 3
"""A state of three components is a magnetisation: it lives on a sphere."""


def length_of(m: Any) -> Any:
    """Lengths of vectors (n, 3) as a column, (n, 1); of a zero vector, something to divide by and to differentiate."""
    squared = (m**2).sum(axis=1, keepdims=True)
    if isinstance(squared, np.ndarray):
        return (squared + 1e-300) ** 0.5
    return jnp.sqrt(squared + 1e-300)  # to XLA, a power is ten times a root


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


def monomials(x: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Evaluate monomials, to regress on them.

    Parameters
    ----------
    x : (..., n_features) ndarray
    powers : (n_monomials, n_features) int ndarray

    Returns
    -------
    values : (..., n_monomials) ndarray
    """
    columns = np.moveaxis(x, -1, 0)
    table = [columns**0]
    for _ in range(int(powers.max(initial=0))):
        table.append(table[-1] * columns)
    values = np.ones((len(powers), *x.shape[:-1]))
    for value, row in zip(values, powers, strict=True):
        for column in np.flatnonzero(row):
            value *= table[row[column]][column]
    return np.moveaxis(values, 0, -1)


def polynomial(x: Any, powers: Sequence[Sequence[int]], coef: Any, intercept: Any) -> Any:
    """Evaluate a polynomial at points, by :func:`polynomial_of_columns`.

    Parameters
    ----------
    x : (..., n_features) array
    powers : (n_monomials, n_features) sequence of int
    coef : (n_outputs, n_monomials) array
    intercept : (n_outputs,) array

    Returns
    -------
    y : (..., n_outputs) array

    Examples
    --------
    >>> polynomial(jnp.array([[2.0, 3.0]]), [(1, 1), (0, 2)], jnp.array([[10.0, 1.0]]), jnp.array([0.5])).tolist()
    [[69.5]]
    """
    columns = jnp.moveaxis(x, -1, 0)
    y = polynomial_of_columns(columns.reshape(len(columns), -1), powers, coef, intercept)
    return jnp.moveaxis(y.reshape(len(coef), *columns.shape[1:]), 0, -1)


def polynomial_of_columns(columns: Any, powers: Sequence[Sequence[int]], coef: Any, intercept: Any) -> Any:
    """Evaluate a polynomial by Horner's scheme, in one column after the other: what nodes advance by.

    XLA makes one loop of it over points that lie side by side in memory, so that no monomial is ever stored and a
    processor takes several points at a time.

    Parameters
    ----------
    columns : (n_features, n) array, or as many (n,) arrays
        the features of n points
    powers : (n_monomials, n_features) sequence of int
    coef : (n_outputs, n_monomials) or (n_outputs, n_monomials, n) array
        of all points, or of each
    intercept : (n_outputs,) or (n_outputs, n) array

    Returns
    -------
    y : (n_outputs, n) array

    Examples
    --------
    >>> x = jnp.array([[2.0, 1.0], [3.0, 1.0]])
    >>> polynomial_of_columns(x, [(1, 1), (0, 2)], jnp.array([[10.0, 1.0]]), jnp.array([0.5])).tolist()
    [[69.5, 11.5]]
    """
    if coef.ndim == 2:
        coef, intercept = coef[..., None], intercept[..., None]

    def part(term: int) -> Any:
        """What a term is multiplied by; the first is the constant."""
        return coef[:, term - 1] if term else intercept

    def sum_of(terms: list[int], column: int) -> Any:
        """Terms as a polynomial of this column and those after it."""
        if column == len(columns):
            return sum((part(term) for term in terms[1:]), part(terms[0]))
        by_power: dict[int, list[int]] = {}
        for term in terms:
            by_power.setdefault(powers[term - 1][column] if term else 0, []).append(term)
        value = None
        for power in range(max(by_power), -1, -1):
            value = None if value is None else value * columns[column]
            if power in by_power:
                found = sum_of(by_power[power], column + 1)
                value = found if value is None else value + found
        return value

    value = sum_of(list(range(len(powers) + 1)), 0)
    return jnp.broadcast_to(value, (len(coef), *jnp.shape(columns[0])))
