"""Records as ubermag's tables and drives."""

import discretisedfield as df
import micromagneticdata as md
import numpy as np
import pytest
import ubermagtable as ut
import xarray as xr

import spinloom
from spinloom.networks.record import load_record


@pytest.fixture(scope="module")
def replayed(coarse_card):
    u = np.array([[0.0, 0.3], [0.5, 0.3], [0.5, -0.2]])
    return spinloom.replay(coarse_card, u, [7.5e-12, 5e-12, 1e-11])


def test_a_replay_is_a_table_for_each_device(replayed):
    found = spinloom.to_table(replayed, 1)
    assert isinstance(found, ut.Table)
    assert (found.x, found.units) == ("t", {"t": "s", "u": "", "mx": "", "my": "", "mz": ""})
    np.testing.assert_allclose(found.data["t"], [7.5e-12, 12.5e-12, 22.5e-12])
    np.testing.assert_array_equal(found.data["u"], [0.3, 0.3, -0.2])
    np.testing.assert_array_equal(found.data[["mx", "my", "mz"]], replayed["m"].values[:, 1])


def test_a_calibration_set_is_a_table_for_each_trajectory(coarse_calibration):
    found = spinloom.to_table(coarse_calibration, 5).data
    np.testing.assert_array_equal(found["t"], coarse_calibration["t"])
    np.testing.assert_array_equal(found["u"], coarse_calibration["u"][5])
    np.testing.assert_array_equal(found["my"], coarse_calibration["m"][5, :, 1])


def test_a_verdict_is_a_table_for_each_network():
    record = load_record("data/reference/networks/cosimulation.nc")
    by_name, by_number = (spinloom.to_table(record, which) for which in ("triangle", 1))
    assert by_name.data.equals(by_number.data)
    assert by_name.units["t"] == "s"
    one = record.sel(network="triangle")
    np.testing.assert_array_equal(by_name.data["z_full"], one["z_full"].values[:, 0])
    np.testing.assert_array_equal(by_name.data["f"][:84], one["f"].values[:, 0])
    np.testing.assert_array_equal(by_name.data["f"][84:168], one["f"].values[:, 0])
    np.testing.assert_array_equal(by_name.data["r_embedded_39"], one["r_embedded"].values[:, 39].astype(float))
    assert "u_full_0" in by_name.data


def test_a_verdict_that_stopped_early_has_as_many_rows_as_it_ran():
    record = load_record("data/reference/networks/cosimulation.nc").assign(periods=(("network",), [2, 10, 10]))
    assert len(spinloom.to_table(record, 0).data) == 2 * 84


def test_a_replay_is_a_drive_of_micromagneticdata(replayed, coarse_card):
    drive = spinloom.to_drive(replayed, 1)
    assert isinstance(drive, md.AbstractDrive)
    (step,) = drive
    assert isinstance(step, df.Field)
    mask = coarse_card.geometry.mask()
    Ms = coarse_card.material.Ms
    np.testing.assert_allclose(step.array[mask].mean(axis=0) / Ms, replayed["m"].values[-1, 1], atol=1e-12)
    np.testing.assert_allclose(drive.m0.array[mask] / Ms, replayed["field_start"].values[1][mask], atol=1e-12)
    assert np.abs(drive.m0.array - step.array).max() > 1e-2 * Ms
    assert drive.table.data["u"].tolist() == [0.3, 0.3, -0.2]
    assert drive.to_xarray().dims == ("x", "y", "z", "vdims")
    assert drive.info["driver"] == "TimeDriver"
    halved = drive.register_callback(lambda field: 0.5 * field)
    np.testing.assert_allclose(halved[0].array, step.array / 2)
    twice = drive << drive
    assert (twice.n, len(twice.table.data)) == (2, 6)
    with pytest.raises(ValueError, match="x: expected one of t, u, mx, my, mz, got 'w'"):
        drive.x = "w"


def test_a_calibration_set_has_the_field_it_started_from(coarse_calibration):
    drive = spinloom.to_drive(coarse_calibration, 2)
    assert list(drive) == []
    m = drive.m0.array[np.linalg.norm(drive.m0.array, axis=-1) > 0]
    np.testing.assert_allclose(m.mean(axis=0) / 8e5, coarse_calibration["m_start"], atol=1e-9)


def test_what_is_no_record_is_told(replayed, wafer_calibration):
    with pytest.raises(
        spinloom.SpinloomError, match="expected what replay, calibrate or cosimulate give, got .* nothing"
    ):
        spinloom.to_table(xr.Dataset())
    with pytest.raises(spinloom.SpinloomError, match="the number of a device below 2, got 2"):
        spinloom.to_table(replayed, 2)
    record = load_record("data/reference/networks/cosimulation.nc")
    with pytest.raises(spinloom.SpinloomError, match="one of .*triangle.*, or the number .* below 3, got 'sinus'"):
        spinloom.to_table(record, "sinus")
    with pytest.raises(spinloom.SpinloomError, match="keeps no fields"):
        spinloom.to_drive(record)
    with pytest.raises(spinloom.SpinloomError, match="a population keeps the field of its nominal device alone"):
        spinloom.to_drive(wafer_calibration)
