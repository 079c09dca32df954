"""Full micromagnetic engines, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine, as_cards

REFERENCE = "oommf-reference"
"""Not an engine: what OOMMF computed, shipped in ``data/reference``."""
TRIAL_TICK = 1e-12
SILENT_S = 120.0
"""A live node of another process that is silent for longer is taken to hang."""


@dataclass(frozen=True)
class Wishes:
    """What a stage asks of an engine; each engine takes what concerns it.

    Attributes
    ----------
    limit_s : float
        a live node of another process that is silent for longer is taken to hang (s)
    """

    limit_s: float = SILENT_S


Open = Callable[[tuple[DeviceCard, ...], float, np.ndarray | None, Any, Wishes], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Kind:
    """What is known of an engine before it is opened.

    Attributes
    ----------
    open : callable
        (cards, tick, initial, installation, wishes) -> the engine, in a ``with`` block
    find : callable
        (command that a user named, or None) -> what it runs on, with ``version`` and ``where``;
        None for an engine that is part of Spinloom. Raises SpinloomError, which says how to get it
    outside : bool
        whether it computes outside Spinloom: the embedded engine then runs the same networks beside it, to be
        compared
    """

    open: Open
    find: Callable[[str | None], Any] = lambda named: None
    outside: bool = False


def _open_embedded(
    cards: tuple[DeviceCard, ...], tick: float, initial: np.ndarray | None, _: Any, __: Wishes
) -> AbstractContextManager[Engine]:
    from spinloom.device_models.engines.embedded import EmbeddedEngine

    return nullcontext(EmbeddedEngine(cards, tick, initial))


def _open_oommf(
    cards: tuple[DeviceCard, ...], tick: float, initial: np.ndarray | None, installation: Any, wishes: Wishes
) -> AbstractContextManager[Engine]:
    from spinloom.device_models.engines.oommf.engine import OommfEngine

    return OommfEngine(cards, tick, initial, installation=installation, limit_s=wishes.limit_s)


def _find_oommf(named: str | None) -> Any:
    from spinloom.device_models.engines.oommf.installation import find_oommf

    return find_oommf(named)


ENGINES: dict[str, Kind] = {
    "embedded": Kind(_open_embedded),
    "oommf": Kind(_open_oommf, _find_oommf, outside=True),
}
"""Every engine that computes, by name. What an engine needs is imported when it is opened."""


@dataclass(frozen=True)
class Choice:
    """Which engine is to compute, and why.

    Attributes
    ----------
    name : str
        of :data:`ENGINES`, or :data:`REFERENCE`
    why : str
        for people
    installation : object, optional
        what the engine runs on, where that is not part of Spinloom
    """

    name: str
    why: str
    installation: Any = field(default=None, compare=False)

    @property
    def recorded(self) -> bool:
        """Whether nothing is to be computed: what OOMMF computed is read."""
        return self.name == REFERENCE

    @property
    def outside(self) -> bool:
        """Whether the engine computes outside Spinloom."""
        return not self.recorded and ENGINES[self.name].outside


def choose_engine(name: str, oommf: str | None = None) -> Choice:
    """Decide which engine computes, before anything is computed.

    Parameters
    ----------
    name : str
        one of :data:`ENGINES`, ``oommf-reference``, or ``auto``, which is OOMMF where it is
        found and works, else the embedded engine
    oommf : str, optional
        command that starts OOMMF, or the path of ``oommf.tcl``; found as oommfc finds it if
        not given

    Returns
    -------
    choice : Choice

    Raises
    ------
    SpinloomError
        for an engine that is unknown, or asked for and not usable

    Examples
    --------
    >>> choose_engine("embedded").why
    'engine: embedded, as asked'
    """
    if name == REFERENCE:
        return Choice(name, f"engine: {name}, as asked")
    if name != "auto":
        if name not in ENGINES:
            expected = ", ".join([*ENGINES, REFERENCE, "auto"])
            raise SpinloomError(f"engine: expected one of {expected}, got {name!r}; see 'spinloom doctor'")
        return _found(name, oommf, "as asked")
    try:
        choice = _found("oommf", oommf, "found and works")
        try_engine(choice)
    except SpinloomError as error:
        if oommf is not None:
            raise
        return Choice("embedded", f"engine: embedded, because OOMMF is not to be had ({error})")
    return choice


def _found(name: str, named: str | None, why: str) -> Choice:
    installation = ENGINES[name].find(named)
    what = name if installation is None else f"{name} {installation.version} ({installation.where})"
    return Choice(name, f"engine: {what}, {why}", installation)


def try_engine(choice: Choice, temperature: float = 0.0) -> str:
    """Run an engine for 1 ps on the default card, at a temperature (K).

    Returns
    -------
    version : str
        of what computed

    Raises
    ------
    SpinloomError
        saying what went wrong
    """
    from spinloom.device_models.card import load_card
    from spinloom.device_models.provenance import data_folder

    card = load_card(data_folder() / "devices" / "disc60.toml").at(temperature)
    with open_engine(choice, card, TRIAL_TICK) as engine:
        engine.play(np.array([TRIAL_TICK]), np.zeros((1, 1)))
        return engine.version


@contextmanager
def open_engine(
    choice: Choice,
    cards: DeviceCard | Sequence[DeviceCard],
    tick: float,
    initial: np.ndarray | None = None,
    *,
    limit_s: float = SILENT_S,
) -> Iterator[Engine]:
    """A full engine of one card, or of several, ready to be used; what it started ends with the block.

    Parameters
    ----------
    choice : Choice
        of an engine that computes
    cards : DeviceCard or sequence of DeviceCard
        the devices that the engine is to know, in the order in which they are numbered
    tick : float
        duration of a tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field that every device starts from; the cards' starts are relaxed if not given
    limit_s : float
        a live node of another process that is silent for longer is taken to hang (s)

    Yields
    ------
    engine : Engine

    Raises
    ------
    SpinloomError
        if there is nothing to open, as for ``oommf-reference``
    """
    if choice.recorded:
        raise SpinloomError(f"engine: expected one that computes ({', '.join(ENGINES)}), got {choice.name}")
    wishes = Wishes(limit_s)
    with ENGINES[choice.name].open(as_cards(cards), tick, initial, choice.installation, wishes) as engine:
        yield engine
