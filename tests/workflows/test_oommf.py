"""The commands with OOMMF as the engine: on a stand-in everywhere, on the real one where it is found."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.provenance import data_folder
from spinloom.networks.record import FORMAT

ROOT = Path(__file__).resolve().parents[2]
COMMAND = shlex.join([sys.executable, "-I", "-S", str(ROOT / "tests" / "stand_in_oommf.py")])
STAND_IN = ("--engine", "oommf", "--oommf", COMMAND)
QUICK = ("--trajectories", 4, "--duration", "4e-10", "--grades", "none", "--no-probe")


def living(folder):
    """Processes that work below a folder."""
    return [
        process
        for process in psutil.process_iter(["cwd", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and Path(process.info["cwd"] or "/").is_relative_to(folder)
    ]


@pytest.fixture(autouse=True)
def temporary(monkeypatch):
    """OOMMF's files and processes live below this folder; neither may be left."""
    with tempfile.TemporaryDirectory(prefix="spinloom tests ü ") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder
        assert living(folder) == []
        assert list(folder.iterdir()) == []


@pytest.fixture
def card(experiment):
    return experiment.parent / "coarse.toml"


@pytest.fixture(scope="module")
def network(coarse_model_path, tmp_path_factory):
    """Three junctions that were hardly trained."""
    from spinloom.workflows.cli import main

    out = tmp_path_factory.mktemp("three") / "sine.nc"
    quick = ["--nodes", "3", "--period-ticks", "12", "--force-periods", "2", "--free-periods", "2"]
    with pytest.raises(SystemExit) as stop:
        main(["train", "generate", "--task", "sine", "--model", str(coarse_model_path), "--out", str(out), *quick])
    assert not stop.value.code
    return out


def test_calibrate_says_what_it_used_and_keeps_the_input(spinloom, card, tmp_path):
    out = tmp_path / "cal.nc"
    outcome = spinloom("calibrate", card, *STAND_IN, *QUICK, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["engine"], outcome.json["engine_version"]) == ("oommf", "2.1a0")
    assert "engine: oommf 2.1a0" in outcome.err
    dataset = xr.load_dataset(out, engine="h5netcdf")
    assert "Oxs_SpinXferEvolve" in str(dataset["oommf_input"].values)
    assert dataset.attrs["engine"] == "oommf"
    assert [path.name for path in tmp_path.iterdir()] == ["cal.nc"]


def runs(log):
    """Numbers of the trajectories that were computed."""
    named = [Path(json.loads(line)["folder"]).name for line in log.read_text().splitlines() if "boxsi" in line]
    return sorted(int(name.removeprefix("run-")) for name in named if name.startswith("run-"))


def test_what_is_finished_is_not_computed_again(spinloom, card, tmp_path, store, monkeypatch):
    out, log = tmp_path / "cal.nc", tmp_path / "calls.jsonl"
    monkeypatch.setenv("STAND_IN_FAULT", "die:3:2")
    outcome = spinloom("calibrate", card, *STAND_IN, *QUICK, "--out", out)
    assert outcome.code == 2
    assert "device 3: OOMMF ended with exit code 1" in outcome.err
    assert "stand-in broke at stage 2" in outcome.err
    kept = len(list(store.entries()))
    assert f"{kept} of 4 trajectories are kept in {store.folder}; the same command goes on" in outcome.err
    assert kept >= 2
    assert not out.exists()
    monkeypatch.delenv("STAND_IN_FAULT")
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    outcome = spinloom("calibrate", card, *STAND_IN, *QUICK, "--out", out)
    assert outcome.code == 0
    assert f"{kept} of 4 trajectories were in the store" in outcome.err
    assert 3 in runs(log)
    assert len(runs(log)) == 4 - kept
    assert spinloom("calibrate", card, *STAND_IN, *QUICK, "--out", tmp_path / "again.nc").code == 0
    assert len(runs(log)) == 4 - kept
    whole, again = (xr.load_dataset(path, engine="h5netcdf") for path in (out, tmp_path / "again.nc"))
    np.testing.assert_array_equal(whole["m"], again["m"])


@pytest.mark.parametrize("change", ["version", "oersted"])
def test_another_version_or_field_is_another_trajectory(spinloom, card, tmp_path, store, monkeypatch, change):
    log, other = tmp_path / "calls.jsonl", tmp_path / "other.toml"
    assert spinloom("calibrate", card, *STAND_IN, *QUICK, "--out", tmp_path / "cal.nc").code == 0
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    text = card.read_text()
    if change == "version":
        monkeypatch.setenv("STAND_IN_VERSION", "2.1a1")
    else:  # the input names a file, and does not change with what stands in it
        text = text.replace("[readout]", 'oersted = "up"\n[readout]')
    other.write_text(text)
    assert spinloom("calibrate", other, *STAND_IN, *QUICK, "--out", tmp_path / "cal.nc").code == 0
    assert runs(log) == [0, 1, 2, 3]
    assert len(list(store.entries())) == 8


def test_two_runs_in_the_same_folder(spinloom, experiment, tmp_path):
    (tmp_path / "r" / "stages").mkdir(parents=True)
    with files.claimed(tmp_path / "r" / "stages"):
        outcome = spinloom("run", experiment, "--out", tmp_path / "r")
    assert outcome.code == 2
    assert "another run is at work here" in outcome.err


def test_auto_is_oommf_where_it_works(spinloom, card, tmp_path, monkeypatch):
    monkeypatch.setenv("SPINLOOM_OOMMF", COMMAND)
    outcome = spinloom("calibrate", card, *QUICK, "--out", tmp_path / "cal.nc", "--json")
    assert outcome.json["engine"] == "oommf"
    assert "found and works" in outcome.err


def test_auto_is_embedded_elsewhere_and_says_why(spinloom, card, tmp_path):
    outcome = spinloom("calibrate", card, *QUICK, "--out", tmp_path / "cal.nc", "--json")
    assert outcome.json["engine"] == "embedded"
    assert "engine: embedded, because OOMMF is not to be had (oommf: not installed" in outcome.err


def test_replay_of_uneven_holds(spinloom, card, tmp_path):
    (tmp_path / "w.csv").write_text("t_s,u\n1e-11,0.5\n4e-11,-0.5\n5e-11,0.1\n")
    outcome = spinloom("replay", card, tmp_path / "w.csv", *STAND_IN, "--out", tmp_path / "m.csv", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["engine"] == "oommf"
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 4


def test_replay_at_a_temperature(spinloom, card, tmp_path):
    (tmp_path / "w.csv").write_text("t_s,u\n1e-11,0.5\n3e-11,-0.5\n")
    warm = ("replay", card, tmp_path / "w.csv", "--temperature", 300, "--out", tmp_path / "m.csv", "--json")
    outcome = spinloom(*warm, *STAND_IN)
    assert outcome.code == 0, outcome.err
    assert (outcome.json["engine"], outcome.json["temperature"]) == ("oommf", 300)
    (tmp_path / "w.csv").write_text("t_s,u\n1e-11,0.5\n2.7e-11,-0.5\n")
    outcome = spinloom(*warm, *STAND_IN)
    assert (outcome.code, "use --engine embedded" in outcome.err) == (2, True)


def test_a_verdict_stands_beside_the_embedded_engines(spinloom, network, tmp_path):
    out = tmp_path / "record.nc"
    outcome = spinloom("cosimulate", network, *STAND_IN, "--periods", 2, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["engine"] == "oommf"
    assert outcome.json.keys() >= {
        "nrmse_reduced", "nrmse_embedded", "nrmse_full", "output_apart_first_periods", "max_node_apart",
        "worst_node_apart", "startup_s", "tick_wall_s", "tick_solver_cpu_s", "wall_over_solver",
    }  # fmt: skip
    record = xr.load_dataset(out, engine="h5netcdf")
    assert {"z_reduced", "z_embedded", "z_full", "r_embedded", "u_full", "oommf_input"} <= set(record)
    assert "ReadFile drive" in str(record["oommf_input"].values)
    assert json.loads(record.attrs["networks"])["sine"]["period_ticks"] == 12
    apart = np.abs(record["z_full"] - record["z_embedded"]).values.max()
    assert outcome.json["output_apart"] == pytest.approx(apart)


@pytest.mark.slow
def test_relaxation_and_lock_step_agree(spinloom, network, tmp_path):
    records = {}
    for method in ("lock-step", "relaxation"):
        out = tmp_path / f"{method}.nc"
        command = ("cosimulate", network, *STAND_IN, "--method", method, "--window", 17, "--periods", 1)
        assert spinloom(*command, "--out", out).code == 0
        records[method] = xr.load_dataset(out, engine="h5netcdf")
    for name in ("z_full", "r_full", "u_full"):
        a, b = records["lock-step"][name], records["relaxation"][name]
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(a).max()), err_msg=name)


@pytest.mark.parametrize(("fault", "message"), [
    ("die:1:9", "stand-in broke at stage 9"),
    ("signal:1:9", "OOMMF was killed by signal 9"),
    ("hang:1:9", "silent for 2 s, taken to hang"),
    ("bad-row:1:9", "bad row for stage 9"),
])  # fmt: skip
def test_a_node_that_fails_is_named_and_what_was_computed_is_kept(
    spinloom, network, tmp_path, monkeypatch, fault, message
):
    monkeypatch.setenv("STAND_IN_FAULT", fault)
    out = tmp_path / "record.nc"
    outcome = spinloom("cosimulate", network, *STAND_IN, "--node-limit", 2, "--out", out)
    assert outcome.code == 2
    assert "oommf: node 1: " in outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    partial = xr.load_dataset(tmp_path / "record.partial.nc", engine="h5netcdf")
    assert f"what was computed is kept in {tmp_path / 'record.partial.nc'}" in outcome.err
    assert partial.attrs["stopped_in"] == "sine"
    assert 2 <= partial.sizes["tick_stopped"] <= 9
    assert partial["u_stopped"].shape == (partial.sizes["tick_stopped"], 1, 3)
    assert not out.exists()


def test_recognition_runs_a_few_trials_at_a_time(spinloom, coarse_model_path, tmp_path, monkeypatch):
    from spinloom.workflows import cosimulate

    monkeypatch.setattr(cosimulate, "TOGETHER", 6)
    net = tmp_path / "r.nc"
    train = ("train", "recognise", "--model", coarse_model_path, "--nodes", 3, "--trials", 4, "--periods", 1)
    assert spinloom(*train, "--out", net).code == 0
    outcome = spinloom("cosimulate", net, *STAND_IN, "--trials", 4, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["engine"], outcome.json["trials"]) == ("oommf", 4)
    assert spinloom("cosimulate", net, *STAND_IN, "--method", "relaxation").code == 2


@pytest.mark.parametrize(("option", "message"), [
    (("--method", "magic"), "method: expected lock-step or relaxation"),
    (("--window", 0), "window: expected at least one tick"),
    (("--node-limit", -1), "node limit: expected seconds above zero"),
    (("--engine", "oommf", "--oommf", "/no/oommf.tcl"), "/no/oommf.tcl"),
])  # fmt: skip
def test_options_that_cannot_be(spinloom, network, option, message):
    outcome = spinloom("cosimulate", network, *option)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_oommf_s_answers_are_of_shipped_cards_and_networks(spinloom, card, network, tmp_path):
    outcome = spinloom("calibrate", card, "--engine", "oommf-reference", "--out", tmp_path / "c.nc")
    assert outcome.code == 2
    assert "device: OOMMF's set is shipped for disc60" in outcome.err
    outcome = spinloom("cosimulate", network, "--engine", "oommf-reference", "--periods", 1, "--json")
    assert outcome.code == 0
    assert outcome.json["engine"] == "embedded"
    assert "engine: embedded, because sine is not the network that OOMMF's record is of" in outcome.err
    wave = data_folder() / "waveforms" / "step.csv"
    outcome = spinloom("replay", card, wave, "--engine", "oommf-reference", "--out", tmp_path / "m.csv")
    assert outcome.code == 2
    assert "engine: replay computes" in outcome.err


def test_doctor_tries_the_oommf_it_is_told(spinloom):
    report = spinloom("doctor", "--oommf", COMMAND, "--json").json["engines"]
    assert report["oommf"]["works"]
    assert report["oommf"]["version"] == "2.1a0"
    assert report["oommf"]["s_per_device_ns"] >= 0
    assert report["oommf"]["at_300_K"] == "works"
    assert "display" in report["oommf"]["advice"]
    assert report["embedded"]["works"]
    assert report["oommf-reference"]["found"]


def test_doctor_tells_an_oommf_that_is_of_no_use_from_none(spinloom, monkeypatch):
    monkeypatch.setenv("STAND_IN_VERSION", "1.2b4")
    outcome = spinloom("doctor", "--oommf", COMMAND)
    assert "oommf: found, does not run" in outcome.err
    assert "is version 1.2b4, expected 2.0 or newer" in outcome.err


def test_doctor_says_how_to_get_oommf(spinloom):
    outcome = spinloom("doctor")
    assert outcome.code == 0
    assert "oommf: not found" in outcome.err
    assert "conda install -c conda-forge oommf" in outcome.err


def start(*arguments):
    """A command of its own, as at a keyboard."""
    command = [sys.executable, "-m", "spinloom", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "200"})


def until_ticks(folder, ticks=10, limit_s=300):
    """Wait until a live node has written some rows."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        for table in folder.glob("**/live-0/node.odt"):
            if len(table.read_text().splitlines()) > 5 + ticks:
                return
        time.sleep(0.05)
    pytest.fail("no tick was done")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_live_nodes_and_keeps_the_ticks_done(network, tmp_path, temporary, number):
    out = tmp_path / "record.nc"
    process = start("cosimulate", network, *STAND_IN, "--periods", 100_000, "--out", out)
    until_ticks(temporary)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "stopped" in said
    assert "Traceback" not in said
    assert files.load(tmp_path / "record.partial.nc", "cosimulation-partial", FORMAT).sizes["tick_stopped"] > 0


def test_workers_give_the_numbers_of_one_process(spinloom, card, tmp_path):
    found = {}
    for workers in (1, 2):
        out = tmp_path / f"{workers}.nc"
        outcome = spinloom("calibrate", card, *STAND_IN, *QUICK, "--workers", workers, "--out", out)
        assert outcome.code == 0, outcome.err
        found[workers] = xr.load_dataset(out, engine="h5netcdf")["m"]
    np.testing.assert_array_equal(found[1], found[2])


@pytest.mark.oommf
@pytest.mark.slow
def test_workers_give_the_numbers_of_one_process_with_the_real_one(oommf, spinloom, card, tmp_path):
    found = {}
    for workers in (1, 2):
        out = tmp_path / f"{workers}.nc"
        outcome = spinloom("calibrate", card, "--engine", "oommf", *QUICK, "--workers", workers, "--out", out)
        assert outcome.code == 0, outcome.err
        found[workers] = xr.load_dataset(out, engine="h5netcdf")["m"]
    np.testing.assert_allclose(found[1], found[2], rtol=0, atol=1e-9)


@pytest.mark.oommf
@pytest.mark.slow
def test_three_live_junctions_the_same_by_both_paths_and_in_both_engines(oommf, spinloom, network, tmp_path):
    records = {}
    for method in ("lock-step", "relaxation"):
        out = tmp_path / f"{method}.nc"
        command = ("cosimulate", network, "--engine", "oommf", "--method", method, "--periods", 1, "--out", out)
        outcome = spinloom(*command, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.json["max_node_apart"] < 1e-4
        records[method] = xr.load_dataset(out, engine="h5netcdf")
    for name in ("z_full", "r_full"):
        a, b = records["lock-step"][name], records["relaxation"][name]
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(a).max()), err_msg=name)


@pytest.mark.oommf
@pytest.mark.slow
def test_ctrl_c_ends_every_process_of_oommf(oommf, network, tmp_path, temporary):
    out = tmp_path / "record.nc"
    process = start("cosimulate", network, "--engine", "oommf", "--periods", 1000, "--out", out)
    until_ticks(temporary)
    assert len(living(temporary)) > 3
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert (tmp_path / "record.partial.nc").exists()
