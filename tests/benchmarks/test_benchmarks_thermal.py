"""The benchmark of thermal fluctuations: what it keeps, compares and refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest

from spinloom.device_models import files
from spinloom.device_models.calibration import Protocol, calibrate
from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.ubermag import card_toml
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import save_model

LINE = re.compile(
    r"u = ([+-][\d.]+)  (.+?)\s+([+-][\d.]+) ± ([\d.]+)   (?:embedded|reduced) ([+-][\d.]+) ± ([\d.]+)   ([+-][\d.]+)"
)


@pytest.fixture
def bench(benchmark_module):
    return benchmark_module("thermal")


@pytest.fixture
def card_path(coarse_card, tmp_path):
    path = tmp_path / "coarse.toml"
    path.write_text(card_toml(coarse_card))
    return path


def test_an_engine_agrees_with_itself_and_a_record_says_the_same(bench, card_path, tmp_path, capsys):
    out = tmp_path / "warm.nc"
    short = ("--levels", "0.3", "--runs", "24", "--ticks", "240", "--against", "24")
    bench.main([str(card_path), "--engine", "embedded", *short, "--out", str(out)])
    first = capsys.readouterr().out
    assert "at 300 K, 24 runs of embedded" in first
    rows = [match.groups() for match in map(LINE.fullmatch, first.splitlines()) if match]
    assert len(rows) == 3 * (2 + len(bench.LAGS_S) + len(bench.BANDS_HZ) + len(bench.QUANTILES))
    assert {row[0] for row in rows} == {"+0.30"}
    assert max(abs(float(row[6])) for row in rows) < 4.5
    bench.main(["--record", str(out), "--against", "24"])
    again = capsys.readouterr().out.splitlines()
    assert [line.split("embedded")[0] for line in again[1:]] == [
        line.split("embedded")[0] for line in first.splitlines()[1:]
    ]


def test_statistics_are_those_of_each_run(bench):
    m = np.random.default_rng(0).standard_normal((50, 1000, 3)) * [1.0, 2.0, 0.5] + [0, 0, 3]
    found = bench.statistics(m, 7.5e-12)
    assert found["mean of m_z"].mean() == pytest.approx(3, abs=0.01)
    assert found["variance of m_y"].mean() == pytest.approx(4, rel=0.02)
    assert found["m_x, 60 ps later"].mean() == pytest.approx(0, abs=0.02)
    assert found["95% of m_x"].mean() == pytest.approx(1.645, abs=0.02)
    # White noise: each band holds its share of all frequencies, up to half the rate of the ticks.
    assert found["m_y, 4-15 GHz"].mean() == pytest.approx(4 * 11 / (0.5 / 7.5e-3), rel=0.03)


@pytest.mark.slow
def test_a_reduced_model_is_compared_too(bench, card_path, coarse_model_path, tmp_path, capsys):
    warm = tmp_path / "warm.nc"
    data = bench.runs(load_card(card_path).at(300), choose_engine("embedded"), [0.0], 4, 240, 0)
    files.save(data, tmp_path / "runs.nc", bench.FORM, bench.VERSION)
    protocol = Protocol(trajectories=16, duration=1.5e-9, grades=())
    card = load_card(card_path).at(300)
    save_model(fit_model(calibrate(card, EmbeddedEngine(card, protocol.tick), protocol)), warm)
    bench.main(["--record", str(tmp_path / "runs.nc"), "--model", str(warm), "--against", "16"])
    rows = [match.groups() for match in map(LINE.fullmatch, capsys.readouterr().out.splitlines()) if match]
    assert max(abs(float(row[6])) for row in rows) < 6
    with pytest.raises(SystemExit):
        bench.main(["--record", str(tmp_path / "runs.nc"), "--model", str(coarse_model_path)])
    assert "at 0 K as its own card says" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--record", "nowhere.nc"), ("nowhere.toml",)])
def test_a_mistake_is_told_without_a_traceback(bench, options, capsys):
    with pytest.raises(SystemExit) as error:
        bench.main(list(options))
    assert error.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.slow
def test_the_embedded_engine_fluctuates_as_oommf_did(bench):
    """24 runs of OOMMF's Xf_ThermSpinXferEvolve at 300 K, held at 0 and at half of J_max, are shipped."""
    oommf = files.load(data_folder() / "reference" / "disc60_300K.nc", bench.FORM, bench.VERSION)
    assert (oommf.attrs["engine"], oommf.attrs["engine_version"]) == ("oommf", "2.1a0")
    oommf = oommf.isel(tick=slice(0, 334))
    card = DeviceCard.from_json(oommf.attrs["card"])
    assert card.conditions.temperature == 300
    ours = bench.runs(card, choose_engine("embedded"), oommf["level"].values, 12, oommf.sizes["tick"], 1)
    assert max(abs(row["apart"]) for row in bench.compared(oommf, ours)) < 4
    mean = ours["m"].mean(("run", "tick"))
    louder = ours.assign(m=mean + 3**0.5 * (ours["m"] - mean))
    assert max(abs(row["apart"]) for row in bench.compared(oommf, louder)) > 6, "it would not show three times as much"
