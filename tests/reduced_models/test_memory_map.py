"""The memory map: a scikit-learn estimator that finds what the average does not show."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from spinloom.device_models.errors import SpinloomWarning
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.memory_map import MemoryMap
from spinloom.reduced_models.model import load_model, save_model
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.rollout import RolloutScore, nrmse, simulate, single_ticks

TICK = 7.5e-12
REST = np.array([0.0, 0.0, 1.0])
TICKS, KEPT = 80, 9


@parametrize_with_checks([MemoryMap(degree=2), MemoryMap(degree=3, memory=0)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def small(**changes):
    return MemoryMap(**{"degree": 2, "memory": 2, "coupling": 1, "window": 20, "steps": 6, **changes})


@pytest.fixture(scope="module")
def hidden():
    """A direction near z that a hidden damped oscillator pushes about: the drive reaches it through that alone."""
    rng = np.random.default_rng(0)
    u = np.cumsum(rng.normal(size=(12, TICKS)), axis=1) * 0.1
    u = np.clip(u, -1, 1)
    tilt, turn = np.zeros((12, 2)), np.zeros((12, 2))
    spin = 0.9 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    m = np.empty((12, TICKS, 3))
    for tick in range(TICKS):
        tilt = 0.9 * tilt + 0.1 * turn
        turn = turn @ spin.T + 0.3 * u[:, tick : tick + 1] * [1.0, 0.5]
        m[:, tick, :2] = tilt
        m[:, tick, 2] = np.sqrt(1 - (tilt**2).sum(axis=1))
    return m, u


def errors(model, m, u):
    return nrmse(simulate(model, u.T, REST), m.swapaxes(0, 1))


@pytest.fixture(scope="module")
def fitted(hidden):
    m, u = hidden
    X, y, _ = single_ticks(m[:KEPT], u[:KEPT], REST)
    return small().fit(X, y)


def test_it_finds_what_the_average_does_not_show(hidden, fitted):
    """Roll-outs of trajectories that it has not seen, against those of a map without memory."""
    m, u = hidden
    X, y, _ = single_ticks(m[:KEPT], u[:KEPT], REST)
    without = FlowMap(degree=2, ridge=1e-9).fit(X, y)
    assert errors(without, m[KEPT:], u[KEPT:]).min() > 0.1
    assert errors(fitted, m[KEPT:], u[KEPT:]).max() < 0.02


def test_every_step_lowers_the_loss_of_its_windows(fitted):
    whole = fitted.loss_[-3:]
    assert whole == sorted(whole, reverse=True)
    assert whole[-1] < fitted.loss_[0]


def test_it_rings_as_the_hidden_oscillator_does(fitted):
    """Poles 0.9 exp(+-0.5i): of state and latents together."""
    node = ReducedNode.of(fitted.law(), REST, (1.0, 0.0, 0.0), TICK)
    frequency, quality = node.ringing()
    decay, omega = -np.log(0.9) / TICK, 0.5 / TICK
    assert frequency == pytest.approx(np.hypot(omega, decay) / (2 * np.pi), rel=0.02)
    assert quality == pytest.approx(np.hypot(omega, decay) / (2 * decay), rel=0.1)


def test_devices_at_rest_have_no_memory(fitted):
    state = fitted.law().start(jnp.asarray([REST, REST]))
    np.testing.assert_array_equal(state, [[0, 0, 1, 0, 0]] * 2)
    np.testing.assert_array_equal(fitted.law().moment(state), [REST, REST])


def test_predict_is_the_first_tick_of_a_roll_out(fitted, hidden):
    _, u = hidden
    first = simulate(fitted, u[:, :1].T, REST)[0]
    alone = fitted.predict(np.column_stack([np.tile(REST, (12, 1)), u[:, 0]]))
    np.testing.assert_allclose(alone, first, rtol=0, atol=1e-12)


def test_trajectories_of_different_lengths(hidden):
    """Shorter ones count for the ticks that they have; what fills them up does not."""
    m, u = hidden
    lengths = [80, 35, 80, 62, *[80] * (KEPT - 4)]
    rows = [single_ticks(m[i : i + 1, :n], u[i : i + 1, :n], REST)[:2] for i, n in enumerate(lengths)]
    X, y = (np.concatenate(part) for part in zip(*rows, strict=True))
    assert errors(small().fit(X, y), m[KEPT:], u[KEPT:]).max() < 0.05


def test_without_latents_it_is_a_flow_map(hidden):
    m, u = hidden
    X, y, _ = single_ticks(m[:4], u[:4], REST)
    plain, flow = small(memory=0).fit(X, y), FlowMap(degree=2, ridge=1e-9).fit(X, y)
    np.testing.assert_array_equal(plain.coef_, flow.coef_)
    np.testing.assert_array_equal(plain.predict(X), flow.predict(X))


def test_rows_out_of_order_are_told(hidden):
    m, u = hidden
    X, y, _ = single_ticks(m[:2], u[:2], REST)
    with pytest.warns(SpinloomWarning, match="no row follows another in time"):
        small().fit(X[::-1], y[::-1])


def test_clone_takes_parameters_only(fitted):
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(np.ones((2, 4)))
    with pytest.raises(NotFittedError):
        fresh.law()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": -1}, "memory: expected a whole number of at least 0, got -1"),
        ({"coupling": 1.5}, "coupling: expected a whole number of at least 0, got 1.5"),
        ({"window": 0}, "window: expected a whole number of at least 1, got 0"),
        ({"steps": -2}, "steps: expected a whole number of at least 0, got -2"),
        ({"degree": 0}, "degree: expected a whole number of at least 1, got 0"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change).fit(np.eye(4), np.eye(4)[:, :3])


def test_grid_search_by_roll_out(hidden):
    m, u = hidden
    X, y, groups = single_ticks(m[:6, :40], u[:6, :40], REST)
    found = GridSearchCV(
        small(window=40, steps=0), {"memory": [0, 2]}, scoring=RolloutScore(40), cv=GroupKFold(2), error_score="raise"
    ).fit(X, y, groups=groups)
    assert found.best_params_ == {"memory": 2}


def test_a_loaded_one_goes_on_alike(fitted, hidden, coarse_model, tmp_path):
    save_model(replace(coarse_model, estimator=fitted), tmp_path / "model.nc")
    found = load_model(tmp_path / "model.nc")
    assert found.kind == "memory_map"
    assert found.estimator.get_params() == fitted.get_params()
    _, u = hidden
    np.testing.assert_array_equal(simulate(found.estimator, u.T, REST), simulate(fitted, u.T, REST))


def test_same_data_same_numbers(fitted, hidden):
    m, u = hidden
    X, y, _ = single_ticks(m[:KEPT], u[:KEPT], REST)
    np.testing.assert_array_equal(small().fit(X, y).coef_, fitted.coef_)
