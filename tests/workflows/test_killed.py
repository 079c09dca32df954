"""``kill -9`` at random moments: the same command goes on, and ends with the numbers of one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from spinloom.device_models.trajectory_store import TrajectoryStore

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("wall_s", "us_per_device_tick", "made", "created", "out")
"""What no two runs have alike."""


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def survives(command, found, tmp_path, kills, seed, trajectories):
    """Kill it again and again, in one folder until it is done, then in another; compare all that are done.

    ``command`` and ``found`` are called with a folder: what to start, and the numbers at the end.
    """
    rng, count, alone_s = np.random.default_rng(seed), 0, 0.0
    expected = None
    for number in range(100):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        environment = {**os.environ, "SPINLOOM_STORE": str(folder / "store"), "COLUMNS": "200"}
        began = time.monotonic()
        while True:
            last = expected is None or count == kills
            with (folder / "said.txt").open("a") as said:
                process = subprocess.Popen(command(folder), cwd=ROOT, env=environment, stderr=said, stdout=said)
            try:
                process.wait(timeout=1800 if last else rng.uniform(0.02, 0.9) * alone_s)
                break
            except subprocess.TimeoutExpired:
                assert not last
                process.kill()
                process.wait()
                count += 1
        told = (folder / "said.txt").read_text()
        assert process.returncode == 0, told
        assert "Traceback" not in told
        store = TrajectoryStore(folder / "store")
        assert len(list(store.entries())) == trajectories
        assert store.prune(damaged=True) == (0, 0)
        took = time.monotonic() - began
        if expected is None:
            expected, alone_s = found(folder), took
            continue
        assert found(folder) == expected
        if count == kills:
            return
        alone_s = min(alone_s, took)  # the first has compiled for all


@pytest.mark.slow
def test_a_run_that_is_killed_twelve_times(experiment, tmp_path):
    lines = experiment.read_text().replace('tasks = ["sine", "mine.csv"]', 'tasks = ["sine"]')
    path = experiment.with_name("killed.toml")
    path.write_text(lines)

    def command(folder):
        return [sys.executable, "-m", "spinloom", "run", path, "--out", folder / "run"]

    def found(folder):
        summary = without_times(json.loads((folder / "run" / "summary.json").read_text()))
        names = ("network-sine.nc", "network-recognise.nc", "finished-sine.nc", "model.nc", "cosimulation.nc")
        left = sorted(path.name for path in (folder / "run").iterdir())
        numbers = {}
        for name in names:
            data = xr.load_dataset(folder / "run" / name, engine="h5netcdf")
            numbers[name] = {str(key): data[key].values.tolist() for key in data.variables}
        return json.dumps([summary, left, numbers])

    survives(command, found, tmp_path, 12, 1, 12)


@pytest.mark.slow
def test_a_tuning_that_is_killed_eight_times(experiment, tmp_path):
    card = experiment.with_name("coarse.toml")
    how = ("--task", "sine", "--nodes", "12", "--longest", "4e-10", "--budget", "0.1", "--no-baselines")

    def command(folder):
        script = ROOT / "tests" / "shortened_tune.py"
        return [sys.executable, script, "tune", card, *how, "--out", folder / "tuned.toml"]

    def found(folder):
        tuned = without_times(json.loads((folder / "tuned.tune.json").read_text()))
        left = sorted(path.name for path in (*folder.iterdir(), *(folder / "tuned.tuning").iterdir()))
        record = pd.read_csv(folder / "tuned.search.csv").to_csv()
        return json.dumps([tuned, left, record, (folder / "tuned.toml").read_text()])

    survives(command, found, tmp_path, 8, 2, 16)
