"""The population map: the ridge regression that it says it is, and ordinary flow maps that come out of it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from spinloom.device_models.scan import drive
from spinloom.reduced_models.basis import monomials
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.population_map import PopulationMap
from spinloom.reduced_models.rollout import simulate

DEVICES, ROWS = 24, 150


@parametrize_with_checks([PopulationMap(), PopulationMap(degree=2, ridge=1e-6, coordinate_degree=1)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def turned(m, u, where):
    """Rotation about z, by an angle that the drive and two coordinates set, and a length that one of them does."""
    angle = 0.3 * np.exp(where[:, 0]) * u + 0.1 * where[:, 1]
    c, s = np.cos(angle), np.sin(angle)
    after = np.stack([c * m[:, 0] - s * m[:, 1], s * m[:, 0] + c * m[:, 1], m[:, 2]], axis=1)
    return (0.95 + 0.1 * where[:, :1]) * after


def rows(where, n=ROWS, seed=0):
    """Ticks of some devices."""
    rng = np.random.default_rng(seed)
    where = np.repeat(where, n, axis=0)
    m = rng.standard_normal((len(where), 3))
    m /= np.linalg.norm(m, axis=1, keepdims=True)
    u = rng.uniform(-1, 1, len(m))
    return np.column_stack([m, u, where]), turned(m, u, where)


@pytest.fixture(scope="module")
def shown():
    return rows(np.random.default_rng(1).uniform(-0.2, 0.2, (DEVICES, 2)))


@pytest.fixture(scope="module")
def model(shown):
    return PopulationMap(degree=4, ridge=1e-10).fit(*shown)


def test_devices_that_it_was_not_shown_are_met(model):
    for where in ([0.1, -0.1], [-0.12, 0.15]):
        X, y = rows(np.array([where]), seed=2)
        np.testing.assert_allclose(model.device(where).predict(X[:, :4]), y, atol=3e-4)


def test_one_flow_map_for_all_does_not_meet_them(shown):
    even = PopulationMap(degree=4, coordinate_degree=0).fit(*shown)
    X, y = rows(np.array([[0.1, -0.1]]), seed=2)
    assert np.abs(even.predict(X) - y).max() > 0.02
    np.testing.assert_allclose(even.device([0.1, 0.1]).coef_, even.device([0.0, 0.0]).coef_)


@pytest.mark.parametrize("ridge", [1e-9, 1e-3])
def test_it_is_the_ridge_regression_on_all_products(shown, ridge):
    X, y = shown
    model = PopulationMap(degree=2, ridge=ridge, coordinate_degree=2).fit(X, y)
    features = np.column_stack([np.ones(len(X)), monomials(X[:, :4], model.powers_)])
    products = (monomials(X[:, 4:], model.coordinate_powers_)[:, :, None] * features[:, None]).reshape(len(X), -1)[
        :, 1:
    ]
    deviation, length = products.std(axis=0), np.linalg.norm(y, axis=1, keepdims=True)
    target = np.column_stack([y / length - X[:, :3], length - length.mean()])
    truth = Ridge(alpha=ridge * len(X)).fit(products / deviation, target)
    found = np.concatenate([model.intercept_[:, :, None], model.coef_], axis=2).reshape(4, -1)
    np.testing.assert_allclose(found[:, 1:], truth.coef_ / deviation, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:, 0], truth.intercept_, rtol=1e-5, atol=1e-7)


def test_without_coordinates_it_is_the_flow_map(shown):
    X, y = shown
    one, other = PopulationMap(degree=3).fit(X[:, :4], y), FlowMap(degree=3, ridge=1e-9).fit(X[:, :4], y)
    np.testing.assert_allclose(one.device([]).coef_, other.coef_, atol=1e-8)
    np.testing.assert_allclose(one.predict(X[:, :4]), other.predict(X[:, :4]), atol=1e-8)
    same = np.column_stack([X[:, :4], np.zeros((len(X), 2))])  # coordinates that do not differ say nothing
    np.testing.assert_allclose(PopulationMap(degree=3).fit(same, y).predict(same), other.predict(X[:, :4]), atol=1e-8)


def test_a_device_is_an_ordinary_flow_map(shown, model):
    X, _ = shown
    for number in (0, 7):
        one = X[number * ROWS : (number + 1) * ROWS]
        device = model.device(one[0, 4:])
        assert type(device) is FlowMap
        assert device.get_params() == {"degree": 4, "ridge": 1e-10}
        np.testing.assert_allclose(device.predict(one[:, :4]), model.predict(one), atol=1e-12)


def test_the_scale_of_the_drive_is_folded_into_the_coefficients(shown, model):
    X = shown[0][:50, :4]
    scaled = X * [1, 1, 1, 1.3]
    np.testing.assert_allclose(
        model.device([0.1, 0.1], 1.3).predict(X), model.device([0.1, 0.1]).predict(scaled), atol=1e-12
    )


def test_devices_stack_to_one_node(model):
    where, u = np.array([[0.1, 0.0], [-0.1, 0.1], [0.0, -0.2]]), np.random.default_rng(3).uniform(-1, 1, (20, 3))
    devices = [model.device(at, scale) for at, scale in zip(where, (0.9, 1.0, 1.1), strict=True)]
    rest = np.array([0.0, 0.95, 0.0])
    node = ReducedNode.stack([ReducedNode.of(one.law(), rest, (1, 0, 0), 1e-11) for one in devices])
    _, m = drive(node, u, node.start(3, devices=np.arange(3)))
    for number, one in enumerate(devices):
        np.testing.assert_allclose(m[:, number], simulate(one, u[:, number], rest), atol=1e-12)
    np.testing.assert_allclose(model.law().coef, model.device([0, 0]).coef_)


def test_a_search_finds_how_coefficients_depend_on_coordinates(shown):
    X, y = shown
    folds = GroupKFold(3).split(X, y, np.repeat(np.arange(DEVICES), ROWS))
    found = GridSearchCV(PopulationMap(degree=3), {"coordinate_degree": [0, 1, 2]}, cv=list(folds)).fit(X, y)
    assert found.best_params_ == {"coordinate_degree": 2}
    assert clone(found.best_estimator_).get_params() == found.best_estimator_.get_params()


def test_without_a_penalty_features_may_follow_from_others(shown):
    X, y = shown
    twice = np.column_stack([X, X[:, 4]])
    model = PopulationMap(degree=3, ridge=0, coordinate_degree=1).fit(twice, y)
    expected = PopulationMap(degree=3, ridge=0, coordinate_degree=1).fit(X, y).predict(X)
    np.testing.assert_allclose(model.predict(twice), expected, atol=1e-5)


def test_other_data_is_that_of_a_flow_map():
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (300, 6))
    y = X[:, 0] * X[:, 5] - 2 * X[:, 1]
    model = PopulationMap(degree=2).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-6)
    with pytest.raises(ValueError, match="X: expected a population"):
        model.device([0.0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"degree": 0}, "degree: expected a whole number of at least 1, got 0"),
        ({"degree": 2.5}, "degree: expected a whole number of at least 1, got 2.5"),
        ({"coordinate_degree": -1}, "coordinate_degree: expected a whole number of at least 0, got -1"),
        ({"ridge": -1.0}, "ridge: expected a penalty of at least 0, got -1.0"),
    ],
)
def test_parameters_out_of_range_are_refused(shown, params, message):
    with pytest.raises(ValueError, match=message):
        PopulationMap(**params).fit(*shown)


def test_devices_off_the_map_are_refused(model):
    with pytest.raises(ValueError, match=r"where: expected coordinates of shape \(2,\), got \(3,\)"):
        model.device([0, 0, 0])
    with pytest.raises(ValueError, match="scale: expected a factor above 0, got 0"):
        model.device([0, 0], 0)
