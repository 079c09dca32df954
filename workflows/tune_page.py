"""The page of a tuning: the verdict, the map of what was tried, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.networks.tasks import task_name
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows import figures
from spinloom.workflows.report import card_rows, data_uris, environment
from spinloom.workflows.search import SEEDS, Candidate, goal


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
    rows = [candidate.row(model.tick) for candidate in candidates]
    names = [task_name(task) for task in tasks]
    pictures: dict[str, Any] = {"reach": figures.reach(model)}
    if rows:
        pictures["maps"] = {name: figures.map_of_tuning(rows, name, result["period_s"]) for name in names}
    page = (
        environment()
        .get_template("tune.html")
        .render(
            r=result,
            card=card_rows(card),
            model=model,
            goals={task_name(task): goal(task) for task in tasks},
            best=sorted(rows, key=lambda row: (-row["rung"], row["score"]))[:10],
            names=names,
            seeds=SEEDS,
            pictures=data_uris(pictures),
        )
    )
    with files.written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
