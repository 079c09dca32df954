"""The effective field by FFT, for meshes on which a matrix would cost more.

Demagnetisation is a zero-padded convolution, and so is the sum over neighbours that exchange
needs: one transform there and one back do both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.demag import PAIRS, demag_tensor
from spinloom.device_models.engines.factors import Factors, neighbour_weights
from spinloom.device_models.engines.flatness import Blend, alike, blend
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, pick

Shape = tuple[int, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["tensors", "neighbours", "degree", "cells", "factors", "blend"],
    meta_fields=["shape", "coupled"],
)
@dataclass(frozen=True, eq=False)
class Convolved:
    """The field on a grid whose axes are in order of their number of cells.

    The transform of real numbers keeps half of the last axis, so that has to be the longest.

    Attributes
    ----------
    tensors : (K, 6, 1, ...) array
        transform of the demagnetisation tensor; real, because each of its components is even in
        space, or odd along two axes. Several where cells are of different heights
    neighbours : (1 or 2, 1, ...) array
        transform of the sum over neighbours, weighted by (d_x / d)^2; where cells are of different heights, over
        those in the plane, and over those above and below
    degree : (1 or 2, cells, 1) array
        the same sums of the neighbours that are magnetic
    cells : three (cells,) int arrays
        where the magnetic cells are on the grid
    factors : Factors
    blend : Blend or None
        None where the cells of all devices have the same proportions
    shape : (3,) tuple of int
        of the grid
    coupled : (6,) tuple of bool
        which components of the tensor are not zero
    """

    tensors: Any
    neighbours: Any
    degree: Any
    cells: tuple[Any, ...]
    factors: Factors
    blend: Blend | None
    shape: Shape
    coupled: tuple[bool, ...]

    @classmethod
    def of(cls, cards: Sequence[DeviceCard], mask: np.ndarray) -> Convolved:
        """The field of some cards on meshes of the same shape, up to their scale and the height of their cells."""
        order = np.argsort(mask.shape, kind="stable")
        x, y, z = neighbour_weights(cards[0])
        if alike(cards):
            found, parts, ties = [demag_tensor(mask.shape, cards[0].geometry.cell)], None, [(x, y, z)]
        else:
            (found, parts), ties = blend(cards), [(x, y, 0.0), (0.0, 0.0, 1.0)]
        tensors = np.stack([tensor.transpose(0, *(order + 1)) for tensor in found])
        places, _ = in_order(mask)
        cells = tuple(places[axis] for axis in order)
        mask = mask.transpose(order)
        stars, degrees = zip(*(_neighbours(mask, np.array(weights)[order]) for weights in ties), strict=True)
        return cls(
            tensors=jnp.stack([jnp.asarray(_transform(tensor)[:, None]) for tensor in tensors]),
            neighbours=jnp.asarray(_transform(np.stack(stars))[:, None]),
            degree=jnp.asarray([degree[cells][:, None] for degree in degrees]),
            cells=tuple(jnp.asarray(axis) for axis in cells),
            factors=Factors.of(cards),
            blend=parts,
            shape=mask.shape,
            coupled=tuple(bool(component.any()) for component in tensors[0]),
        )

    def at(self, which: Any) -> FieldMap:
        """The map for a batch whose members are the devices ``which``."""
        factors = pick(self.factors, which)
        magnetisation, stiffness = (each[:, None, None, None] for each in factors[:2])
        there = (slice(None), slice(None), *self.cells)
        padded, axes = _padded(self.shape)
        tensor, (neighbours, degree), own = self._of(which)

        def pulls(waves: Any, a: int) -> list[Any]:
            return [tensor(PAIRS[a][b]) * waves[b] for b in range(3) if self.coupled[PAIRS[a][b]]]

        def field(m: Components) -> Components:
            # Members before the grid: then the axes that are transformed lie together in memory.
            grid = jnp.zeros((3, m[0].shape[1], *self.shape)).at[there].set(jnp.stack(m).swapaxes(1, 2))
            waves = jnp.fft.rfftn(grid, s=padded, axes=axes)
            rows = [stiffness * neighbours * waves[a] - magnetisation * sum(pulls(waves, a)) for a in range(3)]
            spread = jnp.fft.irfftn(jnp.stack(rows), s=padded, axes=axes)
            x, y, z = spread[there].swapaxes(1, 2)
            rest = combine((1, (x, y, z)), (-factors.stiffness * degree, m), (1, factors.local(m)))
            if own is None:
                return rest
            (x, y, z), scale = own, -factors.magnetisation
            return combine((1, rest), (scale, (x * m[0], y * m[1], z * m[2])))

        return field

    def _of(self, which: Any) -> tuple[Callable[[int], Any], tuple[Any, Any], Components | None]:
        """Components of the tensor, the sums over neighbours, and what a cell does to itself, of a batch."""
        if self.blend is None:
            return (lambda pair: self.tensors[0, pair]), (self.neighbours[0], self.degree[0]), None
        parts = pick(self.blend, which)
        layers = parts.layers[:, None, None, None]
        neighbours = self.neighbours[0] + layers * self.neighbours[1]
        degree = self.degree[0] + parts.layers * self.degree[1]

        def tensor(pair: int) -> Any:
            # Summed where it is used: as an array of its own it would be larger than m by far.
            return sum(
                weight[:, None, None, None] * each[pair]
                for weight, each in zip(parts.weights, self.tensors, strict=True)
            )

        return tensor, (neighbours, degree), parts.own


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
