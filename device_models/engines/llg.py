"""The Landau-Lifshitz-Gilbert equation with Slonczewski torque, its time step and its equilibria."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.device_models.engines.fields import Components, FieldMap

HBAR = 1.054571817e-34
"""Reduced Planck constant (J s), CODATA 2018."""
ELEMENTARY_CHARGE = 1.602176634e-19
"""Elementary charge (C), exact in SI."""

Vector = Components | tuple[float, float, float]
"""Three components, either fields or the same number everywhere."""
RightHandSide = Callable[[Components, jnp.ndarray], Components]


def cross(a: Components, b: Vector) -> Components:
    """Vector product."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def dot(a: Vector, b: Vector) -> Any:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def combine(*terms: tuple[jnp.ndarray | float, Vector]) -> Components:
    """Sum of vector fields, each with its factor."""
    x, y, z = (sum(factor * vector[axis] for factor, vector in terms) for axis in range(3))
    return (jnp.asarray(x), jnp.asarray(y), jnp.asarray(z))


def spin_torque_field(card: DeviceCard) -> float:
    """|beta| at u = 1 (A/m): hbar J_max / (mu0 e t Ms), with t the free layer's thickness."""
    return HBAR * card.torque.J_max / (MU0 * ELEMENTARY_CHARGE * card.thickness * card.material.Ms)


def llg(card: DeviceCard, field: FieldMap) -> RightHandSide:
    r"""dm/dt of every cell of every device.

    With :math:`T = -\gamma m\times H + \gamma\beta u\,[\epsilon\, m\times(m_p\times m) - \epsilon' m\times m_p]`
    the Gilbert form :math:`\dot m = T + \alpha m\times\dot m` is solved for
    :math:`\dot m = (T + \alpha m\times T)/(1+\alpha^2)`, where
    :math:`\epsilon = P\Lambda^2/((\Lambda^2+1)+(\Lambda^2-1)\,m\cdot m_p)` (Xiao, Zangwill and
    Stiles, Phys. Rev. B 70, 172405 (2004), as OOMMF's Oxs_SpinXferEvolve has it).

    Parameters
    ----------
    card : DeviceCard
    field : callable
        linear part of the effective field

    Returns
    -------
    rhs : callable
        (components of m, each (cells, devices); u : (devices,)) -> components of dm/dt (1/s)
    """
    torque, alpha, bias = card.torque, card.material.alpha, card.bias.H
    p = torque.polariser
    beta, lambda2 = spin_torque_field(card), torque.Lambda**2
    prefactor = card.material.gamma0 / (1 + alpha**2)

    def rhs(m: Components, u: jnp.ndarray) -> Components:
        epsilon: Any = torque.P / 2
        if torque.Lambda != 1:
            epsilon = torque.P * lambda2 / ((lambda2 + 1) + (lambda2 - 1) * dot(m, p))
        # m x (p x m) = -m x (m x p): the damping-like torque is the field beta eps m x p.
        total = combine((1, field(m)), (1, bias), (beta * u * epsilon, cross(m, p)), (beta * u * torque.eps_prime, p))
        precession = cross(total, m)
        return combine((prefactor, precession), (prefactor * alpha, cross(m, precession)))

    return rhs


def longest_step(card: DeviceCard) -> float:
    """The longest Runge-Kutta step (s) that is stable and accurate on this mesh.

    The fastest mode of the mesh has the exchange field of a checkerboard, 8 A / (mu0 Ms d^2)
    for each axis with more than one cell, on top of magnetisation, anisotropy, bias and
    torque. The classical Runge-Kutta method is stable to omega dt = 2.78; we stay at 2.
    """
    material = card.material
    curvature = sum(4 / d**2 for d, n in zip(card.geometry.cell, card.geometry.shape_cells, strict=True) if n > 1)
    field = (
        2 * material.A / (MU0 * material.Ms) * curvature
        + material.Ms
        + 2 * abs(material.Ku) / (MU0 * material.Ms)
        + math.hypot(*card.bias.H)
        + spin_torque_field(card) * (card.torque.P * max(1, card.torque.Lambda**2) + abs(card.torque.eps_prime))
    )
    return 2 / (material.gamma0 * field)


def advance(rhs: RightHandSide, m: Components, u: jnp.ndarray, dt: jnp.ndarray | float, steps: Any) -> Components:
    """``steps`` classical Runge-Kutta steps, each put back on the unit sphere."""

    def step(_: int, m: Components) -> Components:
        k1 = rhs(m, u)
        k2 = rhs(combine((1, m), (dt / 2, k1)), u)
        k3 = rhs(combine((1, m), (dt / 2, k2)), u)
        k4 = rhs(combine((1, m), (dt, k3)), u)
        m = combine((1, m), (dt / 6, k1), (dt / 3, k2), (dt / 3, k3), (dt / 6, k4))
        return combine((jax.lax.rsqrt(dot(m, m)), m))

    return jax.lax.fori_loop(0, steps, step, m)


def relax(
    field: FieldMap, bias: tuple[float, float, float], m: Components, tolerance: float, limit: int
) -> tuple[Components, jnp.ndarray]:
    """Nearest equilibrium by steepest descent on the sphere with Barzilai-Borwein steps.

    The update keeps every m at unit length (Exl et al., J. Appl. Phys. 115, 17D118 (2014)).

    Parameters
    ----------
    field : callable
        linear part of the effective field
    bias : (3,) tuple of float
        bias field (A/m)
    m : components, each (cells, 1)
        start
    tolerance : float
        largest torque m x H of any cell at which to stop (A/m)
    limit : int
        most iterations

    Returns
    -------
    m : components, each (cells, 1)
    torque : scalar array
        the largest torque that is left (A/m)
    """

    def torque(m: Components) -> Components:
        return cross(m, combine((1, field(m)), (1, bias)))

    def largest(a: Components) -> jnp.ndarray:
        return jnp.sqrt(dot(a, a).max())

    def unfinished(carry: tuple) -> jnp.ndarray:
        _, a, _, i = carry
        return (largest(a) > tolerance) & (i < limit)

    def step(carry: tuple) -> tuple:
        m, a, tau, i = carry
        # Implicit midpoint of dm/dtau = -m x (m x H): an exact rotation, no renormalisation.
        n = tau**2 * dot(a, a)
        new = combine(((4 - n) / (4 + n), m), (-4 * tau / (4 + n), cross(m, a)))
        a_new = torque(new)
        s = combine((1, new), (-1, m))
        y = combine((1, cross(new, a_new)), (-1, cross(m, a)))
        sy = jnp.abs(dot(s, y).sum())
        tau = jnp.where(i % 2 == 0, dot(s, s).sum() / sy, sy / dot(y, y).sum())
        return new, a_new, jnp.where(jnp.isfinite(tau), tau, 1e-7), i + 1

    a = torque(m)
    m, a, _, _ = jax.lax.while_loop(unfinished, step, (m, a, 0.1 / jnp.maximum(largest(a), 1.0), 0))
    return m, largest(a)
