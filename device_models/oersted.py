"""The Oersted field of the current through a junction."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from spinloom.device_models.card import DeviceCard

_DIRECTION = {"up": 1.0, "down": -1.0}


def oersted_pattern(card: DeviceCard) -> np.ndarray:
    r"""Oersted field at full drive; at a drive u it is u times as strong.

    The current flows along z through a column with the outline of the free layer, uniform and
    long beyond the layer on both sides:
    :math:`H(r) = \frac{J}{2\pi}\int \hat z\times\frac{r-r'}{|r-r'|^2}\,d^2r'`, whose integral
    over the rectangle of a mesh cell is elementary.

    Parameters
    ----------
    card : DeviceCard

    Returns
    -------
    H : (nx, ny, nz, 3) ndarray
        at the centre of every cell of the mesh, magnetic or not (A/m); zero if ``torque.oersted`` is off

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> oersted_pattern(load_card("data/devices/disc60.toml")).any()
    np.False_
    """
    nx, ny, nz = card.geometry.shape_cells
    pattern = np.zeros((nx, ny, nz, 3))
    if card.torque.oersted == "off":
        return pattern
    dx, dy, _ = card.geometry.cell
    x = np.arange(1 - nx, nx)[:, None] * dx
    y = np.arange(1 - ny, ny)[None, :] * dy
    current = card.geometry.mask()[:, :, 0] * _DIRECTION[card.torque.oersted] * card.torque.J_max / (2 * np.pi)
    pattern[..., 0] = -fftconvolve(_pull(y, x, dy, dx), current, mode="valid")[..., None]
    pattern[..., 1] = fftconvolve(_pull(x, y, dx, dy), current, mode="valid")[..., None]
    return pattern


def _pull(x: np.ndarray, y: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Integral of x / (x^2 + y^2) over a rectangle dx by dy around each point (m)."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for side_x in (-1, 1):
        for side_y in (-1, 1):
            a, b = x + side_x * dx / 2, y + side_y * dy / 2
            # No corner of a cell is level with the centre of another, so neither logarithm nor ratio is singular.
            total += side_x * side_y * (b / 2 * np.log(a**2 + b**2) + a * np.arctan(b / a))
    return total
