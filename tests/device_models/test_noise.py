"""Random streams of devices."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from spinloom.device_models.noise import stream


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
