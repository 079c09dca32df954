"""Reduced models of measured devices: corrected and judged by the one signal that was measured."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.reduced_models.basis import SPHERE, monomials
from spinloom.reduced_models.macrospin import MacrospinModel
from spinloom.reduced_models.observation import (
    LIMITED,
    Chain,
    Error,
    error_of,
    find_starts,
    lead_of,
    observe,
    roll_out,
    turned,
)

LOW = 2
"""Corrections of a map are polynomials of at most this degree, in direction and drive."""
TRUST = (0.01, 0.03, 0.1)
"""How large corrections may be, as shares of what happens in a tick: each is tried."""
VALIDATE = 4
"""Every so many of the shown traces choose among them."""
HELPS = 0.8
"""A correction is taken where it leaves at most this share of the error, noise aside."""
STEPS = 6
SMALL_TURN = 0.05
"""Starts are known to this much (rad) when corrections are fitted."""


@dataclass(frozen=True, eq=False)
class Signals:
    """What was measured of each trajectory.

    Attributes
    ----------
    y : (n, n_ticks) ndarray
        average of the signal over each tick, in units of m . e_read
    first : (n, 3) ndarray
        <m> before the first tick, as the identified card has it
    visited : (k, 3) ndarray
        <m> that it goes through
    axis : (3,) ndarray
        e_read
    chain : Chain
    """

    y: np.ndarray
    first: np.ndarray
    visited: np.ndarray
    axis: np.ndarray
    chain: Chain

    def of(self, which: np.ndarray) -> Signals:
        """Those of some trajectories."""
        return replace(self, y=self.y[which], first=self.first[which])


class Corrections(NamedTuple):
    """How an estimator is changed by a vector z: ``place`` names arrays of its law, ``scale`` what z counts in.

    Attributes
    ----------
    place : tuple of (str, (k, axes) tuple of index arrays)
    scale : (p,) ndarray
    """

    place: tuple[tuple[str, Any], ...]
    scale: np.ndarray


def judge(estimator: Any, signals: Signals, u: np.ndarray) -> list[Error]:
    """Errors of free roll-outs against measured signals, from starts that the first part of each trace tells.

    Parameters
    ----------
    estimator : object
        with ``law()``
    signals : Signals
    u : (n, n_ticks) ndarray
    """
    return judged_by(signals, follow(estimator, signals, u)[0])


def judged_by(signals: Signals, predicted: np.ndarray) -> list[Error]:
    """Errors of predicted signals (n, n_ticks), after the part that told where each starts."""
    lead = lead_of(predicted.shape[1])
    return [error_of(y[lead:], one[lead:]) for y, one in zip(signals.y, predicted, strict=True)]


def follow(estimator: Any, signals: Signals, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signals (n, n_ticks) as a model predicts them, and its <m> (n, n_ticks + 1, 3); starts from the first part."""
    law = estimator.law()
    starts = find_starts(law, signals.axis, signals.chain, signals.visited, u, signals.y)
    m = np.asarray(_rolled(law, jnp.asarray(starts), jnp.asarray(u.T)))
    return np.asarray(observe(signals.chain, jnp.asarray(m @ signals.axis))).T, m.swapaxes(0, 1)


_rolled = jax.jit(roll_out)


def refine(estimator: Any, signals: Signals, u: np.ndarray, m: np.ndarray) -> tuple[Any, list[dict[str, Any]]]:
    """Correct an estimator so that its roll-outs give the measured signals.

    Maps take corrections of low degree to the change of direction in a tick, a macrospin of its constants: Gauss-Newton
    steps on whole roll-outs, with the angles of every start free, and a penalty on corrections. How small they have to
    be is chosen on every fourth trace, that they are not fitted to. Where none helps, or noise hides what is wrong,
    none is made.

    Parameters
    ----------
    estimator : FlowMap, MemoryMap or MacrospinModel
        fitted to ``<m>`` of the identified card
    signals : Signals
    u : (n, n_ticks) ndarray
    m : (n, n_ticks, 3) ndarray
        <m> of the identified card at the end of each tick

    Returns
    -------
    estimator : object
        a copy, or the same
    tried : list of dict
        ``trust`` and ``signal_nrmse``
    """
    chooses = np.arange(len(u)) % VALIDATE == VALIDATE - 1
    errors = judge(estimator, signals, u)
    tried = [{"trust": 0.0, "signal_nrmse": _together(errors, chooses)}]
    floor = float(np.sqrt(np.mean([error.floor**2 for error in errors])))
    if not chooses.any() or floor > LIMITED * _together(errors, np.ones_like(chooses)):
        return estimator, tried
    corrections = _corrections(estimator, signals, u, m)
    best, model = HELPS * tried[0]["signal_nrmse"], estimator
    for trust in TRUST:
        other = corrected(estimator, corrections, _fit(estimator, corrections, signals, u, trust, ~chooses))
        score = _together(judge(other, signals.of(chooses), u[chooses]))
        tried.append({"trust": trust, "signal_nrmse": score})
        if score < best:
            best, model = score, other
    return model, tried


def _together(errors: list[Error], which: np.ndarray | None = None) -> float:
    """Root mean square over some traces."""
    each = np.array([error.nrmse for error in errors])
    return float(np.sqrt((each[slice(None) if which is None else which] ** 2).mean()))


def corrected(estimator: Any, corrections: Corrections, z: np.ndarray) -> Any:
    """A copy of an estimator, changed by z."""
    out, change = deepcopy(estimator), z * corrections.scale
    at = 0
    for name, index in corrections.place:
        count = len(index[0])
        value = np.array(getattr(out, f"{name}_"), dtype=float)
        value[index] += change[at : at + count]
        setattr(out, f"{name}_", value)
        at += count
    return out


def _corrections(estimator: Any, signals: Signals, u: np.ndarray, m: np.ndarray) -> Corrections:
    before = np.concatenate([signals.first[:, None], m[:, :-1]], axis=1)
    if isinstance(estimator, MacrospinModel):
        size = np.abs(estimator.theta_)
        size[1:3], size[3:] = max(size[2], 1.0), max(size[3], 1.0)
        return Corrections((("theta", (np.arange(len(size)),)),), size)
    powers = np.asarray(estimator.powers_)
    low = np.flatnonzero((powers.sum(axis=1) <= LOW) & (powers[:, SPHERE + 1 :].sum(axis=1) == 0))
    direction = before / np.linalg.norm(before, axis=-1, keepdims=True)
    values = monomials(
        np.concatenate([direction, u[..., None]], axis=-1).reshape(-1, SPHERE + 1), powers[low, : SPHERE + 1]
    )
    moved = float(np.sqrt(((m - before) ** 2).sum(axis=-1).mean()))
    size = moved / np.maximum(values.std(axis=0), 1e-3)
    rows, columns = np.repeat(np.arange(SPHERE), len(low)), np.tile(low, SPHERE)
    return Corrections(
        (("coef", (rows, columns)), ("intercept", (np.arange(SPHERE),))),
        np.concatenate([np.tile(size, SPHERE), np.full(SPHERE, moved)]),
    )


def _changed(law: Any, place: Any, change: Any) -> Any:
    at = 0
    for name, index in place:
        count = len(index[0])
        law = replace(law, **{name: jnp.asarray(getattr(law, name)).at[index].add(change[at : at + count])})
        at += count
    return law


@partial(jax.jit, static_argnames="names")
def _slopes(law: Any, names: Any, indices: Any, scale: Any, z: Any, chain: Chain, axis: Any, m: Any, u: Any) -> Any:
    """Signals (n, n_ticks), and their slopes by z and two angles of each start, (n, n_ticks, p + 2)."""

    def seen(z: Any, by: Any, m: Any, u: Any) -> Any:
        changed = _changed(law, tuple(zip(names, indices, strict=True)), z * scale)
        return observe(chain, roll_out(changed, turned(m, by)[None], u[:, None])[:, 0] @ axis)

    def one(m: Any, u: Any) -> Any:
        by_z, by_start = jax.jacfwd(seen, (0, 1))(z, jnp.zeros(2), m, u)
        return seen(z, jnp.zeros(2), m, u), jnp.concatenate([by_z, by_start], axis=1)

    return jax.vmap(one)(m, u)


@partial(jax.jit, static_argnames="names")
def _seen(law: Any, names: Any, indices: Any, scale: Any, z: Any, chain: Chain, axis: Any, m: Any, u: Any) -> Any:
    changed = _changed(law, tuple(zip(names, indices, strict=True)), z * scale)
    return observe(chain, roll_out(changed, m, u.T) @ axis).T


_all_turned = jax.jit(jax.vmap(turned))


def _fit(
    estimator: Any, corrections: Corrections, signals: Signals, u: np.ndarray, trust: float, which: np.ndarray
) -> np.ndarray:
    """Corrections z that explain the signals of some traces best."""
    law, (names, indices) = estimator.law(), zip(*corrections.place, strict=True)
    chain = Chain(*(jnp.asarray(part, dtype=float) for part in signals.chain))
    fixed = (law, names, indices, jnp.asarray(corrections.scale))
    y, drives = signals.y[which], jnp.asarray(u[which])
    m = jnp.asarray(find_starts(law, signals.axis, signals.chain, signals.visited, u[which], y))
    z, damping = np.zeros(len(corrections.scale)), 1e-3

    def predicted(z: np.ndarray, m: Any) -> np.ndarray:
        return np.asarray(_seen(*fixed, jnp.asarray(z), chain, jnp.asarray(signals.axis), m, drives))

    sigma = float(np.sqrt(((y - predicted(z, m)) ** 2).mean()))
    for _ in range(STEPS):
        seen, slopes = map(np.asarray, _slopes(*fixed, jnp.asarray(z), chain, jnp.asarray(signals.axis), m, drives))
        before = _loss(y - seen, z, sigma, trust)
        for _ in range(3):
            change, turns = _gauss_newton(y - seen, slopes, z, sigma, trust, damping)
            tried, moved = z + change, _all_turned(m, jnp.asarray(np.clip(turns, -0.3, 0.3)))
            after = _loss(y - predicted(tried, moved), tried, sigma, trust)
            if after < before:
                break
            damping *= 100
        else:
            break
        z, m, damping = tried, moved, damping / 10
        if after > 0.999 * before:
            break
    return z


def _loss(miss: np.ndarray, z: np.ndarray, sigma: float, trust: float) -> float:
    loss = float((miss**2).sum()) / sigma**2 + float((z**2).sum()) / trust**2
    return loss if np.isfinite(loss) else np.inf


def _gauss_newton(
    miss: np.ndarray, slopes: np.ndarray, z: np.ndarray, sigma: float, trust: float, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """Changes of z and of the starts (n, 2), of which each concerns its own trace alone."""
    p = len(z)
    J, S, e = slopes[..., :p] / sigma, slopes[..., p:] / sigma, miss / sigma
    own = np.einsum("nti,ntj->nij", S, S) + np.eye(2) / SMALL_TURN**2
    across = np.einsum("nti,ntj->nij", S, J)
    pull = np.einsum("nti,nt->ni", S, e)
    out = np.linalg.solve(own, across)
    matrix = np.einsum("nti,ntj->ij", J, J) - np.einsum("nij,nik->jk", across, out)
    gradient = np.einsum("nti,nt->i", J, e) - np.einsum("nij,ni->j", out, pull) - z / trust**2
    matrix += np.eye(p) / trust**2 + damping * np.diag(np.diag(matrix))
    change = np.linalg.solve(matrix, gradient)
    return change, np.linalg.solve(own, (pull - across @ change)[..., None])[..., 0]
