"""What a free run is worth, where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spinloom.device_models.files import to_json
from spinloom.networks.measures import against_chance, free_run_error, phase_drift, phase_slope, shape_error
from spinloom.networks.tasks import target

TICKS, PERIODS = 60, 12
TURN = 2 * np.pi / TICKS


def _one(f):
    """A target of one output for a single network, (ticks, 1, 1)."""
    return np.asarray(f)[:, None, None]


def _times(ticks=TICKS, periods=PERIODS):
    return np.arange(ticks * periods) * 2 * np.pi / ticks


def _missing(phase):
    """A target without a fundamental."""
    return np.sin(2 * phase) + 0.5 * np.sin(3 * phase + 1)


def _circle(phase):
    return np.stack([np.sin(phase), np.cos(phase)], axis=-1)[:, None]


def test_the_error_of_a_free_run_is_the_rms_over_the_spread():
    f = np.stack([np.sin(TURN * np.arange(TICKS)), 2 * np.cos(TURN * np.arange(TICKS)) + 5], axis=1)[:, None]
    z = np.tile(f, (3, 1, 1)) + 0.1
    # All outputs together: 0.1 over the root of the mean of the variances 1/2 and 2.
    np.testing.assert_allclose(free_run_error(z, f), 0.1 / np.sqrt(1.25), rtol=1e-12)
    z[..., 0] -= 0.1
    np.testing.assert_allclose(free_run_error(z, f), np.sqrt(0.01 / 2 / 1.25), rtol=1e-12)


def test_each_network_is_measured_against_its_own_target():
    f = np.stack([target("sine", 60), target("harmonics", 60)], axis=1)
    z = np.tile(f, (4, 1, 1)) * np.array([1.1, 1.0])[:, None]
    np.testing.assert_allclose(free_run_error(z, f), [0.1, 0], atol=1e-12)
    np.testing.assert_allclose(shape_error(z, f), [0.1, 0], atol=1e-12)
    assert free_run_error(z[..., ::-1, :], f).min() > 0.3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_what_is_not_finite_has_an_infinite_error(value):
    """Infinite, not the largest number there is; and its neighbours are not touched."""
    f = np.stack([target("sine", TICKS)] * 2, axis=1)
    z = np.tile(f, (PERIODS, 1, 1))
    z[100:, 1] = value
    for measure in (free_run_error, shape_error):
        error = measure(z, f)
        assert error.tolist()[1] == np.inf
        assert error[0] == pytest.approx(0, abs=1e-12)
        assert to_json(error.tolist()).endswith(", null]")
    drift = phase_drift(z, f)
    assert drift[0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(drift[1])
    assert np.isfinite(phase_slope(z, f)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_has_no_drift(value):
    f, z = _one(np.sin(TURN * np.arange(TICKS))), np.sin(1.001 * _times())
    z[-1] = value
    assert np.isnan(phase_drift(_one(z), f)).tolist() == [True]
    assert phase_slope(_one(z), f).tolist() == [0]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_what_does_not_oscillate_has_no_drift(share):
    """Below a tenth of the target's amplitude, whatever its mean or its other harmonics are."""
    f = _one(np.sin(TURN * np.arange(TICKS)))
    z = 0.5 + share * np.sin(1.001 * _times()) + 0.7 * np.cos(7 * _times())
    drift = phase_drift(_one(z), f)
    assert np.isnan(drift[0]) == (share < 0.1)
    assert to_json(drift.tolist()) == ("[null]" if share < 0.1 else to_json(phase_slope(_one(z), f).tolist()))


def test_what_dies_out_has_no_drift():
    f, z = _one(np.sin(TURN * np.arange(TICKS))), np.sin(_times())
    assert np.isnan(phase_drift(_one(z * (_times() < 4 * 2 * np.pi)), f)[0])
    assert phase_drift(_one(z), f)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("right", "trials", "above"),
    [(100, 400, False), (118, 400, False), (122, 400, True), (20, 20, True), (0, 4, False)],
)
def test_answers_are_held_against_guessing(right, trials, above):
    """With four classes: the sum of the binomial distribution from the right answers on."""
    found = against_chance(right, trials, 4)
    tail = sum(math.comb(trials, k) * 0.25**k * 0.75 ** (trials - k) for k in range(right, trials + 1))
    assert found["p_chance"] == pytest.approx(tail, rel=1e-9)
    assert found["above_chance"] is above
    assert found["chance"] == 0.25
    assert 0 <= found["accuracy_low"] <= right / trials <= found["accuracy_high"] <= 1
    assert found["accuracy_low"] < found["accuracy_high"]


@pytest.mark.parametrize("name", ["sine", "triangle", "harmonics", "square"])
@pytest.mark.parametrize("shift", [0, 1, 17, -23])
def test_the_shape_does_not_depend_on_the_phase(name, shift):
    f = target(name, TICKS)
    z = np.tile(np.roll(f, shift, axis=0), (PERIODS, 1))
    assert shape_error(_one(z[:, 0]), _one(f[:, 0]))[0] == pytest.approx(0, abs=1e-12)


def test_the_shape_does_not_depend_on_a_phase_between_the_ticks():
    for shape in (_missing, np.sin):
        f = _one(shape(TURN * np.arange(TICKS)))
        errors = [shape_error(_one(shape(_times() + phase)), f)[0] for phase in np.linspace(0, 2 * np.pi, 29)]
        assert max(errors) < 1e-5


def test_where_nothing_drifts_the_shape_error_is_the_error():
    rng = np.random.default_rng(0)
    f = np.stack([_missing(TURN * np.arange(TICKS)), np.cos(TURN * np.arange(TICKS))], axis=1)[:, None]
    z = np.tile(f, (PERIODS, 1, 1))
    for other in (1.1 * z, z + 0.2):
        np.testing.assert_allclose(shape_error(other, f), free_run_error(other, f), rtol=1e-9)
    noisy = z + 1e-3 * rng.normal(size=z.shape)
    np.testing.assert_allclose(shape_error(noisy, f), free_run_error(noisy, f), rtol=1e-2)


@pytest.mark.parametrize("outputs", [1, 2])
def test_no_alignment_is_worse_than_none(outputs):
    rng = np.random.default_rng(1)
    f, z = rng.normal(size=(25, 40, outputs)), rng.normal(size=(100, 40, outputs))
    assert (shape_error(z, f) <= free_run_error(z, f) * (1 + 1e-12)).all()


def test_a_run_that_drifts_keeps_its_shape():
    f = _one(np.sin(TURN * np.arange(TICKS)))
    z = _one(np.sin(1.01 * _times()))
    assert free_run_error(z, f)[0] > 0.4
    assert shape_error(z, f)[0] < 0.03


def test_all_outputs_are_aligned_by_the_same_shift():
    """A circle run the other way round is another shape, whatever the phase of each output."""
    f = _circle(TURN * np.arange(TICKS))
    assert shape_error(_circle(_times() + 0.7), f)[0] < 0.01
    assert shape_error(_circle(0.7 - _times()), f)[0] > 0.9


@pytest.mark.parametrize("rate", [5e-4, -1e-3, 4e-3])
@pytest.mark.parametrize("shape", [np.sin, _missing, lambda p: np.sin(2 * p), lambda p: 3 + np.cos(p)])
def test_drift_is_the_slope_of_the_phase_and_its_sign_says_who_leads(shape, rate):
    """In radians of the period, whichever harmonic is the lowest."""
    f = _one(shape(TURN * np.arange(TICKS)))
    z = _one(shape((1 + rate) * _times(periods=40) + 0.3))
    np.testing.assert_allclose(phase_drift(z, f), 2 * np.pi * rate, rtol=1e-2)


def test_each_network_has_its_own_drift_and_lowest_harmonic():
    x, t = TURN * np.arange(TICKS), _times(periods=40)
    f = np.stack([np.sin(x), _missing(x), np.cos(x)], axis=1)[..., None]
    z = np.stack([np.sin(1.0005 * t), _missing(0.999 * t), np.cos(t)], axis=1)[..., None]
    np.testing.assert_allclose(phase_drift(z, f), 2 * np.pi * np.array([5e-4, -1e-3, 0]), rtol=1e-2, atol=1e-12)


@pytest.mark.parametrize("rate", [1e-3, -1e-3])
def test_outputs_in_quadrature_drift_together(rate):
    f = _circle(TURN * np.arange(TICKS))
    z = _circle((1 + rate) * _times(periods=40))
    np.testing.assert_allclose(phase_drift(z, f), 2 * np.pi * rate, rtol=1e-2)


def test_drift_may_add_up_to_more_than_a_turn():
    f = _one(np.sin(TURN * np.arange(TICKS)))
    np.testing.assert_allclose(phase_drift(_one(np.sin(1.1 * _times(periods=40))), f), 0.2 * np.pi, rtol=2e-2)


def test_a_single_period_does_not_drift():
    f = _one(np.sin(TURN * np.arange(TICKS)))
    assert phase_drift(np.roll(f, 3, axis=0), f).tolist() == [0]
