"""Training on several patterns from the command line, and their verdict."""

from __future__ import annotations

import numpy as np
import pytest

import spinloom as package
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import Record
from spinloom.networks.patterns import Chosen
from spinloom.networks.store import load_network
from spinloom.workflows.patterns import told

# So few nodes, trained so little, go where a calibration of 1.5 ns has not been.
pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
SHORT = ("--nodes", 6, "--period-ticks", 20, "--tours", 1, "--dwell", 4, "--force-tours", 1, "--tries", 1)


@pytest.fixture(scope="module")
def path(coarse_model_path, tmp_path_factory):
    return tmp_path_factory.mktemp("patterns") / "plane.nc"


@pytest.fixture(scope="module")
def network(coarse_model, path, coarse_model_path):
    """Trained as the command does it, from Python."""
    network = package.train(
        coarse_model,
        "patterns",
        patterns=("circle", "eight"),
        period_ticks=20,
        tours=1,
        dwell=4,
        topology={"nodes": 6},
        training={"force_tours": 1, "tries": 1},
    )
    package.save_network(network, path, coarse_model_path)
    return network


def test_the_command_trains_one_network_on_all_patterns(spinloom, network, coarse_model_path, tmp_path):
    out = tmp_path / "plane.nc"
    outcome = spinloom(
        "train", "patterns", "--tasks", "circle,eight", "--model", coarse_model_path, "--out", out, *SHORT, "--json"
    )
    assert outcome.code == 0, outcome.err
    said = outcome.json
    assert said["patterns"] == ["circle", "eight"]
    assert set(said["switches"]) == {"circle > eight", "eight > circle"}
    assert set(said["baselines"]) == {"memoryless", "leaky", "tanh"}
    assert said["nrmse"] == max(said["switches"].values())
    again, _ = load_network(out)
    assert again.patterns.shape == (2, 20, 2)
    np.testing.assert_array_equal(again.patterns, network.patterns)
    np.testing.assert_allclose(again.weights.w_out, network.weights.w_out)
    assert said["nrmse"] == pytest.approx(network.settings["reached"]["nrmse"])


def test_the_verdict_is_of_full_and_of_reduced_nodes(spinloom, network, path, coarse_model):
    outcome = spinloom("cosimulate", path, "--json")
    assert outcome.code == 0, outcome.err
    said = outcome.json
    assert (said["engine"], said["temperature"], said["levels"]) == ("embedded", 0.0, [-1.0, 1.0])
    for kind in ("full", "reduced"):
        assert set(said[kind]["switches"]) == {"circle > eight", "eight > circle"}
    # One tour of the same network from the same start is what training judged.
    assert said["reduced"]["nrmse"] == pytest.approx(network.settings["reached"]["nrmse"])
    assert said["full"]["nrmse"] != said["reduced"]["nrmse"]
    verdict = package.cosimulate(network, coarse_model)
    assert verdict.figures["full"]["nrmse"] == pytest.approx(said["full"]["nrmse"])


@pytest.mark.parametrize(
    "command", [("finish", "--out"), ("refine", "--steps", 1, "--out"), ("export", "--out"), ("floquet",)]
)
def test_what_cannot_take_such_a_network_says_so(spinloom, network, path, tmp_path, command):
    name, *options = command
    options += [tmp_path / "out.onnx"] if "--out" in options else []
    outcome = spinloom(name, path, *options)
    if name == "finish":
        assert "a finish is for networks that generate; left as it is" in outcome.err
        return
    assert outcome.code == 2
    assert "got one whose input chooses a pattern" in outcome.err


@pytest.mark.parametrize(
    ("tasks", "told_so"),
    [
        ("sine", "patterns"),
        ("sine,sine", "expected each pattern once, got sine, sine"),
        ("sine,circle", "same number of outputs, got sine 1, circle 2"),
        ("sine,nothing", "expected one of sine, triangle"),
    ],
)
def test_bad_patterns_are_told(spinloom, coarse_model_path, tmp_path, tasks, told_so):
    outcome = spinloom("train", "patterns", "--tasks", tasks, "--model", coarse_model_path, "--out", tmp_path / "x.nc")
    assert outcome.code == 2
    assert told_so in outcome.err


def test_kicks_and_recalibration_are_not_for_them(spinloom, network, path):
    outcome = spinloom("cosimulate", path, "--kick")
    assert outcome.code == 2
    assert "for networks that generate one series" in outcome.err


def test_without_patterns_nothing_is_chosen(network, coarse_model):
    from dataclasses import replace

    with pytest.raises(SpinloomError, match="holds no patterns"):
        package.cosimulate(replace(network, patterns=None), coarse_model)


def test_a_network_that_does_not_settle_is_called_so():
    error = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.01, 0.01, 0.01]])[..., None]
    chosen = Chosen(np.zeros((0, 1, 1)), np.array([[1, 0], [0, 1]]), error, np.zeros((2, 4, 1), int), Record())
    said = told(chosen, ["sine", "triangle"], 1e-9, warm=False)
    assert (said["generates"], said["unsettled"], said["settles_periods"], said["settles_s"]) == (False, 1, None, None)
    assert "1 do not settle within 0.1: not every pattern is reached" in said["words"]
    fine = told(chosen._replace(error=0.1 * error), ["sine", "triangle"], 1e-9, warm=False)
    assert (fine["generates"], fine["settles_periods"], fine["settles_s"]) == (True, 0, 0)
