"""What the effective fields of devices on one mesh differ in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.device_models.engines.vectors import Components, combine, components, dot


class Factors(NamedTuple):
    """What each device, or member of a batch, multiplies the maps of its mesh with, (n,) each.

    Attributes
    ----------
    magnetisation : array
        Ms (A/m)
    stiffness : array
        2 A / (mu0 Ms d^2), with d the cell's edge along x (A/m)
    anisotropy : array
        2 Ku / (mu0 Ms) (A/m)
    axis : components
        easy axis
    """

    magnetisation: Any
    stiffness: Any
    anisotropy: Any
    axis: Components

    @classmethod
    def of(cls, cards: Sequence[DeviceCard]) -> Factors:
        """Those of some cards."""
        materials = [card.material for card in cards]
        Ms, A, Ku = (jnp.asarray([getattr(each, name) for each in materials]) for name in ("Ms", "A", "Ku"))
        edge = np.array([card.geometry.cell[0] for card in cards])
        axis = components([each.Ku_axis for each in materials])
        return cls(Ms, 2 * A / (MU0 * Ms * edge**2), 2 * Ku / (MU0 * Ms), axis)

    def local(self, m: Components) -> Components:
        """The field of anisotropy."""
        return combine((self.anisotropy * dot(m, self.axis), self.axis))


def neighbour_weights(card: DeviceCard) -> tuple[float, float, float]:
    """(d_x / d)^2 for d along x, y and z: how much a neighbour counts in exchange."""
    dx, dy, dz = card.geometry.cell
    return (1.0, (dx / dy) ** 2, (dx / dz) ** 2)
