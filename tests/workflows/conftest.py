"""The command line as a function, and one small experiment run once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

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
