"""Monomials against numpy, and what the sphere lets us leave out."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from spinloom.reduced_models.basis import exponents, monomials


@pytest.mark.parametrize(("n", "degree"), [(1, 1), (2, 3), (4, 5), (4, 6)])
def test_number_and_degree(n, degree):
    powers = exponents(n, degree)
    assert len(powers) == comb(n + degree, n) - 1
    assert len(np.unique(powers, axis=0)) == len(powers)
    assert set(powers.sum(axis=1)) == set(range(1, degree + 1))


@pytest.mark.parametrize("rows", [50, 300])
def test_values_are_numpys(rows):
    x = np.random.default_rng(0).uniform(-2, 2, (rows, 4))
    powers = exponents(4, 5)
    np.testing.assert_allclose(monomials(x, powers), np.prod(x[:, None, :] ** powers, axis=-1), rtol=1e-12)


@pytest.mark.parametrize(
    "powers",
    [[[2, 0], [0, 3]], [[1, 1], [1, 0]], [[0, 0], [1, 0]], [[1, 0], [0, 3]], [[1, 0], [2, 0], [0, 1]]],
)
def test_any_set_of_monomials_can_be_evaluated(powers):
    """Files may name any: those whose factors are missing or come later, the constant, any order."""
    x = np.random.default_rng(3).uniform(-2, 2, (300, 2))
    np.testing.assert_allclose(monomials(x, np.array(powers)), np.prod(x[:, None, :] ** np.array(powers), axis=-1))


def test_leading_axes():
    x = np.random.default_rng(1).uniform(-1, 1, (3, 5, 4))
    powers = exponents(4, 3)
    np.testing.assert_allclose(monomials(x, powers)[2, 4], monomials(x[2, 4][None], powers)[0], rtol=1e-14)


def test_no_columns():
    assert exponents(2, 0).shape == (0, 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degree", [2, 3, 5])
def test_on_the_sphere_the_short_basis_spans_the_same(axis, degree):
    rng = np.random.default_rng(2)
    m = rng.standard_normal((800, 3))
    m /= np.linalg.norm(m, axis=1, keepdims=True)
    x = np.column_stack([m, rng.uniform(-1, 1, 800)])
    one = np.ones((800, 1))
    whole = np.hstack([one, monomials(x, exponents(4, degree))])
    short = np.hstack([one, monomials(x, exponents(4, degree, axis))])
    assert short.shape[1] < whole.shape[1]
    assert np.linalg.matrix_rank(short) == short.shape[1] == np.linalg.matrix_rank(whole)
    fitted = short @ np.linalg.lstsq(short, whole, rcond=None)[0]
    np.testing.assert_allclose(fitted, whole, atol=1e-9)
