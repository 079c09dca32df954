"""Roll-outs, their error, and a choice that is made by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from spinloom.reduced_models.rollout import RolloutScore, nrmse, search, simulate, single_ticks


class Decay(RegressorMixin, BaseEstimator):
    """m -> rate m + u on every component; one-step fits of it are meaningless, roll-outs are not."""

    def __init__(self, rate=0.5):
        self.rate = rate

    def fit(self, X, y):
        self.rows_ = len(X)
        return self

    def predict(self, X):
        return self.law().advance(X[:, :3], X[:, 3:])

    def law(self):
        return DecayLaw(self.rate)


@partial(jax.tree_util.register_dataclass, data_fields=["rate"], meta_fields=[])
@dataclass(frozen=True)
class DecayLaw:
    rate: Any

    def start(self, m):
        return m

    def advance(self, m, inputs):
        return self.rate * m + inputs

    def moment(self, m):
        return m


def rolled(rate, u, m0):
    m, now = [], np.broadcast_to(np.asarray(m0, float), (u.shape[0], 3))
    for tick in range(u.shape[1]):
        now = rate * now + u[:, [tick]]
        m.append(now)
    return np.stack(m, axis=1)


def test_simulate_one_and_many():
    u = np.random.default_rng(0).uniform(-1, 1, (3, 40))
    m0 = np.array([1.0, 0.5, -0.5])
    expected = rolled(0.9, u, m0)
    many = simulate(Decay(0.9), u.T, m0)
    assert many.shape == (40, 3, 3)
    np.testing.assert_allclose(many, expected.swapaxes(0, 1), rtol=1e-12)
    one = simulate(Decay(0.9), u[1], m0)
    assert one.shape == (40, 3)
    np.testing.assert_allclose(one, expected[1], rtol=1e-12)


def test_simulate_takes_a_start_for_each():
    m0 = np.random.default_rng(1).standard_normal((4, 3))
    np.testing.assert_allclose(simulate(Decay(0.5), np.zeros((2, 4)), m0)[1], m0 / 4)


def test_nrmse_is_the_rms_over_the_rms_about_the_mean():
    rng = np.random.default_rng(2)
    truth, model = rng.standard_normal((2, 100, 4, 3))
    expected = [
        np.sqrt(((model[:, k] - truth[:, k]) ** 2).sum() / ((truth[:, k] - truth[:, k].mean(axis=0)) ** 2).sum())
        for k in range(4)
    ]
    np.testing.assert_allclose(nrmse(model, truth), expected)
    np.testing.assert_array_equal(nrmse(truth, truth), 0)
    np.testing.assert_allclose(nrmse(np.broadcast_to(truth.mean(axis=0), truth.shape), truth), 1)


def test_nrmse_of_a_diverged_model_is_infinite():
    truth = np.random.default_rng(3).standard_normal((10, 2, 3))
    model = truth.copy()
    model[5, 0] = np.nan
    error = nrmse(model, truth)
    assert error[0] == np.inf
    assert error[1] == 0


def test_single_ticks_are_whole_trajectories_in_order():
    u = np.arange(6.0).reshape(2, 3)
    m = np.arange(18.0).reshape(2, 3, 3)
    X, y, groups = single_ticks(m, u, np.array([9.0, 8, 7]))
    np.testing.assert_array_equal(groups, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(X[:, 3], u.ravel())
    np.testing.assert_array_equal(X[[0, 3], :3], [[9, 8, 7]] * 2)
    np.testing.assert_array_equal(X[[1, 2, 4, 5], :3], y[[0, 1, 3, 4]])
    np.testing.assert_array_equal(y, m.reshape(6, 3))


def test_score_is_minus_the_worst_roll_out():
    u = np.random.default_rng(4).uniform(-1, 1, (3, 50))
    m = rolled(0.9, u, [0, 0, 0])
    X, y, _ = single_ticks(m, u, np.zeros(3))
    score = RolloutScore(50)
    assert score(Decay(0.9), X, y) == pytest.approx(0, abs=1e-12)
    errors = nrmse(rolled(0.8, u, [0, 0, 0]).swapaxes(0, 1), m.swapaxes(0, 1))
    assert score(Decay(0.8), X, y) == pytest.approx(-errors.max())


def test_score_of_a_diverging_model_is_finite():
    u = np.ones((2, 2000))
    m = rolled(0.9, u, [0, 0, 0])
    X, y, _ = single_ticks(m, u, np.zeros(3))
    with np.errstate(over="ignore", invalid="ignore"):
        assert RolloutScore(2000)(Decay(3.0), X, y) == -1e6


def test_search_picks_by_roll_out_and_keeps_groups_whole():
    u = np.random.default_rng(5).uniform(-1, 1, (6, 30))
    m = rolled(0.9, u, [0.1, 0.2, 0.3])
    found = search(Decay(), {"rate": [0.5, 0.9, 0.95]}, m, u, np.array([0.1, 0.2, 0.3]))
    assert found.best_params_ == {"rate": 0.9}
    assert found.best_estimator_.rows_ == 180
    assert found.n_splits_ == 4
    _, _, groups = single_ticks(m, u, np.zeros(3))
    for train, test in found.cv:
        assert not set(groups[train]) & set(groups[test])
        assert (np.bincount(groups[test], minlength=6)[np.unique(groups[test])] == 30).all()
        assert (np.diff(test)[np.diff(groups[test]) == 0] == 1).all()
