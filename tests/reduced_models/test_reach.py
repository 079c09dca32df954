"""How far a model reaches: graded drives, the largest amplitude that is good, and the curve."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from spinloom.device_models.calibration import Protocol, calibrate
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models import fit as fits
from spinloom.reduced_models import reach
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.model import load_model, save_model
from spinloom.reduced_models.reach import held_out, verdict
from spinloom.reduced_models.region import OutsideCalibration
from spinloom.reduced_models.rollout import single_ticks

GRADES = (0.5, 0.2)


@pytest.fixture(scope="module")
def graded(coarse_card):
    """Ten short trajectories of full amplitude and four of each of two grades."""
    protocol = Protocol(trajectories=10, duration=0.9e-9, seed=3, grades=GRADES, per_grade=4)
    return calibrate(coarse_card, EmbeddedEngine(coarse_card, protocol.tick), protocol)


@pytest.fixture(autouse=True)
def one_candidate(monkeypatch):
    """Nothing to choose from, so that a fit is quick."""
    monkeypatch.setattr(reach, "DEGREES", [4])
    monkeypatch.setattr(reach, "RIDGES", [1e-9])


def spoilt(dataset, *amplitudes):
    """The held-out trajectories of some amplitudes with their components exchanged: nothing can predict them."""
    changed = dataset.copy(deep=True)
    amplitude = dataset["amplitude"].values
    which = held_out(amplitude) & np.isin(amplitude, amplitudes)
    assert which.any()
    changed["m"][which] = changed["m"][which].values[..., ::-1]
    return changed


def fitted(dataset, kind="flow_map", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        return fit_model(dataset, kind, **options)


def test_two_of_eight_are_held_out_in_every_grade_and_their_kinds_differ():
    protocol = Protocol()
    out, amplitude, kinds = held_out(protocol.amplitudes()), protocol.amplitudes(), np.array(protocol.kinds())
    assert np.flatnonzero(out[:40]).tolist() == [4, 9, 14, 19, 24, 29, 34, 39]
    for grade in protocol.grades:
        chosen = kinds[out & (amplitude == grade)]
        assert len(chosen) == len(set(chosen)) == 2
    assert set(kinds[out]) == set(kinds)


@pytest.mark.parametrize(
    ("worst", "word"), [(0.01, "good"), (0.0101, "usable"), (0.05, "usable"), (0.051, "unfit"), (np.inf, "unfit")]
)
def test_verdict(worst, word):
    assert verdict(worst) == word


def test_a_model_that_is_good_throughout_reaches_everywhere(graded, monkeypatch):
    monkeypatch.setattr(reach, "GOOD", 1.0)
    done = []
    model = fitted(graded, progress=done.append)
    assert (model.scale.reach, model.kind, model.info["amplitude"]) == (1.0, "flow_map", 1.0)
    assert [point["amplitude"] for point in model.info["reach_curve"]] == [0.2, 0.5, 1.0]
    assert [point["trajectories"] for point in model.info["reach_curve"]] == [1, 2, 4]
    worst = [point["worst"] for point in model.info["reach_curve"]]
    assert worst == sorted(worst)
    assert worst[-1] == model.holdout_nrmse == max(model.info["holdout_nrmse_each"])
    assert len(done) == 1


def test_the_reach_is_the_largest_amplitude_up_to_which_it_is_good(graded, monkeypatch):
    """What is beyond it is not shown to the model: it is the one of a set without those drives."""
    monkeypatch.setattr(reach, "GOOD", 0.3)
    found = fitted(spoilt(graded, 1.0))
    assert (found.scale.reach, found.info["amplitude"]) == (0.5, 0.5)
    curve = {point["amplitude"]: point for point in found.info["reach_curve"]}
    assert sorted(curve) == [0.2, 0.5, 1.0]
    assert curve[0.5]["worst"] == found.holdout_nrmse < 0.3 < curve[1.0]["worst"]
    assert curve[1.0]["trajectories"] == 4
    assert len(found.info["holdout_nrmse_each"]) == curve[0.5]["trajectories"] == 2
    small = graded.isel(trajectory=graded["amplitude"].values <= 0.5)
    small = small.assign_coords(amplitude=small["amplitude"])
    monkeypatch.setattr(fits, "HOLD_OUT", 4)
    alone = fitted(small)
    np.testing.assert_array_equal(found.estimator.coef_, alone.estimator.coef_)
    np.testing.assert_array_equal(found.region.points, alone.region.points)
    assert found.scale == alone.scale


def test_where_nothing_is_good_the_smallest_error_counts(graded, monkeypatch):
    monkeypatch.setattr(reach, "GOOD", 0.0)
    monkeypatch.setattr(reach, "USABLE", 0.3)
    found = fitted(spoilt(graded, 1.0, 0.2))
    assert found.verdict == "unfit"
    best = min(found.info["reach_curve"], key=lambda point: point["worst"])
    assert found.info["amplitude"] in {point["amplitude"] for point in found.info["reach_curve"]}
    assert found.holdout_nrmse == best["worst"]
    monkeypatch.setattr(reach, "USABLE", 2.0)
    assert fitted(spoilt(graded, 1.0)).verdict == "usable"


def test_a_given_reach_is_taken(graded):
    """The model is fitted up to the smallest amplitude that covers it."""
    for given, amplitude in ((0.5, 0.5), (0.4, 0.5), (0.6, 1.0)):
        found = fitted(graded, reach=given)
        assert (found.scale.reach, found.info["amplitude"]) == (given, amplitude)
        assert max(point["amplitude"] for point in found.info["reach_curve"]) == amplitude


def test_the_scale_is_that_of_drives_as_large_as_the_reach(graded):
    axis, amplitude = np.array([1.0, 0, 0]), graded["amplitude"].values
    for given in (1.0, 0.5):
        signal = graded["m"].values[~held_out(amplitude) & (amplitude == given)] @ axis
        scale = fitted(graded, reach=given).scale
        assert (scale.mean, scale.spread) == (pytest.approx(signal.mean()), pytest.approx(signal.std()))


def test_without_grades_nothing_is_new(coarse_calibration):
    whole = fitted(coarse_calibration)
    bare = fitted(coarse_calibration.drop_vars("amplitude"))
    assert whole.scale == bare.scale
    assert whole.scale.reach == 1.0
    np.testing.assert_array_equal(whole.estimator.coef_, bare.estimator.coef_)
    (point,) = bare.info["reach_curve"]
    assert (point["amplitude"], point["worst"], point["trajectories"]) == (1.0, bare.holdout_nrmse, 2)


@pytest.fixture
def with_memory(monkeypatch):
    """Another kind is known; it counts what it was fitted to, and is a flow map of the third degree."""
    amplitudes = []

    class Memory(FlowMap):
        pass

    def fit(shown):
        amplitudes.append(shown.amplitude.max())
        X, y, _ = single_ticks(shown.m, shown.u, shown.m_start)
        return Memory(degree=3, ridge=1e-9).fit(X, y), []

    monkeypatch.setitem(fits.KINDS, "memory", Memory)
    monkeypatch.setitem(reach.FIT, "memory", fit)
    return amplitudes


def test_auto_asks_a_kind_with_a_memory_only_beyond_the_reach_of_the_flow_map(graded, with_memory, monkeypatch):
    monkeypatch.setattr(reach, "GOOD", 1.0)
    monkeypatch.setattr(reach, "USABLE", 1e9)
    monkeypatch.setattr(fits, "KINDS", {"flow_map": FlowMap, "memory": fits.KINDS["memory"]})
    assert fitted(graded, "auto").scale.reach == 1
    assert with_memory == []
    found = fitted(spoilt(graded, 1.0), "auto")
    assert with_memory == [1.0]
    assert found.scale.reach == 0.5
    assert type(found.estimator) is FlowMap
    assert fitted(spoilt(graded, 1.0)).scale.reach == 0.5
    assert with_memory == [1.0]


def test_auto_asks_it_where_the_flow_map_is_usable_from_there_downwards(graded, with_memory, monkeypatch):
    """What a flow map cannot follow at all, nothing dear is wasted on; its error stays on the curve."""
    monkeypatch.setattr(fits, "KINDS", {"flow_map": FlowMap, "memory": fits.KINDS["memory"]})
    monkeypatch.setattr(reach, "GOOD", 0.0)
    for usable, tried in ((1e9, [1.0, 0.5]), (0.0, [])):
        with_memory.clear()
        monkeypatch.setattr(reach, "USABLE", usable)
        found = fitted(graded, "auto")
        assert with_memory == tried
        curve = {point["amplitude"]: point["kind"] for point in found.info["reach_curve"]}
        assert max(curve) == 1.0
        assert set(curve.values()) <= {"flow_map", "memory"}


def test_the_reach_and_its_curve_are_kept(graded, tmp_path):
    model = fitted(spoilt(graded, 0.2))
    save_model(model, tmp_path / "model.nc")
    found = load_model(tmp_path / "model.nc")
    assert found.info == model.info == json.loads(json.dumps(model.info))
    assert (found.scale, found.verdict) == (model.scale, model.verdict)


@pytest.mark.parametrize("given", ["far", "1"])
def test_a_reach_in_words(graded, given):
    with pytest.raises(SpinloomError, match=f"reach: expected a share of J_max above 0 and at most 1, got '{given}'"):
        fit_model(graded, reach=given)
