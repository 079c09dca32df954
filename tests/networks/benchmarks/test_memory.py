"""Capacities of states whose memory is known."""

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.benchmarks.memory import capacities, delayed, information, parities
from spinloom.networks.benchmarks.tasks import TASKS, WASHOUT, judged

REACHES = {1: 12, 2: 6, 3: 4}


def of_register(taps: int, task: str = "memory", nodes: int = 20) -> float:
    series = TASKS[task].series(nodes, 0)
    return judged(TASKS[task], delayed(series.u[:, 0], taps), series.target, (1e-9,))[0]


@pytest.mark.parametrize("taps", [1, 7, 20])
def test_a_register_of_n_taps_has_a_linear_memory_capacity_of_n(taps):
    assert of_register(taps) == pytest.approx(taps, abs=0.05)


def test_a_linear_register_knows_no_parity():
    assert of_register(20, "parity") < 0.05


def test_products_of_a_register_know_parity():
    series = TASKS["parity"].series(20, 0)
    x = np.cumprod(delayed(series.u[:, 0], 4), axis=1)
    assert judged(TASKS["parity"], x, series.target, (1e-9,))[0] == pytest.approx(3, abs=0.05)


def test_parities_are_products_of_binary_inputs():
    b = np.array([1.0, -1, -1, 1, -1])
    np.testing.assert_array_equal(parities(b, 2)[2:], [[1, 1], [-1, 1], [-1, 1]])


def test_a_capacity_is_a_squared_correlation():
    rng = np.random.default_rng(0)
    y, target = rng.standard_normal((2, 100, 3))
    expected = [np.corrcoef(y[:, k], target[:, k])[0, 1] ** 2 for k in range(3)]
    np.testing.assert_allclose(capacities(y, target), expected)
    assert capacities(np.zeros((5, 1)), target[:5, :1]).tolist() == [0.0]
    assert capacities(np.full((5, 1), np.inf), target[:5, :1]).tolist() == [0.0]


def test_information_of_a_linear_register_is_its_taps():
    u = np.random.default_rng(0).uniform(-1, 1, 4000)
    found = information(delayed(u, 10), u, WASHOUT, REACHES)
    assert found.rank == 10
    assert found.degrees[1] == pytest.approx(10, abs=1e-6)
    assert found.degrees[2] == found.degrees[3] == 0
    assert found.total == pytest.approx(10, abs=found.threshold)


def test_information_tells_degrees_apart():
    """Products of orthogonal polynomials as states: one linear, two of degree two, one of degree three."""
    u = np.random.default_rng(1).uniform(-1, 1, 6000)
    a, b = delayed(u, 2).T
    x = np.column_stack([b, a * b, 1.5 * a**2 - 0.5, b * (1.5 * a**2 - 0.5)])
    found = information(x, u, WASHOUT, REACHES)
    assert [found.degrees[k] for k in (1, 2, 3)] == pytest.approx([1, 2, 1], abs=0.05)


def test_information_of_noise_is_none():
    rng = np.random.default_rng(2)
    found = information(rng.standard_normal((4000, 30)), rng.uniform(-1, 1, 4000), WASHOUT, REACHES)
    assert found.total == 0
    assert 0.02 < found.threshold < 0.05


def test_states_that_repeat_others_add_nothing():
    u = np.random.default_rng(3).uniform(-1, 1, 2000)
    x = delayed(u, 3)
    twice = information(np.column_stack([x, x @ np.ones((3, 2)), np.ones(2000)]), u, WASHOUT, REACHES)
    assert twice.rank == 3
    assert twice.total == pytest.approx(3, abs=1e-6)


def test_what_cannot_be_judged_is_refused():
    u = np.random.default_rng(4).uniform(-1, 1, 300)
    x = delayed(u, 3)
    with pytest.raises(SpinloomError, match="washout: expected the longest delay, 11, at least, got 5"):
        information(x, u, 5, REACHES)
    with pytest.raises(SpinloomError, match="states: expected at least two samples for each of 90, got 100"):
        information(delayed(u, 90), u, 200, REACHES)
    with pytest.raises(SpinloomError, match="states: expected finite numbers"):
        information(np.where(x > 0.9, np.nan, x), u, 200, REACHES)
