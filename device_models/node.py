"""The one interface of the project: a node takes a held drive for one tick and gives back its magnetisation.

A batch of free layers in a micromagnetic engine, a row of live OOMMF processes and a
reduced model are all nodes, so networks, training and tasks are written once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

State = Any


@runtime_checkable
class Node(Protocol):
    """A batch of devices, advanced tick by tick under held drives.

    Attributes
    ----------
    tick : float
        duration of one tick (s)
    traceable : bool
        whether ``step`` may be traced by JAX (``jit``, ``vmap``, ``lax.scan``); nodes that
        live elsewhere, such as other processes, say no and are advanced by a plain loop
    """

    @property
    def tick(self) -> float:
        """Duration of one tick (s)."""
        ...

    @property
    def traceable(self) -> bool:
        """Whether JAX may trace ``step``."""
        ...

    def start(self, n: int) -> tuple[State, Any]:
        """Put ``n`` devices in equilibrium.

        Parameters
        ----------
        n : int
            number of devices

        Returns
        -------
        state : object
            whatever the node needs to go on, to be handed back to ``step``
        m : (n, 3) array
            average magnetisation ``<m>`` of each device
        """
        ...

    def step(self, state: State, u: Any) -> tuple[State, Any]:
        """Advance every device by one tick.

        Parameters
        ----------
        state : object
            from ``start`` or the previous ``step``
        u : (n,) array
            drives, held for the tick, already clipped to [-1, 1]; J = u J_max

        Returns
        -------
        state : object
        m : (n, 3) array
            ``<m>`` at the end of the tick
        """
        ...


class Engine(Node, Protocol):
    """Full micromagnetics of one card: a node whose devices have a field in space.

    Attributes
    ----------
    name, version : str
        what computes
    equilibrium : (nx, ny, nz, 3) ndarray
        field that devices start from
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
    def equilibrium(self) -> np.ndarray:
        """Field that devices start from."""
        ...

    def input(self, u: np.ndarray | None = None) -> str:
        """What an external solver is given, word by word, to be kept beside its answer.

        Parameters
        ----------
        u : (n_ticks,) ndarray, optional
            of one device whose drives are known; else the input of a live node
        """
        ...

    def start(self, n: int, progress: Callable[[int], None] | None = None) -> tuple[State, Any]:
        """Put ``n`` devices in equilibrium; ``progress`` hears how many were just made ready."""
        ...

    def play(
        self,
        durations: np.ndarray,
        u: np.ndarray,
        fields: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drive devices by waveforms that are known beforehand, each device on its own.

        Parameters
        ----------
        durations : (n_ticks,) ndarray
            of each hold (s)
        u : (n_ticks, n) ndarray
            drive of each device, within [-1, 1]
        fields : (n, nx, ny, nz, 3) ndarray, optional
            that the devices start from; the engine's equilibrium if not given
        progress : callable, optional
            called with the number of holds just done

        Returns
        -------
        fields : (n, nx, ny, nz, 3) ndarray
            unit vectors at the end; zero outside the magnetic cells
        m : (n_ticks, n, 3) ndarray
            ``<m>`` at the end of each hold
        """
        ...


def drive(node: Node, u: np.ndarray, state: State | None = None, progress: Any = None) -> tuple[State, np.ndarray]:
    """Play given drives into a batch of devices.

    Parameters
    ----------
    node : Node
    u : (n_ticks, n) ndarray
        drive of each device, held for each tick
    state : object, optional
        where to go on from; equilibrium if not given
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    state : object
        at the end of the last tick
    m : (n_ticks, n, 3) ndarray
        ``<m>`` at the end of each tick
    """
    u = np.asarray(u, dtype=float)
    if state is None:
        state, _ = node.start(u.shape[1])
    if node.traceable:
        # JAX takes seconds to import; nodes that live elsewhere do without it.
        from spinloom.device_models.jit import scan_ticks as advance
    else:
        advance = _loop
    pieces = []
    for chunk in np.array_split(u, max(1, len(u) // 50)):
        state, m = advance(node, state, chunk)
        pieces.append(np.asarray(m))
        if progress is not None:
            progress(len(chunk))
    return state, np.concatenate(pieces)


def _loop(node: Node, state: State, u: np.ndarray) -> tuple[State, np.ndarray]:
    moments = []
    for row in u:
        state, m = node.step(state, row)
        moments.append(np.asarray(m))
    return state, np.stack(moments)
