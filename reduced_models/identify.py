"""A card from measured signals: the device, near a card that is known roughly, that answers as was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine
from spinloom.device_models.spread import PARAMETERS, Spread, vary
from spinloom.reduced_models.observation import MOST_TURN, NEAR, Chain, observe, tangents, turned

STEP = 2e-3
"""By how much a parameter is changed to see what it does, relative to its card."""
ROUNDS, SETTLED = 6, 0.1
"""Most Gauss-Newton steps, and the largest change in units of the remaining uncertainty that ends them."""
HALVINGS = 4
OPEN = Callable[[Sequence[DeviceCard]], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Tolerance:
    """How well things are known beforehand: standard deviations of normal distributions.

    Attributes
    ----------
    card : Spread
        of the card's parameters, relative; its ``offset`` is that of the read-out. ``RA`` is not used: what the drive
        is off by cannot be told from the polarisation
    gain : float
        of the read-out, relative
    delay : float
        of the signal behind the drive (s)
    """

    card: Spread
    gain: float = 0.1
    delay: float = 2e-11


@dataclass(frozen=True, eq=False)
class Identified:
    """The device that answers as was measured.

    Attributes
    ----------
    card : DeviceCard
    deviation : (len(PARAMETERS),) ndarray
        of it from the card that was given
    chain : Chain
    names : tuple of str
        of what was free: parameters of the card, then gain, offset and delay (s)
    values, known, found : (len(names),) ndarray
        values, and their standard deviations before and after the measurement
    starts : (n, 3) ndarray
        directions before the first tick
    u : (n, n_ticks) ndarray
        drives that it was found from
    m : (n, n_ticks + 1, 3) ndarray
        <m> under them before the first tick and at the end of each
    miss : float
        rms difference of the signals
    rounds : int
        Gauss-Newton steps that were taken
    """

    card: DeviceCard
    deviation: np.ndarray
    chain: Chain
    names: tuple[str, ...]
    values: np.ndarray
    known: np.ndarray
    found: np.ndarray
    starts: np.ndarray
    u: np.ndarray
    m: np.ndarray
    miss: float
    rounds: int


def free_parameters(card: DeviceCard, tolerance: Tolerance) -> tuple[str, ...]:
    """Which parameters of a card are to be found: those that it has, and that are not known exactly."""
    nothing = {"RA", "offset"} | ({"Ku"} if card.material.Ku == 0 else set())
    nothing |= {"bias"} if not any(card.bias.H) else set()
    return tuple(name for name in PARAMETERS if name not in nothing and getattr(tolerance.card, name) > 0)


def played(
    engine: Engine, u: np.ndarray, starts: np.ndarray, devices: np.ndarray | None = None, progress: Any = None
) -> np.ndarray:
    """<m> before the first tick and at the end of each, of devices whose equilibrium is turned to a start as it is.

    Parameters
    ----------
    engine : Engine
    u : (n, n_ticks) ndarray
    starts : (n, 3) ndarray
        directions of <m>
    devices : (n,) int ndarray, optional
        which device each is; all are the first if not given
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    m : (n, n_ticks + 1, 3) ndarray
    """
    devices = np.zeros(len(u), dtype=int) if devices is None else devices
    fields, masks = engine.equilibria, [card.geometry.mask() for card in engine.cards]
    begin, first = np.empty((len(u), *fields.shape[1:])), np.empty((len(u), 3))
    for k, (device, start) in enumerate(zip(devices, starts, strict=True)):
        begin[k] = fields[device] @ rotation(fields[device][masks[device]].mean(axis=0), start).T
        first[k] = begin[k][masks[device]].mean(axis=0)
    _, m = engine.play(np.full(u.shape[1], engine.tick), u.T, begin, progress, devices=devices)
    return np.concatenate([first[:, None], m.swapaxes(0, 1)], axis=1)


def rotation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest rotation that takes one direction to another, (3, 3).

    Examples
    --------
    >>> (rotation(np.array([0, 2.0, 0]), np.array([1.0, 0, 0])) @ [0, 1, 0]).round(12) + 0
    array([1., 0., 0.])
    """
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-9:
        half = np.asarray(tangents(jnp.asarray(a)))[0]
        return 2 * np.outer(half, half) - np.eye(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def identify(
    card: DeviceCard,
    tolerance: Tolerance,
    u: np.ndarray,
    y: np.ndarray,
    starts: np.ndarray,
    tick: float,
    open_engine: OPEN,
    progress: Callable[[float], None] | None = None,
    begin: np.ndarray | None = None,
) -> Identified:
    r"""Find the card, the read-out and the starts that explain signals, by full micromagnetics.

    Minimises :math:`\sum (y - \hat y)^2/\sigma^2 + \sum_k (\theta_k/s_k)^2` by Gauss-Newton steps, with the deviations
    :math:`\theta` of card and read-out, their tolerances s, and two angles of each start, which is the equilibrium
    turned as a whole. :math:`\sigma` is the rms of what is left. Derivatives are differences: all devices of a step run
    as one batch. The standard deviations that are left come from the curvature of the minimum.

    Parameters
    ----------
    card : DeviceCard
        as far as it is known
    tolerance : Tolerance
    u, y : (n, n_ticks) ndarray
        drives, and signals averaged over each tick, in units of m . e_read
    starts : (n, 3) ndarray
        first guess of the directions before the first tick
    tick : float
        (s)
    open_engine : callable
        cards -> engine of them, in a ``with`` block
    progress : callable, optional
        called with the share of the work just done
    begin : (parameters,) ndarray, optional
        where the search begins, ``values`` of an earlier one; at the card if not given

    Returns
    -------
    identified : Identified

    Raises
    ------
    SpinloomError
        where the traces cannot be explained near the card
    """
    work = _Work(card, tolerance, u, y, tick, open_engine)
    starts = starts / np.linalg.norm(starts, axis=1, keepdims=True)
    theta = np.zeros(len(work.known)) if begin is None else begin
    left, loss, found, rounds = np.inf, np.inf, work.known, 0
    for rounds in range(1, ROUNDS + 1):  # noqa: B007
        m, seen, by_theta, by_start = work.slopes(theta, starts)
        miss = y - seen
        left = float(np.sqrt((miss**2).mean()))
        if not np.isfinite(left):
            break
        change, turns, found = _step(miss, by_theta, by_start, theta, work.known, max(left, 1e-6))
        loss = _loss(miss, theta, work.known, left)
        for halving in range(HALVINGS):
            share = 0.5**halving
            tried = np.clip(theta + share * change, -3 * work.known, 3 * work.known)
            moved = _turned(starts, np.clip(share * turns, -MOST_TURN, MOST_TURN))
            m, seen = work.played(tried, moved)
            if _loss(y - seen, tried, work.known, left) < loss:
                break
        else:
            break
        settled = float(np.abs((tried - theta) / found).max())
        theta, starts, left = tried, moved, float(np.sqrt(((y - seen) ** 2).mean()))
        if progress is not None:
            progress(1 / ROUNDS)
        if settled < SETTLED:
            break
    if not np.isfinite(left):
        raise SpinloomError(f"traces: no device near {card.name} explains them; check units, card and tolerances")
    m, seen = work.played(theta, starts)
    return Identified(
        card=work.card(theta, f"{card.name}-measured"),
        deviation=work.deviation(theta),
        chain=work.chain(theta),
        names=work.names,
        values=theta,
        known=work.known,
        found=found,
        starts=starts,
        u=u,
        m=m,
        miss=float(np.sqrt(((y - seen) ** 2).mean())),
        rounds=rounds,
    )


class _Work:
    """What is fixed while a card is found; parameters are deviations, then those of gain, offset and delay (s)."""

    def __init__(
        self, card: DeviceCard, tolerance: Tolerance, u: np.ndarray, y: np.ndarray, tick: float, open_engine: OPEN
    ) -> None:
        self.given, self.u, self.y, self.tick, self.open = card, u, y, tick, open_engine
        self.free = free_parameters(card, tolerance)
        chain = {"gain": tolerance.gain, "offset": tolerance.card.offset, "delay": tolerance.delay}
        self.of_chain = tuple(name for name, known in chain.items() if known > 0)
        self.names = (*self.free, *self.of_chain)
        self.known = np.array([*(getattr(tolerance.card, name) for name in self.free), *map(chain.get, self.of_chain)])
        self.axis = np.asarray(card.readout.axis)

    def deviation(self, theta: np.ndarray) -> np.ndarray:
        out = np.zeros(len(PARAMETERS))
        for name, value in zip(self.free, theta, strict=False):
            out[PARAMETERS.index(name)] = value
        return out

    def card(self, theta: np.ndarray, name: str | None = None) -> DeviceCard:
        return vary(self.given, self.deviation(theta), name)

    def chain(self, theta: np.ndarray) -> Chain:
        values = dict(zip(self.names, theta, strict=True))
        offset = self.given.readout.offset + values.get("offset", 0.0)
        return Chain(1 + float(values.get("gain", 0.0)), float(offset), float(values.get("delay", 0.0)) / self.tick)

    def seen(self, theta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Signals (n, n_ticks) of <m> (n, n_ticks + 1, 3)."""
        return np.asarray(observe(self.chain(theta), jnp.asarray((m @ self.axis).T))).T

    def played(self, theta: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self.open([self.card(theta)]) as engine:
            m = played(engine, self.u, starts)
        return m, self.seen(theta, m)

    def slopes(self, theta: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, ...]:
        """<m>, signals, and what changes them: (parameters, n, n_ticks) and (2, n, n_ticks)."""
        n, k = len(self.u), len(self.free)
        cards = [self.card(theta), *(self.card(theta + STEP * np.eye(len(theta))[j]) for j in range(k))]
        devices = np.repeat([*range(k + 1), 0, 0], n)
        every = np.concatenate(
            [*[starts] * (k + 1), *(_turned(starts, np.tile(STEP * row, (n, 1))) for row in np.eye(2))]
        )
        with self.open(cards) as engine:
            m = played(engine, np.tile(self.u, (k + 3, 1)), every, devices).reshape(k + 3, n, -1, 3)
        seen = self.seen(theta, m[0])
        slopes = [(self.seen(theta, other) - seen) / STEP for other in m[1:]]
        by_chain = []
        for j, name in enumerate(self.of_chain, start=k):
            small = 1e-3 * (self.tick if name == "delay" else 1.0)
            by_chain.append((self.seen(theta + small * np.eye(len(theta))[j], m[0]) - seen) / small)
        return m[0], seen, np.array([*slopes[:k], *by_chain]), np.array(slopes[k:])


def _turned(starts: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.asarray(turned(jnp.asarray(m), jnp.asarray(angles))) for m, angles in zip(starts, by, strict=True)]
    )


def _loss(miss: np.ndarray, theta: np.ndarray, known: np.ndarray, sigma: float) -> float:
    loss = float((miss**2).sum() / max(sigma, 1e-6) ** 2 + ((theta / known) ** 2).sum())
    return loss if np.isfinite(loss) else np.inf


def _step(
    miss: np.ndarray, by_theta: np.ndarray, by_start: np.ndarray, theta: np.ndarray, known: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change of the parameters, turns (n, 2) of the starts, and the standard deviations that are left.

    Each trace has its own start: what a start can explain is taken out of the rest.
    """
    scaled = by_theta * known[:, None, None]
    matrix, gradient, ways = np.eye(len(known)), -theta / known, []
    for k in range(miss.shape[0]):
        J, S, e = scaled[:, k].T / sigma, by_start[:, k].T / sigma, miss[k] / sigma
        own = S.T @ S + np.eye(2) / NEAR**2
        out = J - S @ np.linalg.solve(own, S.T @ J)
        matrix, gradient = matrix + J.T @ out, gradient + out.T @ e
        ways.append((own, S, J, e))
    covariance = np.linalg.inv(matrix)
    change = covariance @ gradient
    turns = np.array([np.linalg.solve(own, S.T @ (e - J @ change)) for own, S, J, e in ways])
    return change * known, turns, np.sqrt(np.diag(covariance)) * known
