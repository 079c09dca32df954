"""Floquet multipliers: known cases, and what is said of networks."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.floquet import examine, multipliers, period_map
from spinloom.networks.loop import run, start
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.networks.training import Training, learn

TICKS = 20


def test_an_oscillator_whose_multipliers_are_known():
    """The Hopf normal form at radius 1: the phase is neutral, the radius returns as exp(-2 T), T = 2 pi."""
    steps = 2000
    h = 2 * np.pi / steps

    def rhs(x):
        square = (x**2).sum()
        return jnp.array([x[0] - x[1] - square * x[0], x[0] + x[1] - square * x[1]])

    def one(x, _):
        k1 = rhs(x)
        k2 = rhs(x + h / 2 * k1)
        k3 = rhs(x + h / 2 * k2)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + rhs(x + h * k3)), None

    found = multipliers(lambda x: jax.lax.scan(one, x, None, steps)[0], np.array([1.0, 0.0]))
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert found[1] == pytest.approx(np.exp(-4 * np.pi), rel=1e-3)


def linear(W, w_fb, w_out):
    """A network of low-pass nodes that never reaches its clip."""
    n = len(W)
    return Weights(W[None], w_fb[None], np.zeros((1, n)), np.zeros((1, n)), np.ones(1), w_out[None])


def test_a_linear_network_has_the_multipliers_of_its_matrix(make_low_pass):
    rng = np.random.default_rng(0)
    W, w_fb, w = 0.3 * rng.normal(size=(4, 4)), 0.1 * rng.normal(size=(4, 1)), np.append(rng.normal(size=4), 0.3)[None]
    weights, node, f = linear(W, w_fb, w), make_low_pass(0.4), 0.1 * target("sine", TICKS)[:, None]
    state, _ = run(
        node, weights, target=np.tile(f, (9, 1, 1)), hold=np.ones(9 * TICKS, bool), state=start(node, weights)
    )
    for closed, loop in ((False, W), (True, W + w_fb @ w[:, :4])):
        flow, x = period_map(node, weights, state, f, None, closed)
        tick = 0.6 * np.eye(4) + 0.4 * loop
        wanted = np.linalg.eigvals(np.linalg.matrix_power(tick, TICKS))
        found = multipliers(lambda x, flow=flow: flow(jnp.asarray(w)[None], x), x)
        np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(wanted)), atol=1e-10)


@pytest.fixture(scope="module")
def topology():
    return Topology(nodes=12, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)


@pytest.fixture
def trained(low_pass, topology):
    f = target("sine", TICKS)
    how = Training(
        teacher_periods=60, force_periods=40, noise=1e-2, ridge=1e-6, prior_ticks=500, trim_periods=20, tries=1
    )
    return learn(low_pass, draw(topology, [0]), f, how).weights, f


def test_a_network_that_generates_is_stable(low_pass, trained):
    weights, f = trained
    found = examine(low_pass, weights, f)
    assert found.verdict == "stable"
    assert found.nrmse < 0.1
    assert found.within_reach is None
    # Its phase is neutral, all else returns.
    assert abs(found.closed[0]) == pytest.approx(1, abs=0.05)
    assert abs(found.closed[1]) < 0.9


def test_an_unstable_loop_that_another_read_out_holds(low_pass, topology):
    """Without noise or penalty the read-out is exact on the orbit, and the loop leaves it."""
    f = target("sine", TICKS)
    how = Training(method="ridge", teacher_periods=20, noise=0.0, ridge=1e-14)
    weights = learn(low_pass, draw(topology, [0]), f, how).weights
    # Beside what the orbit shows a read-out may be anything.
    _, record = run(low_pass, weights, target=np.tile(f[:, None], (9, 1, 1)), hold=np.ones(9 * TICKS, bool), record="r")
    x = np.column_stack([record.r[-TICKS:, 0], np.ones(TICKS)])
    beside = np.linalg.svd(x)[2][-3:]
    worse = weights.with_readout(weights.w_out + 30 * (np.random.default_rng(1).normal(size=3) @ beside)[None, None])
    found = examine(low_pass, worse, f, steps=200)
    assert found.taught < 0.05
    assert abs(found.closed[0]) > 1.05
    assert found.verdict == "not reached"
    assert found.within_reach < 1


def test_a_network_that_sings(low_pass, topology):
    """Pairs of nodes that turn each other: they oscillate, whatever feeds back."""
    weights = draw(topology.model_copy(update={"bias": 0.0, "feedback": 0.01}), [3])
    turn = 3 * np.kron(np.eye(6), [[0.5, -1.0], [1.0, 0.5]])
    weights = replace(weights, W=turn[None])
    found = examine(low_pass, weights, target("sine", TICKS))
    assert found.verdict == "sings"


def test_what_cannot_be_examined(low_pass, plain_low_pass, topology):
    f, two = target("sine", TICKS), draw(topology, [0, 1])
    for node, weights in ((low_pass, two), (plain_low_pass, two.one(0))):
        with pytest.raises(SpinloomError, match="expected a single network of reduced nodes"):
            examine(node, weights, f)
