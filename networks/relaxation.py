"""Waveform relaxation: a closed loop solved with nothing but runs of single devices under known drives.

Every node is driven through a window with the inputs that the last iterate of all nodes gives
it, the first iterate being a guide's, and the window is repeated until the waveforms stay
(Lelarasmee, Ruehli and Sangiovanni-Vincentelli, IEEE Trans. CAD 1 (1982) 131). A node answers
its input one tick later, so each iterate is right for at least one tick more than the last
one: the iteration ends after as many rounds as the window has ticks, and mostly long before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine, Node
from spinloom.networks.loop import Record, joined, run
from spinloom.networks.topology import Weights

WINDOW = 42
TOLERANCE = 1e-6


def relax(
    engine: Engine,
    weights: Weights,
    axis: tuple[float, float, float],
    *,
    guide: Node,
    target: np.ndarray,
    hold: np.ndarray,
    s: np.ndarray | None = None,
    window: int = WINDOW,
    tolerance: float = TOLERANCE,
    progress: Callable[[int], None] | None = None,
    pieces: list[Record] | None = None,
) -> tuple[list[int], Record]:
    """Solve S networks by waveform relaxation; the arguments are those of :func:`spinloom.networks.loop.run`.

    Parameters
    ----------
    engine : Engine
        full micromagnetics; only its ``play`` and ``equilibrium`` are used
    weights : Weights
    axis : (3,) tuple of float
    guide : Node
        gives the first iterate, such as the reduced model
    target : (n_ticks, S) ndarray
    hold : (n_ticks,) bool ndarray
    s : (n_ticks, S) ndarray, optional
    window : int
        ticks that are iterated together
    tolerance : float
        largest change of any state r between two iterates at which a window is done
    progress : callable, optional
        called with the number of ticks just done
    pieces : list of Record, optional
        gets each window as soon as it is done

    Returns
    -------
    rounds : list of int
        iterates that each window took
    record : Record

    Raises
    ------
    SpinloomError
        for a window without ticks
    """
    if window < 1:
        raise SpinloomError(f"window: expected at least one tick, got {window}")
    s = np.zeros_like(target) if s is None else s
    S, N = weights.networks, weights.nodes
    _, guess = run(guide, weights, axis, target=target, hold=hold, s=s)
    start = engine.equilibrium
    m = np.tile(start[np.linalg.norm(start, axis=-1) > 0].mean(axis=0), (S, N, 1))
    fed_back, fields = np.zeros((1, S)), None
    pieces = [] if pieces is None else pieces
    rounds = []
    for at in range(0, len(target), window):
        span = slice(at, at + window)
        r, change, count = guess.r[span], np.inf, 0
        before = (m @ np.asarray(axis))[None]
        # With solvers whose steps adapt, the last digits need not settle; causality ends it.
        while change > tolerance and count <= len(r):
            z = _readout(weights, r)
            feed = np.concatenate([fed_back, np.where(hold[span][:, None], target[span], z)])
            u = _drives(weights, np.concatenate([before, r])[:-1], feed[:-1], s[span])
            ticks = np.full(len(r), engine.tick)
            after, played = engine.play(ticks, u.reshape(len(r), S * N), fields)
            moments = played.reshape(len(r), S, N, 3)
            new = moments @ np.asarray(axis)
            change, r, count = float(np.abs(new - r).max()), new, count + 1
        z = _readout(weights, r)
        pieces.append(Record(z, r, u, np.concatenate([m[None], moments])[:-1]))
        m, fields, fed_back = moments[-1], after, np.where(hold[span][-1:, None], target[span][-1:], z[-1:])
        rounds.append(count)
        if progress is not None:
            progress(len(r))
    return rounds, joined(pieces)


def _readout(weights: Weights, r: np.ndarray) -> np.ndarray:
    """First output channel of each network at each tick, (n_ticks, S)."""
    return np.einsum("sn,tsn->ts", weights.w_out[:, 0, :-1], r) + weights.w_out[:, 0, -1]


def _drives(weights: Weights, r: np.ndarray, feed: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Clipped drives of each tick from the states and the output before it, (n_ticks, S, N)."""
    w = weights
    v = np.einsum("sij,tsj->tsi", w.W, r) + w.w_fb * feed[..., None] + w.W_in * s[..., None] + w.b
    return np.clip(w.gain[:, None] * v, -1, 1)
