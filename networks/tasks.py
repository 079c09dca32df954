"""What networks are asked to do: periodic targets to generate, periodic waveforms to tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.signal import resample

from spinloom.device_models.drives import read_period
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.texts import shown

SERIES = ("two_pulses", "beat")
"""Series that are shipped as files, in ``data/waveforms``."""
GENERATE = ("sine", "triangle", "harmonics", "square")
PLANE = ("circle", "eight", "two_tones")
"""Targets of two outputs: a closed curve in the plane, or a tone on each. All begin and end at (1, 0)."""
CLASSES = ("sine", "triangle", "square", "sawtooth")
CLOCKS = ("sine", "pulse", "ramp")
_PULSE = 0.1
"""Share of a period for which the pulse of a clock is on."""
INPUT_RMS = 0.7
"""All waveforms to be recognised have this rms value, so that power tells nothing."""


def waveform(name: str, phase: np.ndarray) -> np.ndarray:
    """A periodic waveform within [-1, 1].

    ``harmonics`` is sin p + 0.5 sin(2p + 1) + 0.25 sin(3p + 2), scaled to a largest modulus
    of 1.

    Parameters
    ----------
    name : {"sine", "triangle", "harmonics", "square", "sawtooth"}
    phase : (...) ndarray
        in radians

    Returns
    -------
    f : (...) ndarray

    Examples
    --------
    >>> waveform("triangle", np.array([0, np.pi / 2, np.pi])).round(12) + 0.0
    array([0., 1., 0.])
    """
    phase = np.asarray(phase, dtype=float)
    if name == "sine":
        return np.sin(phase)
    if name == "triangle":
        return 2 / np.pi * np.arcsin(np.sin(phase))
    if name == "square":
        return np.where(np.mod(phase, 2 * np.pi) < np.pi, 1.0, -1.0)
    if name == "sawtooth":
        return np.mod(phase, 2 * np.pi) / np.pi - 1
    if name == "harmonics":
        fine = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
        return _harmonics(phase) / np.abs(_harmonics(fine)).max()
    raise SpinloomError(f"task: expected one of {', '.join(GENERATE)} or a CSV file, got {name!r}")


def _harmonics(phase: np.ndarray) -> np.ndarray:
    return np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.25 * np.sin(3 * phase + 2)


def target(task: str, period_ticks: int) -> np.ndarray:
    """One period of a target, sampled at the end of every tick.

    Parameters
    ----------
    task : str
        one of :data:`GENERATE`, :data:`PLANE` or :data:`SERIES`, or the path of a CSV with one period under the header
        ``f``, or of several outputs under ``f1``, ``f2`` and so on; each is resampled to the ticks and scaled to
        [-1, 1]
    period_ticks : int

    Returns
    -------
    f : (period_ticks, K) ndarray

    Raises
    ------
    SpinloomError
        for an unknown task or a bad file

    Examples
    --------
    >>> target("sine", 4).round(12).ravel() + 0.0
    array([ 1.,  0., -1.,  0.])
    >>> target("eight", 8).shape
    (8, 2)
    """
    if task in PLANE:
        phase = 2 * np.pi * (np.arange(period_ticks) + 1.0) / period_ticks
        first, second = {"circle": (1, 1), "eight": (1, 2), "two_tones": (2, 3)}[task]
        return np.stack([np.cos(first * phase), np.sin(second * phase)], axis=1)
    if task in GENERATE:
        # Half a tick of phase keeps samples off the square's jumps.
        shift = 0.5 if task == "square" else 1.0
        return waveform(task, 2 * np.pi * (np.arange(period_ticks) + shift) / period_ticks)[:, None]
    if task in SERIES:
        task = str(data_folder() / "waveforms" / f"{task}.csv")
    if not task.lower().endswith(".csv"):
        known = ", ".join(GENERATE + PLANE + SERIES)
        raise SpinloomError(f"task: expected one of {known} or a CSV file, got {shown(task)}")
    f = read_period(Path(task))
    if len(f) != period_ticks:
        f = resample(f, period_ticks)
    low, high = f.min(axis=0), f.max(axis=0)
    return 2 * (f - low) / (high - low) - 1


def clock(shape: str, period_ticks: int, ahead: float = 0.0) -> np.ndarray:
    """One period of a clock: an input that tells a network the time.

    It runs with the period of the target, so that a trained network keeps the target's phase.

    Parameters
    ----------
    shape : {"sine", "pulse", "ramp"}
        ``pulse`` is 1 for the first tenth of the period and 0 else, ``ramp`` rises from -1 to 1
    period_ticks : int
    ahead : float
        share of a period by which it runs ahead of the target

    Returns
    -------
    s : (period_ticks,) ndarray
        within [-1, 1], held for each tick

    Raises
    ------
    SpinloomError
        for an unknown shape

    Examples
    --------
    >>> clock("pulse", 20)[:4], clock("ramp", 4, 0.25)
    (array([1., 1., 0., 0.]), array([-0.25,  0.25,  0.75, -0.75]))
    """
    share = np.mod((np.arange(period_ticks) + 0.5) / period_ticks + ahead, 1)
    if shape == "sine":
        return waveform("sine", 2 * np.pi * share)
    if shape == "pulse":
        # At least one tick, however short the period.
        return np.where(share < max(_PULSE, 1 / period_ticks), 1.0, 0.0)
    if shape == "ramp":
        return 2 * share - 1
    raise SpinloomError(f"clock_shape: expected one of {', '.join(CLOCKS)}, got {shape!r}")


def task_name(task: str) -> str:
    """What files and tables call a task: a CSV goes by its name without the ending.

    Examples
    --------
    >>> task_name("sine"), task_name("my/wave.csv")
    ('sine', 'wave')
    """
    return Path(task).stem if task.lower().endswith(".csv") else task


def inputs(classes: np.ndarray, phases: np.ndarray, n_ticks: int, period_ticks: int) -> np.ndarray:
    """Waveforms to be recognised, each from its own random phase.

    Parameters
    ----------
    classes : (n,) int ndarray
        index into :data:`CLASSES`
    phases : (n,) ndarray
        at the onset (rad)
    n_ticks, period_ticks : int

    Returns
    -------
    s : (n_ticks, n) ndarray
    """
    phase = 2 * np.pi * np.arange(n_ticks)[:, None] / period_ticks + phases
    unit = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    s = np.empty_like(phase)
    for index, name in enumerate(CLASSES):
        chosen = classes == index
        s[:, chosen] = waveform(name, phase[:, chosen]) * INPUT_RMS / np.sqrt((waveform(name, unit) ** 2).mean())
    return s
