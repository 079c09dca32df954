"""Numbers that are none, a full disk, no permission, no memory: one message, and what was computed is kept."""

from __future__ import annotations

import ast
import errno
import resource
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.model import load_model
from spinloom.workflows import console, cosimulate, failures, full_runs, train
from spinloom.workflows.full_runs import How, run_full
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings, load_experiment

ROOT = Path(__file__).resolve().parents[2]
TICKS = 6


class Failing:
    """Nodes of which one is lost in some tick."""

    traceable = False
    channels = ("drive",)
    tick = 7.5e-12
    devices = 1

    def __init__(self, fails: int, node: int):
        self.fails, self.node = fails, node

    def start(self, n, seed=0, devices=None, progress=None):
        return 0, np.full((n, 3), 0.5)

    def step(self, state, inputs):
        at, m = state
        m = m + 0.01
        if at == self.fails:
            m[self.node] = np.nan
        return at + 1, m

    def observe(self, state):
        return state[1][:, 0]

    def moment(self, state):
        return state[1]


@pytest.fixture
def failing(monkeypatch):
    """An engine whose fifth node is lost in tick 20."""
    engine = SimpleNamespace(
        name="failing", version="1", batched=True, live=True, node=Failing(20, 5), input=lambda: "", costs=lambda *_: {}
    )

    @contextmanager
    def opened(*_, **__):
        yield engine

    monkeypatch.setattr(full_runs, "open_engine", opened)
    return engine


def test_a_verdict_that_diverges_names_network_node_and_tick_and_keeps_the_rest(failing, tmp_path, capsys):
    model = load_model(ROOT / "data" / "reference" / "networks" / "model.nc")
    weights, f = draw(Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0), [0, 1]), np.zeros((TICKS, 1))
    settings = {"washouts": [2]}
    networks = [TrainedNetwork("generate", f"n{k}", weights.one(k), TICKS, f, settings) for k in range(2)]
    salvage = tmp_path / "partial.nc"
    with pytest.raises(DivergedError, match="n1: node 2: its signal is not finite from tick 20 on, washout included"):
        run_full(networks, model, choose_engine("embedded"), 10, How(anyway=True), salvage)
    assert "what was computed is kept in" in capsys.readouterr().err
    kept = xr.load_dataset(salvage, engine="h5netcdf")
    assert kept["r_stopped"].shape == (20, 2, 3)
    assert np.isfinite(kept["r_stopped"]).all()


@pytest.fixture
def losing(monkeypatch, make_losing):
    """Lets device 5 be lost in tick 30 of whatever a stage runs by a function of its own."""

    def lose(module, name):
        run = getattr(module, name)
        monkeypatch.setattr(module, name, lambda node, *rest, **how: run(make_losing(node, 30, 5), *rest, **how))

    return lose


AT_REST = {"spectral_radius": 0.3, "bias": 0.5, "gain": 0.7}
SHORT = ("--nodes", 8, "--period-ticks", 24, "--free-periods", 3, "--washouts", "2,1", "--json")
QUICK = ("--teacher-periods", 12, "--force-periods", 4, "--trim-rounds", 1, "--trim-periods", 4, "--tries", 1)


@pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
def test_a_free_run_of_reduced_nodes_that_diverges_is_told_with_tick_and_node_and_its_network_is_kept(
    spinloom, losing, coarse_model_path, tmp_path
):
    losing(train, "generate")
    out = tmp_path / "sine.nc"
    outcome = spinloom(
        "train", "generate", "--task", "sine", "--model", coarse_model_path, "--out", out, *SHORT, *QUICK
    )
    assert outcome.code == 0, outcome.err
    lost = "node 5 is not finite from tick 30 on, counted from the start of 2 periods of washout"
    assert outcome.json["lost"] == lost
    assert outcome.json["nrmse"] is None
    assert outcome.json["words"].startswith("sine is not generated (NRMSE inf in free run")
    assert (
        f"{lost}; the reduced model is wrong where this network goes: fit with a smaller --reach"
        in outcome.json["words"]
    )
    network, _ = load_network(out)
    assert np.isfinite(network.weights.w_out).all()
    assert network.settings["reached"]["lost"] == lost


@pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
def test_many_of_which_one_diverges_are_judged_in_silence(losing, coarse_model, capsys):
    """As candidates are: the others have their figures, and nothing is said of the one."""
    losing(train, "generate")
    settings = GenerateSettings.model_validate(
        {
            "period_ticks": 24, "free_periods": 3, "washouts": [1], "topology": AT_REST | {"nodes": 4},
            "training": {"teacher_periods": 12, "force_periods": 4, "trim_rounds": 1, "trim_periods": 4, "tries": 1},
        }
    )  # fmt: skip
    one, other = train.train_generate(coarse_model, settings, [("sine", 0), ("sine", 1)])[2]
    assert np.isfinite(one["nrmse"])
    assert one["lost"] is None
    assert (other["nrmse"], other["lost"].split(",")[0]) == (np.inf, "node 1 is not finite from tick 30 on")
    assert "not finite" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
def test_a_trial_on_reduced_nodes_that_diverges_is_told_and_is_no_answer(coarse_model, make_losing, monkeypatch):
    run = train.recognise

    def tested(node, *rest, **how):
        return run(make_losing(node, 30, 13) if "watch" in how else node, *rest, **how)

    monkeypatch.setattr(train, "recognise", tested)
    settings = RecogniseSettings.model_validate(
        {"period_ticks": 24, "train_trials": 24, "test_trials": 12, "topology": AT_REST | {"nodes": 6}}
    )
    _, (test,), (result,) = train.train_recognise(coarse_model, settings, [0])
    assert (np.flatnonzero(test.answers[0] < 0)).tolist() == [2]
    assert "; 1 of 12 trials have no answer: in trial 2 node 1 is not finite from tick 30 on; " in result["words"]


def test_a_reduced_network_that_diverges_beside_a_verdict_is_told(losing, coarse_model, capsys):
    losing(cosimulate, "generate")
    weights, f = draw(Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0), [0, 1]), np.zeros((TICKS, 1))
    networks = [TrainedNetwork("generate", f"n{k}", weights.one(k), TICKS, f, {"washouts": [2]}) for k in range(2)]
    run = cosimulate._reduced(networks, coarse_model, 10)
    said = capsys.readouterr().err
    assert "n1 on reduced nodes: node 2 is not finite from tick 30 on, washout included; the reduced model" in said
    assert "n0" not in said
    assert np.isfinite(run.z[:, 0]).all()


class XlaError(RuntimeError):
    """What XLA raises has another name in every version."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory; take fewer devices"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory; take fewer devices"),
        (XlaError("RESOURCE_EXHAUSTED: Out of memory allocating 80000000000 bytes."), "not enough memory; take fewer"),
        (OSError(errno.ENOSPC, "No space left on device", "a.nc"), "a.nc: no space left on device; free some space"),
        (OSError(errno.EROFS, "Read-only file system", "a.nc"), "a.nc: read-only file system; choose another output"),
        (PermissionError(errno.EACCES, "Permission denied", "a.nc"), "a.nc: permission denied; choose another file"),
        (OSError(errno.EFBIG, "File too large"), "file too large; the system limits the size of files"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files; the system limits"),
        (SpinloomError("x\x1b[2J"), r"x\x1b[2J"),
    ],
)
def test_what_the_machine_refuses_is_one_message(refused, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("spinloom.device_models.card.read_toml", fail)
    refused("calibrate", ROOT / "data" / "devices" / "disc60.toml", "--out", "a.nc", told=message)


def test_an_error_of_the_program_stays_one(spinloom, monkeypatch):
    """It is to be reported, with all that it tells."""

    def fail(*_, **__):
        raise KeyError("x")

    assert failures.told(KeyError("x")) is None
    monkeypatch.setattr("spinloom.device_models.card.read_toml", fail)
    with pytest.raises(KeyError):
        spinloom("calibrate", ROOT / "data" / "devices" / "disc60.toml", "--out", "a.nc")


@contextmanager
def small_files():
    """A limit of the system on the size of files, as a full disk would set one: gone before pytest writes a word."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_the_disk_does_not_take_leaves_what_stood_there(tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("old")
    values = xr.Dataset({"a": ("x", np.random.default_rng(0).normal(size=1000))})
    with pytest.raises(SpinloomError, match=r"a\.nc: cannot be written \(file too large\)"), small_files():
        files.save(values, path, "thing", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nc"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC])
def test_a_folder_that_takes_no_files(tmp_path, monkeypatch, number):
    """Whether that shows when the file is begun or when it takes its place. (Root may write everywhere.)"""

    def refuse(*_, **__):
        raise OSError(number, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkstemp", refuse)
        with pytest.raises(SpinloomError, match=r"a\.nc: cannot be written"):
            files.save(xr.Dataset(), tmp_path / "a.nc", "thing", 1)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SpinloomError, match=r"a\.nc: cannot be written"):
        files.save(xr.Dataset(), tmp_path / "a.nc", "thing", 1)
    assert not list(tmp_path.iterdir())


def test_not_enough_memory_to_read(tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    files.save(xr.Dataset(), tmp_path / "a.nc", "thing", 1)
    monkeypatch.setattr(xr.Dataset, "load", full)
    with pytest.raises(SpinloomError, match=r"a\.nc: not enough memory to read it"):
        files.load(tmp_path / "a.nc", "thing", 1)


def test_a_clock_that_jumps_changes_nothing(monkeypatch, capsys):
    """Durations come from clocks that only go forward; the other is for dates, and for the ages of files."""
    of_ages = {"trajectory_store.py", "kept.py", "status.py"}
    for folder in ("device_models", "reduced_models", "networks", "workflows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
            assert "time.time" not in calls or path.name in of_ages, path
    monkeypatch.setattr(time, "time", iter(range(10**9, 0, -1000)).__next__)
    with console.progress("counting", 10) as advance:
        for _ in range(10):
            advance(1)
    assert "counting: done" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x.csv", "/etc/x.csv", "a/../../x.csv", "link/x.csv", "x\\u0000.csv", "loop.csv"])
def test_no_path_of_an_experiment_leaves_its_folder(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "x.csv").write_text("f\n0\n1\n2\n3\n")
    (folder / "link").symlink_to(tmp_path)
    (folder / "loop.csv").symlink_to("loop.csv")
    for line in (f'[generate]\ntasks = ["{name}"]', f'device = "{name}"'.replace(".csv", ".toml")):
        (folder / "loop.toml").unlink(missing_ok=True)
        (folder / "loop.toml").symlink_to("loop.toml")
        (folder / "e.toml").write_text(f'name = "e"\n{line}\n')
        with pytest.raises(SpinloomError, match="outside its own folder|which is no file"):
            load_experiment(folder / "e.toml")
