"""Recognition that is hard enough for a baseline to fail: waveforms by shape or by frequency, in noise, of any onset.

A trial is a short window in which a waveform begins at an unknown time and phase; periods and amplitudes jitter.
All waveforms have the same power. A network hears the window, and a linear classifier reads the means and mean squares
of its signals over all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.provenance import data_folder
from spinloom.networks.benchmarks.reservoir import Progress, Reading, Ridge, follow, read
from spinloom.networks.tasks import waveform
from spinloom.networks.topology import Weights

SHAPES = ("sine", "square", "triangle", "sawtooth", "falling", "pulse", "half", "harmonics")
"""The first 2, 4 or 8 are told apart by shape."""
PERIOD = 16.0
"""Samples, of waveforms that are told apart by shape."""
PERIODS = (8.0, 24.0)
"""Shortest and longest, of sines that are told apart by frequency; the others are spaced evenly by ratio."""
WINDOW = 64
"""Samples of a trial; the onset is in its first half."""
PERIOD_JITTER, AMPLITUDE_JITTER = 0.05, 0.1
"""Relative standard deviation, drawn anew for each period."""
NOISES = (None, 20.0, 10.0, 5.0)
"""Ratios of the power of a waveform to that of the noise (dB) that are tried; None is no noise."""
TRIALS = 200
"""For training, and as many for testing."""
VOWELS, VOWELS_FORMAT = "japanese vowels", 1


class Trials(NamedTuple):
    """Series to be told apart.

    Attributes
    ----------
    u : (n, trials, C) ndarray
    heard : (n, trials) ndarray of bool
        samples that belong to the trial
    labels : (trials,) int ndarray
    train : int
        how many of them, the first, are for training
    """

    u: np.ndarray
    heard: np.ndarray
    labels: np.ndarray
    train: int

    def some(self, which: np.ndarray) -> Trials:
        """Those with these numbers, in this order.

        Examples
        --------
        >>> Listening(trials=8).make(0).some(np.array([0, 1, 9])).labels.tolist()
        [0, 1, 1]
        """
        train = int((np.asarray(which) < self.train).sum())
        return Trials(self.u[:, which], self.heard[:, which], self.labels[which], train)


@dataclass(frozen=True)
class Listening:
    """A set of classes, and how hard it is to hear.

    Attributes
    ----------
    by : {"shape", "frequency"}
    classes : int
        2, 4 or 8
    noise : float or None
        power of the waveform over that of the noise (dB); None for none
    trials : int
        for training, and as many for testing
    """

    by: str = "shape"
    classes: int = 4
    noise: float | None = 10.0
    trials: int = TRIALS

    channels = 1
    higher = False
    figure = "wrong"

    def __post_init__(self) -> None:
        if self.by not in ("shape", "frequency"):
            raise SpinloomError(f"by: expected shape or frequency, got {self.by!r}")
        if self.classes not in (2, 4, 8):
            raise SpinloomError(f"classes: expected 2, 4 or 8, got {self.classes}")

    @property
    def name(self) -> str:
        """As in ``shape-4-10dB``; ``clean`` without noise."""
        return f"{self.by}-{self.classes}-" + ("clean" if self.noise is None else f"{self.noise:g}dB")

    def make(self, seed: int) -> Trials:
        """The trials of a seed.

        Examples
        --------
        >>> Listening(trials=8).make(0).u.shape
        (64, 16, 1)
        """
        rng = np.random.default_rng([seed, 8])
        labels = np.arange(2 * self.trials) % self.classes
        u = np.stack([self._one(int(label), rng) for label in labels], axis=1)
        if self.noise is not None:
            u = u + 10 ** (-self.noise / 20) * rng.standard_normal(u.shape)
        # Classes come in turn, so both halves hold as many of each.
        return Trials(u[..., None], np.ones(u.shape, bool), labels, self.trials)

    def _one(self, label: int, rng: np.random.Generator) -> np.ndarray:
        ratio = PERIODS[1] / PERIODS[0]
        sine = self.by == "frequency"
        period = PERIODS[0] * ratio ** (label / (self.classes - 1)) if sine else PERIOD
        onset = int(rng.integers(0, WINDOW // 2))
        whole, share = _jittered(WINDOW - onset, period, rng)
        amplitudes = 1 + AMPLITUDE_JITTER * rng.standard_normal(whole.max() + 1)
        u = np.zeros(WINDOW)
        u[onset:] = amplitudes[whole] * shape("sine" if sine else SHAPES[label], share)
        return u


def _jittered(n: int, period: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Number of the period that each sample is in, and the share of it that has passed, from a random phase."""
    lengths = period * np.clip(1 + PERIOD_JITTER * rng.standard_normal(2 + int(2 * n / period)), 0.5, 1.5)
    ends = np.cumsum(lengths)
    t = np.arange(n) + rng.uniform(0, lengths[0])
    whole = np.searchsorted(ends, t, side="right")
    return whole, (t - (ends - lengths)[whole]) / lengths[whole]


def shape(name: str, share: np.ndarray) -> np.ndarray:
    """A waveform of mean 0 and mean square 1 at shares of its period.

    Examples
    --------
    >>> share = (np.arange(1000) + 0.5) / 1000
    >>> all(abs((shape(name, share) ** 2).mean() - 1) < 1e-2 for name in SHAPES)
    True
    """
    fine = (np.arange(2000) + 0.5) / 2000
    one, f = _raw(name, fine), _raw(name, share)
    return (f - one.mean()) / one.std()


def _raw(name: str, share: np.ndarray) -> np.ndarray:
    if name == "falling":
        return -waveform("sawtooth", 2 * np.pi * share)
    if name == "pulse":
        return np.where(np.mod(share, 1) < 0.25, 1.0, 0.0)
    if name == "half":
        return np.maximum(np.sin(2 * np.pi * share), 0.0)
    return waveform(name, 2 * np.pi * share)


@dataclass(frozen=True)
class Vowels:
    """Which of nine speakers says /ae/: 270 utterances for training, 370 for testing, of 12 coefficients.

    Source: Kudo, Toyama and Shimbo, Pattern Recognition Letters 20, 1103 (1999); data set of the UCI repository,
    doi:10.24432/C5NS47, CC BY 4.0. See ``data/benchmarks/README.md``.
    """

    name = "japanese-vowels"
    channels = 12
    higher = False
    figure = "wrong"

    def make(self, seed: int) -> Trials:
        """The utterances; a seed changes nothing. Inputs are centred and scaled by the training set.

        Examples
        --------
        >>> found = Vowels().make(0)
        >>> found.u.shape, found.train, len(set(found.labels))
        ((29, 640, 12), 270, 9)
        """
        data = files.load(data_folder() / "benchmarks" / "japanese_vowels.nc", VOWELS, VOWELS_FORMAT)
        u = data["coefficients"].values.astype(float).transpose(1, 0, 2)
        heard = np.arange(len(u))[:, None] < data["frames"].values
        known = u[:, : data.attrs["train"]][heard[:, : data.attrs["train"]]]
        u = np.where(heard[..., None], (u - known.mean(axis=0)) / known.std(axis=0), 0.0)
        return Trials(u, heard, data["speaker"].values.astype(int) - 1, int(data.attrs["train"]))


def vowels_dataset(utterances: list[np.ndarray], speakers: list[int], train: int) -> xr.Dataset:
    """Utterances, (frames, 12) each, as the data set that is shipped; those for training come first."""
    longest = max(len(one) for one in utterances)
    padded = np.stack([np.pad(one, ((0, longest - len(one)), (0, 0))) for one in utterances])
    return xr.Dataset(
        {
            "coefficients": (("utterance", "frame", "coefficient"), padded.astype(np.float32), {"units": "1"}),
            "frames": ("utterance", np.array([len(one) for one in utterances], np.int32)),
            "speaker": ("utterance", np.array(speakers, np.int32)),
        },
        attrs={
            "train": train,
            "source": "Japanese Vowels, UCI Machine Learning Repository, doi:10.24432/C5NS47",
            "license": "CC BY 4.0",
        },
    )


def features(
    node: Node,
    weights: Weights,
    trials: list[Trials],
    reading: Reading | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> np.ndarray:
    """Means and mean squares of the signals of S networks over what they heard of trials of their own.

    Parameters
    ----------
    node, weights, reading, seed, progress
        as for :func:`spinloom.networks.benchmarks.reservoir.drive`
    trials : list of S Trials
        of one form

    Returns
    -------
    x : (S, trials, 2 V N) ndarray
    """
    count = len(trials[0].labels)
    u = np.concatenate([one.u for one in trials], axis=1)
    heard = np.concatenate([one.heard for one in trials], axis=1)
    sums: list[np.ndarray] = []
    at = 0

    def add(x: np.ndarray, _: np.ndarray) -> None:
        nonlocal at
        now = heard[at : at + len(x)]
        at += len(x)
        with np.errstate(over="ignore", invalid="ignore"):
            new = np.concatenate([np.einsum("ts,tsf->sf", now, x), np.einsum("ts,tsf->sf", now, x**2)], axis=1)
        sums[:] = [sums[0] + new] if sums else [new]

    follow(node, weights.repeat(count), u, add, reading, seed=seed, progress=progress)
    means = sums[0] / heard.sum(axis=0)[:, None]
    return means.reshape(len(trials), count, -1)


def heard_alone(trials: Trials) -> np.ndarray:
    """What a linear classifier is given without nodes: every sample of the window, (trials, n C)."""
    return trials.u.swapaxes(0, 1).reshape(len(trials.labels), -1)


def wrong(x: np.ndarray, trials: Trials, ridge: float) -> float:
    """Share of test trials that a linear classifier of features, (trials, F), gets wrong; 1 where they are not finite.

    Examples
    --------
    >>> labels = np.arange(8) % 2
    >>> trials = Trials(np.zeros((1, 8, 1)), np.ones((1, 8), bool), labels, 4)
    >>> wrong(np.eye(2)[labels], trials, 1e-3)
    0.0
    """
    return wrong_each(x, trials, (ridge,))[0]


def wrong_each(x: np.ndarray, trials: Trials, ridges: tuple[float, ...]) -> list[float]:
    """As :func:`wrong`, for several penalties."""
    if not np.isfinite(x).all():
        return [1.0] * len(ridges)
    truth = trials.labels[trials.train :]
    return [float((answer != truth).mean()) for answer in answers(x, trials, ridges)]


def answers(x: np.ndarray, trials: Trials, ridges: tuple[float, ...]) -> list[np.ndarray]:
    """What a linear classifier of features, (trials, F), takes the test trials for, for each penalty."""
    spread = x[: trials.train].std(axis=0)
    x = x / np.where(spread > 1e-12, spread, 1.0)
    classes = np.eye(trials.labels.max() + 1)
    fit = Ridge(x[: trials.train], classes[trials.labels[: trials.train]])
    return [read(fit.readout(ridge), x[trials.train :]).argmax(axis=1) for ridge in ridges]


def conditions(by: str, trials: int = TRIALS) -> list[Listening]:
    """All that are told: 2, 4 and 8 classes, each without noise and with it."""
    make = partial(replace, Listening(by, trials=trials))
    return [make(classes=classes, noise=noise) for classes in (2, 4, 8) for noise in NOISES]
