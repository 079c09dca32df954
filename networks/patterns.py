"""Several patterns in one network, and an input whose level chooses which of them it generates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.loop import Record, simulate
from spinloom.networks.lost import FirstLost, Lost
from spinloom.networks.measures import shape_error
from spinloom.networks.seeds import TRIMS
from spinloom.networks.topology import Weights
from spinloom.networks.training import force_on, in_pieces, prior, taught_on

WASHOUT = 5
"""Periods with the first pattern fed back before a network chooses on its own."""
_CHOSEN_DWELL = 6
"""Periods between the switches that read-outs are chosen on; figures are of other programmes."""
Progress = Callable[[int], None] | None


class Choosing(BaseModel):
    """How a read-out is trained to generate the pattern that the input asks for.

    Attributes
    ----------
    dwell : int
        periods between two switches
    teacher_tours, force_tours : int
        how often every switch from one pattern to another is made, with the noisy target fed back, and with FORCE
    noise, ridge, prior_ticks, tries, seed
        as of :class:`spinloom.networks.training.Training`
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dwell: int = Field(default=8, ge=2, le=1000)
    teacher_tours: int = Field(default=3, ge=1, le=1000)
    force_tours: int = Field(default=40, ge=1, le=10_000)
    noise: float = Field(default=4e-3, ge=0, le=1)
    ridge: float = Field(default=6e-6, gt=0, le=1e6)
    prior_ticks: float = Field(default=2000, gt=0, le=1e9)
    tries: int = Field(default=4, ge=1, le=100)
    seed: int = Field(default=0, ge=0)

    def lasts(self, patterns: int) -> int:
        """Periods that training takes, for so many patterns.

        Examples
        --------
        >>> Choosing(teacher_tours=1, force_tours=2).lasts(3)
        185
        """
        visits = len(tour(patterns))
        return (self.teacher_tours + self.force_tours) * visits * self.dwell + WASHOUT + visits * _CHOSEN_DWELL


class Programme(NamedTuple):
    """What is asked of a network, and when.

    Attributes
    ----------
    which : (n_periods,) int ndarray
        pattern of each period
    target : (n_ticks, K) ndarray
    s : (n_ticks,) ndarray
        the input, held while a pattern is asked for
    """

    which: np.ndarray
    target: np.ndarray
    s: np.ndarray


def levels(patterns: int) -> np.ndarray:
    """Level of the input for each pattern, evenly within [-1, 1].

    Examples
    --------
    >>> levels(3)
    array([-1.,  0.,  1.])
    """
    return np.linspace(-1, 1, patterns)


def tour(patterns: int) -> list[int]:
    """Patterns in an order in which, begun again at its end, every switch is made once.

    Examples
    --------
    >>> tour(3)
    [0, 1, 0, 2, 1, 2]
    """
    return [k for i in range(patterns) for j in range(i + 1, patterns) for k in (i, j)]


def programme(patterns: np.ndarray, tours: int, dwell: int) -> Programme:
    """Tours of all switches.

    Parameters
    ----------
    patterns : (P, period_ticks, K) ndarray
    tours, dwell : int
        how many, and periods between two switches

    Raises
    ------
    SpinloomError
        for fewer than two patterns

    Examples
    --------
    >>> programme(np.zeros((2, 10, 1)), 3, 4).target.shape
    (240, 1)
    """
    if len(patterns) < 2:
        raise SpinloomError(f"patterns: expected two or more to choose from, got {len(patterns)}")
    which = np.repeat(tour(len(patterns)) * tours, dwell)
    return Programme(
        which, np.concatenate([patterns[k] for k in which]), np.repeat(levels(len(patterns))[which], patterns.shape[1])
    )


def learn_patterns(
    node: Node, weights: Weights, patterns: np.ndarray, how: Choosing, progress: Progress = None
) -> Weights:
    """Train S networks: teacher-forced ridge regression, then FORCE in closed loop, through all switches.

    As :func:`spinloom.networks.training.learn`, on a target that changes with the input. There is no trim: the
    input holds no time, so what a network's phase does is its own affair. Of ``tries`` read-outs the one that does best
    in a free run, on its worst switch, is kept.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        with input weights
    patterns : (P, period_ticks, K) ndarray
        one period of each
    how : Choosing
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    weights : Weights
        with the trained read-out
    """
    S, ticks = weights.networks, patterns.shape[1]
    many = weights.repeat(how.tries)
    taught = programme(patterns, how.teacher_tours, how.dwell)
    clean = np.repeat(taught.target[:, None], many.networks, axis=1)
    found = taught_on(node, many, clean, _for_all(taught.s, many), how, how.dwell * ticks // 2, progress)
    forced = programme(patterns, how.force_tours, how.dwell)
    _, many = force_on(
        node,
        found.weights,
        np.repeat(forced.target[:, None], many.networks, axis=1),
        _for_all(forced.s, many),
        found.covariance * prior(how, many.networks)[:, None, None],
        found.state,
        in_pieces(progress, ticks),
    )
    tried = choose(node, many, patterns, 1, _CHOSEN_DWELL, seed=TRIMS, progress=progress).late.max(axis=0)
    best = np.arange(S) * how.tries + tried.reshape(S, how.tries).argmin(axis=1)
    return weights.with_readout(many.w_out[best])


def _for_all(s: np.ndarray, weights: Weights) -> np.ndarray:
    return np.repeat(s[:, None], weights.networks, axis=1)


class Chosen(NamedTuple):
    """What S networks did while an input chose.

    Attributes
    ----------
    z : (n_ticks, S, K) ndarray
        outputs in free run
    visits : (n_visits, 2) int ndarray
        from which pattern to which; the first visit comes from the last pattern of a tour
    error : (n_visits, dwell, S) ndarray
        NRMSE of each period against the pattern that is asked for, aligned in phase
    nearest : (n_visits, dwell, S) int ndarray
        the pattern that each period is nearest to
    record : Record
        of the free run
    lost : tuple of Lost or None
        as of :class:`spinloom.networks.trials.FreeRun`
    """

    z: np.ndarray
    visits: np.ndarray
    error: np.ndarray
    nearest: np.ndarray
    record: Record
    lost: tuple[Lost | None, ...] = ()

    @property
    def late(self) -> np.ndarray:
        """Rms error over the second half of each visit, (n_visits, S)."""
        half = self.error[:, self.error.shape[1] // 2 :]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.sqrt((half**2).mean(axis=1))

    @property
    def right(self) -> np.ndarray:
        """Share of periods in the second halves that are nearest to the pattern asked for, (S,)."""
        half = self.nearest[:, self.nearest.shape[1] // 2 :]
        return (half == self.visits[:, 1, None, None]).mean(axis=(0, 1))

    def settled(self, bound: float) -> np.ndarray:
        """Periods until the error is within a bound and stays there, (n_visits, S); NaN where it does not."""
        dwell = self.error.shape[1]
        beyond = ~(self.error <= bound)
        last = np.where(beyond.any(axis=1), dwell - beyond[:, ::-1].argmax(axis=1), 0)
        return np.where(last < dwell, last, np.nan)


def choose(
    node: Node,
    weights: Weights,
    patterns: np.ndarray,
    tours: int,
    dwell: int,
    *,
    seed: int = 0,
    record: str = "z",
    progress: Progress = None,
    watch: Callable[[Record], None] | None = None,
    names: Sequence[str] = (),
) -> Chosen:
    """From equilibrium, a washout with the first pattern fed back, then a free run through tours of all switches.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        S trained networks
    patterns : (P, period_ticks, K) ndarray
    tours, dwell : int
        see :func:`programme`
    seed : int
        of the nodes' own noise, where they are warm
    record : {"z", "r", "all"}
        what of the free run is kept
    progress, watch : callable, optional
        as of :func:`spinloom.networks.loop.simulate`
    names : sequence of str, optional
        of the networks, where one that leaves the finite numbers ends the run

    Returns
    -------
    chosen : Chosen
    """
    asked, ticks = programme(patterns, tours, dwell), patterns.shape[1]
    washout = WASHOUT * ticks
    target = np.concatenate([np.tile(patterns[asked.which[0]], (WASHOUT, 1)), asked.target])
    s = np.concatenate([np.full(washout, asked.s[0]), asked.s])
    lost = FirstLost()
    how: dict[str, Any] = {"seed": seed, "record": record, "progress": progress, "watch": lost.beside(watch)}
    _, kept = simulate(
        node,
        weights,
        target=np.repeat(target[:, None], weights.networks, axis=1),
        hold=np.arange(len(target)) < washout - 1,
        s=_for_all(s, weights),
        names=names,
        **how,
    )
    if watch is None:
        lost(kept)
    free = Record(*(None if x is None else x[washout:] for x in kept))
    periods = free.z.reshape(-1, ticks, *free.z.shape[1:])
    against = np.stack([_each_period(periods, pattern) for pattern in patterns])  # (P, n_periods, S)
    error = np.take_along_axis(against, asked.which[None, :, None], axis=0)[0]
    to = asked.which[::dwell]
    shape = (len(to), dwell, weights.networks)
    nearest = against.argmin(axis=0).reshape(shape)
    return Chosen(
        free.z, np.column_stack([np.roll(to, 1), to]), error.reshape(shape), nearest, free, tuple(lost.of_each)
    )


def _each_period(periods: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Aligned NRMSE of every period, (n_periods, ticks, S, K) against (ticks, K): (n_periods, S)."""
    n, ticks, S, K = periods.shape
    side_by_side = periods.transpose(1, 0, 2, 3).reshape(ticks, n * S, K)
    f = np.broadcast_to(pattern[:, None], side_by_side.shape)
    return shape_error(side_by_side, f).reshape(n, S)
