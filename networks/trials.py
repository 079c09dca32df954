"""Trials of trained networks: free runs that generate, and waveforms to be recognised."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.loop import Record, readout, simulate
from spinloom.networks.lost import FirstLost, Lost
from spinloom.networks.measures import free_run_error, phase_drift, shape_error
from spinloom.networks.tasks import CLASSES, inputs
from spinloom.networks.topology import Weights

Progress = Callable[[int], None] | None
Watch = Callable[[Record], None] | None


@dataclass(frozen=True)
class FreeRun:
    """What S networks did on their own.

    Attributes
    ----------
    z : (n_ticks, S, K) ndarray
        outputs in free run
    f : (period_ticks, S, K) ndarray
        one period of the target of each network
    record : Record
        of the free run
    state : object
        at the end
    lost : tuple of Lost or None
        where each network left the finite numbers, in ticks from the start of the washout; its node is known where
        signals were kept or watched
    """

    z: np.ndarray
    f: np.ndarray
    record: Record
    state: Any = None
    lost: tuple[Lost | None, ...] = ()

    @property
    def nrmse(self) -> np.ndarray:
        """rms(z - f) / std(f) over the whole free run, without phase alignment, (S,)."""
        return free_run_error(self.z, self.f)

    @property
    def shape_error(self) -> np.ndarray:
        """The same with every period aligned in phase, (S,)."""
        return shape_error(self.z, self.f)

    @property
    def phase_drift(self) -> np.ndarray:
        """Slope of the phase against the target's (rad per period; positive leads), (S,)."""
        return phase_drift(self.z, self.f)


def per_network(f: np.ndarray, weights: Weights) -> np.ndarray:
    """Targets of all networks, (period_ticks, S, K), from one for all of them or one for each.

    Parameters
    ----------
    f : (period_ticks,), (period_ticks, K) or (period_ticks, S, K) ndarray
        two dimensions are one target of K outputs
    weights : Weights
        S networks of K outputs

    Raises
    ------
    SpinloomError
        for a target of another shape
    """
    given = np.asarray(f, dtype=float)
    f = given[:, None] if given.ndim == 1 else given
    f = f[:, None] if f.ndim == 2 else f
    if f.ndim != 3 or f.shape[1] not in (1, weights.networks) or f.shape[2] != weights.outputs:
        raise SpinloomError(
            f"target: expected one period of {weights.outputs} outputs, of all {weights.networks} networks or of each, "
            f"got shape {given.shape}"
        )
    return np.broadcast_to(f, (len(f), weights.networks, weights.outputs))


def clock_ticks(clock: np.ndarray | None, weights: Weights, period_ticks: int, periods: int) -> np.ndarray | None:
    """A clock for some periods, (periods period_ticks, S); None without one.

    Parameters
    ----------
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of it, of each network if they differ
    weights : Weights
        S networks
    period_ticks, periods : int

    Raises
    ------
    SpinloomError
        for a clock of another shape
    """
    if clock is None:
        return None
    given = np.asarray(clock, dtype=float)
    one = given[:, None] if given.ndim == 1 else given
    if one.ndim != 2 or len(one) != period_ticks or one.shape[1] not in (1, weights.networks):
        raise SpinloomError(
            f"clock: expected one period of {period_ticks} ticks, of all {weights.networks} networks or of each, "
            f"got shape {given.shape}"
        )
    return np.tile(np.broadcast_to(one, (period_ticks, weights.networks)), (periods, 1))


def generate(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    periods: int,
    washout: int,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
    seed: int = 0,
    record: str = "z",
    watch: Watch = None,
    solve: Callable[..., tuple[Any, Record]] = simulate,
) -> FreeRun:
    """From equilibrium, a washout with the target fed back, then a free run in closed loop.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        S trained networks
    f : (period_ticks,), (period_ticks, K) or (period_ticks, S, K) ndarray
        one period of the target, of each network if they differ
    periods, washout : int
        periods in free run, and before it
    progress : callable, optional
        called with the number of ticks just done
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of the input s, in the washout and in the free run
    seed : int
        of the nodes' own noise, where they are warm
    record : {"z", "r", "all"}
        what of the free run is kept
    watch : callable, optional
        sees everything of each chunk, washout included
    solve : callable
        :func:`spinloom.networks.loop.simulate`, or another with its signature

    Returns
    -------
    result : FreeRun
    """
    f = per_network(f, weights)
    target = np.tile(f, (washout + periods, 1, 1))
    hold = np.arange(len(target)) < washout * len(f) - 1
    s = clock_ticks(clock, weights, len(f), washout + periods)
    lost = FirstLost()
    how: dict[str, Any] = {"seed": seed, "record": record, "progress": progress, "watch": lost.beside(watch)}
    state, kept = solve(node, weights, target=target, hold=hold, s=s, **how)
    if watch is None:
        lost(kept)
    free = Record(*(None if x is None else x[washout * len(f) :] for x in kept))
    return FreeRun(free.z, f, free, state, tuple(lost.of_each))


@dataclass(frozen=True)
class Recognition:
    """Trials of S networks, T each.

    Attributes
    ----------
    features : (S, T, N) or (S, T, 2 N) ndarray
        node signals averaged over the last periods, and their squares, if asked for
    classes, answers : (S, T) int ndarray
        what was fed in, what was recognised; -1 in a trial that is not finite
    """

    features: np.ndarray
    classes: np.ndarray
    answers: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """Share of right answers of each network, (S,)."""
        return (self.classes == self.answers).mean(axis=1)

    def confusion(self) -> np.ndarray:
        """Trials by (true class, answer), summed over networks; those without an answer are left out."""
        table = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
        answered = self.answers >= 0
        np.add.at(table, (self.classes[answered], self.answers[answered]), 1)
        return table


def recognise(
    node: Node,
    weights: Weights,
    *,
    trials: int,
    period_ticks: int,
    periods: int,
    rng: np.random.Generator,
    progress: Progress = None,
    watch: Watch = None,
    together: int | None = None,
    seed: int = 0,
    averaged: int = 1,
    power: bool = False,
    finite: bool = False,
    only: slice | None = None,
) -> Recognition:
    """Feed waveforms of random phase to networks in equilibrium.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        S networks; with read-outs of one output per class, or untrained
    trials : int
        per network, the classes in turn
    period_ticks, periods : int
        how long the waveform is fed in
    rng : numpy.random.Generator
        of the random phases
    progress : callable, optional
        called with the number of ticks just done
    watch : callable, optional
        sees everything of each chunk; its networks are trials
    together : int, optional
        how many trials run at once; all if not given
    seed : int
        of the nodes' own noise, where they are warm
    averaged : int
        last periods that signals are averaged over
    power : bool
        whether their squares are averaged too: what a power detector at each junction shows
    finite : bool
        whether a trial that leaves the finite numbers ends all, with a
        :class:`spinloom.device_models.errors.DivergedError` that names it
    only : slice, optional
        which trials of a single network are run, as they are among all of them; all if not given

    Returns
    -------
    result : Recognition
        of the trials that were run
    """
    S, n_ticks, settling = weights.networks, periods * period_ticks, (periods - averaged) * period_ticks
    classes = np.tile(np.arange(trials) % len(CLASSES), S)
    s = inputs(classes, rng.uniform(0, 2 * np.pi, S * trials), n_ticks, period_ticks)
    run = range(S * trials) if only is None else range(trials)[only]
    many, features = weights.repeat(trials), []
    together = together or len(run)
    for at in run[::together]:
        some, fed = many.take(slice(at, min(at + together, run.stop))), s[:, at : min(at + together, run.stop)]
        # Every group of trials has noise of its own.
        options: dict[str, Any] = {"progress": progress, "watch": watch, "seed": seed + at}
        if finite:
            options["names"] = [f"trial {(at + k) % trials}" for k in range(some.networks)]
        signals, squares = _averages(node, some, fed, settling, period_ticks, options)
        features.append(np.concatenate([signals, squares], axis=1) if power else signals)
    joint = np.concatenate(features)
    w_out, classes = many.w_out[run.start : run.stop], classes[run.start : run.stop]
    if w_out.shape[-1] != joint.shape[-1] + 1:
        if np.any(w_out):
            raise SpinloomError(
                f"power: the classifier was trained on {w_out.shape[-1] - 1} features, got {joint.shape[-1]}; ask for "
                "those of the training"
            )
        w_out = np.zeros((*w_out.shape[:-1], joint.shape[-1] + 1))  # not trained yet
    answers = classify(w_out, joint)
    return Recognition(joint.reshape(S, len(run) // S, -1), classes.reshape(S, -1), answers.reshape(S, -1))


def _averages(
    node: Node, weights: Weights, s: np.ndarray, settling: int, period_ticks: int, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Signals and their squares, (S, N) each, averaged period by period over the ticks after the first ``settling``."""
    # The loop stays open, and a classifier may read more than r, so it is left out.
    weights = weights.with_readout(np.zeros((weights.networks, weights.outputs, weights.nodes + 1)))
    state, means = None, []
    starts = ([0] if settling else []) + list(range(settling, len(s), period_ticks))
    for begin, end in itertools.pairwise([*starts, len(s)]):
        target = np.zeros((end - begin, weights.networks, weights.outputs))
        forced: dict[str, Any] = {"target": target, "hold": np.ones(len(target), bool), "s": s[begin:end]}
        record = "z" if begin < settling else "r"
        state, kept = simulate(node, weights, **forced, state=state, record=record, **options)
        if record == "r":
            with np.errstate(over="ignore", invalid="ignore"):
                means.append((kept.r.mean(axis=0), (kept.r**2).mean(axis=0)))
    with np.errstate(over="ignore", invalid="ignore"):
        signals, squares = np.mean(means, axis=0)
    return signals, squares


def classify(w_out: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The class that the read-out names: (S, K, F + 1) of F features, (S, F) -> (S,) int; -1 where it is not finite."""
    scores = np.asarray(readout(w_out, features))
    return np.where(np.isfinite(scores).all(axis=-1), scores.argmax(axis=-1), -1)
