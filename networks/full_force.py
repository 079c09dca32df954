"""full-FORCE: recurrent weights that are learned from a second network, which knows the target.

In FORCE the read-out alone is learned, and the target reaches the nodes through it. In full-FORCE (DePasquale, Cueva,
Rajan, Escola and Abbott, PLoS ONE 13, e0191527 (2018)) a target-generating network is driven by the target, and the
network that is trained learns by recursive least squares to give every node the drive that it has there. What it
learns replaces both the recurrent weights and the feedback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spinloom.device_models.node import Node
from spinloom.networks.loop import drives, simulate
from spinloom.networks.topology import Weights
from spinloom.networks.training import Training, learn
from spinloom.networks.trials import clock_ticks, per_network

_SETTLING = 10
"""Periods with the target fed back after which the target-generating network repeats itself."""


def full_force(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    how: Training,
    progress: Callable[[int], None] | None = None,
    *,
    clock: np.ndarray | None = None,
) -> Weights:
    r"""Train all recurrent weights of S networks to generate a target each.

    The network itself, with the target fed back, is the target-generating one: its nodes get
    :math:`h = W r + w_\mathrm{fb} f` beside bias and input. A network whose outputs are the N drives and the K
    outputs, each drive fed back to its own node, is then trained as any other
    (:func:`spinloom.networks.training.learn`), noise, tries and trim included; its read-out of the drives is the new W.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        of the target-generating networks
    f : (period_ticks,), (period_ticks, K) or (period_ticks, S, K) ndarray
        one period of the target
    how : Training
        the noise is on every drive, too
    progress : callable, optional
        called with the number of ticks just done
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of the input s, of both networks

    Returns
    -------
    weights : Weights
        W is dense, and there is no feedback
    """
    f = per_network(f, weights)
    S, N, K = weights.networks, weights.nodes, weights.outputs
    wanted = np.concatenate([_driven(node, weights, f, clock), f], axis=2)
    each = np.broadcast_to(np.concatenate([np.eye(N), np.zeros((N, K))], axis=1), (S, N, N + K))
    blank = np.zeros((S, N + K, N + 1))
    spread = replace(weights, W=np.zeros((S, N, N)), w_fb=each, w_out=blank)
    learned = learn(node, spread, wanted, how, progress, clock=clock).weights.w_out
    recurrent, constant, w_out = learned[:, :N, :N], learned[:, :N, N], learned[:, N:]
    return replace(weights, W=recurrent, b=weights.b + constant, w_fb=np.zeros((S, N, K)), w_out=w_out)


def _driven(node: Node, weights: Weights, f: np.ndarray, clock: np.ndarray | None) -> np.ndarray:
    """What reaches every node of the target-generating network at the next tick, one period of it (ticks, S, N)."""
    ticks = len(f)
    target = np.tile(f, (_SETTLING + 1, 1, 1))
    s = clock_ticks(clock, weights, ticks, _SETTLING + 1)
    _, record = simulate(node, weights, target=target, hold=np.ones(len(target), bool), s=s, record="r")
    quiet = replace(weights, b=np.zeros_like(weights.b))
    return np.asarray(drives(quiet, record.r[-ticks:], f, np.zeros(f.shape[:2])))
