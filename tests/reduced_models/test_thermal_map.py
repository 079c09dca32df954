"""The thermal map, on a spin whose noise is known, and on a disc in full micromagnetics."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from spinloom.device_models.calibration import Protocol, calibrate
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.trials import generate
from spinloom.reduced_models import thermal_fit
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import load_model, save_model
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.rollout import single_ticks
from spinloom.reduced_models.thermal_fit import judge, likelihood
from spinloom.reduced_models.thermal_map import ThermalMap

TICK = 7.5e-12
REST = np.array([0.0, 1.0, 0.0])


@parametrize_with_checks([ThermalMap(degree=2), ThermalMap(degree=1, noise_degree=2)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def shaken(sigma, share=0.0, rho=0.0, n=60, ticks=300, seed=0, uneven=0.0):
    """Directions near y that fall back and are shaken, and lengths that remember; sigma grows with the drive."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(-1, 1, (n, ticks // 10)), 10, axis=1)
    angle, lift, slow = np.zeros((3, n))
    m = np.zeros((n, ticks, 3))
    for tick in range(ticks):
        first = sigma[0] * np.exp(uneven * u[:, tick]) * rng.standard_normal(n)
        angle = 0.9 * angle + 0.05 * u[:, tick] - first
        lift = 0.5 * lift + share * first + sigma[1] * rng.standard_normal(n)
        slow = rho * slow + 0.01 * rng.standard_normal(n)
        direction = np.stack([np.sin(angle) * np.cos(lift), np.cos(angle) * np.cos(lift), np.sin(lift)], axis=-1)
        m[:, tick] = (0.95 + slow)[:, None] * direction
    return m, u


def fitted(m, u, **params):
    X, y, _ = single_ticks(m, u, 0.95 * REST)
    return ThermalMap(degree=3, **params).fit(X, y)


def test_the_noise_of_a_spin_is_found():
    m, u = shaken((0.05, 0.02), share=-0.4, rho=0.8)
    model = fitted(m, u)
    log_first, share, log_second = model.noise_intercept_
    assert model.noise_axis_ == 2
    np.testing.assert_allclose(np.exp([log_first, log_second]), [0.05, 0.02], rtol=0.02)
    assert share == pytest.approx(-0.4, abs=0.01)
    np.testing.assert_allclose(model.length_noise_, [0.8, 0.01], rtol=0.03)
    fresh, v = shaken((0.05, 0.02), share=-0.4, rho=0.8, seed=1)
    judged = judge(model, fresh, v)
    assert judged.off < 0.02
    assert judged.rms == pytest.approx(1, abs=0.02)


def test_noise_that_depends_on_the_drive_is_found_by_its_likelihood():
    m, u = shaken((0.03, 0.02), uneven=0.8)
    X, y, _ = single_ticks(*shaken((0.03, 0.02), uneven=0.8, seed=1), 0.95 * REST)
    even, uneven = (fitted(m, u, noise_degree=degree) for degree in (0, 1))
    assert likelihood(uneven, X, y) > likelihood(even, X, y) + 0.05
    drive_ = uneven.noise_powers_.tolist().index([0, 0, 0, 1])
    assert uneven.noise_coef_[0, drive_] == pytest.approx(0.8, abs=0.05)


def test_noise_of_another_size_or_colour_is_off():
    model = fitted(*shaken((0.05, 0.02)))
    louder, u = shaken((0.06, 0.024), seed=1)
    assert judge(model, louder, u).rms == pytest.approx(1.2, abs=0.03)
    m, u = shaken((0.05, 0.02), seed=2)
    m[:, 1:] = m[:, 1:] + m[:, :-1]  # a moving average remembers
    coloured = fitted(m / 2, u)
    assert judge(coloured, m / 2, u).correlation > 0.2


def test_a_node_scatters_as_what_it_was_fitted_to():
    m, u = shaken((0.05, 0.02), share=-0.4, rho=0.8, ticks=400)
    node = ReducedNode.of(fitted(m, u).law(), 0.95 * REST, (1.0, 0.0, 0.0), TICK)
    _, rolled = drive(node, u.T, node.start(60, seed=4))
    found, truth = np.asarray(rolled)[50:], m.swapaxes(0, 1)[50:]
    np.testing.assert_allclose(found.std(axis=(0, 1)), truth.std(axis=(0, 1)), rtol=0.05)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), truth.mean(axis=(0, 1)), atol=0.01)
    length = np.linalg.norm(found, axis=-1) - 0.95
    assert np.corrcoef(length[1:].ravel(), length[:-1].ravel())[0, 1] == pytest.approx(0.8, abs=0.03)
    # Each device has noise of its own, which depends on its number and the seed alone.
    few = drive(node, u[:7].T, node.start(7, seed=4))[1]
    np.testing.assert_allclose(few, rolled[:, :7], atol=1e-9)
    assert np.abs(drive(node, u.T, node.start(60, seed=5))[1] - rolled).max() > 0.1


def test_without_noise_it_does_what_it_does_on_average():
    model = fitted(*shaken((0.05, 0.02)))
    node = ReducedNode.of(model.law(), 0.95 * REST, (1.0, 0.0, 0.0), TICK)
    quiet = node.at(np.array([[0.3, 0.9, 0.1]]), np.zeros(1, int))
    after = node.moment(node.step(quiet, np.array([[0.5]])))
    np.testing.assert_allclose(after, model.predict([[0.3, 0.9, 0.1, 0.5]]), atol=1e-12)
    assert np.isfinite(node.response([1e9])).all()
    assert node.start(3).noise is not None
    assert quiet.noise is None


def test_a_degree_of_noise_below_zero_is_refused():
    with pytest.raises(ValueError, match="noise_degree: expected a whole number of at least 0, got -1"):
        fitted(*shaken((0.05, 0.02), n=12, ticks=30), noise_degree=-1)


@pytest.fixture(scope="module")
def warm_calibration(coarse_card):
    card = coarse_card.at(300)
    protocol = Protocol(trajectories=40, duration=1.5e-9, grades=(), seed=3)
    return calibrate(card, EmbeddedEngine(card, protocol.tick), protocol)


@pytest.fixture(scope="module")
def warm_model(warm_calibration):
    return fit_model(warm_calibration)


@pytest.mark.slow
def test_a_warm_disc_is_fitted_and_its_fluctuations_are_those_of_full_micromagnetics(warm_calibration, warm_model):
    model = warm_model
    assert (model.kind, model.temperature) == ("thermal_map", 300)
    assert model.holdout_nrmse < 0.05
    assert model.verdict in ("good", "usable")
    assert model.holdout_nrmse == max(abs(model.info["noise"]["rms"] - 1), model.info["noise"]["correlation"])
    u = warm_calibration["u"].values.T
    full = warm_calibration["m"].values.swapaxes(0, 1)[50:]
    reduced = np.asarray(drive(model.node, u, model.node.start(u.shape[1], seed=8))[1])[50:]
    np.testing.assert_allclose(reduced.mean(axis=(0, 1)), full.mean(axis=(0, 1)), atol=0.03)
    np.testing.assert_allclose(reduced.var(axis=(0, 1)), full.var(axis=(0, 1)), rtol=0.15)


def test_it_is_data_on_disk(warm_model, tmp_path):
    save_model(warm_model, tmp_path / "warm.nc")
    again = load_model(tmp_path / "warm.nc")
    assert (again.kind, again.temperature, again.info["noise"]) == ("thermal_map", 300, warm_model.info["noise"])
    u = np.random.default_rng(0).uniform(-1, 1, (30, 3))
    one, other = (drive(each.node, u, each.node.start(3, seed=1))[1] for each in (warm_model, again))
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert clone(again.estimator).get_params() == warm_model.estimator.get_params()


def test_cold_and_warm_sets_have_kinds_of_their_own(warm_calibration, coarse_calibration):
    with pytest.raises(SpinloomError, match="kind: expected auto or thermal_map at 300 K, got 'flow_map'"):
        fit_model(warm_calibration, "flow_map")
    with pytest.raises(SpinloomError, match="kind: expected auto or flow_map, macrospin, memory_map at 0 K"):
        fit_model(coarse_calibration, "thermal_map")


def test_a_layer_that_does_not_come_to_rest_is_told(warm_calibration, monkeypatch):
    turning = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    monkeypatch.setattr(thermal_fit, "simulate", lambda estimator, u, m0: np.resize(turning, (len(u), 3)))
    with pytest.raises(SpinloomError, match="not stable at this temperature: raise the bias or the volume"):
        fit_model(warm_calibration)


def test_a_warm_network_scatters_from_seed_to_seed_and_not_from_batch_to_batch(warm_model):
    weights, f = draw(Topology(nodes=6, spectral_radius=0.5, bias=0.5, gain=1.0), [0]), target("sine", 20)
    run = {"periods": 3, "washout": 1}
    one, other, again = (generate(warm_model.scaled, weights, f, **run, record="r", seed=s) for s in (0, 1, 0))
    np.testing.assert_array_equal(one.record.r, again.record.r)
    assert np.abs(one.record.r - other.record.r).max() > 0.1
    several = generate(warm_model.scaled, weights.repeat(3), f, **run, record="r")
    np.testing.assert_allclose(several.record.r[:, :1], one.record.r, atol=1e-7)
