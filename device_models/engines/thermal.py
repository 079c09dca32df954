"""Brown's thermal field: what a free layer at T > 0 feels in every cell."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from scipy.constants import Boltzmann

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.device_models.engines.vectors import Components
from spinloom.device_models.noise import normals


def thermal_strength(card: DeviceCard) -> float:
    r"""Root of the thermal field's power, A/m times the root of a second.

    The field is white, independent in every cell and component:
    :math:`\langle H_i(t) H_j(t') \rangle = \delta_{ij}\,\delta(t - t')\,
    2\alpha k_B T / (\mu_0 M_s \gamma_0 V)`, with V of one cell and :math:`\gamma_0` of the Gilbert form (Brown, Phys.
    Rev. 130, 1677 (1963)). Held for a step :math:`\Delta t`, each component has this strength
    over :math:`\sqrt{\Delta t}`.

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card = load_card("data/devices/disc60.toml").at(300)
    >>> print(f"{thermal_strength(card) / 1e-13**0.5:.3g} A/m for steps of 0.1 ps")
    1.08e+06 A/m for steps of 0.1 ps
    """
    material, volume = card.material, math.prod(card.geometry.cell)
    power = (
        2 * material.alpha * Boltzmann * card.conditions.temperature / (MU0 * material.Ms * material.gamma0 * volume)
    )
    return math.sqrt(power)


def thermal_normals(keys: Any, step: Any, cells: int) -> Components:
    """Standard normal numbers for a step of a tick, three components of (cells, n), from the keys (n, 2)."""
    now = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
    x, y, z = normals(now, (3, cells)).transpose(1, 2, 0).astype(jnp.float64)
    return (x, y, z)
