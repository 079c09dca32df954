"""What a read-out shows: averages, gain, offset, delay; starts from a signal; errors told from noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.observation import Chain, error_of, find_starts, lead_of, observe, roll_out, turned
from spinloom.reduced_models.rollout import single_ticks


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.0, 2.7, -1.3])
def test_a_line_is_shifted_and_averaged(delay):
    r = jnp.arange(20.0)
    y = np.asarray(observe(Chain(2.0, 0.5, delay), r))
    exact = 2 * (np.arange(19) + 0.5 - delay) + 0.5
    inside = slice(3, 16)
    np.testing.assert_allclose(y[inside], exact[inside])


def test_before_the_first_tick_the_signal_stood_still():
    y = observe(Chain(delay=3.0), jnp.array([4.0, 1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(y, [4, 4, 4, 2.5])


def test_a_turn_keeps_the_length():
    m = jnp.array([0.3, 0.6, -0.2])
    by = np.asarray(turned(m, jnp.array([0.1, -0.05])))
    assert np.linalg.norm(by) == pytest.approx(0.7)
    assert np.linalg.norm(by - m) == pytest.approx(0.7 * np.hypot(0.1, 0.05), rel=0.02)


def test_starts_are_found_from_one_component(coarse_calibration):
    rest = coarse_calibration["m_start"].values
    X, ends, _ = single_ticks(coarse_calibration["m"].values, coarse_calibration["u"].values, rest)
    law = FlowMap(3, 1e-8).fit(X, ends).law()
    rng = np.random.default_rng(0)
    u = np.repeat(rng.uniform(-1, 1, (40, 4)), 10, axis=0).T
    m = np.asarray(roll_out(law, jnp.tile(rest, (4, 1)), jnp.asarray(u.T)))
    chain = Chain(1.03, -0.02, 0.6)
    y = np.asarray(observe(chain, m[200:] @ np.array([1.0, 0, 0]))).T
    found = find_starts(law, [1.0, 0, 0], chain, m.reshape(-1, 3), u[:, 200:], y)
    # The first tick of a delayed signal shows a state that was before the start.
    assert np.abs(found - m[200]).max() < 0.02
    noisy = find_starts(law, [1.0, 0, 0], chain, m.reshape(-1, 3), u[:, 200:], y + rng.normal(0, 0.02, y.shape))
    assert np.abs(noisy - m[200]).max() < 0.1


def test_white_noise_is_no_error_and_slow_errors_are():
    rng, t = np.random.default_rng(1), np.arange(600) / 15
    signal = np.sin(t)
    for noise in (0.02, 0.1):
        y = signal + noise * rng.standard_normal(len(t))
        exact = error_of(y, signal)
        assert exact.nrmse < 1.6 * exact.floor
        assert exact.raw == pytest.approx(noise * 2**0.5, rel=0.1)
        assert exact.noise == pytest.approx(noise * 2**0.5, rel=0.1)
        off = error_of(y, signal + 0.06 * np.cos(0.7 * t))
        assert off.nrmse == pytest.approx(0.06, rel=0.25)
        assert not off.limited


def test_what_diverges_has_no_error():
    found = error_of(np.zeros(10), np.full(10, np.nan))
    assert found.nrmse == np.inf


def test_a_quarter_tells_the_start():
    assert (lead_of(400), lead_of(3)) == (100, 2)
