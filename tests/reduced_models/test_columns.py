"""Laws of columns do what their formulas say, device by device, one law for all or one for each."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from spinloom.device_models.scan import drive
from spinloom.reduced_models.basis import exponents, monomials, polynomial_of_columns
from spinloom.reduced_models.columns import ColumnLaw
from spinloom.reduced_models.flow_map import FlowMapLaw
from spinloom.reduced_models.memory_map import MemoryLaw
from spinloom.reduced_models.node import ReducedNode

TICK, TICKS, DEVICES = 1e-11, 200, 5


def _rng():
    return np.random.default_rng(0)


def law(kind, seed, latents=2):
    """A smooth map that stays where it is defined."""
    rng, flow = np.random.default_rng(seed), kind is FlowMapLaw
    powers = exponents(4 if flow else 4 + latents, 3)
    outputs = 4 if flow else 4 + latents
    coef = 0.02 * rng.standard_normal((outputs, len(powers)))
    coef[3] *= 0.1
    return kind(coef, 0.01 * rng.standard_normal(outputs), np.asarray(0.9), tuple(map(tuple, powers.tolist())))


def by_formula(law, m, u):
    """<m> after each tick of one device, row by row: monomials, the sphere, the length."""
    powers, latents, out = np.array(law.powers), np.zeros(law.coef.shape[0] - 4), []
    for drive_ in u:
        direction = m / np.linalg.norm(m)
        y = monomials(np.concatenate([direction, [drive_], latents])[None], powers)[0] @ law.coef.T + law.intercept
        moved = direction + y[:3]
        m, latents = moved / np.linalg.norm(moved) * (law.length + y[3]), y[4:]
        out.append(m)
    return np.array(out)


@pytest.mark.parametrize("kind", [FlowMapLaw, MemoryLaw])
@pytest.mark.parametrize("each", [False, True])
def test_a_roll_out_is_that_of_the_formula(kind, each):
    laws = [law(kind, k if each else 0) for k in range(DEVICES)]
    starts, u = _rng().standard_normal((DEVICES, 3)), _rng().uniform(-1, 1, (TICKS, DEVICES))
    nodes = [ReducedNode.of(one, m, (1.0, 0.0, 0.0), TICK) for one, m in zip(laws, starts, strict=True)]
    node = ReducedNode.stack(nodes) if each else nodes[0]
    state = node.at(starts, np.arange(DEVICES) if each else np.zeros(DEVICES, int))
    _, m = drive(node, u, state)
    for k, one in enumerate(laws):
        np.testing.assert_allclose(m[:, k], by_formula(one, starts[k], u[:, k]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [FlowMapLaw, MemoryLaw])
def test_rows_are_columns_turned(kind):
    one, m, u = law(kind, 0), _rng().standard_normal((4, 3)), _rng().uniform(-1, 1, (4, 1))
    assert isinstance(one, ColumnLaw)
    x = one.start_columns(m.T)
    np.testing.assert_array_equal(one.start(m), x.T)
    np.testing.assert_array_equal(one.moment(x.T), m)
    np.testing.assert_array_equal(one.advance(x.T, u), one.advance_columns(x, u.T).T)


def test_each_column_may_have_coefficients_of_its_own():
    powers, rng = exponents(3, 4), _rng()
    coef, intercept = rng.standard_normal((2, len(powers), 6)), rng.standard_normal((2, 6))
    x = rng.uniform(-1, 1, (3, 6))
    found = polynomial_of_columns(x, powers.tolist(), coef, intercept)
    expected = np.einsum("nf,ofn->on", monomials(x.T, powers), coef) + intercept
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [FlowMapLaw, MemoryLaw])
def test_a_derivative_goes_through(kind):
    """With respect to a coefficient, against a difference of two roll-outs."""
    u, m = _rng().uniform(-1, 1, (20, 3)), _rng().standard_normal((3, 3))

    def end(change):
        node = ReducedNode.of(law(kind, 0), m[0], (1.0, 0.0, 0.0), TICK)
        node = jax.tree.map(lambda leaf: leaf + change * (leaf.ndim == 3), node)
        state, _ = jax.lax.scan(lambda x, row: (node.step(x, row[:, None]), None), node.at(m, np.zeros(3, int)), u)
        return node.observe(state).sum()

    slope = (end(1e-6) - end(-1e-6)) / 2e-6
    assert abs(slope) > 0.1
    np.testing.assert_allclose(jax.grad(end)(0.0), slope, rtol=1e-6)
