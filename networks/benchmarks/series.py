"""Series of the field's benchmarks, by their canonical definitions, each with its source.

Libraries differ: some default to NARMA of order 30, some to other coefficients. What is here is stated in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.tasks import waveform

NARMA_INPUT = 0.5
"""NARMA-10 is driven by numbers uniform between 0 and this."""
SAMPLES_PER_PERIOD = 8
"""Of a sine or a square in :func:`sine_square`."""
_NARMA_LIMIT = 10.0
_DELAY_STEPS = 10
"""Runge-Kutta steps in one unit of the Mackey-Glass time."""
_LORENZ_STEPS = 10
"""Runge-Kutta steps between two samples of Lorenz's system."""


def uniform(n: int, rng: np.random.Generator) -> np.ndarray:
    """Independent numbers uniform in [-1, 1], (n,)."""
    return rng.uniform(-1, 1, n)


def binary(n: int, rng: np.random.Generator) -> np.ndarray:
    """Independent fair coins, -1 or 1, (n,)."""
    return 2.0 * rng.integers(0, 2, n) - 1


def narma10(u: np.ndarray) -> np.ndarray:
    r"""The tenth-order nonlinear moving average of an input.

    .. math:: y_{t+1} = 0.3\,y_t + 0.05\,y_t\sum_{i=0}^{9}y_{t-i} + 1.5\,u_{t-9}u_t + 0.1,

    u uniform in [0, 0.5], y zero at first. Source: Atiya and Parlos, IEEE Trans. Neural Networks 11, 697 (2000),
    doi:10.1109/72.846741.

    Parameters
    ----------
    u : (n,) ndarray

    Returns
    -------
    y : (n,) ndarray
        y[t] is what follows u[t], y_{t+1} above: a network that has seen u[t] is to give it

    Raises
    ------
    SpinloomError
        where the series runs away, as it does for a few inputs in ten thousand; take another seed

    Examples
    --------
    >>> narma10(np.full(3, 0.2)).round(5).tolist()
    [0.1, 0.1305, 0.14065]
    """
    past = np.zeros(10)
    y = np.empty(len(u))
    for t in range(len(u)):
        before = u[t - 9] if t >= 9 else 0.0
        y[t] = 0.3 * past[0] + 0.05 * past[0] * past.sum() + 1.5 * before * u[t] + 0.1
        if not abs(y[t]) < _NARMA_LIMIT:
            raise SpinloomError(f"NARMA-10: the series ran away after {t + 1} samples of this input; take another seed")
        past = np.concatenate([y[t : t + 1], past[:-1]])
    return y


def mackey_glass(n: int, tau: float = 17.0, start: float = 1.2, skip: int = 500) -> np.ndarray:
    r"""The Mackey-Glass series, one sample in a unit of time.

    .. math:: \dot x = \frac{0.2\,x(t - \tau)}{1 + x(t - \tau)^{10}} - 0.1\,x

    Source: Mackey and Glass, Science 197, 287 (1977), doi:10.1126/science.267326; tau = 17 and samples of 1 as
    in Jaeger and Haas, Science 304, 78 (2004), doi:10.1126/science.1091277. Fourth-order Runge-Kutta, ten steps in a
    unit of time; between its steps the past is a cubic through values and slopes.

    Parameters
    ----------
    n : int
        samples
    tau : float
        delay, a multiple of 0.1
    start : float
        x for all times up to 0
    skip : int
        samples that are left out first

    Returns
    -------
    x : (n,) ndarray

    Examples
    --------
    >>> x = mackey_glass(1000)
    >>> bool(0.2 < x.min() < x.max() < 1.4)
    True
    """
    h = 1 / _DELAY_STEPS
    lag = round(tau * _DELAY_STEPS)
    if lag < 1 or abs(lag - tau * _DELAY_STEPS) > 1e-9:
        raise SpinloomError(f"tau: expected a positive multiple of {h:g}, got {tau:g}")

    def slope(x: float, past: float) -> float:
        return 0.2 * past / (1 + past**10) - 0.1 * x

    steps = (n + skip) * _DELAY_STEPS
    x, dx = np.full(lag + steps + 1, start), np.zeros(lag + steps + 1)
    dx[lag] = slope(start, start)
    for k in range(lag, lag + steps):
        a, b = k - lag, k - lag + 1
        # The slope jumps where the constant past ends, at number ``lag``: from below it is zero.
        middle = (x[a] + x[b]) / 2 + h / 8 * (dx[a] - dx[b] * (b != lag))
        k1 = slope(x[k], x[a])
        k2 = slope(x[k] + h / 2 * k1, middle)
        k3 = slope(x[k] + h / 2 * k2, middle)
        k4 = slope(x[k] + h * k3, x[b])
        x[k + 1] = x[k] + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        dx[k + 1] = slope(x[k + 1], x[b])
    return x[lag + _DELAY_STEPS * (skip + 1) :: _DELAY_STEPS][:n]


def lorenz(n: int, dt: float = 0.02, start: tuple[float, float, float] = (1.0, 1.0, 1.0), skip: int = 500) -> Any:
    r"""Lorenz's system at sigma = 10, rho = 28, beta = 8/3.

    .. math:: \dot x = 10\,(y - x),\quad \dot y = x\,(28 - z) - y,\quad \dot z = xy - \tfrac83 z

    Source: Lorenz, J. Atmos. Sci. 20, 130 (1963), doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2. Fourth-order
    Runge-Kutta, ten steps in a sample. Its largest Lyapunov exponent is 0.906.

    Parameters
    ----------
    n : int
        samples
    dt : float
        between samples
    start : (3,) floats
    skip : int
        samples that are left out first

    Returns
    -------
    xyz : (n, 3) ndarray

    Examples
    --------
    >>> lorenz(4, skip=0).shape
    (4, 3)
    """

    def slope(p: np.ndarray) -> np.ndarray:
        x, y, z = p
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    h, p = dt / _LORENZ_STEPS, np.array(start, dtype=float)
    rows = np.empty((n + skip, 3))
    for k in range(n + skip):
        for _ in range(_LORENZ_STEPS):
            p = _runge_kutta(slope, p, h)
        rows[k] = p
    return rows[skip:]


def _runge_kutta(slope: Callable[[np.ndarray], np.ndarray], p: np.ndarray, h: float) -> np.ndarray:
    k1 = slope(p)
    k2 = slope(p + h / 2 * k1)
    k3 = slope(p + h / 2 * k2)
    k4 = slope(p + h * k3)
    return p + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def sine_square(periods: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Periods of a sine or a square in random order, eight samples each, and which each is.

    Two of the eight samples, the extrema of the sine, are the same in both, so memory is needed. Source: Paquot et
    al., Scientific Reports 2, 287 (2012), doi:10.1038/srep00287.

    Returns
    -------
    u, which : (8 periods,) ndarray
        the input within [-1, 1], and -1 for a sine and 1 for a square

    Examples
    --------
    >>> u, which = sine_square(3, np.random.default_rng(0))
    >>> u.shape, which[::8].tolist()
    ((24,), [1.0, 1.0, 1.0])
    """
    phase = 2 * np.pi * np.arange(SAMPLES_PER_PERIOD) / SAMPLES_PER_PERIOD
    square = rng.integers(0, 2, periods).astype(bool)
    u = np.where(square[:, None], waveform("square", phase), waveform("sine", phase))
    return u.ravel(), np.repeat(2.0 * square - 1, SAMPLES_PER_PERIOD)
