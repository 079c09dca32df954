"""Traces of a known device, measured badly, and the device that comes back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spinloom.device_models.calibration import load_calibration, save_calibration
from spinloom.device_models.card import load_card
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.engines import ENGINES, Kind
from spinloom.device_models.spread import PARAMETERS, vary
from spinloom.device_models.ubermag import card_toml
from spinloom.reduced_models import reach
from spinloom.reduced_models.model import load_model
from spinloom.reduced_models.reach import held_out
from spinloom.reduced_models.rollout import simulate
from spinloom.workflows import measured
from spinloom.workflows.cli import main

TICK, SAMPLES, TICKS = 1e-11, 2, 90
OPTIONS = ("--engine", "rigid", "--tick", "1e-11", "--tolerance", "alpha=0.1,bias=0.1,offset=0.1", "--json")


@pytest.fixture(scope="module")
def rigid(alter, coarse_card):
    """Of one cell, so that rigid layers are all there is."""
    return alter(coarse_card, geometry={"cell": (60e-9, 60e-9, 2e-9)})


@pytest.fixture(scope="module")
def with_rigid_engine(rigid_engine):
    from contextlib import nullcontext

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "rigid", Kind(lambda cards, tick, *_: nullcontext(rigid_engine(cards, tick))))
        patch.setattr(measured, "FIRST", {"trajectories": 6, "duration": 6e-10, "grades": ()})
        patch.setattr(measured, "PIECES_NS", (0.9,))
        patch.setattr(reach, "DEGREES", [3])
        yield


@pytest.fixture(scope="module")
def true(rigid):
    by = np.zeros(len(PARAMETERS))
    by[PARAMETERS.index("alpha")], by[PARAMETERS.index("bias")] = -0.08, 0.07
    return vary(rigid, by)


@pytest.fixture(scope="module")
def traces(rigid, true, rigid_engine, tmp_path_factory):
    """Ten CSV files in volts and ohm, as an oscilloscope writes them, from anywhere in a run."""
    folder, rng = tmp_path_factory.mktemp("traces"), np.random.default_rng(0)
    (folder / "card.toml").write_text(card_toml(rigid))
    step, kinds = TICK / SAMPLES, ("holds", "noise", "tones")
    u = np.stack([calibration_drive(kinds[k % 3], TICKS + 30, TICK, np.random.default_rng(k)) for k in range(10)])
    u = np.repeat(u, SAMPLES, axis=1)
    _, m = rigid_engine(true, step).play(np.full(u.shape[1], step), u.T)
    first = 30 * SAMPLES
    for k in range(10):
        r = 1.04 * m[first - 1 : -1, k, 0] - 0.03
        r = r + rng.normal(0, 0.01, len(r))
        parallel = rigid.area / rigid.readout.RA
        ohm = 1 / (parallel * 0.75 * (1 + r / 3))
        volts = u[k, first:] * rigid.torque.J_max * rigid.readout.RA
        rows = np.column_stack([np.arange(len(r)) * step, volts, ohm])
        header = "Model,X\nSample Interval,5e-12\nTIME,CH1,CH2"
        np.savetxt(folder / f"scope-{k}.csv", rows, delimiter=",", header=header, comments="", fmt="%.10g")
    return folder


@pytest.fixture(scope="module")
def calibrated(traces, with_rigid_engine):
    units = ("--drive-unit", "V", "--signal-unit", "ohm", "--columns", "TIME,CH1,CH2", "--card", traces / "found.toml")
    files = sorted(traces.glob("scope-*.csv"))
    arguments = ["measure", traces / "card.toml", *files, "--out", traces / "measured.nc", *OPTIONS, *units]
    with pytest.raises(SystemExit) as stop:
        main([str(one) for one in arguments])
    assert not stop.value.code
    return traces / "measured.nc"


def test_the_device_comes_back(calibrated, traces, true):
    told = json.loads(load_calibration(calibrated).attrs["measured"])
    assert set(told["parameters"]) == {"alpha", "bias", "gain", "offset", "delay"}
    assert told["gain"] == pytest.approx(1.04, abs=0.02)
    assert told["offset"] == pytest.approx(-0.03, abs=0.005)
    assert abs(told["delay_s"]) < 2e-12
    found = load_card(traces / "found.toml")
    assert found.material.alpha == pytest.approx(true.material.alpha, rel=0.04)
    assert found.bias.H[1] == pytest.approx(true.bias.H[1], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flow_map", "macrospin"])
def test_the_same_estimators_with_the_same_verdict(calibrated, traces, true, rigid_engine, spinloom, kind):
    out, plot = traces / f"{kind}.nc", traces / f"{kind}.svg"
    said = spinloom("fit", calibrated, "--kind", kind, "--out", out, "--plot", plot, "--json")
    assert said.code == 0, said.err
    assert said.json["verdict"] in ("good", "usable")
    assert "follows measured signals" in said.json["words"]
    assert plot.read_text().startswith("<?xml")
    model = load_model(out)
    assert model.kind == kind
    assert model.info["measured"]["noise_each"][0] == pytest.approx(0.015, rel=0.5)
    u = np.stack([calibration_drive("tones", 100, TICK, np.random.default_rng(100 + k)) for k in range(3)], axis=1)
    _, m = rigid_engine(true, TICK).play(np.full(100, TICK), u)
    predicted = simulate(model.estimator, u, model.m_start)
    assert np.sqrt(((predicted - m)[..., 0] ** 2).mean()) < 0.05 * m[..., 0].std()


def test_what_judges_is_not_what_it_was_found_from(calibrated):
    """Signals of held-out traces may be anything: the card that is found stays."""
    dataset = load_calibration(calibrated)
    out = held_out(dataset["amplitude"].values)
    assert out.sum() == 2
    assert dataset["signal"].shape == dataset["u"].shape == (10, TICKS)
    assert str(dataset["source"].values[0]) == "scope-0.csv at 0 s"


def test_a_damaged_set_is_told(calibrated, spinloom, refused, tmp_path):
    dataset = load_calibration(calibrated)
    save_calibration(dataset.drop_vars("m_first"), tmp_path / "bad.nc")
    refused("fit", tmp_path / "bad.nc", "--out", tmp_path / "m.nc", told="expected a variable m_first")
    save_calibration(dataset.assign_attrs(measured='{"gain": 1}'), tmp_path / "bad.nc")
    refused("fit", tmp_path / "bad.nc", "--out", tmp_path / "m.nc", told="expected an attribute measured with gain")


def test_mistakes_are_told(traces, with_rigid_engine, refused, tmp_path):
    few = sorted(traces.glob("scope-*.csv"))[:3]
    said = ("measure", traces / "card.toml", *few, "--out", tmp_path / "x.nc", *OPTIONS[:-1])
    units = ("--drive-unit", "V", "--signal-unit", "ohm")
    refused(*said, *units, told="traces: expected at least 10 pieces, some of which judge, got 3")
    refused(*said, *units, "--columns", "TIME,CH1,CH9", told="no column 'CH9'")
    refused(*said, "--engine", "oommf-reference", *units, told="engine: measuring computes")
    assert not (tmp_path / "x.nc").exists()
    warm = tmp_path / "warm.toml"
    warm.write_text((traces / "card.toml").read_text().replace("temperature = 0.0", "temperature = 300.0"))
    refused("measure", warm, *few, "--out", tmp_path / "x.nc", told="conditions.temperature: measuring works at 0 K")


def test_replay_of_an_oscilloscopes_drive(traces, with_rigid_engine, spinloom, refused, tmp_path):
    said = ("replay", traces / "card.toml", traces / "scope-0.csv", "--engine", "rigid", "--out", tmp_path / "m.csv")
    outcome = spinloom(*said, "--tick", "1e-11", "--drive-unit", "V", "--columns", "TIME,CH1", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["ticks"] == TICKS
    refused(*said, "--drive-unit", "V", told="tick: samples of an instrument are averaged over ticks")
    refused(*said, "--drive-unit", "mV", "--tick", "1e-11", told="drive unit: expected one of u, A/m2, A, V, got 'mV'")
    refused(*said, told="that of an oscilloscope needs --drive-unit too")
