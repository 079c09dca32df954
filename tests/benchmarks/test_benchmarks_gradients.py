"""The benchmark of gradients: its tasks are what it says, and it prints what it found."""

from __future__ import annotations

import re

import numpy as np
import pytest

from spinloom.networks.tasks import INPUT_RMS

pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
LINE = re.compile(r"(\w+) (fixed|refined) (.+): median ([\d.]+), worst ([\d.]+) \(([\d.]+) ([\d.]+)\)(?:, \d+ s)?")


@pytest.fixture(scope="module")
def module(benchmark_module):
    return benchmark_module("gradients")


def test_the_series_is_narma_10(module):
    s, y = module.narma_series(np.random.default_rng(0), 3, 60)
    u, y = (s + 1) / 4, y[..., 0]
    assert u.min() >= 0
    assert u.max() <= 0.5
    for t in range(20, 60):
        before = y[t - 10 : t]
        wanted = 0.3 * y[t - 1] + 0.05 * y[t - 1] * before.sum(axis=0) + 1.5 * u[t - 9] * u[t] + 0.1
        np.testing.assert_allclose(y[t], wanted, rtol=1e-12)


def test_waveforms_have_equal_power_and_the_noise_that_is_told(module):
    clean, classes = module.noisy_trials(np.random.default_rng(0), 400, decibel=200.0)
    assert sorted(set(classes.tolist())) == list(range(8))
    for k in range(8):
        assert np.sqrt((clean[:, classes == k] ** 2).mean()) == pytest.approx(INPUT_RMS, rel=0.02)
    noisy, _ = module.noisy_trials(np.random.default_rng(0), 400)
    ratio = (clean**2).mean() / ((noisy - clean) ** 2).mean()
    assert 10 * np.log10(ratio) == pytest.approx(5, abs=0.1)


@pytest.mark.slow
def test_what_is_printed(module, coarse_model_path, capsys):
    sizes = ("--seeds", "2", "--steps", "1", "--nodes", "4", "--trials", "24", "--narma-steps", "40")
    module.main([str(coarse_model_path), "--task", "recognise", "--task", "narma", *sizes])
    rows = [LINE.fullmatch(line).groups() for line in capsys.readouterr().out.splitlines()]
    wanted = [(task, kind, "reduced") for task in ("recognise", "narma") for kind in ("fixed", "refined")]
    assert [row[:3] for row in rows] == wanted
    for row in rows:
        median, worst, *each = map(float, row[3:])
        assert worst == max(each)
        assert median == pytest.approx(np.median(each), abs=1e-3)
