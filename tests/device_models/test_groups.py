"""Groups of trajectories: the same numbers, whatever was kept before."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.calibration import Protocol, calibrate
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.groups import groups, trajectories

TICK = 7.5e-12


@pytest.mark.parametrize(("n", "together"), [(1, 44), (4, 44), (88, 44), (89, 44), (128, 44), (100, 8), (7, 1)])
def test_groups_are_of_one_size_and_hold_each_once(n, together):
    found = groups(n, together)
    assert len({len(group) for group in found}) == 1
    assert len(found[0]) <= together
    assert sorted(set(np.concatenate(found).tolist())) == list(range(n))
    assert sum(map(len, found)) < n + len(found)


@pytest.fixture(scope="module")
def warm_engine(large_card):
    return EmbeddedEngine(large_card.at(300), TICK)


class Counted:
    """An engine that counts what it computes, four as one batch."""

    together = 4

    def __init__(self, engine):
        self.engine, self.batches = engine, []

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def play(self, durations, inputs, *arguments, **named):
        self.batches.append(named["numbers"].tolist())
        return self.engine.play(durations, inputs, *arguments, **named)


def test_a_group_that_lacks_a_member_is_computed_again_and_nothing_else(warm_engine, store):
    u, devices = np.random.default_rng(0).uniform(-1, 1, (10, 6)), np.zeros(10, dtype=int)
    engine, done = Counted(warm_engine), []
    alone = trajectories(engine, devices, u, 3, None, done.append)
    assert engine.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]]
    assert sum(done) == pytest.approx(6)
    np.testing.assert_array_equal(trajectories(engine, devices, u, 3, store), alone)
    assert len(list(store.entries())) == 10
    engine.batches.clear()
    np.testing.assert_array_equal(trajectories(engine, devices, u, 3, store), alone)
    assert engine.batches == []
    np.testing.assert_array_equal(trajectories(engine, devices[:8], u[:8], 3, store), alone[:8])
    assert engine.batches == []  # another experiment with the same drives
    next(store.entries()).path.unlink()
    done.clear()
    np.testing.assert_array_equal(trajectories(engine, devices, u, 3, store, done.append), alone)
    assert len(engine.batches) == 1
    assert sum(done) == pytest.approx(6)
    assert len(list(store.entries())) == 10
    assert np.abs(trajectories(engine, devices, u, 4, store) - alone).max() > 1e-3  # another seed, another noise


def test_noise_does_not_depend_on_the_group(warm_engine):
    """All of them as one batch, and in groups: equal up to the last digits."""
    u, devices = np.random.default_rng(1).uniform(-1, 1, (10, 4)), np.zeros(10, dtype=int)
    np.testing.assert_allclose(
        trajectories(warm_engine, devices, u), trajectories(Counted(warm_engine), devices, u), rtol=0, atol=1e-12
    )


def test_a_calibration_that_is_kept_is_the_same(large_card, store):
    protocol = Protocol(trajectories=4, duration=3e-10, grades=(0.5,), per_grade=4)
    first, again = (calibrate(large_card, EmbeddedEngine(large_card, TICK), protocol, store=store) for _ in range(2))
    np.testing.assert_array_equal(first["m"], again["m"])
    assert (store.kept, store.found) == (8, 8)


def test_small_meshes_are_computed_in_larger_groups(disc, coarse_card, alter):
    fine = alter(disc, geometry={"cell": (2e-9, 2e-9, 2e-9)})
    start = [np.broadcast_to((0.0, 1.0, 0.0), (*card.geometry.shape_cells, 3)) for card in (coarse_card, disc, fine)]
    sizes = [
        EmbeddedEngine(card, TICK, m * card.geometry.mask()[..., None]).together
        for card, m in zip((coarse_card, disc, fine), start, strict=True)
    ]
    assert sizes == [44, 44, 8]
