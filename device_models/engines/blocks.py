"""Matrices of a mesh, split by its mirrors into the blocks that couple with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.engines.demag import PAIRS
from spinloom.device_models.engines.mirrors import Mirrors, NoMirrors, in_order
from spinloom.device_models.engines.vectors import Components


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


def multiply(blocks: Sequence[Block], mirrors: Mirrors | NoMirrors, m: Components) -> Components:
    """The product with a matrix that was split into blocks."""
    split = [mirrors.parts(v) for v in m]
    found: list[list[Any]] = [list(parts) for parts in split]
    for block in blocks:
        result = block.matrix @ jnp.concatenate([split[component][part] for component, part, _ in block.rows])
        at = 0
        for component, part, size in block.rows:
            found[component][part] = result[at : at + size]
            at += size
    x, y, z = (mirrors.whole(parts) for parts in found)
    return (x, y, z)


def split_blocks(matrix: np.ndarray, mirrors: Mirrors | NoMirrors) -> tuple[tuple[Block, ...], Mirrors | NoMirrors]:
    """Blocks of a matrix (3, cells, 3, cells) that couple with each other, and the mirrors that it commutes with."""
    cells = matrix.shape[1]
    bases = parts_of_cells(mirrors, cells)
    coupled = np.abs(matrix).max(axis=(1, 3)) > 0
    groups = [[0, 1, 2]] if coupled[0, 2] or coupled[1, 2] else [[0, 1], [2]]
    if isinstance(mirrors, Mirrors) and _mixes(matrix, mirrors, bases):
        return split_blocks(matrix, NoMirrors())

    @cache
    def from_parts(a: int, b: int) -> Sequence[Any]:
        return mirrors.parts(matrix[a, :, b, :])

    blocks = []
    for part in range(len(bases)):
        for group in groups:
            used = [(component, mirrors.partner(component, part)) for component in group]
            rows = [[mirrors.parts(from_parts(a, b)[p].T)[q].T for b, q in used] for a, p in used]
            sizes = tuple((component, p, bases[p].shape[1]) for component, p in used)
            blocks.append(Block(jnp.asarray(np.block(rows)), sizes))
    return tuple(blocks), mirrors


def parts_of_cells(mirrors: Mirrors | NoMirrors, cells: int) -> list[np.ndarray]:
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


def demagnetisation(tensor: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(3, cells, 3, cells): H[a, i] = -Ms sum_bj N[a, i, b, j] m[b, j], from the tensor for every offset."""
    index = np.transpose(in_order(mask)[0])
    offset = index[:, None, :] - index[None, :, :] + np.array(mask.shape) - 1
    pair = tensor[:, offset[..., 0], offset[..., 1], offset[..., 2]]
    matrix = np.empty((3, len(index), 3, len(index)))
    for a in range(3):
        for b in range(3):
            matrix[a, :, b, :] = pair[PAIRS[a][b]]
    return matrix


def laplacian(weights: tuple[float, float, float], mask: np.ndarray) -> np.ndarray:
    """(cells, cells): the sum over neighbours of (m_j - m_i), weighted by the axis along which they lie."""
    index = np.transpose(in_order(mask)[0])
    step = np.abs(index[:, None, :] - index[None, :, :])
    matrix = np.zeros((len(index), len(index)))
    for axis, weight in enumerate(weights):
        neighbour = (step[..., axis] == 1) & (step.sum(axis=-1) == 1)
        matrix += weight * (neighbour - np.diag(neighbour.sum(axis=1)))
    return matrix
