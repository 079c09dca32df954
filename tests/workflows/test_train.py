"""What training says of its own result, and that every choice of it is on the command line."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.provenance import data_folder
from spinloom.networks.store import load_network
from spinloom.networks.tasks import target
from spinloom.workflows.settings import load_experiment
from spinloom.workflows.train import told_beforehand, words

REACHED = {"task": "beat", "nrmse": 0.6, "nrmse_taught": 0.02, "shape_error": 0.5, "generates": False}


@pytest.mark.parametrize(
    ("changed", "restless", "clocked", "expected"),
    [
        ({"nrmse": 0.05, "generates": True}, 0.0, False, ["beat is generated (NRMSE 0.05 in free run, 0.02 with"]),
        ({}, 0.0, False, ["is not generated", "the free run leaves it", "--noise", "a clock (--clock"]),
        ({}, 0.0, True, ["the free run leaves it", "less --feedback"]),
        ({"nrmse_taught": 0.31}, 0.0, False, ["cannot represent it", "--period-ticks", "a clock (--clock"]),
        ({"nrmse_taught": 0.31}, 0.0, True, ["cannot represent it", "another --clock-ahead"]),
        ({"nrmse_taught": 0.9}, 0.3, False, ["the network sings", "lower --spectral-radius or --gain"]),
        ({"shape_error": 0.004}, 0.0, False, ["its shape is kept (error 0.004) but it drifts", "--trim-periods"]),
        ({"nrmse": float("inf"), "shape_error": float("inf")}, 0.0, False, ["NRMSE inf", "the free run leaves it"]),
    ],
)
def test_what_cannot_be_represented_and_what_is_unstable_are_told_apart(changed, restless, clocked, expected):
    told = words({**REACHED, **changed}, restless, clocked)
    for part in expected:
        assert part in told
    assert told.count("--clock 20") == (not clocked and not changed.get("generates", False) and restless == 0)


def test_every_choice_of_a_generator_is_on_the_command_line(spinloom, coarse_model_path, tmp_path):
    out = tmp_path / "two.nc"
    options = {
        "nodes": 12, "seed": 3, "period-ticks": 24, "free-periods": 3, "method": "ridge", "teacher-periods": 6,
        "noise": 0, "ridge": 1e-5, "force-periods": 7, "prior-ticks": 100, "trim-rounds": 2, "trim-periods": 5,
        "tries": 3, "noise-seed": 4, "washouts": "3,6", "spectral-radius": 30, "density": 0.5, "feedback": 0.01,
        "bias": 8, "gain": 0.7, "clock": 20, "clock-shape": "ramp", "clock-ahead": 0.25,
    }  # fmt: skip
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    outcome = spinloom(
        "train", "generate", "--task", "two_pulses", "--model", coarse_model_path, "--out", out, "--json", *flags
    )
    assert outcome.code == 0, outcome.err
    network, _ = load_network(out)
    kept = {**network.settings, **network.settings["training"], "noise_seed": network.settings["training"]["seed"]}
    kept |= {**network.settings["topology"], "seed": network.settings["seed"]}
    for name, value in options.items():
        assert kept[name.replace("-", "_")] == ([3, 6] if name == "washouts" else value), name
    ramp = -1 + (np.arange(24) + 0.5) / 12
    np.testing.assert_allclose(network.clock, np.roll(ramp, -6))
    said = outcome.json
    assert said["washouts"] == [3, 6]
    assert said["generates"] == (said["nrmse"] <= 0.1)
    assert said["nrmse_taught"] > 0
    assert 0.3 < said["still_share"] < 0.7
    assert said["words"].startswith("two_pulses is ")
    assert "of its variance lies beyond" in outcome.err
    assert "stands still" not in outcome.err


def test_every_choice_of_a_recogniser_is_on_the_command_line(spinloom, coarse_model_path, tmp_path):
    out = tmp_path / "recognise.nc"
    options = {
        "nodes": 8, "seed": 3, "period-ticks": 24, "periods": 1, "train-trials": 24, "trials": 20, "ridge": 0.01,
        "spectral-radius": 0.3, "density": 0.5, "input": 1.5, "bias": 0.7, "gain": 0.9,
    }  # fmt: skip
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    outcome = spinloom("train", "recognise", "--model", coarse_model_path, "--out", out, "--json", *flags)
    assert outcome.code == 0, outcome.err
    network, _ = load_network(out)
    kept = {**network.settings["topology"], **network.settings}
    kept |= {"trials": network.settings["test_trials"], "topology": None}
    for name, value in options.items():
        assert kept[name.replace("-", "_")] == value, name
    assert (network.clock, network.reduced) == (None, None)
    said = outcome.json
    assert said["chance"] == 0.25
    assert said["accuracy_low"] <= said["accuracy"] <= said["accuracy_high"]
    assert said["above_chance"] == (said["p_chance"] < 0.01)
    assert f"{round(20 * said['accuracy'])} of 20 right" in said["words"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--clock", -1, "clock"),
        ("--clock-shape", "saw", "clock_shape"),
        ("--clock-ahead", 1, "clock_ahead"),
        ("--spectral-radius", 1001, "spectral_radius"),
        ("--ridge", 0, "ridge"),
        ("--noise", 2, "noise"),
        ("--tries", 0, "tries"),
        ("--density", 0, "density"),
        ("--washouts", "5,x", "washouts: expected whole numbers of periods such as 5,7,10, got '5,x'"),
        ("--washouts", "4", "4 is the washout that read-outs are chosen on"),
        ("--trim-periods", 1, "trim_periods"),
    ],
)
def test_a_choice_that_cannot_be_is_told(spinloom, coarse_model_path, tmp_path, option, value, message):
    out = tmp_path / "net.nc"
    outcome = spinloom("train", "generate", "--task", "sine", "--model", coarse_model_path, "--out", out, option, value)
    assert outcome.code == 2
    assert message in outcome.err
    assert not out.exists()


def test_a_series_that_stands_still_is_told_once(coarse_model, capsys):
    f = np.stack([target(name, 24) for name in ("beat", "beat", "sine")], axis=1)
    asked = told_beforehand(coarse_model, f, ["beat", "beat", "sine"], False)
    told = capsys.readouterr().err
    assert told.count("beat: ") == 1
    assert "sine" not in told
    assert "give it a clock" in told
    assert [one.still > 0.3 for one in asked] == [True, True, False]
    assert asked[0].beyond > 0.3
    assert asked[2].beyond < 1e-12
    assert 3e9 < asked[0].band < 20e9


@pytest.mark.parametrize("name", ["pulses", "beat"])
def test_the_shipped_experiments_have_a_clock(name):
    experiment, card = load_experiment(data_folder() / "experiments" / f"{name}.toml")
    assert card.name == "disc60"
    assert experiment.generate.topology.clock_period(168).shape == (168,)
    assert experiment.generate.training.method == "ridge"
