"""Demagnetisation of devices whose cells are of different heights, from that of a few of them.

How much a cell's field weighs on another follows from the flatness of the cells, height over width, alone, and
smoothly: over the few tens of per cent by which the devices of a wafer differ, the tensors of a handful of flatnesses
span all others. What a cell does to itself changes most, and costs no matrix: that is exact for every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.demag import demag_tensor
from spinloom.device_models.engines.vectors import Components, components
from spinloom.device_models.errors import SpinloomError

TOLERANCE = 1e-7
"""By how much the field of any device may be off, relative to the largest that its tensor can make."""
MOST = 8
"""Flatnesses that a blend is made of at most."""
_NEAR = 5
"""Cells along each axis on which weights are fitted: all that is farther off is smoother still."""

Cell = tuple[float, float, float]


class Blend(NamedTuple):
    """How the demagnetisation of each device is made of K tensors, for n devices or members of a batch.

    Attributes
    ----------
    weights : (K, n) array
        of the tensors
    own : three (n,) arrays
        what they lack of the demagnetisation factors of a device's own cell
    layers : (n,) array
        (d_x / d_z)^2: how much a neighbour above or below counts in exchange
    """

    weights: Any
    own: Components
    layers: Any


def flatness(card: DeviceCard) -> float:
    """Height of a cell over its width."""
    return card.geometry.cell[2] / card.geometry.cell[0]


def alike(cards: Sequence[DeviceCard]) -> bool:
    """Whether the cells of these cards have the same proportions, and so the same tensor."""
    found = np.array([flatness(card) for card in cards])
    return bool(np.ptp(found) <= 1e-9 * found[0])


def blend(cards: Sequence[DeviceCard]) -> tuple[list[np.ndarray], Blend]:
    """The fewest tensors of which those of all cards are made to :data:`TOLERANCE`, and how.

    The first is that of a cell; the others are by how much those of other cells differ from it, but for what a cell
    does to itself: they are a few hundredths of the first.

    The cells' flatnesses are Chebyshev nodes of its logarithm over the range of the cards. Weights are those of least
    squares over the nearest offsets, which come an order of magnitude nearer than polynomials through the nodes.

    Parameters
    ----------
    cards : sequence of DeviceCard
        on meshes of the same shape, whose cells differ in height and scale alone

    Returns
    -------
    tensors : list of K (6, 2 nx - 1, 2 ny - 1, 2 nz - 1) ndarray
        as :func:`spinloom.device_models.engines.demag.demag_tensor` gives them
    blend : Blend
        of the cards

    Raises
    ------
    SpinloomError
        for flatnesses that are too far apart

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> from spinloom.device_models.spread import Spread, chip
    >>> cards = chip(load_card("data/devices/disc60.toml"), Spread(thickness=0.03), nodes=10, seed=0)
    >>> tensors, parts = blend(cards)
    >>> len(tensors), parts.weights.shape
    (3, (3, 10))
    """
    shape = cards[0].geometry.shape_cells
    near = (min(shape[0], _NEAR), min(shape[1], _NEAR), min(shape[2], _NEAR))
    ratio = cards[0].geometry.cell[1] / cards[0].geometry.cell[0]
    found, member = np.unique([flatness(card) for card in cards], return_inverse=True)
    wanted = [demag_tensor(near, (1.0, ratio, f)) for f in found]
    self_wanted, others = np.stack([_self(N) for N in wanted]), np.stack([_others(N).ravel() for N in wanted], axis=1)
    for count in range(2, MOST + 1):
        cells = [(1.0, ratio, float(f)) for f in _chebyshev(found.min(), found.max(), count)]
        basis = _differences(near, cells)
        known = np.stack([_others(N).ravel() for N in basis], axis=1)
        weights = np.linalg.lstsq(known, others, rcond=None)[0]
        missed = np.abs(others - known @ weights).sum(axis=0)
        if (missed <= TOLERANCE * np.array([np.abs(N).sum() for N in wanted])).all():
            own = self_wanted - weights[0][:, None] * _self(basis[0])
            layers = [(card.geometry.cell[0] / card.geometry.cell[2]) ** 2 for card in cards]
            parts = Blend(jnp.asarray(weights[:, member]), components(own[member]), jnp.asarray(layers))
            return _differences(shape, cells), parts
    raise SpinloomError(
        f"cards: the height of a cell over its width is from {found.min():.3g} to {found.max():.3g}; devices of one "
        "engine need cells of more similar proportions: lower the spread of diameter and thickness, or make several "
        "engines"
    )


def _chebyshev(low: float, high: float, count: int) -> np.ndarray:
    """Chebyshev nodes of the logarithm, that nearest to the middle first."""
    nodes = np.cos((np.arange(count) + 0.5) * np.pi / count)
    nodes = nodes[np.argsort(np.abs(nodes), kind="stable")]
    return np.sqrt(low * high) * (high / low) ** (nodes / 2)


def _differences(shape: tuple[int, int, int], cells: Sequence[Cell]) -> list[np.ndarray]:
    first, *rest = (demag_tensor(shape, cell) for cell in cells)
    return [first, *(_others(tensor - first) for tensor in rest)]


def _self(tensor: np.ndarray) -> np.ndarray:
    """Demagnetisation factors of a cell, (3,)."""
    return tensor[(slice(0, 3), *(n // 2 for n in tensor.shape[1:]))]


def _others(tensor: np.ndarray) -> np.ndarray:
    """The tensor without what a cell does to itself."""
    without = tensor.copy()
    without[(slice(None), *(n // 2 for n in tensor.shape[1:]))] = 0
    return without
