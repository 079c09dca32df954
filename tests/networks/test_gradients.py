"""Gradients through the nodes: what they are, what they may change, and that they help."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import Ridge

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.gradients import (
    Descent,
    Free,
    Regression,
    Taught,
    Told,
    descend,
    losses,
    solve,
    what_is_lacking,
)
from spinloom.networks.loop import LoopState, soft_clip
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training, learn

TICKS = 12
TOPOLOGY = Topology(nodes=6, spectral_radius=0.8, density=0.5, feedback=1.2, bias=0.5, gain=0.8)
LISTENS = Topology(nodes=6, spectral_radius=0.5, density=0.5, input=1.0, bias=0.5, gain=0.8)


@pytest.fixture(scope="module")
def f():
    return np.stack([target("harmonics", TICKS), target("triangle", TICKS)], axis=1)


@pytest.fixture(scope="module")
def weights():
    drawn = draw(TOPOLOGY, [0, 1])
    return drawn.with_readout(0.3 * np.random.default_rng(0).normal(size=drawn.w_out.shape))


def sums(rng, n):
    """An input, and what it was a step before times what it is."""
    s = rng.uniform(-1, 1, (40, n))
    return s, (s * np.roll(s, 1, axis=0))[..., None]


def constants(rng, n):
    """Three classes: three mean values under noise."""
    classes = np.arange(n) % 3
    return np.tile([-0.5, 0.0, 0.5], n)[: n or 1][classes] + 0.4 * rng.standard_normal((8, n)), classes


def objectives(f):
    return {
        "taught": Taught(f, washout=1, periods=2),
        "free": Free(f, washout=1, periods=2),
        "regression": Regression(sums, 2, washout=4, runs=2),
        "told": Told(constants, 3, 4, runs=18),
        "told with power": Told(constants, 3, 4, averaged=2, power=True, runs=18),
    }


def drawn_for(name, weights):
    if name in ("taught", "free"):
        return weights
    return draw(LISTENS, [0, 1], 3 if name.startswith("told") else 1)


@pytest.mark.parametrize("name", ["taught", "free", "regression", "told", "told with power"])
def test_the_gradient_is_that_of_finite_differences(name, low_pass, weights, f):
    """In a direction drawn for each network, of all weights at once."""
    objective, weights = objectives(f)[name], drawn_for(name, weights)
    batch = objective.batch(weights, np.random.default_rng(3), 1.0)
    rng = np.random.default_rng(4)
    along = {
        field: rng.normal(size=np.shape(getattr(weights, field)))
        for field in ("W", "W_in", "b", "gain", "w_fb", "w_out")
    }

    @jax.jit
    def loss(step):
        moved = {field: getattr(weights, field) + 0.1 * step * change for field, change in along.items()}
        return losses(low_pass, replace(weights, **moved), objective, batch).sum()

    h = 1e-5
    slope = (loss(h) - loss(-h)) / (2 * h)
    assert abs(slope) > 1e-3
    assert float(jax.grad(loss)(0.0)) == pytest.approx(float(slope), rel=1e-6, abs=1e-9)


def test_the_surrogate_is_the_clip_but_for_its_slope_outside():
    v = np.linspace(-3, 3, 61)
    np.testing.assert_array_equal(soft_clip(v, 0.3), np.clip(v, -1, 1))
    slopes = np.asarray(jax.vmap(jax.grad(soft_clip), (0, None))(v, 0.3))
    inside = np.abs(v) <= 1
    np.testing.assert_array_equal(slopes, np.where(inside, 1.0, 0.3))


def test_the_surrogate_reaches_a_network_that_is_driven_into_its_clip(low_pass, weights, f):
    """All nodes beyond the clip at all times: without a surrogate nothing says where to go."""
    objective = Taught(f, washout=1, periods=1)
    stuck = replace(weights, b=np.full_like(weights.b, 50.0))
    batch = objective.batch(stuck, np.random.default_rng(0), 0.0)

    def slope_of(slope):
        gradient = jax.grad(lambda b: losses(low_pass, replace(stuck, b=b), objective, batch, slope=slope).sum())
        return np.abs(np.asarray(gradient(stuck.b))).max()

    assert slope_of(0.0) == 0
    assert slope_of(0.1) > 1e-9


def test_the_ridge_regression_within_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 4)), rng.normal(size=(2, 30, 3))
    found = np.asarray(solve(x, y, 0.01))
    for k in range(2):
        fit = Ridge(alpha=0.01 * 30).fit(x[k], y[k])
        np.testing.assert_allclose(found[k], np.column_stack([fit.coef_, fit.intercept_]), atol=1e-10)


def test_a_descent_lowers_the_loss_of_every_network_and_zeros_of_w_stay(low_pass, weights, f):
    how = Descent(steps=40, check=20, rate=0.05)
    found = descend(low_pass, weights, Taught(f, washout=1, periods=2), how)
    assert found.at.tolist() == [0, 20, 40]
    assert (found.loss.min(axis=0) < 0.7 * found.loss[0]).all()
    np.testing.assert_array_equal(found.weights.W[weights.W == 0], 0)
    assert (found.weights.W[weights.W != 0] != weights.W[weights.W != 0]).all()
    np.testing.assert_array_equal(found.weights.w_out, weights.w_out)
    # No input: nothing to descend on.
    np.testing.assert_array_equal(found.weights.W_in, weights.W_in)


def test_only_what_is_free_moves(low_pass, weights, f):
    how = Descent(steps=3, free=("b", "w_out"))
    moved = descend(low_pass, weights, Free(f, washout=1, periods=1), how, lambda steps: None).weights
    for name in ("W", "W_in", "gain", "w_fb"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(weights, name))
    for bad in ((), ("b", "b"), ("mass",)):
        with pytest.raises(ValidationError):
            Descent(free=bad)
    with pytest.raises(SpinloomError, match="free: expected weights that are not all zero, got W_in"):
        descend(low_pass, weights, Taught(f), Descent(free=("W_in",)))


def test_a_closed_loop_gets_better_on_its_own_output(low_pass):
    f = target("harmonics", 30)
    drawn = draw(TOPOLOGY.model_copy(update={"nodes": 10}), [3])
    trained = learn(low_pass, drawn, f, Training(method="ridge", teacher_periods=20, noise=0.02)).weights
    how = Descent(steps=60, check=20, rate=0.005, free=("W", "b", "w_fb", "w_out"))
    found = descend(low_pass, trained, Free(f[:, None], washout=1, periods=3), how)
    assert found.loss.min() < 0.5 * found.loss[0, 0]


def test_the_window_of_a_closed_loop_grows(weights, f):
    objective = Free(f, washout=1, periods=5)
    counted = [(objective.batch(weights, np.random.default_rng(0), share).counts > 0).sum() for share in (0, 0.25, 1)]
    assert counted == [TICKS, 3 * TICKS, 5 * TICKS]


def test_networks_do_not_know_of_each_other_nor_whose_nodes_ran_forward(low_pass, as_plain, weights, f):
    """Where the full nodes, which live elsewhere, are the reduced ones, physics-aware is plain back-propagation."""
    how = Descent(steps=4, check=2, refresh=1)
    plain = descend(low_pass, weights, Taught(f, washout=1, periods=1), how)
    alone = Taught(f[:, 1:], washout=1, periods=1)
    aware = descend(low_pass, weights.one(1), alone, how, full=as_plain(low_pass))
    for name in ("W", "b", "gain", "w_fb"):
        np.testing.assert_allclose(getattr(aware.weights, name)[0], getattr(plain.weights, name)[1], atol=1e-9)
    np.testing.assert_allclose(aware.loss[:, 0], plain.loss[:, 1], rtol=1e-9)


def test_physics_aware_losses_are_those_of_the_full_nodes(make_low_pass, weights, f):
    """The reduced nodes are wrong by a quarter; the loss that is differentiated is still the full nodes' own."""
    guide, full = make_low_pass(0.3), make_low_pass(0.4)
    objective = Free(f, washout=1, periods=2)
    batch = objective.batch(weights, np.random.default_rng(2), 1.0)
    many = weights.repeat(objective.runs)
    corrected = what_is_lacking(guide, full, many, batch)
    own = weights.with_devices(np.arange(12).reshape(2, 6))
    state = corrected.start(24, 0, np.arange(24))
    assert own.networks == 2
    wanted = losses(full, weights, objective, batch)
    assert np.abs(np.asarray(losses(guide, weights, objective, batch)) - wanted).max() > 1e-3
    begun = LoopState(state, np.zeros((4, 6)), np.zeros((4, 1)))
    found = losses(corrected, weights, objective, batch, state=begun)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
