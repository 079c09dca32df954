"""Stage: drive full micromagnetic devices and keep how they answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from spinloom.device_models import files
from spinloom.device_models.calibration import Design, Protocol, calibrate, save_calibration
from spinloom.device_models.card import DeviceCard, explain, parse_card
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError, UnfinishedError
from spinloom.device_models.groups import Group
from spinloom.device_models.node import Engine
from spinloom.device_models.reference import calibration_path, reference_calibration
from spinloom.device_models.spread import Spread
from spinloom.device_models.trajectory_store import open_store
from spinloom.workflows.console import progress, say
from spinloom.workflows.probe import advised, stays
from spinloom.workflows.workers import ALONE, Team


def read_grades(text: str) -> tuple[float, ...]:
    """Grades as they are written on the command line: shares of J_max with commas between, or ``none``.

    Raises
    ------
    SpinloomError
        for anything else

    Examples
    --------
    >>> read_grades("0.5,0.2"), read_grades("none")
    ((0.5, 0.2), ())
    """
    if text.strip().lower() == "none":
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SpinloomError(
            f"grades: expected shares of J_max with commas between, such as 0.5,0.2, or none; got {text!r}"
        ) from None


def read_spread(text: str) -> Spread:
    """One standard deviation for all parameters, or some by name.

    Examples
    --------
    >>> read_spread("diameter=0.03,RA=0.05").RA
    0.05
    """
    try:
        if "=" not in text:
            return Spread.uniform(float(text))
        pairs = [(key.strip(), float(value)) for key, value in (part.split("=") for part in text.split(","))]
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return Spread.model_validate(dict(pairs))
    except ValidationError as error:
        raise SpinloomError(explain(error, "spread")) from None
    except ValueError:
        raise SpinloomError(
            "spread: expected a standard deviation such as 0.05, or some by name, each once, such as "
            f"diameter=0.03,RA=0.05, got {text!r}"
        ) from None


def calibrate_stage(
    card: DeviceCard,
    choice: Choice,
    protocol: Protocol,
    out: Path,
    *,
    probe: bool = False,
    spread: Spread | None = None,
    team: Team = ALONE,
) -> dict[str, Any]:
    """Calibrate a device, or a population of them, and write the set; if asked, say first how hard it can be driven.

    Finished trajectories are kept in the store (:mod:`spinloom.device_models.trajectory_store`), and those that are
    there already are not computed again. With a team, groups of trajectories go to its workers; the numbers are the
    same.

    Returns
    -------
    result : dict
        ``engine, engine_version, temperature, device_ns, wall_s, trajectories, grades, tick_s, out``
    """
    files.check_writable(out)
    say(choice.why)
    if choice.recorded and spread is not None:
        raise SpinloomError(f"engine: {choice.name} holds no devices that differ; take embedded or oommf for a spread")
    if choice.recorded:
        dataset = reference_calibration(card, protocol)
        with files.written_whole(out) as temporary:
            shutil.copyfile(calibration_path(card.name), temporary)
    else:
        design = None if spread is None else Design.of(spread, protocol)
        cards = [card] if design is None else design.cards(card)  # a spread that no device has is told before all else
        if probe:
            advised(card.at(0))
        if card.conditions.temperature:
            stays(card)
        dataset = _computed(cards, choice, protocol, design, team)
        save_calibration(dataset, out)
    keys = ("engine", "engine_version", "device_ns", "wall_s")
    return {
        **{key: dataset.attrs[key] for key in keys},
        "temperature": card.conditions.temperature,
        "trajectories": dataset.sizes["trajectory"],
        "grades": list(Protocol.from_json(dataset.attrs["protocol"]).grades),
        "tick_s": protocol.tick,
        "out": str(out),
    }


def _computed(cards: list[DeviceCard], choice: Choice, protocol: Protocol, design: Design | None, team: Team) -> Any:
    card = cards[0]
    warm = f" at {card.conditions.temperature:g} K" if card.conditions.temperature else ""
    differ = "" if design is None else f" of {len(cards) - 1} devices that differ"
    say(f"{card.name}{warm}{differ}: relaxing {card.geometry.mask().sum()} cells in the {choice.name} engine")
    what = f"calibrate, {protocol.n_trajectories} devices"
    store = open_store()
    with open_engine(choice, cards, protocol.tick) as engine:
        elsewhere = None if team.alone else Away(engine, team)
        try:
            with progress(what, protocol.n_ticks) as advance:
                dataset = calibrate(card, engine, protocol, advance, design, store, elsewhere)
        except BaseException:
            if store is not None and store.found + store.kept:
                have = f"{store.found + store.kept} of {protocol.n_trajectories} trajectories"
                say(f"{have} are kept in {store.folder}; the same command goes on")
            raise
        if store is not None and store.found:
            say(f"{store.found} of {protocol.n_trajectories} trajectories were in the store, {store.folder}")
        if choice.outside:
            text = engine.input(dataset["u"].values[0])
            dataset[f"{engine.name}_input"] = ((), text, {"long_name": "input of trajectory 0; the others differ in u"})
    return dataset


class Away:
    """Groups of trajectories on workers, each in an engine that is opened there.

    Parameters
    ----------
    engine : Engine
        what they are computed as
    team : Team
    """

    def __init__(self, engine: Engine, team: Team) -> None:
        self.engine, self.team = engine, team

    def __call__(self, asked: list[Group]) -> Iterator[tuple[int, np.ndarray]]:
        """Number of a group and its ``<m>``, as they come.

        Raises
        ------
        UnfinishedError
            if a group failed, when the others are done
        """
        failed = {}
        if asked:
            with self.team.open(len(asked)) as workers:
                for done in workers.map(group_on_worker, [self._given(group) for group in asked]):
                    if done.error:
                        failed[done.number] = done.error
                    else:
                        yield done.number, done.value
        if failed:
            lost = sorted({int(k) for number in failed for k in asked[number].numbers})
            numbers = ", ".join(map(str, lost[:10])) + (" ..." if len(lost) > 10 else "")
            raise UnfinishedError(
                f"calibrate: {len(lost)} trajectories were not computed, numbers {numbers}: "
                f"{next(iter(failed.values()))}; the others are done, and kept where there is a store ('spinloom store "
                "list'); the same command tries again"
            )

    def _given(self, group: Group) -> dict[str, Any]:
        engine, cards, initial = self.engine, list(self.engine.cards), None
        if engine.together == 1:  # its device alone, from the equilibrium that was found here
            device = int(group.devices[0])
            cards, initial = [cards[device]], engine.equilibria[device]
            group = group._replace(devices=np.zeros_like(group.devices))
        told = {"engine": engine.name, "oommf": self.team.oommf, "tick": engine.tick, "initial": initial}
        return {**told, "cards": [card.model_dump(mode="json") for card in cards], "group": tuple(group)}


def group_on_worker(given: dict[str, Any]) -> np.ndarray:
    """A group on a worker: ``engine``, ``oommf``, ``tick``, ``initial``, ``cards``, ``group``; its ``<m>``."""
    cards = [parse_card(card) for card in given["cards"]]
    choice = choose_engine(given["engine"], given["oommf"])
    with open_engine(choice, cards, given["tick"], given["initial"]) as engine:
        return Group(*given["group"]).play(engine)
