"""Full micromagnetic engines, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine

if TYPE_CHECKING:
    from spinloom.device_models.engines.oommf.installation import Installation

ENGINES = ("embedded", "oommf")
"""Names of the engines that compute."""
REFERENCE = "oommf-reference"
"""Not an engine: what OOMMF computed, shipped in ``data/reference``."""
TRIAL_TICK = 1e-12
SILENT_S = 120.0
"""A live OOMMF node that is silent for longer is taken to hang."""


@dataclass(frozen=True)
class Choice:
    """Which engine is to compute, and why.

    Attributes
    ----------
    name : str
        of :data:`ENGINES`, or :data:`REFERENCE`
    why : str
        for people
    installation : Installation, optional
        of OOMMF
    """

    name: str
    why: str
    installation: Installation | None = None


def choose_engine(name: str, oommf: str | None = None) -> Choice:
    """Decide which engine computes, before anything is computed.

    Parameters
    ----------
    name : {"embedded", "oommf", "oommf-reference", "auto"}
        ``auto`` is OOMMF where it is found and works, else the embedded engine
    oommf : str, optional
        command that starts OOMMF, or the path of ``oommf.tcl``; found as oommfc finds it if
        not given

    Returns
    -------
    choice : Choice

    Raises
    ------
    SpinloomError
        for an engine that is unknown, or OOMMF asked for and not usable

    Examples
    --------
    >>> choose_engine("embedded").why
    'engine: embedded, as asked'
    """
    if name in ("embedded", REFERENCE):
        return Choice(name, f"engine: {name}, as asked")
    if name not in ("oommf", "auto"):
        expected = ", ".join([*ENGINES, REFERENCE, "auto"])
        raise SpinloomError(f"engine: expected one of {expected}, got {name!r}; see 'spinloom doctor'")
    from spinloom.device_models.engines.oommf.installation import find_oommf

    try:
        installation = find_oommf(oommf)
        if name == "oommf":
            return Choice(
                "oommf", f"engine: oommf {installation.version} ({installation.where}), as asked", installation
            )
        try_oommf(installation)
    except SpinloomError as error:
        if name == "oommf" or oommf is not None:
            raise
        return Choice("embedded", f"engine: embedded, because OOMMF is not to be had ({error})")
    return Choice(
        "oommf", f"engine: oommf {installation.version} ({installation.where}), found and works", installation
    )


def try_oommf(installation: Installation) -> None:
    """Run OOMMF for 1 ps on a small layer.

    Raises
    ------
    SpinloomError
        saying what went wrong
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines.oommf.engine import OommfEngine
    from spinloom.device_models.provenance import data_folder

    card = load_card(data_folder() / "devices" / "disc60.toml")
    with OommfEngine(card, TRIAL_TICK, installation=installation) as engine:
        engine.play(np.array([TRIAL_TICK]), np.zeros((1, 1)))


@contextmanager
def open_engine(
    choice: Choice,
    card: DeviceCard,
    tick: float,
    initial: np.ndarray | None = None,
    *,
    keep: Path | None = None,
    limit_s: float = SILENT_S,
) -> Iterator[Engine]:
    """A full engine of one card, ready to be started; what it started ends with the block.

    Parameters
    ----------
    choice : Choice
        of an engine that computes
    card : DeviceCard
    tick : float
        duration of a tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field to start from; the card's start is relaxed if not given
    keep : path, optional
        folder in which OOMMF's finished runs are kept and looked for
    limit_s : float
        a live OOMMF node that is silent for longer is taken to hang (s)

    Yields
    ------
    engine : Engine
    """
    if choice.name == "oommf":
        from spinloom.device_models.engines.oommf.engine import OommfEngine

        assert choice.installation is not None
        with OommfEngine(card, tick, initial, installation=choice.installation, keep=keep, limit_s=limit_s) as engine:
            yield engine
    else:
        from spinloom.device_models.engines.embedded import EmbeddedEngine

        yield EmbeddedEngine(card, tick, initial)
