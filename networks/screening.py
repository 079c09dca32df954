"""Many networks at once: a ridge read-out, a little of FORCE, a short free run, and how each does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import advance as scan
from spinloom.networks.loop import LoopState, advance, readout, simulate, start
from spinloom.networks.measures import GENERATES, RESTLESS, free_run_error, shape_error
from spinloom.networks.seeds import stream
from spinloom.networks.topology import Weights
from spinloom.networks.training import NEARER, Training, force_on

WASHOUT = 3
"""Periods with the noisy target fed back before states count; half of the time at most."""
SETTLE, SEEN = 4, 2
"""Periods of other noise, before and while it is seen what the read-out makes of the states."""
SHAKEN = 5e-3
"""Rms of that noise: a read-out that makes much of it is lost once the loop is closed."""
PRIOR_TICKS = NEARER * Training().prior_ticks
"""How many ticks the teacher-forced data count for when FORCE begins, as in every other try of the training."""
STILL = 0.02
"""Signals that move less (rms, in units of the spread) are dead."""


class Screened(NamedTuple):
    """How S networks did.

    Attributes
    ----------
    taught : (S,) ndarray
        NRMSE of the ridge read-out while the target feeds back, with a noise that is the same for all
    free, shape : (S,) ndarray
        NRMSE of the free run, first period left out, without and with every period aligned in phase; NaN
        where there was none
    state : (S,) ndarray of str
        ``works`` (shape at most 0.1); else, while the target feeds back, ``sings`` (the nodes do not repeat
        themselves), ``dead`` (they hardly move) or ``poor`` (they cannot represent it); else ``unstable``, or
        ``follows`` where there was no free run
    """

    taught: np.ndarray
    free: np.ndarray
    shape: np.ndarray
    state: np.ndarray


def screen(
    node: Node,
    weights: Weights,
    targets: Sequence[np.ndarray],
    clocks: Sequence[np.ndarray | None],
    *,
    noise: np.ndarray,
    ridge: np.ndarray,
    taught_ticks: int,
    tested_ticks: int,
    force_ticks: int = 0,
    free_ticks: int = 0,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Screened:
    """Teacher-forced ridge regression of S networks, each with a period of its own; if asked, FORCE and a free run.

    What a read-out makes of the states while the target feeds back says most about what training will
    reach, and costs least. The free run of a ridge read-out says less than that of one that FORCE went on with,
    which tames networks that ridge leaves unstable, and unsettles others.

    Nothing is recorded but moments and outputs, so hundreds of networks fit in one batch, which is
    compiled once for a number of networks whatever they are.

    Parameters
    ----------
    node : Node
        as networks take it
    weights : Weights
    targets : sequence of S (period_ticks, K) arrays
    clocks : sequence of S (period_ticks,) arrays or None
        one period of the input of each
    noise, ridge : (S,) ndarray
        rms of the noise on the target that is fed back, and penalty per tick
    taught_ticks, tested_ticks, force_ticks, free_ticks : int
        how long the noisy target is fed back while the read-out learns, and while it is tested, how long FORCE goes
        on, and how long the network runs freely
    seed : int
        of the noise
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    result : Screened

    Raises
    ------
    SpinloomError
        for a test of less than six periods, or a free run of less than two
    """
    longest = max(len(target) for target in targets)
    if 0 < free_ticks < 2 * longest:
        raise SpinloomError(f"free ticks: expected at least two periods, {2 * longest} ticks, got {free_ticks}")
    least = (SETTLE + SEEN) * longest
    if tested_ticks < least:
        raise SpinloomError(f"tested ticks: expected at least six periods, {least} ticks, got {tested_ticks}")
    spans = np.cumsum([0, taught_ticks, tested_ticks, force_ticks, free_ticks]).tolist()
    f, s = _tiled(targets, spans[-1]), _tiled([_clock(c) for c in clocks], spans[-1])[..., 0]
    noisy, tested, forced, free = (slice(*pair) for pair in itertools.pairwise(spans))
    scale = np.sqrt(np.array([target.var(axis=0).mean() for target in targets]))
    # The same noise for every network: how one does must not depend on its neighbours.
    random = stream(seed, "screening")
    heard = f[noisy] + noise[:, None] * random.standard_normal((taught_ticks, 1, f.shape[2]))
    shaken = f[tested] + SHAKEN * random.standard_normal((tested_ticks, 1, f.shape[2]))
    washout = [min(WASHOUT * len(target), taught_ticks // 2) for target in targets]
    moments = _Moments(f[noisy], np.arange(taught_ticks)[:, None] >= washout)
    fixed = (node, weights.without_devices())
    state, _ = scan(
        _taught_tick, fixed, start(node, weights), (heard, s[noisy]), progress=progress, collect=moments.add
    )
    w_out, covariance = _regressed(*moments.means, ridge)
    state, r = scan(_taught_tick, fixed, state, (shaken, s[tested]), progress=progress)
    seen = [_seen(r[:, k], w_out[k], f[tested, k], len(target)) for k, target in enumerate(targets)]
    missed, restless, moves = np.transpose(seen)
    taught = missed / scale
    words = np.select(
        [restless > RESTLESS, moves < STILL, ~(taught <= GENERATES)],
        ["sings", "dead", "poor"],
        "unstable" if free_ticks else "follows",
    )
    if not free_ticks:
        none = np.full(len(targets), np.nan)
        return Screened(taught, none, none, words)
    weights = weights.with_readout(w_out)
    state = state._replace(z=jnp.asarray(readout(w_out, np.asarray(state.r))))
    if force_ticks:
        precision = PRIOR_TICKS * jnp.asarray(covariance)
        state, weights = force_on(node, weights, f[forced], s[forced], precision, state, progress)
    hold = np.zeros(free_ticks, bool)
    _, record = simulate(
        node, weights, target=f[free], hold=hold, s=s[free], state=state, record="z", progress=progress
    )
    errors = [_errors(record.z[:, k], f[free, k], len(target)) for k, target in enumerate(targets)]
    nrmse, shape = np.transpose(errors)
    return Screened(taught, nrmse, shape, np.where(shape <= GENERATES, "works", words))


def _clock(clock: np.ndarray | None) -> np.ndarray:
    return np.zeros((1, 1)) if clock is None else np.asarray(clock)[:, None]


def _tiled(series: Sequence[np.ndarray], ticks: int) -> np.ndarray:
    """Periods of different lengths, repeated over the same ticks: (ticks, S, K)."""
    return np.stack([one[np.arange(ticks) % len(one)] for one in series], axis=1)


def _taught_tick(fixed: tuple[Node, Weights], state: LoopState, row: tuple[Any, Any]) -> tuple[LoopState, Any]:
    node, weights = fixed
    fed, s = row
    nodes, r, _ = advance(node, weights, state, s)
    return LoopState(nodes, r, fed), r


def _seen(r: np.ndarray, w_out: np.ndarray, f: np.ndarray, period: int) -> tuple[float, ...]:
    """Of two periods of one network, rms of the read-out's error, of what differs, and of what moves."""
    span = slice(SETTLE * period, (SETTLE + SEEN) * period)
    r, f = r[span], f[span]
    with np.errstate(over="ignore", invalid="ignore"):
        missed = np.sqrt(((readout(w_out[None], r[:, None])[:, 0] - f) ** 2).mean())
        restless = np.sqrt(((r[period:] - r[:-period]) ** 2).mean())
        moves = np.sqrt(r.var(axis=0).mean())
    return tuple(float(value) if np.isfinite(value) else np.inf for value in (missed, restless, moves))


class _Moments:
    """Of the states and the targets of S networks, summed up chunk by chunk.

    Attributes
    ----------
    f : (n_ticks, S, K) ndarray
        targets
    kept : (n_ticks, S) ndarray of bool
        which ticks count
    """

    def __init__(self, f: np.ndarray, kept: np.ndarray) -> None:
        self.f, self.kept, self.ticks = f, kept, 0
        self.sums: tuple[Any, Any] = (0.0, 0.0)

    def add(self, r: np.ndarray) -> None:
        """Take the signals of the next ticks, (n, S, N)."""
        span = slice(self.ticks, self.ticks + len(r))
        self.ticks = span.stop
        kept = self.kept[span].T[..., None]
        x = np.where(kept, np.concatenate([r, np.ones((*r.shape[:2], 1))], axis=2).swapaxes(0, 1), 0.0)
        f = np.where(kept, self.f[span].swapaxes(0, 1), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            new = (x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ f)
        self.sums = tuple(old + more for old, more in zip(self.sums, new, strict=True))

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Over the ticks that count: (S, N + 1, N + 1) and (S, N + 1, K)."""
        count = self.kept.sum(axis=0)[:, None, None]
        xx, xy = self.sums
        return xx / count, xy / count


def _regressed(xx: np.ndarray, xy: np.ndarray, ridge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read-outs (S, K, N + 1) from mean moments, and what is known of the states, (S, N + 1, N + 1)."""
    finite = np.isfinite(xx).all(axis=(1, 2)) & np.isfinite(xy).all(axis=(1, 2))
    xx, xy = (np.where(finite[:, None, None], moment, 0.0) for moment in (xx, xy))
    # The intercept is not penalised; a grain keeps the matrix of a dead network regular.
    every = ridge[:, None, None] * np.eye(xx.shape[1])
    penalty = every + 1e-14 * np.eye(xx.shape[1])
    penalty[:, -1, -1] = 1e-14
    return np.linalg.solve(xx + penalty, xy).swapaxes(1, 2), xx + every + 1e-14 * np.eye(xx.shape[1])


def _errors(z: np.ndarray, f: np.ndarray, period: int) -> tuple[float, ...]:
    """NRMSE of one network over whole periods from the second on, without and with alignment of the phase."""
    whole = slice(period, len(z) // period * period)
    one, z = f[whole][:period, None], z[whole][:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(free_run_error(z, one)[0]), float(shape_error(z, one)[0])
    return tuple(np.inf if np.isnan(error) else error for error in found)
