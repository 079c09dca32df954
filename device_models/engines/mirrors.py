"""Mirror images of magnetic cells: their order, and fields split into what is even and odd.

A disc, an ellipse and a rectangle look the same in two mirrors, x -> -x and y -> -y. A field on such a mesh
is the sum of four parts that are even or odd in each mirror, and a linear map that commutes with the mirrors
never mixes them: one matrix becomes four, of a sixteenth of its size each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

HALF = np.sqrt(0.5)

Cells = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Mirrors:
    """How cells in the order of :func:`in_order` are images of each other.

    Attributes
    ----------
    quarter : int
        cells with three images; the cells come quarter after quarter: as they are, mirrored in x, in y, in both
    along_x, along_y : int
        cells on a mirror, with one image in x, and in y; they follow, half after half
    """

    quarter: int
    along_x: int
    along_y: int

    def parts(self, v: Any) -> tuple[Any, ...]:
        """Orthogonal split of (cells, n) into parts that are even in both mirrors, odd in y, odd in x, odd in both."""
        q, a, b = self.quarter, self.along_x, self.along_y
        Q = [v[k * q : (k + 1) * q] for k in range(4)]
        X, Y = v[4 * q : 4 * q + 2 * a], v[4 * q + 2 * a : 4 * q + 2 * (a + b)]
        even, odd = (Q[0] + Q[1], Q[2] + Q[3]), (Q[0] - Q[1], Q[2] - Q[3])
        join = np.concatenate if isinstance(v, np.ndarray) else jnp.concatenate
        centre = v[4 * q + 2 * (a + b) :]
        return (
            join([0.5 * (even[0] + even[1]), HALF * (X[:a] + X[a:]), HALF * (Y[:b] + Y[b:]), centre]),
            join([0.5 * (even[0] - even[1]), HALF * (Y[:b] - Y[b:])]),
            join([0.5 * (odd[0] + odd[1]), HALF * (X[:a] - X[a:])]),
            0.5 * (odd[0] - odd[1]),
        )

    def whole(self, parts: Any) -> Any:
        """The sum of these parts: the inverse of :meth:`parts`."""
        q, a, b = self.quarter, self.along_x, self.along_y
        both, odd_y, odd_x, odd = parts
        even_x = (0.5 * (both[:q] + odd_y[:q]), 0.5 * (both[:q] - odd_y[:q]))
        uneven = (0.5 * (odd_x[:q] + odd), 0.5 * (odd_x[:q] - odd))
        x, x_odd = HALF * both[q : q + a], HALF * odd_x[q:]
        y, y_odd = HALF * both[q + a : q + a + b], HALF * odd_y[q:]
        return jnp.concatenate(
            [
                *(even_x[0] + uneven[0], even_x[0] - uneven[0], even_x[1] + uneven[1], even_x[1] - uneven[1]),
                *(x + x_odd, x - x_odd, y + y_odd, y - y_odd),
                both[q + a + b :],
            ]
        )

    @staticmethod
    def partner(component: int, part: int) -> int:
        """Which part of m_x, m_y or m_z goes with this part of m_x: N_xy is odd in both mirrors, N_xz in x only."""
        return (part, part ^ 3, part ^ 2)[component]


@dataclass(frozen=True)
class NoMirrors:
    """For meshes without images, or maps that mix them: one part, which is the whole."""

    def parts(self, v: Any) -> tuple[Any, ...]:
        """The one part."""
        return (v,)

    def whole(self, parts: Any) -> Any:
        """The one part."""
        return parts[0]

    @staticmethod
    def partner(component: int, part: int) -> int:
        """The same part."""
        return part


def in_order(mask: np.ndarray) -> tuple[Cells, Mirrors | NoMirrors]:
    """Magnetic cells, mirror images together.

    Parameters
    ----------
    mask : (nx, ny, nz) bool ndarray

    Returns
    -------
    cells : three (cells,) int arrays
        ``grid[cells]`` are the values of a grid at the magnetic cells
    mirrors : Mirrors or NoMirrors

    Examples
    --------
    >>> cells, mirrors = in_order(np.ones((3, 2, 1), dtype=bool))
    >>> cells[0].tolist(), cells[1].tolist()
    ([2, 0, 2, 0, 1, 1], [1, 1, 0, 0, 1, 0])
    >>> v = np.arange(6.0)[:, None]
    >>> [len(part) for part in mirrors.parts(v)], bool(np.allclose(mirrors.whole(mirrors.parts(v)), v))
    ([2, 2, 1, 1], True)
    """
    if (mask != mask[::-1]).any() or (mask != mask[:, ::-1]).any():
        x, y, z = np.nonzero(mask)
        return (x, y, z), NoMirrors()
    nx, ny, _ = mask.shape
    cells = np.argwhere(mask)
    # Twice the distance from either mirror.
    right, up = 2 * cells[:, 0] - (nx - 1), 2 * cells[:, 1] - (ny - 1)

    def mirrored(some: np.ndarray, in_x: bool, in_y: bool) -> np.ndarray:
        x, y, z = some.T
        return np.stack([nx - 1 - x if in_x else x, ny - 1 - y if in_y else y, z], axis=1)

    quarter, along_x = cells[(right > 0) & (up > 0)], cells[(right > 0) & (up == 0)]
    along_y, centre = cells[(right == 0) & (up > 0)], cells[(right == 0) & (up == 0)]
    images = [mirrored(quarter, x, y) for y in (False, True) for x in (False, True)]
    images += [mirrored(along_x, x, False) for x in (False, True)]
    images += [mirrored(along_y, False, y) for y in (False, True)]
    x, y, z = np.concatenate([*images, centre]).T
    return (x, y, z), Mirrors(len(quarter), len(along_x), len(along_y))
