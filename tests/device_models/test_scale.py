"""The units of a network: what a drive of 1 and a signal of 1 mean for a device."""

from __future__ import annotations

import gc
import weakref

import jax
import numpy as np
import pytest
from pydantic import ValidationError

from spinloom.device_models import scan
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scale import Scale
from spinloom.device_models.scan import drive

SCALE = Scale(mean=0.1, spread=0.6, reach=0.5)


@pytest.fixture
def bare(make_low_pass):
    """Two devices of two channels."""
    return make_low_pass(0.4, 0.1, channels=("drive", "field"))


def test_the_drive_is_in_units_of_the_reach_and_nothing_else_is(bare):
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, 2))
    scaled = SCALE.of(bare)
    state = scaled.start(3, devices=[0, 1, 1])
    expected = bare.step(state, inputs * [0.5, 1.0])
    np.testing.assert_allclose(scaled.step(state, inputs).x, expected.x, rtol=0, atol=1e-15)
    np.testing.assert_allclose(inputs, np.random.default_rng(0).uniform(-1, 1, (3, 2)))


def test_the_signal_is_centred_and_scaled_and_the_moment_is_not(bare):
    scaled = SCALE.of(bare)
    state = scaled.step(scaled.start(2), np.array([[0.8, 0.0], [-0.3, 0.2]]))
    np.testing.assert_allclose(scaled.observe(state), (bare.observe(state) - 0.1) / 0.6, rtol=0, atol=1e-15)
    np.testing.assert_allclose(SCALE.signal(scaled.observe(state)), bare.observe(state), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(scaled.moment(state), bare.moment(state))


def test_a_scaled_node_is_a_node_with_the_devices_of_the_bare_one(bare, as_plain):
    scaled = SCALE.of(bare)
    assert isinstance(scaled, Node)
    assert (scaled.tick, scaled.channels, scaled.devices) == (bare.tick, ("drive", "field"), 2)
    assert scaled.traceable
    np.testing.assert_array_equal(scaled.start(3, devices=[1, 0, 1]).which, [1, 0, 1])
    plain = SCALE.of(as_plain(bare))
    assert not plain.traceable
    inputs = np.random.default_rng(1).uniform(-1, 1, (20, 3, 2))
    for a, b in zip(drive(plain, inputs), drive(scaled, inputs), strict=True):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-14)
    np.testing.assert_allclose(plain.node.inputs[3], inputs[3] * [0.5, 1.0], rtol=0, atol=1e-15)


def test_progress_of_the_start_goes_through(low_pass):
    heard = []

    class Slow:
        devices, tick, channels, traceable = 1, 1e-11, ("drive",), False

        def start(self, n, seed=0, devices=None, progress=None):
            progress(n)
            return seed, devices

    assert SCALE.of(Slow()).start(4, 7, [0] * 4, heard.append) == (7, [0] * 4)
    assert heard == [4]


def test_another_scale_is_not_compiled_again_and_nothing_is_kept(bare):
    u = np.zeros((50, 2))

    def run(scale):
        scaled = scale.of(bare)
        drive(scaled, u)
        return weakref.ref(scaled)

    used = run(SCALE)
    compiled = scan._compiled._cache_size()
    run(Scale(mean=-0.3, spread=0.2, reach=0.9))
    gc.collect()
    assert used() is None
    assert scan._compiled._cache_size() == compiled


def test_gradients_go_through_the_units(bare):
    def signal(u):
        scaled = SCALE.of(bare)
        return scaled.observe(scaled.step(scaled.start(1), u)).sum()

    np.testing.assert_allclose(jax.grad(signal)(np.array([[0.2, 0.1]])), [[0.4 * 0.5 / 0.6, 0.4 / 0.6]])


def test_periods_of_the_resonance_in_ticks():
    ringing = Scale(resonance=2e9, quality=10)
    assert ringing.ticks(1.5, 7.5e-12) == 100
    assert ringing.ticks(1e-6, 7.5e-12) == 1


def test_a_device_that_does_not_ring_has_no_periods():
    with pytest.raises(SpinloomError, match="period: this device does not ring, .*; give period_ticks"):
        SCALE.ticks(1.5, 7.5e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spread": 0.0},
        {"spread": -1},
        {"reach": 0},
        {"reach": 1.01},
        {"mean": float("nan")},
        {"resonance": 0.0},
        {"quality": float("inf")},
        {"x": 1},
    ],
)
def test_impossible_scales_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Scale(**wrong)


def test_a_scale_is_a_frozen_value_that_json_keeps():
    scale = Scale(mean=0.1, spread=1 / 3, reach=0.5, resonance=2.3e9, quality=7.7)
    assert Scale.model_validate_json(scale.model_dump_json()) == scale
    assert Scale.model_validate_json(SCALE.model_dump_json()) == SCALE
    with pytest.raises(ValidationError):
        scale.reach = 0.1
