"""The one interface of the project: a node takes inputs held for one tick, and can be observed.

A batch of free layers in a micromagnetic engine, a row of live OOMMF processes and a
reduced model are all nodes, so networks, training and tasks are written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError

State = Any
DRIVE = "drive"
"""Name of channel 0 of every node: J / J_max, within [-1, 1]."""


@runtime_checkable
class Node(Protocol):
    """A batch of devices, advanced tick by tick under held inputs.

    State goes in and state comes out; a node keeps nothing between calls. A node that JAX can
    trace is itself a pytree whose arrays are leaves, so that it can be an argument of compiled
    functions, and its state is a pytree of any form.

    Attributes
    ----------
    tick : float
        duration of one tick (s)
    channels : tuple of str
        what the columns of ``inputs`` mean; the first is ``drive``
    devices : int
        how many different devices the node knows; a batch says of each of its members which
        of them it is
    traceable : bool
        whether JAX may trace ``step`` (``jit``, ``vmap``, ``grad``, ``lax.scan``); nodes that
        live elsewhere, such as other processes, say no and are advanced by a plain loop
    """

    @property
    def tick(self) -> float:
        """Duration of one tick (s)."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """What the columns of ``inputs`` mean."""
        ...

    @property
    def devices(self) -> int:
        """How many different devices the node knows."""
        ...

    @property
    def traceable(self) -> bool:
        """Whether JAX may trace ``step``."""
        ...

    def start(self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None) -> State:
        """Put ``n`` devices in equilibrium.

        Parameters
        ----------
        n : int
            number of devices
        seed : int
            of whatever is random; a node without noise ignores it
        devices : (n,) int array, optional
            which device of the node each is; all are the first if not given
        progress : callable, optional
            called with the number of devices just made ready, where that takes long

        Returns
        -------
        state : object
            whatever the node needs to go on, to be handed back to ``step``
        """
        ...

    def step(self, state: State, inputs: Any) -> State:
        """Advance every device by one tick.

        Parameters
        ----------
        state : object
            from ``start`` or the previous ``step``
        inputs : (n, channels) array
            held for the tick, one column for each of the node's channels; column 0 is the
            drive, already within [-1, 1], J = u J_max
        """
        ...

    def observe(self, state: State) -> Any:
        """The signal of each device, (n,): what its junction shows, and a network sees."""
        ...

    def moment(self, state: State) -> Any:
        """``<m>`` of each device, (n, 3)."""
        ...


class Around:
    """What a node that stands around another has from it.

    Attributes
    ----------
    node : Node
    """

    node: Any

    @property
    def tick(self) -> float:
        """Duration of one tick (s)."""
        return self.node.tick

    @property
    def channels(self) -> tuple[str, ...]:
        """Those of the node."""
        return self.node.channels

    @property
    def devices(self) -> int:
        """Those of the node."""
        return self.node.devices

    @property
    def traceable(self) -> bool:
        """As the node."""
        return self.node.traceable


class Engine(Protocol):
    """Full micromagnetics: computes the field in space of one device, or of several that differ.

    What an engine can do it tells itself: a stage never asks for its name. All that it started
    ends when the ``with`` block of :func:`spinloom.device_models.engines.open_engine` does.

    Attributes
    ----------
    name, version : str
        what computes
    cards : tuple of DeviceCard
        the devices that it knows
    tick : float
        duration of one tick (s)
    live : bool
        whether ``node`` can close a loop tick by tick; if not, ``play`` is all there is
    batched : bool
        whether many networks side by side cost less than one after the other
    together : int
        how many devices under known drives it computes as one batch at least cost, which the last digits of an
        answer may depend on; 1 where each is computed on its own
    equilibria : (devices, nx, ny, nz, 3) ndarray
        the field that each device starts from, unit vectors, zero where nothing is magnetic
    node : Node
        the same devices in closed loop
    """

    @property
    def name(self) -> str:
        """Name of the engine."""
        ...

    @property
    def version(self) -> str:
        """Version of what computes."""
        ...

    @property
    def cards(self) -> tuple[DeviceCard, ...]:
        """The devices that it knows."""
        ...

    @property
    def tick(self) -> float:
        """Duration of one tick (s)."""
        ...

    @property
    def live(self) -> bool:
        """Whether a loop can be closed tick by tick."""
        ...

    @property
    def batched(self) -> bool:
        """Whether many networks side by side cost less than one after the other."""
        ...

    @property
    def together(self) -> int:
        """How many devices under known drives are one batch."""
        ...

    @property
    def equilibria(self) -> np.ndarray:
        """Field that each device starts from."""
        ...

    @property
    def node(self) -> Node:
        """The devices as a node."""
        ...

    def input(self, u: np.ndarray | None = None) -> str:
        """What an external solver is given, word by word, to be kept beside its answer.

        Parameters
        ----------
        u : (n_ticks,) ndarray, optional
            of one device whose drives are known; else the input of a live node

        Returns
        -------
        text : str
            empty if there is no such solver
        """
        ...

    def costs(self, state: State, wall_s: float, ticks: int) -> dict[str, float | None]:
        """Where the time of a closed loop went, as far as the engine knows (s per tick).

        Parameters
        ----------
        state : object
            at the end of the loop
        wall_s : float
            that the loop took
        ticks : int
        """
        ...

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
        """Drive devices by waveforms that are known beforehand, each device on its own.

        Parameters
        ----------
        durations : (n_ticks,) ndarray
            of each hold (s)
        inputs : (n_ticks, n) or (n_ticks, n, channels) ndarray
            drive of each device, within [-1, 1], or all its channels
        fields : (n, nx, ny, nz, 3) ndarray, optional
            that the devices start from; their equilibria if not given
        progress : callable, optional
            called with the number of holds just done
        devices : (n,) int ndarray, optional
            which device each is; all are the first if not given
        seed : int
            of whatever is random
        numbers : (n,) int ndarray, optional
            that the random numbers of each device depend on beside the seed; 0 to n - 1 if not given
        done : callable, optional
            called with the place in the batch and the ``<m>``, (n_ticks, 3), of each device that is done before the
            others, as soon as it is

        Returns
        -------
        fields : (n, nx, ny, nz, 3) ndarray
            unit vectors at the end; zero outside the magnetic cells
        m : (n_ticks, n, 3) ndarray
            ``<m>`` at the end of each hold
        """
        ...


def with_channels(inputs: Any, channels: tuple[str, ...]) -> np.ndarray:
    """Inputs with an axis of channels, as many as a node takes; those not given are zero.

    Parameters
    ----------
    inputs : (n_ticks, n) or (n_ticks, n, k) array
        k at most the number of channels
    channels : tuple of str
        of the node

    Returns
    -------
    inputs : (n_ticks, n, channels) ndarray

    Raises
    ------
    SpinloomError
        for more channels than the node has

    Examples
    --------
    >>> with_channels(np.zeros((5, 2)), ("drive",)).shape
    (5, 2, 1)
    """
    inputs = np.asarray(inputs, dtype=float)
    inputs = inputs[..., None] if inputs.ndim == 2 else inputs
    if inputs.ndim != 3 or not 1 <= inputs.shape[2] <= len(channels):
        raise SpinloomError(
            f"inputs: expected (ticks, devices) or (ticks, devices, channels) with at most {len(channels)} channels "
            f"({', '.join(channels)}), got shape {inputs.shape}"
        )
    return np.pad(inputs, ((0, 0), (0, 0), (0, len(channels) - inputs.shape[2])))


def which_devices(n: int, devices: Any, known: int) -> np.ndarray:
    """Which device each member of a batch is, (n,) int, checked.

    Parameters
    ----------
    n : int
        members of the batch
    devices : (n,) int array, optional
        all are the first if not given
    known : int
        how many devices the node knows

    Raises
    ------
    SpinloomError
        for a wrong number of them, or a device that the node does not know

    Examples
    --------
    >>> which_devices(3, None, 1)
    array([0, 0, 0])
    """
    if devices is None:
        return np.zeros(n, dtype=int)
    values = np.asarray(devices)
    if values.shape != (n,):
        raise SpinloomError(f"devices: expected one for each of {n} nodes, got shape {values.shape}")
    if values.size and not (values.min() >= 0 and values.max() < known):
        raise SpinloomError(
            f"devices: expected numbers from 0 to {known - 1}, got {values.min()} to {values.max()}; "
            "give the node as many devices as the network names"
        )
    return values.astype(int)


def as_cards(cards: DeviceCard | Sequence[DeviceCard]) -> tuple[DeviceCard, ...]:
    """One card or several, as a tuple.

    Raises
    ------
    SpinloomError
        if there is none
    """
    found = (cards,) if isinstance(cards, DeviceCard) else tuple(cards)
    if not found:
        raise SpinloomError("cards: expected at least one device")
    return found
