"""The table of a sweep: a row for each point, with what was varied and what its run found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spinloom.device_models import files
from spinloom.workflows.sweep_plan import Point, Sweep

KIND, FORMAT = "sweep", 1
TEXTS = ("outcome", "error", "model")


def figures_of(summary: dict[str, Any]) -> dict[str, Any]:
    """What a run's summary says, as numbers side by side.

    Of several chips, figures are medians, and ``_worst`` is that of the worst chip. A network that diverged has an
    infinite error; what did not run in full micromagnetics has none.

    Parameters
    ----------
    summary : dict
        of :func:`spinloom.workflows.summary.summarise`

    Returns
    -------
    figures : dict
        ``outcome, error, model, reach, holdout_nrmse``; for each task ``TASK.nrmse_reduced, .nrmse_reduced_worst,
        .nrmse_full, .nrmse_full_worst``; ``recognise.accuracy_reduced, .accuracy_full, .right_full, .of_full``
    """
    model, heard = summary["reduced_model"], summary["recognise"]
    found = {"outcome": summary["outcome"], "error": "", "model": model["verdict"]}
    found |= {"reach": model["reach"], "holdout_nrmse": model["holdout_nrmse"]}
    for name, task in summary["generate"].items():
        for key in ("nrmse_reduced", "nrmse_full"):
            if key in task:
                each = task.get("chips", {}).get(key) or [task[key]]
                found[f"{name}.{key}"] = _error(task[key])
                found[f"{name}.{key}_worst"] = max(map(_error, each))
    for key in ("accuracy_reduced", "accuracy_full", "right_full", "of_full"):
        if heard.get(key) is not None:
            found[f"recognise.{key}"] = heard[key]
    return found


def _error(value: float | None) -> float:
    return math.inf if value is None or not math.isfinite(value) else float(value)


def as_table(sweep: Sweep, points: list[Point], rows: list[dict[str, Any] | None]) -> pd.DataFrame:
    """One row for each point that is over; the columns are the fields that are varied, then the figures.

    A vector or another value that is no number is written as JSON.
    """
    names: dict[str, None] = dict.fromkeys(("outcome", "error"))
    for row in rows:
        names |= dict.fromkeys(row or ())
    found = [
        {
            "point": point.number,
            **{f: v if isinstance(v, int | float | str) else json.dumps(v) for f, v in point.values.items()},
            **{name: row.get(name, "" if name == "error" else None) for name in names},
        }
        for point, row in zip(points, rows, strict=True)
        if row is not None
    ]
    return pd.DataFrame(found, columns=["point", *sweep.fields, *names])


def write_table(sweep: Sweep, points: list[Point], rows: list[dict[str, Any] | None], path: Path) -> None:
    """Write the table as NetCDF, and as CSV beside it.

    Parameters
    ----------
    sweep : Sweep
    points : list of Point
    rows : list of dict or None
        figures of each point; None where it is not over
    path : path
        of the NetCDF
    """
    table = as_table(sweep, points, rows)
    with files.written_whole(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    figures = [name for name in table if name not in ("point", *sweep.fields)]
    dataset = xr.Dataset(
        {str(name): ("point", _plain(table[name])) for name in table if name != "point"},
        coords={"point": ("point", table["point"].to_numpy(dtype=int))},
        attrs={
            "parameters": json.dumps(sweep.fields),
            "figures": json.dumps(figures),
            "experiment": json.dumps(sweep.experiment, default=str),
            "samples": sweep.samples,
            "seed": sweep.seed,
        },
    )
    files.save(dataset, path, KIND, FORMAT)


def _plain(column: pd.Series) -> np.ndarray:
    """Numbers as such, and all else as text; what is missing is NaN, or an empty text."""
    numbers = pd.to_numeric(column, errors="coerce")
    if column.name not in TEXTS and column.notna().equals(numbers.notna()):
        return numbers.to_numpy(dtype=float)
    return column.fillna("").astype(str).to_numpy(dtype=object)


def load_table(path: str | Path) -> xr.Dataset:
    """Read the table of a sweep.

    Raises
    ------
    SpinloomError
        if it is missing, damaged or of another kind
    """
    return files.load(path, KIND, FORMAT)
