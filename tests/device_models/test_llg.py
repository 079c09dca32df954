"""The equation of motion: one macrospin against its analytic motion, the torque against a direct right-hand side."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models.card import MU0
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.equilibria import relax
from spinloom.device_models.engines.fields import linear_field
from spinloom.device_models.engines.llg import (
    ELEMENTARY_CHARGE,
    HBAR,
    Motion,
    advance,
    llg,
    longest_step,
    spin_torque_field,
)
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive

CUBE = {"shape": "box", "size": (3e-9,) * 3, "cell": (3e-9,) * 3}


@pytest.fixture
def macrospin(disc, alter):
    """One cubic cell: its demagnetising field is parallel to m and drops out."""

    def make(**sections):
        return alter(disc, geometry=CUBE, **sections)

    return make


def right_hand_side(card, n=1):
    which = np.zeros(n, dtype=int)
    return llg(Motion.of([card]).at(which), linear_field([card], card.geometry.mask()).at(which))


def roll(card, m0, tick, n_ticks, u=0.0):
    initial = np.zeros((1, 1, 1, 3))
    initial[0, 0, 0] = m0
    _, m = drive(EmbeddedEngine(card, tick, initial).node, np.full((n_ticks, 1), u))
    return m[:, 0]


@pytest.mark.parametrize("alpha", [1e-3, 0.02, 0.1, 0.8])
def test_precession_and_damping_of_a_macrospin(macrospin, alpha):
    """In a field along z the azimuth turns at gamma H / (1 + alpha^2), and tan(theta / 2) falls exponentially."""
    H = 1e5
    card = macrospin(material={"alpha": alpha}, bias={"H": (0, 0, H)})
    theta0 = 1.2
    m = roll(card, (math.sin(theta0), 0, math.cos(theta0)), 5e-12, 100)
    t = 5e-12 * np.arange(1, 101)
    omega = card.material.gamma0 * H / (1 + alpha**2)
    theta = 2 * np.arctan(np.tan(theta0 / 2) * np.exp(-alpha * omega * t))
    expected = np.stack([np.sin(theta) * np.cos(omega * t), np.sin(theta) * np.sin(omega * t), np.cos(theta)], axis=-1)
    np.testing.assert_allclose(m, expected, atol=2e-5)


def test_the_error_falls_with_the_fourth_power_of_the_step(macrospin):
    card = macrospin(material={"alpha": 0.02}, bias={"H": (0, 0, 1e6)})
    rhs = right_hand_side(card)
    start = tuple(jnp.full((1, 1), c) for c in (1.0, 0.0, 0.0))
    omega = card.material.gamma0 * 1e6 / (1 + 0.02**2)
    span = 2e-11
    theta = 2 * np.arctan(np.exp(-0.02 * omega * span))
    exact = np.array([np.sin(theta) * np.cos(omega * span), np.sin(theta) * np.sin(omega * span), np.cos(theta)])
    errors = []
    for steps in (40, 80):
        m = advance(rhs, start, jnp.zeros(1), span, steps, steps)
        errors.append(np.linalg.norm(np.stack(m)[:, 0, 0] - exact))
    assert 12 < errors[0] / errors[1] < 40


@pytest.mark.parametrize("u", [0.7, -0.7])
@pytest.mark.parametrize(("Lambda", "eps_prime"), [(1.0, 0.0), (2.0, 0.0), (0.5, 0.1), (1.5, -0.3)])
def test_slonczewski_torque(macrospin, Lambda, eps_prime, u):
    """The Gilbert form solved as a 3 by 3 system, with beta and epsilon written out from their definitions."""
    p = np.array([0.6, 0.0, 0.8])
    card = macrospin(
        torque={"polariser": tuple(p), "Lambda": Lambda, "eps_prime": eps_prime, "P": 0.45, "J_max": 3e12},
        bias={"H": (1e4, -2e4, 3e4)},
    )
    rng = np.random.default_rng(5)
    m = rng.standard_normal((8, 3))
    m /= np.linalg.norm(m, axis=1, keepdims=True)
    rhs = right_hand_side(card, 8)
    found = np.stack(rhs(tuple(jnp.asarray(m.T[:, None, :])), jnp.full(8, u), None))[:, 0, :].T

    Ms, alpha, gamma = card.material.Ms, card.material.alpha, card.material.gamma0
    beta = HBAR * u * 3e12 / (MU0 * ELEMENTARY_CHARGE * 3e-9 * Ms)
    for row, rate in zip(m, found, strict=True):
        epsilon = 0.45 * Lambda**2 / ((Lambda**2 + 1) + (Lambda**2 - 1) * row @ p)
        H = np.array(card.bias.H) - Ms / 3 * row
        torque = -gamma * np.cross(row, H)
        torque += gamma * beta * (epsilon * np.cross(row, np.cross(p, row)) - eps_prime * np.cross(row, p))
        skew = np.cross(row, np.eye(3)).T
        expected = np.linalg.solve(np.eye(3) - alpha * skew, torque)
        np.testing.assert_allclose(rate, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_switching_threshold_of_a_perpendicular_macrospin(macrospin):
    """Antiparallel current destabilises m || p where beta P / 2 passes alpha H (Slonczewski, Lambda = 1)."""
    H = 1e5
    card = macrospin(bias={"H": (0, 0, H)}, torque={"polariser": (0, 0, 1), "P": 0.5})
    critical = card.material.alpha * H / (card.torque.P / 2 * spin_torque_field(card))
    card = macrospin(
        bias={"H": (0, 0, H)}, torque={"polariser": (0, 0, 1), "P": 0.5, "J_max": card.torque.J_max * critical * 2}
    )
    start = (0.05, 0, math.sqrt(1 - 0.05**2))
    below, above = (np.hypot(*roll(card, start, 1e-11, 40, -0.5 * share)[-1, :2]) for share in (0.8, 1.2))
    assert below < 0.05 < above


@pytest.mark.parametrize("name", ["size", "Ku", "H", "J_max"])
def test_the_longest_step_is_stable(disc, alter, name):
    """Under the stiffest of each kind a random field stays close to the answer of a shorter step."""
    changes = {
        "size": {"geometry": {"size": (20e-9, 20e-9, 4e-9), "cell": (2e-9, 2e-9, 1e-9)}},
        "Ku": {"geometry": {"size": (20e-9, 20e-9, 2e-9)}, "material": {"Ku": 5e6}},
        "H": {"geometry": {"size": (20e-9, 20e-9, 2e-9)}, "bias": {"H": (4e6, 0, 4e6)}},
        "J_max": {"geometry": {"size": (20e-9, 20e-9, 2e-9)}, "torque": {"J_max": 1e14, "Lambda": 2.0}},
    }[name]
    card = alter(disc, **changes)
    mask = card.geometry.mask()
    rhs = right_hand_side(card)
    start = np.random.default_rng(6).standard_normal((3, mask.sum(), 1))
    start = tuple(start / np.linalg.norm(start, axis=0))
    dt = longest_step(card)
    coarse = np.stack(advance(rhs, start, jnp.ones(1), 60 * dt, 60, 60))
    fine = np.stack(advance(rhs, start, jnp.ones(1), 60 * dt, 480, 480))
    assert np.isfinite(coarse).all()
    np.testing.assert_allclose(np.linalg.norm(coarse, axis=0), 1, atol=1e-12)
    assert np.sqrt(((coarse - fine) ** 2).sum(axis=0).mean()) < 0.2


def test_a_layer_of_several_cells_feels_the_same_torque(disc, alter):
    """Uniform m: the torque per volume does not depend on how many cells the thickness is cut into."""
    rates = []
    for dz in (2e-9, 1e-9, 0.5e-9):
        card = alter(disc, geometry={"size": (20e-9, 20e-9, 2e-9), "cell": (4e-9, 4e-9, dz)})
        cells = card.geometry.mask().sum()
        m = tuple(jnp.full((cells, 1), c) for c in (0.6, 0.8, 0.0))

        def nothing(m):
            return tuple(0 * c for c in m)

        rates.append(np.stack(llg(Motion.of([card]), nothing)(m, jnp.ones(1), None)).mean(axis=1)[:, 0])
    np.testing.assert_allclose(rates[1:], np.broadcast_to(rates[0], (2, 3)), rtol=1e-12, atol=1)


def test_a_thick_layer_moves_as_one_of_one_cell(disc, alter):
    """2 nm in one and in two cells: exchange keeps them together, so <m> differs by the mesh's error only."""
    moments = []
    for dz in (2e-9, 1e-9):
        card = alter(disc, geometry={"size": (20e-9, 20e-9, 2e-9), "cell": (4e-9, 4e-9, dz)})
        moments.append(drive(EmbeddedEngine(card, 1e-11).node, np.full((20, 1), 0.8))[1])
    assert np.abs(np.diff(moments[0], axis=0)).max() > 1e-2
    np.testing.assert_allclose(moments[0], moments[1], atol=2e-4)


def test_relaxation_reaches_a_state_without_torque(disc, alter):
    card = alter(disc, geometry={"size": (24e-9, 24e-9, 2e-9)}, start={"m": (1, -1, 0.3)})
    mask = card.geometry.mask()
    field = linear_field([card], mask).at(np.zeros(1, dtype=int))
    start = tuple(jnp.full((mask.sum(), 1), c) for c in card.start.m)
    m, torque = relax(field, card.bias.H, start, 1e-4, 100_000)
    assert torque <= 1e-4
    vectors, H = np.stack(m)[..., 0].T, (np.stack(field(m))[..., 0].T + card.bias.H)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-9)
    assert np.linalg.norm(np.cross(vectors, H), axis=1).max() < 2e-4


def test_relaxation_that_cannot_end_says_so(disc, alter, monkeypatch):
    monkeypatch.setattr("spinloom.device_models.engines.equilibria.RELAX_LIMIT", 3)
    with pytest.raises(SpinloomError, match=r"start\.m: relaxation of disc60 stopped"):
        EmbeddedEngine(alter(disc, geometry={"size": (24e-9, 24e-9, 2e-9)}, start={"m": (1, 0.2, 0)}), 1e-11)
