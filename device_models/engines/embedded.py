"""The embedded engine: full micromagnetics of many free layers at once, in JAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.fields import Components, linear_field
from spinloom.device_models.engines.llg import advance, llg, longest_step, relax
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import drive
from spinloom.device_models.system import checked_field

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
    >>> from spinloom.device_models.card import load_card
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
        self._steps = math.ceil(self.tick / longest_step(card))
        self._field = linear_field(card, self.mask)
        self._rhs = llg(card, self._field)
        self._equilibrium = self._relaxed() if initial is None else self._components(checked_field(card, initial))

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

    def start(self, n: int, progress: Callable[[int], None] | None = None) -> tuple[Components, jnp.ndarray]:
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
        self,
        durations: np.ndarray,
        u: np.ndarray,
        fields: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drive devices by known waveforms; see :class:`spinloom.device_models.node.Engine`."""
        n = u.shape[1]
        state, _ = self.start(n)
        if fields is not None:
            x, y, z = np.stack([self._components(field) for field in fields], axis=-1)
            state = (jnp.asarray(x), jnp.asarray(y), jnp.asarray(z))
        if (durations == self.tick).all():
            state, m = drive(self, u, state, progress)
        else:
            state, m = self._play_uneven(durations, u, state, progress)
        return np.stack([self.field(state, device) for device in range(n)]), m

    def _play_uneven(
        self, durations: np.ndarray, u: np.ndarray, state: Components, progress: Callable[[float], None] | None
    ) -> tuple[Components, np.ndarray]:
        longest = longest_step(self.card)

        def hold(state: Components, row: tuple[jnp.ndarray, jnp.ndarray]) -> tuple[Components, jnp.ndarray]:
            duration, u = row
            steps = jnp.maximum(jnp.ceil(duration / longest), 1).astype(int)
            state = advance(self._rhs, state, u, duration / steps, steps)
            return state, average(state)

        scan = jax.jit(lambda state, rows: jax.lax.scan(hold, state, rows))
        moments = []
        pieces = max(1, len(u) // 50)
        for rows in zip(np.array_split(durations, pieces), np.array_split(u, pieces), strict=True):
            state, m = scan(state, rows)
            moments.append(np.asarray(m))
            if progress is not None:
                progress(len(m))
        return state, np.concatenate(moments)

    def input(self, u: np.ndarray | None = None) -> str:
        """Nothing: what this engine is given is the card."""
        return ""

    @property
    def equilibrium(self) -> np.ndarray:
        """The field that devices start from, (nx, ny, nz, 3)."""
        return self._grid(self._equilibrium)

    def field(self, state: Components, device: int = 0) -> np.ndarray:
        """The spatial field of one device.

        Returns
        -------
        m : (nx, ny, nz, 3) ndarray
            unit vectors; zero outside the magnetic cells
        """
        return self._grid(np.stack([component[:, device] for component in state]))

    def _grid(self, components: np.ndarray) -> np.ndarray:
        grid = np.zeros((*self.mask.shape, 3))
        grid[self.mask] = components.T
        return grid

    def _components(self, field: np.ndarray) -> np.ndarray:
        m = field[self.mask].T
        return m / np.linalg.norm(m, axis=0)


def average(m: Components) -> jnp.ndarray:
    """``<m>`` of each device, (n, 3): the average over its magnetic cells."""
    return jnp.stack([component.mean(axis=0) for component in m], axis=-1)
