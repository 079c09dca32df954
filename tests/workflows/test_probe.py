"""The command probe: what it says, keeps and draws."""

import json

import pytest

from spinloom.device_models.errors import DivergedError
from spinloom.device_models.probe import Probe
from spinloom.workflows import probe as stage

FOUND = Probe(
    name="disc60", safe=0.4, switches=0.75, precesses=0.5, chaotic=None, hysteresis=0.1, resonance=2e9, quality=3.0,
    slope=1.0, slope_m=(1.0, 0.0, 0.0), offset=0.1, spread=0.5, spread_m=(0.5, 0.1, 0.0), second=0.0, third=0.1,
    J_max=4e10, tick=7.5e-12, period=(0.7e-9, 1.2e-9),
    levels=[{"u": u, "signal": u, "oscillation": 0.0, "after_burst": 0.1, "precesses": False, "returned": 0.0}
            for u in (-0.1, 0.1)],
    past=[{"u": 0.0, "from_above": 0.1, "from_below": 0.0}],
    twins=[{"amplitude": 1.0, "kind": "tones", "rate_per_ns": -1.0, "separation": 1e-9}],
    spectrum={"f": [1e9, 2e9, 3e9], "m": [1e-10, 3e-10, 1e-10]},
    advice=["Quiet up to 0.4 of J_max: set torque.J_max = 4e+10."],
)  # fmt: skip


@pytest.fixture
def found(monkeypatch):
    monkeypatch.setattr(stage, "probe", lambda card, engine, progress: FOUND)


@pytest.mark.usefixtures("found")
def test_what_was_found_is_said_kept_and_drawn(spinloom, experiment, tmp_path):
    card = experiment.parent / "coarse.toml"
    out, plot = tmp_path / "probe.json", tmp_path / "probe.svg"
    outcome = spinloom("probe", card, "--out", out, "--plot", plot, "--json")
    assert outcome.code == 0
    assert "set torque.J_max = 4e+10" in outcome.err
    assert outcome.json == {k: v for k, v in json.loads(json.dumps(FOUND.to_dict())).items() if k != "spectrum"}
    assert json.loads(out.read_text()) == json.loads(json.dumps(FOUND.to_dict()))
    assert plot.read_text().lstrip().startswith("<?xml")


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(("options", "told"), [((), True), (("--no-probe",), False)])
def test_it_is_the_first_step_of_calibrate(spinloom, experiment, tmp_path, options, told):
    quick = ("--engine", "embedded", "--trajectories", 4, "--duration", "3e-10", "--grades", "none", *options)
    outcome = spinloom("calibrate", experiment.parent / "coarse.toml", *quick, "--out", tmp_path / "cal.nc")
    assert outcome.code == 0
    assert ("set torque.J_max = 4e+10" in outcome.err) is told
    if told:
        assert outcome.err.index("set torque.J_max") < outcome.err.index("calibrate, 4 devices")


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "oommf-reference"), "engine: oommf-reference holds calibrations, not probes"),
        (("--engine", "mine"), "engine: expected"),
        (("--out", "no/such/folder/x/"), "cannot be written"),
        (("--plot", "."), "."),
    ],
)
def test_bad_input(spinloom, experiment, tmp_path, options, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no").write_text("a file")
    outcome = spinloom("probe", experiment.parent / "coarse.toml", *options)
    assert outcome.code == 2
    assert words in outcome.err


def test_a_probe_that_diverges_leaves_the_last_one(spinloom, experiment, tmp_path, monkeypatch):
    def diverge(*_):
        raise DivergedError("level 1 of J_max: its magnetisation is not finite from tick 7 on", 7, 12)

    monkeypatch.setattr(stage, "probe", diverge)
    out, plot = tmp_path / "probe.json", tmp_path / "probe.svg"
    out.write_text("before")
    outcome = spinloom("probe", experiment.parent / "coarse.toml", "--out", out, "--plot", plot)
    assert outcome.code == 2
    assert "level 1 of J_max: its magnetisation is not finite from tick 7 on" in outcome.err
    assert out.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["probe.json"]
