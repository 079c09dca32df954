"""Where free layers rest: steepest descent on the sphere, and a push to see whether they stay."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.constants import Boltzmann, mu_0

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.fields import linear_field
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, components, cross, dot, pick
from spinloom.device_models.errors import SpinloomError, SpinloomWarning

RELAX_TORQUE = 1e-4
"""Relaxation stops when every cell has \\|m x H\\| below this (A/m), as the OOMMF references do."""
RELAX_LIMIT = 200_000
PUSH, PUSH_SEED, PUSH_LIMIT, PUSHES = 0.01, 0, 20_000, 3
"""How a state at rest is tried: length of the push of each cell, its seed, iterations after it, and how often."""
THERMAL = Boltzmann * 300
"""k_B T at 300 K (J)."""
LOWER = 1e-6 * THERMAL
"""A fall by less than this (J) is none."""
AT_REST = 1.0
"""Fields of another solver with a larger torque than this (A/m) do not rest here, and are not tried."""


class Saddle(SpinloomWarning):
    """A card's start relaxes to a state that the smallest disturbance leaves."""


def equilibria(cards: Sequence[DeviceCard], field: Any) -> Components:
    """Where each card's own start falls without a drive.

    Without noise a start may stop on a saddle, such as a magnetisation against the bias. So every state
    is pushed, and relaxed again: where that ends lower, it warns, and the lower state is taken.

    Parameters
    ----------
    cards : sequence of DeviceCard
    field : pytree
        linear part of their effective field, from :func:`spinloom.device_models.engines.fields.linear_field`

    Returns
    -------
    m : three (cells, devices) arrays

    Raises
    ------
    SpinloomError
        for a start from which none is reached
    """
    keys = [_resting_values(card) for card in cards]
    which, member = np.unique([keys.index(key) for key in keys], return_inverse=True)
    sought = [cards[i] for i in which]
    cells = int(cards[0].geometry.mask().sum())
    start = tuple(np.tile(row, (cells, 1)) for row in np.transpose([card.start.m for card in sought]))
    m, torque = _descend(field, which, components([card.bias.H for card in sought]), start, RELAX_TORQUE, RELAX_LIMIT)
    for card, left in zip(sought, np.asarray(torque), strict=True):
        if not left <= RELAX_TORQUE:
            raise SpinloomError(
                f"start.m: relaxation of {card.name} stopped at |m x H| = {left:.3g} A/m, "
                f"expected {RELAX_TORQUE:g}; try another start"
            )
    x, y, z = pick(_off_saddles(sought, field, which, m), member)
    return (x, y, z)


def lower_states(cards: Sequence[DeviceCard], fields: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """Where the cards' equilibria fall if pushed, of fields that another solver relaxed.

    Warns as :func:`equilibria` does.

    Parameters
    ----------
    cards : sequence of n DeviceCard
    fields : sequence of n (nx, ny, nz, 3) ndarray
        unit vectors, zero outside the magnetic cells

    Returns
    -------
    means : list of (3,) ndarray or None
        <m> of the lower state; None for a field that a push does not leave, or that does not rest in this engine
    """
    found: dict[tuple, np.ndarray | None] = {}
    for card, grid in zip(cards, fields, strict=True):
        key = _resting_values(card)
        if key in found:
            continue
        mask = card.geometry.mask()
        field, which = linear_field([card], mask), np.zeros(1, int)
        x, y, z = grid[in_order(mask)[0]].T[:, :, None]
        m = lower = (x, y, z)
        _, torque = _descend(field, which, components([card.bias.H]), m, np.inf, 0)
        if torque[0] <= AT_REST:
            lower = _off_saddles([card], field, which, m)
        found[key] = None if lower is m else np.array([a.mean() for a in lower])
    return [found[_resting_values(card)] for card in cards]


def _off_saddles(cards: Sequence[DeviceCard], field: Any, which: np.ndarray, m: Components) -> Components:
    """These states, or the lower ones to which a push makes them fall."""
    bias = components([card.bias.H for card in cards])
    scale = np.array([mu_0 * card.material.Ms * np.prod(card.geometry.cell) for card in cards])
    before = first = np.asarray(_energy(field, which, bias, m)) * scale
    for _ in range(PUSHES):
        pushed, torque = _descend(field, which, bias, _pushed(m), RELAX_TORQUE, PUSH_LIMIT)
        after = np.asarray(_energy(field, which, bias, pushed)) * scale
        fell = (before - after > LOWER) & (np.asarray(torque) <= RELAX_TORQUE)
        if not fell.any():
            break
        x, y, z = (jnp.where(fell, new, old) for new, old in zip(pushed, m, strict=True))
        m, before = (x, y, z), np.where(fell, after, before)
    for card, lost, to in zip(cards, first - before, np.transpose([a.mean(axis=0) for a in m]), strict=True):
        if lost > 0:
            warnings.warn(
                f"start.m: {card.name} relaxes from {_written(card.start.m)} to a saddle, which the smallest "
                f"disturbance leaves: it falls by {lost:.3g} J ({lost / THERMAL:.3g} k_BT at 300 K) to <m> = "
                f"{_written(to)}. That state is taken; say so in the card: start.m = {_written(to)}",
                Saddle,
                stacklevel=4,
            )
    return m


def _written(vector: Any) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in np.round(vector, 3) + 0.0) + "]"


def _pushed(m: Components) -> Components:
    """All cells turned a little, by the same for all and by something for each; of any two runs the same."""
    rng = np.random.default_rng(PUSH_SEED)
    x, y, z = (np.asarray(a) + PUSH * (rng.normal() + rng.normal(size=(len(a), 1))) for a in m)
    length = np.sqrt(x**2 + y**2 + z**2)
    return (x / length, y / length, z / length)


@jax.jit
def _energy(field: Any, which: Any, bias: Components, m: Components) -> Any:
    r"""Sum over cells of :math:`-m\cdot(h/2 + H)`, (n,): energy over :math:`\mu_0 M_s` and the cell's volume (A/m)."""
    h = field.at(which)(m)
    return -dot(m, combine((0.5, h), (1, bias))).sum(axis=0)


def _resting_values(card: DeviceCard) -> tuple:
    """All that an equilibrium depends on; cards that agree in it are relaxed once."""
    material = card.material
    return (card.geometry, material.Ms, material.A, material.Ku, material.Ku_axis, card.bias, card.start)


@jax.jit
def _descend(
    field: Any, which: Any, bias: Components, start: Components, tolerance: Any, limit: Any
) -> tuple[Components, jnp.ndarray]:
    return relax(field.at(which), bias, start, tolerance, limit)


def relax(
    field: FieldMap, bias: Components, m: Components, tolerance: Any, limit: Any
) -> tuple[Components, jnp.ndarray]:
    """Nearest equilibria by steepest descent on the sphere with Barzilai-Borwein steps.

    The update keeps every m at unit length (Exl et al., J. Appl. Phys. 115, 17D118 (2014)).

    Parameters
    ----------
    field : callable
        linear part of the effective field
    bias : three (n,) arrays
        bias field (A/m)
    m : components, each (cells, n)
        start
    tolerance : float
        largest torque m x H of any cell at which a device is done (A/m)
    limit : int
        most iterations

    Returns
    -------
    m : components, each (cells, n)
    torque : (n,) array
        the largest torque that is left (A/m)
    """

    def torque(m: Components) -> Components:
        return cross(m, combine((1, field(m)), (1, bias)))

    def largest(a: Components) -> jnp.ndarray:
        return jnp.sqrt(dot(a, a).max(axis=0))

    def unfinished(carry: tuple) -> jnp.ndarray:
        _, a, _, i = carry
        return (largest(a) > tolerance).any() & (i < limit)

    def step(carry: tuple) -> tuple:
        m, a, tau, i = carry
        tau = jnp.where(largest(a) > tolerance, tau, 0.0)
        # Implicit midpoint of dm/dtau = -m x (m x H): an exact rotation, no renormalisation.
        n = tau**2 * dot(a, a)
        new = combine(((4 - n) / (4 + n), m), (-4 * tau / (4 + n), cross(m, a)))
        a_new = torque(new)
        s = combine((1, new), (-1, m))
        y = combine((1, cross(new, a_new)), (-1, cross(m, a)))
        sy = jnp.abs(dot(s, y).sum(axis=0))
        tau = jnp.where(i % 2 == 0, dot(s, s).sum(axis=0) / sy, sy / dot(y, y).sum(axis=0))
        return new, a_new, jnp.where(jnp.isfinite(tau), tau, 1e-7), i + 1

    a = torque(m)
    m, a, _, _ = jax.lax.while_loop(unfinished, step, (m, a, 0.1 / jnp.maximum(largest(a), 1.0), 0))
    return m, largest(a)
