"""What a free run is worth: error over the whole run, error of the shape, drift of the phase."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

GENERATES = 0.1
"""A network generates its series if the NRMSE of its free run is at most this."""
GENERATES_WARM = 0.3
"""The same of a network whose nodes are noisy: nine tenths of what comes out is the series."""
ABOVE_CHANCE = 0.01
"""Answers are above chance where guessing gives as many right ones less often than this."""
_STILL = 0.1
"""Share of the target's amplitude below which an output does not oscillate."""
_FINE = 16
"""Shifts are tried at this many places within a tick, and refined from there."""
RESTLESS = 0.05
"""A network whose signals differ by more than this (rms, in units of the spread) from period to period sings."""


def free_run_error(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """NRMSE of free runs, rms(z - f) / std(f), all outputs together, without phase alignment.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    nrmse : (S,) ndarray
        infinite where z is not finite

    Examples
    --------
    >>> f = np.sin(2 * np.pi * np.arange(50) / 50)[:, None, None]
    >>> float(free_run_error(1.1 * np.tile(f, (3, 1, 1)), f)[0].round(6))
    0.1
    """
    periods = _periods(z, f)
    with np.errstate(over="ignore", invalid="ignore"):
        return _relative(((periods - f) ** 2).mean(axis=(0, 1, 3)), f)


def shape_error(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """NRMSE of free runs with every period aligned in phase, all outputs by the same shift.

    What is left when the clock of the network is not asked for: the best circular shift of the
    target is found for each period.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    nrmse : (S,) ndarray
        infinite where z is not finite

    Examples
    --------
    >>> t = np.arange(300) / 50
    >>> f = np.sin(2 * np.pi * t[:50])[:, None, None]
    >>> float(shape_error(np.sin(2 * np.pi * t + 0.5)[:, None, None], f)[0].round(3))
    0.0
    """
    periods = _periods(z, f)
    return np.array([_aligned(periods[:, :, network], f[:, network]) for network in range(f.shape[1])])


def mean_error(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """NRMSE of the average period of free runs: what is left of their error when noise averages out.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    nrmse : (S,) ndarray
        infinite where z is not finite

    Examples
    --------
    >>> f = np.sin(2 * np.pi * np.arange(50) / 50)[:, None, None]
    >>> z = np.tile(f, (2, 1, 1)) + np.repeat([0.3, -0.3], 50)[:, None, None]
    >>> float(mean_error(z, f)[0].round(6)), float(free_run_error(z, f)[0].round(2))
    (0.0, 0.42)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _relative(((_periods(z, f).mean(axis=0) - f) ** 2).mean(axis=(0, 2)), f)


def _aligned(periods: np.ndarray, f: np.ndarray) -> float:
    """Shape error of one network: (n_periods, period_ticks, K), (period_ticks, K)."""
    if not np.isfinite(periods).all():
        return float("inf")
    ticks = len(f)
    with np.errstate(over="ignore", invalid="ignore"):
        Z, F = np.fft.rfft(periods, axis=1), np.fft.rfft(f, axis=0)
        shift = _peak(np.fft.irfft((Z * F.conj()).sum(axis=-1), _FINE * ticks, axis=1))
        turn = np.exp(-2j * np.pi * np.arange(len(F)) * shift[:, None] / (_FINE * ticks))
        shifted = np.fft.irfft(F * turn[..., None], ticks, axis=1)
        return float(_relative(((periods - shifted) ** 2).mean(), f))


def _peak(correlation: np.ndarray) -> np.ndarray:
    """Where each row, which is periodic, is largest: the top of the parabola through three points."""
    rows, top = np.arange(len(correlation)), correlation.argmax(axis=1)
    before, here, after = (correlation[rows, (top + step) % correlation.shape[1]] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    return top + np.where(bend < 0, (before - after) / (2 * np.where(bend < 0, bend, 1.0)), 0.0)


def phase_drift(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Slope of the phase of z against the target's (rad of the period, per period).

    An output that does not oscillate has no phase: its amplitude at the target's lowest harmonic
    is less than a tenth of the target's in half of the periods.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    drift : (S,) ndarray
        positive where z runs ahead; NaN where z does not oscillate or is not finite

    Examples
    --------
    >>> t = np.arange(500) / 50
    >>> f = np.sin(2 * np.pi * t[:50])[:, None, None]
    >>> z = np.sin(2 * np.pi * 1.001 * t)[:, None, None]
    >>> float(phase_drift(z, f)[0].round(4)), float(phase_drift(0.01 * z, f)[0])
    (0.0063, nan)
    """
    (Z, F), finite = lowest_tones(z, f), _finite(z, f)
    with np.errstate(over="ignore", invalid="ignore"):
        amplitude = np.sqrt((np.abs(Z) ** 2).sum(axis=-1) / (np.abs(F) ** 2).sum(axis=-1))
    oscillates = finite & np.isfinite(amplitude).all(axis=0) & (np.median(amplitude, axis=0) >= _STILL)
    return np.where(oscillates, phase_slope(z, f), np.nan)


def phase_slope(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """What :func:`phase_drift` is where z oscillates; some number where it does not.

    The phase of each period is that of the lowest harmonic which the target has, all outputs
    together.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    drift : (S,) ndarray
        positive where z runs ahead; zero for a single period, and where z is not finite

    Examples
    --------
    >>> t = np.arange(500) / 50
    >>> f = np.sin(2 * np.pi * t[:50])[:, None, None]
    >>> float(phase_slope(np.sin(2 * np.pi * 1.001 * t)[:, None, None], f)[0].round(4))
    0.0063
    """
    (Z, F), finite = lowest_tones(z, f), _finite(z, f)
    if len(Z) < 2:
        return np.zeros(len(finite))
    with np.errstate(over="ignore", invalid="ignore"):
        phase = np.unwrap(np.angle((Z * F.conj()).sum(axis=-1)), axis=0)
        slope = np.polyfit(np.arange(len(phase)), phase, 1)[0] / lowest_harmonic(f)
    return np.where(finite & np.isfinite(slope), slope, 0.0)


def lowest_harmonic(f: np.ndarray) -> np.ndarray:
    """The lowest harmonic that holds more than a hundredth of the variance of targets (period_ticks, S, K), (S,)."""
    power = (np.abs(np.fft.rfft(f, axis=0)[1:]) ** 2).sum(axis=-1)
    return 1 + (power > 0.01 * power.sum(axis=0)).argmax(axis=0)


def lowest_tones(z: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectrum of every period of z, and of f, at the target's lowest harmonic; of z zero where it is not finite.

    Parameters
    ----------
    z : (n_periods period_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray

    Returns
    -------
    Z : (n_periods, S, K) complex ndarray
    F : (S, K) complex ndarray
    """
    harmonic, one = lowest_harmonic(f), np.arange(f.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        Z = np.fft.rfft(np.where(_finite(z, f)[:, None], _periods(z, f), 0.0), axis=1)
        return Z[:, harmonic, one], np.fft.rfft(f, axis=0)[harmonic, one]


def _finite(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Which networks' outputs are finite throughout, (S,)."""
    return np.isfinite(_periods(z, f)).all(axis=(0, 1, 3))


def against_chance(right: int, trials: int, classes: int) -> dict[str, Any]:
    """Right answers against guessing: a one-sided binomial test, and where the true share lies.

    Parameters
    ----------
    right, trials, classes : int

    Returns
    -------
    result : dict
        ``chance``; ``p_chance``, how often guessing gives as many right answers;
        ``above_chance``, whether that is less often than once in a hundred; ``accuracy_low,
        accuracy_high``, the interval of 95 % (Wilson)

    Examples
    --------
    >>> against_chance(7, 20, 4)["above_chance"], against_chance(12, 20, 4)["above_chance"]
    (False, True)
    """
    test = binomtest(right, trials, 1 / classes, alternative="greater")
    interval = binomtest(right, trials).proportion_ci(0.95, "wilson")
    return {
        "chance": 1 / classes,
        "p_chance": float(test.pvalue),
        "above_chance": bool(test.pvalue < ABOVE_CHANCE),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
    }


def least_share(right: int, trials: int) -> float:
    """The share of right answers that is exceeded with 95 % confidence (Clopper and Pearson, one-sided).

    Examples
    --------
    >>> round(least_share(20, 20), 2), round(least_share(98, 100), 2)
    (0.86, 0.94)
    """
    return float(binomtest(right, trials, alternative="greater").proportion_ci(0.95, "exact").low)


def _periods(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Period by period: (n_periods, period_ticks, S, K)."""
    return z.reshape(-1, *f.shape)


def _relative(squared: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Root of a mean square over the spread of the target (ticks, ..., K), infinite where there is no number."""
    ratio = np.sqrt(squared / f.var(axis=0).mean(axis=-1))
    return np.where(np.isnan(ratio), np.inf, ratio)
