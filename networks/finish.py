"""The finish: a read-out trained again, on reduced nodes that are corrected by what full ones do.

A network that was trained on reduced nodes and runs on full ones loses its rhythm first, and where it is
driven fast its shape too: the read-out leans on differences between signals that are smaller than what the
reduced model lacks. But full nodes are dear, and live ones cannot go back. So they are not trained on.
What is taken from them is how their signals differ from those of reduced nodes under the very same
drives, in every tick of a period. With these differences added to its signals, the reduced network goes where
the full one goes, and there it can be trained with all the noise, periods and tries that training takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spinloom.device_models.node import Around, Node, which_devices
from spinloom.device_models.scan import advance as scan
from spinloom.networks.loop import LoopState, Record, readout, simulate, start
from spinloom.networks.measures import shape_error
from spinloom.networks.topology import Weights
from spinloom.networks.training import WASHOUT, Training, learn, trim_phase
from spinloom.networks.trials import FreeRun, clock_ticks, generate, per_network

TRIM_ROUNDS, TRIM_PERIODS = 8, 100
"""Free runs of the corrected reduced network, and periods in each."""
SETTLED = 1e-4
"""Change from period to period (rms over a network, in units of the spread) of what the reduced nodes lack, below
which it is taken to repeat itself."""
GUIDE_TICK = 0.002
"""About what a tick of the reduced network costs, as a share of one in full micromagnetics."""
_KEPT_SHAPE = 0.3
"""A network whose shape error is larger does not generate on full nodes, whatever its read-out."""
Progress = Callable[[float], None] | None


class Plan(BaseModel):
    """How long the finish runs.

    Attributes
    ----------
    washout, longest : int
        periods from equilibrium with the target fed back, at least and at most: they end when what reduced nodes
        lack repeats itself, and on that the read-out is trained
    rounds : int
        how often the phase is trimmed afterwards, on what the closed loop shows
    periods : int
        of each round in closed loop
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    washout: int = Field(default=4, ge=1, le=10_000)
    longest: int = Field(default=16, ge=1, le=10_000)
    rounds: int = Field(default=2, ge=1, le=100)
    periods: int = Field(default=2, ge=1, le=10_000)

    @model_validator(mode="after")
    def _in_order(self) -> Plan:
        if self.longest < self.washout:
            raise ValueError(f"longest: expected at least the {self.washout} periods of the washout")
        return self

    @property
    def closed(self) -> int:
        """Periods that the nodes run in closed loop.

        Examples
        --------
        >>> Plan(rounds=2, periods=2).closed
        4
        """
        return self.rounds * self.periods

    @property
    def total(self) -> int:
        """All periods that the nodes run, at most.

        Examples
        --------
        >>> Plan(washout=4, longest=16, rounds=2, periods=2).total
        20
        """
        return self.longest + self.closed

    def work(self, how: Training, clocked: bool) -> float:
        """The same with what the reduced network runs, as far as that costs anything (periods)."""
        trims = 0 if clocked else self.rounds * TRIM_ROUNDS * (WASHOUT + TRIM_PERIODS)
        return self.total + GUIDE_TICK * (how.lasts(clocked) + trims)


class Finished(NamedTuple):
    """What the finish gives, of S networks.

    Attributes
    ----------
    weights : Weights
        with new read-outs; those of networks that do not generate are as they were
    before, after : FreeRun
        of the corrected reduced networks, with the old read-outs and with the new, also where those are not kept:
        what full nodes are expected to do
    difference : (S,) ndarray
        largest difference of any node's signal from the guide's under the same drives, in units of
        the network
    finished : (S,) bool ndarray
        whether the network generates on these nodes, so that it has a new read-out
    washout : int
        periods that it took until what the guide lacks repeats itself
    """

    weights: Weights
    before: FreeRun
    after: FreeRun
    difference: np.ndarray
    finished: np.ndarray
    washout: int


class Ticking(NamedTuple):
    """State of corrected nodes: that of the nodes, ticks since the start of a period, and which correction each has."""

    nodes: Any
    tick: Any
    which: Any


@partial(jax.tree_util.register_dataclass, data_fields=["node", "difference"], meta_fields=["inner"])
@dataclass(frozen=True)
class Corrected(Around):
    """A node whose signals are corrected by what they lack in every tick of a period.

    Every correction counts as a device of its own.

    Attributes
    ----------
    node : Node
    difference : (period_ticks, devices) array
        to be added to the signal at the end of each tick
    inner : tuple of int, optional
        which device of ``node`` each is
    """

    node: Any
    difference: Any
    inner: tuple[int, ...] | None = None

    @property
    def devices(self) -> int:
        """How many corrections there are."""
        return self.difference.shape[1]

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> Ticking:
        """Put ``n`` devices in equilibrium, at the start of a period."""
        which = which_devices(n, devices, self.devices)
        inner = None if self.inner is None else np.array(self.inner)[which]
        return Ticking(self.node.start(n, seed, inner, progress), jnp.zeros((), int), jnp.asarray(which))

    def step(self, state: Ticking, inputs: Any) -> Ticking:
        """Advance by one tick."""
        return state._replace(
            nodes=self.node.step(state.nodes, inputs), tick=(state.tick + 1) % self.difference.shape[0]
        )

    def observe(self, state: Ticking) -> Any:
        """The signal of the node, corrected."""
        return self.node.observe(state.nodes) + jnp.asarray(self.difference)[state.tick - 1, state.which]

    def moment(self, state: Ticking) -> Any:
        """``<m>`` of the node, as it is."""
        return self.node.moment(state.nodes)


def finish(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    guide: Node,
    how: Training,
    plan: Plan | None = None,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
    state: LoopState | None = None,
) -> Finished:
    """Train S networks again for the nodes that they are meant for, of any kind.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        trained networks
    f : (period_ticks,), (period_ticks, K) or (period_ticks, S, K) ndarray
        one period of the target
    guide : Node
        a cheap node that is close to the first and can be started again: the reduced model as a
        network takes it
    how : Training
        as the networks were trained
    plan : Plan, optional
    progress : callable, optional
        called with the number of ticks of ``node`` just done, or not needed, and with shares of one for those of the
        guide
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of the input s; it keeps the time, so that no phase is trimmed
    state : LoopState, optional
        of ``node`` in equilibrium, where it has been started already

    Returns
    -------
    finished : Finished
    """
    plan, f = plan or Plan(), per_network(f, weights)
    S, N = weights.networks, weights.nodes
    own, which = weights.with_devices(np.arange(S * N).reshape(S, N)), weights.which()
    inner = None if which is None else tuple(which.tolist())
    beside = None if progress is None else lambda ticks: progress(GUIDE_TICK * ticks)
    follower, worst = guide.start(S * N, 0, which), np.zeros(S)

    def lacking(record: Record) -> np.ndarray:
        nonlocal follower, worst
        follower, r = replay(guide, follower, record.u)
        apart = (record.r - r)[-len(f) :]
        worst = np.maximum(worst, np.abs(apart).max(axis=(0, 2)))
        return apart

    def corrected(apart: np.ndarray) -> Corrected:
        return Corrected(guide, jnp.asarray(apart.reshape(len(f), S * N)), inner)

    def expected(nodes: Corrected, one: Weights) -> FreeRun:
        return generate(nodes, own.with_readout(one.w_out), f, TRIM_PERIODS, WASHOUT, clock=clock)

    state = start(node, weights) if state is None else state
    apart = np.full((len(f), S, N), np.inf)
    for washout in range(1, plan.longest + 1):
        state, record = run_on(node, weights, f, 1, state, progress, forced=True, clock=clock)
        state, last, apart = state._replace(z=f[-1]), apart, lacking(record)
        if washout >= plan.washout and _repeats(last, apart):
            break
    if progress is not None and washout < plan.longest:
        progress((plan.longest - washout) * len(f))
    nodes = corrected(apart)
    before = expected(nodes, weights)
    trained = learn(nodes, own, f, how, beside, clock=clock)
    new, alive = weights.with_readout(trained.weights.w_out), np.ones(S, bool)
    for _ in range(plan.rounds):
        state = state._replace(z=readout(new.w_out, state.r))
        state, record = run_on(node, new, f, plan.periods, state, progress, clock=clock)
        alive &= shape_error(record.z[-len(f) :], f) < _KEPT_SHAPE
        nodes = corrected(lacking(record))
        if clock is None:
            trimmed, _ = trim_phase(nodes, trained.weights, f, trained.lead, TRIM_ROUNDS, TRIM_PERIODS, beside)
            new = weights.with_readout(trimmed.w_out)
    after = expected(nodes, new)
    alive &= np.isfinite(after.nrmse)
    # What is not finished keeps its read-out to the last bit.
    new = weights.with_readout(np.where(alive[:, None, None], new.w_out, weights.w_out))
    return Finished(new, before, after, worst, alive, washout)


def _repeats(last: np.ndarray, apart: np.ndarray) -> bool:
    """Whether differences (period_ticks, S, N) of all networks are those of the period before."""
    return bool((np.sqrt(((apart - last) ** 2).mean(axis=(0, 2))) <= SETTLED).all())


def run_on(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    periods: int,
    state: LoopState | None = None,
    progress: Progress = None,
    *,
    forced: bool = False,
    clock: np.ndarray | None = None,
    record: str = "all",
) -> tuple[LoopState, Record]:
    """Some whole periods further from where networks stand, in closed loop or with the target fed back.

    Parameters
    ----------
    node, weights, progress
        as in :func:`finish`
    f : (period_ticks, S, K) ndarray
    periods : int
    state : LoopState, optional
        equilibrium if not given
    forced : bool
        whether the target is fed back, but for the last tick, which closes the loop
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
    record : {"z", "r", "all"}

    Returns
    -------
    state : LoopState
    record : Record
    """
    target = np.tile(f, (periods, 1, 1))
    hold = (np.arange(len(target)) < len(target) - 1) & forced
    s = clock_ticks(clock, weights, len(f), periods)
    return simulate(node, weights, target=target, hold=hold, s=s, state=state, record=record, progress=progress)


def replay(node: Node, state: Any, u: np.ndarray) -> tuple[Any, np.ndarray]:
    """Drive devices as a network drove others.

    Parameters
    ----------
    node : Node
        as a network takes it
    state : object
        of S N of its devices
    u : (n_ticks, S, N) ndarray
        recorded drives

    Returns
    -------
    state : object
        at the end
    r : (n_ticks, S, N) ndarray
        their signals at the end of each tick
    """
    inputs = np.zeros((len(u), u[0].size, len(node.channels)))
    inputs[..., 0] = u.reshape(len(u), -1)
    state, r = scan(_observed, node, state, inputs, traceable=node.traceable)
    return state, r.reshape(u.shape)


def _observed(node: Node, state: Any, inputs: Any) -> tuple[Any, Any]:
    state = node.step(state, inputs)
    return state, node.observe(state)
