"""The finish: the trim of the phase, on the nodes that a network is meant for.

A network that was trained on reduced nodes and runs on full ones keeps its shape and loses its
rhythm: what the reduced model lacks shows first as a drift of the phase, one number per network.
One number mends it, the share of the slope's read-out that is added to w, as in
:func:`spinloom.networks.training.trim_phase`. But full nodes are dear, live ones cannot go back, and a
drift of a thousandth of a radian per period hides behind transients for tens of periods. So the drift
is not read off the few periods that the full nodes run. What is read off is how their signals
differ from those of reduced nodes under the very same drives, tick by tick of a period; with these
differences added to its signals, the reduced network goes where the full one goes, and its drift in
the long run costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Around, Node
from spinloom.device_models.scan import advance as scan
from spinloom.networks.loop import LoopState, Record, simulate
from spinloom.networks.measures import shape_error
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Weights
from spinloom.networks.training import WASHOUT, trim_phase
from spinloom.networks.trials import generate, per_network

TRIM_ROUNDS, TRIM_PERIODS = 8, 100
"""Free runs of the corrected reduced network, and periods in each."""
GUIDE_TICK = 0.002
"""About what a tick of the reduced network costs, as a share of one in full micromagnetics."""
_KEPT_SHAPE = 0.3
"""A network whose shape error is larger does not generate: its phase means nothing."""
Progress = Callable[[float], None] | None


class Plan(BaseModel):
    """How long the finish runs.

    Attributes
    ----------
    washout : int
        periods from equilibrium with the target fed back
    rounds : int
        how often the share is set anew
    periods : int
        of each round in closed loop
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    washout: int = Field(default=4, ge=1, le=10_000)
    rounds: int = Field(default=2, ge=1, le=100)
    periods: int = Field(default=2, ge=1, le=10_000)

    @property
    def total(self) -> int:
        """All periods that the nodes run.

        Examples
        --------
        >>> Plan(washout=4, rounds=2, periods=2).total
        8
        """
        return self.washout + self.rounds * self.periods

    @property
    def work(self) -> float:
        """The same with what the reduced network runs, as far as that costs anything (periods)."""
        return self.total + GUIDE_TICK * self.rounds * TRIM_ROUNDS * (WASHOUT + TRIM_PERIODS)


class Finished(NamedTuple):
    """What the finish gives, of S networks.

    Attributes
    ----------
    weights : Weights
        with new read-outs; those of networks that do not generate are as they were
    share : (S,) ndarray
        of the lead that was added (ticks)
    before, after : (S,) ndarray
        drift in the long run with the old read-out and with the new one (rad per period)
    difference : (S,) ndarray
        largest difference of any node's signal from the guide's under the same drives, in units of
        the network
    finished : (S,) bool ndarray
        whether the network generates, so that it could be finished
    """

    weights: Weights
    share: np.ndarray
    before: np.ndarray
    after: np.ndarray
    difference: np.ndarray
    finished: np.ndarray


class Ticking(NamedTuple):
    """State of a corrected node: that of the node itself, and ticks since the start of a period."""

    nodes: Any
    tick: Any


@partial(jax.tree_util.register_dataclass, data_fields=["node", "difference"], meta_fields=[])
@dataclass(frozen=True)
class Corrected(Around):
    """A node whose signals are corrected by what they lack in every tick of a period.

    Attributes
    ----------
    node : Node
    difference : (period_ticks, n) array
        to be added to the signal at the end of each tick
    """

    node: Any
    difference: Any

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> Ticking:
        """Put ``n`` devices in equilibrium, at the start of a period."""
        return Ticking(self.node.start(n, seed, devices, progress), jnp.zeros((), int))

    def step(self, state: Ticking, inputs: Any) -> Ticking:
        """Advance by one tick."""
        return Ticking(self.node.step(state.nodes, inputs), (state.tick + 1) % len(self.difference))

    def observe(self, state: Ticking) -> Any:
        """The signal of the node, corrected."""
        return self.node.observe(state.nodes) + jnp.asarray(self.difference)[state.tick - 1]

    def moment(self, state: Ticking) -> Any:
        """``<m>`` of the node, as it is."""
        return self.node.moment(state.nodes)


def finish(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    lead: np.ndarray,
    guide: Node,
    plan: Plan | None = None,
    progress: Progress = None,
    *,
    state: LoopState | None = None,
) -> Finished:
    """Take the drift out of the phase of S networks, on any kind of node.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        trained networks
    f : (period_ticks,), (period_ticks, K) or (period_ticks, S, K) ndarray
        one period of the target
    lead : (S, K, N + 1) ndarray
        read-outs of the target's slope, from :class:`spinloom.networks.training.Trained`
    guide : Node
        a cheap node that is close to the first and can be started again: the reduced model as a
        network takes it
    plan : Plan, optional
    progress : callable, optional
        called with the number of ticks of ``node`` just done, and with shares of one for those of the guide
    state : LoopState, optional
        of ``node`` in equilibrium, where it has been started already

    Returns
    -------
    finished : Finished

    Raises
    ------
    SpinloomError
        for a lead of another form than the read-outs
    """
    plan, f = plan or Plan(), per_network(f, weights)
    if np.shape(lead) != np.shape(weights.w_out):
        raise SpinloomError(
            f"lead: expected the form of the read-outs, {np.shape(weights.w_out)}, got {np.shape(lead)}; train again"
        )
    S, N = weights.networks, weights.nodes
    trimmed, alive, worst = weights, np.ones(S, bool), np.zeros(S)
    beside = None if progress is None else lambda ticks: progress(GUIDE_TICK * ticks)
    follower = guide.start(S * N, 0, weights.which())
    state, record = run_on(node, weights, f, plan.washout, state, progress, forced=True)
    follower, _ = replay(guide, follower, record.u)
    for _ in range(plan.rounds):
        state, record = run_on(node, trimmed, f, plan.periods, state, progress)
        follower, r = replay(guide, follower, record.u)
        apart = record.r - r
        worst = np.maximum(worst, np.abs(apart).max(axis=(0, 2)))
        alive &= shape_error(record.z[-len(f) :], f) < _KEPT_SHAPE
        corrected = Corrected(guide, jnp.asarray(apart[-len(f) :].reshape(len(f), S * N)))
        found, error = trim_phase(corrected, weights, f, lead, TRIM_ROUNDS, TRIM_PERIODS, beside)
        alive &= np.isfinite(error)
        # What is not finished keeps its read-out to the last bit.
        trimmed = weights.with_readout(np.where(alive[:, None, None], found.w_out, weights.w_out))
    before, after = (generate(corrected, one, f, TRIM_PERIODS, WASHOUT).phase_drift for one in (weights, trimmed))
    return Finished(trimmed, _share(weights, trimmed, lead), before, after, worst, alive)


def _share(weights: Weights, trimmed: Weights, lead: np.ndarray) -> np.ndarray:
    """How much of the lead was added to each read-out."""
    added = np.asarray(trimmed.w_out) - np.asarray(weights.w_out)
    return (added * lead).sum(axis=(1, 2)) / (lead**2).sum(axis=(1, 2))


def run_on(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    periods: int,
    state: LoopState | None = None,
    progress: Progress = None,
    *,
    forced: bool = False,
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
    record : {"z", "r", "all"}

    Returns
    -------
    state : LoopState
    record : Record
    """
    target = np.tile(f, (periods, 1, 1))
    hold = (np.arange(len(target)) < len(target) - 1) & forced
    return simulate(node, weights, target=target, hold=hold, state=state, record=record, progress=progress)


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


def as_trained(network: TrainedNetwork) -> TrainedNetwork:
    """A network with the read-out that it had before its finish: that of the reduced model."""
    share = network.settings.get("finish", {}).get("share", 0.0)
    if not share or network.lead is None:
        return network
    weights = network.weights
    return replace(network, weights=weights.with_readout(weights.w_out - share * network.lead))
