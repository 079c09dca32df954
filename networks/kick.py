"""A kick: every node is turned a little, and the network has to find back on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scale import Scaled
from spinloom.networks.loop import LoopState, Record, simulate
from spinloom.networks.lost import FirstLost
from spinloom.networks.measures import GENERATES, shape_error
from spinloom.networks.seeds import stream
from spinloom.networks.topology import Weights

SIZE = 0.1
"""Length of the vector that is added to every m."""
PERIODS = 6
"""Periods that the network has to find back."""
_BEFORE = 5
"""Periods that tell what the shape error was before."""


def can_be_kicked(node: Node) -> bool:
    """Whether the state of a node can be turned: that of live processes cannot."""
    return hasattr(_bare(node), "push")


def kick(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    state: LoopState,
    z: np.ndarray,
    *,
    seed: int = 0,
    periods: int = PERIODS,
    clock: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Turn every node at the end of a free run, and go on.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
    f : (period_ticks, S, K) ndarray
    state : LoopState
        at the end of a period of the free run
    z : (n_ticks, S, K) ndarray
        outputs of the free run, whole periods
    seed : int
        of the vectors, one for each node, of length 0.1 in every direction alike
    periods : int
    clock : (n_ticks, S) ndarray, optional
        input of all periods after the kick
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    results : list of dict
        of each network ``size``; ``shape_error_before``, over the last periods of the free run;
        ``shape_error_after``, of each period after the kick; ``periods_until_back``, how many passed
        before all that followed were within twice the error before (None: not so far);
        ``returns``, whether the last period is within that, or within 0.1; ``lost``, in words which node is not
        finite so many ticks after the kick, or None

    Raises
    ------
    SpinloomError
        for nodes whose state cannot be turned
    """
    S, N = weights.networks, weights.nodes
    by = stream(seed, "kick").standard_normal((S * N, 3))
    by *= SIZE / np.linalg.norm(by, axis=1, keepdims=True)
    nodes = push(node, state.nodes, by)
    kicked = LoopState(nodes, jnp.asarray(node.observe(nodes)).reshape(S, N), state.z)
    target = np.zeros((periods * len(f), *f.shape[1:]))
    free: dict[str, Any] = {"target": target, "hold": np.zeros(len(target), bool), "s": clock, "record": "r"}
    _, record = simulate(node, weights, **free, state=kicked, progress=progress)
    lost = FirstLost()
    r = np.asarray(kicked.r)[None]
    lost(Record(r.sum(axis=2, keepdims=True), r))
    lost(record)
    before = shape_error(z[-_BEFORE * len(f) :], f)
    after = np.stack([shape_error(part, f) for part in np.split(record.z, periods)])
    told = [None if one is None else one.words for one in lost.of_each]
    return [{**_result(float(before[k]), after[:, k]), "lost": told[k]} for k in range(S)]


def _result(before: float, after: np.ndarray) -> dict[str, Any]:
    back = np.flatnonzero(after > 2 * before)
    until = 0 if not len(back) else int(back[-1]) + 1
    return {
        "size": SIZE,
        "shape_error_before": before,
        "shape_error_after": after.tolist(),
        "periods_until_back": until if until < len(after) else None,
        "returns": bool(after[-1] <= max(2 * before, GENERATES)),
    }


def push(node: Node, state: Any, by: Any) -> Any:
    """The state of a node with a vector added to m of each device, (n, 3), and its length restored.

    Raises
    ------
    SpinloomError
        for nodes whose state cannot be turned
    """
    if not can_be_kicked(node):
        raise SpinloomError("kick: these nodes live elsewhere and cannot be turned; use --engine embedded")
    return _bare(node).push(state, by)


def _bare(node: Node) -> Any:
    """The node in its own units."""
    return node.node if isinstance(node, Scaled) else node
