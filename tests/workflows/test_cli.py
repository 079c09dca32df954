"""Each command: what scripts rely on, and what a mistake gives."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.provenance import data_folder
from spinloom.device_models.ubermag import card_toml

ROOT = Path(__file__).parents[2]
DISC = data_folder() / "devices" / "disc60.toml"
QUICK_CALIBRATION = ("--trajectories", "12", "--duration", "1.5e-9", "--grades", "none", "--no-probe")
EXTRA = {
    "calibrate": QUICK_CALIBRATION,
    "fit": ("--kind", "flow_map"),
    "train generate": ("--free-periods", "3", "--force-periods", "10"),
    "train recognise": ("--trials", "40"),
}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The README's stages with fewer trajectories, periods and trials; what each said, as JSON."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "data").symlink_to(data_folder())
    block = re.search(r"```sh stages\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    said = {}
    for line in block.strip().splitlines():
        _, *arguments = shlex.split(line)
        name = " ".join(word for word in arguments[:2] if word in ("train", "generate", "recognise")) or arguments[0]
        line_arguments = [*arguments, *EXTRA.get(name, ()), "--json"]
        for option, value in (("--periods", "2"), ("--trials", "4")):
            if name == "cosimulate" and option in line_arguments:
                line_arguments[line_arguments.index(option) + 1] = value
        done = subprocess.run(
            [sys.executable, "-m", "spinloom", *line_arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        key = f"{name} {arguments[1]}" if name == "cosimulate" else name
        said[key] = json.loads(done.stdout)
    return folder / "runs" / "stages", said


@pytest.mark.slow
def test_every_stage_of_the_readme_runs_and_says_what_scripts_rely_on(stages):
    _, said = stages
    keys = {
        "calibrate": {"engine", "device_ns", "wall_s"},
        "fit": {"kind", "holdout_nrmse", "outside_share", "scale"},
        "train generate": {
            "seed", "nrmse", "shape_error", "phase_drift_per_period", "periods", "washouts", "period_s",
            "outside_share",
        },
        "train recognise": {"seed", "accuracy", "trials"},
        "finish": {"finished", "drift_before", "drift_after", "periods", "out"},
        "cosimulate runs/stages/sine-finished.nc": {
            "engine", "nrmse_reduced", "nrmse_full", "periods", "phase_drift_per_period", "wall_s",
            "model_error", "kick",
        },
        "cosimulate runs/stages/recognise.nc": {"engine", "accuracy_full", "trials", "wall_s"},
        "replay": {"engine", "wall_s"},
        "doctor": {"engines", "machine", "versions"},
    }  # fmt: skip
    assert set(said) == set(keys)
    for name, expected in keys.items():
        assert said[name].keys() >= expected, name
    assert said["doctor"]["engines"]["embedded"]["works"]
    assert said["train recognise"]["accuracy"] > 0.9


@pytest.mark.slow
def test_a_network_without_its_model_is_told(stages, spinloom, tmp_path):
    folder, _ = stages
    shutil.copy(folder / "sine.nc", tmp_path / "sine.nc")
    outcome = spinloom("cosimulate", tmp_path / "sine.nc")
    assert outcome.code == 2
    assert "its model model.nc is missing" in outcome.err
    (tmp_path / "model.nc").write_bytes(b"something else")
    assert "not the model that sine.nc was trained on" in spinloom("cosimulate", tmp_path / "sine.nc").err


@pytest.mark.slow
def test_a_network_elsewhere_takes_its_model_along(stages, spinloom, tmp_path):
    folder, _ = stages
    out = tmp_path / "elsewhere" / "net.nc"
    quick = ("--free-periods", 2, "--force-periods", 2, "--nodes", 5)
    outcome = spinloom("train", "generate", "--task", "square", "--model", folder / "model.nc", "--out", out, *quick)
    assert outcome.code == 0
    assert (out.parent / "model.nc").read_bytes() == (folder / "model.nc").read_bytes()


def test_replay_follows_oommf_from_its_own_start(spinloom, tmp_path):
    reference = data_folder() / "reference"
    out = tmp_path / "m.csv"
    outcome = spinloom(
        "replay", DISC, reference / "disc60.csv", "--initial", reference / "disc60_initial.omf", "--out", out, "--json"
    )
    assert outcome.code == 0
    assert outcome.json["ticks"] == 400
    ours, theirs = pd.read_csv(out), pd.read_csv(reference / "disc60.csv")
    assert list(ours.columns) == ["t_s", "u", "mx", "my", "mz"]
    np.testing.assert_allclose(ours["t_s"], theirs["t_s"], rtol=1e-9)
    assert np.abs(ours[["mx", "my", "mz"]] - theirs[["mx", "my", "mz"]]).to_numpy().max() < 1e-5


def test_replay_takes_drives_alone_with_a_tick(spinloom, tmp_path):
    (tmp_path / "u.csv").write_text("u\n0\n0.5\n0.5\n")
    outcome = spinloom("replay", DISC, tmp_path / "u.csv", "--tick", "1e-11", "--out", tmp_path / "m.csv")
    assert outcome.code == 0
    table = pd.read_csv(tmp_path / "m.csv")
    np.testing.assert_allclose(table["t_s"], [1e-11, 2e-11, 3e-11])
    assert table["mx"].iloc[-1] > 0.01


def test_replay_at_a_temperature(spinloom, tmp_path):
    (tmp_path / "u.csv").write_text("u\n" + "0\n" * 20)

    def warm(*options, name="m"):
        out = tmp_path / f"{name}.csv"
        outcome = spinloom("replay", DISC, tmp_path / "u.csv", "--tick", "1e-11", *options, "--out", out, "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(out.with_suffix(".json").read_text())["device"]["conditions"]["temperature"] == 300
        return out.read_bytes(), outcome.json

    first, told = warm("--temperature", 300, "--seed", 3)
    assert (told["temperature"], told["seed"]) == (300, 3)
    assert warm("--temperature", 300, "--seed", 3)[0] == first
    assert warm("--temperature", 300)[0] != first
    outcome = spinloom("replay", DISC, tmp_path / "u.csv", "--temperature", -1, "--out", tmp_path / "m.csv")
    assert (outcome.code, "disc60: conditions.temperature" in outcome.err) == (2, True)


def test_what_works_at_zero_kelvin_says_so_of_a_warm_card(spinloom, tmp_path):
    warm, experiment = tmp_path / "warm.toml", tmp_path / "e.toml"
    warm.write_text(DISC.read_text() + "\n[conditions]\ntemperature = 300\n")
    experiment.write_text('name = "e"\ndevice = "warm.toml"\n')
    outcome = spinloom("tune", warm, "--out", tmp_path / "t.toml")
    assert (outcome.code, "tuning works at 0 K, got 300 K" in outcome.err) == (2, True), outcome.err
    assert "'design' chooses" in outcome.err


@pytest.mark.slow
def test_a_warm_device_is_calibrated_fitted_and_trained_on(spinloom, coarse_card, tmp_path):
    card_path = tmp_path / "coarse.toml"
    card_path.write_text(card_toml(coarse_card))
    calibration, model, net = (tmp_path / name for name in ("c.nc", "m.nc", "n.nc"))
    how = ("--trajectories", 16, "--grades", "none", "--duration", 1e-9, "--temperature", 300, "--json")
    outcome = spinloom("calibrate", card_path, "--engine", "embedded", *how, "--out", calibration)
    assert (outcome.code, outcome.json["temperature"]) == (0, 300), outcome.err
    assert "Quiet" in outcome.err  # the probe of the same device at 0 K
    outcome = spinloom("fit", calibration, "--out", model, "--json")
    assert (outcome.code, outcome.json["kind"]) == (0, "thermal_map"), outcome.err
    assert "at 300 K" in outcome.json["words"]
    short = ("--nodes", 6, "--periods", 2, "--train-trials", 8, "--trials", 8, "--period-ticks", 20)
    outcome = spinloom("train", "recognise", "--model", model, *short, "--out", net, "--json")
    assert outcome.code == 0, outcome.err
    outcome = spinloom("cosimulate", net, "--engine", "embedded", "--trials", 4, "--json")
    assert (outcome.code, outcome.json["trials"]) == (0, 4), outcome.err
    outcome = spinloom("train", "recognise", "--model", model, "--averaged", 3, "--out", net)
    assert (outcome.code, "averaged: expected at most the 2 periods" in outcome.err) == (2, True), outcome.err
    short = ("--nodes", 6, "--period-ticks", 20, "--teacher-periods", 10, "--force-periods", 5, "--tries", 1)
    short = (*short, "--free-periods", 5)
    outcome = spinloom("train", "generate", "--task", "sine", "--model", model, *short, "--out", net)
    assert outcome.code == 0, outcome.err
    outcome = spinloom("finish", net, "--out", tmp_path / "f.nc")
    assert (outcome.code, "the finish works at 0 K" in outcome.err) == (2, True), outcome.err
    outcome = spinloom("cosimulate", net, "--engine", "embedded", "--periods", 8, "--seeds", 2, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["temperature"], outcome.json["seeds"]) == (300, 2)
    assert outcome.json["noise"]["nrmse"]["full"]["mean"] == outcome.json["nrmse_full"] > 0
    assert "sine at 300 K: NRMSE" in outcome.err
    outcome = spinloom("calibrate", card_path, "--temperature", -3, "--out", calibration)
    assert (outcome.code, "conditions.temperature" in outcome.err) == (2, True)


@pytest.mark.parametrize("command", ["", "doctor", "calibrate", "fit", "train", "train generate", "train recognise",
                                     "cosimulate", "finish", "replay", "run", "report", "tune", "probe", "design",
                                     "yield", "measure"])  # fmt: skip
def test_every_command_has_help_with_an_example(spinloom, command):
    outcome = spinloom(*command.split(), "--help")
    assert outcome.code == 0
    if command and command != "train":
        assert "Example" in outcome.out
        assert f"spinloom {command}" in " ".join(outcome.out.replace("│", " ").split())


CARD = DISC.read_text()
BAD_CARDS = {
    "missing field": (CARD.replace("Ms = 8e5", ""), "material.Ms: missing"),
    "misspelt field": (CARD.replace("alpha =", "alhpa ="), "material.alhpa: unknown field"),
    "a 60 m disc": (CARD.replace("[60e-9, 60e-9, 2e-9]", "[60, 60, 2]"), "geometry.size"),
    "cell larger than the layer": (CARD.replace("[4e-9, 4e-9, 2e-9]", "[4e-9, 4e-9, 4e-9]"), "larger than the layer"),
    "no damping": (CARD.replace("alpha = 0.1", "alpha = 0.0"), "material.alpha"),
    "not TOML": ("name = ", "not valid TOML"),
}


@pytest.mark.parametrize("mistake", BAD_CARDS)
def test_a_bad_card_ends_with_a_message_and_code_2(spinloom, tmp_path, mistake):
    text, message = BAD_CARDS[mistake]
    path = tmp_path / "card.toml"
    path.write_text(text)
    outcome = spinloom("calibrate", path, "--out", tmp_path / "c.nc", "--json")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert not (tmp_path / "c.nc").exists()


BAD_WAVES = {
    "t_s,u\n1e-11,0.5\n2e-11,1.5\n": "within [-1, 1]",
    "t_s,u\n1e-11,nan\n": "finite number",
    "t_s,u\n2e-11,0\n1e-11,0\n": "increasing times",
    "time,volts\n1,2\n": "no column 'u'",
    "u\n0.5\n": "--tick",
    "t_s,u\n": "no rows",
}


@pytest.mark.parametrize("text", BAD_WAVES)
def test_a_bad_waveform_ends_with_a_message_and_code_2(spinloom, tmp_path, text):
    path = tmp_path / "w.csv"
    path.write_text(text)
    outcome = spinloom("replay", DISC, path, "--out", tmp_path / "m.csv")
    assert outcome.code == 2
    assert BAD_WAVES[text] in outcome.err
    assert not (tmp_path / "m.csv").exists()


def test_other_mistakes_end_with_a_message_and_code_2(spinloom, tmp_path, coarse_calibration_path, coarse_model_path):
    broken = tmp_path / "broken.nc"
    broken.write_bytes(coarse_calibration_path.read_bytes()[:20_000])
    file = tmp_path / "file"
    file.write_text("")
    model, out = coarse_model_path, tmp_path / "o.nc"
    generate = ("train", "generate", "--model", model, "--out", out)
    for arguments, message in [
        (("fit", broken, "--out", out), "damaged or not NetCDF"),
        (("fit", tmp_path / "no.nc", "--out", out), "no such file"),
        (("fit", model, "--out", out), "expected a calibration file"),
        (("fit", coarse_calibration_path, "--kind", "magic", "--out", out), "kind: expected auto or one of"),
        (("fit", coarse_calibration_path, "--out", file / "x.nc"), "cannot be written"),
        (("calibrate", DISC, "--engine", "oommf", "--oommf", tmp_path / "no", "--out", out), "is not there"),
        (("calibrate", DISC, "--engine", "mumax", "--out", out), "engine: expected one of"),
        (("calibrate", DISC, "--trajectories", 1, "--out", out), "trajectories"),
        (("calibrate", DISC, "--grades", "half", "--out", out), "grades: expected shares of J_max"),
        (("calibrate", DISC, "--grades", "0.5,1.5", "--out", out), "grades"),
        (("calibrate", DISC, "--grades", "0.5,0.5", "--out", out), "expected each grade once"),
        ((*generate, "--task", "sinus"), "task: expected one of"),
        ((*generate, "--task", "sine", "--nodes", 0), "nodes"),
        ((*generate, "--task", tmp_path / "no.csv"), "no such file"),
        (("cosimulate", model), "expected a network file"),
        (("run", tmp_path / "no.toml", "--out", tmp_path / "r"), "no such file"),
        (("run", "no-such-experiment", "--out", tmp_path / "r"), "not the name of a shipped one"),
        (("fit", coarse_calibration_path, "--reach", 1.5, "--out", out), "reach: expected a share of J_max"),
        ((*generate, "--task", "sine", "--period-ticks", 50, "--period-resonances", 1), "expected one of them"),
        ((*generate, "--task", "sine", "--period-resonances", 0.001), "expected at least 4"),
        (("fit", tmp_path / "[red] x.nc", "--out", out), "[red] x.nc: no such file"),
    ]:
        outcome = spinloom(*arguments)
        assert outcome.code == 2, (arguments, outcome)
        assert message in outcome.err, (arguments, outcome.err)
        assert "Traceback" not in outcome.err
    assert not out.exists()


def test_ctrl_c_leaves_nothing_half_made(tmp_path):
    out = tmp_path / "calibration.nc"
    process = subprocess.Popen(
        [sys.executable, "-m", "spinloom", "calibrate", DISC, "--engine=embedded", "--no-probe", "--duration=1e-6",
         f"--out={out}"],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("calibrate,"):
            break
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopped" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_signal_within_a_garbage_collection_is_not_lost():
    lost = """
import gc, os, signal, time
from spinloom.workflows import cli

def collected(phase, info):
    gc.callbacks.remove(collected)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)

def app(args):
    gc.callbacks.append(collected)
    gc.collect()
    time.sleep(100)

cli.app = app
cli.main([])
"""
    outcome = subprocess.run([sys.executable, "-c", lost], capture_output=True, text=True, cwd=ROOT, timeout=90)
    assert outcome.returncode == 130, outcome.stderr
    assert "stopped" in outcome.stderr
    assert "ignored" not in outcome.stderr
