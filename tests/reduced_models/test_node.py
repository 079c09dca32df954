"""Reduced models as nodes: batches of devices that differ, laws with a memory, and how a device rings."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models import scan
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.networks import loop
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.rollout import simulate

TICK, GAMMA = 7.5e-12, 2.2e5
NORTH = (0.0, 1.0, 0.0)


def macrospin(alpha=0.05, kx=2e4, kz=5e5, H=(0.0, 9e3, 0.0), damping_like=5e3, steps=5):
    return MacrospinLaw(
        theta=np.array([alpha, kx, kz, damping_like, 200.0, *H]),
        readout=np.eye(4, 3),
        gamma0=np.asarray(GAMMA),
        polariser=np.array([0.0, 0.0, 1.0]),
        dt=np.asarray(TICK / steps),
        steps=steps,
    )


def flow_map(seed, degree=3, stretched=(1, 2, 1)):
    """Fitted to small random steps on the sphere: no physics, but one device is unlike the other."""
    rng = np.random.default_rng(seed)
    m = rng.standard_normal((300, 3)) * stretched
    m /= np.linalg.norm(m, axis=1, keepdims=True)
    u = rng.uniform(-1, 1, 300)
    after = m + 0.1 * np.cross(m, rng.standard_normal(3)) + 0.1 * np.outer(u, rng.standard_normal(3))
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    return FlowMap(degree=degree).fit(np.column_stack([m, u]), after).law()


@partial(jax.tree_util.register_dataclass, data_fields=["pull", "forget"], meta_fields=[])
@dataclass(frozen=True)
class Remembering:
    """A law with a memory: <m> is pulled by a trace of the drives and by its own mean over the past."""

    pull: Any
    forget: Any

    normals = 0

    def start(self, m):
        return jnp.concatenate([m, jnp.zeros_like(m[:, :1]), m[:, :1]], axis=1)

    def advance(self, x, inputs):
        m, drives, past = x[:, :3], x[:, 3], x[:, 4]
        drives = self.forget * drives + (1 - self.forget) * inputs[:, 0]
        past = self.forget * past + (1 - self.forget) * m[:, 0]
        m = m.at[:, 0].add(self.pull * (drives - past))
        return jnp.column_stack([m, drives, past])

    def moment(self, x):
        return x[:, :3]


@pytest.fixture(scope="module", params=["macrospin", "flow map", "memory"])
def two(request):
    """Two devices, each alone: other numbers, another start and another axis."""
    first, second = {
        "macrospin": lambda: (macrospin(), macrospin(alpha=0.2, kz=3e5, H=(2e3, 7e3, -1e3), damping_like=9e3)),
        "flow map": lambda: (flow_map(0), flow_map(1)),
        "memory": lambda: (Remembering(0.3, 0.9), Remembering(0.5, 0.5)),
    }[request.param]()
    return [
        ReducedNode.of(first, NORTH, (1.0, 0.0, 0.0), TICK),
        ReducedNode.of(second, (0.6, 0.8, 0.0), (0.6, 0.0, 0.8), TICK),
    ]


def test_each_device_of_a_batch_does_what_it_does_alone(two):
    both, which = ReducedNode.stack(two), np.array([1, 0, 1, 1, 0])
    assert isinstance(both, Node)
    assert (both.devices, both.tick, both.channels, both.traceable) == (2, TICK, ("drive",), True)
    u = np.random.default_rng(0).uniform(-1, 1, (50, 5))
    start = both.start(5, devices=which)
    end, m = drive(both, u, start)
    assert m.shape == (50, 5, 3)
    for at, device in enumerate(which):
        alone = two[device]
        _, expected = drive(alone, u[:, [at]])
        np.testing.assert_allclose(m[:, at], expected[:, 0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(both.observe(start)[at], alone.observe(alone.start(1))[0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(both.observe(end)[at], expected[-1, 0] @ alone.axes[0], rtol=0, atol=1e-12)
    assert np.abs(m[:, 0] - m[:, 1]).max() > 0.01
    np.testing.assert_array_equal(end.which, which)


def test_what_is_read_has_the_offset_of_its_device():
    north = [ReducedNode.of(Remembering(0.3, 0.9), NORTH, (1.0, 0.0, 0.0), TICK, offset) for offset in (0.1, -0.3)]
    m, which = np.array([[0.0, 0.6, 0.8], [0.8, 0.6, 0.0], [0.6, 0.8, 0.0]]), np.array([1, 0, 1])
    both = ReducedNode.stack(north)
    np.testing.assert_allclose(both.observe(both.at(m, which)), [-0.3, 0.9, 0.3], atol=1e-15)
    alone = north[1]
    np.testing.assert_allclose(alone.observe(alone.at(m, 0 * which)), [-0.3, 0.5, 0.3], atol=1e-15)
    plain = replace(alone, offsets=None)
    np.testing.assert_array_equal(plain.observe(plain.at(m, 0 * which)), m[:, 0])


def test_all_are_the_first_device_if_nothing_is_said(two):
    u = np.random.default_rng(1).uniform(-1, 1, (50, 5))
    _, both = drive(ReducedNode.stack(two), u)
    _, first = drive(two[0], u[:, :1])
    np.testing.assert_allclose(both[:, :1], first, rtol=0, atol=1e-13)


def test_stacks_can_be_stacked(two):
    three = ReducedNode.stack([ReducedNode.stack(two), two[0]])
    assert three.devices == 3
    u = np.random.default_rng(2).uniform(-1, 1, (50, 3))
    _, m = drive(three, u, three.start(3, devices=[0, 1, 2]))
    _, last = drive(two[0], u[:, [2]])
    np.testing.assert_allclose(m[:, 2], last[:, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "laws",
    [
        lambda: (macrospin(), flow_map(0)),
        lambda: (flow_map(0, degree=2), flow_map(0, degree=3)),
        lambda: (flow_map(0), flow_map(0, stretched=(1, 1, 2))),
        lambda: (macrospin(steps=5), macrospin(steps=4)),
    ],
    ids=["kind", "degree", "largest component", "steps"],
)
def test_models_of_several_forms_are_refused(laws):
    nodes = [ReducedNode.of(law, NORTH, NORTH, TICK) for law in laws()]
    with pytest.raises(SpinloomError, match="devices: expected reduced models of one kind, .*; fit all of them alike"):
        ReducedNode.stack(nodes)


def test_models_of_several_ticks_are_refused():
    nodes = [ReducedNode.of(macrospin(), NORTH, NORTH, tick) for tick in (TICK, 2 * TICK)]
    with pytest.raises(SpinloomError, match="devices: expected reduced models of one kind, .*; fit all of them alike"):
        ReducedNode.stack(nodes)


def test_a_device_that_the_node_does_not_know(two):
    with pytest.raises(SpinloomError, match="devices: expected numbers from 0 to 0, got 0 to 1"):
        two[0].start(2, devices=[0, 1])
    with pytest.raises(SpinloomError, match="devices: expected one for each of 2 nodes"):
        ReducedNode.stack(two).start(2, devices=[1])


def test_devices_can_stand_anywhere(two):
    both, which = ReducedNode.stack(two), jnp.array([1, 0])
    m = np.array([[0.0, 0.6, 0.8], [0.8, 0.6, 0.0]])
    np.testing.assert_allclose(both.moment(both.at(m, which)), m, atol=1e-15)


def test_a_law_with_a_memory_rolls_out_as_it_steps():
    law, u = Remembering(0.3, 0.9), np.random.default_rng(3).uniform(-1, 1, (40, 2))
    m0 = np.array([[0.0, 1.0, 0.0], [0.1, 0.9, 0.0]])
    rolled = simulate(SimpleNamespace(law=lambda: law), u, m0)
    assert rolled.shape == (40, 2, 3)
    node = ReducedNode.of(law, NORTH, NORTH, TICK)
    _, driven = drive(node, u, node.at(jnp.asarray(m0), jnp.zeros(2, int)))
    np.testing.assert_allclose(driven, rolled, rtol=0, atol=1e-14)
    drives, past, m = np.zeros(2), m0[:, 0], m0[:, 0]
    for tick in range(40):
        drives, past = 0.9 * drives + 0.1 * u[tick], 0.9 * past + 0.1 * m
        m = m + 0.3 * (drives - past)
        np.testing.assert_allclose(rolled[tick, :, 0], m, rtol=0, atol=1e-13)


def test_a_law_with_a_memory_makes_a_network():
    laws = Remembering(0.3, 0.9), Remembering(0.5, 0.5)
    node = ReducedNode.stack([ReducedNode.of(law, NORTH, (1.0, 0.0, 0.0), TICK) for law in laws])
    weights = draw(Topology(nodes=4, spectral_radius=0.8, feedback=1.0, bias=0.4, gain=0.9), [0, 1])
    weights = weights.with_devices([[0, 1, 0, 1], [1, 1, 0, 0]])
    forced = {"target": np.ones((30, 2)), "hold": np.arange(30) < 10}
    state, record = loop.simulate(node, weights, **forced)
    assert state.nodes.x.shape == (8, 5)
    _, m = drive(node, record.u.reshape(30, 8), node.start(8, devices=weights.which()))
    np.testing.assert_allclose(record.r.reshape(30, 8), m[..., 0], rtol=0, atol=1e-13)
    _, traced = loop.run(node, weights, record="r", **forced)
    np.testing.assert_allclose(traced.r, record.r, rtol=0, atol=1e-13)


def test_a_node_is_freed_and_its_like_is_not_compiled_again():
    u = np.zeros((30, 2))

    def run(law):
        node = ReducedNode.of(law, NORTH, NORTH, TICK)
        drive(node, u)
        simulate(SimpleNamespace(law=lambda: law), u, NORTH)
        return [weakref.ref(thing) for thing in (law, law.theta, node, node.laws.theta)]

    used = run(macrospin())
    gc.collect()
    assert [thing() for thing in used] == [None] * 4
    compiled = scan._compiled._cache_size()
    run(macrospin(alpha=0.3, H=(0.0, 5e3, 1e3)))
    assert scan._compiled._cache_size() == compiled


def test_what_is_fitted_can_be_found_by_its_gradient():
    """How the signal after ten ticks depends on the constants of a macrospin."""
    node, u = ReducedNode.of(macrospin(), NORTH, (1.0, 0.0, 0.0), TICK), np.full((10, 1, 1), 0.5)

    @jax.jit
    def signal(theta):
        varied = replace(node, laws=replace(node.laws, theta=theta))
        state, _ = jax.lax.scan(lambda state, row: (varied.step(state, row), None), varied.start(1), u)
        return varied.observe(state)[0]

    theta = np.asarray(node.laws.theta)
    found = np.asarray(jax.grad(signal)(theta))
    assert np.abs(found[0, [0, 2, 3]]).min() > 0
    for at in (0, 2, 3, 6):
        h = 1e-5 * theta[0, at] * np.eye(8)[at]
        slope = (signal(theta + h) - signal(theta - h)) / (2 * h[at])
        np.testing.assert_allclose(found[0, at], slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("alpha", "kx", "kz", "H"), [(0.01, 0.0, 5e5, 8e3), (0.1, 2e4, 6e5, 9e3), (0.3, 1e5, 2e5, 3e4)]
)
def test_a_macrospin_rings_as_kittel_says(alpha, kx, kz, H):
    """Along y: omega_0^2 = gamma^2 (H + K_x)(H + K_z) / (1 + alpha^2), kappa from alpha and the mean stiffness."""
    node = ReducedNode.of(macrospin(alpha, kx, kz, (0.0, H, 0.0)), NORTH, NORTH, TICK)
    frequency, quality = node.ringing()
    omega = GAMMA * np.sqrt((H + kx) * (H + kz) / (1 + alpha**2))
    kappa = alpha * GAMMA / (1 + alpha**2) * (H + (kx + kz) / 2)
    assert frequency == pytest.approx(omega / (2 * np.pi), rel=1e-5)
    assert quality == pytest.approx(omega / (2 * kappa), rel=1e-5)


def test_a_ringing_device_is_seen_to_ring():
    """The same frequency and decay as in its answer to a small kick."""
    node = ReducedNode.of(macrospin(), NORTH, (1.0, 0.0, 0.0), TICK)
    frequency, quality = node.ringing()
    omega, decay = 2 * np.pi * frequency, np.pi * frequency / quality
    _, m = drive(node, np.zeros((200, 1)), node.at(jnp.array([[1e-6, 1.0, 0.0]]), jnp.zeros(1, int)))
    t, turn = TICK * np.arange(1, 201), np.sqrt(omega**2 - decay**2)
    rings = np.exp(-decay * t)[:, None] * np.column_stack([np.cos(turn * t), np.sin(turn * t)])
    left = np.linalg.lstsq(rings, m[:, 0, 0], rcond=None)[1]
    assert np.sqrt(left[0] / 200) < 1e-10


@pytest.mark.parametrize(
    "law",
    [
        macrospin(alpha=2.0),
        macrospin(H=(0.0, -3e4, 0.0)),
        replace(macrospin(), theta=np.full(8, np.nan)),
        Remembering(0.0, 0.5),
    ],
    ids=["overdamped", "unstable", "without numbers", "decaying"],
)
def test_what_does_not_ring_has_no_frequency(law):
    assert ReducedNode.of(law, NORTH, NORTH, TICK).ringing() == (None, None)


def test_a_law_with_a_memory_can_ring_too():
    r"""(x, past) alone: x' = x + a (forget d - forget past - (1 - forget) x), a rotation that decays."""
    pull, forget = 0.3, 0.9
    matrix = np.array([[1 - pull * (1 - forget), -pull * forget], [1 - forget, forget]])
    eigenvalue = np.linalg.eigvals(matrix)[0]
    decay, omega = -np.log(np.abs(eigenvalue)) / TICK, np.abs(np.angle(eigenvalue)) / TICK
    frequency, quality = ReducedNode.of(Remembering(pull, forget), NORTH, NORTH, TICK).ringing()
    natural = np.hypot(decay, omega)
    assert frequency == pytest.approx(natural / (2 * np.pi))
    assert quality == pytest.approx(natural / (2 * decay))


def test_the_response_is_what_a_small_drive_does():
    """Held levels and a sine, played into the node itself."""
    node = ReducedNode.of(macrospin(alpha=0.1), NORTH, (1.0, 0.0, 0.0), TICK)
    frequencies = np.array([0.0, 16, 40]) / (200 * TICK)
    found, ticks, size = node.response(frequencies), np.arange(1, 2001), 1e-5
    for frequency, answer in zip(frequencies, found, strict=True):
        turn = np.exp(2j * np.pi * frequency * TICK * ticks)
        # A drive held in tick k is heard at its end.
        _, m = drive(node, size * turn.real[:, None])
        last = m[-200:, 0, 0] - (m[-200:, 0, 0].mean() if frequency else NORTH[0])
        heard = (last * turn[-200:].conj()).mean() * (2 if frequency else 1) / size
        assert heard == pytest.approx(answer, rel=1e-3, abs=1e-4)


def test_the_response_peaks_where_the_device_rings():
    node = ReducedNode.of(macrospin(alpha=0.02), NORTH, (1.0, 0.0, 0.0), TICK)
    frequency, quality = node.ringing()
    grid = np.linspace(0.3, 3, 541) * frequency
    size = np.abs(node.response(grid))
    assert grid[size.argmax()] == pytest.approx(frequency, rel=0.03)
    assert size.max() > 0.5 * quality * size[0]
    assert node.response(frequency).shape == (1,)


def test_of_several_devices_the_first_is_heard(two):
    expected = two[0].ringing()
    found = ReducedNode.stack(two).ringing()
    assert found == (expected if None in expected else pytest.approx(expected))
