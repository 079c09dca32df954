"""Sweeps: what they vary, that they survive, and what their table says."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib

import numpy as np
import pandas as pd
import psutil
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows import sweep as sweep_module
from spinloom.workflows import workers as workers_module
from spinloom.workflows.settings import load_experiment
from spinloom.workflows.sweep_plan import read_sweep, write_point
from spinloom.workflows.sweep_table import figures_of, load_table

SEEDS = '[sweep]\n"generate.seed" = {from = 0, to = 5, steps = 6}\n'


@pytest.fixture
def sweep_file(experiment, tmp_path):
    """The small experiment with a table [sweep], in a folder of its own."""
    for name in ("coarse.toml", "mine.csv"):
        shutil.copy(experiment.parent / name, tmp_path / name)
    (tmp_path / "small.toml").write_text(experiment.read_text())

    def write(table):
        path = tmp_path / "sweep.toml"
        path.write_text(experiment.read_text() + table)
        return path

    return write


@pytest.fixture
def quick(parts, monkeypatch):
    """Points that take a moment, in place of runs."""
    monkeypatch.setattr(sweep_module, "run_point", parts.point)


def test_a_grid_has_every_combination_and_the_last_field_runs_fastest(sweep_file):
    sweep = read_sweep(sweep_file('[sweep]\n"generate.seed" = [3, 1]\nmodel = ["flow_map", "macrospin"]\n'))
    values = [tuple(point.values.values()) for point in sweep.points()]
    assert values == [(3, "flow_map"), (3, "macrospin"), (1, "flow_map"), (1, "macrospin")]
    assert [point.name for point in sweep.points()] == ["0000", "0001", "0002", "0003"]


def test_fields_in_quotes_and_as_tables_are_the_same(sweep_file):
    quoted = read_sweep(sweep_file('[sweep]\n"generate.topology.nodes" = [4, 8]\n'))
    tables = read_sweep(sweep_file("[sweep]\ngenerate.topology.nodes = [4, 8]\n"))
    assert quoted.points() == tables.points()


DRAWN = """[sweep]
samples = {samples}
seed = {seed}
"generate.topology.gain" = {{uniform = [0.5, 1.0]}}
"device.material.alpha" = {{normal = [0.1, 0.01]}}
"generate.seed" = {{integers = [0, 9]}}
"device.torque.J_max" = {{loguniform = [1e10, 1e11]}}
"""


def drawn(sweep_file, samples=40, seed=0, more=""):
    points = read_sweep(sweep_file(DRAWN.format(samples=samples, seed=seed) + more)).points()
    return pd.DataFrame([point.values for point in points])


def test_random_samples_are_of_their_distributions_and_of_the_seed(sweep_file):
    table = drawn(sweep_file, samples=400)
    gain, alpha, seed, current = (table[name] for name in table)
    assert gain.between(0.5, 1).all()
    assert gain.mean() == pytest.approx(0.75, abs=0.02)
    assert alpha.mean() == pytest.approx(0.1, abs=0.002)
    assert alpha.std() == pytest.approx(0.01, rel=0.1)
    assert set(seed) == set(range(10))
    assert np.log(current).mean() == pytest.approx(math.log(10**10.5), abs=0.1)
    pd.testing.assert_frame_equal(drawn(sweep_file, samples=400), table)
    assert (drawn(sweep_file, samples=400, seed=1)["device.material.alpha"] != alpha).all()


def test_more_samples_and_more_fields_leave_the_first_as_they_were(sweep_file):
    few, many = drawn(sweep_file, samples=3), drawn(sweep_file, samples=9)
    pd.testing.assert_frame_equal(many[:3], few)
    crossed = drawn(sweep_file, samples=3, more='model = ["flow_map", "macrospin"]\n')
    for half in (crossed[:3], crossed[3:].reset_index(drop=True)):  # the same draws at every point of the grid
        pd.testing.assert_frame_equal(half[few.columns], few)


def test_a_point_is_an_experiment_of_its_own(sweep_file, tmp_path):
    table = """[sweep]
"device.geometry.diameter" = [48e-9]
"device.geometry.thickness" = [1e-9]
"device.bias.H.1" = [9000]
"device.material.alpha" = [0.05]
"generate.topology.nodes" = [8]
temperature = [300]
"""
    sweep = read_sweep(sweep_file(table))
    (point,) = sweep.points()
    experiment, card = load_experiment(write_point(sweep, point, tmp_path / "inputs"))
    assert card.geometry.size == pytest.approx((48e-9, 48e-9, 1e-9))
    assert card.geometry.cell == pytest.approx((8e-9, 8e-9, 1e-9))
    assert card.bias.H == (0, 9000, 0)
    assert card.material.alpha == 0.05
    assert card.name == "coarse-0000"
    assert card.conditions.temperature == 300
    assert experiment.generate.topology.nodes == 8
    assert experiment.generate.free_periods == 6  # what is not varied stays
    assert experiment.name == "small-0000"
    assert (tmp_path / "inputs" / "mine.csv").read_text() == (tmp_path / "mine.csv").read_text()


def test_run_takes_the_same_file_without_the_sweep(sweep_file, experiment):
    (swept, card), (alone, same) = load_experiment(sweep_file(SEEDS)), load_experiment(experiment)
    assert swept.model_dump(exclude={"generate": {"tasks"}}) == alone.model_dump(exclude={"generate": {"tasks"}})
    assert card == same


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("", "expected a table [sweep]"),
        ("[sweep]\n", "expected a field"),
        ("[sweep]\nseed = 1\n", "expected a field"),
        ('[sweep]\n"generate.seed" = 3\n', "sweep.generate.seed: expected values [a, b, ...]"),
        ('[sweep]\n"generate.seed" = []\n', "expected values [a, b, ...]"),
        ('[sweep]\n"generate.seed" = {from = 1, to = 2}\n', "steps: missing"),
        ('[sweep]\n"generate.seed" = {from = -1, to = 2, steps = 3, scale = "log"}\n', "from and to above zero"),
        ('[sweep]\n"generate.seed" = {normal = [1, -1]}\nsamples = 2\n', "standard deviation that is not negative"),
        ('[sweep]\n"generate.seed" = {uniform = [2, 1]}\nsamples = 2\n', "the smaller number first"),
        ('[sweep]\n"generate.seed" = {loguniform = [0, 1]}\nsamples = 2\n', "numbers above zero"),
        ('[sweep]\n"generate.seed" = {uniform = [1, 2], normal = [1, 2]}\nsamples = 2\n', "expected one of normal"),
        ('[sweep]\n"generate.seed" = {uniform = [1, 2]}\n', "sweep.samples: expected how many to draw"),
        ('[sweep]\n"generate.seed" = [1]\nsamples = 5\n', "no field is drawn at random"),
        ('[sweep]\n"generate.seed" = {uniform = [1, 2]}\nsamples = 0\n', "a whole number from 1 on, got 0"),
        ('[sweep]\n"generate.seed" = {from = 0, to = 1, steps = 1000}\nmodel = ["a"]\n"generate.ticks" = '
         + str(list(range(101))) + "\n", "at most 100000 points, got 101000"),
        ('[sweep]\n"generate.colour" = [1]\n', "generate.colour: unknown field"),
        ('[sweep]\n"device.material.colour" = [1]\n', "material.colour: unknown field"),
        ('[sweep]\n"device.colour.red" = [1]\n', "colour: unknown field"),
        ('[sweep]\n"device.material.alpha.x" = [1]\n', "unknown field"),
        ('[sweep]\n"device.bias.H.3" = [1]\n', "a component from 0 to 2, got '3'"),
        ('[sweep]\n"device.geometry.diameter" = ["wide"]\n', "expected a length above zero (m), got 'wide'"),
        ('[sweep]\ndevice = ["nothing"]\n', "device: expected one of"),
        ('[sweep]\ndevice = ["../other.toml"]\n', "outside its own folder"),
        ('[sweep]\n"generate.tasks" = [["../other.csv"]]\n', "outside its own folder"),
        ('[sweep]\n"generate.tasks" = [["absent.csv"]]\n', "no such file"),
        ('[sweep]\n"generate.tasks" = ["sine"]\n', "generate.tasks"),
        ("sweep = 3\n", "expected a table [sweep]"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_sweep_ends_before_anything_is_run(sweep_file, table, told, refused, tmp_path, quick):
    path = sweep_file(table)
    if table.startswith("sweep"):
        path.write_text(table + (tmp_path / "small.toml").read_text())
    refused("sweep", path, "--out", tmp_path / "out", "--workers", 1, told=told)
    assert not list((tmp_path / "out").rglob("*.log"))


def test_all_points_end_in_one_table(sweep_file, tmp_path, quick, spinloom):
    path, out = sweep_file(SEEDS + '"device.geometry.diameter" = [40e-9, 60e-9]\n'), tmp_path / "out"
    outcome = spinloom("sweep", path, "--out", out, "--workers", 1, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json == {
        "points": 12, "kept": 0, "failed": 0, "verified": 12, "outcomes": {"verified": 12},
        "table": str(out / "sweep.csv"), "page": str(out / "sweep.html"), "out": str(out),
    }  # fmt: skip
    table = pd.read_csv(out / "sweep.csv")
    assert table["sine.nrmse_full"].tolist() == pytest.approx(table["generate.seed"] / 100)
    assert table["size"].tolist() == pytest.approx(table["device.geometry.diameter"])
    dataset = load_table(out / "sweep.nc")
    assert dataset.sizes == {"point": 12}
    assert json.loads(dataset.attrs["parameters"]) == ["generate.seed", "device.geometry.diameter"]
    np.testing.assert_array_equal(dataset["sine.nrmse_full"], table["sine.nrmse_full"])
    assert set(dataset["outcome"].values) == {"verified"}
    page = (out / "sweep.html").read_text(encoding="utf-8")
    assert "sine.nrmse_full" in page
    assert "device.geometry.diameter" in page


def test_a_point_that_fails_is_told_with_its_input_and_the_rest_goes_on(sweep_file, tmp_path, quick, spinloom):
    path, out = sweep_file('[sweep]\n"generate.seed" = [1, 13, 2, -1]\n'), tmp_path / "out"
    outcome = spinloom("sweep", path, "--out", out, "--workers", 1, "--json")
    assert outcome.code == 4
    assert "failed: point 0001 (generate.seed = 13): seed: 13 is no good" in outcome.err
    assert (outcome.json["verified"], outcome.json["failed"]) == (2, 2)
    table = pd.read_csv(out / "sweep.csv")
    assert table["outcome"].tolist() == ["verified", "failed", "verified", "failed"]
    assert "generate.seed" in table["error"][3]  # refused before anything ran, and no reason to stop
    assert math.isnan(table["sine.nrmse_full"][1])


def test_the_same_command_does_what_is_not_done(sweep_file, tmp_path, quick, spinloom):
    path, out = sweep_file(SEEDS), tmp_path / "out"
    assert spinloom("sweep", path, "--out", out, "--points", 2, "--workers", 1).code == 0
    assert len(pd.read_csv(out / "sweep.csv")) == 2
    (out / "points" / "0001.json").write_text("{")
    outcome = spinloom("sweep", path, "--out", out, "--workers", 1)
    assert "1 of 6 points: done before, kept" in outcome.err
    assert [len(list((out / "points" / f"000{k}").iterdir())) for k in range(6)] == [1, 2, 1, 1, 1, 1]
    # Another sweep in the same folder: only points that are the same are kept.
    again = sweep_file('[sweep]\n"generate.seed" = [0, 1, 3]\n')
    assert "2 of 3 points: done before" in spinloom("sweep", again, "--out", out, "--workers", 1).err


def test_a_cluster_that_is_lost_leaves_what_is_finished(
    sweep_file, tmp_path, quick, spinloom, dask_cluster, monkeypatch
):
    """The connection is cut in the middle; the same command with another scheduler goes on."""
    monkeypatch.setattr(workers_module, "CONNECT_S", 5)
    path, out = sweep_file(SEEDS), tmp_path / "out"
    dask, points = dask_cluster(), out / "points"
    dask.add_worker()
    address = dask.address

    def cut():
        while len(list(points.glob("*.json"))) < 2:
            time.sleep(0.05)
        dask.scheduler.send_signal(signal.SIGKILL)

    cutter = threading.Thread(target=cut)
    cutter.start()
    outcome = spinloom("sweep", path, "--out", out, "--scheduler", address)
    cutter.join()
    assert outcome.code == 4
    assert f"scheduler: the connection to {address} is lost" in outcome.err
    finished = len(pd.read_csv(out / "sweep.csv"))
    assert 1 <= finished < 6
    dask.close()
    other = dask_cluster()
    other.add_worker()
    done = len(list(points.glob("*.json")))
    outcome = spinloom("sweep", path, "--out", out, "--scheduler", other.address)
    assert outcome.code == 0, outcome.err
    assert f"{done} of 6 points: done before, kept" in outcome.err
    assert pd.read_csv(out / "sweep.csv")["sine.nrmse_full"].tolist() == [k / 100 for k in range(6)]


QUICKLY = """
import sys, parts_of_work
from spinloom.workflows import sweep
from spinloom.workflows.cli import main
sweep.run_point = parts_of_work.point
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("parts")
def test_a_sweep_that_is_killed_goes_on_and_no_process_is_left(sweep_file, tmp_path):
    """Kill -9, some time after the first points; undisturbed, the same table."""
    rng, path, kills = np.random.default_rng(5), sweep_file(SEEDS), 0
    command = [sys.executable, "-c", QUICKLY, "sweep", str(path), "--workers", "2", "--out"]
    out = tmp_path / "out"
    while kills < 3:
        run = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL, start_new_session=True)
        before = len(list(out.glob("points/*.json")))
        while run.poll() is None and len(list(out.glob("points/*.json"))) <= before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        run.kill()
        kills += run.wait() != 0
        deadline = time.monotonic() + 30
        while left := [p for p in psutil.process_iter() if _session(p.pid) == run.pid and p.status() != "zombie"]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
        if run.returncode == 0:
            break
    done = subprocess.run([*command, str(out)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert kills
    subprocess.run([*command, str(tmp_path / "undisturbed")], check=True, capture_output=True, timeout=200)
    tables = [pd.read_csv(folder / "sweep.csv") for folder in (out, tmp_path / "undisturbed")]
    pd.testing.assert_frame_equal(*tables)
    assert max(len(list(folder.iterdir())) for folder in (out / "points").glob("000?")) <= 1 + kills


def _session(process):
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def test_a_folder_with_other_files_is_left_alone(sweep_file, tmp_path, refused):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    refused("sweep", sweep_file(SEEDS), "--out", tmp_path / "thesis", told="holds other files")


def test_figures_of_chips_have_their_worst(small_run):
    summary = json.loads((small_run / "summary.json").read_text())
    found = figures_of(summary)
    assert found["sine.nrmse_full"] == found["sine.nrmse_full_worst"] == summary["generate"]["sine"]["nrmse_full"]
    assert found["recognise.of_full"] == 4
    summary["generate"]["sine"]["chips"] = {"nrmse_reduced": [0.1, None, 0.2], "nrmse_full": [0.1, 0.3]}
    found = figures_of(summary)
    assert found["sine.nrmse_reduced_worst"] == math.inf
    assert found["sine.nrmse_full_worst"] == 0.3


TINY = """
name = "tiny"
device = "coarse.toml"
engine = "embedded"
model = "flow_map"
reach = 1.0
baselines = false
finish = "none"
[sweep]
"generate.seed" = [0, 1]
[calibration]
trajectories = 12
duration = 1.5e-9
grades = []
[generate]
tasks = ["sine"]
period_ticks = 48
free_periods = 6
full_periods = 3
topology = {nodes = 8}
training = {method = "ridge", teacher_periods = 20}
[recognise]
period_ticks = 40
train_trials = 40
test_trials = 40
full_trials = 4
topology = {nodes = 8}
"""


@pytest.mark.slow
def test_a_real_sweep_is_the_same_in_one_process_and_in_two(sweep_file, tmp_path, spinloom):
    path = sweep_file("")
    path.write_text(TINY)
    tables = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        outcome = spinloom("sweep", path, "--out", out, "--workers", workers)
        assert outcome.code == 0, outcome.err
        tables.append(pd.read_csv(out / "sweep.csv").drop(columns="wall_s"))
        assert "report:" in (out / "points" / "0001.log").read_text()
        assert tomllib.loads((out / "inputs" / "0001.toml").read_text())["generate"]["seed"] == 1
    pd.testing.assert_frame_equal(*tables)
    assert tables[0]["sine.nrmse_full"].max() < 0.2


def test_no_table_is_told(tmp_path):
    with pytest.raises(SpinloomError, match="no such file"):
        load_table(tmp_path / "sweep.nc")
