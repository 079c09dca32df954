"""Series with their targets, their splits, and how answers are judged."""

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.benchmarks import tasks
from spinloom.networks.benchmarks.series import narma10
from spinloom.networks.benchmarks.tasks import (
    FREE_RUNS,
    LORENZ_AHEAD,
    MACKEY_GLASS_AHEAD,
    TASKS,
    VALID,
    judged,
    valid_time,
)


@pytest.mark.parametrize("name", TASKS)
def test_a_series_is_whole_and_belongs_to_its_seed(name):
    task = TASKS[name]
    one, again, other = (task.series(4, seed) for seed in (0, 0, 1))
    assert one.u.shape == (task.samples, task.channels) == (4200, 1)
    assert len(one.target) == task.samples
    np.testing.assert_array_equal(one.u, again.u)
    assert (one.u != other.u).any()


def test_narma10_is_driven_between_0_and_a_half():
    series = TASKS["narma10"].series(4, 3)
    np.testing.assert_allclose(narma10((series.u[:, 0] + 1) / 4), series.target[:, 0])


@pytest.mark.parametrize(("name", "ahead"), [("mackey-glass", MACKEY_GLASS_AHEAD), ("lorenz", LORENZ_AHEAD)])
def test_a_target_is_the_series_as_it_will_be(name, ahead):
    series = TASKS[name].series(4, 0)
    np.testing.assert_array_equal(series.target[:-ahead], series.u[ahead:])


def test_a_perfect_answer_is_judged_as_one():
    for name, expected in (("narma10", 0), ("memory", 8), ("parity", 10), ("sine-square", 0)):
        task = TASKS[name]
        series = task.series(4, 0)
        assert judged(task, series.target, series.target, (1e-14,))[0] == pytest.approx(expected, abs=1e-3)


def test_states_that_are_not_finite_are_the_worst():
    for name, worst in (("narma10", np.inf), ("memory", 0.0)):
        series = TASKS[name].series(2, 0)
        assert judged(TASKS[name], np.full((4200, 2), np.nan), series.target, (1e-9, 1e-3)) == [worst, worst]


def test_a_series_that_runs_away_is_drawn_again(monkeypatch):
    tried = []

    def runs_away_once(u):
        tried.append(u)
        if len(tried) == 1:
            raise SpinloomError("away")
        return u

    monkeypatch.setattr(tasks, "narma10", runs_away_once)
    TASKS["narma10"].series(2, 0)
    assert len(tried) == 2
    assert (tried[0] != tried[1]).any()


def test_a_series_that_never_stays_is_told(monkeypatch):
    def away(u):
        raise SpinloomError("away")

    monkeypatch.setattr(tasks, "narma10", away)
    with pytest.raises(SpinloomError, match="narma10: no series of seed 0 stays finite"):
        TASKS["narma10"].series(2, 0)


def test_a_free_run_is_valid_until_it_is_off():
    target = np.zeros((10, 2, 3))
    y = np.zeros_like(target)
    y[4:, 0] = 2 * VALID
    y[7:, 1] = np.nan
    assert valid_time(y, target) == 5.5
    assert FREE_RUNS["lorenz-free"].judge(y, target) == pytest.approx(5.5 * 0.02 * 0.906)
