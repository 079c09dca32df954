"""Monomials against numpy, and what the sphere lets us leave out."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from spinloom.reduced_models.basis import exponents, monomials, polynomial


@pytest.mark.parametrize(("n", "degree"), [(1, 1), (2, 3), (4, 5), (4, 6)])
def test_number_and_degree(n, degree):
    powers = exponents(n, degree)
    assert len(powers) == comb(n + degree, n) - 1
    assert len(np.unique(powers, axis=0)) == len(powers)
    assert set(powers.sum(axis=1)) == set(range(1, degree + 1))


def test_values_are_numpys():
    x = np.random.default_rng(0).uniform(-2, 2, (50, 4))
    powers = exponents(4, 5)
    np.testing.assert_allclose(monomials(x, powers), np.prod(x[:, None, :] ** powers, axis=-1), rtol=1e-12)


@pytest.mark.parametrize(
    "powers",
    [
        [[2, 0], [0, 3]],
        [[1, 1], [1, 0]],
        [[0, 0], [1, 0]],
        [[1, 0], [0, 3]],
        [[1, 0], [2, 0], [0, 1]],
        [[1, 0], [1, 0]],
        [[0, 9]],
        [],
    ],
)
def test_any_set_of_monomials_can_be_evaluated(powers):
    """Files may name any: those whose factors are missing or come later, the constant, one twice, none, any order."""
    rng = np.random.default_rng(3)
    x, powers = rng.uniform(-2, 2, (300, 2)), np.array(powers, dtype=int).reshape(-1, 2)
    coef, intercept = rng.standard_normal((3, len(powers))), rng.standard_normal(3)
    values = np.prod(x[:, None, :] ** powers, axis=-1)
    np.testing.assert_allclose(monomials(x, powers), values)
    np.testing.assert_allclose(polynomial(x, powers.tolist(), coef, intercept), values @ coef.T + intercept, atol=1e-12)


@pytest.mark.parametrize(("n", "degree"), [(1, 1), (4, 6), (12, 3)])
def test_a_polynomial_is_its_monomials_times_coefficients(n, degree):
    rng = np.random.default_rng(4)
    powers = exponents(n, degree)
    x = rng.uniform(-1, 1, (2, 5, n))
    coef, intercept = rng.standard_normal((2, len(powers))), rng.standard_normal(2)
    expected = monomials(x, powers) @ coef.T + intercept
    np.testing.assert_allclose(polynomial(x, powers.tolist(), coef, intercept), expected, rtol=1e-12, atol=1e-12)


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
