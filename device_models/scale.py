"""What one unit of a network means for a device, so that a network's settings mean the same for every device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from pydantic import BaseModel, ConfigDict, Field

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Around, Node, State


class Scale(BaseModel):
    """Numbers of one device, fixed by its calibration.

    Attributes
    ----------
    mean, spread : float
        of the signal over the calibration; a network sees r = (signal - mean) / spread
    reach : float
        share of J_max that a network's drive of 1 stands for
    resonance : float or None
        natural frequency at equilibrium (Hz); None if the device does not ring
    quality : float or None
        Q of the resonance
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: float = 0.0
    spread: float = Field(default=1.0, gt=0)
    reach: float = Field(default=1.0, gt=0, le=1)
    resonance: float | None = Field(default=None, gt=0)
    quality: float | None = Field(default=None, gt=0)

    def of(self, node: Node) -> Scaled:
        """The node as a network takes it."""
        return Scaled(node, self.mean, self.spread, self.reach)

    def signal(self, r: Any) -> Any:
        """The device's own signal, m . e_read, from what a network sees.

        Examples
        --------
        >>> Scale(mean=0.9, spread=0.1).signal(-1.0)
        0.8
        """
        return self.mean + self.spread * r

    def ticks(self, periods: float, tick: float) -> int:
        """How many ticks some periods of the resonance last.

        Raises
        ------
        SpinloomError
            if the device has no resonance

        Examples
        --------
        >>> Scale(resonance=2e9).ticks(1.5, 7.5e-12)
        100
        """
        if self.resonance is None:
            raise SpinloomError(
                "period: this device does not ring, so it has no resonance to count periods by; give period_ticks"
            )
        return max(1, round(periods / self.resonance / tick))


@partial(jax.tree_util.register_dataclass, data_fields=["node", "mean", "spread", "reach"], meta_fields=[])
@dataclass(frozen=True)
class Scaled(Around):
    """A node in the units of a network: its drive times the reach, its signal centred and scaled.

    Attributes
    ----------
    node : Node
    mean, spread, reach : float
        see :class:`Scale`
    """

    node: Any
    mean: Any
    spread: Any
    reach: Any

    def start(self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None) -> State:
        """Put ``n`` devices in equilibrium."""
        return self.node.start(n, seed, devices, progress)

    def step(self, state: State, inputs: Any) -> State:
        """Advance by one tick; the drive is in units of the reach."""
        return self.node.step(state, _times(inputs, self.reach))

    def observe(self, state: State) -> Any:
        """R = (signal - mean) / spread."""
        return (self.node.observe(state) - self.mean) / self.spread

    def moment(self, state: State) -> Any:
        """``<m>``, as it is."""
        return self.node.moment(state)


def _times(inputs: Any, reach: Any) -> Any:
    """Inputs with the drive, column 0, times the reach."""
    inputs = jnp.asarray(inputs)
    return jnp.concatenate([reach * inputs[:, :1], inputs[:, 1:]], axis=1)
