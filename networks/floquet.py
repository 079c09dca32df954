"""Whether a closed loop is stable beside its orbit, and if not, whether any read-out makes it so.

A network that does not generate its series may fail in three ways. With the target fed back its nodes do not repeat
themselves: then no training of the read-out is of use. Or they do, and the loop that the read-out closes leaves the
orbit: then other read-outs, as good on the orbit, may hold it (this training did not find them), or none that is
looked at does. Or the orbit is stable, and the free run does not come to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.loop import LoopState, readout, run, start
from spinloom.networks.lost import MEND, FirstLost
from spinloom.networks.measures import GENERATES, RESTLESS
from spinloom.networks.topology import Weights
from spinloom.networks.trials import clock_ticks, generate, per_network

_SETTLING = 12
"""Periods with the target fed back after which the nodes stand on the orbit."""
_MOST = 4000
"""Numbers in the state of a network above which its monodromy matrix is not built."""
_NEUTRAL = 0.02
"""A multiplier this close to 1 is the neutral phase of a network without a clock."""
_RATE = 0.02
_DULLEST = 1e-6
"""Variance below which a direction of the orbit's signals is not stretched to the size of the others."""
_FREE_PERIODS, _WASHOUT = 50, 5


@dataclass(frozen=True)
class Orbit:
    """One network beside the orbit that the target, fed back, puts it on.

    Attributes
    ----------
    forced : (D,) complex ndarray
        Floquet multipliers with the target fed back, the largest first
    closed : (D,) complex ndarray
        those of the loop that the read-out closes
    taught : float
        NRMSE of the read-out on the orbit
    nrmse : float
        of a free run
    within_reach : float or None
        largest modulus (but for the neutral phase) that a search over read-outs came to, of all that are as good on
        the orbit; None where none was needed
    verdict : {"stable", "sings", "unstable", "not reached", "stable beside it"}
        ``stable``: it generates. ``sings``: the nodes do not settle even with the target fed back, so no read-out
        can help. ``not reached``: the loop is unstable, but another read-out makes it stable: training does not
        reach it. ``unstable``: no such read-out was found. ``stable beside it``: the orbit is stable and the free run
        does not come to it, or its error on it is what the nodes cannot represent
    """

    forced: np.ndarray
    closed: np.ndarray
    taught: float
    nrmse: float
    within_reach: float | None
    verdict: str


def multipliers(flow: Callable[[Any], Any], x: Any) -> np.ndarray:
    """Floquet multipliers: eigenvalues of the derivative of a map over one period, the largest first.

    Parameters
    ----------
    flow : callable
        where a state is after a period
    x : (D,) array
        a state that comes back to itself

    Returns
    -------
    multipliers : (D,) complex ndarray

    Examples
    --------
    >>> turn = jnp.array([[0.0, -0.9], [0.9, 0.0]])
    >>> np.abs(multipliers(lambda x: turn @ x, jnp.zeros(2))).round(6).tolist()
    [0.9, 0.9]
    """
    found = np.linalg.eigvals(np.asarray(jax.jacfwd(flow)(jnp.asarray(x))))
    return found[np.argsort(-np.abs(found), kind="stable")]


def period_map(
    node: Node, weights: Weights, state: LoopState, f: np.ndarray, s: np.ndarray | None, closed: bool
) -> tuple[Callable[[Any, Any], Any], Any]:
    """Where one network is after a period, as a function of its read-out and of the numbers of its nodes.

    What is fed back is the target, and with a closed loop also what the output lacks of the orbit's own: so the
    orbit is a fixed point of the map, whatever the read-out's error on it, and the derivative is that of the loop.

    Parameters
    ----------
    node : Node
        one that JAX can trace, as a network takes it
    weights : Weights
        of a single network
    state : LoopState
        on the orbit
    f : (period_ticks, 1, K) ndarray
    s : (period_ticks, 1) ndarray, optional
    closed : bool

    Returns
    -------
    flow : callable
        (w_out, x) -> x after a period
    x : (D,) array
        the state on the orbit
    """
    numbers, static, join = _split(state.nodes)
    x, unravel = ravel_pytree(numbers)
    _, record = run(node, weights, target=f, hold=np.ones(len(f), bool), s=s, state=state, record="r")
    r_orbit, zeros = record.r, jnp.zeros((len(f), 1)) if s is None else jnp.asarray(s)

    def flow(w_out: Any, x: Any) -> Any:
        own, nodes = weights.with_readout(w_out).without_devices(), join(unravel(x), static)
        r = jnp.asarray(node.observe(nodes)).reshape(1, -1)

        def fed(r: Any, r_on: Any, f_on: Any) -> Any:
            return f_on + readout(w_out.at[..., -1].set(0.0), r - r_on) if closed else f_on

        def tick(at: tuple[Any, Any], row: Any) -> tuple[tuple[Any, Any], None]:
            nodes, r = at
            r_before, f_before, f_now, s_now = row
            here = LoopState(nodes, r, fed(r, r_before, f_before))
            after, _ = run(node, own, target=f_now[None], hold=np.ones(1, bool), s=s_now[None], state=here)
            return (after.nodes, after.r), None

        before = (jnp.roll(r_orbit, 1, axis=0), jnp.roll(jnp.asarray(f), 1, axis=0), jnp.asarray(f), zeros)
        (nodes, _), _ = jax.lax.scan(tick, (nodes, r), before)
        return ravel_pytree(_split(nodes)[0])[0]

    return flow, x


def _split(nodes: Any) -> tuple[list[Any], list[Any], Callable[[list[Any], list[Any]], Any]]:
    """The numbers of a state that have derivatives, the rest, and how they are put together."""
    leaves, form = jax.tree.flatten(nodes)
    moves = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def join(numbers: list[Any], static: list[Any]) -> Any:
        of_each = {True: iter(numbers), False: iter(static)}
        return jax.tree.unflatten(form, [next(of_each[bool(one)]) for one in moves])

    parts = ([leaf for leaf, one in zip(leaves, moves, strict=True) if bool(one) is kind] for kind in (True, False))
    numbers, static = parts
    return numbers, static, join


def examine(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    *,
    clock: np.ndarray | None = None,
    steps: int = 100,
    slack: float = 1.1,
) -> Orbit:
    """Say why one network does not generate: its orbit, or its training.

    Parameters
    ----------
    node : Node
        one that JAX can trace and without noise, as a network takes it: a reduced model
    weights : Weights
        of a single trained network
    f : (period_ticks,), (period_ticks, K) or (period_ticks, 1, K) ndarray
        one period of the target
    clock : (period_ticks,) ndarray, optional
    steps : int
        of the search over read-outs
    slack : float
        how many times the taught error a read-out of the search may have

    Returns
    -------
    orbit : Orbit

    Raises
    ------
    SpinloomError
        for several networks at once, nodes that JAX cannot trace, and a state too large for its matrix
    DivergedError
        naming node and tick, where there is no orbit: something is not finite with the target fed back
    """
    if weights.networks != 1 or not node.traceable:
        raise SpinloomError("floquet: expected a single network of reduced nodes")
    f = per_network(f, weights)
    s = clock_ticks(clock, weights, len(f), 1)
    many = {"target": np.tile(f, (_SETTLING, 1, 1)), "hold": np.ones(_SETTLING * len(f), bool)}
    long = clock_ticks(clock, weights, len(f), _SETTLING)
    state, record = jax.jit(partial(run, record="r"))(node, weights, **many, s=long, state=start(node, weights))
    lost = FirstLost()
    lost(record)
    if lost.of_each[0] is not None:
        raise DivergedError(
            f"floquet: {lost.of_each[0].words} with the target fed back; {MEND}", lost.of_each[0].tick, 0
        )
    forced_flow, x = period_map(node, weights, state, f, s, closed=False)
    if len(x) > _MOST:
        raise SpinloomError(f"floquet: expected at most {_MOST} numbers in the state of all nodes, got {len(x)}")
    w = jnp.asarray(weights.w_out)
    flow, _ = period_map(node, weights, state, f, s, closed=True)
    forced = multipliers(partial(jax.jit(forced_flow), w), x)
    closed = multipliers(partial(jax.jit(flow), w), x)
    r = record.r[-len(f) :, 0]
    taught = _taught(w, r, f[:, 0])
    free = generate(node, weights, f, _FREE_PERIODS, _WASHOUT, clock=clock)
    nrmse, reach = float(free.nrmse[0]), None
    restless = float(np.sqrt(((r - record.r[-2 * len(f) : -len(f), 0]) ** 2).mean()))
    if np.abs(forced[0]) >= 1 or restless > RESTLESS:
        verdict = "sings"
    elif nrmse <= GENERATES:
        verdict = "stable"
    elif _worst(closed, clock is None) < 1:
        verdict = "stable beside it"
    else:
        reach = _search(flow, w, x, r, f[:, 0], max(slack * taught, 1e-3), steps, clock is None)
        verdict = "not reached" if reach < 1 else "unstable"
    return Orbit(forced, closed, taught, nrmse, reach, verdict)


def _taught(w: Any, r: Any, f: Any) -> float:
    error = readout(w, r[:, None])[:, 0] - f
    return float(np.sqrt((error**2).mean() / f.var(axis=0).mean()))


def _worst(found: np.ndarray, free: bool) -> float:
    """Largest modulus, but for the neutral phase of a network without a clock."""
    return float(np.abs(np.delete(found, _phase(found)) if free and _has_phase(found) else found).max())


def _phase(found: np.ndarray) -> int:
    return int(np.abs(found - 1).argmin())


def _has_phase(found: np.ndarray) -> bool:
    return bool(np.abs(found - 1).min() < _NEUTRAL)


def _search(
    flow: Callable[[Any, Any], Any], w: Any, x: Any, r: Any, f: Any, limit: float, steps: int, free: bool
) -> float:
    """The smallest of the largest moduli over read-outs within the limit on the orbit, infinite if none is.

    Ridge read-outs first, then descent along the derivative of the largest multiplier, y M x / y x with its left and
    right eigenvectors; read-outs move in directions in which the orbit's signals differ little, so that their error
    on it stays.
    """
    states = jnp.concatenate([r, jnp.ones((len(r), 1))], axis=1)
    values, vectors = jnp.linalg.eigh(states.T @ states / len(states))
    moment = states.T @ f / len(states)
    jacobian = jax.jit(jax.jacfwd(flow, argnums=1))

    def looked_at(w: Any) -> tuple[float, np.ndarray, np.ndarray]:
        found, right = np.linalg.eig(np.asarray(jacobian(w, x)))
        return (_worst(found, free) if _taught(w, r, f) <= limit else np.inf), found, right

    # Of read-outs as good on the orbit small ones are the likeliest to hold it.
    small = [((vectors / (jnp.maximum(values, 0) + 10.0**-k)) @ vectors.T @ moment).T[None] for k in range(4, 13, 2)]
    rated = [(looked_at(one)[0], k) for k, one in enumerate([w, *small])]
    least, best = min(rated)
    if least < 1 or not steps:
        return least
    w = [w, *small][best]
    # Stretched so that a step changes the output on the orbit by about as much in every direction.
    stretch = vectors / jnp.sqrt(jnp.maximum(values, 0) + _DULLEST)

    def error(move: Any) -> Any:
        lacks = readout(w + move @ stretch.T, r[:, None])[:, 0] - f
        return jnp.sqrt((lacks**2).mean() / f.var(axis=0).mean())

    @jax.jit
    def slope(move: Any, left: Any, right: Any, turn: Any) -> Any:
        def growth(move: Any) -> Any:
            now = partial(flow, w + move @ stretch.T)
            real, imaginary = (jax.jvp(now, (x,), (part,))[1] for part in (right.real, right.imag))
            return (turn * (left @ (real + 1j * imaginary))).real

        beyond = jax.grad(lambda move: jnp.maximum(error(move) / limit - 0.9, 0.0))(move)
        return jax.grad(growth)(move) + 10 * beyond

    adam = optax.adam(_RATE)
    move = jnp.zeros_like(w)
    memory = adam.init(move)
    for _ in range(steps):
        worst, found, right = looked_at(w + move @ stretch.T)
        least = min(least, worst)
        if least < 1:
            break
        modulus = np.abs(found)
        if free and _has_phase(found):
            modulus[_phase(found)] = 0
        k = modulus.argmax()
        left = np.linalg.inv(right)[k]
        turn = np.conj(found[k]) / np.abs(found[k])
        change, memory = adam.update(slope(move, left, right[:, k], turn), memory)
        move = optax.apply_updates(move, change)
    return float(least)
