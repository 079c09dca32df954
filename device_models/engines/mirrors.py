"""Mirror symmetry of a mesh: what is even and what is odd in x and y do not mix, and a matrix falls into blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.csgraph import connected_components

ROUNDING = 1e-12
"""What is below this share of the largest entry of a matrix is zero by symmetry, but for rounding."""


class Rows(NamedTuple):
    """A matrix with few entries in each row: ``weights`` (g, rows, 1) of the columns ``columns`` (g, rows)."""

    columns: Any
    weights: Any

    @classmethod
    def of(cls, matrix: np.ndarray) -> Rows:
        """The entries of a dense matrix that are not zero."""
        most = int((matrix != 0).sum(axis=1).max())
        columns = np.argsort(matrix == 0, axis=1, kind="stable")[:, :most]
        weights = np.take_along_axis(matrix, columns, axis=1)
        return cls(jnp.asarray(columns.T), jnp.asarray(weights.T[..., None]))

    def __matmul__(self, values: Any) -> Any:
        """The product with (columns, n) values."""
        return sum(self.weights[k] * values[self.columns[k]] for k in range(len(self.columns)))


@partial(jax.tree_util.register_dataclass, data_fields=["fold", "unfold"], meta_fields=["bounds"])
@dataclass(frozen=True, eq=False)
class Parities:
    """An orthonormal basis of the scalar fields on a mesh, each even or odd under the mesh's mirrors.

    Attributes
    ----------
    fold, unfold : Rows
        from values in the cells, (cells, n), to the coefficients of the basis, and back
    bounds : tuple of int
        where in the basis each parity begins, and the end
    """

    fold: Rows
    unfold: Rows
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, mask: np.ndarray) -> Parities:
        """The basis of a mesh, (nx, ny, nz) bool; of one parity if the mesh has no mirror."""
        basis, bounds = _basis(mask)
        return cls(Rows.of(basis), Rows.of(basis.T), bounds)


def _basis(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """The basis, (members, cells), and the bounds of its parities."""
    index = np.argwhere(mask)
    cells = len(index)
    number = np.zeros(mask.shape, dtype=int)
    number[mask] = np.arange(cells)
    parts = [np.eye(cells)]
    for axis in (0, 1):
        if (mask != np.flip(mask, axis)).any():
            continue
        image = index.copy()
        image[:, axis] = mask.shape[axis] - 1 - image[:, axis]
        mirror = number[tuple(image.T)]
        parts = [_distinct(part + sign * part[:, mirror]) for part in parts for sign in (1, -1)]
    return np.concatenate(parts), (0, *np.cumsum([len(part) for part in parts]).tolist())


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length, without those that are zero or were there before."""
    rows = rows[np.abs(rows).any(axis=1)]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    again = np.tril(np.abs(rows @ rows.T) > 0.5, -1).any(axis=1)
    return rows[~again]


@partial(jax.tree_util.register_dataclass, data_fields=["blocks"], meta_fields=["groups"])
@dataclass(frozen=True, eq=False)
class Blocks:
    """A matrix in the basis of parities, without the blocks that are zero.

    Attributes
    ----------
    blocks : tuple of (k, k) arrays
        one for each group of parities, of whatever component, that couple with each other
    groups : tuple of tuple of (int, int)
        begin and end of each parity of a group, in all rows
    """

    blocks: tuple[Any, ...]
    groups: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, matrix: np.ndarray, mask: np.ndarray) -> Blocks:
        """From a matrix on the cells, (components, cells, components, cells)."""
        basis, bounds = _basis(mask)
        components, cells = matrix.shape[:2]
        size = components * cells
        turned = np.einsum("ik,akbl->aibl", basis, matrix, optimize=True)
        whole = np.einsum("aibl,jl->aibj", turned, basis, optimize=True).reshape(size, size)
        spans = [(a * cells + i, a * cells + j) for a in range(components) for i, j in pairwise(bounds) if i < j]
        limit = ROUNDING * np.abs(whole).max()
        coupled = [[np.abs(whole[slice(*row), slice(*column)]).max() > limit for column in spans] for row in spans]
        count, group = connected_components(np.array(coupled))
        groups = [[span for span, member in zip(spans, group, strict=True) if member == k] for k in range(count)]
        rows = [np.concatenate([np.arange(*span) for span in spans]) for spans in groups]
        return cls(tuple(jnp.asarray(whole[np.ix_(r, r)]) for r in rows), tuple(map(tuple, groups)))

    def __matmul__(self, values: Any) -> Any:
        """The product with coefficients of all components one after the other, (components cells, n)."""
        pieces: dict[int, Any] = {}
        for block, spans in zip(self.blocks, self.groups, strict=True):
            product, at = block @ jnp.concatenate([values[begin:end] for begin, end in spans]), 0
            for begin, end in spans:
                pieces[begin] = product[at : at + end - begin]
                at += end - begin
        return jnp.concatenate([pieces[begin] for begin in sorted(pieces)])
