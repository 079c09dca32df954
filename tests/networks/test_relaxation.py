"""Waveform relaxation against lock-step, on full micromagnetics."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.networks.loop import Record, joined, simulate
from spinloom.networks.relaxation import relax
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.node import ReducedNode

TOPOLOGY = Topology(nodes=3, density=1.0, spectral_radius=1.1, feedback=1.84, bias=0.59, gain=0.85)
BARE, SCALED = Scale(), Scale(mean=0.1, spread=0.6, reach=0.5)


def _weights(outputs=1):
    weights = draw(TOPOLOGY, [3], outputs)
    return weights.with_readout(np.random.default_rng(3).uniform(-1, 1, (1, outputs, 4)))


def _forced(f):
    """Two periods: half a period with the target fed back, then on their own."""
    return {"target": np.tile(f, (2, 1))[:, None], "hold": np.arange(48) < 12}


@pytest.fixture(scope="module")
def loop(coarse_card):
    """Three junctions in closed loop."""
    engine, weights, forced = EmbeddedEngine(coarse_card, 7.5e-12), _weights(), _forced(target("sine", 24))
    return engine, weights, forced, simulate(engine.node, weights, **forced)[1]


@pytest.fixture(scope="module")
def guide(coarse_model):
    return BARE.of(coarse_model.node)


def _agrees(record, lock_step):
    for name in Record._fields:
        np.testing.assert_allclose(getattr(record, name), getattr(lock_step, name), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("window", [1, 7, 20, 48, 100])
def test_it_gives_what_lock_step_gives_whatever_the_window(loop, guide, window):
    engine, weights, forced, lock_step = loop
    done, pieces = [], []
    rounds, record = relax(
        engine,
        weights,
        scale=BARE,
        guide=guide,
        **forced,
        window=window,
        progress=done.append,
        watch=pieces.append,
    )
    _agrees(record, lock_step)
    assert sum(done) == 48
    assert len(rounds) == len(pieces) == -(-48 // window)
    np.testing.assert_array_equal(joined(pieces).z, record.z)
    assert max(rounds) <= min(window, 48) + 1


@pytest.mark.parametrize("window", [20, 48])
def test_it_agrees_in_the_units_of_a_scale_and_with_an_input(loop, coarse_model, window):
    engine, weights, forced, bare = loop
    forced = {
        "target": forced["target"][..., 0],
        "hold": forced["hold"],
        "s": np.random.default_rng(5).normal(size=(48, 1)),
    }
    _, lock_step = simulate(SCALED.of(engine.node), weights, **forced)
    _, record = relax(engine, weights, scale=SCALED, guide=SCALED.of(coarse_model.node), **forced, window=window)
    _agrees(record, lock_step)
    assert np.abs(record.r - bare.r).max() > 0.1


def test_it_agrees_for_junctions_that_differ_and_two_outputs(two_junctions, coarse_model):
    weights = _weights(outputs=2).with_devices([[1, 0, 1]])
    forced = _forced(np.column_stack([target("sine", 24), np.roll(target("sine", 24), 6)]))
    guide = SCALED.of(ReducedNode.stack([coarse_model.node] * 2))
    _, lock_step = simulate(SCALED.of(two_junctions.node), weights, **forced)
    _, record = relax(two_junctions, weights, scale=SCALED, guide=guide, **forced, window=24)
    _agrees(record, lock_step)
    assert record.z.shape == (48, 1, 2)


def test_a_bad_guide_costs_rounds_but_not_truth(loop, guide):
    engine, weights, forced, lock_step = loop

    class Stuck:
        """A guide whose devices do not move."""

        tick, traceable, devices, channels = 7.5e-12, False, 1, ("drive",)

        def start(self, n, seed=0, devices=None, progress=None):
            return np.zeros(n)

        def step(self, state, inputs):
            return state

        def observe(self, state):
            return state

    few, _ = relax(engine, weights, scale=BARE, guide=guide, **forced, window=24)
    many, record = relax(engine, weights, scale=BARE, guide=Stuck(), **forced, window=24)
    assert sum(many) > sum(few)
    np.testing.assert_allclose(record.r, lock_step.r, rtol=0, atol=1e-5)


def test_a_window_without_ticks(loop, guide):
    engine, weights, forced, _ = loop
    with pytest.raises(SpinloomError, match="window: expected at least one tick, got 0"):
        relax(engine, weights, scale=BARE, guide=guide, **forced, window=0)


def test_a_device_that_the_engine_does_not_know(loop, coarse_model):
    engine, weights, forced, _ = loop
    guide = BARE.of(ReducedNode.stack([coarse_model.node] * 2))
    with pytest.raises(SpinloomError, match="devices: expected numbers from 0 to 0, got 0 to 1"):
        relax(engine, weights.with_devices([[0, 1, 0]]), scale=BARE, guide=guide, **forced)
