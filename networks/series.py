"""What a periodic series asks of the nodes: how fast they have to be, and whether anything tells the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

FALLEN = 0.1
"""The band of a node ends where its response has fallen below this share of its largest."""
SLOW = 0.03
"""A series stands still where its slope is below this share of its largest."""
MUCH_BEYOND, MUCH_STILL = 0.05, 0.3
"""Share of the variance beyond the band, and of the period spent still, from which on it is worth a word."""
_GRID = 4000
CLOCK = "--clock 20 --clock-shape ramp --bias 8 --feedback 0"


class Demand(NamedTuple):
    """What a series asks of nodes.

    Attributes
    ----------
    harmonics : (n,) ndarray
        share of the variance in each harmonic, the first one first
    band : float or None
        where the nodes' response has fallen to a tenth (Hz); None if that is not known
    beyond : float or None
        share of the variance beyond that
    still : float
        share of the period in which the series stands still
    ticks : int or None
        the shortest period that leaves no more than :data:`MUCH_BEYOND` beyond the band
    """

    harmonics: np.ndarray
    band: float | None
    beyond: float | None
    still: float
    ticks: int | None


def demand(f: np.ndarray, tick: float, response: Callable[[np.ndarray], np.ndarray] | None = None) -> Demand:
    """What a target asks of the nodes that are to generate it.

    The linear response is a guide and no limit: driven hard, nodes make harmonics of their own.

    Parameters
    ----------
    f : (period_ticks, K) ndarray
        one period
    tick : float
        (s)
    response : callable, optional
        of a node, see :meth:`spinloom.reduced_models.node.ReducedNode.response`

    Returns
    -------
    demand : Demand

    Examples
    --------
    >>> f = np.sin(2 * np.pi * np.arange(100) / 100)[:, None]
    >>> low_pass = lambda frequencies: 1 / (1 + 1j * frequencies / 1e9)
    >>> asked = demand(f, 1e-11, low_pass)
    >>> round(asked.band / 1e9, 1), round(asked.beyond, 6), asked.still < 0.05
    (9.9, 0.0, True)
    """
    power = (np.abs(np.fft.rfft(f, axis=0)[1:]) ** 2).sum(axis=1)
    if len(f) % 2 == 0:  # the last of an even number stands for itself alone
        power[-1] /= 2
    shares = power / power.sum()
    slope = np.linalg.norm(np.roll(f, -1, axis=0) - np.roll(f, 1, axis=0), axis=1)
    still = float((slope < SLOW * slope.max()).mean())
    band = None if response is None else _band(tick, response)
    if band is None:
        return Demand(shares, None, None, still, None)
    frequency = np.arange(1, len(shares) + 1) / (len(f) * tick)
    needed = 1 + int(np.argmax(np.cumsum(shares) >= 1 - MUCH_BEYOND))
    return Demand(shares, band, float(shares[frequency > band].sum()), still, int(np.ceil(needed / (band * tick))))


def _band(tick: float, response: Callable[[np.ndarray], np.ndarray]) -> float | None:
    """The highest frequency, of those that ticks can hold, at which the response has not fallen."""
    frequencies = np.arange(1, _GRID + 1) * (0.5 / tick / _GRID)
    size = np.abs(response(frequencies))
    if not np.isfinite(size).all() or size.max() <= 0:
        return None
    return float(frequencies[size >= FALLEN * size.max()][-1])


def warning(name: str, asked: Demand, period_ticks: int, clocked: bool) -> str:
    """What is worth a word before a network is trained; empty if nothing is.

    Examples
    --------
    >>> warning("sine", Demand(np.ones(1), 7e9, 0.0, 0.02, 20), 84, False)
    ''
    """
    told = []
    if asked.beyond is not None and asked.band is not None and asked.beyond > MUCH_BEYOND:
        told.append(
            f"{asked.beyond:.0%} of its variance lies beyond {asked.band / 1e9:.2g} GHz, where the nodes answer with "
            f"less than {FALLEN:.0%} of their largest response; a period of {asked.ticks} ticks instead of "
            f"{period_ticks} leaves {MUCH_BEYOND:.0%} there (--period-ticks)"
        )
    if asked.still > MUCH_STILL and not clocked:
        told.append(
            f"it stands still for {asked.still:.0%} of its period, which leaves a free-running network nothing to keep "
            f"time by; give it a clock ({CLOCK})"
        )
    return f"{name}: {'; '.join(told)}" if told else ""


def figures(asked: Demand) -> dict[str, Any]:
    """The numbers of a demand, for results that are kept."""
    return {"band_hz": asked.band, "variance_beyond": asked.beyond, "still_share": asked.still}
