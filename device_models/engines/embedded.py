"""The embedded engine: full micromagnetics of many free layers at once, in JAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from device_models.card import DeviceCard
from device_models.engines.fields import Components, linear_field
from device_models.engines.llg import advance, llg, longest_step, relax
from device_models.errors import SpinloomError

RELAX_TORQUE = 1e-4
"""Relaxation stops when every cell has \\|m x H\\| below this (A/m), as the OOMMF references do."""
RELAX_LIMIT = 200_000


class EmbeddedEngine:
    """Cell-centred finite differences as OOMMF's, float64, batched over devices.

    Parameters
    ----------
    card : DeviceCard
    tick : float
        duration of one tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field to start from as it is; without it the card's own start is relaxed

    Examples
    --------
    >>> from device_models.card import load_card
    >>> engine = EmbeddedEngine(load_card("data/devices/disc60.toml"), tick=7.5e-12)
    >>> state, m = engine.start(2)
    >>> state, m = engine.step(state, np.array([0.5, -0.5]))
    >>> bool(m[0, 0] > 0 > m[1, 0])
    True
    """

    name = "embedded"
    traceable = True

    def __init__(self, card: DeviceCard, tick: float, initial: np.ndarray | None = None) -> None:
        if not 0 < tick < 1e-6:
            raise SpinloomError(f"tick: expected seconds between 0 and 1e-6, got {tick:g}")
        self.card, self.tick = card, float(tick)
        self.mask = card.geometry.mask()
        if initial is not None:
            self.mask = _checked_mask(card, initial)
        self._steps = math.ceil(self.tick / longest_step(card))
        self._field = linear_field(card, self.mask)
        self._rhs = llg(card, self._field)
        self._equilibrium = self._relaxed() if initial is None else _unit(initial[self.mask].T)

    @property
    def version(self) -> str:
        """What computed: the engine runs on JAX."""
        return jax.__version__

    def _relaxed(self) -> np.ndarray:
        cells = int(self.mask.sum())
        m = tuple(jnp.full((cells, 1), component) for component in self.card.start.m)
        run = jax.jit(partial(relax, self._field, self.card.bias.H), static_argnums=(1, 2))
        m, torque = run(m, RELAX_TORQUE, RELAX_LIMIT)
        if not float(torque) <= RELAX_TORQUE:
            raise SpinloomError(
                f"start.m: relaxation of {self.card.name} stopped at |m x H| = {float(torque):.3g} A/m, "
                f"expected {RELAX_TORQUE:g}; try another start"
            )
        return np.stack(m)[..., 0]

    def start(self, n: int) -> tuple[Components, jnp.ndarray]:
        """Put ``n`` devices in the card's equilibrium (or in the given initial field).

        Returns
        -------
        state : three (cells, n) arrays
            components of m
        m : (n, 3) array
            ``<m>``
        """
        x, y, z = (jnp.repeat(jnp.asarray(row)[:, None], n, axis=1) for row in self._equilibrium)
        return (x, y, z), average((x, y, z))

    def step(self, state: Components, u: jnp.ndarray) -> tuple[Components, jnp.ndarray]:
        """Advance every device by one tick under its held drive."""
        state = advance(self._rhs, state, u, self.tick / self._steps, self._steps)
        return state, average(state)

    def play(
        self, durations: np.ndarray, u: np.ndarray, progress: Callable[[int], None] | None = None
    ) -> tuple[Components, np.ndarray]:
        """Play a waveform of uneven holds into one device, from its start.

        Parameters
        ----------
        durations : (n,) ndarray
            of each hold (s)
        u : (n,) ndarray
            drives within [-1, 1]
        progress : callable, optional
            called with the number of holds just done

        Returns
        -------
        state : three (cells, 1) arrays
            at the end
        m : (n, 3) ndarray
            <m> at the end of each hold
        """
        longest = longest_step(self.card)

        def hold(state: Components, row: jnp.ndarray) -> tuple[Components, jnp.ndarray]:
            steps = jnp.maximum(jnp.ceil(row[0] / longest), 1).astype(int)
            state = advance(self._rhs, state, row[1:], row[0] / steps, steps)
            return state, average(state)[0]

        scan = jax.jit(lambda state, rows: jax.lax.scan(hold, state, rows))
        state, _ = self.start(1)
        moments = []
        for rows in np.array_split(np.column_stack([durations, u]), max(1, len(u) // 50)):
            state, m = scan(state, rows)
            moments.append(np.asarray(m))
            if progress is not None:
                progress(len(rows))
        return state, np.concatenate(moments)

    def field(self, state: Components, device: int = 0) -> np.ndarray:
        """The spatial field of one device.

        Returns
        -------
        m : (nx, ny, nz, 3) ndarray
            unit vectors; zero outside the magnetic cells
        """
        grid = np.zeros((*self.mask.shape, 3))
        grid[self.mask] = np.stack([component[:, device] for component in state], axis=-1)
        return grid


def average(m: Components) -> jnp.ndarray:
    """``<m>`` of each device, (n, 3): the average over its magnetic cells."""
    return jnp.stack([component.mean(axis=0) for component in m], axis=-1)


def _unit(m: np.ndarray) -> np.ndarray:
    return m / np.linalg.norm(m, axis=0)


def _checked_mask(card: DeviceCard, initial: np.ndarray) -> np.ndarray:
    expected = (*card.geometry.shape_cells, 3)
    if initial.shape != expected:
        raise SpinloomError(f"initial field: expected shape {expected} for device {card.name}, got {initial.shape}")
    mask = np.linalg.norm(initial, axis=-1) > 0
    if not mask.any():
        raise SpinloomError("initial field: no magnetic cell; every vector is zero")
    if (mask != card.geometry.mask()).any():
        raise SpinloomError(
            f"initial field: {mask.sum()} magnetic cells, but {card.name} has {card.geometry.mask().sum()} "
            "or has them elsewhere; make the field on the card's own mesh"
        )
    return mask
