"""Whether a device stays where it rests, at its temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine
from spinloom.device_models.scan import expect_finite, naming

DEVICES, DURATION, TICK = 8, 2.4e-9, 2e-11
"""How many devices are watched at rest, for how long (s), looked at so often (s)."""
STAYS = 0.5
"""A layer is stable if <m>, averaged over devices and time, is at least this long along where it rests."""


class Stability(NamedTuple):
    """How a device fluctuates at rest.

    Attributes
    ----------
    temperature : float
        (K)
    along : float
        <m> along its direction of rest, mean over devices and time, in units of its length at 0 K
    signal : float
        rms deviation of m . e_read from its mean
    turned : int
        devices that were once turned over, of :data:`DEVICES`
    """

    temperature: float
    along: float
    signal: float
    turned: int

    @property
    def stable(self) -> bool:
        """Whether the layer has a direction of its own."""
        return self.along >= STAYS and self.turned == 0


def stability(
    card: DeviceCard, engine: Engine, progress: Callable[[float], None] | None = None, seed: int = 0
) -> Stability:
    """Watch a warm device at rest.

    Parameters
    ----------
    card : DeviceCard
        at its temperature
    engine : Engine
        of this card, with ticks of :data:`TICK`
    progress : callable, optional
        called with the number of ticks just done
    seed : int
        of the thermal field

    Returns
    -------
    found : Stability

    Raises
    ------
    DivergedError
        naming device and tick, where <m> is not finite
    """
    ticks = round(DURATION / TICK)
    rest = engine.equilibria[0][card.geometry.mask()].mean(axis=0)
    with naming(lambda k: f"device {k} at rest at {card.conditions.temperature:g} K"):
        _, m = engine.play(np.full(ticks, TICK), np.zeros((ticks, DEVICES)), progress=progress, seed=seed)
        expect_finite(m)
    # Devices start from where they rest at 0 K, and have to become warm.
    late = m[ticks // 4 :]
    along = late @ rest / (rest @ rest)
    return Stability(
        temperature=card.conditions.temperature,
        along=float(along.mean()),
        signal=float((late @ np.array(card.readout.axis)).std()),
        turned=int((along.min(axis=0) < -STAYS).sum()),
    )


def expect_stable(found: Stability, card: DeviceCard) -> None:
    """Refuse a temperature at which the layer has no direction of its own.

    Raises
    ------
    SpinloomError
    """
    if not found.stable:
        raise SpinloomError(
            f"conditions.temperature: {card.name} is not stable at {found.temperature:g} K: of its <m> "
            f"{found.along:.2f} is left along where it rests (expected at least {STAYS:g}), {found.turned} of "
            f"{DEVICES} devices turned over within {1e9 * DURATION:g} ns; lower the temperature, raise the bias, or "
            "take a larger layer"
        )
