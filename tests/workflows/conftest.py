"""The command line as a function, and one small experiment run once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from spinloom.device_models.engines import ENGINES, Kind
from spinloom.device_models.ubermag import card_toml
from spinloom.reduced_models import population_fit
from spinloom.workflows import search
from spinloom.workflows.cli import main


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object on standard output."""
        return json.loads(self.out)


@pytest.fixture
def spinloom(capsys) -> Callable[..., Outcome]:
    def call(*arguments) -> Outcome:
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call


COARSE = """
name = "coarse"
[geometry]
shape = "ellipse"
size = [60e-9, 60e-9, 2e-9]
cell = [10e-9, 10e-9, 2e-9]
[material]
Ms = 8e5
A = 13e-12
alpha = 0.1
[bias]
H = [0, 7725.0, 0]
[torque]
polariser = [0, 0, 1]
P = 0.4
J_max = 1.05e11
[readout]
axis = [1, 0, 0]
[start]
m = [0, 1, 0]
"""

EXPERIMENT = """
name = "small"
device = "coarse.toml"
engine = "embedded"
model = "flow_map"
reach = 1.0
baselines = false
[calibration]
trajectories = 12
duration = 1.5e-9
grades = []
[generate]
tasks = ["sine", "mine.csv"]
period_ticks = 48
free_periods = 6
full_periods = 3
[generate.training]
teacher_periods = 20
force_periods = 20
trim_rounds = 2
trim_periods = 8
[recognise]
period_ticks = 40
train_trials = 40
test_trials = 40
full_trials = 4
"""


@pytest.fixture(scope="session")
def experiment(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("expériment with space")
    (folder / "coarse.toml").write_text(COARSE)
    (folder / "mine.csv").write_text("f\n0\n2\n3\n2\n0\n-1\n-2\n-1\n")
    (folder / "small.toml").write_text(EXPERIMENT)
    return folder / "small.toml"


@pytest.fixture(scope="session")
def small_run(experiment) -> Path:
    folder = experiment.parent / "run"
    with pytest.raises(SystemExit) as stop:
        main(["run", str(experiment), "--out", str(folder)])
    assert not stop.value.code
    return folder


WAFER = """
name = "wafer"
device = "large.toml"
engine = "embedded"
temperature = 300
chips = 2
baselines = false
[spread]
diameter = 0.03
RA = 0.05
Ms = 0.02
offset = 0.02
[calibration]
trajectories = 28
duration = 6e-10
grades = []
[generate]
tasks = ["sine", "triangle"]
period_ticks = 48
washouts = [3]
free_periods = 8
full_periods = 8
full_seeds = 2
[generate.topology]
nodes = 4
feedback = 0
clock = 3.0
bias = 1.0
[generate.training]
method = "ridge"
teacher_periods = 12
noise = 0
ridge = 1e-3
[recognise]
period_ticks = 20
averaged = 2
train_trials = 8
test_trials = 8
full_trials = 4
[recognise.topology]
nodes = 4
"""


@pytest.fixture(scope="session")
def wafer(tmp_path_factory, large_card) -> Path:
    """Two chips of four warm junctions that differ."""
    folder = tmp_path_factory.mktemp("wafer")
    (folder / "large.toml").write_text(card_toml(large_card))
    (folder / "wafer.toml").write_text(WAFER)
    return folder / "wafer.toml"


@pytest.fixture(scope="session")
def wafer_run(wafer) -> Path:
    folder = wafer.parent / "run"
    one = [{"degree": [2], "coordinate_degree": [1], "ridge": [1e-4], "noise_degree": [1]}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population_fit, "WARM", one)  # that the best is taken is tested elsewhere
        with pytest.raises(SystemExit) as stop:
            main(["run", str(wafer), "--out", str(folder)])
    assert not stop.value.code
    return folder


@pytest.fixture(scope="session")
def cold_run(wafer, rigid_engine) -> Path:
    """The same chips at 0 K for one task, with rigid layers for full micromagnetics."""
    lines = wafer.read_text().replace("temperature = 300", 'finish = "none"').replace('"embedded"', '"rigid"')
    path, folder = wafer.with_name("cold.toml"), wafer.parent / "cold"
    path.write_text(lines.replace('"sine", "triangle"', '"sine"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population_fit, "COLD", [{"degree": [3], "coordinate_degree": [1]}])
        patch.setitem(ENGINES, "rigid", Kind(lambda cards, tick, *_: nullcontext(rigid_engine(cards, tick))))
        with pytest.raises(SystemExit) as stop:
            main(["run", str(path), "--out", str(folder), "--anyway"])
    assert not stop.value.code
    return folder


@pytest.fixture
def shortened_search(monkeypatch) -> Callable[..., None]:
    """Makes searches be of so many candidates, over few ticks."""

    def shorten(batch: int, promoted: int, last: int) -> None:
        ticks = {"TAUGHT": (9, 400, 800), "FORCED": (4, 200, 300), "FREE": (9, 400, 800)}
        for name, value in {"BATCH": batch, "PROMOTED": promoted, "LAST": last, **ticks}.items():
            monkeypatch.setattr(search, name, value)

    return shorten


@pytest.fixture
def refused(spinloom) -> Callable[..., None]:
    """A command that ends with a message, code 2 and nothing on standard output."""

    def call(*arguments, told: str) -> None:
        outcome = spinloom(*arguments)
        assert outcome.code == 2, outcome.err
        assert told in " ".join(outcome.err.replace("│", " ").split()), outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.out == ""

    return call


PARTS = """
import json, os, signal, time
from pathlib import Path
from spinloom.device_models.errors import SpinloomError

def double(x):
    return 2 * x

def picky(x):
    if x == 1:
        raise SpinloomError("x: expected another number, got 1")
    if x == 2:
        raise RuntimeError("odd")
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def slow(given):
    folder, number = given
    Path(folder, f"{number}.{os.getpid()}").touch()
    time.sleep(0.4)
    return os.getpid()

def environment(name):
    return os.environ.get(name)

def threads(_):
    import jax.numpy as jnp
    jnp.ones((300, 300)).sum().block_until_ready()
    return len(os.listdir("/proc/self/task"))

def point(task):
    "As a sweep's, but quick: what it finds is the number of its experiment's seed."
    from spinloom.workflows.settings import load_experiment
    experiment, card = load_experiment(task["experiment"])
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(time.time())).touch()
    time.sleep(0.3)
    if experiment.generate.seed == 13:
        raise SpinloomError("seed: 13 is no good")
    figures = {"outcome": "verified", "error": "", "sine.nrmse_full": experiment.generate.seed / 100}
    figures["size"] = card.geometry.size[0]
    done = {"made_from": task["made_from"], "figures": figures}
    folder.with_suffix(".json").write_text(json.dumps(done))
    return figures
"""


@pytest.fixture
def parts(tmp_path_factory, monkeypatch):
    """Functions for workers, in a module that they find."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "parts_of_work.py").write_text(PARTS)
    monkeypatch.syspath_prepend(folder)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    import parts_of_work

    yield parts_of_work
    del sys.modules["parts_of_work"]


class Dask:
    """A scheduler in a process of its own, and workers as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.scheduler = self._started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.workers: list[subprocess.Popen] = []

    @property
    def address(self) -> str:
        while not self.file.exists() or not self.file.read_text().strip():
            assert self.scheduler.poll() is None
        return json.loads(self.file.read_text())["address"]

    def add_worker(self) -> None:
        where = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(self.folder))
        self.workers.append(self._started("worker", *where))

    def _started(self, what: str, *arguments: str) -> subprocess.Popen:
        module = f"distributed.cli.dask_{what}"
        command = [sys.executable, "-m", module, "--scheduler-file", str(self.file), *arguments]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def dask_cluster(parts, tmp_path_factory) -> Iterator[Callable[[], Dask]]:
    """Starts a scheduler; it ends with the test."""
    started: list[Dask] = []

    def start() -> Dask:
        started.append(Dask(tmp_path_factory.mktemp("dask")))
        return started[-1]

    yield start
    for one in started:
        one.close()
