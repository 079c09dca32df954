"""The field's benchmarks on a model's junctions, beside what needs no junction; every cell of the table is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from spinloom.device_models import files
from spinloom.device_models.engines import Choice
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import stamp
from spinloom.device_models.texts import json_object
from spinloom.networks.benchmarks.listening import Listening, Vowels, conditions
from spinloom.networks.benchmarks.memory import REACHES, delayed, information
from spinloom.networks.benchmarks.reservoir import drive
from spinloom.networks.benchmarks.series import uniform
from spinloom.networks.benchmarks.tasks import FREE_RUNS, TASKS, WASHOUT, FreeRun, Task
from spinloom.networks.fluctuations import interval
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.bench_full import HEARD_CLASSES, HEARD_NOISE, FullRun, unit
from spinloom.workflows.bench_kinds import (
    SELECTION,
    Kind,
    Settings,
    Tested,
    candidates,
    figures,
    kinds_of,
    network,
    ridge_again,
    tune,
    without_nodes,
)
from spinloom.workflows.console import progress, say

INFORMATION = "ipc"
INFORMATION_SAMPLES = 8000
"""After the washout, for the information processing capacity."""
HEARD = ("shape", "frequency")
ONE_CONDITION: dict[str, Any] = {**TASKS, Vowels.name: Vowels(), **FREE_RUNS}
"""What is asked for by name and is one task; the capacity has no read-out that could be judged."""
NAMES = (*TASKS, INFORMATION, Vowels.name, *HEARD, *FREE_RUNS)
"""All that can be asked for."""
HEARD_AT_MOST = 40
"""Nodes of networks that listen: each hears hundreds of trials at once."""
KINDS = ("junctions", "memoryless", "leaky", "tanh", "register", "input")
"""Columns of the table."""


class Plan(BaseModel):
    """What a benchmark does.

    Attributes
    ----------
    tasks : tuple of str
        of :data:`NAMES`
    nodes : tuple of int
        sizes of the networks
    seeds : int
        weights and series that figures are of, 0, 1, ...
    budget : int
        candidates that are tried for every kind of node and task, on seeds of their own
    tune_at : int
        most nodes that settings are chosen with; larger networks take those, and choose the penalty alone
    full : int
        samples of each series that are run in full micromagnetics too, with the first number of nodes; 0 for none.
        See :class:`spinloom.workflows.bench_full.FullRun` for what that is of trials and free runs
    temperature : float, optional
        of the junctions (K); that of the model if not given
    virtual, levels : int
        parts of a sample whose states are all read, so that N nodes give N V numbers, and levels of the mask on its
        input; see :class:`spinloom.networks.benchmarks.reservoir.Reading`
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tasks: tuple[str, ...] = NAMES
    nodes: tuple[int, ...] = (40, 100)
    seeds: int = Field(default=10, ge=1, le=1000)
    budget: int = Field(default=16, ge=1, le=10_000)
    tune_at: int = Field(default=40, ge=1, le=10_000)
    full: int = Field(default=0, ge=0, le=100_000)
    temperature: float | None = Field(default=None, ge=0, le=1500)
    virtual: int = Field(default=1, ge=1, le=1000)
    levels: int = Field(default=1, ge=1, le=1000)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [task for task in tasks if task not in NAMES]
        if unknown or not tasks:
            raise ValueError(f"expected some of {', '.join(NAMES)}, got {', '.join(unknown) or 'none'}")
        return tuple(dict.fromkeys(tasks))

    @field_validator("nodes")
    @classmethod
    def _sizes(cls, nodes: tuple[int, ...]) -> tuple[int, ...]:
        if not nodes or min(nodes) < 1 or max(nodes) > 2000:
            raise ValueError(f"expected numbers from 1 to 2000, got {', '.join(map(str, nodes)) or 'none'}")
        return tuple(sorted(set(nodes)))


class Bench:
    """A benchmark under way: cells that are finished lie in a folder, and are not computed again.

    Parameters
    ----------
    model : CalibratedModel
    plan : Plan
    folder : path
    made_of : str
        digest of the model
    """

    def __init__(self, model: CalibratedModel, plan: Plan, folder: Path, made_of: str) -> None:
        self.model, self.plan, self.folder = model, plan, folder / "cells"
        given = plan.model_dump(include={"temperature", "budget", "virtual", "levels"})
        self.made_of: dict[str, Any] = {"model": made_of, **given}
        self.kinds = kinds_of(model, plan.temperature)

    def kept(self, name: str, made_of: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A cell from its file, if it was made from the same; else made and written."""
        path, made_of = self.folder / f"{name}.json", {**self.made_of, **made_of}
        if path.is_file():
            try:
                found = json_object(path.read_bytes(), str(path))
                if found["made_of"] == made_of:
                    return found["cell"]
            except (SpinloomError, KeyError):
                say(f"{path}: damaged; made again")
        cell = json.loads(files.to_json(make()))
        with files.written_whole(path) as temporary:
            temporary.write_text(files.to_json({"made_of": made_of, "cell": cell}, indent=1), encoding="utf-8")
        return cell

    def settings(self, task: Tested, kind: Kind, nodes: int) -> Settings:
        """Of a kind of node for a task: tuned, or those of fewer nodes with a penalty of its own."""
        at = min(nodes, self.plan.tune_at)
        made_of = {"nodes": at, "selection": list(SELECTION)}
        plan = self.plan
        tried = candidates(kind, plan.budget, SELECTION[0], plan.virtual, plan.levels)
        found = self.kept(f"tuned.{task.name}.{kind.name}.{at}", made_of, lambda: asdict(tune(task, kind, at, tried)))
        if nodes == at:
            return Settings(**found)
        made_of = {**made_of, "nodes": nodes, "of": at}
        return Settings(
            **self.kept(
                f"ridge.{task.name}.{kind.name}.{nodes}",
                made_of,
                lambda: asdict(ridge_again(task, kind, nodes, Settings(**found))),
            )
        )

    def cell(self, task: Tested, kind: str, nodes: int, tuned: Tested | None = None) -> dict[str, Any]:
        """Figures of all seeds."""
        seeds = list(range(self.plan.seeds))

        def make() -> dict[str, Any]:
            if kind in self.kinds:
                settings = self.settings(tuned or task, self.kinds[kind], nodes)
                found = figures(task, self.kinds[kind], nodes, [settings], seeds, (settings.ridge,)).ravel().tolist()
                return told(task, found, asdict(settings))
            if isinstance(task, FreeRun):
                return {}
            return told(task, without_nodes(task, nodes if kind == "register" else 1, nodes, seeds), None)

        return self.kept(f"{task.name}.{kind}.{nodes}", {"nodes": nodes, "seeds": seeds}, make)

    def information_cell(self, kind: str, nodes: int) -> dict[str, Any]:
        """Information processing capacity, with the settings for NARMA-10."""
        seeds = list(range(self.plan.seeds))

        def make() -> dict[str, Any]:
            settings = None
            if kind in self.kinds:
                settings = self.settings(TASKS["narma10"], self.kinds[kind], nodes)
            found = [self._information(kind, nodes, settings, seed) for seed in seeds]
            cell = told(None, [one["total"] for one in found], None if settings is None else asdict(settings))
            degrees = {str(k): float(np.mean([one["degrees"][k] for one in found])) for k in REACHES}
            return {**cell, "degrees": degrees, "threshold": found[0]["threshold"]}

        return self.kept(f"{INFORMATION}.{kind}.{nodes}", {"nodes": nodes, "seeds": seeds}, make)

    def _information(self, kind: str, nodes: int, settings: Settings | None, seed: int) -> dict[str, Any]:
        u = uniform(WASHOUT + INFORMATION_SAMPLES, np.random.default_rng([seed, 10]))
        if settings is None:
            x = delayed(u, nodes if kind == "register" else 1)
        else:
            one = self.kinds[kind]
            weights = network(one, nodes, [settings], [seed], 1)
            x = drive(one.with_leaks([settings.leak]), weights, u, settings.reading, seed=seed)[0][:, 0]
        return information(x, u, WASHOUT)._asdict()

    def full_cell(self, task: Tested | str, tuned: Tested, nodes: int, choice: Choice) -> dict[str, Any]:
        """One network with every junction in full micromagnetics on a sample of the test, beside the reduced ones."""
        samples, seed = self.plan.full, 0

        def make() -> dict[str, Any]:
            kind = self.kinds["junctions"]
            settings = self.settings(tuned, kind, nodes)
            one = FullRun(self.model, self.plan.temperature, kind, nodes, settings, samples, choice, seed)
            return one.run(task)

        made_of = {"nodes": nodes, "seed": seed, "samples": samples, "engine": choice.name}
        return self.kept(f"full.{about(task)['task']}.{nodes}", made_of, make)


def told(task: Tested | None, values: list[float], settings: dict[str, Any] | None) -> dict[str, Any]:
    """A cell: mean over seeds with its interval, and the worst seed."""
    higher = True if task is None else task.higher
    worst = (min if higher else max)(values)
    return {**interval(np.array(values)), "worst": worst, "seeds": len(values), "values": values, "settings": settings}


def about(task: Tested | str) -> dict[str, Any]:
    """What a task is called, what is told of it, and whether more of that is better."""
    if isinstance(task, str):
        return {"task": task, "figure": "capacity", "higher": True}
    return {"task": task.name, "figure": task.figure, "higher": task.higher}


def in_full(names: tuple[str, ...]) -> list[tuple[Tested | str, Tested]]:
    """What runs in full micromagnetics, each with what its settings are chosen on; of recognition, one condition."""
    told: list[tuple[Tested | str, Tested]] = []
    for name in names:
        if name in HEARD:
            told.append((Listening(name, classes=HEARD_CLASSES, noise=HEARD_NOISE), Listening(name)))
        elif name == INFORMATION:
            told.append((name, TASKS["narma10"]))
        else:
            told.append((ONE_CONDITION[name], ONE_CONDITION[name]))
    return told


def rows_of(plan: Plan) -> list[tuple[Tested | str, Tested | None, str, int]]:
    """All cells of a table: task, the one that it is tuned on if that is another, kind of node, nodes."""
    rows: list[tuple[Tested | str, Tested | None, str, int]] = []
    for name in plan.tasks:
        for nodes in plan.nodes:
            if name in (*HEARD, Vowels.name) and nodes > HEARD_AT_MOST:
                continue
            tested: list[Any] = list(conditions(name)) if name in HEARD else [ONE_CONDITION.get(name, name)]
            tuned = Listening(name) if name in HEARD else None
            for task in tested:
                for kind in KINDS:
                    if kind == "register" and not (isinstance(task, Task) or task == INFORMATION):
                        continue
                    if kind == "input" and isinstance(task, FreeRun):
                        continue
                    rows.append((task, tuned, kind, nodes))
    return rows


def bench_stage(
    model: CalibratedModel, source: Path, plan: Plan, out: Path, choice: Choice | None = None
) -> dict[str, Any]:
    """The whole table, and its files: ``bench.csv``, ``bench.json``, ``bench.md``, ``bench.svg``.

    Parameters
    ----------
    model : CalibratedModel
    source : path
        of the model
    plan : Plan
    out : path
        folder; what was computed there from the same model and plan is not computed again
    choice : Choice, optional
        engine of the full micromagnetics, if the plan has any

    Returns
    -------
    result : dict
        ``rows``, ``full``, the plan and what made it
    """
    from spinloom.workflows.bench_tables import write_tables

    with files.claimed(out):
        bench = Bench(model, plan, out, files.digest(source))
        rows, table = rows_of(plan), []
        bar = progress("benchmarks", len(rows)) if rows else nullcontext(lambda n: None)
        with bar as done:
            for task, tuned, kind, nodes in rows:
                if isinstance(task, str):
                    cell = bench.information_cell(kind, nodes)
                else:
                    cell = bench.cell(task, kind, nodes, tuned)
                table.append({**about(task), "kind": kind, "nodes": nodes, **cell})
                done(1)
        full = []
        if plan.full and choice is not None:
            for one, chosen_on in in_full(plan.tasks):
                cell = bench.full_cell(one, chosen_on, plan.nodes[0], choice)
                full.append({**about(one), "nodes": plan.nodes[0], "unit": unit(one), **cell})
        result = {
            "model": source.name,
            "device": model.card.name,
            "temperature": model.temperature if plan.temperature is None else plan.temperature,
            "plan": plan.model_dump(mode="json"),
            "selection_seeds": list(SELECTION),
            "rows": table,
            "full": full,
            **stamp(),
        }
        write_tables(result, out)
    return result
