"""What a free run is worth: error over the whole run, error of the shape, drift of the phase."""

from __future__ import annotations

import numpy as np

_FINE = 16
"""Shifts are tried at this many places within a tick, and refined from there."""


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
    >>> float(phase_drift(np.sin(2 * np.pi * 1.001 * t)[:, None, None], f)[0].round(4))
    0.0063
    """
    periods = _periods(z, f)
    finite = np.isfinite(periods).all(axis=(0, 1, 3))
    if len(periods) < 2:
        return np.zeros(len(finite))
    with np.errstate(over="ignore", invalid="ignore"):
        Z, F = np.fft.rfft(np.where(finite[:, None], periods, 0.0), axis=1), np.fft.rfft(f, axis=0)
        power = (np.abs(F[1:]) ** 2).sum(axis=-1)
        harmonic = 1 + (power > 0.01 * power.sum(axis=0)).argmax(axis=0)
        one = np.arange(len(finite))
        phase = np.unwrap(np.angle((Z[:, harmonic, one] * F[harmonic, one].conj()).sum(axis=-1)), axis=0)
        slope = np.polyfit(np.arange(len(phase)), phase, 1)[0] / harmonic
    return np.where(finite & np.isfinite(slope), slope, 0.0)


def _periods(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Period by period: (n_periods, period_ticks, S, K)."""
    return z.reshape(-1, *f.shape)


def _relative(squared: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Root of a mean square over the spread of the target (ticks, ..., K), infinite where there is no number."""
    ratio = np.sqrt(squared / f.var(axis=0).mean(axis=-1))
    return np.where(np.isnan(ratio), np.inf, ratio)
