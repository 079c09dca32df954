"""Trials of trained networks: free runs that generate, and waveforms to be recognised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.node import Node
from spinloom.networks.loop import Record, readout, run
from spinloom.networks.tasks import CLASSES, inputs
from spinloom.networks.topology import Weights

Axis = tuple[float, float, float]
Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class FreeRun:
    """What S networks did on their own.

    Attributes
    ----------
    z : (n_ticks, S) ndarray
        output in free run
    f : (period_ticks,) ndarray
        one period of the target
    nrmse : (S,) ndarray
        rms(z - f) / std(f) over the whole free run, without phase alignment
    phase_drift : (S,) ndarray
        slope of the fundamental's phase against the target's (rad per period; positive leads)
    record : Record
        of the free run
    """

    z: np.ndarray
    f: np.ndarray
    nrmse: np.ndarray
    phase_drift: np.ndarray
    record: Record


def generate(
    node: Node,
    weights: Weights,
    axis: Axis,
    f: np.ndarray,
    periods: int,
    washout: int,
    progress: Progress = None,
    solve: Callable[..., tuple[Any, Record]] = run,
) -> FreeRun:
    """From equilibrium, a washout with the target fed back, then a free run in closed loop.

    Parameters
    ----------
    node : Node
    weights : Weights
        S trained networks
    axis : (3,) tuple of float
        read-out axis
    f : (period_ticks,) or (period_ticks, S) ndarray
        one period of the target, of each network if they differ
    periods, washout : int
        periods in free run, and before it
    progress : callable, optional
        called with the number of ticks just done
    solve : callable
        :func:`spinloom.networks.loop.run`, or another with its signature

    Returns
    -------
    result : FreeRun
    """
    one = np.broadcast_to(np.asarray(f).reshape(len(f), -1), (len(f), weights.networks))
    target = np.tile(one, (washout + periods, 1))
    hold = np.arange(len(target)) < washout * len(f) - 1
    _, record = solve(node, weights, axis, target=target, hold=hold, progress=progress)
    free = Record(*(x[washout * len(f) :] for x in record))
    return FreeRun(free.z, one, free_run_error(free.z, one), phase_drift(free.z, one), free)


def free_run_error(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """NRMSE of free runs, rms(z - f) / std(f), without phase alignment.

    Parameters
    ----------
    z : (n_periods period_ticks, S) ndarray
    f : (period_ticks, S) ndarray

    Returns
    -------
    nrmse : (S,) ndarray
        infinite where z is not finite

    Examples
    --------
    >>> f = np.sin(2 * np.pi * np.arange(50) / 50)[:, None]
    >>> float(free_run_error(1.1 * np.tile(f, (3, 1)), f)[0].round(6))
    0.1
    """
    error = np.sqrt(((z - np.tile(f, (len(z) // len(f), 1))) ** 2).mean(axis=0)) / f.std(axis=0)
    return np.nan_to_num(error, nan=np.inf)


def phase_drift(z: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Slope of the fundamental's phase against the target's (rad per period).

    Parameters
    ----------
    z : (n_periods period_ticks, S) ndarray
    f : (period_ticks, S) ndarray

    Returns
    -------
    drift : (S,) ndarray
        positive where z runs ahead; zero for a single period

    Examples
    --------
    >>> t = np.arange(500) / 50
    >>> f = np.sin(2 * np.pi * t[:50])[:, None]
    >>> float(phase_drift(np.sin(2 * np.pi * 1.001 * t)[:, None], f)[0].round(4))
    0.0063
    """
    fundamental = np.fft.rfft(z.reshape(-1, len(f), z.shape[1]), axis=1)[:, 1]
    if len(fundamental) < 2:
        return np.zeros(z.shape[1])
    phase = np.unwrap(np.angle(fundamental / np.fft.rfft(f, axis=0)[1]), axis=0)
    return np.polyfit(np.arange(len(phase)), phase, 1)[0]


@dataclass(frozen=True)
class Recognition:
    """Trials of S networks, T each.

    Attributes
    ----------
    features : (S, T, N) ndarray
        node states averaged over the last period
    classes, answers : (S, T) int ndarray
        what was fed in, what was recognised
    record : Record
    """

    features: np.ndarray
    classes: np.ndarray
    answers: np.ndarray
    record: Record

    @property
    def accuracy(self) -> np.ndarray:
        """Share of right answers of each network, (S,)."""
        return (self.classes == self.answers).mean(axis=1)

    def confusion(self) -> np.ndarray:
        """Trials by (true class, answer), summed over networks."""
        table = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
        np.add.at(table, (self.classes.ravel(), self.answers.ravel()), 1)
        return table


def recognise(
    node: Node,
    weights: Weights,
    axis: Axis,
    *,
    trials: int,
    period_ticks: int,
    periods: int,
    seed: int,
    progress: Progress = None,
    together: int | None = None,
) -> Recognition:
    """Feed waveforms of random phase to networks in equilibrium.

    Parameters
    ----------
    node : Node
    weights : Weights
        S networks; with read-outs of one channel per class, or untrained
    axis : (3,) tuple of float
        read-out axis
    trials : int
        per network, the classes in turn
    period_ticks, periods : int
        how long the waveform is fed in; the states of the last period are averaged
    seed : int
        of the random phases
    progress : callable, optional
        called with the number of ticks just done
    together : int, optional
        how many trials run at once; all if not given

    Returns
    -------
    result : Recognition
    """
    S, n_ticks = weights.networks, periods * period_ticks
    classes = np.tile(np.arange(trials) % len(CLASSES), S)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, S * trials)
    s = inputs(classes, phases, n_ticks, period_ticks)
    many, parts = weights.repeat(trials), []
    for at in range(0, S * trials, together or S * trials):
        these = slice(at, at + (together or S * trials))
        target, hold = np.zeros_like(s[:, these]), np.ones(n_ticks, bool)
        _, part = run(node, many.take(these), axis, target=target, hold=hold, s=s[:, these], progress=progress)
        parts.append(part)
    record = Record(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))
    features = record.r[-period_ticks:].mean(axis=0)
    answers = classify(many.w_out, features)
    return Recognition(features.reshape(S, trials, -1), classes.reshape(S, trials), answers.reshape(S, trials), record)


def classify(w_out: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The class that the read-out names: (S, K, N + 1), (S, N) -> (S,) int."""
    return np.asarray(readout(jnp.asarray(w_out), jnp.asarray(features))).argmax(axis=1)
