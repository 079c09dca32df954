"""What a temperature would do to a reduced model of 0 K, by the fluctuation-dissipation theorem instead of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from scipy.constants import Boltzmann

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.reduced_models.basis import SPHERE, length_of
from spinloom.reduced_models.node import Law, ReducedNode

NORMALS = 6
"""Random numbers of a tick: a vector before it, and one after it."""


def scatter_of_a_tick(card: DeviceCard, tick: float) -> float:
    r"""How far a tick scatters the direction of a rigid layer's <m>, in each of two directions across it (rad).

    Brown's thermal field (Phys. Rev. 130, 1677 (1963)) makes the moment of a whole layer diffuse by

    .. math:: \sigma^2 = \frac{2\alpha\gamma_0 k_B T}{\mu_0 M_s V (1 + \alpha^2)}\,\Delta t,

    which against the damping of a field H leaves the equipartition :math:`k_B T/(\mu_0 M_s V H)`.

    Parameters
    ----------
    card : DeviceCard
        at its temperature
    tick : float
        (s)

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> round(scatter_of_a_tick(load_card("data/devices/disc60.toml").at(300), 7.5e-12), 4)
    0.0155
    """
    material, volume = card.material, card.area * card.thickness
    rate = 2 * material.alpha * material.gamma0 * Boltzmann * card.conditions.temperature
    return math.sqrt(rate * tick / (MU0 * material.Ms * volume * (1 + material.alpha**2)))


@partial(jax.tree_util.register_dataclass, data_fields=["law", "sigma"], meta_fields=[])
@dataclass(frozen=True)
class WarmedLaw:
    """A law of 0 K with the noise that a rigid layer of its device would have.

    Half of the scatter comes before the tick and half after it, so that what precession makes of it within a tick is
    there too.

    Attributes
    ----------
    law : Law
        of 0 K, whose state begins with <m>
    sigma : scalar array
        from :func:`scatter_of_a_tick`
    """

    law: Any
    sigma: Any

    normals = NORMALS

    def start(self, m: Any) -> Any:
        """State of devices that stand at ``<m>``."""
        return self.law.start(m)

    def advance(self, x: Any, inputs: Any) -> Any:
        """State after a tick without noise."""
        return self.law.advance(x, inputs)

    def scatter(self, x: Any, inputs: Any, normals: Any) -> Any:
        """State after a tick with the random numbers that it takes: (n, d), (n, 1), (n, 6) -> (n, d)."""
        x = self.law.advance(self._turned(x, normals[:, :SPHERE]), inputs)
        return self._turned(x, normals[:, SPHERE:])

    def moment(self, x: Any) -> Any:
        """``<m>``, (n, 3)."""
        return self.law.moment(x)

    def _turned(self, x: Any, normals: Any) -> Any:
        m = x[:, :SPHERE]
        length = length_of(m)
        direction = m / length
        # What lies along the direction is lost when the length is restored.
        pushed = direction + self.sigma * math.sqrt(0.5) * normals
        return jnp.concatenate([pushed / length_of(pushed) * length, x[:, SPHERE:]], axis=1)


def warmed(law: Law, card: DeviceCard, m_start: Any, tick: float) -> ReducedNode:
    """A node of one device at the temperature of its card, from a law of 0 K.

    An estimate: it knows nothing of spin waves, which shorten <m>. Beside a thermal map that is fitted to full
    micromagnetics, the scatter of a tick of the shipped discs at 300 K is 3 % smaller.

    Parameters
    ----------
    law : Law
    card : DeviceCard
        at a temperature
    m_start : (3,) ndarray
        where it rests
    tick : float
        (s)

    Examples
    --------
    >>> import numpy as np
    >>> from spinloom.device_models.card import load_card
    >>> from spinloom.reduced_models.macrospin import MacrospinModel
    >>> m, u = np.eye(3), np.zeros((3, 1))
    >>> law = MacrospinModel(H=(0, 8e3, 0)).fit(np.hstack([m, u]), m).law()
    >>> card = load_card("data/devices/disc60.toml").at(300)
    >>> node = warmed(law, card, (0.0, 1.0, 0.0), 7.5e-12)
    >>> state = node.step(node.start(500, seed=0), np.zeros((500, 1)))
    >>> bool(0.01 < node.observe(state).std() < 0.02)
    True
    """
    noisy = WarmedLaw(law, jnp.asarray(scatter_of_a_tick(card, tick)))
    return ReducedNode.of(noisy, m_start, card.readout.axis, tick, card.readout.offset)
