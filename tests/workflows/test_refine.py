"""Refining trained networks from the command line, on the coarse disc."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.gradients import Descent, Taught, losses
from spinloom.networks.seeds import stream
from spinloom.networks.store import load_network, save_network
from spinloom.workflows.refine import refine_network
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings, override
from spinloom.workflows.train import generators, recogniser

# So few nodes, trained so little, go where a calibration of 1.5 ns has not been.
pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")


@pytest.fixture(scope="module")
def square(coarse_model):
    base = GenerateSettings()
    settings = override(
        base,
        period_ticks=48,
        free_periods=4,
        topology=override(base.topology, nodes=8).model_dump(),
        training=override(base.training, method="ridge", teacher_periods=30, trim_periods=8).model_dump(),
    )
    return generators(coarse_model, settings, ["square"])[0]


@pytest.fixture(scope="module")
def listener(coarse_model):
    base = RecogniseSettings()
    topology = override(base.topology, nodes=3).model_dump()
    sizes = {"period_ticks": 24, "train_trials": 48, "test_trials": 48}
    return recogniser(coarse_model, override(base, **sizes, topology=topology))


def test_the_command_refines_a_generator(spinloom, coarse_model_path, square, tmp_path):
    net, out = tmp_path / "square.nc", tmp_path / "new" / "better.nc"
    save_network(square, net, coarse_model_path)
    options = ("--steps", 30, "--periods", 2, "--rate", 0.05, "--noise", 0.02)
    outcome = spinloom("refine", net, *options, "--free", "W,b,gain,w_fb", "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    told = outcome.json
    assert told["loss_after"] < 0.9 * told["loss_before"]
    assert (told["refined"], told["free"], told["physics_aware"]) == (True, ["W", "b", "gain", "w_fb"], False)
    new, _ = load_network(out)
    np.testing.assert_array_equal(new.weights.W[square.weights.W == 0], 0)
    np.testing.assert_array_equal(new.weights.W_in, square.weights.W_in)
    assert np.abs(new.weights.W - square.weights.W).max() > 0
    assert new.settings["refine"]["nrmse_after"] == new.settings["reached"]["nrmse"] == told["nrmse_after"]


@pytest.mark.slow
def test_the_command_refines_a_recogniser(spinloom, coarse_model_path, listener, tmp_path):
    net, out = tmp_path / "recognise.nc", tmp_path / "better.nc"
    save_network(listener, net, coarse_model_path)
    outcome = spinloom("refine", net, "--steps", 20, "--trials", 32, "--rate", 0.05, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["accuracy_before"] == listener.settings["reached"]["accuracy"]
    assert outcome.json["loss_after"] < outcome.json["loss_before"]
    assert load_network(out)[0].weights.w_out.shape == listener.weights.w_out.shape


@pytest.mark.slow
def test_physics_aware_runs_forward_in_full_micromagnetics(coarse_model, square):
    how = Descent(steps=1, check=1)
    _, result = refine_network(square, coarse_model, how, choice=choose_engine("embedded"), periods=1)
    assert result["physics_aware"]
    objective = Taught(square.f[:, None], periods=1, ridge=square.settings["training"]["ridge"])
    batch = objective.batch(square.weights, stream(0, "selection"), 1.0)
    reduced = float(losses(coarse_model.scaled, square.weights, objective, batch)[0])
    assert result["loss_before"] != reduced
    assert result["loss_before"] == pytest.approx(reduced, rel=0.2)


def test_what_does_not_help_is_not_kept(coarse_model, square):
    same, result = refine_network(square, coarse_model, Descent(steps=0), periods=1)
    assert same is square
    assert not result["refined"]
    assert result["nrmse_before"] == result["nrmse_after"]


def test_mistakes_are_told(spinloom, coarse_model, coarse_model_path, square, listener, tmp_path):
    net = tmp_path / "square.nc"
    save_network(square, net, coarse_model_path)
    for options, word in (
        (("--free", "W,mass"), "free"),
        (("--free", "w_out"), "leave w_out out"),
        (("--steps", -1), "steps"),
        (("--physics-aware", "--engine", "oommf-reference"), "needs one that computes"),
    ):
        outcome = spinloom("refine", net, "--out", tmp_path / "out.nc", *options)
        assert (outcome.code, word in outcome.err) == (2, True), outcome.err
    assert "is the network itself" in spinloom("refine", net, "--out", net).err
    assert not (tmp_path / "out.nc").exists()
    save_network(replace(listener, name="hears"), tmp_path / "hears.nc", coarse_model_path)
    assert "expected one that generates, got one that recognises" in spinloom("floquet", tmp_path / "hears.nc").err


def test_the_command_says_why_a_network_does_not_generate(spinloom, coarse_model_path, square, tmp_path):
    net = tmp_path / "square.nc"
    save_network(square, net, coarse_model_path)
    outcome = spinloom("floquet", net, "--steps", 0, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["verdict"] in ("stable", "unstable", "not reached", "stable beside it")
    assert outcome.json["forced"] < 1
    assert outcome.json["nrmse_taught"] < outcome.json["nrmse"]


def test_an_engine_that_does_not_run_side_by_side_is_refused(
    coarse_model, square, rigid_layers, monkeypatch, rigid_engine
):
    monkeypatch.setattr(rigid_engine, "batched", False)
    with pytest.raises(SpinloomError, match="cannot; use embedded"):
        refine_network(square, coarse_model, Descent(steps=1), choice=choose_engine("rigid"))
