"""The effective field by FFT, for meshes on which a matrix would cost more.

Demagnetisation is a zero-padded convolution, and so is the sum over neighbours that exchange
needs: one transform there and one back do both.
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
from spinloom.device_models.engines.demag import PAIRS, demag_tensor
from spinloom.device_models.engines.factors import Factors, neighbour_weights
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, pick

Shape = tuple[int, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["tensor", "neighbours", "degree", "cells", "factors"],
    meta_fields=["shape", "coupled"],
)
@dataclass(frozen=True, eq=False)
class Convolved:
    """The field on a grid whose axes are in order of their number of cells.

    The transform of real numbers keeps half of the last axis, so that has to be the longest.

    Attributes
    ----------
    tensor : (6, 1, ...) array
        transform of the demagnetisation tensor; real, because each of its components is even in
        space, or odd along two axes
    neighbours : (1, ...) array
        transform of the sum over neighbours, weighted by (d_x / d)^2
    degree : (cells, 1) array
        the same sum of the neighbours that are magnetic
    cells : three (cells,) int arrays
        where the magnetic cells are on the grid
    factors : Factors
    shape : (3,) tuple of int
        of the grid
    coupled : (6,) tuple of bool
        which components of the tensor are not zero
    """

    tensor: Any
    neighbours: Any
    degree: Any
    cells: tuple[Any, ...]
    factors: Factors
    shape: Shape
    coupled: tuple[bool, ...]

    @classmethod
    def of(cls, cards: Sequence[DeviceCard], mask: np.ndarray) -> Convolved:
        """The field of some cards on meshes of the same shape, up to their scale."""
        order = np.argsort(mask.shape, kind="stable")
        tensor = demag_tensor(mask.shape, cards[0].geometry.cell).transpose(0, *(order + 1))
        weights = np.array(neighbour_weights(cards[0]))[order]
        found, _ = in_order(mask)
        cells = tuple(found[axis] for axis in order)
        mask = mask.transpose(order)
        star, degree = _neighbours(mask, weights)
        return cls(
            tensor=jnp.asarray(_transform(tensor)[:, None]),
            neighbours=jnp.asarray(_transform(star[None])),
            degree=jnp.asarray(degree[cells][:, None]),
            cells=tuple(jnp.asarray(axis) for axis in cells),
            factors=Factors.of(cards),
            shape=mask.shape,
            coupled=tuple(bool(component.any()) for component in tensor),
        )

    def at(self, which: Any) -> FieldMap:
        """The map for a batch whose members are the devices ``which``."""
        factors = pick(self.factors, which)
        magnetisation, stiffness = (each[:, None, None, None] for each in factors[:2])
        there = (slice(None), slice(None), *self.cells)
        padded, axes = _padded(self.shape)

        def field(m: Components) -> Components:
            # Members before the grid: then the axes that are transformed lie together in memory.
            grid = jnp.zeros((3, m[0].shape[1], *self.shape)).at[there].set(jnp.stack(m).swapaxes(1, 2))
            waves = jnp.fft.rfftn(grid, s=padded, axes=axes)
            rows = [
                stiffness * self.neighbours * waves[a] - magnetisation * sum(self._pulls(waves, a)) for a in range(3)
            ]
            spread = jnp.fft.irfftn(jnp.stack(rows), s=padded, axes=axes)
            x, y, z = spread[there].swapaxes(1, 2)
            return combine((1, (x, y, z)), (-factors.stiffness * self.degree, m), (1, factors.local(m)))

        return field

    def _pulls(self, waves: Any, a: int) -> list[Any]:
        """What each component of m adds to component a of the field."""
        return [self.tensor[PAIRS[a][b]] * waves[b] for b in range(3) if self.coupled[PAIRS[a][b]]]


def _neighbours(mask: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum over neighbours for every offset of the grid, and over the magnetic ones of each cell."""
    star = np.zeros([2 * n - 1 for n in mask.shape])
    degree = np.zeros(mask.shape)
    around = np.pad(mask, 1)
    for axis, (n, weight) in enumerate(zip(mask.shape, weights, strict=True)):
        for step in (-1, 1) if n > 1 else ():
            offset = [0, 0, 0]
            offset[axis] = step
            star[tuple(k - 1 + o for k, o in zip(mask.shape, offset, strict=True))] = weight
            degree += weight * around[tuple(slice(1 + o, k + 1 + o) for k, o in zip(mask.shape, offset, strict=True))]
    return star, degree


def _padded(shape: Shape) -> tuple[Shape, Shape]:
    """Padded lengths of the axes to be transformed, counted from the end, and which they are."""
    axes = tuple(axis for axis in (-3, -2, -1) if shape[axis] > 1 or axis == -1)
    return tuple(2 * shape[axis] for axis in axes), axes


def _transform(kernels: np.ndarray) -> np.ndarray:
    """Transforms of kernels that are given for offsets from -(n-1) to n-1."""
    shape = [(n + 1) // 2 for n in kernels.shape[1:]]
    lengths, axes = _padded(tuple(shape))
    space = np.zeros((len(kernels), *(2 * n if n > 1 else 1 for n in shape[:2]), 2 * shape[2]))
    space[(slice(None), *(slice(0, 2 * n - 1) for n in shape))] = kernels
    space = np.roll(space, [1 - n for n in shape], axis=(1, 2, 3))
    return np.fft.rfftn(space, s=lengths, axes=axes).real
