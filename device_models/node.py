"""The one interface of the project: a node takes a held drive for one tick and gives back its magnetisation.

A batch of free layers in a micromagnetic engine, a row of live OOMMF processes and a
reduced model are all nodes, so networks, training and tasks are written once.
"""

from __future__ import annotations

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
        from device_models.jit import scan_ticks as advance
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
