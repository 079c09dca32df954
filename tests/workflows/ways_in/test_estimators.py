"""Networks of junctions as estimators of scikit-learn."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import spinloom
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.device_models.spread import PARAMETERS
from spinloom.networks.loop import simulate
from spinloom.networks.topology import Topology, draw
from spinloom.workflows.ways_in.driven import TOGETHER, shipped_model
from spinloom.workflows.ways_in.estimators import (
    JunctionClassifier,
    JunctionRegressor,
    JunctionReservoir,
    JunctionSeries,
)

SMALL: dict[str, Any] = {"nodes": 5}
NO_SET_OF_ROWS = dict.fromkeys(
    ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
    "the rows of a series are samples in time, each depends on those before it",
)


@parametrize_with_checks(
    [
        JunctionReservoir(**SMALL),
        JunctionSeries(**SMALL),
        JunctionClassifier(**SMALL),
        JunctionRegressor(),  # the rules ask for a score that five junctions do not reach
    ],
    expected_failed_checks=lambda each: NO_SET_OF_ROWS if isinstance(each, JunctionSeries) else {},
)
def test_estimators_keep_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


def waves(trials: int, seed: int, samples: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Sines of two frequencies and random phase: no linear classifier of the samples tells them apart."""
    rng, y = np.random.default_rng(seed), np.arange(trials) % 2
    period = np.where(y, 30.0, 40.0)[:, None]
    return np.sin(2 * np.pi * np.arange(samples) / period + rng.uniform(0, 2 * np.pi, (trials, 1))), y


def test_a_grid_search_in_a_pipeline_beats_what_is_linear():
    (X, y), (X_test, y_test) = waves(48, 0), waves(48, 1)
    pipeline = make_pipeline(StandardScaler(), JunctionReservoir(nodes=10), RidgeClassifier(1e-3))
    grid = {"junctionreservoir__spectral_radius": [0.1, 0.6], "junctionreservoir__features": ["mean", "square"]}
    search = GridSearchCV(pipeline, grid, cv=StratifiedKFold(3), error_score="raise").fit(X, y)
    assert set(search.best_params_) == set(grid)
    linear = make_pipeline(StandardScaler(), RidgeClassifier(1e-3)).fit(X, y)
    assert linear.score(X_test, y_test) < 0.8
    assert search.score(X_test, y_test) > 0.95


def test_a_search_over_a_classifier_and_what_it_gives():
    (X, y), (X_test, y_test) = waves(48, 2), waves(24, 3)
    names = np.array(["low", "high"])
    search = GridSearchCV(JunctionClassifier(nodes=5), {"input": [0.0, 1.7]}, cv=3).fit(X, names[y])
    assert search.best_params_ == {"input": 1.7}  # a network without inputs knows nothing
    assert search.score(X_test, names[y_test]) > 0.9
    assert list(search.best_estimator_.classes_) == ["high", "low"]


def test_numbers_are_told_from_series_better_than_by_what_is_linear():
    rng = np.random.default_rng(0)
    y = rng.uniform(0.1, 0.2, (120, 1))
    X = np.sin(y * np.arange(60) + rng.uniform(0, 2 * np.pi, (120, 1)))
    both = np.hstack([y, y**2])
    model = JunctionRegressor(nodes=20).fit(X[:80], both[:80])
    assert model.predict(X[80:]).shape == (40, 2)
    assert model.score(X[80:], both[80:]) > 0.9
    assert Ridge(1e-3).fit(X[:80], both[:80]).score(X[80:], both[80:]) < 0.5


def test_features_are_those_of_a_network_that_runs_directly():
    X, _ = waves(6, 4, samples=20)
    fields = {"nodes": 5, "spectral_radius": 0.4, "density": 0.5, "input": 1.2, "bias": 0.5, "gain": 0.7}
    found = JunctionReservoir(**fields, washout=8, hold=2, seed=3).fit_transform(X)
    weights = draw(Topology(**fields), [3]).repeat(6)
    s = np.repeat(X.T, 2, axis=0)
    _, record = simulate(
        shipped_model().scaled, weights, target=0 * s, hold=np.ones(len(s), bool), s=s, record="r", chunk=20
    )
    r = record.r[16:]
    np.testing.assert_allclose(found, np.hstack([r.mean(axis=0), (r**2).mean(axis=0), r[-1]]), rtol=0, atol=1e-12)


def test_a_series_is_a_trial_sample_by_sample():
    X, _ = waves(1, 5, samples=9)
    last = JunctionReservoir(nodes=5, features="last", hold=3).fit(X)
    signals = JunctionSeries(nodes=5, hold=3).fit_transform(X.T)
    ends = [JunctionReservoir(nodes=5, features="last", hold=3).fit_transform(X[:, :n])[0] for n in (1, 4, 9)]
    np.testing.assert_allclose(signals[[0, 3, 8]], ends, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(last.transform(X)[0], ends[-1])


def test_a_trial_does_not_depend_on_its_neighbours():
    """Nor on how many there are: more than run at once."""
    X, _ = waves(TOGETHER + 6, 6, samples=10)
    reservoir = JunctionReservoir(**SMALL).fit(X)
    whole, order = reservoir.transform(X), np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(reservoir.transform(X[order]), whole[order])
    np.testing.assert_array_equal(np.vstack([reservoir.transform(X[k : k + 1]) for k in (0, 69)]), whole[[0, 69]])


def test_long_trials_are_summed_up_in_pieces(monkeypatch):
    X, _ = waves(3, 7, samples=40)
    options = {"washout": 13, "hold": 2, **SMALL}
    whole = JunctionReservoir(**options).fit_transform(X)
    series = JunctionSeries(nodes=5, hold=2).fit_transform(X[:1].T)
    monkeypatch.setattr("spinloom.workflows.ways_in.estimators._PIECE", 10)
    np.testing.assert_allclose(JunctionReservoir(**options).fit_transform(X), whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(JunctionSeries(nodes=5, hold=2).fit_transform(X[:1].T), series, rtol=0, atol=1e-12)


def test_channels_are_one_after_the_other_and_the_first_keeps_its_weights():
    rng = np.random.default_rng(8)
    A = rng.uniform(-1, 1, (4, 2, 12))
    both = JunctionReservoir(channels=2, **SMALL).fit(A.reshape(4, -1))
    alone = JunctionReservoir(**SMALL).fit(A[:, 0])
    np.testing.assert_array_equal(both.weights_.w_fb[..., :1], alone.weights_.w_fb)
    quiet = A * [[[1.0], [0.0]]]
    np.testing.assert_allclose(both.transform(quiet.reshape(4, -1)), alone.transform(A[:, 0]), rtol=0, atol=1e-12)
    assert np.abs(both.transform(A.reshape(4, -1)) - alone.transform(A[:, 0])).max() > 1e-3


def test_a_series_remembers_and_splits_in_time():
    x = np.random.default_rng(0).uniform(-1, 1, 400)
    y = np.roll(x, 1) * np.roll(x, 2)
    pipeline = make_pipeline(JunctionSeries(nodes=20), Ridge(1e-3))
    search = GridSearchCV(pipeline, {"junctionseries__spectral_radius": [0.168, 5.0]}, cv=TimeSeriesSplit(2))
    search.fit(x[:300, None], y[:300])
    assert search.best_params_ == {"junctionseries__spectral_radius": 0.168}  # the other sings on its own
    assert search.score(x[300:, None], y[300:]) > 0.5
    assert Ridge(1e-3).fit(x[:300, None], y[:300]).score(x[300:, None], y[300:]) < 0.1


def test_models_are_taken_as_they_are_and_from_files(coarse_model, coarse_model_path):
    X, _ = waves(4, 9, samples=10)
    found = [
        JunctionReservoir(model, **SMALL).fit_transform(X)
        for model in (coarse_model, coarse_model_path, str(coarse_model_path))
    ]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])
    assert np.abs(found[0] - JunctionReservoir(**SMALL).fit_transform(X)).max() > 1e-3
    again = clone(JunctionReservoir(coarse_model, **SMALL)).fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).transform(X), found[0])


def test_a_fitted_network_answers_in_full_micromagnetics(coarse_model):
    """The embedded engine at every junction: close to the reduced model, and not the same."""
    X, _ = waves(8, 10, samples=30)
    reduced = JunctionReservoir(coarse_model, nodes=3).fit(X)
    found = reduced.transform(X[:2])
    full = clone(reduced).set_params(engine="embedded").fit(X).transform(X[:2])
    assert 1e-9 < np.abs(full - found).max() < 0.02


def test_devices_of_a_population_take_turns(wafer_model):
    deviations = np.zeros((3, len(PARAMETERS)))
    deviations[1] = 0.02
    X, _ = waves(3, 11, samples=10)
    reservoir = JunctionReservoir(wafer_model.on(deviations), nodes=5).fit(X)
    assert reservoir.weights_.devices == ((0, 1, 2, 0, 1),)
    alike = JunctionReservoir(wafer_model, nodes=5).fit(X).transform(X)
    differ = np.abs(reservoir.transform(X) - alike)[:, :5]
    assert (differ[:, [1, 4]] > 1e-6).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"nodes": 0}, "nodes: .*greater than or equal to 1; got 0"),
        ({"gain": -1.0}, "gain: .*greater than 0"),
        ({"density": np.nan}, "density"),
        ({"channels": 7}, "channels: expected rows of 7 channels .* got 10 columns"),
        ({"channels": 0}, "channels: expected a whole number of at least 1, got 0"),
        ({"washout": 10}, "washout: expected fewer than the 10 samples"),
        ({"hold": 0}, "hold: expected a whole number of at least 1"),
        ({"hold": 1.5}, "hold: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number of at least 0"),
        ({"features": "median"}, "features: expected some of mean, square, last"),
        ({"features": ("mean", "mean")}, "each once"),
        ({"features": ()}, "features: expected some of"),
        ({"ridge": 0.0}, "ridge: expected a penalty above 0"),
        ({"engine": "mumax"}, "engine: expected one of embedded, oommf"),
        ({"engine": "oommf-reference"}, "engine: expected one that computes"),
        ({"model": 3}, "model: expected a CalibratedModel, .* got int"),
        ({"model": "no.nc"}, "no.nc"),
    ],
)
def test_a_wrong_parameter_is_named(options, told):
    X, y = waves(4, 12, samples=10)
    with pytest.raises(SpinloomError, match=told):
        JunctionClassifier(**{**SMALL, **options}).fit(X, y)


def test_warm_junctions_train_on_one_noise_and_are_judged_on_another(large_card, rigid_engine, monkeypatch):
    """Each is the same whenever it is asked for."""
    warm = rigid_engine(large_card.at(300), 1e-11).node
    model = SimpleNamespace(scaled=Scale(spread=0.1).of(warm), deviations=None)
    monkeypatch.setattr("spinloom.workflows.ways_in.estimators.known_model", lambda _: model)
    X, _ = waves(4, 14, samples=20)
    for estimator, rows in ((JunctionReservoir(**SMALL), X), (JunctionSeries(**SMALL), X[:1].T)):
        trained, judged = estimator.fit_transform(rows), estimator.transform(rows)
        assert np.abs(trained - judged).max() > 1e-3
        np.testing.assert_array_equal(trained, estimator.fit_transform(rows))
        np.testing.assert_array_equal(judged, estimator.transform(rows))
        assert np.abs(trained - clone(estimator).set_params(seed=1).fit_transform(rows)).max() > 1e-3


def test_they_are_found_in_the_package():
    for cls in (JunctionReservoir, JunctionSeries, JunctionRegressor, JunctionClassifier):
        assert getattr(spinloom, cls.__name__) is cls


def test_what_takes_long_is_told(monkeypatch, capsys):
    X, _ = waves(4, 13, samples=10)
    JunctionReservoir(**SMALL).fit_transform(X)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("spinloom.workflows.ways_in.driven._LONG", 10)
    JunctionReservoir(**SMALL).fit_transform(X)
    assert "4 trials on 5 junctions" in capsys.readouterr().err
