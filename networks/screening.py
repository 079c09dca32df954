"""Many untrained networks at once: a ridge read-out, a short free run, and how each does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import advance as scan
from spinloom.networks.loop import LoopState, advance, readout, simulate, start
from spinloom.networks.measures import GENERATES, free_run_error, shape_error
from spinloom.networks.seeds import stream
from spinloom.networks.topology import Weights

WASHOUT = 3
"""Periods with the target fed back before states count; half of the time at most."""
DEAD, SINGS = 0.2, 0.3
"""An output that moves by less than this share of the target is dead; nodes with a larger taught error sing."""


class Screened(NamedTuple):
    """How S networks did.

    Attributes
    ----------
    taught : (S,) ndarray
        NRMSE of the read-out while the (noisy) target feeds back, on the states that it was fitted to
    free, shape : (S,) ndarray
        NRMSE of the free run, first period left out, without and with every period aligned in phase
    state : (S,) ndarray of str
        ``works`` (shape at most 0.1), ``dead`` (the output hardly moves), ``sings`` (the nodes do
        something other than the target, even when it is fed back), else ``unstable``
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
    forced_ticks: int,
    free_ticks: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Screened:
    """Teacher-forced ridge regression and a free run of S networks, each with a period of its own.

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
    forced_ticks, free_ticks : int
        how long the target is fed back, and the output
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
        for a free run of less than two periods
    """
    f, s = _tiled(targets, forced_ticks), _tiled([_clock(c) for c in clocks], forced_ticks)[..., 0]
    S = len(targets)
    longest = max(len(target) for target in targets)
    if free_ticks < 2 * longest:
        raise SpinloomError(f"free ticks: expected at least two periods, {2 * longest} ticks, got {free_ticks}")
    kept = np.arange(forced_ticks)[:, None] >= [min(WASHOUT * len(target), forced_ticks // 2) for target in targets]
    # The same noise for every network: how one does must not depend on its neighbours.
    fed = f + noise[:, None] * stream(seed, "screening").standard_normal((forced_ticks, 1, f.shape[2]))
    moments = _Moments(f, kept)
    state, _ = scan(
        _taught_tick,
        (node, weights.without_devices()),
        start(node, weights),
        (fed, s),
        progress=progress,
        collect=moments.add,
    )
    xx, xy, yy = moments.means
    w_out, taught = _regressed(xx, xy, yy, ridge)
    scale = np.sqrt(np.array([target.var(axis=0).mean() for target in targets]))
    weights = weights.with_readout(w_out)
    state = state._replace(z=jnp.asarray(readout(w_out, np.asarray(state.r))))
    target, hold = _tiled(targets, free_ticks, forced_ticks), np.zeros(free_ticks, bool)
    s = _tiled([_clock(c) for c in clocks], free_ticks, forced_ticks)[..., 0]
    _, record = simulate(node, weights, target=target, hold=hold, s=s, state=state, record="z", progress=progress)
    free, shape = np.transpose([_errors(record.z[:, k], target[:, k], len(targets[k])) for k in range(S)])
    with np.errstate(over="ignore", invalid="ignore"):
        moves = record.z.std(axis=0).mean(axis=-1) / scale
    taught = taught / scale
    words = np.where(moves < DEAD, "dead", np.where(taught > SINGS, "sings", "unstable"))
    return Screened(taught, free, shape, np.where(shape <= GENERATES, "works", words))


def _clock(clock: np.ndarray | None) -> np.ndarray:
    return np.zeros((1, 1)) if clock is None else np.asarray(clock)[:, None]


def _tiled(series: Sequence[np.ndarray], ticks: int, first: int = 0) -> np.ndarray:
    """Periods of different lengths, repeated over the same ticks: (ticks, S, K)."""
    return np.stack([one[(first + np.arange(ticks)) % len(one)] for one in series], axis=1)


def _taught_tick(fixed: tuple[Node, Weights], state: LoopState, row: tuple[Any, Any]) -> tuple[LoopState, Any]:
    node, weights = fixed
    fed, s = row
    nodes, r, _ = advance(node, weights, state, s)
    return LoopState(nodes, r, fed), r


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
        self.sums: tuple[Any, Any, Any] = (0.0, 0.0, 0.0)

    def add(self, r: np.ndarray) -> None:
        """Take the signals of the next ticks, (n, S, N)."""
        span = slice(self.ticks, self.ticks + len(r))
        self.ticks = span.stop
        kept = self.kept[span].T[..., None]
        x = np.where(kept, np.concatenate([r, np.ones((*r.shape[:2], 1))], axis=2).swapaxes(0, 1), 0.0)
        f = np.where(kept, self.f[span].swapaxes(0, 1), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            new = (x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ f, (f**2).sum(axis=1))
        self.sums = tuple(old + more for old, more in zip(self.sums, new, strict=True))

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Over the ticks that count: (S, N + 1, N + 1), (S, N + 1, K) and (S, K)."""
        count = self.kept.sum(axis=0)
        xx, xy, yy = self.sums
        return xx / count[:, None, None], xy / count[:, None, None], yy / count[:, None]


def _regressed(xx: np.ndarray, xy: np.ndarray, yy: np.ndarray, ridge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read-outs (S, K, N + 1) from mean moments, and the rms of what they miss, (S,)."""
    S, size = len(xx), xx.shape[1]
    finite = np.isfinite(xx).all(axis=(1, 2)) & np.isfinite(xy).all(axis=(1, 2))
    xx, xy = (np.where(finite[:, None, None], moment, 0.0) for moment in (xx, xy))
    # The intercept is not penalised; a grain keeps the matrix of a dead network regular.
    penalty = np.zeros((S, size, size)) + 1e-14 * np.eye(size)
    penalty[:, np.arange(size - 1), np.arange(size - 1)] += ridge[:, None]
    w = np.linalg.solve(xx + penalty, xy)
    missed = yy - 2 * (w * xy).sum(axis=1) + np.einsum("sik,sij,sjk->sk", w, xx, w)
    rms = np.sqrt(np.maximum(missed, 0).mean(axis=1))
    return w.swapaxes(1, 2), np.where(finite, rms, np.inf)


def _errors(z: np.ndarray, f: np.ndarray, period: int) -> tuple[float, float]:
    """NRMSE of one network over whole periods from the second on, without and with alignment of the phase."""
    whole = slice(period, len(z) // period * period)
    one, z = f[whole][:period, None], z[whole][:, None]
    return float(free_run_error(z, one)[0]), float(shape_error(z, one)[0])
