"""What noise does to an output: figures of outputs whose noise is known."""

import numpy as np
import pytest

from spinloom.networks.fluctuations import FIGURES, apart, fluctuations, interval, summary

TICKS, PERIODS = 40, 400


def noisy(diffusion=0.0, jitter=0.0, amplitude=0.0, white=0.0, drift=0.0, runs=24, seed=0):
    """Sines of many periods whose phase walks, whose phase and amplitude scatter from period to period, and so on."""
    rng = np.random.default_rng(seed)
    t = np.arange(PERIODS * TICKS) / TICKS
    f = np.sin(2 * np.pi * t[:TICKS])
    per_period = np.sqrt(diffusion) * np.cumsum(rng.standard_normal((PERIODS, runs)), axis=0)
    per_period += jitter * rng.standard_normal((PERIODS, runs)) + drift * np.arange(PERIODS)[:, None]
    size = 1 + amplitude * rng.standard_normal((PERIODS, runs))
    phase, size = (np.repeat(each, TICKS, axis=0) for each in (per_period, size))
    z = size * np.sin(2 * np.pi * t[:, None] + phase) + white * rng.standard_normal((len(t), runs))
    return z[..., None], np.repeat(f[:, None, None], runs, axis=1)


@pytest.mark.parametrize("diffusion", [1e-4, 1e-2])
def test_the_diffusion_of_a_phase_is_found_whatever_else_scatters(diffusion):
    found = fluctuations(*noisy(diffusion=diffusion, jitter=0.02, amplitude=0.05, drift=1e-3))["phase_diffusion"]
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean() - diffusion) < 3 * error
    assert error < 0.2 * diffusion


def test_a_clock_leaves_no_diffusion_however_much_the_phase_scatters():
    found = fluctuations(*noisy(jitter=0.2))["phase_diffusion"]
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean()) < 1e-5 + 3 * error
    assert error < 3e-5


def test_amplitude_noise_is_that_of_the_periods():
    found = fluctuations(*noisy(amplitude=0.1))
    assert found["amplitude_noise"].mean() == pytest.approx(0.1, rel=0.03)
    assert found["phase_diffusion"].mean() == pytest.approx(0, abs=1e-9)


def test_white_noise_counts_in_error_and_shape_alike():
    found = fluctuations(*noisy(white=0.1))
    for name in ("nrmse", "shape_error"):
        assert found[name].mean() == pytest.approx(0.1 * np.sqrt(2), rel=0.03)


def test_a_phase_that_is_lost_costs_error_and_not_shape():
    found = fluctuations(*noisy(diffusion=0.05))
    assert found["shape_error"].max() < 1e-6 < 0.5 < found["nrmse"].min()


def test_drift_is_told_apart_from_diffusion():
    found = fluctuations(*noisy(drift=0.01))
    assert found["phase_drift"] == pytest.approx(0.01)
    assert found["phase_diffusion"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("spoilt", [0.0, np.nan, np.inf])
def test_an_output_that_does_not_oscillate_has_no_phase(spoilt):
    z, f = noisy(runs=2)
    z[:, 0] = spoilt
    found = fluctuations(z, f)
    for name in ("amplitude_noise", "phase_diffusion", "phase_drift"):
        assert np.isnan(found[name][0])
        assert np.isfinite(found[name][1])
    assert found["nrmse"][0] > 0.999


@pytest.mark.parametrize(("periods", "known"), [(4, False), (7, False), (8, True)])
def test_a_few_periods_tell_all_but_how_the_phase_diffuses(periods, known):
    z, f = noisy(jitter=0.1)
    found = fluctuations(z[: periods * TICKS], f)
    assert np.isfinite(found.pop("phase_diffusion")).all() == known
    assert all(np.isfinite(values).all() for values in found.values())


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    samples = rng.standard_normal((2000, 5))
    held = [one["low"] <= 0 <= one["high"] for one in map(interval, samples)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_a_mean_and_no_interval():
    assert interval(np.array([2.0])) == {"mean": 2.0, "low": None, "high": None}
    assert interval(np.array([2.0, np.inf])) == {"mean": None, "low": None, "high": None}
    assert apart(np.array([2.0]), np.array([1.0, 2.0])) is None
    assert apart(np.array([1.0, 1.0]), np.array([1.0, 1.0])) is None


def test_the_same_noise_is_not_apart_and_more_of_it_is():
    first, again, more = (fluctuations(*noisy(**how)) for how in (
        {"white": 0.1, "seed": 1}, {"white": 0.1, "seed": 2}, {"white": 0.12, "seed": 3},
    ))  # fmt: skip
    assert summary(first, again).keys() == FIGURES.keys()
    assert abs(summary(first, again)["nrmse"]["apart"]) < 3
    assert summary(more, first)["nrmse"]["apart"] > 10
