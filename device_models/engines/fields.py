"""The effective field of free layers as a linear map of m: dense for small meshes, by FFT for large ones.

Exchange, demagnetisation and uniaxial anisotropy are all linear in m, so on the magnetic
cells their sum is one matrix, which the mirrors of the mesh split into four. Above about a
thousand cells it costs more than a convolution does. Devices that differ share what follows
from the mesh alone, and each has its own factors; where their cells are of different heights,
they share the matrices of a few heights. All maps are pytrees, so that they are arguments of
compiled functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.blocks import (
    Block,
    demagnetisation,
    laplacian,
    multiply,
    parts_of_cells,
    split_blocks,
)
from spinloom.device_models.engines.convolution import Convolved
from spinloom.device_models.engines.demag import demag_tensor
from spinloom.device_models.engines.factors import Factors, neighbour_weights
from spinloom.device_models.engines.flatness import Blend, alike, blend
from spinloom.device_models.engines.mirrors import Mirrors, NoMirrors, in_order
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, pick

DENSE_LIMIT = 1000


def linear_field(cards: Sequence[DeviceCard], mask: np.ndarray) -> Dense | Shared | Blended | Convolved:
    """The map m -> H (A/m) of exchange, demagnetisation and anisotropy, without the bias field.

    Parameters
    ----------
    cards : sequence of DeviceCard
        on meshes of the same shape, up to their scale and the height of their cells
    mask : (nx, ny, nz) bool ndarray
        the magnetic cells

    Returns
    -------
    field : Dense, Shared, Blended or Convolved
        ``field.at(which)`` maps three components of (cells, n) each to the same, cells in the order of
        :func:`spinloom.device_models.engines.mirrors.in_order`, for a batch whose members are the
        devices ``which``, (n,) int
    """
    if mask.sum() > DENSE_LIMIT:
        return Convolved.of(cards, mask)
    if all(_field_values(card) == _field_values(cards[0]) for card in cards):
        return Dense.of(cards[0], mask)
    return Shared.of(cards, mask) if alike(cards) else Blended.of(cards, mask)


def _field_values(card: DeviceCard) -> tuple:
    material = card.material
    return (card.geometry.cell, material.Ms, material.A, material.Ku, material.Ku_axis)


@partial(jax.tree_util.register_dataclass, data_fields=["blocks"], meta_fields=["mirrors"])
@dataclass(frozen=True, eq=False)
class Dense:
    """One matrix for devices whose field is the same, split into the blocks that couple with each other.

    Attributes
    ----------
    blocks : tuple of Block
    mirrors : Mirrors or NoMirrors
    """

    blocks: tuple[Block, ...]
    mirrors: Mirrors | NoMirrors

    @classmethod
    def of(cls, card: DeviceCard, mask: np.ndarray) -> Dense:
        """The whole field of one card."""
        magnetisation, stiffness, anisotropy, axis = (np.asarray(value) for value in Factors.of([card]))
        matrix = -magnetisation * demagnetisation(demag_tensor(mask.shape, card.geometry.cell), mask)
        local = anisotropy * axis * axis.T
        for a in range(3):
            matrix[a, :, a, :] += stiffness * laplacian(neighbour_weights(card), mask)
            for b in range(3):
                matrix[a, :, b, :] += local[a, b] * np.eye(mask.sum())
        return cls(*split_blocks(matrix, in_order(mask)[1]))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch; all devices have the same."""
        return partial(multiply, self.blocks, self.mirrors)


@partial(jax.tree_util.register_dataclass, data_fields=["demagnetisation", "laplacian", "factors"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class Shared:
    """Matrices of the mesh for devices that differ.

    Attributes
    ----------
    demagnetisation : Dense
        m -> -H / Ms
    laplacian : tuple of arrays
        sum over the six neighbours, in units of the cell's edge along x, for each part of a component
    factors : Factors
    """

    demagnetisation: Dense
    laplacian: tuple[jnp.ndarray, ...]
    factors: Factors

    @classmethod
    def of(cls, cards: Sequence[DeviceCard], mask: np.ndarray) -> Shared:
        """The field of some cards."""
        tensor = demag_tensor(mask.shape, cards[0].geometry.cell)
        shared = Dense(*split_blocks(demagnetisation(tensor, mask), in_order(mask)[1]))
        parts = _in_parts(laplacian(neighbour_weights(cards[0]), mask), shared.mirrors)
        return cls(shared, parts, Factors.of(cards))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch."""
        factors = pick(self.factors, which)
        mirrors = self.demagnetisation.mirrors

        def exchange(v: Any) -> Any:
            return mirrors.whole([block @ part for block, part in zip(self.laplacian, mirrors.parts(v), strict=True)])

        def field(m: Components) -> Components:
            return combine(
                (-factors.magnetisation, self.demagnetisation.at(which)(m)),
                (factors.stiffness, (exchange(m[0]), exchange(m[1]), exchange(m[2]))),
                (1, factors.local(m)),
            )

        return field


def _in_parts(matrix: np.ndarray, mirrors: Mirrors | NoMirrors) -> tuple[jnp.ndarray, ...]:
    return tuple(jnp.asarray(base.T @ matrix @ base) for base in parts_of_cells(mirrors, len(matrix)))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["blocks", "changes", "exchange", "factors", "blend"],
    meta_fields=["mirrors"],
)
@dataclass(frozen=True, eq=False)
class Blended:
    """Matrices of a few flatnesses for devices whose cells differ in height too.

    Attributes
    ----------
    blocks : tuple of Block
        m -> -H / Ms of one flatness
    changes : tuple of arrays
        for each block by how much those of other flatnesses differ, side by side: (size, (K - 1) size)
    exchange : tuple of tuples of arrays
        for each part of a component the sum over neighbours in the plane, in units of the cell's edge along x, and
        that over those above and below, where there are any
    factors : Factors
    blend : Blend
    mirrors : Mirrors or NoMirrors
    """

    blocks: tuple[Block, ...]
    changes: tuple[Any, ...]
    exchange: tuple[tuple[Any, ...], ...]
    factors: Factors
    blend: Blend
    mirrors: Mirrors | NoMirrors

    @classmethod
    def of(cls, cards: Sequence[DeviceCard], mask: np.ndarray) -> Blended:
        """The field of some cards."""
        tensors, parts = blend(cards)
        _, mirrors = in_order(mask)
        (blocks, mirrors), *others = (split_blocks(demagnetisation(tensor, mask), mirrors) for tensor in tensors)
        each = zip(*(blocks for blocks, _ in others), strict=True)
        changes = tuple(jnp.concatenate([block.matrix for block in same], axis=1) for same in each)
        x, y, _ = neighbour_weights(cards[0])
        directions = [(x, y, 0.0), (0.0, 0.0, 1.0)][: 1 + (mask.shape[2] > 1)]
        sums = (_in_parts(laplacian(weights, mask), mirrors) for weights in directions)
        return cls(blocks, changes, tuple(zip(*sums, strict=True)), Factors.of(cards), parts, mirrors)

    def quick(self) -> Blended:
        """The same with single precision where it costs nothing.

        The changes are a few hundredths of the whole, so its rounding is less than what a blend lacks. It is no
        smooth function of m any more, though, so a descent to where the torque vanishes would not arrive.
        """
        return replace(self, changes=tuple(matrix.astype(jnp.float32) for matrix in self.changes))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch."""
        factors, parts = pick(self.factors, which), pick(self.blend, which)
        share, *shares = -factors.magnetisation * parts.weights
        weights = jnp.stack(shares)[:, None, :].astype(self.changes[0].dtype)
        ties = (factors.stiffness, factors.stiffness * parts.layers)
        own = [-factors.magnetisation * missed for missed in parts.own]

        def bound(part: Any, matrices: Any) -> Any:
            return sum(tie * (matrix @ part) for tie, matrix in zip(ties, matrices, strict=False))

        def field(m: Components) -> Components:
            split = [self.mirrors.parts(v) for v in m]
            found: list[list[Any]] = [list(map(bound, parts, self.exchange)) for parts in split]
            for block, change in zip(self.blocks, self.changes, strict=True):
                v = jnp.concatenate([split[component][part] for component, part, _ in block.rows])
                weighted = (weights * v.astype(weights.dtype)).reshape(-1, v.shape[1])
                result = share * (block.matrix @ v) + (change @ weighted).astype(v.dtype)
                at = 0
                for component, part, size in block.rows:
                    found[component][part] += result[at : at + size]
                    at += size
            x, y, z = (self.mirrors.whole(parts) for parts in found)
            rest = (own[0] * m[0], own[1] * m[1], own[2] * m[2])
            return combine((1, (x, y, z)), (1, rest), (1, factors.local(m)))

        return field
