"""What a read-out shows of a device: one signal with gain, offset, delay and noise, from a start that is not known."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.reduced_models.node import Law

LEAD = 0.25
"""Share of a trace from which its start is found; errors count after it."""
TRIED = 400
"""Starts that are tried for every trace, of those that the device is known to visit, before the best is refined."""
NEAR = 0.1
"""How far a start may be from the best of these (rad)."""
REFINED, MOST_TURN = 8, 0.3
"""Gauss-Newton steps of that, and the largest turn in one (rad)."""
LIMITED = 0.7
"""An error of which the floor is more than this share is set by noise."""
ALIKE, MOST_LAGS = 0.95, 8
"""An error is taken to change as slowly as the signal: lags at which that is correlated by so much."""


class Chain(NamedTuple):
    """What stands between m . e_read and the numbers of an instrument.

    Attributes
    ----------
    gain : float
    offset : float
        in units of m . e_read
    delay : float
        of the signal behind the drive, in ticks
    """

    gain: Any = 1.0
    offset: Any = 0.0
    delay: Any = 0.0


class Error(NamedTuple):
    """How far a prediction is from a measured signal.

    Attributes
    ----------
    nrmse : float
        upper estimate, by one standard error, of rms (prediction - signal without noise) / spread of that signal
    raw : float
        the same against the noisy signal
    noise : float
        rms of what is white in the difference, as a share of the spread
    floor : float
        what a perfect prediction would be given: smaller errors cannot be seen in this trace
    """

    nrmse: float
    raw: float
    noise: float
    floor: float

    @property
    def limited(self) -> bool:
        """Whether most of the error is what noise hides."""
        return self.floor > LIMITED * self.nrmse


def observe(chain: Chain, r: Any) -> Any:
    """The signal as it is measured: averages over each tick.

    Between ticks m . e_read is linear; before the first it is what it was there.

    Parameters
    ----------
    chain : Chain
    r : (n_ticks + 1, ...) array
        m . e_read before the first tick and at the end of each

    Returns
    -------
    y : (n_ticks, ...) array

    Examples
    --------
    >>> observe(Chain(gain=2.0, offset=1.0), jnp.array([0.0, 1.0, 1.0])).tolist()
    [2.0, 3.0]
    >>> observe(Chain(delay=1.0), jnp.array([0.0, 1.0, 1.0])).tolist()
    [0.0, 0.5]
    """
    ticks = len(r) - 1
    area = jnp.concatenate([jnp.zeros_like(r[:1]), jnp.cumsum((r[:-1] + r[1:]) / 2, axis=0)])
    at = jnp.arange(ticks + 1) - chain.delay
    low = jnp.clip(jnp.floor(at).astype(int), 0, ticks)
    past = (at - low).reshape(-1, *[1] * (r.ndim - 1))
    slope = jnp.concatenate([jnp.diff(r, axis=0), jnp.zeros_like(r[:1])])
    slope = jnp.where(past >= 0, slope[low], 0.0)
    return chain.gain * jnp.diff(area[low] + past * r[low] + past**2 / 2 * slope, axis=0) + chain.offset


def roll_out(law: Law, m: Any, u: Any) -> Any:
    """``<m>`` before the first tick and at the end of each: (n, 3), (n_ticks, n) -> (n_ticks + 1, n, 3)."""

    def tick(x: Any, row: Any) -> tuple[Any, Any]:
        x = law.advance(x, row[:, None])
        return x, law.moment(x)

    return jnp.concatenate([m[None], jax.lax.scan(tick, law.start(m), u)[1]])


def tangents(m: Any) -> Any:
    """Two unit vectors across a direction, (3,) -> (2, 3)."""
    away = jnp.eye(3)[jnp.argmin(jnp.abs(m))]
    first = jnp.cross(m, away)
    first = first / jnp.sqrt((first**2).sum())
    return jnp.stack([first, jnp.cross(m / jnp.sqrt((m**2).sum()), first)])


def turned(m: Any, by: Any) -> Any:
    """A vector turned by two small angles across it, its length kept: (3,), (2,) -> (3,)."""
    length = jnp.sqrt((m**2).sum())
    moved = m / length + by @ tangents(m)
    return moved / jnp.sqrt((moved**2).sum()) * length


@partial(jax.jit, static_argnames="steps")
def _starts(law: Law, axis: Any, chain: Chain, m: Any, u: Any, y: Any, steps: int) -> Any:
    """Of <m> (k, 3) the best for each trace, then refined: u, y (n_ticks, n) -> (n, 3)."""
    k, n = len(m), u.shape[1]
    seen = observe(chain, roll_out(law, jnp.tile(m, (n, 1)), jnp.repeat(u, k, axis=1)) @ axis)
    misfits = ((seen - jnp.repeat(y, k, axis=1)) ** 2).sum(axis=0).reshape(n, k)
    best = m[jnp.argmin(jnp.where(jnp.isfinite(misfits), misfits, jnp.inf), axis=1)]

    def refined(m: Any, u: Any, y: Any) -> Any:
        def miss(by: Any, m: Any) -> tuple[Any, Any]:
            e = observe(chain, roll_out(law, turned(m, by)[None], u[:, None])[:, 0] @ axis) - y
            return e, e

        def step(carry: Any, _: None) -> tuple[Any, None]:
            now, loss, J, e, damping, tried = carry
            new_J, new_e = jax.jacfwd(miss, has_aux=True)(jnp.zeros(2), tried)
            after = (new_e**2).sum()
            better = after < loss
            now, loss, J, e = (
                jnp.where(better, a, b) for a, b in ((tried, now), (after, loss), (new_J, J), (new_e, e))
            )
            damping = jnp.where(better, damping / 10, damping * 10)
            A = J.T @ J
            ridge = damping * jnp.trace(A) + loss / len(e) / NEAR**2 + 1e-12
            by = -jnp.linalg.solve(A + ridge * jnp.eye(2), J.T @ e)
            by = by * jnp.minimum(1.0, MOST_TURN / jnp.sqrt((by**2).sum() + 1e-300))
            return (now, loss, J, e, damping, turned(now, by)), None

        first = (m, jnp.inf, jnp.zeros((len(y), 2)), jnp.zeros_like(y), 1e-2, m)
        return jax.lax.scan(step, first, None, length=steps + 1)[0][0]

    return jax.vmap(refined, (0, 1, 1))(best, u, y)


def find_starts(law: Law, axis: Any, chain: Chain, visited: np.ndarray, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``<m>`` before the first tick of traces, from the first part of each.

    One signal does not tell a direction at once: states that the device is known to visit are tried, and the best is
    refined, near it.

    Parameters
    ----------
    law : Law
    axis : (3,) array_like
        e_read
    chain : Chain
    visited : (k, 3) ndarray
        ``<m>`` that is possible; an even sample of it is tried
    u, y : (n, n_ticks) ndarray
        drives, and signals as they were measured

    Returns
    -------
    m : (n, 3) ndarray
    """
    lead = lead_of(u.shape[1])
    m = visited[:: max(1, len(visited) // TRIED)]
    chain = Chain(*(jnp.asarray(part, dtype=float) for part in chain))
    found = _starts(law, jnp.asarray(axis), chain, jnp.asarray(m), u[:, :lead].T, y[:, :lead].T, REFINED)
    return np.asarray(found)


def lead_of(n_ticks: int) -> int:
    """Ticks from which the start of a trace is found."""
    return max(2, round(LEAD * n_ticks))


def error_of(y: np.ndarray, predicted: np.ndarray) -> Error:
    """The error of a prediction, told from the noise of the signal.

    What a model misses changes as slowly as the device does; noise that is new in every tick does not correlate from
    one to the next. So the correlated part of the difference is the model's, and the rest is noise. Noise that
    lasts for several ticks counts as the model's. A short or noisy trace cannot show a small error: one standard
    error is added.

    Parameters
    ----------
    y, predicted : (n_ticks,) ndarray
        signal as it was measured, and as it should have been

    Returns
    -------
    error : Error

    Examples
    --------
    >>> t = np.arange(4000) / 100
    >>> noise = np.random.default_rng(0).normal(0, 0.05, 4000)
    >>> found = error_of(np.sin(t) + noise, np.sin(t) + 0.03 * np.cos(t))
    >>> round(found.nrmse, 2), round(found.raw, 2), round(found.noise, 2)
    (0.03, 0.08, 0.07)
    """
    miss = y - predicted
    if not np.isfinite(miss).all():
        return Error(np.inf, np.inf, np.inf, np.inf)
    n, total = len(y), float((miss**2).mean())
    centred = predicted - predicted.mean()
    # Neighbouring ticks share a sample at their common edge, and so some noise: lags from 2 on, where there are any.
    lags = [lag for lag in range(2, min(MOST_LAGS, n - 1) + 1) if _lagged(centred, lag) >= ALIKE * _lagged(centred, 0)]
    lags = lags or [1]
    slow = float(np.clip(np.mean([_lagged(miss, lag) for lag in lags]), 0, total))
    white = total - slow
    spread = max(float(y.var()) - white, 1e-300) ** 0.5
    unsure = white / (len(lags) * n) ** 0.5
    upper = min(slow + unsure, total)
    return Error(*(value**0.5 / spread for value in (upper, total, white, unsure)))


def _lagged(x: np.ndarray, lag: int) -> float:
    return float((x[lag:] * x[: len(x) - lag]).mean())
