"""The effective field of free layers as a linear map of m: dense for small meshes, by FFT for large ones.

Exchange, demagnetisation and uniaxial anisotropy are all linear in m, so on the magnetic
cells their sum is one matrix, which the mirrors of the mesh split into four. Above about a
thousand cells it costs more than a convolution does. Devices that differ share what follows
from the mesh alone, and each has its own factors. All maps are pytrees, so that they are
arguments of compiled functions.
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
from spinloom.device_models.engines.mirrors import Mirrors, NoMirrors, in_order
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
        ``field.at(which)`` maps three components of (cells, n) each to the same, cells in the order of
        :func:`spinloom.device_models.engines.mirrors.in_order`, for a batch whose members are the
        devices ``which``, (n,) int
    """
    if mask.sum() > DENSE_LIMIT:
        return Convolved.of(cards, mask)
    same = all(_field_values(card) == _field_values(cards[0]) for card in cards)
    return Dense.of(cards[0], mask) if same else Shared.of(cards, mask)


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
        matrix = -magnetisation * _demagnetisation(card, mask)
        local = anisotropy * axis * axis.T
        for a in range(3):
            matrix[a, :, a, :] += stiffness * _laplacian(card, mask)
            for b in range(3):
                matrix[a, :, b, :] += local[a, b] * np.eye(mask.sum())
        return cls(*_split(matrix, in_order(mask)[1]))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch; all devices have the same."""
        return partial(_multiply, self)


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
        demagnetisation = Dense(*_split(_demagnetisation(cards[0], mask), in_order(mask)[1]))
        whole = _laplacian(cards[0], mask)
        laplacian = tuple(jnp.asarray(base.T @ whole @ base) for base in _bases(demagnetisation.mirrors, len(whole)))
        return cls(demagnetisation, laplacian, Factors.of(cards))

    def at(self, which: Any) -> FieldMap:
        """The map for a batch."""
        factors = pick(self.factors, which)
        mirrors = self.demagnetisation.mirrors

        def exchange(v: Any) -> Any:
            return mirrors.whole([block @ part for block, part in zip(self.laplacian, mirrors.parts(v), strict=True)])

        def field(m: Components) -> Components:
            return combine(
                (-factors.magnetisation, _multiply(self.demagnetisation, m)),
                (factors.stiffness, (exchange(m[0]), exchange(m[1]), exchange(m[2]))),
                (1, factors.local(m)),
            )

        return field


@partial(jax.tree_util.register_dataclass, data_fields=["matrix"], meta_fields=["rows"])
@dataclass(frozen=True, eq=False)
class Block:
    """A matrix on some parts of the components.

    Attributes
    ----------
    matrix : (size, size) array
    rows : tuple of (int, int, int)
        component, which of its parts, and how many rows that part has
    """

    matrix: Any
    rows: tuple[tuple[int, int, int], ...]


def _multiply(field: Dense, m: Components) -> Components:
    split = [field.mirrors.parts(v) for v in m]
    found: list[list[Any]] = [list(parts) for parts in split]
    for block in field.blocks:
        result = block.matrix @ jnp.concatenate([split[component][part] for component, part, _ in block.rows])
        at = 0
        for component, part, size in block.rows:
            found[component][part] = result[at : at + size]
            at += size
    x, y, z = (field.mirrors.whole(parts) for parts in found)
    return (x, y, z)


def _split(matrix: np.ndarray, mirrors: Mirrors | NoMirrors) -> tuple[tuple[Block, ...], Mirrors | NoMirrors]:
    """Blocks of a matrix (3, cells, 3, cells) that couple with each other, and the mirrors that it commutes with."""
    cells = matrix.shape[1]
    bases = _bases(mirrors, cells)
    coupled = np.abs(matrix).max(axis=(1, 3)) > 0
    groups = [[0, 1, 2]] if coupled[0, 2] or coupled[1, 2] else [[0, 1], [2]]
    if isinstance(mirrors, Mirrors) and _mixes(matrix, mirrors, bases):
        return _split(matrix, NoMirrors())
    blocks = []
    for part in range(len(bases)):
        for group in groups:
            used = [(component, mirrors.partner(component, part)) for component in group]
            rows = [[bases[p].T @ matrix[a, :, b, :] @ bases[q] for b, q in used] for a, p in used]
            sizes = tuple((component, p, bases[p].shape[1]) for component, p in used)
            blocks.append(Block(jnp.asarray(np.block(rows)), sizes))
    return tuple(blocks), mirrors


def _bases(mirrors: Mirrors | NoMirrors, cells: int) -> list[np.ndarray]:
    """(cells, size) for each part, orthonormal columns."""
    return [part.T for part in mirrors.parts(np.eye(cells))]


def _mixes(matrix: np.ndarray, mirrors: Mirrors, bases: list[np.ndarray]) -> bool:
    """Whether the map of a part has more than its partners."""
    rng = np.random.default_rng(0)
    most = 1e-10 * np.abs(matrix).sum(axis=(2, 3)).max()
    for part in range(len(bases)):
        for component in range(3):
            inside = bases[mirrors.partner(component, part)]
            answer = matrix[:, :, component, :] @ (inside @ rng.uniform(-1, 1, inside.shape[1]))
            for to in range(3):
                kept = bases[mirrors.partner(to, part)]
                if np.abs(answer[to] - kept @ (kept.T @ answer[to])).max(initial=0) > most:
                    return True
    return False


def _demagnetisation(card: DeviceCard, mask: np.ndarray) -> np.ndarray:
    """(3, cells, 3, cells): H[a, i] = -Ms sum_bj N[a, i, b, j] m[b, j]."""
    index = np.transpose(in_order(mask)[0])
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
    index = np.transpose(in_order(mask)[0])
    step = np.abs(index[:, None, :] - index[None, :, :])
    laplacian = np.zeros((len(index), len(index)))
    for axis, weight in enumerate(neighbour_weights(card)):
        neighbour = (step[..., axis] == 1) & (step.sum(axis=-1) == 1)
        laplacian += weight * (neighbour - np.diag(neighbour.sum(axis=1)))
    return laplacian
