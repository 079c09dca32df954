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
    """How a read-out is trained.

    Attributes
    ----------
    method : {"force", "ridge"}
    periods : int
        of the target, during training
    ridge : float
        penalty on the read-out; FORCE begins with P = I / ridge
    noise : float
        rms of the noise on the fed-back target (ridge only), without which a teacher-forced
        read-out is not stable once the loop is closed
    seed : int
        of that noise
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["force", "ridge"] = "force"
    periods: int = Field(default=300, ge=1, le=100_000)
    ridge: float = Field(default=1e-3, gt=0, le=1e6)
    noise: float = Field(default=1e-2, ge=0, le=1)
    seed: int = Field(default=0, ge=0)


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
    method = force if how.method == "force" else teacher_forced_ridge
    return method(node, weights, axis, f, how, progress)


def force(node: Node, weights: Weights, axis: Axis, f: np.ndarray, how: Training, progress: Progress = None) -> Weights:
    r"""Recursive least squares while the output feeds back (Sussillo and Abbott, Neuron 63, 544 (2009)).

    In every tick, with :math:`x = [r, 1]` and the error e before the update,
    :math:`k = Px,\ c = 1/(1 + x\cdot k),\ P \leftarrow P - c\,kk^T,\ w \leftarrow w - c\,e\,k`.

    Parameters and returns as in :func:`train`, with ``f`` of shape (period_ticks, S).
    """
    a = arrays(weights, axis)
    S, N = weights.networks, weights.nodes
    carry = (start(node, S, N), jnp.zeros((S, N + 1)), jnp.broadcast_to(jnp.eye(N + 1) / how.ridge, (S, N + 1, N + 1)))
    for _ in range(how.periods):
        carry = (_force_scan if node.traceable else _force_loop)(node, a, carry, f)
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


def teacher_forced_ridge(
    node: Node, weights: Weights, axis: Axis, f: np.ndarray, how: Training, progress: Progress = None
) -> Weights:
    """Ridge regression of the target on states recorded while the noisy target feeds back.

    Parameters and returns as in :func:`train`, with ``f`` of shape (period_ticks, S); the first
    tenth of the periods is washout.
    """
    S = weights.networks
    target = np.tile(f, (how.periods, 1))
    noise = how.noise * np.random.default_rng(how.seed).standard_normal(target.shape)
    _, record = run(node, weights, axis, target=target + noise, hold=np.ones(len(target), bool), progress=progress)
    keep = slice(len(f) * (how.periods // 10), None)
    w_out = np.empty((S, 1, weights.nodes + 1))
    for network in range(S):
        fit = Ridge(alpha=how.ridge).fit(record.r[keep, network], target[keep, network])
        w_out[network, 0] = [*fit.coef_, fit.intercept_]
    return weights.with_readout(w_out)


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
