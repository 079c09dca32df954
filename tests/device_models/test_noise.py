"""Random streams of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, norm

from spinloom.device_models.noise import normals, stream


def drawn(n, draws, seed=0):
    now, numbers = stream(seed, n), []
    for _ in range(draws):
        now, more = now.draw(3)
        numbers.append(np.asarray(more))
    return np.stack(numbers)


def test_the_numbers_of_a_device_do_not_depend_on_how_many_others_there_are():
    few, many = drawn(2, 4), drawn(9, 4)
    np.testing.assert_array_equal(few, many[:, :2])


def test_devices_draws_and_seeds_differ_and_are_normal():
    numbers = drawn(40, 50)
    assert kstest(numbers.ravel().astype(float), "norm").pvalue > 0.01
    assert len(np.unique(numbers)) > 0.999 * numbers.size
    assert np.abs(np.corrcoef(numbers.reshape(-1, 3).T) - np.eye(3)).max() < 0.05
    assert np.abs((numbers[1:] * numbers[:-1]).mean()) < 0.05
    assert (drawn(40, 50, seed=1) != numbers).mean() > 0.999


def test_normal_numbers_have_the_moments_and_the_tails_of_a_normal_distribution():
    x = np.asarray(normals(jax.random.split(jax.random.PRNGKey(3), 4), (250, 400)))
    assert (x.shape, x.dtype) == ((4, 250, 400), np.float32)
    x = x.reshape(4, -1).astype(float)
    error = x.shape[1] ** -0.5
    assert np.abs(x.mean(axis=1)).max() < 4 * error
    assert np.abs(x.var(axis=1) - 1).max() < 4 * 2**0.5 * error
    assert np.abs((x**4).mean(axis=1) - 3).max() < 4 * 96**0.5 * error
    assert np.abs(np.corrcoef(x) - np.eye(4)).max() < 4 * error
    for sigmas in (1, 2, 3):
        share = norm.sf(sigmas)
        assert (x > sigmas).mean() == pytest.approx(share, abs=4 * (share / x.size) ** 0.5)
    assert 4 < np.abs(x).max() < 5.5


def test_normal_numbers_are_of_their_key_alone():
    keys = jax.random.split(jax.random.PRNGKey(0), 5)
    many = np.asarray(normals(keys, (7,)))
    np.testing.assert_array_equal(normals(keys[3:4], (7,))[0], many[3])
    assert len(np.unique(many)) == many.size


def test_the_largest_bits_and_the_smallest_give_finite_numbers(monkeypatch):
    for bits, sign in ((0, -1), (2**32 - 1, 1)):
        monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype, bits=bits: jnp.full(shape, bits, dtype))
        x = np.asarray(normals(jax.random.split(jax.random.PRNGKey(0), 1), (1,)))[0, 0]
        assert 5 < sign * x < 5.4
