"""The demagnetisation tensor between two rectangular cells.

Near pairs use the closed form of Newell, Williams and Dunlop, *J. Geophys. Res.*
**98**, 9551 (1993), which OOMMF uses too. It subtracts numbers that grow with the
cube of the distance, so far pairs would lose their digits (badly for thin cells).
There the same double average over the two cells is taken by Gauss-Legendre
quadrature of the point-dipole kernel, which converges geometrically with distance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.signal import fftconvolve

from spinloom.device_models.card import Geometry

_NEAR = 5.0
_ORDER = 5
PAIRS = ((0, 3, 4), (3, 1, 5), (4, 5, 2))
"""Which of the six components couples two axes."""


def demag_tensor(shape: tuple[int, int, int], cell: tuple[float, float, float]) -> np.ndarray:
    """Cell-averaged demagnetisation tensor for every offset of a mesh.

    Parameters
    ----------
    shape : (nx, ny, nz) tuple of int
        number of cells
    cell : (dx, dy, dz) tuple of float
        edge lengths (m); only their ratios matter

    Returns
    -------
    tensor : (6, 2 nx - 1, 2 ny - 1, 2 nz - 1) ndarray
        xx, yy, zz, xy, xz, yz for offsets from -(n-1) to n-1 along each axis;
        H_demag(i) = -Ms sum_j N(i - j) m(j)

    Examples
    --------
    >>> N = demag_tensor((1, 1, 1), (1.0, 1.0, 1.0))
    >>> bool(np.allclose(N[:3, 0, 0, 0], 1 / 3))
    True
    """
    edges = np.asarray(cell, dtype=np.float64) / max(cell)
    octant = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = octant * edges
    near = np.linalg.norm(offsets, axis=1) < _NEAR
    values = np.empty((6, len(octant)))
    values[:, near] = _newell(octant[near], edges)
    values[:, ~near] = _quadrature(offsets[~near], edges)
    return _mirror(values.reshape(6, *shape))


@lru_cache(maxsize=4096)
def demag_factors(geometry: Geometry) -> tuple[float, float, float]:
    """Demagnetisation factors of a layer that is magnetised uniformly, averaged over its volume.

    Parameters
    ----------
    geometry : Geometry

    Returns
    -------
    N : (3,) tuple of float
        along x, y and z; their sum is 1

    Examples
    --------
    >>> cube = Geometry(shape="box", size=(4e-9, 4e-9, 4e-9), cell=(2e-9, 2e-9, 2e-9))
    >>> [round(N, 4) for N in demag_factors(cube)]
    [0.3333, 0.3333, 0.3333]
    """
    mask = geometry.mask().astype(float)
    # How many pairs of cells are apart by each offset.
    pairs = np.round(fftconvolve(mask, mask[::-1, ::-1, ::-1]))
    x, y, z = (demag_tensor(geometry.shape_cells, geometry.cell)[:3] * pairs).sum(axis=(1, 2, 3)) / mask.sum()
    return (float(x), float(y), float(z))


def _mirror(octant: np.ndarray) -> np.ndarray:
    """Extend from non-negative offsets to all: diagonal terms are even, xy is odd in x and y, and so on.

    An odd term vanishes where its offset does; rounding would leave 1e-22 there, and
    a layer of one cell would no longer fall into an in-plane and a perpendicular block.
    """
    odd_axes = [(), (), (), (1, 2), (1, 3), (2, 3)]
    full = []
    for component, odd in zip(octant, odd_axes, strict=True):
        extended = component.copy()
        for axis in odd:
            extended[(slice(None),) * (axis - 1) + (0,)] = 0
        for axis in range(3):
            sign = -1.0 if axis + 1 in odd else 1.0
            mirrored = np.flip(np.delete(extended, 0, axis=axis), axis=axis)
            extended = np.concatenate([sign * mirrored, extended], axis=axis)
        full.append(extended)
    return np.stack(full)


def _newell(octant: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Closed form, in extended precision where the machine has it."""
    d = edges.astype(np.longdouble)
    r = octant.astype(np.longdouble) * d
    scale = -1 / (4 * np.longdouble(np.pi) * d.prod())

    def average(function: Callable[..., np.ndarray], axes: tuple[int, int, int]) -> np.ndarray:
        """Second difference of an antiderivative along each axis: weights 1, -2, 1."""
        total = np.zeros(len(r), dtype=np.longdouble)
        weights = {-1: 1, 0: -2, 1: 1}
        for i, wi in weights.items():
            for j, wj in weights.items():
                for k, wk in weights.items():
                    shifted = r + np.array([i, j, k]) * d
                    total += wi * wj * wk * function(*(shifted[:, axis] for axis in axes))
        return scale * total

    # f and g carry the sign that makes the self-demagnetisation factors positive.
    return np.stack(
        [
            average(_f, (0, 1, 2)),
            average(_f, (1, 0, 2)),
            average(_f, (2, 1, 0)),
            average(_g, (0, 1, 2)),
            average(_g, (0, 2, 1)),
            average(_g, (1, 2, 0)),
        ]
    ).astype(np.float64)


def _log_ratio(a: np.ndarray, b2: np.ndarray, r: np.ndarray) -> np.ndarray:
    """asinh(a / sqrt(b2)) with the limit 0 that its vanishing factor needs where b2 = 0."""
    safe = np.where(b2 > 0, b2, 1)
    return np.where(b2 > 0, np.arcsinh(a / np.sqrt(safe)), 0)


def _angle(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    safe = np.where(denominator == 0, 1, denominator)
    return np.where(denominator == 0, 0, np.arctan(numerator / safe))


def _f(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Newell's f (eq. 27), whose second differences give N_xx."""
    x2, y2, z2 = x * x, y * y, z * z
    r = np.sqrt(x2 + y2 + z2)
    return (
        y / 2 * (z2 - x2) * _log_ratio(y, x2 + z2, r)
        + z / 2 * (y2 - x2) * _log_ratio(z, x2 + y2, r)
        - x * y * z * _angle(y * z, x * r)
        + r / 6 * (2 * x2 - y2 - z2)
    )


def _g(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Newell's g (eq. 32), whose second differences give N_xy."""
    x2, y2, z2 = x * x, y * y, z * z
    r = np.sqrt(x2 + y2 + z2)
    return (
        x * y * z * _log_ratio(z, x2 + y2, r)
        + y / 6 * (3 * z2 - y2) * _log_ratio(x, y2 + z2, r)
        + x / 6 * (3 * z2 - x2) * _log_ratio(y, x2 + z2, r)
        - z * z2 / 6 * _angle(x * y, z * r)
        - z * y2 / 2 * _angle(x * z, y * r)
        - z * x2 / 2 * _angle(y * z, x * r)
        - x * y * r / 3
    )


def _quadrature(offsets: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Average of the dipole kernel over both cells.

    The two averages along an axis depend on the difference of the positions only, so they
    are one integral with the triangular weight 1 - |s|/d over -d < s < d.
    """
    if len(offsets) == 0:
        return np.empty((6, 0))
    nodes, weights = np.polynomial.legendre.leggauss(_ORDER)
    half = (nodes + 1) / 2
    s = np.concatenate([-half, half])
    w = np.concatenate([weights, weights]) / 2 * (1 - np.abs(s))
    total = np.zeros((6, len(offsets)))
    volume = edges.prod()
    for sx, wx in zip(s, w, strict=True):
        for sy, wy in zip(s, w, strict=True):
            for sz, wz in zip(s, w, strict=True):
                x, y, z = (offsets + np.array([sx, sy, sz]) * edges).T
                r2 = x * x + y * y + z * z
                factor = wx * wy * wz * volume / (4 * np.pi * r2 * r2 * np.sqrt(r2))
                total += factor * np.stack(
                    [r2 - 3 * x * x, r2 - 3 * y * y, r2 - 3 * z * z, -3 * x * y, -3 * x * z, -3 * y * z]
                )
    return total
