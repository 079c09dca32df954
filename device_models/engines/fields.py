"""The effective field of a free layer as a linear map of m, dense for small meshes and by FFT for large ones.

Exchange, demagnetisation and uniaxial anisotropy are all linear in m, so on the magnetic
cells their sum is one matrix. Above about a thousand cells the matrix costs more than
a convolution does. Both take and give the three components of a vector field, each an
array of shape (cells, devices): kept apart, XLA fuses what is done to them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.device_models.engines.demag import demag_tensor

DENSE_LIMIT = 1000
Components = tuple[jnp.ndarray, jnp.ndarray, jnp.ndarray]
FieldMap = Callable[[Components], Components]
_PAIRS = {(0, 0): 0, (1, 1): 1, (2, 2): 2, (0, 1): 3, (0, 2): 4, (1, 2): 5}


def linear_field(card: DeviceCard, mask: np.ndarray) -> FieldMap:
    """The map m -> H (A/m) of exchange, demagnetisation and anisotropy, without the bias field.

    Parameters
    ----------
    card : DeviceCard
    mask : (nx, ny, nz) bool ndarray
        the magnetic cells

    Returns
    -------
    field : callable
        three components of (cells, devices) each -> the same
    """
    return dense_field(card, mask) if mask.sum() <= DENSE_LIMIT else fft_field(card, mask)


def dense_field(card: DeviceCard, mask: np.ndarray) -> FieldMap:
    """One matrix on the magnetic cells, split into the blocks that couple with each other."""
    matrix = _matrix(card, mask)
    cells = matrix.shape[1]
    coupled = np.abs(matrix).max(axis=(1, 3)) > 0
    in_plane_only = not (coupled[0, 2] or coupled[1, 2])
    groups = [[0, 1], [2]] if in_plane_only else [[0, 1, 2]]
    blocks = [jnp.asarray(matrix[g][:, :, g].reshape(len(g) * cells, len(g) * cells)) for g in groups]

    def field(m: Components) -> Components:
        parts: list[jnp.ndarray] = []
        for g, block in zip(groups, blocks, strict=True):
            parts.extend(jnp.split(block @ jnp.concatenate([m[a] for a in g]), len(g)))
        return (parts[0], parts[1], parts[2])

    return field


def _matrix(card: DeviceCard, mask: np.ndarray) -> np.ndarray:
    """(3, cells, 3, cells): H[a, i] = sum_bj matrix[a, i, b, j] m[b, j]."""
    index = np.argwhere(mask)
    cells = len(index)
    tensor = demag_tensor(mask.shape, card.geometry.cell)
    offset = index[:, None, :] - index[None, :, :] + np.array(mask.shape) - 1
    pair = tensor[:, offset[..., 0], offset[..., 1], offset[..., 2]]
    matrix = np.empty((3, cells, 3, cells))
    for a in range(3):
        for b in range(3):
            matrix[a, :, b, :] = -card.material.Ms * pair[_PAIRS[min(a, b), max(a, b)]]
    laplacian = np.zeros((cells, cells))
    for axis, d in enumerate(card.geometry.cell):
        step = np.abs(index[:, None, :] - index[None, :, :])
        neighbour = (step[..., axis] == 1) & (step.sum(axis=-1) == 1)
        laplacian += (neighbour - np.diag(neighbour.sum(axis=1))) / d**2
    exchange = 2 * card.material.A / (MU0 * card.material.Ms) * laplacian
    anisotropy = _anisotropy(card)
    for a in range(3):
        matrix[a, :, a, :] += exchange
        for b in range(3):
            matrix[a, :, b, :] += anisotropy[a, b] * np.eye(cells)
    return matrix


def _anisotropy(card: DeviceCard) -> np.ndarray:
    axis = np.array(card.material.Ku_axis)
    return 2 * card.material.Ku / (MU0 * card.material.Ms) * np.outer(axis, axis)


def fft_field(card: DeviceCard, mask: np.ndarray) -> FieldMap:
    """Demagnetisation as a zero-padded convolution, exchange as a six-neighbour stencil."""
    shape = mask.shape
    padded = tuple(1 if n == 1 else 2 * n for n in shape)
    tensor = demag_tensor(shape, card.geometry.cell)
    kernel = np.zeros((6, *padded))
    kernel[(slice(None), *(slice(0, 2 * n - 1) for n in shape))] = tensor
    kernel = np.roll(kernel, [-(n - 1) for n in shape], axis=(1, 2, 3))
    spectrum = jnp.asarray(-card.material.Ms * np.fft.rfftn(kernel, axes=(1, 2, 3)))[..., None]
    anisotropy = jnp.asarray(_anisotropy(card))
    stiffness = 2 * card.material.A / (MU0 * card.material.Ms)
    inside = jnp.asarray(mask.astype(float))[None, ..., None]
    cells = np.nonzero(mask)

    def exchange(grid: jnp.ndarray) -> jnp.ndarray:
        total = jnp.zeros_like(grid)
        for axis, d in enumerate(card.geometry.cell, start=1):
            width = [(0, 0)] * 5
            width[axis] = (1, 1)
            m, filled = jnp.pad(grid, width), jnp.pad(inside, width)
            for low, high in ((0, -2), (2, None)):
                at = (slice(None),) * axis + (slice(low, high),)
                total += filled[at] * (m[at] - grid) / d**2
        return stiffness * total

    def field(m: Components) -> Components:
        vectors = jnp.stack(m)
        grid = jnp.zeros((3, *shape, vectors.shape[-1]), dtype=vectors.dtype).at[(slice(None), *cells)].set(vectors)
        f = jnp.fft.rfftn(grid, s=padded, axes=(1, 2, 3))
        rows = [sum(spectrum[_PAIRS[min(a, b), max(a, b)]] * f[b] for b in range(3)) for a in range(3)]
        demag = jnp.fft.irfftn(jnp.stack(rows), s=padded, axes=(1, 2, 3))
        demag = demag[:, : shape[0], : shape[1], : shape[2]]
        total = (demag + exchange(grid))[(slice(None), *cells)] + jnp.einsum("ab,bcn->acn", anisotropy, vectors)
        return (total[0], total[1], total[2])

    return field
