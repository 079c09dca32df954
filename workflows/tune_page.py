"""The page of a tuning: the verdict, the map of what was tried, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from spinloom.device_models.card import DeviceCard
from spinloom.networks.measures import GENERATES
from spinloom.networks.tasks import task_name
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.page import device_plots
from spinloom.workflows.page.explorer import Explorer, Start, explorer
from spinloom.workflows.page.frame import render, write
from spinloom.workflows.page.plots import AMBER, FULL, GREEN, PURPLE, REDUCED, TARGET
from spinloom.workflows.report import card_rows
from spinloom.workflows.search import SEEDS, Candidate, goal

STATES = {"works": GREEN, "unstable": AMBER, "follows": REDUCED, "poor": PURPLE, "sings": FULL, "dead": TARGET}
"""Colours of what candidates of a tuning do."""
MOST_ERROR = 3.0
"""Larger errors are shown as this one: none of them means anything."""


def draw_page(
    path: Path,
    card: DeviceCard,
    model: CalibratedModel,
    candidates: list[Candidate],
    tasks: tuple[str, ...],
    result: dict[str, Any],
) -> None:
    """Write the page.

    Parameters
    ----------
    path : path
    card : DeviceCard
    model : CalibratedModel
    candidates : list of Candidate
    tasks : tuple of str
    result : dict
        of :func:`spinloom.workflows.tune.tune_stage`
    """
    write(path, tune_page(card, model, [candidate.row(model.tick) for candidate in candidates], tasks, result))


def tune_page(
    card: DeviceCard,
    model: CalibratedModel,
    rows: list[dict[str, Any]],
    tasks: tuple[str, ...],
    result: dict[str, Any],
) -> str:
    """The text of the page.

    Parameters
    ----------
    card : DeviceCard
    model : CalibratedModel
    rows : list of dict
        of :meth:`spinloom.workflows.search.Candidate.row`
    tasks : tuple of str
    result : dict
        of :func:`spinloom.workflows.tune.tune_stage`
    """
    names = [task_name(task) for task in tasks]
    tried = candidates_explorer(rows, names, result["settings"]) if rows else None
    return render(
        "tune.html",
        {"reach": device_plots.reach(model), **(tried.plots if tried else {})},
        r=result,
        card=card_rows(card),
        model=model,
        goals={task_name(task): goal(task) for task in tasks},
        names=names,
        keys={"state": STATES},
    )


def candidates_explorer(rows: list[dict[str, Any]], names: list[str], chosen: dict[str, Any] | None) -> Explorer:
    """What all candidates of a tuning do: error against period first, and whatever else is asked for.

    The error is that of the shape in free run, and of those that came not so far the one with the target fed back.
    """
    given = pd.DataFrame(rows)
    points = pd.DataFrame(
        {
            "candidate": given["candidate"],
            "seeds": [SEEDS[rung] for rung in given["rung"]],
            "score": given["score"],
            "period (ns)": 1e9 * given["period_s"],
            "share of reach": given["share"],
            "radius × gain": given["radius"],
            "feedback × gain": given["feedback"],
            **{name: given[name] for name in ("bias", "clock", "noise", "ridge") if name in given},
        }
    )
    for name in names:
        error = given[f"taught_{name}"]
        error = given[f"shape_{name}"].fillna(error) if f"shape_{name}" in given else error
        points[f"error, {name}"] = error.clip(1e-5, MOST_ERROR)
    for name in names:
        points[f"state, {name}"] = given[f"state_{name}"]
    points = points.sort_values(["seeds", "score"], ascending=[False, True])
    numbers = [name for name in points.columns if not name.startswith("state, ")]
    errors = [f"error, {name}" for name in names]
    marked = None
    if chosen is not None:
        same = {"radius × gain": "radius", "feedback × gain": "feedback", "bias": "bias"}
        marked = {column: chosen[name] for column, name in same.items() if name in chosen}
    start = Start("period (ns)", errors[0], f"state, {names[0]}")
    colours = {f"state, {name}": STATES for name in names}
    return explorer(points, numbers[3:], [*errors, *numbers[2:-len(names)]], start, colours, line=GENERATES,
                    marked=marked)  # fmt: skip
