"""Live OOMMF processes behind the node interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.oommf.live import LiveNodes
from spinloom.device_models.node import DRIVE, which_devices

Launch = Callable[[np.ndarray, int, Callable[[int], None] | None], LiveNodes]
"""(which device each node is, seed, progress) -> live nodes that wait for their first drive."""


class OommfNode:
    """A row of live processes, one for each device of a batch.

    Processes cannot go back: a state is a handle, good for the next step only, and a new start
    ends the nodes of the one before.

    Parameters
    ----------
    cards : sequence of DeviceCard
    tick : float
        duration of one tick (s)
    launch : callable
        starts the processes
    """

    traceable = False
    channels = (DRIVE,)

    def __init__(self, cards: Sequence[DeviceCard], tick: float, launch: Launch) -> None:
        self.tick, self.devices = tick, len(cards)
        self._read = np.array([card.readout.axis for card in cards])
        self._offset = np.array([card.readout.offset for card in cards])
        self._launch = launch

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> LiveNodes:
        """Start ``n`` processes in equilibrium; ``seed`` is of their thermal fields.

        ``progress`` is called with the number just started.
        """
        return self._launch(which_devices(n, devices, self.devices), seed, progress)

    def step(self, state: LiveNodes, inputs: Any) -> LiveNodes:
        """Advance every process by one tick."""
        state.step(np.asarray(inputs, dtype=float)[:, 0])
        return state

    def observe(self, state: LiveNodes) -> np.ndarray:
        """``m . e_read`` of each node, and what its amplifier adds, by the card that it is made from."""
        return np.einsum("nk,nk->n", state.m, self._read[state.devices]) + self._offset[state.devices]

    def moment(self, state: LiveNodes) -> np.ndarray:
        """``<m>`` of each node."""
        return state.m
