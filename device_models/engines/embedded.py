"""The embedded engine: full micromagnetics of many free layers at once, in JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.equilibria import equilibria
from spinloom.device_models.engines.fields import Blended, linear_field
from spinloom.device_models.engines.llg import Motion, advance, llg, longest_step
from spinloom.device_models.engines.memory import batch_size
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.engines.thermal import thermal_normals
from spinloom.device_models.engines.vectors import Components, combine, components, pick
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import DRIVE, as_cards, which_devices, with_channels
from spinloom.device_models.noise import Stream, stream
from spinloom.device_models.scan import advance as advance_rows
from spinloom.device_models.scan import drive, finite_only, joined, part_of
from spinloom.device_models.system import checked_field

ENOUGH_CELLS, TOGETHER = 1000, (8, 44)
"""Batches of eight times as many cells cost least: of 177 cells, 88 devices as 4 batches take 1.3 times as long as one
batch, as 2 no longer; of 316 and of 1264 cells it makes no difference. At least and at most so many devices."""


class Layers(NamedTuple):
    """State of a batch of free layers.

    Attributes
    ----------
    x, y, z : (cells, n) array
        components of m
    which : (n,) int array
        which device each is
    noise : Stream, or None
        random numbers of each; None if no device is warm
    """

    x: Any
    y: Any
    z: Any
    which: Any
    noise: Stream | None = None

    def some(self, members: slice) -> Layers:
        """A part of the batch, each member with its own random numbers."""
        noise = None if self.noise is None else self.noise._replace(keys=self.noise.keys[members])
        x, y, z = (component[:, members] for component in self[:3])
        return Layers(x, y, z, self.which[members], noise)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["field", "motion", "equilibria", "axis", "offset", "longest"],
    meta_fields=["tick", "steps"],
)
@dataclass(frozen=True, eq=False)
class EmbeddedNode:
    """Free layers in closed loop; see :class:`spinloom.device_models.node.Node`.

    Attributes
    ----------
    field : pytree
        linear part of the effective field, from :func:`spinloom.device_models.engines.fields.linear_field`
    motion : Motion
    equilibria : three (cells, devices) arrays
        that devices start from
    axis : three (devices,) arrays
        of the read-out
    offset : (devices,) array
        of the read-out
    longest : (devices,) array
        longest step (s)
    tick : float
        duration of one tick (s)
    steps : int
        most steps that any device takes in a tick
    """

    field: Any
    motion: Motion
    equilibria: Components
    axis: Components
    offset: Any
    longest: Any
    tick: float
    steps: int

    channels = (DRIVE,)
    traceable = True

    @property
    def devices(self) -> int:
        """How many different devices it knows."""
        return self.longest.shape[0]

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> Layers:
        """Put ``n`` devices in equilibrium without a drive and without noise; ``seed`` is of the thermal field."""
        which = jnp.asarray(which_devices(n, devices, self.devices))
        x, y, z = pick(self.equilibria, which)
        return Layers(x, y, z, which, None if self.motion.heat is None else stream(seed, n))

    def step(self, state: Layers, inputs: Any) -> Layers:
        """Advance every device by one tick under its held drive."""
        return self._hold(state, self.tick, inputs, self.steps)

    def hold(self, state: Layers, duration: Any, inputs: Any) -> Layers:
        """Advance every device by a time of any length, which may be traced."""
        return self._hold(state, duration, inputs, jnp.ceil(duration / self.longest.min()).astype(int))

    def _hold(self, state: Layers, duration: Any, inputs: Any, most: Any) -> Layers:
        which = state.which
        steps = jnp.clip(jnp.ceil(duration / self.longest[which]).astype(int), 1, most)
        motion = self.motion.at(which)
        rhs, noise, thermal = llg(motion, self.field.at(which)), None, None
        if state.noise is not None:
            noise, now = state.noise.next()

            def thermal(step: Any, dt: Any) -> Components:
                return combine((motion.heat / jnp.sqrt(dt), thermal_normals(now, step, state.x.shape[0])))

        return Layers(*advance(rhs, state[:3], inputs[:, 0], duration, steps, most, thermal), which, noise)

    def push(self, state: Layers, by: Any) -> Layers:
        """Add a vector to m in every cell of each device, (n, 3), and restore its length."""
        x, y, z = (component + along for component, along in zip(state[:3], jnp.asarray(by).T, strict=True))
        length = jnp.sqrt(x**2 + y**2 + z**2)
        return state._replace(x=x / length, y=y / length, z=z / length)

    def observe(self, state: Layers) -> Any:
        """Signal of each device, (n,): ``<m>`` along the axis of its read-out, and what its amplifier adds."""
        along = (self.moment(state) * jnp.stack(pick(self.axis, state.which), axis=-1)).sum(axis=-1)
        return along + self.offset[state.which]

    def moment(self, state: Layers) -> Any:
        """``<m>`` of each device, (n, 3): the average over its magnetic cells."""
        return jnp.stack([component.mean(axis=0) for component in state[:3]], axis=-1)


class EmbeddedEngine:
    """Cell-centred finite differences as OOMMF's, float64, batched over devices.

    Parameters
    ----------
    cards : DeviceCard or sequence of DeviceCard
        devices that differ need meshes of the same shape, up to their scale and the height of their cells
    tick : float
        duration of one tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field that every device starts from as it is; without it each card's own start is relaxed

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> engine = EmbeddedEngine(load_card("data/devices/disc60.toml"), tick=7.5e-12)
    >>> node = engine.node
    >>> state = node.step(node.start(2), np.array([[0.5], [-0.5]]))
    >>> bool(node.observe(state)[0] > 0 > node.observe(state)[1])
    True
    """

    name = "embedded"
    live = True
    batched = True

    def __init__(
        self, cards: DeviceCard | Sequence[DeviceCard], tick: float, initial: np.ndarray | None = None
    ) -> None:
        if not 0 < tick < 1e-6:
            raise SpinloomError(f"tick: expected seconds between 0 and 1e-6, got {tick:g}")
        self.cards, self.tick = as_cards(cards), float(tick)
        _check_meshes(self.cards)
        self.mask = self.cards[0].geometry.mask()
        self._cells, _ = in_order(self.mask)
        longest = np.array([longest_step(card) for card in self.cards])
        field = linear_field(self.cards, self.mask)
        if initial is None:
            start = equilibria(self.cards, field)
        else:
            m = self._components(checked_field(self.cards[0], initial))
            x, y, z = jnp.repeat(m[:, :, None], len(self.cards), axis=2)
            start = (x, y, z)
        self.node = EmbeddedNode(
            field=field.quick() if isinstance(field, Blended) else field,
            motion=Motion.of(self.cards),
            equilibria=start,
            axis=components([card.readout.axis for card in self.cards]),
            offset=jnp.asarray([card.readout.offset for card in self.cards]),
            longest=jnp.asarray(longest),
            tick=self.tick,
            steps=int(np.ceil(self.tick / longest).max()),
        )

    @property
    def version(self) -> str:
        """What computed: the engine runs on JAX."""
        return jax.__version__

    @property
    def together(self) -> int:
        """How many devices cost least as one batch: many of a small mesh, few of a large one."""
        return int(np.clip(8 * round(ENOUGH_CELLS / self.mask.sum()), *TOGETHER))

    @property
    def equilibria(self) -> np.ndarray:
        """The field that each device starts from, (devices, nx, ny, nz, 3)."""
        start = Layers(*self.node.equilibria, None)
        return np.stack([self.field(start, device) for device in range(len(self.cards))])

    def play(
        self,
        durations: np.ndarray,
        inputs: np.ndarray,
        fields: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
        *,
        devices: np.ndarray | None = None,
        seed: int = 0,
        numbers: np.ndarray | None = None,
        done: Callable[[int, np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drive devices by known waveforms; see :class:`spinloom.device_models.node.Engine`."""
        inputs = with_channels(inputs, self.node.channels)
        n = inputs.shape[1]
        state = self.node.start(n, seed, devices)
        if state.noise is not None and numbers is not None:
            state = state._replace(noise=stream(seed, n, numbers))
        if fields is not None:
            x, y, z = (jnp.asarray(a) for a in np.stack([self._components(field) for field in fields], axis=-1))
            state = state._replace(x=x, y=y, z=z)
        size, parts = batch_size(n, len(state.x), len(inputs)), []
        for first in range(0, n, size):
            some = slice(first, first + size)
            told = None if progress is None else partial(part_of, progress, len(inputs[0, some]) / n)
            parts.append(self._play(durations, inputs[:, some], state.some(some), told))
        fields, m = zip(*parts, strict=True)
        return np.concatenate(fields), np.concatenate(m, axis=1)

    def _play(
        self, durations: np.ndarray, inputs: np.ndarray, state: Layers, progress: Callable[[float], None] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As many at a time as there is memory for."""
        if (durations == self.tick).all():
            state, m = drive(self.node, inputs, state, progress, finite=True)
        else:
            pieces: list[np.ndarray] = []
            rows = (np.asarray(durations), inputs)
            state, _ = advance_rows(_held, self.node, state, rows, progress=progress, collect=finite_only(pieces))
            m = joined(pieces)
        return np.stack([self.field(state, device) for device in range(inputs.shape[1])]), m

    def input(self, u: np.ndarray | None = None) -> str:
        """Nothing: what this engine is given is the cards."""
        return ""

    def costs(self, state: Layers, wall_s: float, ticks: int) -> dict[str, float | None]:
        """Nothing: a compiled loop does not say where its time goes."""
        return {}

    def field(self, state: Layers, device: int = 0) -> np.ndarray:
        """The spatial field of one member of a batch.

        Returns
        -------
        m : (nx, ny, nz, 3) ndarray
            unit vectors; zero outside the magnetic cells
        """
        grid = np.zeros((*self.mask.shape, 3))
        grid[self._cells] = np.stack([component[:, device] for component in state[:3]], axis=-1)
        return grid

    def _components(self, field: np.ndarray) -> np.ndarray:
        m = field[self._cells].T
        return m / np.linalg.norm(m, axis=0)


def _held(node: EmbeddedNode, state: Layers, row: tuple[Any, Any]) -> tuple[Layers, Any]:
    state = node.hold(state, *row)
    return state, node.moment(state)


def _check_meshes(cards: Sequence[DeviceCard]) -> None:
    """Whether the fields of these cards follow from one mesh, up to its scale and the height of its cells."""
    first = cards[0].geometry
    for card in cards[1:]:
        geometry = card.geometry
        if geometry.shape_cells != first.shape_cells or (geometry.mask() != first.mask()).any():
            raise SpinloomError(
                f"cards: {card.name} has {_mesh(geometry)}, {cards[0].name} has {_mesh(first)}; devices of one "
                "engine need the same magnetic cells: scale the cell with the size"
            )
        ratios = np.divide(geometry.cell, first.cell)
        if abs(ratios[1] - ratios[0]) > 1e-9 * ratios[0]:
            raise SpinloomError(
                f"cards: the cell of {card.name} is {_edges(geometry)}, that of {cards[0].name} {_edges(first)}; "
                "devices of one engine need cells of the same proportions in the plane: scale their edges along x and "
                "y by the same factor"
            )


def _mesh(geometry: Any) -> str:
    return f"{geometry.mask().sum()} magnetic cells on a mesh of {geometry.shape_cells}"


def _edges(geometry: Any) -> str:
    return " x ".join(f"{d * 1e9:g}" for d in geometry.cell) + " nm"
