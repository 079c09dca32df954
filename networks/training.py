"""Training of the read-out: FORCE, teacher-forced ridge, and the classifier for recognition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sklearn.linear_model import Ridge, RidgeClassifier

from device_models.node import Node
from networks.loop import Arrays, LoopState, advance, arrays, readout, run, start
from networks.topology import Weights

Axis = tuple[float, float, float]
Progress = Callable[[int], None] | None


class Training(BaseModel):
    """How a read-out is trained to generate.

    Attributes
    ----------
    method : {"force", "ridge"}
        ``ridge``: teacher-forced ridge regression alone; ``force``: that, and then FORCE
    teacher_periods : int
        of the target, teacher-forced; the first tenth is washout
    noise : float
        rms of the noise on the fed-back target, without which a teacher-forced read-out is
        not stable once the loop is closed
    ridge : float
        penalty on the read-out, per tick
    force_periods : int
        of FORCE, in closed loop and without noise
    prior_ticks : float
        how many ticks the teacher-forced data count for when FORCE begins; few let it move
        far from the ridge solution
    seed : int
        of the noise
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["force", "ridge"] = "force"
    teacher_periods: int = Field(default=60, ge=2, le=100_000)
    noise: float = Field(default=1e-3, ge=0, le=1)
    ridge: float = Field(default=3e-7, gt=0, le=1e6)
    force_periods: int = Field(default=300, ge=1, le=1_000_000)
    prior_ticks: float = Field(default=1200, gt=0, le=1e9)
    seed: int = Field(default=0, ge=0)

    @property
    def periods(self) -> int:
        """Periods of the target that training takes."""
        return self.teacher_periods + (self.force_periods if self.method == "force" else 0)


def train(node: Node, weights: Weights, axis: Axis, f: np.ndarray, how: Training, progress: Progress = None) -> Weights:
    """Train S networks to generate a target each.

    Parameters
    ----------
    node : Node
    weights : Weights
    axis : (3,) tuple of float
        read-out axis
    f : (period_ticks,) or (period_ticks, S) ndarray
        one period of the target, of each network if they differ
    how : Training
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    weights : Weights
        with the trained read-out
    """
    f = np.broadcast_to(np.asarray(f).reshape(len(f), -1), (len(f), weights.networks))
    state, weights, covariance = teacher_forced_ridge(node, weights, axis, f, how, progress)
    if how.method == "ridge":
        return weights
    return force(node, weights, axis, f, how.force_periods, covariance * how.prior_ticks, state, progress)


def teacher_forced_ridge(
    node: Node, weights: Weights, axis: Axis, f: np.ndarray, how: Training, progress: Progress = None
) -> tuple[LoopState, Weights, np.ndarray]:
    """Ridge regression of the target on states recorded while the noisy target feeds back.

    Parameters are those of :func:`train`, with ``f`` of shape (period_ticks, S).

    Returns
    -------
    state : LoopState
        at the end, with the loop about to be closed
    weights : Weights
        with the read-out
    covariance : (S, N + 1, N + 1) ndarray
        mean of x x^T + ridge, x = [r, 1]: what is known of the states, noise included
    """
    target = np.tile(f, (how.teacher_periods, 1))
    noise = how.noise * np.random.default_rng(how.seed).standard_normal(target.shape)
    hold = np.arange(len(target)) < len(target) - 1
    state, record = run(node, weights, axis, target=target + noise, hold=hold, progress=progress)
    keep = slice(len(f) * (how.teacher_periods // 10), None)
    w_out, covariance = [], []
    for network in range(weights.networks):
        r = record.r[keep, network]
        fit = Ridge(alpha=how.ridge * len(r)).fit(r, target[keep, network])
        x = np.column_stack([r, np.ones(len(r))])
        w_out.append([[*fit.coef_, fit.intercept_]])
        covariance.append(x.T @ x / len(x) + how.ridge * np.eye(x.shape[1]))
    weights = weights.with_readout(np.array(w_out))
    last = readout(jnp.asarray(weights.w_out), jnp.asarray(record.r[-1]))[:, 0]
    return state._replace(z=last), weights, np.stack(covariance)


def force(
    node: Node,
    weights: Weights,
    axis: Axis,
    f: np.ndarray,
    periods: int,
    precision: np.ndarray | None = None,
    state: LoopState | None = None,
    progress: Progress = None,
) -> Weights:
    r"""Recursive least squares while the output feeds back (Sussillo and Abbott, Neuron 63, 544 (2009)).

    In every tick, with :math:`x = [r, 1]` and the error e before the update,
    :math:`k = Px,\ c = 1/(1 + x\cdot k),\ P \leftarrow P - c\,kk^T,\ w \leftarrow w - c\,e\,k`.

    Parameters
    ----------
    node, weights, axis
        as in :func:`train`; training goes on from the read-out that the weights have
    f : (period_ticks, S) ndarray
    periods : int
    precision : (S, N + 1, N + 1) ndarray, optional
        inverse of P at the start; the unit matrix if not given
    state : LoopState, optional
        where to go on from; equilibrium if not given
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    weights : Weights
        with the trained read-out
    """
    a = arrays(weights, axis)
    S, N = weights.networks, weights.nodes
    P = jnp.broadcast_to(jnp.eye(N + 1), (S, N + 1, N + 1)) if precision is None else jnp.linalg.inv(precision)
    carry = (start(node, S, N) if state is None else state, jnp.asarray(weights.w_out[:, 0]), P)
    advance_period = _force_scan if node.traceable else _force_loop
    for _ in range(periods):
        carry = advance_period(node, a, carry, f)
        if progress is not None:
            jax.block_until_ready(carry[1])
            progress(len(f))
    return weights.with_readout(np.asarray(carry[1])[:, None, :])


def _force_tick(node: Node, a: Arrays, carry: tuple, target: Any) -> tuple[tuple, None]:
    state, w, P = carry
    nodes, m, r, _ = advance(node, a, state, jnp.zeros(len(w)))
    x = jnp.concatenate([r, jnp.ones((len(w), 1))], axis=1)
    error = jnp.einsum("sn,sn->s", w, x) - target
    k = jnp.einsum("sij,sj->si", P, x)
    c = 1 / (1 + jnp.einsum("sn,sn->s", x, k))
    P = P - c[:, None, None] * k[:, :, None] * k[:, None, :]
    w = w - (c * error)[:, None] * k
    return (LoopState(nodes, m, jnp.einsum("sn,sn->s", w, x)), w, P), None


@partial(jax.jit, static_argnums=0)
def _force_scan(node: Node, a: Arrays, carry: tuple, f: Any) -> tuple:
    return jax.lax.scan(lambda c, x: _force_tick(node, a, c, x), carry, f)[0]


def _force_loop(node: Node, a: Arrays, carry: tuple, f: Any) -> tuple:
    for target in f:
        carry, _ = _force_tick(node, a, carry, target)
    return carry


def train_classifier(features: np.ndarray, classes: np.ndarray, n_classes: int, ridge: float) -> np.ndarray:
    """One-against-the-rest ridge classifier.

    Parameters
    ----------
    features : (n_trials, N) ndarray
        node states averaged over the last period
    classes : (n_trials,) int ndarray
    n_classes : int
        at least 3
    ridge : float

    Returns
    -------
    w_out : (n_classes, N + 1) ndarray
        the largest channel of w [r, 1] names the class
    """
    fit = RidgeClassifier(alpha=ridge).fit(features, classes)
    if len(fit.classes_) != n_classes:
        raise ValueError(f"classes: expected every one of {n_classes} in the training trials, got {len(fit.classes_)}")
    return np.column_stack([fit.coef_, fit.intercept_])


def classify(w_out: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The class that the read-out names: (S, K, N + 1), (S, N) -> (S,) int."""
    return np.asarray(readout(jnp.asarray(w_out), jnp.asarray(features))).argmax(axis=1)
