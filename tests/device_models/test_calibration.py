"""The calibration protocol and its data set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from spinloom.device_models import files
from spinloom.device_models.calibration import (
    CYCLE,
    FORMAT,
    KIND,
    Protocol,
    calibrate,
    load_calibration,
    save_calibration,
)
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.drives import KINDS
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive


def test_protocol_draws_every_kind():
    protocol = Protocol(trajectories=9, duration=0.3e-9)
    assert set(protocol.kinds()) == set(KINDS) == set(CYCLE)
    u = protocol.drives()
    assert u.shape == (9, 40)
    assert np.abs(u).max() <= 1
    np.testing.assert_array_equal(u, Protocol(trajectories=9, duration=0.3e-9).drives())
    assert not np.array_equal(u, Protocol(trajectories=9, duration=0.3e-9, seed=1).drives())


def test_more_trajectories_keep_the_first_ones():
    few, many = (Protocol(trajectories=n, duration=0.1e-9).drives() for n in (4, 7))
    np.testing.assert_array_equal(many[:4], few)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tick", 0), ("tick", float("nan")), ("trajectories", 3), ("duration", -1), ("seed", -1), ("x", 1)],
)
def test_bad_protocol(field, value):
    with pytest.raises(ValidationError, match=field):
        Protocol(**{field: value})


def test_data_set(coarse_calibration, coarse_card):
    dataset = coarse_calibration
    assert dataset["u"].dims == ("trajectory", "tick")
    assert dataset["m"].dims == ("trajectory", "tick", "component")
    assert dataset["m"].shape == (12, 200, 3)
    assert dataset["field_start"].shape == (6, 6, 1, 3)
    assert dataset["component"].values.tolist() == ["x", "y", "z"]
    for name in ("u", "m", "m_start", "field_start"):
        assert dataset[name].attrs["units"] == "1"
        assert dataset[name].attrs["long_name"]
    assert dataset["t"].attrs["units"] == "s"
    np.testing.assert_allclose(dataset["t"], 7.5e-12 * np.arange(1, 201))
    assert dataset["drive_kind"].values[:8].tolist() == list(CYCLE)
    assert DeviceCard.from_json(dataset.attrs["card"]) == coarse_card
    assert json.loads(dataset.attrs["protocol"])["trajectories"] == 12
    assert dataset.attrs["engine"] == "embedded"
    assert dataset.attrs["tick_s"] == 7.5e-12
    assert dataset.attrs["device_ns"] == pytest.approx(18)
    assert dataset.attrs["wall_s"] > 0


def test_values_are_what_the_engine_says(coarse_calibration, coarse_card):
    engine = EmbeddedEngine(coarse_card, 7.5e-12)
    start = engine.node.moment(engine.node.start(1))
    np.testing.assert_allclose(coarse_calibration["m_start"], start[0], atol=1e-12)
    mask = coarse_card.geometry.mask()
    np.testing.assert_allclose(coarse_calibration["field_start"].values[mask].mean(axis=0), start[0], atol=1e-12)
    np.testing.assert_array_equal(coarse_calibration["field_start"], engine.equilibria[0])
    _, m = drive(engine.node, coarse_calibration["u"].values[:2].T)
    np.testing.assert_allclose(coarse_calibration["m"][:2], m.swapaxes(0, 1), atol=1e-10)


def test_progress_counts_every_tick(coarse_card):
    done = []
    calibrate(coarse_card, EmbeddedEngine(coarse_card, 7.5e-12), Protocol(trajectories=4, duration=0.9e-9), done.append)
    assert sum(done) == 120


def test_round_trip(coarse_calibration, coarse_calibration_path):
    found = load_calibration(coarse_calibration_path)
    for name in coarse_calibration.variables:
        np.testing.assert_array_equal(found[name], coarse_calibration[name])
    for name in ("card", "protocol", "engine", "engine_version", "tick_s"):
        assert found.attrs[name] == coarse_calibration.attrs[name]
    assert found.attrs["spinloom_kind"] == KIND


def test_truncated_file(coarse_calibration_path, tmp_path):
    path = tmp_path / "cut.nc"
    path.write_bytes(coarse_calibration_path.read_bytes()[:5000])
    with pytest.raises(SpinloomError, match="cut.nc: damaged or not NetCDF"):
        load_calibration(path)


def test_wrong_kind(coarse_calibration, tmp_path):
    files.save(coarse_calibration, tmp_path / "a.nc", "reduced model", FORMAT)
    with pytest.raises(SpinloomError, match="expected a calibration file, got reduced model"):
        load_calibration(tmp_path / "a.nc")


def test_wrong_version(coarse_calibration, tmp_path):
    files.save(coarse_calibration, tmp_path / "a.nc", KIND, FORMAT + 1)
    with pytest.raises(
        SpinloomError, match=f"calibration format {FORMAT + 1}, but this Spinloom reads format {FORMAT}"
    ):
        load_calibration(tmp_path / "a.nc")


def test_values_that_are_not_finite(coarse_calibration, tmp_path):
    damaged = coarse_calibration.copy(deep=True)
    damaged["m"][3, 7, 0] = np.nan
    save_calibration(damaged, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match="variable m has values that are not finite"):
        load_calibration(tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["u", "m"])
def test_missing_variable(coarse_calibration, tmp_path, name):
    save_calibration(coarse_calibration.drop_vars(name), tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match=f"expected a variable {name} with dimensions"):
        load_calibration(tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["card", "tick_s", "engine", "protocol"])
def test_missing_attribute(coarse_calibration, tmp_path, name):
    damaged = coarse_calibration.copy()
    del damaged.attrs[name]
    save_calibration(damaged, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match=f"expected an attribute {name}"):
        load_calibration(tmp_path / "a.nc")


def test_damaged_card(coarse_calibration, tmp_path):
    damaged = coarse_calibration.assign_attrs(
        card=coarse_calibration.attrs["card"].replace('"alpha":0.1', '"alpha":-1')
    )
    save_calibration(damaged, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match="alpha"):
        load_calibration(tmp_path / "a.nc")
    save_calibration(coarse_calibration.assign_attrs(card="{"), tmp_path / "b.nc")
    with pytest.raises(SpinloomError, match="card"):
        load_calibration(tmp_path / "b.nc")
