"""What is asked of a reservoir, sample by sample: series and targets, their split, and how an answer is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.benchmarks.memory import capacities, delayed, parities
from spinloom.networks.benchmarks.reservoir import Ridge, nrmse, read
from spinloom.networks.benchmarks.series import (
    NARMA_INPUT,
    SAMPLES_PER_PERIOD,
    binary,
    lorenz,
    mackey_glass,
    narma10,
    sine_square,
    uniform,
)

WASHOUT, TRAIN, TEST = 200, 2000, 2000
"""Samples of every series, unless its task says otherwise."""
PARITIES = 10
"""Longest parity that is asked for: of eleven inputs."""
MACKEY_GLASS_AHEAD = 84
"""Steps that the Mackey-Glass series is foretold by (Jaeger and Haas, Science 304, 78 (2004))."""
LORENZ_AHEAD = 25
"""Samples of 0.02 that the first component of Lorenz's system is foretold by: 0.45 Lyapunov times."""
LORENZ_DT, LYAPUNOV = 0.02, 0.906
VALID = 0.4
"""A free run is valid until it is off by this share of the series' standard deviation."""
_TRIES = 20


class Series(NamedTuple):
    """A series that goes in and what is to come out.

    Attributes
    ----------
    u : (n, C) ndarray
    target : (n, K) ndarray
        beside the sample that is the last to be known
    """

    u: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Task:
    """A task whose answer is a linear read-out of the states at every sample.

    Attributes
    ----------
    name, figure : str
        what it is called, and what is told of it
    make : callable
        (number of samples, nodes, random generator) -> Series
    judge : callable
        (outputs, targets) -> figure; both (n, K), of the test
    higher : bool
        whether more is better
    channels : int
        of the input
    train, test : int
        samples, after the washout
    """

    name: str
    figure: str
    make: Callable[[int, int, np.random.Generator], Series]
    judge: Callable[[np.ndarray, np.ndarray], float]
    higher: bool = False
    channels: int = 1
    train: int = TRAIN
    test: int = TEST

    @property
    def samples(self) -> int:
        """All of them."""
        return WASHOUT + self.train + self.test

    def series(self, nodes: int, seed: int) -> Series:
        """The series of a seed; its stream is not that of the weights.

        Examples
        --------
        >>> TASKS["narma10"].series(40, 0).target.shape
        (4200, 1)
        """
        for attempt in range(_TRIES):
            try:
                return self.make(self.samples, nodes, np.random.default_rng([seed, 7, attempt]))
            except SpinloomError:  # NARMA-10 runs away for a few inputs in ten thousand
                continue
        raise SpinloomError(f"{self.name}: no series of seed {seed} stays finite; take another seed")

    def better(self, a: float, b: float) -> bool:
        """Whether the first figure is better than the second."""
        return a > b if self.higher else a < b


def judged(task: Task, x: np.ndarray, target: np.ndarray, ridges: tuple[float, ...]) -> list[float]:
    """Figures of one network's states, (n, F), taught on one part and judged on another, for each penalty."""
    x, target = x[: len(target)], target[: len(x)]
    worst = 0.0 if task.higher else float("inf")
    if not np.isfinite(x).all():
        return [worst] * len(ridges)
    split = WASHOUT + task.train
    fit = Ridge(x[WASHOUT:split], target[WASHOUT:split])
    return [task.judge(read(fit.readout(ridge), x[split:]), target[split:]) for ridge in ridges]


def _narma(n: int, nodes: int, rng: np.random.Generator) -> Series:
    s = uniform(n, rng)
    return Series(s[:, None], narma10(NARMA_INPUT * (s + 1) / 2)[:, None])


def _memory(n: int, nodes: int, rng: np.random.Generator) -> Series:
    s = uniform(n, rng)
    return Series(s[:, None], delayed(s, 2 * nodes))


def _parity(n: int, nodes: int, rng: np.random.Generator) -> Series:
    s = binary(n, rng)
    return Series(s[:, None], parities(s, PARITIES))


def _capacity(y: np.ndarray, target: np.ndarray) -> float:
    return float(capacities(y, target).sum())


def normal(x: np.ndarray) -> np.ndarray:
    """A series, (n, C), with mean 0 and standard deviation 1 in every channel."""
    return (x - x.mean(axis=0)) / x.std(axis=0)


def mackey_glass_series(n: int, rng: np.random.Generator) -> np.ndarray:
    """Mackey-Glass from a random constant past, normal, (n, 1)."""
    return normal(mackey_glass(n, start=rng.uniform(0.8, 1.3))[:, None])


def lorenz_series(n: int, rng: np.random.Generator) -> np.ndarray:
    """Lorenz's system from a random start, normal, (n, 3)."""
    x, y, z = rng.uniform(-5, 5, 3)
    return normal(lorenz(n, LORENZ_DT, (x, y, z + 25)))


def _mackey_glass(n: int, nodes: int, rng: np.random.Generator) -> Series:
    x = mackey_glass_series(n + MACKEY_GLASS_AHEAD, rng)
    return Series(x[:n], x[MACKEY_GLASS_AHEAD:])


def _lorenz(n: int, nodes: int, rng: np.random.Generator) -> Series:
    x = lorenz_series(n + LORENZ_AHEAD, rng)[:, :1]
    return Series(x[:n], x[LORENZ_AHEAD:])


def _sine_square(n: int, nodes: int, rng: np.random.Generator) -> Series:
    u, which = sine_square(n // SAMPLES_PER_PERIOD, rng)
    return Series(u[:, None], which[:, None])


TASKS = {
    task.name: task
    for task in (
        Task("narma10", "NRMSE", _narma, nrmse),
        Task("memory", "linear memory capacity", _memory, _capacity, higher=True),
        Task("parity", "parity capacity", _parity, _capacity, higher=True),
        Task("mackey-glass", "NRMSE, 84 ahead", _mackey_glass, nrmse),
        Task("lorenz", "NRMSE, 0.5 ahead", _lorenz, nrmse),
        Task("sine-square", "NRMSE", _sine_square, nrmse),
    )
}
"""Canonical definitions: u of NARMA-10 uniform in [0, 0.5]; the memory of 0, 1, ..., 2N - 1 samples ago (Jaeger, GMD
Report 152 (2001), counts from 1); parities of 2 to 11 binary inputs; Mackey-Glass with tau = 17, sampled at 1."""


@dataclass(frozen=True)
class FreeRun:
    """A task whose networks are taught the next sample and then go on by themselves.

    Attributes
    ----------
    name, figure : str
    make : callable
        (number of samples, random generator) -> (n, C)
    channels, free : int
        of the series; samples that each start goes on for
    unit : float
        of the figure, for one sample
    """

    name: str
    figure: str
    make: Callable[[int, np.random.Generator], np.ndarray]
    channels: int
    free: int
    unit: float
    train: int = TRAIN

    higher = True

    def judge(self, y: np.ndarray, target: np.ndarray) -> float:
        """How long runs from several starts are valid, (free, starts, C) each; mean over starts."""
        return valid_time(y, target) * self.unit


def valid_time(y: np.ndarray, target: np.ndarray) -> float:
    """Samples for which runs are within :data:`VALID` of a normal series (rms over channels), mean over starts.

    Examples
    --------
    >>> y, target = np.zeros((4, 1, 1)), np.array([0.0, 0.1, 0.5, 0.1])[:, None, None]
    >>> valid_time(y, target)
    2.0
    """
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.sqrt(((y - target) ** 2).mean(axis=2)) < VALID
    return float(np.cumprod(good, axis=0).sum(axis=0).mean())


FREE_RUNS = {
    task.name: task
    for task in (
        FreeRun("mackey-glass-free", "valid steps, of 400", mackey_glass_series, 1, 400, 1.0),
        FreeRun("lorenz-free", "valid Lyapunov times, of 7.2", lorenz_series, 3, 400, LORENZ_DT * LYAPUNOV),
    )
}
