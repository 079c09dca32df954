"""The thermal population map: noise that goes with the coordinates of a device, and with the drive as it feels it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from spinloom.device_models.scan import drive
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.population_map import PopulationMap
from spinloom.reduced_models.thermal_fit import judge, likelihood
from spinloom.reduced_models.thermal_map import ThermalMap
from spinloom.reduced_models.thermal_population_map import ThermalPopulationMap

DEVICES = 80


@parametrize_with_checks([ThermalPopulationMap(degree=2), ThermalPopulationMap(degree=1, noise_degree=1)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def shaken(where, scale=1.0, ticks=300, seed=0, uneven=0.0):
    """Directions near y that fall back and are shaken; how fast, and how much, the coordinate says."""
    rng, n = np.random.default_rng(seed), len(where)
    u = np.repeat(rng.uniform(-1, 1, (n, ticks // 10)), 10, axis=1)
    v, angle, lift, slow = scale * u, *np.zeros((3, n))
    m = np.zeros((n, ticks, 3))
    for tick in range(ticks):
        size = np.exp(0.8 * where + uneven * v[:, tick])
        first = 0.05 * size * rng.standard_normal(n)
        angle = (0.8 - 0.3 * where) * angle + 0.05 * v[:, tick] - first
        lift = 0.5 * lift - 0.4 * first + 0.02 * size * rng.standard_normal(n)
        slow = 0.8 * slow + 0.01 * np.exp(-where) * rng.standard_normal(n)
        direction = np.stack([np.sin(angle) * np.cos(lift), np.cos(angle) * np.cos(lift), np.sin(lift)], axis=-1)
        m[:, tick] = (0.95 + slow)[:, None] * direction
    return m, u, v


def rows(m, v, where):
    before = np.concatenate([np.broadcast_to([0.0, 0.95, 0.0], (len(m), 1, 3)), m[:, :-1]], axis=1)
    X = np.concatenate([before, v[..., None], np.broadcast_to(where[:, None, None], (*v.shape, 1))], axis=-1)
    return X.reshape(-1, 5), m.reshape(-1, 3)


@pytest.fixture(scope="module")
def where():
    return np.random.default_rng(5).uniform(-0.4, 0.4, DEVICES)


def fitted(where, noise_degree=0, **params):
    m, _, v = shaken(where, **params)
    return ThermalPopulationMap(degree=3, noise_degree=noise_degree).fit(*rows(m, v, where))


@pytest.fixture(scope="module")
def model(where):
    return fitted(where)


@pytest.mark.parametrize("at", [-0.3, 0.3])
def test_the_noise_of_an_unseen_device_is_found(model, at):
    device = model.device([at])
    assert type(device) is ThermalMap
    log_first, share, log_second = device.noise_intercept_
    np.testing.assert_allclose(np.exp([log_first, log_second]), np.exp(0.8 * at) * np.array([0.05, 0.02]), rtol=0.04)
    assert share == pytest.approx(-0.4, abs=0.02)
    np.testing.assert_allclose(device.length_noise_, [0.8, 0.01 * np.exp(-at)], rtol=0.03)
    m, u, _ = shaken(np.full(30, at), seed=1)
    judged = judge(device, m, u)
    assert judged.off < 0.04
    # The noise of the nominal device is not theirs.
    assert judge(model.device([0.0]), m, u).off > 0.15


def test_the_likelihood_sees_that_devices_differ(model, where):
    X, y = rows(*shaken(where, seed=1)[::2], where)
    even = ThermalMap(degree=3).fit(X[:, :4], y)
    assert likelihood(model, X, y) > likelihood(even, X[:, :4], y) + 0.02


def test_the_scale_of_the_drive_is_folded_into_the_noise(where):
    uneven = fitted(where, noise_degree=1, uneven=0.5)
    m, u, _ = shaken(np.zeros(30), scale=1.4, uneven=0.5, seed=2)
    assert judge(uneven.device([0.0], 1.4), m, u).off < 0.04
    one, other = uneven.device([0.1], 1.4), uneven.device([0.1])
    drive_ = one.noise_powers_.tolist().index([0, 0, 0, 1])
    np.testing.assert_allclose(one.noise_coef_[:, drive_], 1.4 * other.noise_coef_[:, drive_])
    assert other.noise_coef_[0, drive_] == pytest.approx(0.5, abs=0.03)


def test_the_average_is_that_of_the_population_map(model, where):
    m, _, v = shaken(where)
    cold = PopulationMap(degree=3, ridge=1e-4, coordinate_degree=1).fit(*rows(m, v, where))
    np.testing.assert_allclose(model.device([0.2], 1.1).coef_, cold.device([0.2], 1.1).coef_)


def test_without_coordinates_it_is_the_thermal_map(where):
    m, _, v = shaken(np.zeros(40))
    X, y = rows(m, v, np.zeros(40))
    one = ThermalPopulationMap(degree=2, ridge=1e-9, noise_degree=1).fit(X[:, :4], y).device([])
    other = ThermalMap(degree=2, noise_degree=1).fit(X[:, :4], y)
    np.testing.assert_allclose(one.noise_coef_, other.noise_coef_, atol=1e-6)
    np.testing.assert_allclose(one.noise_intercept_, other.noise_intercept_, atol=1e-6)
    np.testing.assert_allclose(one.length_noise_, other.length_noise_, rtol=1e-3)


def test_warm_devices_stack_to_one_node(model):
    rest = np.array([0.0, 0.95, 0.0])
    node = ReducedNode.stack([ReducedNode.of(model.device([at]).law(), rest, (1, 0, 0), 1e-11) for at in (-0.3, 0.3)])
    which = np.repeat([0, 1], 40)
    _, m = drive(node, np.zeros((1000, 80)), node.start(80, seed=1, devices=which))
    still, lively = (np.asarray(m)[50:, which == device, 0].std() for device in (0, 1))
    truth = [shaken(np.full(40, at), scale=0.0, ticks=1000, seed=3)[0][:, 50:, 0].std() for at in (-0.3, 0.3)]
    np.testing.assert_allclose([still, lively], truth, rtol=0.1)
    nominal = ReducedNode.of(model.law(), rest, (1, 0, 0), 1e-11)
    assert nominal.laws.normals == 3
