"""The benchmark of measured devices: what it draws, writes and compares."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from spinloom.device_models.measured import read_traces
from spinloom.reduced_models.flow_map import FlowMap


@pytest.fixture(scope="module")
def module(benchmark_module):
    return benchmark_module("measured")


def test_devices_are_off_by_five_to_ten_per_cent(module, disc):
    for seed in range(5):
        true = module.device(disc, seed, other=False)
        ratios = [true.material.Ms / disc.material.Ms, true.thickness / disc.thickness]
        ratios.append(true.material.alpha / disc.material.alpha)
        assert all(0.05 <= abs(ratio - 1) <= 0.1 for ratio in ratios)
    assert module.device(disc, 0, other=True).material.Ku > 0


def test_traces_can_be_read_and_are_noisy(module, coarse_card, tmp_path):
    paths = module.write_traces(coarse_card, tmp_path, 0.05, 0, 2, 4.5e-10)
    found = read_traces(paths, coarse_card, module.TICK)
    assert found.u.shape == (2, 60)
    np.testing.assert_allclose(found.u, module.drives(2, 60 + module.BEFORE, 0, 0)[:, module.BEFORE :], atol=1e-8)
    quiet = read_traces(module.write_traces(coarse_card, tmp_path, 0.0, 0, 2, 4.5e-10), coarse_card, module.TICK)
    noise = (found.r - quiet.r).std()
    assert 0.01 < noise < 0.06


@pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
def test_models_are_held_against_the_device(module, coarse_card, monkeypatch):
    monkeypatch.setattr("spinloom.reduced_models.reach.DEGREES", [3])
    options = argparse.Namespace(traces=10, duration=6e-10, kind="flow_map")
    model = module.calibrated(coarse_card, options)
    assert isinstance(model.estimator, FlowMap)
    other = module.device(coarse_card, 0, other=False)
    assert module.against(model, coarse_card, 0) < 0.5 * module.against(model, other, 0)


def test_a_card_that_is_none_is_told(module, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        module.main(["--device", str(tmp_path / "none.toml")])
    assert (error.value.code, "no such file" in capsys.readouterr().err) == (2, True)


def test_rows_are_kept_and_drawn(module, monkeypatch, tmp_path, capsys):
    """A row that is finished is not done again, unless something else is asked for."""
    made = []

    def row(card, noise, seed, options, folder):
        made.append((noise, seed))
        errors = {"wrong card": 0.1, "measured": noise / 3, "direct": 0.001}
        return {"noise": noise, "seed": seed, "verdict": "good", "holdout_nrmse": noise, "found_card": noise, **errors,
                "network": {"reduced": 0.001} if options.network else {}, "wall_s": 1.0}  # fmt: skip

    monkeypatch.setattr(module, "row", row)
    words = ["--noise", "0.01", "0.05", "--seeds", "2", "--first", "3", "--out", str(tmp_path)]
    module.main(words)
    assert made == [(0.01, 3), (0.01, 4), (0.05, 3), (0.05, 4)]
    assert "noise 0.05 seed 4: verdict good (0.0500)" in capsys.readouterr().out
    drawn = (tmp_path / "measured.svg").read_text()
    assert "5% noise" in drawn
    assert "device 4" in drawn
    module.main(words)
    assert len(made) == 4
    module.main([*words, "--network"])
    assert len(made) == 8
    assert "sine over 20 periods: reduced 0.0010" in capsys.readouterr().out
