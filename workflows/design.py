"""Stage: which junction, how many, how hard driven, for what accuracy at a temperature and with a spread."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spinloom.device_models import files
from spinloom.device_models.calibration import Protocol
from spinloom.device_models.card import DeviceCard, explain, parse_card
from spinloom.device_models.engines.llg import spin_torque_field
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import Spread, chip, vary
from spinloom.device_models.texts import json_object
from spinloom.networks.tasks import CLASSES, task_name
from spinloom.networks.topology import Topology
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.node import ReducedNode
from spinloom.workflows.console import progress, say
from spinloom.workflows.design_page import draw_page, write_choice
from spinloom.workflows.rigid import HOW, TICKS, Rigid, generated, networks, recognised, rigid, targets
from spinloom.workflows.run import run_experiment
from spinloom.workflows.settings import Experiment, GenerateSettings, RecogniseSettings

POINTS = (
    Topology(nodes=40, spectral_radius=0.95, bias=2.4, gain=0.76, clock=6.0),
    Topology(nodes=40, spectral_radius=0.9, bias=1.0, gain=1.2, clock=3.2),
)
"""Clocked networks that every junction is tried in: what a search on a 100 nm disc at 300 K found best."""
LISTENS = Topology(nodes=40, spectral_radius=0.31, input=4.94, bias=2.85, gain=1.03)
"""The network that recognises."""
RESONANCES = (1.4, 2.2)
"""Periods that are tried, in those of the junction's resonance."""
FIELDS = (1.3, 2.0, 3.0)
"""Bias fields that are tried, in units of the spin-torque field at full drive: below 1 the layer runs away."""
VOLTAGES = (0.25, 0.5, 0.75, 1.0)
"""Drives that are tried, as shares of the largest voltage."""
MESH, COARSEST = 20, 5e-9
"""Cells along the diameter in the map, whose demagnetisation is all that counts; and largest cell of the card (m)."""
LISTENED = 8
"""Periods of a waveform that is to be recognised."""
TOGETHER = 8
"""Devices in one batch."""
SEEDS: dict[str, Any] = {"map": [0], "choice": [100, 101, 102], "yield": 200, "hearing": 300}
"""Of topologies, for each purpose; of the last two, the first chip."""
MARGINS = (1.1, 0.9, 0.75, 0.6)
"""Errors of finalists, in units of those asked, with the number of nodes of the map."""
CHIPS, HEARING, TRIALS = 4, 3, 100
"""Chips in one batch; chips that recognition is judged on; trials of each."""


class Wish(BaseModel):
    """What a design has to do, and within what.

    Attributes
    ----------
    temperature : float
        (K)
    spread : Spread
        of the junctions
    tasks : tuple of str
        to be generated
    nrmse : tuple of float
        largest error of each task
    accuracy : float
        smallest share of waveforms recognised; 0 for none asked
    least_yield : float
        share of chips that have to do all this
    voltage : float
        largest over a junction (V), below breakdown: J_max RA
    diameters, thicknesses : tuple of float
        of the free layer (m)
    nodes : tuple of int
    chips : int
        that the yield is taken over
    seed : int
        of the chips

    Examples
    --------
    >>> Wish(temperature=300, diameters=(1e-7,), thicknesses=(2e-9,)).nrmse
    (0.15, 0.17, 0.28)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(default=300.0, gt=0, le=1500)
    spread: Spread = Spread.uniform(0.05)
    tasks: tuple[str, ...] = Field(default=("sine", "triangle", "harmonics"), min_length=1)
    nrmse: tuple[float, ...] = (0.15, 0.17, 0.28)
    accuracy: float = Field(default=0.95, ge=0, lt=1)
    least_yield: float = Field(default=0.9, gt=0, le=1)
    voltage: float = Field(default=0.6, gt=0, le=5)
    diameters: tuple[float, ...] = Field(min_length=1)
    thicknesses: tuple[float, ...] = Field(min_length=1)
    nodes: tuple[int, ...] = Field(default=(20, 40, 80), min_length=1)
    chips: int = Field(default=24, ge=4, le=1000)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_error_for_each_task(self) -> Wish:
        if len(self.nrmse) != len(self.tasks):
            raise ValueError(
                f"nrmse: expected one error for each of {', '.join(map(task_name, self.tasks))}, got {len(self.nrmse)}"
            )
        if not all(error > 0 for error in self.nrmse) or not all(1 <= n <= 1000 for n in self.nodes):
            raise ValueError("nrmse and nodes: expected errors above 0, and 1 to 1000 nodes")
        return self


def wished(tasks: list[str] | None, nrmse: list[float] | None, **rest: Any) -> Wish:
    """A wish from what the command line gives, with the usual errors of the usual tasks.

    Raises
    ------
    SpinloomError
        naming the field
    """
    usual = dict(zip(Wish.model_fields["tasks"].default, Wish.model_fields["nrmse"].default, strict=True))
    names = tuple(tasks or usual)
    errors = tuple(nrmse) if nrmse else tuple(usual.get(name, min(usual.values())) for name in names)
    try:
        return Wish(tasks=names, nrmse=errors, **rest)
    except ValidationError as error:
        raise SpinloomError(explain(error, "options")) from None


def read_numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between.

    Examples
    --------
    >>> read_numbers("nodes", "20,40")
    (20, 40)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SpinloomError(
            f"{name}: expected whole numbers with commas between, such as 20,40, got {text!r}"
        ) from None


def read_lengths(name: str, text: str) -> tuple[float, ...]:
    """Lengths in nm with commas between, as metres.

    Examples
    --------
    >>> read_lengths("diameters", "60,100")
    (6e-08, 1e-07)
    """
    try:
        found = tuple(round(float(part) * 1e-9, 15) for part in text.split(","))
    except ValueError:
        raise SpinloomError(
            f"{name}: expected lengths in nm with commas between, such as 60,100, got {text!r}"
        ) from None
    if not all(5e-10 <= length <= 1e-5 for length in found):
        raise SpinloomError(f"{name}: expected lengths from 0.5 to 10000 nm, got {text!r}")
    return found


@dataclass(frozen=True)
class Point:
    """A junction and a network of it.

    Attributes
    ----------
    diameter, thickness : float
        (m)
    voltage : float
        at full drive (V)
    field : float
        bias, in units of the spin-torque field at full drive
    period : float
        (s)
    network : int
        which of :data:`POINTS`
    nodes : int
    """

    diameter: float
    thickness: float
    voltage: float
    field: float
    period: float
    network: int
    nodes: int


def designed(card: DeviceCard, point: Point, cell: float | None = None) -> DeviceCard:
    """The card of a junction of other size, drive and bias; its shape, material and directions stay.

    Parameters
    ----------
    card : DeviceCard
    point : Point
    cell : float, optional
        largest edge of a cell in the plane (m); :data:`MESH` cells along the diameter if not given

    Raises
    ------
    SpinloomError
        if there is no such device
    """
    values = {**card.model_dump(), "name": f"{card.name[:70]}-design"}
    across = card.geometry.size[1] / card.geometry.size[0]
    count = MESH if cell is None else 2 * math.ceil(point.diameter / cell / 2 - 1e-9)
    size = (point.diameter, across * point.diameter, point.thickness)
    cells = (count, max(1, round(across * count)), max(1, round(point.thickness / 4e-9)))
    values["geometry"] |= {"size": size, "cell": tuple(s / n for s, n in zip(size, cells, strict=True))}
    values["torque"]["J_max"] = point.voltage / card.readout.RA
    torque = spin_torque_field(parse_card(values, card.name)) * card.torque.P / 2
    direction = np.array(card.bias.H) / np.linalg.norm(card.bias.H)
    values["bias"]["H"] = tuple((point.field * torque * direction).tolist())
    return parse_card(values, f"{card.name}, {point.diameter:.3g} m x {point.thickness:.3g} m")


def grid(card: DeviceCard, wish: Wish) -> list[Point]:
    """Everything that the map holds, all of the first number of nodes that is at least 40."""
    nodes = min((n for n in wish.nodes if n >= 40), default=max(wish.nodes))
    points = []
    for diameter, thickness, share, field in itertools.product(wish.diameters, wish.thicknesses, VOLTAGES, FIELDS):
        first = Point(diameter, thickness, share * wish.voltage, field, 1e-9, 0, nodes)
        resonance = resonance_of(designed(card, first))
        for times, network in itertools.product(RESONANCES, range(len(POINTS))):
            points.append(replace(first, period=times / resonance, network=network))
    return points


def resonance_of(card: DeviceCard) -> float:
    """Natural frequency of the rigid layer at rest (Hz); where it does not ring, that of a spin in its bias field."""
    law, tick = MacrospinLaw.of_card(card, 2e-12, 2), 2e-12
    frequency, _ = ReducedNode.of(law, card.start.m, card.readout.axis, tick).ringing()
    return frequency or card.material.gamma0 * math.hypot(*card.bias.H) / (2 * math.pi)


def evaluate(card: DeviceCard, points: Sequence[Point], wish: Wish, seeds: list[int]) -> list[dict[str, Any]]:
    """What networks of some points do, those of one size and topology.

    Returns
    -------
    rows : list of dict
        of each point its fields, ``nrmse_TASK`` (median over seeds), ``power`` (W), ``energy`` per period (J),
        ``stable``, ``score`` (the largest error in units of the one asked)
    """
    cards = [designed(card, point).at(wish.temperature) for point in points]
    devices = rigid(cards, [point.period for point in points])
    topology = POINTS[points[0].network].model_copy(update={"nodes": points[0].nodes})
    weights = networks(topology, seeds, len(wish.tasks), list(range(len(points))))
    outcome = generated(devices, cards, weights, list(wish.tasks))
    nrmse = np.median(outcome.nrmse.reshape(len(points), len(seeds), -1), axis=1)
    power = np.median(outcome.power.reshape(len(points), -1), axis=1)
    rows = [
        {
            **asdict(point),
            **{f"nrmse_{task_name(task)}": float(e) for task, e in zip(wish.tasks, nrmse[k], strict=True)},
            "power": float(power[k]),
            "energy": float(power[k] * point.period),
            "stable": bool(devices.stable[k]),
        }
        for k, point in enumerate(points)
    ]
    return [{**row, "score": _score(row, wish)} for row in rows]


def mapped(card: DeviceCard, wish: Wish, kept: Path) -> list[dict[str, Any]]:
    """Every point of the grid; rows that an earlier call left are not computed again."""
    points = grid(card, wish)
    groups = [[p for p in points if p.network == network] for network in range(len(POINTS))]
    batches = [group[at : at + TOGETHER] for group in groups for at in range(0, len(group), TOGETHER)]
    key = [card.to_json(), wish.model_dump(mode="json", include={"temperature", "tasks"})]
    rows = _kept(kept, key)
    done = set(map(point_of, rows))
    with progress(f"map, {len(points)} junctions and networks", len(points)) as advance:
        for batch in batches:
            if not done.issuperset(batch):
                rows += evaluate(card, batch, wish, SEEDS["map"])
                with files.written_whole(kept) as temporary:
                    temporary.write_text(files.to_json({"made_from": key, "rows": rows}), encoding="utf-8")
            advance(len(batch))
    asked = set(points)
    return [{**row, "score": _score(row, wish)} for row in rows if point_of(row) in asked]


def _score(row: dict[str, Any], wish: Wish) -> float:
    if not row["stable"]:
        return float("inf")
    errors = [row[f"nrmse_{task_name(task)}"] for task in wish.tasks]
    return max(np.inf if error is None else error / most for error, most in zip(errors, wish.nrmse, strict=True))


def _kept(path: Path, key: Any) -> list[dict[str, Any]]:
    try:
        found = json_object(path.read_bytes(), str(path))
        return found["rows"] if found.get("made_from") == key else []
    except (OSError, SpinloomError, KeyError):
        return []


def finalists(rows: list[dict[str, Any]], each: int = 2) -> list[Point]:
    """The cheapest junctions of every margin: what just does it among equals may not with a spread."""
    chosen: list[Point] = []
    known: set[tuple[float, float, float]] = set()
    best = min(row["score"] for row in rows)
    for margin in MARGINS:
        near = sorted((row for row in rows if row["score"] <= max(margin, best)), key=lambda row: row["energy"])
        taken = 0
        for point in map(point_of, near):
            junction = (point.diameter, point.thickness, point.voltage)
            if junction not in known and taken < each:
                known.add(junction)
                chosen.append(point)
                taken += 1
    return chosen


def point_of(row: dict[str, Any]) -> Point:
    """The point of a row."""
    return Point(**{name: row[name] for name in Point.__dataclass_fields__})


def judged(card: DeviceCard, points: list[Point], wish: Wish) -> list[dict[str, Any]]:
    """Finalists with every number of nodes, on fresh seeds, the cheapest first; ``yield``, ``accuracy`` unknown."""
    rows = []
    with progress(f"judge {len(points)} junctions with {len(wish.nodes)} numbers of nodes", len(wish.nodes)) as advance:
        for nodes in wish.nodes:
            for network in range(len(POINTS)):
                some = [replace(point, nodes=nodes) for point in points if point.network == network]
                rows += evaluate(card, some, wish, SEEDS["choice"]) if some else []
            advance(1)
    return [{**row, "yield": None, "accuracy": None} for row in sorted(rows, key=lambda row: row["energy"])]


def yields(card: DeviceCard, point: Point, wish: Wish) -> dict[str, Any]:
    """Chips of junctions that differ, each trained for itself: the share that does all that is asked."""
    nominal = designed(card, point).at(wish.temperature)
    topology = POINTS[point.network].model_copy(update={"nodes": point.nodes})
    first = 1000 * wish.seed + SEEDS["yield"]
    good, errors = [], []
    for at in range(0, wish.chips, CHIPS):
        numbers = range(first + at, first + min(at + CHIPS, wish.chips))
        devices, cards, which = _on_chips(nominal, point, wish, list(numbers))
        weights = networks(topology, list(numbers), len(wish.tasks), [0]).with_devices(which)
        nrmse = generated(devices, cards, weights, list(wish.tasks)).nrmse
        errors.append(nrmse)
        good.append((nrmse <= wish.nrmse).all(axis=1) & devices.stable[which].all(axis=1))
    median = np.median(np.concatenate(errors), axis=0)
    chips = {f"chips_{task_name(task)}": float(e) for task, e in zip(wish.tasks, median, strict=True)}
    return {"yield": float(np.mean(np.concatenate(good))), **chips}


def heard(card: DeviceCard, point: Point, wish: Wish) -> float:
    """Share of waveforms that a chip recognises: the median of a few chips."""
    nominal = designed(card, point).at(wish.temperature)
    topology = LISTENS.model_copy(update={"nodes": point.nodes})
    numbers = [1000 * wish.seed + SEEDS["hearing"] + k for k in range(HEARING)]
    devices, _, which = _on_chips(nominal, point, wish, numbers)
    weights = networks(topology, numbers, len(CLASSES), [0]).with_devices(which)
    return float(np.median(recognised(devices, weights, LISTENED, TRIALS)))


def _on_chips(
    nominal: DeviceCard, point: Point, wish: Wish, numbers: list[int]
) -> tuple[Rigid, list[DeviceCard], np.ndarray]:
    """Junctions of some chips, and which of them is at which node, (chips, N)."""
    cards = [nominal, *(device for number in numbers for device in chip(nominal, wish.spread, point.nodes, number))]
    which = 1 + np.arange(len(cards) - 1).reshape(len(numbers), point.nodes)
    # Read-outs are one design: the nominal device sets them.
    return rigid(cards, [point.period] * len(cards)).as_first(), cards, which


def cheapest(card: DeviceCard, rows: list[dict[str, Any]], wish: Wish) -> dict[str, Any] | None:
    """The row of the least energy per period that does what is asked; None if none does.

    From the cheapest on, ``yield`` and then ``accuracy`` are added to the rows whose errors are small enough.
    """
    for row in rows:
        if row["score"] > 1:
            continue
        row |= yields(card, point_of(row), wish)
        told = f"{row['nodes']} junctions of {1e9 * row['diameter']:.0f} nm at {row['voltage']:.2g} V"
        say(f"{told}: {row['yield']:.0%} of {wish.chips} chips do it")
        if row["yield"] < wish.least_yield:
            continue
        if wish.accuracy:
            row["accuracy"] = heard(card, point_of(row), wish)
            say(f"{told}: {row['accuracy']:.0%} of waveforms recognised")
        if not wish.accuracy or row["accuracy"] >= wish.accuracy:
            return row
    return None


def check_tasks(tasks: Sequence[str]) -> None:
    """Refuse tasks of several outputs, or unknown ones, before anything is computed.

    Raises
    ------
    SpinloomError
    """
    f = targets(list(tasks))
    if f.shape[1] != len(tasks):
        raise SpinloomError(f"task: expected series of one output each, got {f.shape[1]} outputs in {len(tasks)}")


def check_spread(card: DeviceCard, wish: Wish) -> None:
    """Refuse a spread that no device has, before anything is computed: of all chips, those that deviate most.

    Raises
    ------
    SpinloomError
    """
    smallest = designed(card, grid_corner(wish))
    numbers = [1000 * wish.seed + SEEDS[purpose] + k for purpose in ("yield", "hearing") for k in range(wish.chips)]
    drawn = np.concatenate([wish.spread.draw(max(wish.nodes), number) for number in numbers])
    for k in sorted({*drawn.argmin(axis=0), *drawn.argmax(axis=0)}):
        vary(smallest, drawn[k], f"{card.name}-{k}")


def design_stage(card: DeviceCard, folder: Path, wish: Wish, verify: bool = True) -> dict[str, Any]:
    """Map, judge, choose, write the card and the experiment of the choice, and verify it in full micromagnetics.

    Parameters
    ----------
    card : DeviceCard
        whose material, shape and directions are kept
    folder : path
        of the results: ``map.csv``, ``design.json``, ``design.html``, ``card.toml``, ``experiment.toml``, and ``run/``,
        what full thermal micromagnetics says
    wish : Wish
    verify : bool
        whether the experiment is run

    Returns
    -------
    result : dict
        ``outcome`` ("found" or "nothing does it"), ``chosen`` (a row), ``words``, ``judged``, ``points``, ``wall_s``,
        and ``full``, the figures of the run
    """
    check_tasks(wish.tasks)
    if not any(card.bias.H):
        raise SpinloomError("bias.H: expected a field, whose direction a design keeps, got none")
    check_spread(card, wish)
    files.check_writable(folder / "design.json")
    began = time.perf_counter()
    rows = mapped(card, wish, folder / "map.json")
    pd.DataFrame(rows).to_csv(folder / "map.csv", index=False)
    if not any(row["stable"] for row in rows):
        raise SpinloomError(
            f"temperature: at {wish.temperature:g} K none of these junctions stays where it rests: larger diameters, a "
            "larger voltage (the bias goes with it), or a lower temperature"
        )
    seen = judged(card, finalists(rows), wish)
    best = cheapest(card, seen, wish)
    chosen = best or min(seen, key=lambda row: (-(row["yield"] or 0.0), row["score"]))
    result: dict[str, Any] = {
        "outcome": "nothing does it" if best is None else "found",
        "chosen": chosen,
        "words": words(best is not None, chosen, wish),
        "judged": seen,
        "points": len(rows),
        "wish": wish.model_dump(mode="json"),
        "wall_s": time.perf_counter() - began,
        "full": None,
    }
    say(result["words"])
    junction = designed(card, point_of(chosen), COARSEST)
    experiment = write_choice(junction, experiment_of(point_of(chosen), wish), result["words"], folder)
    if verify:
        result["full"] = run_experiment(experiment, folder / "run")
    result["wall_s"] = time.perf_counter() - began
    with files.written_whole(folder / "design.json") as temporary:
        temporary.write_text(files.to_json(result, indent=1), encoding="utf-8")
    draw_page(folder / "design.html", junction, rows, result)
    say(f"page: {folder / 'design.html'}")
    return result


def experiment_of(point: Point, wish: Wish) -> Experiment:
    """The run that verifies a choice: one chip of junctions that differ, at temperature."""
    training = HOW.model_copy(update={"teacher_periods": 200})
    return Experiment(
        name="design",
        device="card.toml",
        engine="embedded",
        temperature=wish.temperature,
        spread=wish.spread,
        calibration=Protocol(tick=point.period / TICKS),
        generate=GenerateSettings(
            tasks=wish.tasks,
            period_ticks=TICKS,
            free_periods=200,
            full_seeds=1,
            topology=POINTS[point.network].model_copy(update={"nodes": point.nodes}),
            training=training,
        ),
        recognise=RecogniseSettings(
            period_ticks=TICKS,
            periods=LISTENED,
            averaged=LISTENED - 1,
            power=True,
            full_trials=12,
            topology=LISTENS.model_copy(update={"nodes": point.nodes}),
        ),
    )


def grid_corner(wish: Wish) -> Point:
    """The smallest junction of the map."""
    return Point(min(wish.diameters), min(wish.thicknesses), wish.voltage, FIELDS[0], 1e-9, 0, min(wish.nodes))


def words(found: bool, row: dict[str, Any], wish: Wish) -> str:
    """The answer in a sentence or two."""
    what = (
        f"{row['nodes']} junctions of {1e9 * row['diameter']:.0f} nm x {1e9 * row['thickness']:.2g} nm at "
        f"{row['voltage']:.2g} V and a bias of {row['field']:g} torque fields, period {1e9 * row['period']:.2g} ns: "
        f"{1e3 * row['power']:.2g} mW, {1e12 * row['energy']:.2g} pJ per period"
    )
    errors = ", ".join(f"{task_name(task)} {row[f'nrmse_{task_name(task)}']:.2g}" for task in wish.tasks)
    if found:
        return f"the cheapest that does it: {what}; {errors}; {row['yield']:.0%} of {wish.chips} chips"
    chips = "no chips tried" if row["yield"] is None else f"{row['yield']:.0%} of chips"
    worst = "; ".join(
        f"{task_name(task)} {row[f'nrmse_{task_name(task)}']:.2g} instead of {most:g}"
        for task, most in zip(wish.tasks, wish.nrmse, strict=True)
    )
    return (
        f"nothing on this map does what is asked; nearest: {what}; {worst}; {chips}. Larger "
        "--diameters, more --nodes, a larger --voltage where the barrier bears it, a smaller --spread, or larger errors"
    )
