"""Drive waveforms: those of the calibration protocol, and those that users bring as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.texts import numbers, read_csv

KINDS = ("noise", "holds", "chirp", "tones", "steps")
"""The kinds of calibration drive, in the order in which a protocol cycles through them."""
SHORTEST, LONGEST = 1e-15, 1e-6
"""How long a value may be held (s)."""
LARGEST = 1e100
"""Value of a series, which is scaled to +-1."""


def calibration_drive(kind: str, n_ticks: int, tick: float, rng: np.random.Generator) -> np.ndarray:
    """One seeded waveform of the calibration protocol.

    All stay within the clip at +-1, and reach it. Bands are stated in hertz, because the
    free layer's resonance is, and end well below the Nyquist frequency of the ticks. Every
    oscillating drive rides on a random offset, because a network's nodes each have a bias
    of their own, and may exceed the clip up to five times, because strongly coupled nodes are
    driven to and fro between the limits.

    Parameters
    ----------
    kind : {"noise", "holds", "chirp", "tones", "steps"}
        ``noise``: Gaussian, low-passed between 0.5 and 20 GHz; ``holds``: random levels for
        random times up to 0.6 ns; ``chirp``: 0.3 to 10 GHz; ``tones``: three harmonics of
        0.4 to 3 GHz, as a network drives its nodes, lower for ticks above 28 ps; ``steps``: a staircase with long holds
    n_ticks : int
    tick : float
        duration of a tick (s)
    rng : numpy.random.Generator

    Returns
    -------
    u : (n_ticks,) ndarray

    Examples
    --------
    >>> u = calibration_drive("chirp", 800, 7.5e-12, np.random.default_rng(0))
    >>> bool(np.abs(u).max() <= 1)
    True
    """
    t = np.arange(n_ticks) * tick
    nyquist = 0.5 / tick
    amplitude, offset = np.exp(rng.uniform(np.log(0.4), np.log(4.0))), rng.uniform(-0.8, 0.8)
    if kind == "noise":
        high = min(20e9, nyquist / 2)
        cutoff = np.exp(rng.uniform(np.log(min(0.5e9, high)), np.log(high)))
        spectrum = np.fft.rfft(rng.standard_normal(n_ticks))
        u = np.fft.irfft(spectrum * (np.fft.rfftfreq(n_ticks, tick) < cutoff), n_ticks)
        u = offset + u * 0.5 * amplitude / max(u.std(), 1e-12)
    elif kind == "chirp":
        high = min(10e9, nyquist / 2)
        low = min(0.3e9, high)
        phase = 2 * np.pi * (low * t + (high - low) * t**2 / (2 * max(t[-1], tick)))
        u = offset + amplitude * np.sin(phase + rng.uniform(0, 2 * np.pi))
    elif kind == "tones":
        harmonics = (1, 2, 3)
        high = min(3e9, nyquist / 2 / harmonics[-1])
        base = np.exp(rng.uniform(np.log(min(0.4e9, high)), np.log(high)))
        u = np.zeros(n_ticks)
        for harmonic in harmonics:
            u += rng.normal() / harmonic * np.sin(2 * np.pi * harmonic * base * t + rng.uniform(0, 2 * np.pi))
        u = offset + amplitude * u / np.abs(u).max()
    elif kind in ("holds", "steps"):
        low, high = (2 * tick, 0.6e-9) if kind == "holds" else (0.4e-9, 1.5e-9)
        u = np.empty(n_ticks)
        at = 0
        while at < n_ticks:
            ticks = max(1, round(rng.uniform(low, max(low, high)) / tick))
            u[at : at + ticks] = rng.uniform(-1, 1)
            at += ticks
    else:
        raise SpinloomError(f"drive kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return np.clip(u, -1, 1)


def read_waveform(path: str | Path, tick: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A drive to replay: columns ``t_s,u``, or ``u`` alone with a tick.

    ``t_s`` is the time at the END of the row's hold, as in the files that ``replay`` writes;
    holds may differ in length. A file whose first time is 0 gives the times at which holds
    BEGIN instead; its last row is then held as long as the one before it.

    Parameters
    ----------
    path : path
        CSV file
    tick : float, optional
        duration of every hold (s), for files without ``t_s``

    Returns
    -------
    durations : (n,) ndarray
        how long each drive is held (s)
    u : (n,) ndarray
        drives, within [-1, 1]

    Raises
    ------
    SpinloomError
        for missing columns, non-numbers, unsorted times or drives outside [-1, 1]
    """
    path = Path(path)
    table = read_csv(path, "columns t_s,u (or u alone with --tick; that of an oscilloscope needs --drive-unit too)")
    if "u" not in table:
        raise SpinloomError(
            f"{path}: no column 'u'; expected t_s,u or u alone, got {', '.join(map(str, table.columns))[:200]} "
            "(that of an oscilloscope is read with --drive-unit and --tick)"
        )
    if len(table) == 0:
        raise SpinloomError(f"{path}: no rows; expected at least one drive")
    u = numbers(path, table, "u")
    if np.abs(u).max() > 1:
        row = int(np.abs(u).argmax())
        raise SpinloomError(
            f"{path}: column u, row {row + 1}: expected a drive within [-1, 1] (u = 1 is J_max), got {u[row]:g}"
        )
    if "t_s" not in table:
        if tick is None:
            raise SpinloomError(f"{path}: no column 't_s'; add it, or give the duration of a row with --tick SECONDS")
        if not SHORTEST <= tick <= LONGEST:
            raise SpinloomError(f"tick: expected {SHORTEST:g} to {LONGEST:g} s, got {tick:g}")
        return np.full(len(u), float(tick)), u
    t = numbers(path, table, "t_s")
    if np.abs(t).max() > 1:  # nor is there any use in what follows where differences overflow
        raise SpinloomError(f"{path}: column t_s: expected times within 1 s, got {np.abs(t).max():g} s")
    begins = t[0] == 0 and len(t) > 1
    durations = np.diff(t, append=2 * t[-1] - t[-2]) if begins else np.diff(t, prepend=0.0)
    if (durations <= 0).any():
        row = int(np.argmax(durations <= 0))
        raise SpinloomError(f"{path}: column t_s, row {row + 1}: expected increasing times (s), got {t[row]:g}")
    if durations.min() < SHORTEST or durations.max() > LONGEST:
        raise SpinloomError(
            f"{path}: column t_s: expected holds of {SHORTEST:g} to {LONGEST:g} s, got {durations.min():g} to "
            f"{durations.max():g} s; check that times are in s"
        )
    if tick is not None and not np.abs(durations / tick - 1).max() <= 1e-3:
        raise SpinloomError(
            f"{path}: --tick {tick:g} s, but its column t_s has holds of {durations.min():g} to {durations.max():g} s; "
            "leave --tick out"
        )
    return durations, u


def read_period(path: str | Path) -> np.ndarray:
    """One period of a user's series: a CSV with the header ``f``, or ``f1,f2,...`` for several outputs.

    Returns
    -------
    f : (n, K) ndarray
        as written in the file; rows are evenly spaced in time

    Raises
    ------
    SpinloomError
        for a missing column, fewer than four values, non-numbers or a constant
    """
    path = Path(path)
    table = read_csv(path, "one column 'f', or f1,f2,... for several outputs")
    numbered = [f"f{number}" for number in range(1, len(table.columns) + 1) if f"f{number}" in table]
    columns = ["f"] if "f" in table else numbered
    if not columns or columns not in (["f"], [f"f{number}" for number in range(1, len(columns) + 1)]):
        raise SpinloomError(
            f"{path}: no column 'f'; expected one period under the header f, or of several outputs under f1,f2,... "
            f"from f1 on, got {', '.join(map(str, table.columns))[:200]}"
        )
    series = [numbers(path, table, column) for column in columns]
    for column, f in zip(columns, series, strict=True):
        if np.abs(f).max(initial=0) > LARGEST:
            raise SpinloomError(f"{path}: column {column}: expected values within {LARGEST:g}, got {np.abs(f).max():g}")
        if len(f) < 4 or np.ptp(f) <= 1e-12 * np.abs(f).max():
            raise SpinloomError(
                f"{path}: column {column}: expected at least 4 values that are not all equal, got {len(f)}"
            )
    return np.stack(series, axis=1)
