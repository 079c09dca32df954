"""The effective field of free layers as a linear map of m: dense for small meshes, by FFT for large ones.

Exchange, demagnetisation and uniaxial anisotropy are all linear in m, so on the magnetic
cells their sum is one matrix. Above about a thousand cells the matrix costs more than
a convolution does. Devices that differ share what follows from the mesh alone, and each has
its own factors. All maps are pytrees, so that they are arguments of compiled functions.
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
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, pick

DENSE_LIMIT = 1000


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


@partial(jax.tree_util.register_dataclass, data_fields=["blocks"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class Dense:
    """One matrix for devices whose field is the same, split into the blocks that couple with each other.

    Attributes
    ----------
    blocks : tuple of arrays
        either of all components, or of x with y and of z
    """

    blocks: tuple[jnp.ndarray, ...]

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
        return cls(_blocks(matrix))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch; all devices have the same."""
        return partial(_multiply, self.blocks)


@partial(jax.tree_util.register_dataclass, data_fields=["blocks", "laplacian", "factors"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class Shared:
    """Matrices of the mesh for devices that differ.

    Attributes
    ----------
    blocks : tuple of arrays
        of the demagnetisation tensor, as those of :class:`Dense`
    laplacian : (cells, cells) array
        of the six neighbours, in units of the cell's edge along x
    factors : Factors
    """

    blocks: tuple[jnp.ndarray, ...]
    laplacian: jnp.ndarray
    factors: Factors

    @classmethod
    def of(cls, cards: Sequence[DeviceCard], mask: np.ndarray) -> Shared:
        """The field of some cards."""
        blocks = _blocks(_demagnetisation(cards[0], mask))
        return cls(blocks, jnp.asarray(_laplacian(cards[0], mask)), Factors.of(cards))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch."""
        factors = pick(self.factors, which)

        def field(m: Components) -> Components:
            x, y, z = jnp.split(self.laplacian @ jnp.concatenate(m, axis=1), 3, axis=1)
            return combine(
                (-factors.magnetisation, _multiply(self.blocks, m)),
                (factors.stiffness, (x, y, z)),
                (1, factors.local(m)),
            )

        return field


def _multiply(blocks: tuple[jnp.ndarray, ...], m: Components) -> Components:
    groups = ((0, 1), (2,)) if len(blocks) == 2 else ((0, 1, 2),)
    parts: list[jnp.ndarray] = []
    for group, block in zip(groups, blocks, strict=True):
        parts.extend(jnp.split(block @ jnp.concatenate([m[a] for a in group]), len(group)))
    return (parts[0], parts[1], parts[2])


def _blocks(matrix: np.ndarray) -> tuple[jnp.ndarray, ...]:
    """The blocks of a matrix (3, cells, 3, cells) that couple with each other."""
    cells = matrix.shape[1]
    coupled = np.abs(matrix).max(axis=(1, 3)) > 0
    groups = [[0, 1, 2]] if coupled[0, 2] or coupled[1, 2] else [[0, 1], [2]]
    return tuple(jnp.asarray(matrix[g][:, :, g].reshape(len(g) * cells, len(g) * cells)) for g in groups)


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
