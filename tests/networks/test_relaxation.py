"""Waveform relaxation against lock-step, on nodes that cost nothing and on full micromagnetics."""

import numpy as np
import pytest

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import Record, joined, run
from spinloom.networks.relaxation import relax
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw

AXIS = (1.0, 0.0, 0.0)
TOPOLOGY = Topology(nodes=3, density=1.0, spectral_radius=1.1, feedback=1.84, bias=0.59, gain=0.85)


@pytest.fixture(scope="module")
def loop(coarse_card):
    """Three junctions in closed loop: half a period with the target fed back, then on their own."""
    engine = EmbeddedEngine(coarse_card, 7.5e-12)
    weights = draw(TOPOLOGY, [3])
    weights = weights.with_readout(np.random.default_rng(3).uniform(-1, 1, (1, 1, 4)))
    f = target("sine", 24)
    forced = {"target": np.tile(f, 2)[:, None], "hold": np.arange(48) < 12}
    return engine, weights, forced, run(engine, weights, AXIS, **forced)[1]


@pytest.mark.parametrize("window", [1, 7, 20, 48, 100])
def test_it_gives_what_lock_step_gives_whatever_the_window(loop, coarse_model, window):
    engine, weights, forced, lock_step = loop
    done, pieces = [], []
    rounds, record = relax(
        engine, weights, AXIS, guide=coarse_model, **forced, window=window, progress=done.append, pieces=pieces
    )
    for name in Record._fields:
        np.testing.assert_allclose(getattr(record, name), getattr(lock_step, name), rtol=0, atol=1e-5, err_msg=name)
    assert sum(done) == 48
    assert len(rounds) == len(pieces) == -(-48 // window)
    np.testing.assert_array_equal(joined(pieces).z, record.z)
    assert max(rounds) <= min(window, 48) + 1


def test_a_bad_guide_costs_rounds_but_not_truth(loop, coarse_model):
    engine, weights, forced, lock_step = loop

    class Stuck:
        """A guide whose devices do not move."""

        tick, traceable = 7.5e-12, False

        def start(self, n):
            return None, np.zeros((n, 3))

        def step(self, state, u):
            return None, np.zeros((len(u), 3))

    few, _ = relax(engine, weights, AXIS, guide=coarse_model, **forced, window=24)
    many, record = relax(engine, weights, AXIS, guide=Stuck(), **forced, window=24)
    assert sum(many) > sum(few)
    np.testing.assert_allclose(record.r, lock_step.r, rtol=0, atol=1e-5)


def test_a_window_without_ticks(loop, coarse_model):
    engine, weights, forced, _ = loop
    with pytest.raises(SpinloomError, match="window: expected at least one tick, got 0"):
        relax(engine, weights, AXIS, guide=coarse_model, **forced, window=0)
