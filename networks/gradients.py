"""Training by gradients: back-propagation through time through the nodes of a network.

A reduced node is a smooth function that JAX differentiates, so all weights of a network can go downhill, not
its read-out alone. The read-out itself is better solved than descended: where an objective has a ridge regression
inside it, the gradient of what is left of the error goes through its solution (variable projection, Golub and
Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)).

Nodes in full micromagnetics may do the forward pass, and the reduced model the backward pass alone (physics-aware
training, Wright et al., Nature 601, 549 (2022)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import BaseModel, ConfigDict, Field, field_validator

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.finish import Corrected, replay
from spinloom.networks.loop import LoopState, Record, run, simulate, start
from spinloom.networks.seeds import stream
from spinloom.networks.topology import Weights
from spinloom.networks.trials import clock_ticks, per_network

Name = Literal["W", "W_in", "b", "gain", "w_fb", "w_out"]
FREE: tuple[Name, ...] = ("W", "W_in", "b", "gain", "w_fb", "w_out")
"""Weights that may be free."""
_FINAL_RATE = 0.02
"""Share of the rate that is left at the end."""
_DULLEST = 1e-5
"""Variance below which a direction of the signals is not stretched to the size of the others."""
Progress = Callable[[int], None] | None


class Descent(BaseModel):
    """How weights go downhill.

    Attributes
    ----------
    free : tuple of str
        which weights: W, W_in, b, gain, w_fb, w_out. Zeros of W stay zeros, and so does an array that is all zeros
    steps : int
        of Adam, whose rate falls to nearly zero as a cosine
    rate : float
        of Adam at the start, in units of each array's own rms value
    largest : float
        norm that a network's gradient is clipped to
    slope : float
        of the clip of the drives outside of it, in the backward pass alone
    check : int
        steps between two looks at trials that are not trained on; the weights that did best there are kept
    refresh : int
        of physics-aware training: steps that one forward pass of the full nodes is good for
    seed : int
        of the trials that are trained on, and of those that weights are chosen on
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    free: tuple[Name, ...] = ("W", "W_in", "b", "gain", "w_fb")
    steps: int = Field(default=300, ge=0, le=1_000_000)
    rate: float = Field(default=0.02, gt=0, le=10)
    largest: float = Field(default=1.0, gt=0, le=1e9)
    slope: float = Field(default=0.1, ge=0, le=1)
    check: int = Field(default=25, ge=1, le=1_000_000)
    refresh: int = Field(default=5, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0)

    @field_validator("free")
    @classmethod
    def _some(cls, free: tuple[str, ...]) -> tuple[str, ...]:
        if not free or len(set(free)) < len(free):
            raise ValueError(f"expected some of {', '.join(FREE)}, each once, got {', '.join(free) or 'none'}")
        return free


class Batch(NamedTuple):
    """Runs of S networks, B each, and what is wanted of them.

    Attributes
    ----------
    target : (n_ticks, S B, K) array
        what is fed back where ``hold`` is true
    hold : (n_ticks,) array of bool
    s : (n_ticks, S B) array
        input
    wanted : array
        what the objective compares with, of a form of its own
    counts : (n_ticks,) array, optional
        how much each tick counts, where they differ
    """

    target: Any
    hold: Any
    s: Any
    wanted: Any
    counts: Any = None


class Objective(Protocol):
    """What is to become small.

    Attributes
    ----------
    runs : int
        B, of each network in a batch
    segment : int
        ticks of which everything is kept at a time in the backward pass; a run is a whole number of them
    """

    @property
    def runs(self) -> int:
        """Runs of each network."""
        ...

    @property
    def segment(self) -> int:
        """Ticks that are kept together."""
        ...

    def batch(self, weights: Weights, rng: np.random.Generator, share: float) -> Batch:
        """Fresh runs, when this share of the training is done."""
        ...

    def loss(self, record: Record, batch: Batch) -> Any:
        """Loss of each network, (S,), from the outputs and signals of its runs."""
        ...


@dataclass(frozen=True, eq=False)
class Taught:
    """A series generated with itself fed back: what a ridge read-out leaves of it, noise included.

    The noise on what is fed back stands for the errors that a closed loop makes: a read-out of small error under much
    noise answers little to them, so its loop is stable.

    Attributes
    ----------
    f : (period_ticks, S, K) ndarray
        one period of the target
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
    washout, periods : int
        periods that do not count, and that do
    noise : float
        rms of the noise on what is fed back
    ridge : float
        penalty of the read-out per tick
    runs : int
        each with noise of its own, and from a phase of its own
    """

    f: np.ndarray
    clock: np.ndarray | None = None
    washout: int = 2
    periods: int = 5
    noise: float = 0.01
    ridge: float = 6e-6
    runs: int = 2

    @property
    def segment(self) -> int:
        """A period."""
        return len(self.f)

    def batch(self, weights: Weights, rng: np.random.Generator, share: float) -> Batch:
        """Teacher-forced runs."""
        f, s = _from_some_phase(self.f, self.clock, weights, self.runs, self.washout + self.periods, rng)
        fed = f + _same_of_each(self.noise, f, self.runs, rng)
        return Batch(fed, np.ones(len(f), bool), s, f[self.washout * self.segment :])

    def loss(self, record: Record, batch: Batch) -> Any:
        """Mean square of what is left, over the variance of the target."""
        x = _of_networks(record.r[self.washout * self.segment :], self.runs)
        y = _of_networks(batch.wanted, self.runs)
        return _relative(_predict(solve(x, y, self.ridge), x) - y, y)


@dataclass(frozen=True, eq=False)
class Free:
    """A series generated in closed loop, over a window that grows: error of the network's own read-out.

    Attributes
    ----------
    f : (period_ticks, S, K) ndarray
        one period of the target
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
    washout, periods : int
        periods with the target fed back, and of the closed loop in the end
    noise : float
        rms of the noise on what is fed back in the washout, so that the loop is closed beside the orbit
    runs : int
        each from a phase of its own
    """

    f: np.ndarray
    clock: np.ndarray | None = None
    washout: int = 2
    periods: int = 6
    noise: float = 0.01
    runs: int = 2

    @property
    def segment(self) -> int:
        """A period."""
        return len(self.f)

    def batch(self, weights: Weights, rng: np.random.Generator, share: float) -> Batch:
        """Free runs, of one period at first and of all in the second half of the training."""
        f, s = _from_some_phase(self.f, self.clock, weights, self.runs, self.washout + self.periods, rng)
        ticks, begun = np.arange(len(f)), self.washout * self.segment
        hold = ticks < begun - 1
        periods = min(self.periods, 1 + round(2 * share * (self.periods - 1)))
        counts = ((ticks >= begun) & (ticks < begun + periods * self.segment)) / (periods * self.segment)
        return Batch(f + _same_of_each(self.noise, f, self.runs, rng), hold, s, f, counts)

    def loss(self, record: Record, batch: Batch) -> Any:
        """Mean square of the error of the ticks that count, over the variance of the target."""
        squares = ((record.z - batch.wanted) ** 2).mean(axis=2)
        error = (batch.counts[:, None] * squares).sum(axis=0).reshape(-1, self.runs).mean(axis=1)
        return error / batch.wanted.var(axis=0).mean(axis=1).reshape(-1, self.runs).mean(axis=1)


@dataclass(frozen=True, eq=False)
class Told:
    """Inputs told apart: cross-entropy of a ridge classifier on trials that it was not solved on.

    Attributes
    ----------
    trials : callable
        (rng, n) -> inputs (n_ticks, n) and classes (n,)
    classes : int
    period_ticks, averaged : int
        the last ticks that signals are averaged over are ``averaged`` periods
    power : bool
        whether their squares are averaged too
    ridge : float
        penalty of the classifier per trial
    sharp : float
        how much the difference of two outputs counts: logits are outputs times this
    runs : int
        trials of each network; on the first half a classifier is solved, on the second it is judged
    """

    trials: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    classes: int
    period_ticks: int
    averaged: int = 1
    power: bool = False
    ridge: float = 1e-4
    sharp: float = 4.0
    runs: int = 96

    @property
    def segment(self) -> int:
        """Part of a period: many trials run side by side, and all that is kept of a tick is kept for each."""
        root = self.period_ticks**0.5
        return min(
            (n for n in range(1, self.period_ticks + 1) if self.period_ticks % n == 0), key=lambda n: abs(n - root)
        )

    def batch(self, weights: Weights, rng: np.random.Generator, share: float) -> Batch:
        """Trials of all networks, whose loop stays open; the same for each."""
        s, classes = self.trials(rng, self.runs)
        target = np.zeros((len(s), weights.networks * self.runs, weights.outputs))
        codes = np.tile(2.0 * np.eye(self.classes)[classes] - 1, (weights.networks, 1))
        return Batch(target, np.ones(len(s), bool), np.tile(s, (1, weights.networks)), codes)

    def loss(self, record: Record, batch: Batch) -> Any:
        """Mean cross-entropy of the second half."""
        r, half = record.r[-self.averaged * self.period_ticks :], self.runs // 2
        x = jnp.concatenate([r.mean(axis=0), (r**2).mean(axis=0)], axis=1) if self.power else r.mean(axis=0)
        x, y = _of_networks(x[None], self.runs), _of_networks(batch.wanted[None], self.runs)
        z = _predict(solve(x[:, :half], y[:, :half], self.ridge), x[:, half:])
        chosen = (y[:, half:] > 0).astype(float)
        return -(chosen * jax.nn.log_softmax(self.sharp * z, axis=-1)).sum(axis=-1).mean(axis=1)


@dataclass(frozen=True, eq=False)
class Regression:
    """A series computed from an input: what a ridge read-out leaves of it.

    Attributes
    ----------
    series : callable
        (rng, n) -> inputs (n_steps, n) and what is wanted (n_steps, n, K)
    step_ticks : int
        ticks that an input is held for; the read-out looks at the end of them
    washout : int
        steps that do not count
    ridge : float
        penalty of the read-out per step
    runs : int
        each of a series of its own
    """

    series: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    step_ticks: int
    washout: int = 30
    ridge: float = 1e-6
    runs: int = 4

    @property
    def segment(self) -> int:
        """A step."""
        return self.step_ticks

    def batch(self, weights: Weights, rng: np.random.Generator, share: float) -> Batch:
        """Series of all networks, whose loop stays open; the same for each."""
        s, y = self.series(rng, self.runs)
        s = np.tile(np.repeat(s, self.step_ticks, axis=0), (1, weights.networks))
        target = np.zeros((len(s), s.shape[1], weights.outputs))
        return Batch(target, np.ones(len(s), bool), s, np.tile(y, (1, weights.networks, 1)))

    def loss(self, record: Record, batch: Batch) -> Any:
        """Mean square of what is left, over the variance of the series."""
        x = _of_networks(record.r[self.step_ticks - 1 :: self.step_ticks][self.washout :], self.runs)
        y = _of_networks(batch.wanted[self.washout :], self.runs)
        return _relative(_predict(solve(x, y, self.ridge), x) - y, y)


def _from_some_phase(
    f: np.ndarray, clock: np.ndarray | None, weights: Weights, runs: int, periods: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n_ticks, S B, K) and inputs (n_ticks, S B) from random phases, the same of every network."""
    f, ticks = per_network(f, weights), len(f)
    s = clock_ticks(clock, weights, ticks, 1)
    s = np.zeros((ticks, weights.networks)) if s is None else s
    at = (np.arange(periods * ticks)[:, None] + rng.integers(ticks, size=runs)) % ticks
    # Tick, network, run -> the runs of each network next to each other.
    return (
        np.moveaxis(f[at], 1, 2).reshape(len(at), -1, f.shape[2]),
        np.moveaxis(s[at], 1, 2).reshape(len(at), -1),
    )


def _same_of_each(rms: float, f: np.ndarray, runs: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of the shape of targets (n_ticks, S B, K), the same of every network."""
    one = rms * rng.standard_normal((len(f), runs, f.shape[2]))
    return np.tile(one, (1, f.shape[1] // runs, 1))


def _of_networks(rows: Any, runs: int) -> Any:
    """(n, S B, F) -> (S, n B, F), the runs of each network one after the other within each row."""
    n, many, width = rows.shape
    return jnp.moveaxis(rows.reshape(n, many // runs, runs, width), 1, 0).reshape(many // runs, n * runs, width)


def solve(x: Any, y: Any, ridge: float) -> Any:
    """Ridge regression of S networks in closed form, the constant not penalised.

    Parameters
    ----------
    x : (S, n, F) array
    y : (S, n, K) array
    ridge : float
        penalty per row

    Returns
    -------
    w : (S, K, F + 1) array
        so that y is about w [x, 1]

    Examples
    --------
    >>> x = np.array([[[0.0], [1.0], [2.0]]])
    >>> np.asarray(solve(x, 3 * x - 1, 1e-12)).round(6).tolist()
    [[[3.0, -1.0]]]
    """
    x_mean, y_mean = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    x0, y0, n = x - x_mean, y - y_mean, x.shape[1]
    C = jnp.einsum("snf,sng->sfg", x0, x0) / n + ridge * jnp.eye(x.shape[2])
    w = jnp.linalg.solve(C, jnp.einsum("snf,snk->sfk", x0, y0) / n)
    constant = y_mean - jnp.einsum("snf,sfk->snk", x_mean, w)
    return jnp.moveaxis(jnp.concatenate([w, constant], axis=1), 1, 2)


def _predict(w: Any, x: Any) -> Any:
    return jnp.einsum("skf,snf->snk", w[..., :-1], x) + w[..., -1][:, None]


def _relative(error: Any, y: Any) -> Any:
    """Mean square over the variance, (S, n, K) -> (S,)."""
    return (error**2).mean(axis=(1, 2)) / y.var(axis=1).mean(axis=1)


def losses(
    node: Node,
    weights: Weights,
    objective: Objective,
    batch: Batch,
    *,
    state: LoopState | None = None,
    slope: float = 0.0,
) -> Any:
    """Loss of each network, (S,), as a pure function of the node, the weights and the batch.

    Parameters
    ----------
    node : Node
        one that JAX can trace, as a network takes it
    weights : Weights
    objective : Objective
    batch : Batch
    state : LoopState, optional
        of S B networks; equilibrium if not given
    slope : float
        of the clip outside of it, in gradients alone

    Returns
    -------
    loss : (S,) array
    """
    many = _several(weights, objective.runs)
    state = start(node, many) if state is None else state
    many, pieces = many.without_devices(), len(batch.hold) // objective.segment

    @jax.checkpoint
    def piece(state: LoopState, rows: Any) -> tuple[LoopState, Record]:
        target, hold, s = rows
        return run(node, many, target=target, hold=hold, s=s, state=state, record="r", slope=slope)

    rows = jax.tree.map(
        lambda x: jnp.reshape(x, (pieces, objective.segment, *x.shape[1:])), (batch.target, batch.hold, batch.s)
    )
    _, record = jax.lax.scan(piece, state, rows)
    record = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), record)
    return objective.loss(record, batch)


def _several(weights: Weights, runs: int) -> Weights:
    """:meth:`spinloom.networks.topology.Weights.repeat`, also of arrays that JAX traces."""
    devices = None if weights.devices is None else tuple(row for row in weights.devices for _ in range(runs))
    w_fb, W_in, b, gain, w_out = (jnp.repeat(jnp.asarray(x), runs, axis=0) for x in weights.arrays()[1:])
    return Weights(weights.W, w_fb, W_in, b, gain, w_out, devices)


class Descended(NamedTuple):
    """What a descent gives.

    Attributes
    ----------
    weights : Weights
        of each network those that did best on trials that were not trained on; never worse there than at the start
    at : (checks,) ndarray
        steps done at each look
    loss : (checks, S) ndarray
        what was found then
    """

    weights: Weights
    at: np.ndarray
    loss: np.ndarray


def descend(
    node: Node,
    weights: Weights,
    objective: Objective,
    how: Descent,
    progress: Progress = None,
    *,
    full: Node | None = None,
) -> Descended:
    """Let the weights of S networks go downhill.

    Networks do not know of each other: each has its own loss, its own gradient, and its own best weights.

    Parameters
    ----------
    node : Node
        one that JAX can trace, as a network takes it
    weights : Weights
    objective : Objective
    how : Descent
    progress : callable, optional
        called with the number of steps just done
    full : Node, optional
        of any kind, for physics-aware training: it does the forward pass, and what ``node`` lacks of it under the
        same drives is added to the signals, tick by tick, so that the backward pass is taken where the full nodes go

    Returns
    -------
    descended : Descended

    Raises
    ------
    SpinloomError
        where nothing that is free has an effect
    """
    W = np.repeat(weights.W, weights.networks // len(weights.W), axis=0)
    weights = replace(weights, W=W)
    units: dict[str, np.ndarray] = {name: _unit(getattr(weights, name)) for name in how.free}
    if not any(unit.any() for unit in units.values()):
        raise SpinloomError(f"free: expected weights that are not all zero, got {', '.join(how.free)}")
    schedule = optax.cosine_decay_schedule(how.rate, max(1, how.steps), _FINAL_RATE)
    adam = optax.chain(optax.clip_by_global_norm(how.largest), optax.adam(schedule))

    def moved(moves: dict[str, Any]) -> Weights:
        changes = {name: units[name] * moves[name] for name in units if name != "w_out"}
        if "w_out" in units:
            changes["w_out"] = moves["w_out"] @ white
        return replace(weights, **{name: getattr(weights, name) + change for name, change in changes.items()})

    def total(moves: Any, node: Node, state: LoopState, batch: Batch) -> Any:
        return losses(node, moved(moves), objective, batch, state=state, slope=how.slope).sum()

    @jax.jit
    def step(moves: Any, memory: Any, *at: Any) -> tuple[Any, Any]:
        gradient = jax.grad(total)(moves, *at)
        change, memory = jax.vmap(adam.update)(jax.vmap(_finite)(gradient), memory)
        return optax.apply_updates(moves, change), memory

    @jax.jit
    def look(moves: Any, node: Node, state: LoopState, batch: Batch) -> Any:
        return losses(node, moved(moves), objective, batch, state=state)

    moves: dict[str, Any] = {name: jnp.zeros(np.shape(getattr(weights, name))) for name in units}
    memory = jax.vmap(adam.init)(moves)
    rng = stream(how.seed, "descent")
    white = np.eye(weights.nodes + 1)
    if "w_out" in units:
        first = objective.batch(weights, stream(how.seed, "descent"), 0.0)
        white = _whitening(*_forward(node, full, weights, objective, first, 0), weights, first, objective.runs)
    kept = objective.batch(weights, stream(how.seed, "selection"), 1.0)
    best, least, found, at = dict(moves), np.full(weights.networks, np.inf), [], []
    for done in range(how.steps + 1):
        if done % how.check == 0 or done == how.steps:
            loss = np.asarray(look(moves, *_forward(node, full, moved(moves), objective, kept, 0), kept))
            better = loss < least
            least = np.where(better, loss, least)
            best = {name: jnp.where(_along(better, moves[name]), moves[name], best[name]) for name in moves}
            found.append(loss)
            at.append(done)
        if done == how.steps:
            break
        if done % (how.refresh if full is not None else 1) == 0:
            batch = objective.batch(weights, rng, done / how.steps)
            forward = _forward(node, full, moved(moves), objective, batch, done)
        moves, memory = step(moves, memory, *forward, batch)
        if progress is not None:
            progress(1)
    return Descended(jax.tree.map(np.asarray, moved(best)), np.array(at), np.array(found))


def _unit(array: Any) -> np.ndarray:
    """What a change of 1 stands for: the rms value of a network's array, zero where W has no entry."""
    array = np.asarray(array, dtype=float)
    there = array != 0
    count = there.reshape(len(array), -1).sum(axis=1)
    rms = np.sqrt((array**2).reshape(len(array), -1).sum(axis=1) / np.maximum(count, 1))
    unit = _along(rms, array) * np.ones(array.shape)
    # Of recurrent weights, and of none else, zeros are couplings that are not there.
    return np.where(there, unit, 0.0) if array.ndim == 3 and array.shape[1] == array.shape[2] else unit


def _whitening(node: Node, state: LoopState, weights: Weights, batch: Batch, runs: int) -> np.ndarray:
    """What makes signals [r, 1] of equal size in all directions, (S, N + 1, N + 1), by a run with the target fed back.

    Signals of the nodes are much alike, so a read-out has directions in which its descent would take for ever.
    """
    forced = {"target": batch.target, "hold": np.ones(len(batch.hold), bool), "s": batch.s}
    many = jax.tree.map(np.asarray, _several(weights, runs)).without_devices()
    _, record = simulate(node, many, **forced, state=state, record="r")
    r = np.asarray(_of_networks(record.r[len(record.r) // 4 :], runs))
    x = np.concatenate([r, np.ones((*r.shape[:2], 1))], axis=2)
    values, vectors = np.linalg.eigh(np.einsum("snf,sng->sfg", x, x) / x.shape[1])
    return np.moveaxis(vectors, 1, 2) / np.sqrt(np.maximum(values, 0) + _DULLEST)[..., None]


def _along(values: Any, array: Any) -> Any:
    """One value for each network, to be used with an array of them."""
    return values.reshape(-1, *(1,) * (array.ndim - 1))


def _finite(gradient: Any) -> Any:
    """A network's gradient, or none where it is not finite."""
    fine = jnp.isfinite(sum((x**2).sum() for x in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda x: jnp.where(fine, x, 0.0), gradient)


def _forward(
    node: Node, full: Node | None, weights: Weights, objective: Objective, batch: Batch, seed: int
) -> tuple[Node, LoopState]:
    """The node that a batch is differentiated on, and its state at the start."""
    many = _several(weights, objective.runs)
    if full is None:
        return node, start(node, many, seed)
    corrected, inner = what_is_lacking(node, full, many, batch), many.networks * many.nodes
    own = many.with_devices(np.arange(inner).reshape(many.networks, -1))
    return corrected, start(corrected, own)


def what_is_lacking(node: Node, full: Node, weights: Weights, batch: Batch) -> Corrected:
    """Reduced nodes that show, under the drives of a batch, what full nodes do.

    Parameters
    ----------
    node, full : Node
        as a network takes them
    weights : Weights
        one network for each run of the batch
    batch : Batch

    Returns
    -------
    corrected : Corrected
        a device for each node of each run; its signals are those of the full nodes as long as its drives are
    """
    weights = jax.tree.map(np.asarray, weights)
    forced: dict[str, Any] = {name: np.asarray(getattr(batch, name)) for name in ("target", "hold", "s")}
    _, record = simulate(full, weights, **forced, record="all")
    which = weights.which()
    _, r = replay(node, node.start(record.u[0].size, 0, which), record.u)
    lacking = (record.r - r).reshape(len(r), -1)
    # The start is before the first tick, where a run that repeats itself would have its last.
    lacking = np.concatenate([lacking, np.zeros_like(lacking[:1])])
    return Corrected(node, jnp.asarray(lacking), None if which is None else tuple(which.tolist()))
