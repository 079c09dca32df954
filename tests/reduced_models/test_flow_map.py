"""The flow map is a scikit-learn estimator, and it is exact where it should be."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.rollout import RolloutScore, single_ticks


@parametrize_with_checks([FlowMap(), FlowMap(degree=2, ridge=1e-6)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def directions(n, seed):
    m = np.random.default_rng(seed).standard_normal((n, 3))
    return m / np.linalg.norm(m, axis=1, keepdims=True)


def turned(m, u, rate=0.3):
    """Rotation about z by an angle that the drive sets."""
    angle = rate * u
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * m[:, 0] - s * m[:, 1], s * m[:, 0] + c * m[:, 1], m[:, 2]], axis=1)


@pytest.fixture(scope="module")
def rotation():
    m, u = directions(3000, 0), np.random.default_rng(1).uniform(-1, 1, 3000)
    return np.column_stack([m, u]), turned(m, u)


def test_learns_a_rotation(rotation):
    X, y = rotation
    model = FlowMap(degree=6, ridge=1e-12).fit(X[:2000], y[:2000])
    np.testing.assert_allclose(model.predict(X[2000:]), y[2000:], atol=2e-6)


def test_length_is_kept_apart_from_direction(rotation):
    """<m> shorter than 1 by a constant stays so, whatever length the state has picked up."""
    X, y = rotation
    X = X.copy()
    X[:, :3] *= 0.97
    model = FlowMap(degree=5).fit(X, 0.97 * y)
    np.testing.assert_allclose(np.linalg.norm(model.predict(X), axis=1), 0.97, atol=1e-6)
    stretched = X.copy()
    stretched[:, :3] *= 1.5
    np.testing.assert_allclose(model.predict(stretched), model.predict(X), atol=1e-12)


def test_plain_polynomials_for_other_data():
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (300, 2))
    y = 1 + X[:, 0] * X[:, 1] ** 2 - 2 * X[:, 0]
    model = FlowMap(degree=3, ridge=0).fit(X, y)
    assert model.sphere_axis_ == -1
    assert model.predict(X).shape == (300,)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-10)
    assert FlowMap(degree=3).fit(X, y[:, None]).predict(X).shape == (300, 1)


def test_the_component_that_is_squared_away_is_the_largest():
    m = directions(500, 4) * [0.1, 1, 0.1]
    m /= np.linalg.norm(m, axis=1, keepdims=True)
    u = np.zeros(500)
    assert FlowMap(degree=2).fit(np.column_stack([m, u]), m).sphere_axis_ == 1


def test_clone_takes_parameters_only(rotation):
    X, y = rotation
    model = FlowMap(degree=3, ridge=1e-7).fit(X[:100], y[:100])
    fresh = clone(model)
    assert fresh.get_params() == {"degree": 3, "ridge": 1e-7}
    assert not hasattr(fresh, "coef_")
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_in_a_pipeline(rotation):
    X, y = rotation
    pipeline = make_pipeline(FunctionTransformer(), FlowMap(degree=3)).fit(X, y)
    assert pipeline.score(X, y) > 0.99


@pytest.mark.parametrize("degree", [0, -1, 2.5])
def test_bad_degree(rotation, degree):
    with pytest.raises(ValueError, match="degree: expected a whole number of at least 1"):
        FlowMap(degree=degree).fit(*rotation)


def test_bad_ridge(rotation):
    with pytest.raises(ValueError, match="ridge: expected a penalty of at least 0, got -1"):
        FlowMap(ridge=-1).fit(*rotation)


def test_grid_search_by_roll_out():
    rng = np.random.default_rng(5)
    u = rng.uniform(-1, 1, (8, 60))
    start = np.array([0.6, 0.0, 0.8])
    m = np.empty((8, 60, 3))
    now = np.broadcast_to(start, (8, 3))
    for tick in range(60):
        # About z by the drive, then about x by a constant: the trajectories cover the sphere.
        now = turned(turned(now, u[:, tick], 0.4)[:, [1, 2, 0]], np.full(8, 0.3), 1.0)[:, [2, 0, 1]]
        m[:, tick] = now
    X, y, groups = single_ticks(m, u, start)
    found = GridSearchCV(
        FlowMap(ridge=1e-9), {"degree": [1, 4]}, scoring=RolloutScore(60), cv=GroupKFold(4), error_score="raise"
    ).fit(X, y, groups=groups)
    assert found.best_params_ == {"degree": 4}
    assert found.best_score_ > -0.05
