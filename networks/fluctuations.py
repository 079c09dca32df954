"""What noise does to a network's output: amplitude, shape, phase and error, each with an interval over noise seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t as students_t

from spinloom.networks.measures import free_run_error, lowest_tones, phase_drift, shape_error

LEVEL = 0.95
"""Share of intervals that hold the true mean."""
_FEWEST = 8
"""Periods that a diffusion can be read from."""
FIGURES = {
    "nrmse": "NRMSE",
    "shape_error": "shape error",
    "amplitude_noise": "amplitude noise",
    "phase_diffusion": "phase diffusion (rad2/period)",
    "phase_drift": "phase drift (rad/period)",
}
"""What is told of a noisy output, and how it is called."""


def fluctuations(z: np.ndarray, f: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of noisy free runs.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
        at least four periods
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    figures : dict of (S,) ndarray
        by the names of :data:`FIGURES`: ``nrmse``, without phase alignment; ``shape_error``, with every period
        aligned; ``amplitude_noise``, the standard deviation of the amplitude from period to period over its mean;
        ``phase_diffusion`` (rad2 per period), see :func:`phase_diffusion`; ``phase_drift`` (rad per period). The last
        three are NaN where the output does not oscillate

    Examples
    --------
    >>> t = np.arange(500) / 50
    >>> f = np.sin(2 * np.pi * t[:50])[:, None, None]
    >>> quiet = fluctuations(np.sin(2 * np.pi * t)[:, None, None], f)
    >>> bool(max(abs(values).max() for values in quiet.values()) < 1e-9)
    True
    """
    drift = phase_drift(z, f)
    oscillates = np.isfinite(drift)
    tones, wanted = lowest_tones(z, f)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.sqrt((np.abs(tones) ** 2).sum(axis=-1))
        noise = np.where(oscillates, size.std(axis=0) / np.where(oscillates, size.mean(axis=0), 1.0), np.nan)
        phase = np.unwrap(np.angle((tones * wanted.conj()).sum(axis=-1)), axis=0)
    return {
        "nrmse": free_run_error(z, f),
        "shape_error": shape_error(z, f),
        "amplitude_noise": noise,
        "phase_diffusion": np.where(oscillates, phase_diffusion(phase), np.nan),
        "phase_drift": drift,
    }


def phase_diffusion(phase: np.ndarray) -> np.ndarray:
    r"""How the variance of a phase grows, per period.

    A phase that diffuses, read with an error of its own in every period, has

    .. math:: \langle(\phi_{k+n} - \phi_k - n\bar\omega)^2\rangle = D n + 2\sigma^2,

    so D is the slope of this structure function over lags up to a fifth of the run; a clock keeps it at zero,
    whatever the scatter of single periods.

    Parameters
    ----------
    phase : (n_periods, S) ndarray
        unwrapped (rad)

    Returns
    -------
    D : (S,) ndarray
        rad2 per period; may be a little below zero where nothing diffuses; NaN for fewer than eight periods

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> walks = np.cumsum(0.2 * rng.standard_normal((1000, 50)), axis=0)
    >>> clocked = 0.2 * rng.standard_normal((1000, 50))
    >>> [float(phase_diffusion(each).mean().round(2)) for each in (walks, clocked)]
    [0.04, 0.0]
    """
    n = len(phase)
    if n < _FEWEST:
        return np.full(phase.shape[1], np.nan)
    drift = (phase[-1] - phase[0]) / (n - 1)
    apart = phase - drift * np.arange(n)[:, None]
    lags = np.arange(1, max(2, n // 5) + 1)
    structure = np.stack([((apart[lag:] - apart[:-lag]) ** 2).mean(axis=0) for lag in lags])
    # A walk of n - 1 steps whose end is brought back to its beginning keeps this share of its variance.
    return np.polyfit(lags * (1 - lags / (n - 1)), structure, 1)[0]


def interval(values: np.ndarray) -> dict[str, float | None]:
    """Mean over noise seeds, and where the true one lies (Student's t at :data:`LEVEL`).

    Parameters
    ----------
    values : (n,) ndarray

    Returns
    -------
    result : dict
        ``mean, low, high``; the last two None for a single seed, all None if any value is not finite

    Examples
    --------
    >>> {name: round(value, 2) for name, value in interval(np.array([1.0, 2.0, 3.0])).items()}
    {'mean': 2.0, 'low': -0.48, 'high': 4.48}
    """
    if not np.isfinite(values).all():
        return {"mean": None, "low": None, "high": None}
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(students_t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def apart(a: np.ndarray, b: np.ndarray) -> float | None:
    """Difference of two means in units of the standard error of both; None where that cannot be said.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((2, 400))
    >>> abs(apart(a, b)) < 3 < apart(a + 1, b)
    True
    """
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    error = float(np.hypot(np.std(a, ddof=1) / len(a) ** 0.5, np.std(b, ddof=1) / len(b) ** 0.5))
    return float((np.mean(a) - np.mean(b)) / error) if error > 0 else None


def summary(full: dict[str, Any], reduced: dict[str, Any]) -> dict[str, Any]:
    """Figures of the same networks on two kinds of node: of each its interval in both, and how far ``apart``."""
    return {
        name: {
            "full": interval(full[name]),
            "reduced": interval(reduced[name]),
            "apart": apart(full[name], reduced[name]),
        }
        for name in FIGURES
    }
