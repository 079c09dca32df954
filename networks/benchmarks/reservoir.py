"""A network of any node as a reservoir: a series goes in, states come out, and a ridge regression reads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import advance as scan
from spinloom.networks.loop import LoopState, advance, readout, start
from spinloom.networks.topology import Weights

Progress = Callable[[int], None] | None
_MOST_NUMBERS = 20_000_000
_UNROLLED = 4
"""Ticks of an interval that are written out; more become a loop."""


class Reading(BaseModel):
    """How a sample of a series meets the nodes.

    Attributes
    ----------
    hold : int
        ticks for which a sample is held
    virtual : int
        parts of that time; states are taken at the end of each, so that N nodes give N V numbers
        (Appeltant et al., Nature Communications 2, 468 (2011), doi:10.1038/ncomms1476)
    levels : int
        in each part the input is multiplied by a mask of so many levels between -1 and 1, drawn once; 1 is no mask
    seed : int
        of the mask
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hold: int = Field(default=1, ge=1, le=10_000)
    virtual: int = Field(default=1, ge=1, le=1000)
    levels: int = Field(default=1, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole_parts(self) -> Reading:
        if self.hold % self.virtual:
            raise ValueError(f"expected a hold that is a multiple of the {self.virtual} virtual nodes, got {self.hold}")
        return self

    @property
    def mask(self) -> np.ndarray:
        """What the input is multiplied by in each part, (virtual,).

        Examples
        --------
        >>> Reading(hold=4, virtual=4, levels=2).mask.tolist(), Reading().mask.tolist()
        ([1.0, 1.0, 1.0, -1.0], [1.0])
        """
        if self.levels == 1:
            return np.ones(self.virtual)
        drawn = np.random.default_rng(self.seed).integers(0, self.levels, self.virtual)
        return 2.0 * drawn / (self.levels - 1) - 1


class Row(NamedTuple):
    """One sample of S networks: what goes in (S, C), and whether that is their own output instead."""

    u: Any
    free: Any


class Fixed(NamedTuple):
    """What no sample changes; ``w_out`` is (S, C, V N + 1), of networks that go on by themselves."""

    node: Any
    weights: Weights
    mask: Any
    w_out: Any


class Carry(NamedTuple):
    """Where S networks stand between two samples, and what their read-outs say, (S, C)."""

    loop: LoopState
    y: Any


@lru_cache(maxsize=32)
def _sample(hold: int, virtual: int) -> Any:
    """The tick function of one sample; made once for each form, as JAX knows a function by its identity."""
    return partial(_one_sample, hold // virtual, virtual)


def _one_sample(ticks: int, virtual: int, fixed: Fixed, carry: Carry, row: Row) -> tuple[Carry, Any]:
    node, weights = fixed.node, fixed.weights
    u = jnp.where(row.free, carry.y, row.u)
    silent = jnp.zeros(weights.networks)
    seen, loop = [], carry.loop

    def tick(_: Any, loop: LoopState) -> LoopState:
        nodes, r, _ = advance(node, weights, loop, silent)
        return LoopState(nodes, r, loop.z)

    for part in range(virtual):
        loop = loop._replace(z=u * fixed.mask[part])
        if node.traceable and ticks > _UNROLLED:
            loop = jax.lax.fori_loop(0, ticks, tick, loop)
        else:
            for k in range(ticks):
                loop = tick(k, loop)
        seen.append(loop.r)
    states = jnp.concatenate(seen, axis=-1)
    return Carry(loop, readout(fixed.w_out, states)), (states, u)


def drive(
    node: Node,
    weights: Weights,
    u: np.ndarray,
    reading: Reading | None = None,
    *,
    seed: int = 0,
    w_out: np.ndarray | None = None,
    taught: int | None = None,
    progress: Progress = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Drive S networks by a series, or let them go on with it by themselves.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        ``w_fb``, (S, N, C), are the input weights of C channels
    u : (n,), (n, C) or (n, S, C) ndarray
        of all networks, or of each
    reading : Reading, optional
        one tick a sample if not given
    seed : int
        of whatever is random in the node
    w_out : (S, C, V N + 1) ndarray, optional
        read-outs of the next sample, for networks that go on by themselves
    taught : int, optional
        samples after which they do; all of them are given if not given
    progress : callable, optional
        called with the number of samples just done

    Returns
    -------
    x : (n, S, V N) ndarray
        states, in units of the spread
    u : (n, S, C) ndarray
        what went in

    Raises
    ------
    SpinloomError
        for a series of another form than the networks' inputs, or that ends before the networks go on

    Examples
    --------
    >>> from spinloom.networks.topology import Topology, draw
    >>> from spinloom.reduced_models.macrospin import MacrospinModel
    >>> from spinloom.reduced_models.node import ReducedNode
    >>> m = np.eye(3)
    >>> law = MacrospinModel(H=(0, 8e3, 0)).fit(np.hstack([m, np.zeros((3, 1))]), m).law()
    >>> node = ReducedNode.of(law, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), 7.5e-12)
    >>> weights = draw(Topology(nodes=4, spectral_radius=0.5, feedback=1.0, bias=0.5, gain=1.0), [0, 1])
    >>> drive(node, weights, np.zeros(5), Reading(hold=6, virtual=2))[0].shape
    (5, 2, 8)
    """
    x: list[np.ndarray] = []
    seen: list[np.ndarray] = []

    def keep(states: np.ndarray, inputs: np.ndarray) -> None:
        x.append(states)
        seen.append(inputs)

    follow(node, weights, u, keep, reading, seed=seed, w_out=w_out, taught=taught, progress=progress)
    return np.concatenate(x), np.concatenate(seen)


def follow(
    node: Node,
    weights: Weights,
    u: np.ndarray,
    collect: Callable[[np.ndarray, np.ndarray], None],
    reading: Reading | None = None,
    *,
    seed: int = 0,
    w_out: np.ndarray | None = None,
    taught: int | None = None,
    progress: Progress = None,
) -> None:
    """As :func:`drive`, without keeping anything: ``collect`` takes states and inputs of some samples at a time."""
    reading = reading or Reading()
    S, C = weights.networks, weights.outputs
    u = np.asarray(u, dtype=float)
    u = u[:, None] if u.ndim == 1 else u
    u = np.broadcast_to(u[:, None], (len(u), S, u.shape[1])) if u.ndim == 2 else u
    if u.shape[1:] != (S, C):
        raise SpinloomError(f"u: expected (samples, networks, channels) with {S} networks of {C}, got shape {u.shape}")
    taught = len(u) if taught is None else taught
    if not 0 < taught <= len(u):
        raise SpinloomError(f"taught: expected from 1 to {len(u)} samples, got {taught}")
    features = reading.virtual * weights.nodes
    w_out = np.zeros((S, C, features + 1)) if w_out is None else w_out
    scan(
        _sample(reading.hold, reading.virtual),
        Fixed(node, weights.without_devices(), reading.mask, w_out),
        Carry(start(node, weights, seed), jnp.zeros((S, C))),
        Row(u, np.arange(len(u)) >= taught),
        traceable=node.traceable,
        chunk=max(1, min(200, _MOST_NUMBERS // (S * features))),
        progress=progress,
        collect=lambda piece: collect(*piece),
    )


RIDGES = tuple(10.0**k for k in range(-10, 1))
"""Penalties per sample that a read-out is tried with, of states in units of the spread."""


class Ridge:
    """Ridge regressions of one network's states under many penalties, from one decomposition.

    The intercept is not penalised. Solved where the states are, not their squares, so that small penalties count.

    Parameters
    ----------
    x : (n, F) ndarray
        states
    target : (n, K) ndarray

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> fit = Ridge(x, x @ np.array([[1.0], [2.0]]) + 3)
    >>> fit.readout(1e-9).round(3).tolist()
    [[1.0, 2.0, 3.0]]
    """

    def __init__(self, x: np.ndarray, target: np.ndarray) -> None:
        self.samples = len(x)
        self.center, self.mean = x.mean(axis=0), target.mean(axis=0)
        left, self.values, self.right = np.linalg.svd(x - self.center, full_matrices=False)
        self.along = left.T @ (target - self.mean)

    def readout(self, ridge: float) -> np.ndarray:
        """Read-out of [x, 1], (K, F + 1)."""
        penalty = max(self.samples * ridge, 1e-300)
        shrunk = (self.values / (self.values**2 + penalty))[:, None] * self.along
        w = self.right.T @ shrunk
        return np.concatenate([w.T, (self.mean - self.center @ w)[:, None]], axis=1)


def read(w_out: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Outputs of one network: (K, F + 1), (n, F) -> (n, K)."""
    return x @ w_out[:, :-1].T + w_out[:, -1]


def nrmse(y: np.ndarray, target: np.ndarray) -> float:
    """Rms of y - target over the standard deviation of the target, over all outputs; infinite where y is not finite.

    Examples
    --------
    >>> nrmse(np.zeros((2, 1)), np.array([[-1.0], [1.0]]))
    1.0
    """
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(((y - target) ** 2).mean() / target.var(axis=0).mean())
    return float(error) if np.isfinite(error) else float("inf")
