"""What networks did, as a file, and the figures that follow from it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.networks.loop import Record
from spinloom.networks.measures import free_run_error, phase_drift, shape_error
from spinloom.networks.record import TWO_ENGINES, judged, load_record, make_record, save_record, save_unfinished
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Topology, draw
from spinloom.networks.trials import generate

TOPOLOGY = Topology(nodes=4, spectral_radius=0.9, feedback=1.0, bias=0.4, gain=1.3, clock=4.0)
SCALE, TICK, TICKS = Scale(mean=0.1, spread=0.6, reach=0.5), 7.5e-12, 20


@pytest.fixture(params=[1, 2])
def outputs(request):
    return request.param


@pytest.fixture
def networks(outputs):
    rng = np.random.default_rng(0)
    weights = draw(TOPOLOGY, [0, 1], outputs).with_readout(0.4 * rng.normal(size=(2, outputs, 5)))
    f = rng.normal(size=(TICKS, 2, outputs))
    return [
        TrainedNetwork("generate", name, weights.one(k), TICKS, f[:, k], {"seed": k, "washouts": [2, 5]})
        for k, name in enumerate(("sine", "circle"))
    ]


@pytest.fixture
def runs(networks, make_low_pass):
    """Of filters that differ a little: as if one of them were the truth."""
    weights = type(networks[0].weights).stack([network.weights for network in networks])
    f = np.stack([network.f for network in networks], axis=1)

    def of(share):
        # With a clock, so that untrained networks oscillate at the period and have a phase.
        clock = TOPOLOGY.clock_period(TICKS)
        return generate(SCALE.of(make_low_pass(share)), weights, f, 8, 2, clock=clock, record="all")

    return {"full": of(0.4), "reduced": of(0.41), "embedded": of(0.401)}


@pytest.fixture
def record(networks, runs):
    return _whole(make_record(networks, SCALE, TICK, runs))


def _whole(record):
    record = record.assign_attrs(engine="embedded")
    return record.assign(outside_share=(("network",), [0.0, 0.25]))


def test_a_record_is_in_the_units_of_the_devices(record, runs, networks, outputs):
    full = runs["full"]
    assert dict(record.sizes) == {"period_tick": TICKS, "network": 2, "output": outputs, "tick": 160, "node": 4}
    np.testing.assert_allclose(record["u_full"], 0.5 * full.record.u, rtol=1e-6)
    # After the tick; what a low pass shows is its m_x, which the next tick's record has before it.
    np.testing.assert_allclose(record["r_full"][:-1], full.record.m[1:, ..., 0], rtol=0, atol=1e-6)
    for name, run in runs.items():
        np.testing.assert_array_equal(record[f"z_{name}"], run.z)
    np.testing.assert_array_equal(record["f"], full.f)
    np.testing.assert_allclose(record["t"], TICK * np.arange(1, 161))
    assert record["network"].values.tolist() == ["sine", "circle"]
    assert json.loads(record.attrs["networks"]) == {network.name: network.settings for network in networks}
    for name in ("u_full", "r_full", "t", "z_full"):
        assert record[name].attrs["units"]


def test_a_record_is_read_as_it_was_written(record, tmp_path):
    save_record(record, tmp_path / "record.nc")
    found = load_record(tmp_path / "record.nc")
    for name in record.variables:
        np.testing.assert_array_equal(found[name], record[name])
    for name in ("sine", "circle"):
        assert judged(found, name) == judged(record, name)
    files.save(record, tmp_path / "old.nc", "cosimulation", 2)
    with pytest.raises(SpinloomError, match="cosimulation format 2, but this Spinloom reads format 3"):
        load_record(tmp_path / "old.nc")


def test_figures_are_those_of_each_network(record, runs):
    full, reduced = runs["full"], runs["reduced"]
    for k, name in enumerate(("sine", "circle")):
        found = judged(record, name)
        assert (found["task"], found["engine"], found["periods"]) == (name, "embedded", 8)
        assert found["nrmse_full"] == pytest.approx(free_run_error(full.z, full.f)[k])
        assert found["nrmse_reduced"] == pytest.approx(free_run_error(reduced.z, full.f)[k])
        assert found["shape_error_full"] == pytest.approx(shape_error(full.z, full.f)[k])
        assert found["phase_drift_per_period"] == pytest.approx(phase_drift(full.z, full.f)[k])
        apart = 0.6 * np.abs(full.record.r - reduced.record.r)[:, k].max(axis=0)
        assert found["max_node_difference"] == pytest.approx(apart.max(), abs=1e-6)
        assert found["worst_node"] == apart.argmax()
        assert found["outside_share"] == [0.0, 0.25][k]
        assert json.loads(json.dumps(found)) == found


def test_two_engines_are_compared_where_both_ran(record, runs, networks):
    found = judged(record, "circle")
    apart = np.abs(runs["full"].z - runs["embedded"].z)[:, 1]
    assert found["output_apart"] == pytest.approx(apart.max())
    assert found["output_apart_first_periods"] == pytest.approx(apart[: 5 * TICKS].max())
    nodes = 0.6 * np.abs(runs["full"].record.r - runs["embedded"].record.r)[:, 1].max(axis=0)
    assert found["max_node_apart"] == pytest.approx(nodes.max(), abs=1e-6)
    assert found["worst_node_apart"] == nodes.argmax()
    assert found["nrmse_embedded"] == pytest.approx(runs["embedded"].nrmse[1])
    alone = {name: runs[name] for name in ("full", "reduced")}
    without = judged(_whole(make_record(networks, SCALE, TICK, alone)), "circle")
    assert without == {name: value for name, value in found.items() if name not in TWO_ENGINES}


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("which", ["full", "reduced", "embedded"])
def test_a_run_that_diverged_is_told_in_valid_json(networks, runs, tmp_path, which, value):
    """And the figures of the network beside it are not touched."""
    before = judged(_whole(make_record(networks, SCALE, TICK, runs)), "sine")
    z, r = runs[which].z.copy(), runs[which].record.r.copy()
    z[50:, 1], r[50:, 1, 2] = value, value
    broken = {**runs, which: replace(runs[which], z=z, record=runs[which].record._replace(z=z, r=r))}
    record = _whole(make_record(networks, SCALE, TICK, broken))
    assert judged(record, "sine") == before
    found = judged(record, "circle")
    assert found[f"nrmse_{which}"] == np.inf
    if which != "embedded":
        assert not np.isfinite(found["max_node_difference"])
        assert found["worst_node"] == 2
    assert np.isnan(found["phase_drift_per_period"]) == (which == "full")

    def refused(word):
        raise AssertionError(f"not JSON: {word}")

    told = json.loads(files.to_json(found), parse_constant=refused)
    assert told[f"nrmse_{which}"] is None
    save_record(record, tmp_path / "record.nc")
    again = judged(load_record(tmp_path / "record.nc"), "circle")
    assert files.to_json(again) == files.to_json(found)


def test_both_runs_may_diverge(networks, runs):
    z, r = np.full_like(runs["full"].z, np.inf), np.full_like(runs["full"].record.r, np.inf)
    broken = {name: replace(run, z=z, record=run.record._replace(z=z, r=r)) for name, run in runs.items()}
    found = judged(_whole(make_record(networks, SCALE, TICK, broken)), "sine")
    assert found["nrmse_full"] == found["nrmse_reduced"] == np.inf
    assert json.loads(files.to_json(found))["output_apart"] is None


def test_what_was_computed_before_a_run_ended_early_is_kept(networks, runs, tmp_path, outputs):
    path, full = tmp_path / "partial.nc", runs["full"]
    finished = {"sine": replace(full, z=full.z[:, :1], record=Record(full.z[:, :1], full.record.r[:, :1]))}
    pieces = [
        Record(*(values[at : at + 1, 1:] for values in full.record)) for at in range(7)
    ]  # as a plain loop gives them
    save_unfinished(path, SCALE, finished, networks[1:], pieces, {"engine": "oommf"})
    found = files.load(path, "cosimulation-partial", 3)
    assert found.attrs["engine"] == "oommf"
    assert found.attrs["stopped_in"] == "circle"
    assert found.attrs["washout_ticks"] == 2 * TICKS
    np.testing.assert_array_equal(found["z_sine"], full.z[:, 0])
    np.testing.assert_allclose(found["r_sine"], SCALE.signal(full.record.r[:, 0]), rtol=0, atol=1e-6)
    assert found["z_stopped"].dims == ("tick_stopped", "network", "output")
    np.testing.assert_array_equal(found["z_stopped"], full.z[:7, 1:])
    np.testing.assert_allclose(found["r_stopped"], SCALE.signal(full.record.r[:7, 1:]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["u_stopped"], 0.5 * full.record.u[:7, 1:], rtol=1e-6)


def test_a_run_that_ended_before_its_first_tick_keeps_the_finished_ones(networks, runs, tmp_path):
    path = tmp_path / "partial.nc"
    save_unfinished(path, SCALE, {"sine": runs["full"]}, networks[1:], [], {"engine": "oommf"})
    found = files.load(path, "cosimulation-partial", 3)
    assert set(found.data_vars) == {"z_sine", "r_sine"}


def test_a_record_of_several_noises_is_read(record, tmp_path):
    several = record.assign(z_full_seeds=(("seed_full", "tick", "network", "output"), record["z_full"].values[None]))
    save_record(several, tmp_path / "record.nc")
    assert load_record(tmp_path / "record.nc")["z_full_seeds"].ndim == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record.drop_vars("z_full"), "expected a variable z_full"),
        (lambda record: record.drop_vars("r_embedded"), "expected a variable r_embedded"),
        (lambda record: record.drop_vars("z_embedded"), "expected a variable z_embedded"),
        (lambda record: record.assign(r_full=(("tick",), record["t"].values)), "expected numbers with dimensions"),
        (lambda record: record.assign_coords(network=["a", "a"]), "expected a name of its own for each network"),
        (lambda record: record.drop_vars("network"), "expected the names of the networks"),
        (lambda record: record.assign_attrs(networks="["), "networks: not valid JSON"),
        (lambda record: xr.Dataset(record.variables, attrs={"networks": "{}"}), "expected an attribute engine"),
    ],
)
def test_a_record_that_is_not_whole(record, tmp_path, change, told):
    save_record(change(record), tmp_path / "record.nc")
    with pytest.raises(SpinloomError, match=rf"record\.nc: not a whole record \({told}.*; run the networks again"):
        load_record(tmp_path / "record.nc")
