"""The Landau-Lifshitz-Gilbert equation with Slonczewski torque, and its integration in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.engines.thermal import thermal_strength
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, components, cross, dot, pick
from spinloom.device_models.oersted import oersted_pattern

HBAR = 1.054571817e-34
"""Reduced Planck constant (J s), CODATA 2018."""
ELEMENTARY_CHARGE = 1.602176634e-19
"""Elementary charge (C), exact in SI."""

STABLE, FOLLOWED = 2.3, 0.5
"""Longest steps, times the fastest angular frequency of a mesh: without noise, and at T > 0."""

RightHandSide = Callable[[Components, Any, Any], Components]


def spin_torque_field(card: DeviceCard) -> float:
    """|beta| at u = 1 (A/m): hbar J_max / (mu0 e t Ms), with t the free layer's thickness."""
    return HBAR * card.torque.J_max / (MU0 * ELEMENTARY_CHARGE * card.thickness * card.material.Ms)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["alpha", "gamma0", "bias", "beta", "polariser", "P", "Lambda", "eps_prime", "oersted", "heat"],
    meta_fields=["asymmetric"],
)
@dataclass(frozen=True, eq=False)
class Motion:
    """Damping, bias and torque of some devices; the last axis of every array is their number.

    Attributes
    ----------
    alpha, gamma0, P, Lambda, eps_prime : (devices,) array
        as in the card
    bias, polariser : three (devices,) arrays
        as in the card
    beta : (devices,) array
        spin-torque field at u = 1 (A/m)
    oersted : three arrays, or None
        Oersted field at u = 1 in each magnetic cell, (cells, devices), and none along z (A/m);
        None if no device has it
    heat : (devices,) array, or None
        thermal field times the root of the time that it is held for; None if no device is warm
    asymmetric : bool
        whether any Lambda differs from 1; the torque's efficiency then depends on the angle
    """

    alpha: Any
    gamma0: Any
    bias: Any
    beta: Any
    polariser: Any
    P: Any
    Lambda: Any
    eps_prime: Any
    oersted: Any
    heat: Any
    asymmetric: bool

    @classmethod
    def of(cls, cards: Sequence[DeviceCard]) -> Motion:
        """Those of some cards."""
        torques = [card.torque for card in cards]
        P, Lambda, eps_prime = (
            jnp.asarray([getattr(torque, name) for torque in torques]) for name in ("P", "Lambda", "eps_prime")
        )
        return cls(
            alpha=jnp.asarray([card.material.alpha for card in cards]),
            gamma0=jnp.asarray([card.material.gamma0 for card in cards]),
            bias=components([card.bias.H for card in cards]),
            beta=jnp.asarray([spin_torque_field(card) for card in cards]),
            polariser=components([torque.polariser for torque in torques]),
            P=P,
            Lambda=Lambda,
            eps_prime=eps_prime,
            oersted=_oersted(cards),
            heat=_heat(cards),
            asymmetric=any(torque.Lambda != 1 for torque in torques),
        )

    def at(self, which: Any) -> Motion:
        """Those of a batch whose members are the devices ``which``."""
        return pick(self, which)


def _heat(cards: Sequence[DeviceCard]) -> Any:
    strengths = [thermal_strength(card) for card in cards]
    return jnp.asarray(strengths) if any(strengths) else None


def _oersted(cards: Sequence[DeviceCard]) -> Components | None:
    if all(card.torque.oersted == "off" for card in cards):
        return None
    cells, _ = in_order(cards[0].geometry.mask())
    x, y, _ = np.stack([oersted_pattern(card)[cells] for card in cards], axis=-1).swapaxes(0, 1)
    return (jnp.asarray(x), jnp.asarray(y), jnp.zeros(len(cards)))


def llg(motion: Motion, field: FieldMap) -> RightHandSide:
    r"""dm/dt of every cell of every member of a batch.

    With :math:`T = -\gamma m\times H + \gamma\beta u\,[\epsilon\, m\times(m_p\times m) - \epsilon' m\times m_p]`
    the Gilbert form :math:`\dot m = T + \alpha m\times\dot m` is solved for
    :math:`\dot m = (T + \alpha m\times T)/(1+\alpha^2)`, where
    :math:`\epsilon = P\Lambda^2/((\Lambda^2+1)+(\Lambda^2-1)\,m\cdot m_p)` (Xiao, Zangwill and
    Stiles, Phys. Rev. B 70, 172405 (2004), as OOMMF's Oxs_SpinXferEvolve has it).

    Parameters
    ----------
    motion : Motion
        of the batch
    field : callable
        linear part of the effective field, of the batch

    Returns
    -------
    rhs : callable
        (components of m, each (cells, n); u : (n,); thermal field as m, or None) -> components of dm/dt (1/s)
    """
    p, lambda2 = motion.polariser, motion.Lambda**2
    prefactor = motion.gamma0 / (1 + motion.alpha**2)

    def rhs(m: Components, u: Any, thermal: Any) -> Components:
        epsilon: Any = motion.P / 2
        if motion.asymmetric:
            epsilon = motion.P * lambda2 / ((lambda2 + 1) + (lambda2 - 1) * dot(m, p))
        push = motion.beta * u
        # m x (p x m) = -m x (m x p): the damping-like torque is the field beta eps m x p.
        torques = [(push * epsilon, cross(m, p)), (push * motion.eps_prime, p)]
        if motion.oersted is not None:
            torques.append((u, motion.oersted))
        if thermal is not None:
            torques.append((1, thermal))
        total = combine((1, field(m)), (1, motion.bias), *torques)
        precession = cross(total, m)
        return combine((prefactor, precession), (prefactor * motion.alpha, cross(m, precession)))

    return rhs


def longest_step(card: DeviceCard) -> float:
    """The longest Runge-Kutta step (s) that is stable and accurate on this mesh.

    The fastest mode of the mesh has the exchange field of a checkerboard, 8 A / (mu0 Ms d^2)
    for each axis with more than one cell, on top of magnetisation, anisotropy, bias, torque
    and Oersted field. The classical Runge-Kutta method is stable to omega dt = 2.78; we stay at 2.3,
    where 0.3 ns of the shipped devices are off by less than 2e-7. At T > 0 the fastest modes are as warm as any, and
    have to be followed, not only damped: at 0.6 the cells of a 60 nm disc are at 297 K instead of 300 K, at 2.3 at
    278 K.
    """
    material = card.material
    curvature = sum(4 / d**2 for d, n in zip(card.geometry.cell, card.geometry.shape_cells, strict=True) if n > 1)
    field = (
        2 * material.A / (MU0 * material.Ms) * curvature
        + material.Ms
        + 2 * abs(material.Ku) / (MU0 * material.Ms)
        + math.hypot(*card.bias.H)
        + spin_torque_field(card) * (card.torque.P * max(1, card.torque.Lambda**2) + abs(card.torque.eps_prime))
        + float(np.linalg.norm(oersted_pattern(card), axis=-1).max())
    )
    return (FOLLOWED if card.conditions.temperature else STABLE) / (material.gamma0 * field)


def advance(
    rhs: RightHandSide,
    m: Components,
    u: jnp.ndarray,
    duration: Any,
    steps: Any,
    most: Any,
    thermal: Callable[[Any, Any], Components] | None = None,
) -> Components:
    """Classical Runge-Kutta steps, each put back on the unit sphere.

    A thermal field is held for a step. For steps to zero that is the Stratonovich integral (Wong and Zakai, Ann.
    Math. Stat. 36, 1560 (1965)), and what a step of finite length costs is of second order, as for mumax3's
    solvers (Leliaert et al., AIP Advances 7, 125010 (2017)).

    Parameters
    ----------
    rhs : callable
    m : components, each (cells, n)
    u : (n,) array
    duration : scalar
        of the whole (s)
    steps : (n,) int array
        how many steps each member of the batch takes; one that is done waits for the others
    most : int
        the largest of them; a Python integer leaves the loop open to reverse differentiation
    thermal : callable, optional
        (number of the step, its length (n,)) -> field in each cell
    """
    dt = duration / steps

    def step(i: Any, m: Components) -> Components:
        h = jnp.where(i < steps, dt, 0.0)
        # Once a step: without the barrier, the compiler draws the same numbers again for every use of them.
        warm = None if thermal is None else jax.lax.optimization_barrier(thermal(i, dt))
        k1 = rhs(m, u, warm)
        k2 = rhs(combine((1, m), (h / 2, k1)), u, warm)
        k3 = rhs(combine((1, m), (h / 2, k2)), u, warm)
        k4 = rhs(combine((1, m), (h, k3)), u, warm)
        m = combine((1, m), (h / 6, k1), (h / 3, k2), (h / 3, k3), (h / 6, k4))
        return combine((jax.lax.rsqrt(dot(m, m)), m))

    return jax.lax.fori_loop(0, most, step, m)
