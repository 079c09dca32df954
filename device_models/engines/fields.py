"""The effective field of free layers as a linear map of m: dense for small meshes, by FFT for large ones.

Exchange, demagnetisation and uniaxial anisotropy are all linear in m, so on the magnetic
cells their sum is one matrix; the mesh's mirrors make it a quarter of its size. Above
about fifteen hundred cells the matrix takes more room and time than a convolution is worth.
Devices that differ share what follows from the mesh alone, and each has its own factors.
All maps are pytrees, so that they are arguments of compiled functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.convolution import Convolved
from spinloom.device_models.engines.demag import PAIRS, demag_tensor
from spinloom.device_models.engines.factors import Factors, neighbour_weights
from spinloom.device_models.engines.mirrors import Blocks, Parities
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, pick

DENSE_LIMIT = 1500


def linear_field(cards: Sequence[DeviceCard], mask: np.ndarray) -> Dense | Shared | Convolved:
    """The map m -> H (A/m) of exchange, demagnetisation and anisotropy, without the bias field.

    Parameters
    ----------
    cards : sequence of DeviceCard
        on meshes of the same shape, up to their scale
    mask : (nx, ny, nz) bool ndarray
        the magnetic cells

    Returns
    -------
    field : Dense, Shared or Convolved
        ``field.at(which)`` maps three components of (cells, n) each to the same, for a batch
        whose members are the devices ``which``, (n,) int
    """
    if mask.sum() > DENSE_LIMIT:
        return Convolved.of(cards, mask)
    same = all(_field_values(card) == _field_values(cards[0]) for card in cards)
    return Dense.of(cards[0], mask) if same else Shared.of(cards, mask)


def _field_values(card: DeviceCard) -> tuple:
    material = card.material
    return (card.geometry.cell, material.Ms, material.A, material.Ku, material.Ku_axis)


@partial(jax.tree_util.register_dataclass, data_fields=["parities", "blocks"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class Dense:
    """One matrix for devices whose field is the same, in the basis of the mesh's parities.

    Attributes
    ----------
    parities : Parities
    blocks : Blocks
    """

    parities: Parities
    blocks: Blocks

    @classmethod
    def of(cls, card: DeviceCard, mask: np.ndarray) -> Dense:
        """The whole field of one card."""
        magnetisation, stiffness, anisotropy, axis = (np.asarray(value) for value in Factors.of([card]))
        matrix = -magnetisation * _demagnetisation(card, mask)
        local = anisotropy * axis * axis.T
        for a in range(3):
            matrix[a, :, a, :] += stiffness * _laplacian(card, mask)
            for b in range(3):
                matrix[a, :, b, :] += local[a, b] * np.eye(mask.sum())
        return cls(Parities.of(mask), Blocks.of(matrix, mask))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch; all devices have the same."""

        def field(m: Components) -> Components:
            return _unfolded(self.parities, self.blocks @ _folded(self.parities, m))

        return field


@partial(jax.tree_util.register_dataclass, data_fields=["parities", "blocks", "laplacian", "factors"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class Shared:
    """Matrices of the mesh for devices that differ, in the basis of its parities.

    Attributes
    ----------
    parities : Parities
    blocks : Blocks
        of the demagnetisation tensor
    laplacian : Blocks
        of the six neighbours, in units of the cell's edge along x; the same for each component
    factors : Factors
    """

    parities: Parities
    blocks: Blocks
    laplacian: Blocks
    factors: Factors

    @classmethod
    def of(cls, cards: Sequence[DeviceCard], mask: np.ndarray) -> Shared:
        """The field of some cards."""
        demagnetisation, laplacian = _demagnetisation(cards[0], mask), _laplacian(cards[0], mask)
        laplacians = Blocks.of(laplacian[None, :, None], mask)
        return cls(Parities.of(mask), Blocks.of(demagnetisation, mask), laplacians, Factors.of(cards))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch."""
        factors = pick(self.factors, which)

        def field(m: Components) -> Components:
            folded = _folded(self.parities, m)
            side_by_side = jnp.concatenate(jnp.split(folded, 3), axis=1)
            exchange = jnp.concatenate(jnp.split(self.laplacian @ side_by_side, 3, axis=1))
            both = factors.stiffness * exchange - factors.magnetisation * (self.blocks @ folded)
            return combine((1, _unfolded(self.parities, both)), (1, factors.local(m)))

        return field


def _folded(parities: Parities, m: Components) -> jnp.ndarray:
    """All components in the basis, one after the other: (3 cells, n)."""
    return jnp.concatenate([parities.fold @ component for component in m])


def _unfolded(parities: Parities, folded: jnp.ndarray) -> Components:
    x, y, z = (parities.unfold @ component for component in jnp.split(folded, 3))
    return (x, y, z)


def _demagnetisation(card: DeviceCard, mask: np.ndarray) -> np.ndarray:
    """(3, cells, 3, cells): H[a, i] = -Ms sum_bj N[a, i, b, j] m[b, j]."""
    index = np.argwhere(mask)
    tensor = demag_tensor(mask.shape, card.geometry.cell)
    offset = index[:, None, :] - index[None, :, :] + np.array(mask.shape) - 1
    pair = tensor[:, offset[..., 0], offset[..., 1], offset[..., 2]]
    matrix = np.empty((3, len(index), 3, len(index)))
    for a in range(3):
        for b in range(3):
            matrix[a, :, b, :] = pair[PAIRS[a][b]]
    return matrix


def _laplacian(card: DeviceCard, mask: np.ndarray) -> np.ndarray:
    """(cells, cells): the sum over neighbours of (m_j - m_i) (d_x / d_ij)^2."""
    index = np.argwhere(mask)
    step = np.abs(index[:, None, :] - index[None, :, :])
    laplacian = np.zeros((len(index), len(index)))
    for axis, weight in enumerate(neighbour_weights(card)):
        neighbour = (step[..., axis] == 1) & (step.sum(axis=-1) == 1)
        laplacian += weight * (neighbour - np.diag(neighbour.sum(axis=1)))
    return laplacian
