"""Stage: a sweep. Every point is a run of its own, and all figures come together in one table."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from spinloom.device_models import files
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import versions
from spinloom.device_models.texts import json_object
from spinloom.workflows import status
from spinloom.workflows.console import say, spoken_to, told_warnings
from spinloom.workflows.cost import as_asked, measured_speed, stage_costs, time_words
from spinloom.workflows.page.sweep import sweep_page
from spinloom.workflows.settings import load_experiment
from spinloom.workflows.sweep_plan import Point, Sweep, read_sweep, write_point
from spinloom.workflows.sweep_table import figures_of, write_table
from spinloom.workflows.workers import open_workers

INPUTS, POINTS = "inputs", "points"
FAILED = "failed"
"""Outcome of a point that ended with an error; others are those of a run."""
TABLE_S = 20.0
"""Between two writings of the table while points are finished."""
SHOWN = 10


def run_point(task: dict[str, Any]) -> dict[str, Any]:
    """Run one point, unless its result is there, and keep the result; what a worker is given.

    Parameters
    ----------
    task : dict
        ``experiment`` and ``folder`` (paths), ``made_from`` (a digest), ``options`` of
        :func:`spinloom.workflows.run.run_experiment`

    Returns
    -------
    figures : dict
        of :func:`spinloom.workflows.sweep_table.figures_of`
    """
    from spinloom.workflows.run import run_experiment

    folder, began = Path(task["folder"]), time.perf_counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with spoken_to(folder.with_suffix(".log")), told_warnings():
        summary = run_experiment(Path(task["experiment"]), folder, **task["options"])
    figures = {**figures_of(summary), "wall_s": time.perf_counter() - began}
    # By whoever computed it, so that it is there even if nobody waits for it any more.
    with files.written_whole(folder.with_suffix(".json")) as temporary:
        temporary.write_text(files.to_json({"made_from": task["made_from"], "figures": _told(figures)}, indent=1))
    return figures


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity, which stands for a network that diverged."""
    return {name: "inf" if value == math.inf else value for name, value in figures.items()}


def _kept(task: dict[str, Any]) -> dict[str, Any] | None:
    try:
        path = Path(task["folder"]).with_suffix(".json")
        found = json_object(path.read_bytes(), str(path))
        if found["made_from"] != task["made_from"]:
            return None
        return {name: math.inf if value == "inf" else value for name, value in found["figures"].items()}
    except (OSError, SpinloomError, KeyError, AttributeError):
        return None


def sweep_points(path: Path, first: int | None = None) -> tuple[Sweep, list[Point]]:
    """A sweep and its points, or the first of them.

    Raises
    ------
    SpinloomError
        for a sweep that cannot be understood, or fewer than one point
    """
    sweep = read_sweep(path)
    if first is not None and first < 1:
        raise SpinloomError(f"points: expected 1 or more, got {first}")
    return sweep, sweep.points()[:first]


def sweep_stage(
    path: Path,
    out: Path,
    *,
    first: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Run all points that are not done, and write the table.

    Parameters
    ----------
    path : path
        of an experiment with a table ``[sweep]``
    out : path
        folder of the results
    first : int, optional
        how many points to run; all if not given
    workers, scheduler : optional
        as :func:`spinloom.workflows.workers.open_workers` takes them
    options : optional
        as :func:`spinloom.workflows.run.run_experiment` takes them

    Returns
    -------
    result : dict
        ``points, kept, failed, verified, outcomes, table, page, out``; no page where no point gave a number

    Raises
    ------
    UnfinishedError
        if the workers are lost; what is finished is in the table
    """
    sweep, points = sweep_points(path, first)
    _claim(out)
    with files.claimed(out / POINTS), status.told(out):
        rows, tasks = _prepared(sweep, points, out, options)
        kept = sum(row is not None for row in rows)
        if kept:
            say(f"{kept} of {len(points)} points: done before, kept")
        table = out / "sweep.nc"
        told, advance = time.monotonic(), status.follow(f"{len(tasks)} points", len(tasks))
        try:
            for number, row in _done(points, tasks, workers, scheduler):
                rows[number] = row
                advance(1)
                if time.monotonic() - told > TABLE_S:
                    write_table(sweep, points, rows, table)
                    told = time.monotonic()
        finally:
            # Whatever ends a sweep, its table holds all that is finished.
            write_table(sweep, points, rows, table)
    failed = [(point, row) for point, row in zip(points, rows, strict=True) if row and row["outcome"] == FAILED]
    for point, row in failed[:SHOWN]:
        say(f"failed: point {point.name} ({point.words}): {row['error']}")
    if len(failed) > SHOWN:
        say(f"... and {len(failed) - SHOWN} more; see {table.with_suffix('.csv')}")
    outcomes = [row["outcome"] for row in rows if row]
    page = _page(sweep, table)
    return {
        "points": len(points),
        "kept": kept,
        "failed": len(failed),
        "verified": outcomes.count("verified"),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        "table": str(table.with_suffix(".csv")),
        "page": None if page is None else str(page),
        "out": str(out),
    }


def _page(sweep: Sweep, table: Path) -> Path | None:
    """The table as a page beside it."""
    points, path = pd.read_csv(table.with_suffix(".csv")), table.with_suffix(".html")
    figures = [name for name in points if name not in ("point", "error", *sweep.fields)]
    name = str(sweep.experiment.get("name", "sweep"))
    try:
        text = sweep_page(
            points.replace([math.inf, -math.inf], math.nan),
            sweep.fields,
            figures,
            name,
            kept=[table.with_suffix(".csv").name, table.name],
        )
    except SpinloomError as why:
        say(f"no page: {why}")
        return None
    with files.written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(f"page: {path}")
    return path


def _claim(out: Path) -> None:
    """Take an empty folder, or one that an earlier sweep took."""
    if out.exists() and not out.is_dir():
        raise SpinloomError(f"{out}: is a file; choose a folder for the results")
    if out.is_dir() and not (out / POINTS).is_dir() and any(out.iterdir()):
        raise SpinloomError(f"{out}: holds other files; choose an empty folder for the results")
    files.check_writable(out / "sweep.nc")


def _prepared(
    sweep: Sweep, points: list[Point], out: Path, options: dict[str, Any]
) -> tuple[list[dict[str, Any] | None], dict[int, dict[str, Any]]]:
    """Rows of points that are done or cannot be, and what is to be done for the others."""
    rows: list[dict[str, Any] | None] = [None] * len(points)
    tasks: dict[int, dict[str, Any]] = {}
    for k, (point, written) in enumerate(zip(points, written_points(sweep, points, out / INPUTS), strict=True)):
        if isinstance(written, str):
            rows[k] = {"outcome": FAILED, "error": written}
            continue
        task = {"experiment": str(written.resolve()), "folder": str((out / POINTS / point.name).resolve())}
        tasks[k] = {**task, "options": options, "made_from": _made_from(written, options)}
        rows[k] = _kept(tasks[k])
        if rows[k] is not None:
            del tasks[k]
    return rows, tasks


def written_points(sweep: Sweep, points: list[Point], folder: Path) -> Iterator[Path | str]:
    """The experiment of each point, read once to see whether it is sound, or what is wrong with it.

    Raises
    ------
    SpinloomError
        if the first point is wrong: then it is the sweep, most likely
    """
    for point in points:
        try:
            path = write_point(sweep, point, folder)
            load_experiment(path)
        except SpinloomError as error:
            if point is points[0]:
                raise
            yield str(error)
        else:
            yield path


def _made_from(path: Path, options: dict[str, Any]) -> str:
    """Digest of all that a point depends on."""
    experiment, card = load_experiment(path)
    series = {Path(task).name: files.digest(task) for task in experiment.generate.tasks if task.endswith(".csv")}
    given = experiment.model_dump(mode="json", exclude={"generate": {"tasks"}})
    tasks = [Path(task).name for task in experiment.generate.tasks]
    source = [given, tasks, series, card.to_json(), options, versions().get("spinloom")]
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()


def _done(
    points: list[Point], tasks: dict[int, dict[str, Any]], count: int | None, scheduler: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of points as they are finished, each told with the time that is left."""
    if not tasks:
        return
    numbers, began = list(tasks), time.monotonic()
    with open_workers(count, scheduler, len(tasks)) as workers:
        say(f"{len(tasks)} points to run, {max(workers.count, 1)} at a time; what each says is in its .log")
        for done, part in enumerate(workers.map(run_point, list(tasks.values())), start=1):
            point = points[numbers[part.number]]
            row = {"outcome": FAILED, "error": part.error} if part.error else part.value
            left = (time.monotonic() - began) / done * (len(tasks) - done)
            say(
                f"point {point.name} ({point.words}): {row['outcome']}; {done} of {len(tasks)}"
                + (f", about {left:.0f} s left" if left else "")
            )
            yield numbers[part.number], row


def plan_stage(path: Path, first: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Points of a sweep and what they cost, without running them.

    Parameters
    ----------
    path, first : optional
        as :func:`sweep_stage` takes them
    options : dict
        for each run

    Returns
    -------
    plan : dict
        ``points``, of each ``point, values, device_ns, seconds`` or ``error``; ``seconds`` of all on one worker, at the
        speed that the first point's device has here, ``s_per_device_ns``
    """
    sweep, points = sweep_points(path, first)
    rows: list[dict[str, Any]] = []
    speed = None
    with tempfile.TemporaryDirectory() as folder:
        for point, written in zip(points, written_points(sweep, points, Path(folder)), strict=True):
            row = {"point": point.name, "values": point.values}
            if isinstance(written, str):
                rows.append({**row, "error": written})
                continue
            experiment, card = as_asked(*load_experiment(written), options)
            if speed is None:
                choice = choose_engine(experiment.engine, options.get("oommf"))
                speed = 0.0 if choice.recorded else measured_speed(choice, card, experiment.calibration.tick)
            costs = stage_costs(experiment, card.conditions.temperature)
            seconds = sum(one.seconds(speed, experiment.calibration.tick) for one in costs)
            rows.append({**row, "device_ns": sum(one.device_ns for one in costs if one.full), "seconds": seconds})
    return {"points": rows, "s_per_device_ns": speed, "seconds": sum(row.get("seconds", 0.0) for row in rows)}


def plan_table(plan: dict[str, Any], shown: int = 50) -> Table:
    """A plan for a terminal: the first points, and the sum of all."""
    table = Table(title=f"{len(plan['points'])} points", box=None, title_justify="left")
    for heading in ("point", "values", "device-ns", "seconds here, about"):
        table.add_column(heading, justify="left" if heading in ("point", "values") else "right")
    for row in plan["points"][:shown]:
        words = Text(Point(0, row["values"]).words)
        if "error" in row:
            table.add_row(row["point"], words, "", Text(row["error"]))
        else:
            table.add_row(row["point"], words, f"{row['device_ns']:.0f}", f"{row['seconds']:.0f}")
    if len(plan["points"]) > shown:
        table.add_row("...", f"and {len(plan['points']) - shown} more")
    table.add_row("all", "one after the other", "", time_words(plan["seconds"]))
    return table
