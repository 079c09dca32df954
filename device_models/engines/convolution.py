"""The effective field by FFT, for meshes on which a matrix would cost more.

Demagnetisation is a zero-padded convolution, and so is the sum over neighbours that exchange
needs: one transform there and one back do both. Axis after axis, so that no row of zeros is transformed, and member
after member of a batch, so that what is transformed stays near the processor.
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
from spinloom.device_models.engines.flatness import Blend, alike, blend
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.engines.vectors import Components, FieldMap, combine, pick

Shape = tuple[int, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["tensors", "neighbours", "degree", "places", "numbers", "factors", "blend"],
    meta_fields=["shape", "coupled"],
)
@dataclass(frozen=True, eq=False)
class Convolved:
    """The field on a grid whose axes are in order of their number of cells.

    The transform of real numbers keeps half of the last axis, so that has to be the longest.

    Attributes
    ----------
    tensors : (K, 6, ...) array
        transform of the demagnetisation tensor, in the order of :func:`_waves`, as all transforms; real, because each
        of its components is even in space, or odd along two axes. Several where cells are of different heights
    neighbours : (1 or 2, ...) array
        transform of the sum over neighbours, weighted by (d_x / d)^2; where cells are of different heights, over
        those in the plane, and over those above and below
    degree : (1 or 2, cells, 1) array
        the same sums of the neighbours that are magnetic
    places : (cells,) int array
        where the magnetic cells are on the grid, counted through
    numbers : (...) int array
        which magnetic cell each place of the grid is; their number where there is none
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
    places: Any
    numbers: Any
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
        flat = np.ravel_multi_index(cells, mask.shape)
        numbers = np.full(mask.size, len(flat))
        numbers[flat] = np.arange(len(flat))
        return cls(
            tensors=jnp.stack([jnp.asarray(_transform(tensor)) for tensor in tensors]),
            neighbours=jnp.asarray(_transform(np.stack(stars))),
            degree=jnp.asarray([degree[cells][:, None] for degree in degrees]),
            places=jnp.asarray(flat),
            numbers=jnp.asarray(numbers.reshape(mask.shape)),
            factors=Factors.of(cards),
            blend=parts,
            shape=mask.shape,
            coupled=tuple(bool(component.any()) for component in tensors[0]),
        )

    def at(self, which: Any) -> FieldMap:
        """The map for a batch whose members are the devices ``which``."""
        factors = pick(self.factors, which)
        parts = None if self.blend is None else pick(self.blend, which)
        degree = self.degree[0] if parts is None else self.degree[0] + parts.layers * self.degree[1]
        mixed = None if parts is None else (parts.weights.T, parts.layers)

        def field(m: Components) -> Components:
            rows = jnp.stack(m).transpose(2, 0, 1)
            own = (factors.magnetisation, factors.stiffness, mixed)
            own = jax.tree.map(lambda each: jnp.broadcast_to(each, (len(rows), *each.shape[1:])), own)
            x, y, z = jax.lax.map(self._of_member, (rows, *own)).transpose(1, 2, 0)
            rest = combine((1, (x, y, z)), (-factors.stiffness * degree, m), (1, factors.local(m)))
            if parts is None:
                return rest
            (x, y, z), scale = parts.own, -factors.magnetisation
            return combine((1, rest), (scale, (x * m[0], y * m[1], z * m[2])))

        return field

    def _of_member(self, member: tuple[Any, Any, Any, Any]) -> Any:
        """Exchange with neighbours and demagnetisation of one member, (3, cells) from m, (3, cells)."""
        m, magnetisation, stiffness, mixed = member
        tensors, neighbours = self.tensors[0], self.neighbours[0]
        if mixed is not None:
            weights, layers = mixed
            tensors = sum(weight * tensor for weight, tensor in zip(weights, self.tensors, strict=True))
            neighbours = neighbours + layers * self.neighbours[1]
        waves = _waves(jnp.pad(m, ((0, 0), (0, 1)))[:, self.numbers], self.shape)

        def row(a: int) -> Any:
            pulls = [tensors[PAIRS[a][b]] * waves[b] for b in range(3) if self.coupled[PAIRS[a][b]]]
            return stiffness * neighbours * waves[a] - magnetisation * sum(pulls)

        spread = _from_waves(jnp.stack([row(a) for a in range(3)]), self.shape)
        return spread.reshape(3, -1)[:, self.places]


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


def _others(shape: Shape) -> list[int]:
    """Axes to be transformed beside the last, counted from the end."""
    return [axis for axis in (-2, -3) if shape[axis] > 1]


def _waves(grid: Any, shape: Shape) -> Any:
    """Zero-padded transform of real fields on the grid; each axis comes last when it is transformed."""
    waves = jnp.fft.rfft(grid, n=2 * shape[-1])
    for axis in _others(shape):
        waves = jnp.fft.fft(jnp.moveaxis(waves, axis, -1), n=2 * shape[axis])
    return waves


def _from_waves(waves: Any, shape: Shape) -> Any:
    """Fields on the grid from their transform."""
    for axis in reversed(_others(shape)):
        waves = jnp.moveaxis(jnp.fft.ifft(waves)[..., : shape[axis]], -1, axis)
    return jnp.fft.irfft(waves, n=2 * shape[-1])[..., : shape[-1]]


def _transform(kernels: np.ndarray) -> np.ndarray:
    """Transforms of kernels that are given for offsets from -(n-1) to n-1."""
    shape = [(n + 1) // 2 for n in kernels.shape[1:]]
    space = np.zeros((len(kernels), *(2 * n if n > 1 else 1 for n in shape[:2]), 2 * shape[2]))
    space[(slice(None), *(slice(0, 2 * n - 1) for n in shape))] = kernels
    space = np.roll(space, [1 - n for n in shape], axis=(1, 2, 3))
    waves = np.fft.rfft(space)
    for axis in _others(tuple(shape)):
        waves = np.fft.fft(np.moveaxis(waves, axis, -1))
    return np.ascontiguousarray(waves.real)
