"""The benchmark of tuning: what it prints is what was found, and advice changes the card that it is about."""

from __future__ import annotations

import json

import pytest

from spinloom.device_models.card import load_card
from spinloom.workflows.settings import Experiment, GenerateSettings, experiment_toml

FOUND = {
    "verdict": "partly",
    "device_verdict": "good",
    "reach": 1.0,
    "period_s": 3.75e-10,
    "candidates": 32,
    "wall_s": 12.0,
    "tasks": {"sine": {"median_nrmse": 0.01, "worst_nrmse": 0.2, "seeds": 10, "periods": 100}},
    "advice": [{"words": "2 times the bias", "toml": "bias.H = [0.0, 15450.0, 0.0]"}],
    "out": "coarse.toml",
}
SHORT = {
    "tasks": ("sine",),
    "seed": 3,
    "period_ticks": 50,
    "free_periods": 6,
    "training": {"teacher_periods": 10, "force_periods": 8, "trim_rounds": 2, "trim_periods": 4, "tries": 2},
}


@pytest.fixture
def bench(benchmark_module, coarse_card_path, coarse_model, tmp_path, monkeypatch):
    """The benchmark beside a tuning of before; another tuning is noted, not made."""
    module = benchmark_module("tune")
    experiment = Experiment(name="coarse", generate=GenerateSettings.model_validate(SHORT))
    name = load_card(coarse_card_path).name
    (tmp_path / f"{name}.toml").write_text(experiment_toml(experiment, "shortened"))
    (tmp_path / f"{name}.tune.json").write_text(json.dumps(FOUND))
    monkeypatch.setattr(module, "model_of", lambda experiment, out: coarse_model)
    cards = []

    def tune(card, device, choice, out, wish):
        assert load_card(device) == card
        cards.append(card)
        return {**FOUND, "verdict": "works", "advice": [], "out": None}

    monkeypatch.setattr(module, "tune_stage", tune)
    return lambda *options: module.main([str(coarse_card_path), "--out", str(tmp_path), *options]) or cards


@pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
def test_seeds_that_judged_it_go_into_full_micromagnetics(bench, capsys):
    assert bench("--full", "2", "--full-periods", "2") == []
    lines = capsys.readouterr().out.splitlines()
    assert "reduced sine: median 0.01000, worst 0.20000 of 10 fresh seeds, 100 periods" in lines
    assert "advice: 2 times the bias" in lines
    (told,) = [line for line in lines if line.startswith("full sine: median")]
    median, worst = float(told.split()[3].rstrip(",")), float(told.split()[5])
    assert "of 2 seeds" in told
    assert 0 < median <= worst < 1


def test_advice_is_followed(bench, coarse_card_path, capsys):
    (changed,) = bench("--follow")
    assert changed.bias.H == (0, 15450, 0)
    assert changed.material == load_card(coarse_card_path).material
    assert "followed: 2 times the bias" in capsys.readouterr().out


def test_a_mistake_is_told_without_a_traceback(bench, capsys):
    with pytest.raises(SystemExit) as error:
        bench("--budget", "-1")
    assert error.value.code == 2
    assert "budget: expected seconds above zero, got -1" in capsys.readouterr().err
