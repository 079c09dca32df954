"""One tick of a network, and runs of many ticks, on any kind of node.

Every run may hold several networks: their nodes are one batch of devices. :func:`run` is a
pure function of arrays, through which JAX's transformations go; :func:`simulate` takes any
node, also one that lives elsewhere, tells its progress, and keeps no more than it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import MOST, Tick, first_not_finite, joined
from spinloom.device_models.scan import advance as scan
from spinloom.networks.sparse import Sparse
from spinloom.networks.topology import Weights

_MOST_NUMBERS = 20_000_000
"""About how many numbers a chunk may record."""


class LoopState(NamedTuple):
    """Where S networks stand between two ticks.

    Attributes
    ----------
    nodes : object
        state of the S N devices
    r : (S, N) array
        their signals, in units of the spread
    z : (S, K) array
        what is fed back in the next tick
    pull : (S, N) array, optional
        gain W r of the next tick, within a run that has it already
    """

    nodes: Any
    r: Any
    z: Any
    pull: Any = None


class Record(NamedTuple):
    """What a run leaves behind, one row for each tick; None for what was not asked for.

    Attributes
    ----------
    z : (n_ticks, S, K) array
        outputs
    r : (n_ticks, S, N) array
        signals at the end of the tick, in units of the spread
    u : (n_ticks, S, N) array
        clipped drives, in units of the reach
    m : (n_ticks, S, N, 3) array
        <m> before the tick, as the region of calibration needs it
    """

    z: Any = None
    r: Any = None
    u: Any = None
    m: Any = None


class Forced(NamedTuple):
    """What is done to S networks, one row for each tick.

    Attributes
    ----------
    target : (n_ticks, S, K) array
        what is fed back instead of z where ``hold`` is true
    hold : (n_ticks,) array of bool
    s : (n_ticks, S) array
        input
    """

    target: Any
    hold: Any
    s: Any


def start(node: Node, weights: Weights, seed: int = 0, progress: Callable[[int], None] | None = None) -> LoopState:
    """All devices in equilibrium, nothing fed back yet.

    Parameters
    ----------
    node : Node
    weights : Weights
        says how many devices there are, and which
    seed : int
        of whatever is random in the node
    progress : callable, optional
        called with the number of devices just made ready, where that takes long
    """
    S, N = weights.networks, weights.nodes
    nodes = node.start(S * N, seed, weights.which(), progress)
    return LoopState(nodes, jnp.asarray(node.observe(nodes)).reshape(S, N), jnp.zeros((S, weights.outputs)))


@jax.custom_jvp
def soft_clip(v: Any, slope: Any) -> Any:
    """``clip(v, -1, 1)``, whose derivative outside is a slope that it does not have.

    A node that is driven into the clip on every tick gives no gradient; a surrogate there, in the
    backward pass alone, lets training bring it back.

    Parameters
    ----------
    v : array
    slope : float
        of the surrogate outside; 0 is the clip as it is

    Examples
    --------
    >>> float(soft_clip(3.0, 0.2)), float(jax.grad(soft_clip)(3.0, 0.2)), float(jax.grad(soft_clip)(0.5, 0.2))
    (1.0, 0.2, 1.0)
    """
    return jnp.clip(v, -1, 1)


@soft_clip.defjvp
def _soft_clip_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    v, slope = primals
    return jnp.clip(v, -1, 1), jnp.where(jnp.abs(v) <= 1, 1.0, slope) * tangents[0]


def advance(node: Node, weights: Weights, state: LoopState, s: Any, slope: float = 0.0) -> tuple[Any, Any, Any]:
    """Drive and advance every node by one tick; the read-out is the caller's.

    Parameters
    ----------
    node, weights, state, s
        as for :func:`run`, the input of the tick alone
    slope : float
        of the clip outside of it, in gradients alone (:func:`soft_clip`)

    Returns
    -------
    nodes : object
        as in LoopState
    r, u : (S, N) array
    """
    pull = _recurrent(weights.W, weights.gain[:, None] * state.r) if state.pull is None else state.pull
    u = soft_clip(pull + _forcing(weights, state.z, s), slope)
    # A network drives the first channel; whatever else a node takes stays at rest.
    inputs = jnp.pad(u.reshape(-1, 1), ((0, 0), (0, len(node.channels) - 1)))
    nodes = node.step(state.nodes, inputs)
    return nodes, jnp.asarray(node.observe(nodes)).reshape(u.shape), u


def _recurrent(W: Any, r: Any) -> Any:
    """W r: (G, N, N), (..., S, N) -> (..., S, N)."""
    if isinstance(W, Sparse):
        return W.times(r)
    # Networks that share W are columns of one matrix product.
    columns = jnp.reshape(r, (*r.shape[:-2], len(W), -1, r.shape[-1]))
    return jnp.einsum("gij,...gcj->...gci", W, columns).reshape(r.shape)


def _forcing(weights: Weights, z: Any, s: Any) -> Any:
    """Drives of all that is not recurrent, (S, N).

    A product of its own, gain and all: what the nodes are given is then two arrays without a gap, and a compiled tick
    need not ask of every junction which network it belongs to.
    """
    w = weights
    matrix = w.gain[:, None, None] * jnp.concatenate([w.w_fb, w.W_in[..., None], w.b[..., None]], axis=-1)
    values = jnp.concatenate([z, s[:, None], jnp.ones((len(z), 1))], axis=-1)
    return jnp.einsum("snk,sk->sn", matrix, values)


def drives(weights: Weights, r: Any, z: Any, s: Any) -> Any:
    """What drives the nodes before gain and clip, W r + w_fb z + W_in s + b.

    Parameters
    ----------
    weights : Weights
    r : (..., S, N) array
    z : (..., S, K) array
    s : (..., S) array

    Returns
    -------
    v : (..., S, N) array
    """
    w = weights
    return _recurrent(w.W, r) + jnp.einsum("snk,...sk->...sn", w.w_fb, z) + w.W_in * s[..., None] + w.b


def readout(w_out: Any, r: Any) -> Any:
    """Outputs w [r, 1]: (S, K, N + 1), (..., S, N) -> (..., S, K)."""
    return jnp.einsum("skn,...sn->...sk", w_out[..., :-1], r) + w_out[..., -1]


def _answer(weights: Weights, r: Any) -> tuple[Any, Any]:
    """Outputs, and gain W r of the next tick: one product where each network has a W of its own."""
    w, K = weights, weights.outputs
    if len(w.W) != w.networks or isinstance(w.W, Sparse):
        return readout(w.w_out, r), _recurrent(w.W, w.gain[:, None] * r)
    both = jnp.concatenate([w.w_out[..., :-1], w.gain[:, None, None] * w.W], axis=1)
    y = jnp.einsum("skn,sn->sk", both, r)
    return y[:, :K] + w.w_out[..., -1], y[:, K:]


def _tick(
    wanted: str, fixed: tuple[Node, Weights], state: LoopState, forced: Forced, slope: float = 0.0
) -> tuple[LoopState, Record]:
    node, weights = fixed
    # Before the step: the state of a live node is a handle, which then shows what is after it.
    before = node.moment(state.nodes) if wanted == "all" else None
    nodes, r, u = advance(node, weights, state, forced.s, slope)
    z, pull = _answer(weights, r)
    record = Record(z)
    if wanted != "z":
        record = record._replace(r=r)
    if wanted == "all":
        record = record._replace(u=u, m=jnp.asarray(before).reshape(*u.shape, 3))
    return LoopState(nodes, r, jnp.where(forced.hold, forced.target, z), pull), record


_FIELDS = {"z": ("z",), "r": ("z", "r"), "all": Record._fields}
# One function for each, made once: JAX knows a function that it has compiled by its identity.
_TICKS: dict[str, Tick] = {wanted: partial(_tick, wanted) for wanted in _FIELDS}


@jax.jit
def _pull(weights: Weights, r: Any) -> Any:
    return _recurrent(weights.W, weights.gain[:, None] * r)


def _primed(weights: Weights, state: LoopState) -> LoopState:
    """A state as it goes from tick to tick."""
    return state._replace(pull=_pull(weights.without_devices(), jnp.asarray(state.r)))


def _checked(weights: Weights, target: Any, hold: Any, s: Any, record: str) -> Forced:
    if record not in _TICKS:
        raise SpinloomError(f"record: expected one of {', '.join(_TICKS)}, got {record!r}")
    target = target[..., None] if target.ndim == 2 else target
    s = np.zeros(target.shape[:2]) if s is None else s
    if target.shape[1:] != (weights.networks, weights.outputs):
        raise SpinloomError(
            f"target: expected (ticks, networks, outputs) with {weights.networks} networks of {weights.outputs} "
            f"outputs, got shape {target.shape}"
        )
    return Forced(target, hold, s)


def run(
    node: Node,
    weights: Weights,
    *,
    target: Any,
    hold: Any,
    s: Any = None,
    state: LoopState | None = None,
    seed: int = 0,
    record: str = "z",
    slope: float = 0.0,
) -> tuple[LoopState, Record]:
    """Run S networks for many ticks, as a pure function: ``jit``, ``grad`` and ``vmap`` go through it.

    Parameters
    ----------
    node : Node
        one that JAX can trace
    weights : Weights
    target : (n_ticks, S) or (n_ticks, S, K) array
        what is fed back instead of z where ``hold`` is true
    hold : (n_ticks,) array of bool
        teacher forcing; false closes the loop on the network's own output
    s : (n_ticks, S) array, optional
        input
    state : LoopState, optional
        where to go on from; equilibrium if not given
    seed : int
        of whatever is random in the node, where it starts from equilibrium
    record : {"z", "r", "all"}
        what to keep of every tick: the outputs; the signals too; the drives and <m> too
    slope : float
        of the clip outside of it, in gradients alone (:func:`soft_clip`)

    Returns
    -------
    state : LoopState
    record : Record

    Raises
    ------
    SpinloomError
        for an unknown record, or a target of another shape than the network's outputs

    Examples
    --------
    How the last output of an untrained network depends on its read-out:

    >>> from spinloom.networks.topology import Topology, draw
    >>> from spinloom.reduced_models.macrospin import MacrospinModel
    >>> from spinloom.reduced_models.node import ReducedNode
    >>> m, u = np.eye(3), np.zeros((3, 1))
    >>> law = MacrospinModel(H=(0, 8e3, 0)).fit(np.hstack([m, u]), m).law()
    >>> node = ReducedNode.of(law, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), 7.5e-12)
    >>> weights = draw(Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0), [0])
    >>> def last(w_out):
    ...     free = {"target": np.zeros((5, 1)), "hold": np.zeros(5, bool)}
    ...     return run(node, weights.with_readout(w_out), **free)[1].z[-1].sum()
    >>> jax.grad(last)(weights.w_out).shape
    (1, 1, 4)
    """
    forced = _checked(weights, target, hold, s, record)
    state = start(node, weights, seed) if state is None else state
    tick = partial(_tick, record, (node, weights), slope=slope)
    end, recorded = jax.lax.scan(tick, _primed(weights, state), forced)
    return end._replace(pull=None), recorded


def simulate(
    node: Node,
    weights: Weights,
    *,
    target: np.ndarray,
    hold: np.ndarray,
    s: np.ndarray | None = None,
    state: LoopState | None = None,
    seed: int = 0,
    record: str = "all",
    chunk: int | None = None,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[Record], None] | None = None,
    names: Sequence[str] = (),
) -> tuple[LoopState, Record]:
    """Run S networks of any kind of node, a chunk of ticks at a time; else as :func:`run`.

    Parameters
    ----------
    node, weights, target, hold, s, state, seed, record
        as for :func:`run`
    chunk : int, optional
        ticks between two reports of progress, and in one compiled scan, see
        :func:`spinloom.device_models.scan.advance`; nodes that JAX cannot
        trace report every tick
    progress : callable, optional
        called with the number of ticks just done
    watch : callable, optional
        sees everything of each chunk as soon as it is done, whatever is kept in the end: for
        figures of runs that are too long to be kept, and for a caller who keeps what was
        computed before a node failed
    names : sequence of str, optional
        of the networks, where one that leaves the finite numbers ends the run; without them it goes on, and how it
        does is a matter of figures

    Returns
    -------
    state : LoopState
    record : Record
        of ndarrays

    Raises
    ------
    DivergedError
        naming the network, the tick and the node, as soon as a chunk is done; ``watch`` has seen all before it
    """
    forced = _checked(weights, target, hold, s, record)
    state = start(node, weights, seed) if state is None else state
    seen = "all" if watch is not None else record
    kept: list[Record] = []

    done = 0

    def collect(piece: Record) -> None:
        nonlocal done
        diverged = _diverged(piece, names, done) if names else None
        if diverged is not None:
            piece = jax.tree.map(lambda x: x[: diverged.tick - done], piece)
        if watch is not None and len(piece.z):
            watch(piece)
        if diverged is not None:
            raise diverged
        done += len(piece.z)
        kept.append(Record(**{name: getattr(piece, name) for name in _FIELDS[record]}))

    seen = "r" if names and seen == "z" else seen
    most = max(1, _MOST_NUMBERS // (weights.networks * (weights.outputs + (0 if seen == "z" else 5 * weights.nodes))))
    state, _ = scan(
        _TICKS[seen],
        (node, weights.without_devices()),
        _primed(weights, state),
        forced,
        traceable=node.traceable,
        chunk=None if chunk is None and most >= MOST else min(chunk or MOST, most),
        progress=progress,
        collect=collect,
    )
    return state._replace(pull=None), joined(kept)


def _diverged(piece: Record, names: Sequence[str], before: int) -> DivergedError | None:
    """What is to be said of a chunk in which something is not finite."""
    place = first_not_finite(piece.r)
    if place is not None:
        tick, network, node = place
        what = f"node {node}: its signal is"
    else:
        place = first_not_finite(piece.z)
        if place is None:
            return None
        tick, network, output = place
        what = f"output {output} is"
    tick += before
    return DivergedError(
        f"{names[network]}: {what} not finite from tick {tick} on, washout included; take a shorter tick, a smaller "
        "reach (spinloom fit --reach), or train again",
        tick,
        network,
    )
