"""Where free layers rest: steepest descent on the sphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, components, cross, dot, pick
from spinloom.device_models.errors import SpinloomError

RELAX_TORQUE = 1e-4
"""Relaxation stops when every cell has \\|m x H\\| below this (A/m), as the OOMMF references do."""
RELAX_LIMIT = 200_000


def equilibria(cards: Sequence[DeviceCard], field: Any) -> Components:
    """Where each card's own start falls without a drive.

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
    x, y, z = pick(m, member)
    return (x, y, z)


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
