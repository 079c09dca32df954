"""From what OOMMF computed, on a machine without OOMMF."""

import json

import numpy as np
import pytest

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.networks.loop import simulate
from spinloom.networks.record import judged, load_record
from spinloom.networks.reference import reference_networks
from spinloom.networks.store import load_network
from spinloom.networks.topology import Weights
from spinloom.reduced_models.model import load_model

TASKS = ("sine", "triangle", "harmonics")


@pytest.fixture(scope="module")
def record():
    return load_record(reference_networks() / "cosimulation.nc")


@pytest.fixture(scope="module")
def networks():
    return [load_network(reference_networks() / f"network-{task}.nc")[0] for task in TASKS]


def test_the_record_is_of_forty_junctions_and_ten_periods(record, networks):
    assert (record.attrs["engine"], record.attrs["engine_version"]) == ("oommf", "2.1a0")
    assert list(record["network"].values) == list(TASKS)
    assert record["r_full"].shape == (10 * 84, 3, 40)
    assert "ReadFile drive" in str(record["oommf_input"].values)
    assert json.loads(record.attrs["networks"])["sine"] == networks[0].settings


@pytest.mark.parametrize("task", TASKS)
def test_the_record_holds_what_it_shows(record, task):
    """The output is the trained read-out of the recorded signals, and the drive follows from both."""
    one, network = record.sel(network=task), load_network(reference_networks() / f"network-{task}.nc")[0]
    w, scale = network.weights, load_model(reference_networks() / "model.nc").scale
    r, z = (one["r_full"].values.astype(float) - scale.mean) / scale.spread, one["z_full"].values
    np.testing.assert_allclose(r @ w.w_out[0, 0, :-1] + w.w_out[0, 0, -1], z[:, 0], atol=1e-4)
    v = r[:-1] @ w.W[0].T + z[:-1] @ w.w_fb[0].T + w.b[0]
    np.testing.assert_allclose(scale.reach * np.clip(w.gain[0] * v, -1, 1), one["u_full"].values[1:], atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_embedded_and_oommf_agree_at_the_output_and_at_every_junction(record, task):
    result = judged(record, task)
    assert result["output_apart_first_periods"] < 1e-3
    assert result["max_node_apart"] < 1e-3
    assert result["nrmse_full"] == pytest.approx(result["nrmse_embedded"], abs=1e-4)


@pytest.mark.slow
def test_the_embedded_engine_of_this_version_follows_the_record(record, networks):
    """All 120 junctions in closed loop, from their own equilibrium to the end of the first free period."""
    model = load_model(reference_networks() / "model.nc")
    weights = Weights.stack([network.weights for network in networks])
    f = np.stack([network.f for network in networks], axis=1)
    washout = networks[0].settings["washouts"][0]
    target = np.tile(f, (washout + 1, 1, 1))
    hold = np.arange(len(target)) < washout * len(f) - 1
    node = model.scale.of(EmbeddedEngine(model.card, model.tick).node)
    _, ours = simulate(node, weights, target=target, hold=hold, record="r")
    free = slice(washout * len(f), None)
    np.testing.assert_allclose(ours.z[free], record["z_full"].values[: len(f)], rtol=0, atol=1e-4)
    signal = model.scale.signal(ours.r[free])
    np.testing.assert_allclose(signal, record["r_full"].values[: len(f)], rtol=0, atol=1e-4)


def test_cosimulate_takes_the_record_of_its_network(spinloom, record):
    network = reference_networks() / "network-sine.nc"
    outcome = spinloom("cosimulate", network, "--engine", "oommf-reference", "--periods", 12, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["engine"] == "oommf-reference"
    assert outcome.json["periods"] == 10
    assert "OOMMF's record is of 10 periods" in outcome.err
    assert outcome.json["nrmse_full"] == pytest.approx(judged(record, "sine")["nrmse_full"])
    few = spinloom("cosimulate", network, "--engine", "oommf-reference", "--periods", 3, "--json").json
    assert few["periods"] == 3


SMALL = """
name = "anchored"
baselines = false
[generate]
tasks = ["sine"]
free_periods = 2
[generate.training]
teacher_periods = 20
force_periods = 10
trim_rounds = 1
trim_periods = 4
tries = 1
[generate.topology]
nodes = 8
[recognise]
train_trials = 16
test_trials = 8
full_trials = 4
[recognise.topology]
nodes = 8
"""


@pytest.mark.slow
def test_a_run_starts_from_oommf_s_numbers(spinloom, tmp_path):
    """Calibrated and fitted as shipped; a network of another size is judged by the embedded engine."""
    experiment = tmp_path / "small.toml"
    experiment.write_text(SMALL.replace("free_periods = 2", "free_periods = 2\nfull_periods = 1"))
    command = ("run", experiment, "--engine", "oommf-reference", "--out", tmp_path / "run", "--json")
    outcome = spinloom(*command)
    assert outcome.code == 0, outcome.err
    assert outcome.json["engine"] == {"name": "oommf", "version": "2.1a0"}
    assert outcome.json["reduced_model"]["holdout_nrmse"] < 0.005
    assert outcome.json["generate"]["sine"]["engine_full"] == "embedded"
    shipped = load_model(reference_networks() / "model.nc")
    fitted = load_model(tmp_path / "run" / "model.nc")
    u = np.random.default_rng(0).uniform(-1, 1, 200)
    np.testing.assert_allclose(fitted.simulate(u), shipped.simulate(u), atol=1e-6)
