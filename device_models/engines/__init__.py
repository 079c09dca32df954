"""Full micromagnetic engines, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from device_models.card import DeviceCard
from device_models.errors import SpinloomError

ENGINES = ("embedded",)
"""Names of the engines that this version can run."""


def check_engine(name: str) -> None:
    """Say that an engine is unknown before anything is computed.

    Raises
    ------
    SpinloomError
    """
    if name == "oommf":
        raise SpinloomError(
            "engine: oommf is not installed as an engine of this version; "
            "use --engine embedded, and see 'spinloom doctor'"
        )
    if name not in ENGINES:
        raise SpinloomError(f"engine: expected one of {', '.join(ENGINES)}, got {name!r}; see 'spinloom doctor'")


def open_engine(name: str, card: DeviceCard, tick: float, initial: np.ndarray | None = None) -> Any:
    """A full engine of one card, ready to be started.

    Parameters
    ----------
    name : {"embedded"}
    card : DeviceCard
    tick : float
        duration of a tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field to start from; the card's start is relaxed if not given

    Returns
    -------
    engine : Node
        also with ``name``, ``version`` and ``field(state, device)``

    Raises
    ------
    SpinloomError
        for an engine that is unknown or not installed
    """
    check_engine(name)
    from device_models.engines.embedded import EmbeddedEngine

    return EmbeddedEngine(card, tick, initial)
