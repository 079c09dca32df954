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
from spinloom.device_models.node import Engine, Node, which_devices
from spinloom.device_models.scale import Scale
from spinloom.device_models.scan import joined
from spinloom.networks.loop import Record, drives, readout, simulate
from spinloom.networks.topology import Weights

WINDOW = 42
TOLERANCE = 1e-6


def relax(
    engine: Engine,
    weights: Weights,
    *,
    scale: Scale,
    guide: Node,
    target: np.ndarray,
    hold: np.ndarray,
    s: np.ndarray | None = None,
    window: int = WINDOW,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    record: str = "all",
    progress: Callable[[int], None] | None = None,
    watch: Callable[[Record], None] | None = None,
) -> tuple[list[int], Record]:
    """Solve S networks by waveform relaxation; the arguments are those of :func:`spinloom.networks.loop.simulate`.

    Parameters
    ----------
    engine : Engine
        full micromagnetics; only its ``play`` and ``equilibria`` are used
    weights : Weights
    scale : Scale
        units of the network
    guide : Node
        gives the first iterate, such as the reduced model as a network takes it
    target : (n_ticks, S) or (n_ticks, S, K) ndarray
    hold : (n_ticks,) bool ndarray
    s : (n_ticks, S) ndarray, optional
    window : int
        ticks that are iterated together
    tolerance : float
        largest change of any signal r between two iterates at which a window is done
    seed : int
        accepted for the sake of the signature: devices at 0 K have no noise
    record : str
        accepted for the sake of the signature; everything is recorded
    progress : callable, optional
        called with the number of ticks just done
    watch : callable, optional
        sees each window as soon as it is done

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
    target = target[..., None] if target.ndim == 2 else target
    s = np.zeros(target.shape[:2]) if s is None else s
    S, N, K = weights.networks, weights.nodes, weights.outputs
    _, guess = simulate(guide, weights, target=target, hold=hold, s=s, record="r")
    devices = which_devices(S * N, weights.which(), len(engine.cards))
    axes = np.array([card.readout.axis for card in engine.cards])[devices].reshape(S, N, 3)
    offsets = np.array([card.readout.offset for card in engine.cards])[devices].reshape(S, N)

    def seen(m: np.ndarray) -> np.ndarray:
        """What the network sees of <m>, (..., S, N, 3) -> (..., S, N)."""
        return ((m * axes).sum(axis=-1) + offsets - scale.mean) / scale.spread

    m = np.stack([field[np.linalg.norm(field, axis=-1) > 0].mean(axis=0) for field in engine.equilibria])
    m, fed_back, fields = m[devices].reshape(S, N, 3), np.zeros((1, S, K)), None
    pieces, rounds = [], []
    for at in range(0, len(target), window):
        span = slice(at, at + window)
        held = hold[span][:, None, None]
        # A guide that diverges is no guide; what the engine makes of its drives counts.
        r, change, count = np.nan_to_num(guess.r[span], posinf=0.0, neginf=0.0), np.inf, 0
        # With solvers whose steps adapt, the last digits need not settle; causality ends it.
        while change > tolerance and count <= len(r):
            z = np.asarray(readout(weights.w_out, r))
            feed = np.concatenate([fed_back, np.where(held, target[span], z)])
            v = np.asarray(drives(weights, np.concatenate([seen(m)[None], r])[:-1], feed[:-1], s[span]))
            u = np.clip(weights.gain[:, None] * v, -1, 1)
            ticks = np.full(len(r), engine.tick)
            after, played = engine.play(ticks, scale.reach * u.reshape(len(r), S * N), fields, devices=devices)
            moments = played.reshape(len(r), S, N, 3)
            new = seen(moments)
            change, r, count = float(np.abs(new - r).max()), new, count + 1
        z = np.asarray(readout(weights.w_out, r))
        pieces.append(Record(z, r, u, np.concatenate([m[None], moments])[:-1]))
        m, fields, fed_back = moments[-1], after, np.where(held[-1:], target[span][-1:], z[-1:])
        rounds.append(count)
        if watch is not None:
            watch(pieces[-1])
        if progress is not None:
            progress(len(r))
    return rounds, joined(pieces)
