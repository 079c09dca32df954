"""A kick, and whether a network finds back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.networks import kick as module
from spinloom.networks.kick import can_be_kicked, kick, push
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training, train
from spinloom.networks.trials import generate

TOPOLOGY = Topology(nodes=20, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)
HOW = Training(method="ridge", teacher_periods=40, noise=1e-2, ridge=1e-6)


@partial(jax.tree_util.register_dataclass, data_fields=["node"], meta_fields=[])
@dataclass(frozen=True)
class Soft:
    """A low-pass filter that can be kicked."""

    node: Any

    def __getattr__(self, name):
        return getattr(self.node, name)

    def push(self, state, by):
        return state._replace(x=state.x + by[:, 0])


@pytest.fixture
def run(low_pass):
    node, f = Scale(spread=0.5).of(Soft(low_pass)), target("sine", 30)
    weights = train(node, draw(TOPOLOGY, [0, 1]), f, HOW)
    return node, weights, generate(node, weights, f, periods=8, washout=3)


def test_a_limit_cycle_finds_back(run):
    node, weights, free = run
    results = kick(node, weights, free.f, free.state, free.z, periods=12)
    for result in results:
        assert result["shape_error_after"][0] > 2 * result["shape_error_before"]
        assert result["shape_error_after"][-1] < 0.5 * result["shape_error_after"][0]
        assert result["returns"]
        assert len(result["shape_error_after"]) == 12


def test_every_node_is_moved_by_the_same_length_and_seeds_differ(run, monkeypatch):
    node, weights, free = run
    seen = []
    monkeypatch.setattr(module, "push", lambda node, state, by: seen.append(by) or push(node, state, by))
    for seed in (0, 0, 1):
        kick(node, weights, free.f, free.state, free.z, seed=seed, periods=1)
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), module.SIZE)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.abs(seen[0] - seen[2]).max() > 0.01


def test_what_is_said_of_the_periods_after():
    told = module._result(0.01, np.array([0.5, 0.1, 0.019, 0.015]))
    assert (told["periods_until_back"], told["returns"]) == (2, True)
    told = module._result(0.01, np.array([0.5, 0.1, 0.05]))
    assert (told["periods_until_back"], told["returns"]) == (None, True)
    told = module._result(0.01, np.array([0.5, 0.6, np.inf]))
    assert (told["periods_until_back"], told["returns"]) == (None, False)
    assert module._result(0.01, np.array([0.01, 0.02]))["periods_until_back"] == 0


def test_cells_are_turned_and_keep_their_length(two_junctions):
    node = two_junctions.node
    state = node.start(2, 0, [0, 1])
    by = np.array([[0.1, 0.0, 0.0], [0.0, 0.0, -0.1]])
    moved = push(Scale().of(node), state, by)
    np.testing.assert_allclose(np.sqrt(moved.x**2 + moved.y**2 + moved.z**2), 1, rtol=1e-12)
    turned = np.asarray(node.moment(moved)) - np.asarray(node.moment(state))
    assert turned[0, 0] == pytest.approx(0.1, abs=0.02)
    assert turned[1, 2] == pytest.approx(-0.1, abs=0.02)
    np.testing.assert_array_equal(moved.which, [0, 1])


def test_nodes_that_live_elsewhere_cannot_be_kicked(plain_low_pass):
    assert not can_be_kicked(plain_low_pass)
    with pytest.raises(SpinloomError, match="cannot be turned; use --engine embedded"):
        push(Scale().of(plain_low_pass), plain_low_pass.start(2), np.zeros((2, 3)))


@partial(jax.tree_util.register_dataclass, data_fields=["node"], meta_fields=[])
@dataclass(frozen=True)
class Fragile(Soft):
    """One that does not survive it where it is the third of the second network."""

    def push(self, state, by):
        return state._replace(x=(state.x + by[:, 0]).at[TOPOLOGY.nodes + 2].set(np.inf))


def test_a_node_that_a_kick_breaks_is_named_and_the_other_network_is_judged(low_pass):
    f = target("sine", 30)
    node = Scale(spread=0.5).of(Fragile(low_pass))
    weights = train(node, draw(TOPOLOGY, [0, 1]), f, HOW)
    free = generate(node, weights, f, periods=8, washout=3)
    fine, broken = kick(node, weights, free.f, free.state, free.z)
    assert fine["lost"] is None
    assert fine["returns"] in (True, False)
    assert np.isfinite(fine["shape_error_after"]).all()
    assert broken["lost"] == "node 2 is not finite from tick 0 on"
    assert not broken["returns"]
