"""Nodes without physics: each against a plain loop, and in a network's place of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models.drives import KINDS, calibration_drive
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.device_models.spread import PARAMETERS
from spinloom.networks.loop import simulate
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.baselines import STEEP, Leaky, LeakyTanh, Memoryless, baselines, in_units

TICK = 7.5e-12
ANSWERS = {
    "memoryless": (Memoryless.of(1.0, TICK), 1.0, lambda u: min(max(u, -1.0), 1.0)),
    "leaky": (Leaky.of(0.3, TICK), 0.3, lambda u: min(max(u, -1.0), 1.0)),
    "tanh": (LeakyTanh.of(0.2, TICK), 0.2, lambda u: float(np.tanh(STEEP * u))),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_node_does_what_a_plain_loop_does(kind):
    node, leak, answer = ANSWERS[kind]
    u = np.random.default_rng(0).uniform(-1.5, 1.5, (40, 3))
    expected, x = np.zeros((40, 3)), [0.0] * 3
    for tick in range(40):
        for k in range(3):
            x[k] = (1 - leak) * x[k] + leak * answer(u[tick, k])
        expected[tick] = x
    _, m = drive(node, u)
    np.testing.assert_allclose(m[..., 0], np.clip(expected, -1, 1), atol=1e-14)
    np.testing.assert_allclose((m**2).sum(axis=-1), 1, atol=1e-14)


def test_what_is_compiled_for_one_kind_is_not_run_for_another():
    trees = {kind: jax.tree.structure(node) for kind, (node, *_) in ANSWERS.items()}
    assert [[a == b for b in trees.values()] for a in trees.values()] == np.eye(3, dtype=bool).tolist()


def test_devices_differ_in_their_leaks():
    node = Leaky.of([0.1, 0.5], TICK)
    state = node.step(node.start(3, devices=[1, 0, 1]), jnp.ones((3, 1)))
    np.testing.assert_allclose(node.observe(state), [0.5, 0.1, 0.5])
    with pytest.raises(SpinloomError, match="devices: expected numbers from 0 to 1"):
        node.start(1, devices=[2])


def test_a_node_of_no_memory_forgets_in_a_tick():
    node = Memoryless.like(TICK)
    a, b = (node.step(node.start(1), jnp.array([[u]])) for u in (0.9, -0.4))
    a, b = (node.step(state, jnp.array([[0.2]])) for state in (a, b))
    assert float(node.observe(a)[0]) == float(node.observe(b)[0]) == 0.2


def test_the_network_clips_next_to_nothing_of_the_echo_state_network():
    assert 0.994 < float(LeakyTanh.of(1.0, TICK).answer(1.0)) < 0.996


@pytest.mark.parametrize("leak", [0.0, -0.1, 1.2, np.nan, [], [[0.3]]])
def test_a_leak_that_is_none_is_refused(leak):
    with pytest.raises(SpinloomError, match="leak: expected shares above 0 and at most 1"):
        Leaky.of(leak, TICK)


def test_a_tick_that_is_none_is_refused():
    with pytest.raises(SpinloomError, match="tick: expected a duration above 0"):
        Memoryless.like(0.0)


def test_units_are_of_the_calibrations_drives():
    scaled = in_units(Leaky.of(0.3, TICK))
    u = [calibration_drive(KINDS[k % 5], 800, TICK, np.random.default_rng([0, k])) for k in range(40)]
    _, m = drive(scaled.node, np.stack(u, axis=1))
    seen = (m[..., 0] - scaled.mean) / scaled.spread
    assert seen.mean() == pytest.approx(0, abs=1e-12)
    assert seen.std() == pytest.approx(1)


def test_every_baseline_runs_in_the_networks_of_a_model(coarse_model):
    weights = draw(Topology(nodes=5, spectral_radius=0.8, input=1.0, bias=0.5, gain=0.7), [0, 1])
    nodes = baselines(coarse_model)
    assert list(nodes) == ["memoryless", "leaky", "tanh"]
    s = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    target, hold = np.zeros((20, 2)), np.zeros(20, bool)
    for node in nodes.values():
        assert isinstance(node, Node)
        assert node.tick == coarse_model.tick
        assert jax.tree.structure(node) == jax.tree.structure(jax.tree.map(np.asarray, node))
        r = simulate(node, weights, target=target, hold=hold, s=s, record="r")[1].r
        assert np.isfinite(r).all()
        assert r.std() > 0.05


def test_a_population_has_as_many_devices_of_each(wafer_model):
    several = wafer_model.on(np.zeros((3, len(PARAMETERS))))
    assert [node.devices for node in baselines(several).values()] == [3, 3, 3]
    state = baselines(several)["leaky"].start(2, devices=[2, 0])
    assert state.which.tolist() == [2, 0]
