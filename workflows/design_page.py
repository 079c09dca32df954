"""What a design leaves: the card and the experiment of the choice, and the page with its maps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.ubermag import card_toml
from spinloom.networks.tasks import task_name
from spinloom.workflows.page.design_map import design_map
from spinloom.workflows.page.explorer import Explorer, Start, explorer
from spinloom.workflows.page.frame import render, write
from spinloom.workflows.report import card_rows
from spinloom.workflows.settings import Experiment, experiment_toml, override


def write_choice(card: DeviceCard, experiment: Experiment, words: str, folder: Path) -> Path:
    """Write ``card.toml`` and ``experiment.toml``, which ``spinloom run`` takes, and the CSV of each task beside them.

    Parameters
    ----------
    card : DeviceCard
    experiment : Experiment
        with ``device = "card.toml"``
    words : str
        a line of comment
    folder : path

    Returns
    -------
    path : path
        of the experiment
    """
    path = folder / "experiment.toml"
    tasks = [_beside(task, folder) for task in experiment.generate.tasks]
    experiment = override(experiment, generate=override(experiment.generate, tasks=tasks).model_dump())
    for where, text in (
        (folder / "card.toml", f"# {words}\n{card_toml(card)}"),
        (path, experiment_toml(experiment, words)),
    ):
        with files.written_whole(where) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def _beside(task: str, folder: Path) -> str:
    """A task as an experiment in a folder names it: a CSV is copied there."""
    if not task.endswith(".csv"):
        return task
    source, copy = Path(task), folder / Path(task).name
    if source.resolve() != copy.resolve():
        with files.written_whole(copy) as temporary:
            shutil.copyfile(source, temporary)
    return copy.name


def draw_page(path: Path, card: DeviceCard, rows: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    path : path
    card : DeviceCard
        of the choice
    rows : list of dict
        of the map
    result : dict
        of :func:`spinloom.workflows.design.design_stage`
    """
    write(path, design_page(card, rows, result))


def design_page(card: DeviceCard, rows: list[dict[str, Any]], result: dict[str, Any]) -> str:
    """The text of the page; see :func:`draw_page`."""
    wish, tasks = result["wish"], [task_name(task) for task in result["wish"]["tasks"]]
    found = points_explorer(rows, result["judged"], tasks, result["chosen"])
    plots = {**found.plots, **design_map(rows, tasks, result["chosen"])}
    return render("design.html", plots, r=result, w=wish, tasks=tasks, card=card_rows(card), keys=found.keys)


def points_explorer(
    rows: list[dict[str, Any]], judged: list[dict[str, Any]], tasks: list[str], chosen: dict[str, Any]
) -> Explorer:
    """Every point of the map, and those that were judged closely: error against energy first."""
    given = pd.DataFrame([{**row, "judged": "map"} for row in rows] + [{**row, "judged": "closely"} for row in judged])
    given = given[given["stable"].astype(bool)]
    columns = {
        "nodes": ("N", 1.0),
        "diameter": ("diameter (nm)", 1e9),
        "thickness": ("thickness (nm)", 1e9),
        "voltage": ("voltage (V)", 1.0),
        "field": ("bias (torque fields)", 1.0),
        "period": ("period (ns)", 1e9),
        "score": ("largest error / asked", 1.0),
        **{f"nrmse_{task}": (f"error, {task}", 1.0) for task in tasks},
        "power": ("power (mW)", 1e3),
        "energy": ("energy per period (pJ)", 1e12),
    }
    points = pd.DataFrame({name: scale * given[key] for key, (name, scale) in columns.items()})
    score, at = "largest error / asked", "energy per period (pJ)"
    points[score] = points[score].clip(upper=10.0)
    points["judged"] = given["judged"]
    points = points.sort_values(score)
    numbers = [name for name in points.columns if name != "judged"]
    marked = {"N": chosen["nodes"], at: 1e12 * chosen["energy"], "judged": "closely"}
    errors = [score, *(f"error, {task}" for task in tasks)]
    up = [*errors, *(name for name in numbers if name not in errors)]
    across = [at, *(name for name in numbers if name != at)]
    return explorer(points, across, up, Start(at, score, "diameter (nm)"), line=1.0, marked=marked)
