"""The finish as a stage, on a coarse disc in full micromagnetics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.networks import finish as module
from spinloom.networks.finish import Plan
from spinloom.networks.store import load_network, save_network
from spinloom.workflows.finish import finish_stage
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings, override
from spinloom.workflows.train import generators

# So few nodes, trained so little, go where a calibration of 1.5 ns has not been.
pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
PLAN = Plan(washout=1, longest=1, rounds=1, periods=1)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "TRIM_PERIODS", 12)
    monkeypatch.setattr(module, "TRIM_ROUNDS", 3)


@pytest.fixture(scope="module")
def networks(coarse_model):
    base = GenerateSettings()
    settings = override(
        base,
        period_ticks=48,
        free_periods=4,
        topology=override(base.topology, nodes=12).model_dump(),
        training=override(
            base.training, teacher_periods=30, force_periods=30, trim_rounds=2, trim_periods=8, tries=1
        ).model_dump(),
    )
    return generators(coarse_model, settings, ["sine"])


def test_all_networks_are_finished_side_by_side(coarse_model, networks):
    sine, kept = networks[0], []
    deaf = replace(sine, name="deaf", weights=replace(sine.weights, gain=0 * sine.weights.gain))
    batch = [sine, replace(sine, name="again"), deaf]
    finished, results = finish_stage(
        batch, coarse_model, choose_engine("embedded"), PLAN, keep=lambda *one: kept.append(one)
    )
    assert [network.name for network in finished] == [result["task"] for _, result in kept] == ["sine", "again", "deaf"]
    assert results[0]["nrmse_after"] == pytest.approx(results[1]["nrmse_after"], rel=1e-6, abs=1e-9)
    for new, result in zip(finished[:2], results[:2], strict=True):
        assert result["finished"], result
        assert result["engine"] == "embedded"
        assert (result["rounds"], result["periods"]) == (1, 2)
        assert 0 < result["node_difference"] < 0.2
        assert new.settings["finish"] == result
        np.testing.assert_array_equal(new.weights.W, sine.weights.W)
        np.testing.assert_array_equal(new.as_trained.weights.w_out, sine.weights.w_out)
        assert np.abs(new.weights.w_out - sine.weights.w_out).max() > 0
    assert finished[2] is deaf
    assert "does not generate" in results[2]["why"]
    (again,), (told,) = finish_stage(finished[:1], coarse_model, choose_engine("embedded"), PLAN)
    assert again is finished[0]
    assert "finished before" in told["why"]


def test_networks_with_and_without_a_clock_are_finished_apart(coarse_model, networks):
    base = GenerateSettings()
    settings = override(
        base,
        period_ticks=48,
        free_periods=4,
        topology=override(base.topology, nodes=12, clock=3.0, feedback=0.0).model_dump(),
        training=override(base.training, method="ridge", teacher_periods=30, noise=0.0).model_dump(),
    )
    (clocked,) = generators(coarse_model, settings, ["sine"])
    finished, results = finish_stage([*networks, clocked], coarse_model, choose_engine("embedded"), PLAN)
    assert [network.clock is None for network in finished] == [True, False]
    assert [result["finished"] for result in results] == [True, True]
    np.testing.assert_array_equal(finished[1].clock, clocked.clock)
    assert abs(results[1]["drift_after"]) < 1e-3


def test_the_command_writes_a_new_network_and_leaves_the_old(spinloom, coarse_model_path, networks, tmp_path):
    net, out = tmp_path / "sine.nc", tmp_path / "new" / "sine.nc"
    save_network(networks[0], net, coarse_model_path)
    before = net.read_bytes()
    outcome = spinloom("finish", net, "--engine", "embedded", "--rounds", 1, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert {"drift_before", "drift_after", "nrmse_before", "nrmse_after", "rounds", "periods", "wall_s", "out"} <= set(
        outcome.json
    )
    assert "12 junctions" in outcome.err
    assert net.read_bytes() == before
    new, _ = load_network(out)
    assert new.settings["finish"]["nrmse_after"] == outcome.json["nrmse_after"]
    assert "is the network itself" in spinloom("finish", net, "--out", net).err
    outcome = spinloom("finish", net, "--out", out, "--rounds", 0)
    assert (outcome.code, "rounds" in outcome.err) == (2, True)


def test_what_does_not_compute_cannot_finish(coarse_model, networks):
    with pytest.raises(SpinloomError, match="finish: expected an engine that computes"):
        finish_stage(networks, coarse_model, choose_engine("oommf-reference"))


def test_recognition_needs_no_finish(coarse_model, networks):
    other = replace(networks[0], task="recognise", settings=RecogniseSettings().model_dump())
    (same,), (result,) = finish_stage([other], coarse_model, choose_engine("embedded"))
    assert same is other
    assert "for networks that generate" in result["why"]


@pytest.mark.oommf
@pytest.mark.slow
def test_live_processes_of_oommf_give_the_same_finish(oommf, spinloom, coarse_model_path, networks, tmp_path):
    net, told, finished = tmp_path / "sine.nc", {}, {}
    save_network(networks[0], net, coarse_model_path)
    for engine in ("oommf", "embedded"):
        out = tmp_path / f"{engine}.nc"
        outcome = spinloom("finish", net, "--engine", engine, "--rounds", 1, "--out", out, "--json")
        assert outcome.code == 0, outcome.err
        told[engine], (finished[engine], _) = outcome.json, load_network(out)
    for key in ("nrmse_before", "nrmse_after", "drift_before", "drift_after", "node_difference"):
        assert told["oommf"][key] == pytest.approx(told["embedded"][key], abs=1e-4), key
    readouts = [finished[engine].weights.w_out for engine in ("oommf", "embedded")]
    np.testing.assert_allclose(*readouts, rtol=1e-3, atol=1e-5)
