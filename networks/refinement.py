"""Refinement of a trained read-out on its own free run.

FORCE stops where its corrections have become small, and the phase of a free-running network
still drifts by what they left over. The free run of a traceable node can be differentiated
with respect to the read-out, so a few Gauss-Newton steps remove that remainder. How far the
read-out may move is measured in the covariance of the noisy states, so that it stays stable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from device_models.node import Node
from networks.loop import Arrays, LoopState, advance, arrays, run
from networks.topology import Weights

Progress = Callable[[int], None] | None
_GROWTH = 4.0
"""Factor between damping values, and between the horizons of successive rounds."""


def refine(
    node: Node,
    weights: Weights,
    axis: tuple[float, float, float],
    f: np.ndarray,
    *,
    covariance: np.ndarray,
    stiffness: float,
    periods: int,
    washout: int,
    steps: int,
    progress: Progress = None,
) -> Weights:
    r"""Levenberg-Marquardt steps on the error of the free run.

    Minimises :math:`\langle (z - f)^2\rangle / \mathrm{var} f + \kappa\,(w-w_0)^T C (w-w_0)`
    over ever longer free runs that start after the washout.

    Parameters
    ----------
    node : Node
        traceable
    weights : Weights
        S trained networks
    axis : (3,) tuple of float
        read-out axis
    f : (period_ticks, S) ndarray
    covariance : (S, N + 1, N + 1) ndarray
        C, of the noisy states
    stiffness : float
        kappa
    periods : int
        of the longest free run
    washout, steps : int
        periods with the target fed back before the free run; steps on each horizon
    progress : callable, optional
        called with the number of ticks of a period after every step

    Returns
    -------
    weights : Weights
        of each network the best read-out found
    """
    a = arrays(weights, axis)
    ticks, S = f.shape
    hold = np.arange(washout * ticks) < washout * ticks - 1
    state, _ = run(node, weights, axis, target=np.tile(f, (washout, 1)), hold=hold)
    w0 = w = jnp.asarray(weights.w_out[:, 0])
    horizons = sorted({periods, max(1, round(periods / _GROWTH)), max(1, round(periods / _GROWTH**2))})
    for horizon in horizons:
        target = jnp.asarray(np.tile(f, (horizon, 1)))
        cost = _cost(node, a, state, w, w0, target, covariance, stiffness)
        damping = jnp.full(S, 1e-3)
        for _ in range(steps):
            step = _newton(node, a, state, w, w0, target, covariance, stiffness, damping)
            new = w + step
            new_cost = _cost(node, a, state, new, w0, target, covariance, stiffness)
            better = new_cost < cost
            w, cost = jnp.where(better[:, None], new, w), jnp.where(better, new_cost, cost)
            damping = jnp.where(better, damping / _GROWTH, damping * _GROWTH)
            if progress is not None:
                progress(ticks)
    return weights.with_readout(np.asarray(w)[:, None, :])


def _free_run(node: Node, a: Arrays, state: LoopState, w: Any, ticks: int) -> Any:
    """Output of a free run, (n_ticks, S), as a function of the read-outs (S, N + 1)."""

    def tick(state: LoopState, _: None) -> tuple[LoopState, Any]:
        nodes, m, r, _u = advance(node, a, state, jnp.zeros(len(w)))
        z = jnp.einsum("sn,sn->s", w[:, :-1], r) + w[:, -1]
        return LoopState(nodes, m, z), z

    r = (state.m @ a.axis).reshape(a.b.shape)
    state = state._replace(z=jnp.einsum("sn,sn->s", w[:, :-1], r) + w[:, -1])
    return jax.lax.scan(tick, state, length=ticks)[1]


@partial(jax.jit, static_argnums=0)
def _cost(
    node: Node, a: Arrays, state: LoopState, w: Any, w0: Any, target: Any, covariance: Any, stiffness: float
) -> Any:
    error = (_free_run(node, a, state, w, len(target)) - target) / target.std(axis=0)
    moved = jnp.einsum("si,sij,sj->s", w - w0, covariance, w - w0)
    cost = (error**2).mean(axis=0) + stiffness * moved
    return jnp.where(jnp.isfinite(cost), cost, jnp.inf)


@partial(jax.jit, static_argnums=0)
def _newton(
    node: Node,
    a: Arrays,
    state: LoopState,
    w: Any,
    w0: Any,
    target: Any,
    covariance: Any,
    stiffness: float,
    damping: Any,
) -> Any:
    """One damped Gauss-Newton step of every network, (S, N + 1)."""
    z, push = jax.linearize(lambda w: _free_run(node, a, state, w, len(target)), w)
    unit = jnp.eye(w.shape[1])
    slope = jax.vmap(lambda e: push(jnp.broadcast_to(e, w.shape)))(unit) / target.std(axis=0)
    error = (z - target) / target.std(axis=0)
    curvature = jnp.einsum("its,jts->sij", slope, slope) / len(target) + stiffness * covariance
    gradient = jnp.einsum("its,ts->si", slope, error) / len(target)
    gradient = gradient + stiffness * jnp.einsum("sij,sj->si", covariance, w - w0)
    damped = curvature + damping[:, None, None] * (covariance + 1e-9 * unit)
    step = -jnp.linalg.solve(damped, gradient[..., None])[..., 0]
    return jnp.where(jnp.isfinite(step), step, 0.0)
