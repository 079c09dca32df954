"""One tick of a network, and runs of many ticks, on any kind of node.

Every run may hold several networks: their nodes are one batch of devices. Traceable nodes
go through a compiled scan, nodes that live elsewhere through a plain loop over the same tick.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.node import Node
from spinloom.networks.topology import Weights


class LoopState(NamedTuple):
    """Where S networks stand between two ticks.

    Attributes
    ----------
    nodes : object
        state of the S N devices
    m : (S N, 3) array
        their <m>
    z : (S,) array
        what is fed back in the next tick
    """

    nodes: Any
    m: Any
    z: Any


class Record(NamedTuple):
    """What a run leaves behind, one row for each tick.

    Attributes
    ----------
    z : (n_ticks, S) ndarray
        output, the first read-out channel
    r : (n_ticks, S, N) ndarray
        states r = <m> . e_read at the end of the tick
    u : (n_ticks, S, N) ndarray
        clipped drives
    m : (n_ticks, S, N, 3) ndarray
        <m> before the tick, as the region of calibration needs it
    """

    z: np.ndarray
    r: np.ndarray
    u: np.ndarray
    m: np.ndarray


class Arrays(NamedTuple):
    """Weights and read-out axis as JAX takes them."""

    W: Any
    w_fb: Any
    W_in: Any
    b: Any
    gain: Any
    w_out: Any
    axis: Any


def arrays(weights: Weights, axis: tuple[float, float, float]) -> Arrays:
    """Weights as arrays; ``axis`` is e_read."""
    w = weights
    return Arrays(*map(jnp.asarray, (w.W, w.w_fb, w.W_in, w.b, w.gain, w.w_out, axis)))


def start(node: Node, networks: int, nodes: int) -> LoopState:
    """All devices in equilibrium, nothing fed back yet."""
    state, m = node.start(networks * nodes)
    return LoopState(state, m, jnp.zeros(networks))


def advance(node: Node, a: Arrays, state: LoopState, s: Any) -> tuple[Any, Any, Any, Any]:
    """Drive and advance every node by one tick; the read-out is the caller's.

    Returns
    -------
    nodes, m : as in LoopState
    r : (S, N) array
    u : (S, N) array
    """
    S, N = a.b.shape
    before = (state.m @ a.axis).reshape(S, N)
    v = jnp.einsum("sij,sj->si", a.W, before) + a.w_fb * state.z[:, None] + a.W_in * s[:, None] + a.b
    u = jnp.clip(a.gain[:, None] * v, -1, 1)
    nodes, m = node.step(state.nodes, u.reshape(S * N))
    m = jnp.asarray(m)
    return nodes, m, (m @ a.axis).reshape(S, N), u


def readout(w_out: Any, r: Any) -> Any:
    """Output w [r, 1]: (S, K, N + 1), (S, N) -> (S, K)."""
    return jnp.einsum("skn,sn->sk", w_out[..., :-1], r) + w_out[..., -1]


def _tick(node: Node, a: Arrays, state: LoopState, forced: Any) -> tuple[LoopState, Record]:
    target, hold, s = forced
    S, N = a.b.shape
    nodes, m, r, u = advance(node, a, state, s)
    z = readout(a.w_out, r)[:, 0]
    record = Record(z, r, u, state.m.reshape(S, N, 3))
    return LoopState(nodes, m, jnp.where(hold, target, z)), record


@partial(jax.jit, static_argnums=0)
def _scan(node: Node, a: Arrays, state: LoopState, forced: Any) -> tuple[LoopState, Record]:
    return jax.lax.scan(lambda c, x: _tick(node, a, c, x), state, forced)


def run(
    node: Node,
    weights: Weights,
    axis: tuple[float, float, float],
    *,
    target: np.ndarray,
    hold: np.ndarray,
    s: np.ndarray | None = None,
    state: LoopState | None = None,
    chunk: int = 50,
    progress: Callable[[int], None] | None = None,
    pieces: list[Record] | None = None,
) -> tuple[LoopState, Record]:
    """Run S networks for many ticks.

    Parameters
    ----------
    node : Node
    weights : Weights
    axis : (3,) tuple of float
        read-out axis e_read
    target : (n_ticks, S) ndarray
        what is fed back instead of z where ``hold`` is true
    hold : (n_ticks,) bool ndarray
        teacher forcing; false closes the loop on the network's own output
    s : (n_ticks, S) ndarray, optional
        input
    state : LoopState, optional
        where to go on from; equilibrium if not given
    chunk : int
        ticks between two reports of progress, and in one compiled scan; nodes that are not
        traceable report every tick
    progress : callable, optional
        called with the number of ticks just done
    pieces : list of Record, optional
        gets each chunk as soon as it is done, for a caller who keeps what was computed
        before a node failed; see :func:`joined`

    Returns
    -------
    state : LoopState
    record : Record
    """
    s = np.zeros_like(target) if s is None else s
    state = start(node, weights.networks, weights.nodes) if state is None else state
    a = arrays(weights, axis)
    pieces = [] if pieces is None else pieces
    chunk = chunk if node.traceable else 1
    for at in range(0, len(target), chunk):
        forced = tuple(np.asarray(x[at : at + chunk]) for x in (target, hold, s))
        state, record = (_scan if node.traceable else _one)(node, a, state, forced)
        pieces.append(Record(*(np.asarray(x) for x in record)))
        if progress is not None:
            progress(len(forced[1]))
    return state, joined(pieces)


def joined(pieces: list[Record]) -> Record:
    """Records that follow each other as one."""
    return Record(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def _one(node: Node, a: Arrays, state: LoopState, forced: tuple) -> tuple[LoopState, Record]:
    state, record = _tick(node, a, state, tuple(x[0] for x in forced))
    return state, Record(*(np.asarray(x)[None] for x in record))
