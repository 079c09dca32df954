"""Estimators are corrected and judged by one measured signal."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models.drives import calibration_drive
from spinloom.reduced_models import measured_fit
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.macrospin import MacrospinModel
from spinloom.reduced_models.measured_fit import Signals, corrected, follow, judge, refine
from spinloom.reduced_models.observation import Chain, observe
from spinloom.reduced_models.rollout import simulate, single_ticks

TICK, CHAIN = 1e-11, Chain(1.02, 0.01, 0.0)
AXIS = np.array([1.0, 0.0, 0.0])


def device(alpha, bias):
    """A macrospin with these constants, without a fit."""
    model = MacrospinModel(tick=TICK, alpha=alpha, stiffness=6e5, damping_like=5e3, H=(0, bias, 0))
    model.theta_ = np.array([alpha, 0, 6e5, 5e3, 0, 0, bias, 0])
    model.readout_, model.n_features_in_, model.one_dimensional_ = np.eye(4, 3), 4, False
    return model


@pytest.fixture(scope="module")
def data():
    """Signals of one device, and <m> of another that is off in damping and bias."""
    kinds = ("noise", "holds", "tones", "steps")
    u = np.stack([calibration_drive(kinds[k % 4], 120, TICK, np.random.default_rng(k)) for k in range(8)])
    true, near = (simulate(device(*constants), u.T, np.array([0, 1.0, 0])) for constants in ((0.1, 7e3), (0.12, 7.8e3)))
    seen = np.asarray(observe(CHAIN, jnp.asarray(true @ AXIS))).T
    y = seen + np.random.default_rng(9).normal(0, 0.003, seen.shape)
    first, rest = near[0], near[1:].swapaxes(0, 1)
    return Signals(y, first, near.reshape(-1, 3), AXIS, CHAIN), u[:, 1:], rest


def error(estimator, data):
    signals, u, _ = data
    return np.sqrt(np.mean([one.nrmse**2 for one in judge(estimator, signals, u)]))


@pytest.mark.slow
def test_a_macrospin_finds_what_its_signal_tells(data):
    before = error(device(0.12, 7.8e3), data)
    model, tried = refine(device(0.12, 7.8e3), *data)
    assert error(model, data) < 0.2 * before
    # What one signal tells is ratios: the torque over the field, not each of them.
    assert model.damping_like_ / model.H_[1] == pytest.approx(5 / 7, rel=0.03)
    assert [one["trust"] for one in tried] == [0.0, *measured_fit.TRUST]


@pytest.mark.slow
def test_a_flow_map_is_corrected_by_the_signal_alone(data):
    signals, u, m = data
    X, ends, _ = single_ticks(m, u, signals.first)
    flow = FlowMap(3, 1e-8).fit(X, ends)
    before, coef = error(flow, data), flow.coef_.copy()
    model, _ = refine(flow, *data)
    assert error(model, data) < 0.5 * before
    np.testing.assert_array_equal(flow.coef_, coef)


def test_where_noise_hides_what_is_wrong_nothing_is_corrected(data):
    signals, u, m = data
    noisy = replace(signals, y=signals.y + np.random.default_rng(1).normal(0, 3, signals.y.shape))
    model = device(0.1, 7e3)
    same, tried = refine(model, noisy, u, m)
    assert same is model
    assert len(tried) == 1


def test_predictions_begin_where_the_first_part_says(data):
    signals, u, _ = data
    predicted, m = follow(device(0.1, 7e3), signals, u)
    assert predicted.shape == u.shape
    assert m.shape == (8, 120, 3)
    assert np.abs(predicted - signals.y)[:, 30:].max() < 0.03


def test_no_correction_changes_nothing(data):
    signals, u, m = data
    model = device(0.1, 7e3)
    corrections = measured_fit._corrections(model, signals, u, m)
    np.testing.assert_array_equal(corrected(model, corrections, np.zeros(8)).theta_, model.theta_)
