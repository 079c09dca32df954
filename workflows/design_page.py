"""What a design leaves: the card and the experiment of the choice, and the page with its maps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.ubermag import card_toml
from spinloom.networks.tasks import task_name
from spinloom.workflows import figures
from spinloom.workflows.report import card_rows, data_uris, environment
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
    wish, tasks = result["wish"], [task_name(task) for task in result["wish"]["tasks"]]
    pictures: dict[str, Any] = {"map": figures.map_of_design(rows, tasks, result["chosen"])}
    pictures["cost"] = figures.cost_of_design(rows, result["judged"], result["chosen"])
    page = (
        environment()
        .get_template("design.html")
        .render(r=result, w=wish, tasks=tasks, card=card_rows(card), pictures=data_uris(pictures))
    )
    with files.written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
