"""A calibrated model: fitted, saved, read again, and wrong files refused."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node, drive
from spinloom.reduced_models.model import FORMAT, HOLD_OUT, KIND, KINDS, fit_model, held_out, load_model, save_model
from spinloom.reduced_models.region import OutsideCalibration


@pytest.fixture(scope="module", params=sorted(KINDS))
def model(request, coarse_calibration, coarse_model):
    return coarse_model if request.param == "flow_map" else fit_model(coarse_calibration, request.param)


def test_fit(coarse_model, coarse_calibration, coarse_card):
    assert coarse_model.kind == "flow_map"
    assert coarse_model.card == coarse_card
    assert coarse_model.tick == 7.5e-12
    np.testing.assert_array_equal(coarse_model.m_start, coarse_calibration["m_start"])
    assert coarse_model.holdout_nrmse < 0.1
    info = coarse_model.info
    assert json.loads(json.dumps(info)) == info
    assert info["engine"] == "embedded"
    assert info["protocol"]["trajectories"] == 12
    assert coarse_model.holdout_nrmse == max(info["holdout_nrmse_each"])
    assert len(info["holdout_nrmse_each"]) == 2
    assert 0 <= info["outside_share"] <= 1
    best = max(info["search"], key=lambda row: -row["rollout_nrmse"])
    assert {key: best[key] for key in ("degree", "ridge")} == coarse_model.estimator.get_params()


def test_held_out_trajectories_are_not_used(coarse_calibration, monkeypatch):
    """Spoiling them changes the reported error, not the model."""
    monkeypatch.setattr("spinloom.reduced_models.model.DEGREES", [3])
    monkeypatch.setattr("spinloom.reduced_models.model.RIDGES", [1e-8])
    assert held_out(12).tolist() == [False] * 4 + [True] + [False] * 4 + [True] + [False] * 2
    spoilt = coarse_calibration.copy(deep=True)
    spoilt["m"][held_out(12)] = spoilt["m"][held_out(12)].values[..., ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        model, other = fit_model(coarse_calibration), fit_model(spoilt)
    np.testing.assert_array_equal(other.estimator.coef_, model.estimator.coef_)
    assert other.holdout_nrmse > 10 * model.holdout_nrmse


def test_is_a_node(model, coarse_calibration):
    assert isinstance(model, Node)
    assert model.traceable
    state, m = model.start(2)
    np.testing.assert_array_equal(m, np.broadcast_to(model.m_start, (2, 3)))
    u = coarse_calibration["u"].values[:2]
    _, driven = drive(model, u.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        np.testing.assert_allclose(driven, model.simulate(u.T), atol=1e-10)
    _, m = model.step(state, np.zeros(2))
    assert np.shape(m) == (2, 3)


def test_follows_what_it_was_fitted_to(coarse_model, coarse_calibration):
    m = coarse_model.simulate(coarse_calibration["u"].values[0])
    truth = coarse_calibration["m"].values[0]
    assert np.sqrt(((m - truth) ** 2).sum(axis=1).mean()) < 0.05 * truth.std(axis=0).max()


def test_simulate_from_another_start(coarse_model, coarse_calibration):
    m, u = coarse_calibration["m"].values[0], coarse_calibration["u"].values[0]
    later = coarse_model.simulate(u[50:], m[49])
    np.testing.assert_allclose(later, m[50:], atol=0.05)


def test_simulate_warns_outside(coarse_model):
    with pytest.warns(OutsideCalibration, match="roll-out: .* outside the region of calibration"):
        coarse_model.simulate(np.zeros(20), -coarse_model.m_start)


def test_read_again_it_is_bit_equal(model, tmp_path, coarse_calibration):
    path = tmp_path / "model.nc"
    save_model(model, path)
    found = load_model(path)
    assert found.kind == model.kind
    assert found.card == model.card
    assert found.tick == model.tick
    assert found.info == model.info
    assert found.holdout_nrmse == model.holdout_nrmse
    assert found.region.threshold == model.region.threshold
    assert found.estimator.get_params() == model.estimator.get_params()
    u = coarse_calibration["u"].values[:5].T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        np.testing.assert_array_equal(found.simulate(u), model.simulate(u))
    X = np.column_stack([coarse_calibration["m"].values[0], u[:, 0]])
    np.testing.assert_array_equal(found.estimator.predict(X), model.estimator.predict(X))
    np.testing.assert_allclose(found.region.points, model.region.points, atol=1e-7)


def test_a_model_saved_twice_is_the_same(coarse_model_path, tmp_path):
    first = load_model(coarse_model_path)
    save_model(first, tmp_path / "again.nc")
    second = load_model(tmp_path / "again.nc")
    np.testing.assert_array_equal(first.estimator.coef_, second.estimator.coef_)
    np.testing.assert_array_equal(first.region.points, second.region.points)


def test_nothing_in_the_file_can_run(coarse_model_path):
    """Numbers, names and JSON only: no object that would have to be unpickled."""
    with xr.open_dataset(coarse_model_path, engine="h5netcdf") as dataset:
        for variable in dataset.variables.values():
            assert variable.dtype.kind in "fiuUT" or all(isinstance(v, str) for v in variable.values.ravel())
        for value in dataset.attrs.values():
            assert isinstance(value, str | float | int | np.number)
    content = coarse_model_path.read_bytes()
    assert b"sklearn" not in content
    assert b"pickle" not in content


def test_unknown_kind(coarse_calibration):
    with pytest.raises(SpinloomError, match="kind: expected one of flow_map, macrospin, got 'neural'"):
        fit_model(coarse_calibration, "neural")


def test_too_few_trajectories(coarse_calibration):
    few = coarse_calibration.isel(trajectory=slice(2 * HOLD_OUT - 1))
    with pytest.raises(SpinloomError, match="calibration: expected at least 10 trajectories to fit and test, got 9"):
        fit_model(few)


def test_missing_file(tmp_path):
    with pytest.raises(SpinloomError, match="none.nc: no such file"):
        load_model(tmp_path / "none.nc")


def test_truncated_file(coarse_model_path, tmp_path):
    path = tmp_path / "cut.nc"
    path.write_bytes(coarse_model_path.read_bytes()[:4000])
    with pytest.raises(SpinloomError, match="damaged or not NetCDF"):
        load_model(path)


def test_another_kind_of_file(coarse_calibration_path):
    with pytest.raises(SpinloomError, match="expected a reduced model file, got calibration"):
        load_model(coarse_calibration_path)


@pytest.fixture
def rewritten(coarse_model_path, tmp_path):
    """The model file with something changed."""

    def make(change, kind=KIND, version=FORMAT):
        dataset = xr.load_dataset(coarse_model_path, engine="h5netcdf")
        path = tmp_path / "changed.nc"
        files.save(change(dataset), path, kind, version)
        return path

    return make


def test_another_version(rewritten):
    with pytest.raises(SpinloomError, match=f"format {FORMAT + 1}, but this Spinloom reads format {FORMAT}"):
        load_model(rewritten(lambda d: d, version=FORMAT + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.drop_vars("fitted_coef_"),
        lambda d: d.drop_vars("region_points"),
        lambda d: d.drop_vars("m_start"),
        lambda d: d.assign_attrs(model="neural"),
        lambda d: d.assign_attrs(params="{"),
        lambda d: d.assign_attrs(params='{"layers": 3}'),
        lambda d: d.assign_attrs(info="not JSON"),
    ],
    ids=["no coefficients", "no region", "no start", "unknown model", "cut parameters", "odd parameters", "no info"],
)
def test_a_file_that_is_not_whole(rewritten, change):
    with pytest.raises(SpinloomError, match="not a whole model file"):
        load_model(rewritten(change))


def test_a_card_that_is_wrong(rewritten):
    with pytest.raises(SpinloomError, match="alpha"):
        load_model(rewritten(lambda d: d.assign_attrs(card=d.attrs["card"].replace('"alpha":0.1', '"alpha":7'))))
