"""The page of a sweep: any table of parameters and of what came out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.page.explorer import Start, explorer
from spinloom.workflows.page.frame import render


def sweep_page(
    points: pd.DataFrame,
    parameters: Sequence[str],
    figures: Sequence[str],
    title: str,
    words: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> str:
    """A page of a tidy table: a plot whose axes and colour can be chosen, and the table, which can be sorted.

    Parameters
    ----------
    points : pandas.DataFrame
        a row for each point
    parameters : sequence of str
        columns that were set; numbers or words
    figures : sequence of str
        columns of what came out; at least one of numbers
    title : str
    words : sequence of str
        paragraphs above the plot
    kept : sequence of str
        names of the files beside the page that hold the same table, for who reads it without scripts

    Returns
    -------
    page : str
        HTML, one file that opens without a network

    Raises
    ------
    SpinloomError
        if the table is empty, a column is not there, or no figure is a number

    Examples
    --------
    >>> points = pd.DataFrame({"radius": [0.5, 1.0], "nrmse": [0.1, 0.02]})
    >>> page = sweep_page(points, ["radius"], ["nrmse"], "Radius")
    >>> page.startswith("<!doctype html>"), "<h1>Radius</h1>" in page
    (True, True)
    """
    names = [*parameters, *figures]
    missing = [name for name in names if name not in points.columns]
    if missing:
        raise SpinloomError(f"points: expected columns {', '.join(names)}, got none called {', '.join(missing)}")
    if not len(points):
        raise SpinloomError("points: expected at least one row, got an empty table")
    shown = points[list(dict.fromkeys(names))]
    numbers = [name for name in shown.columns if is_numeric_dtype(shown[name]) and not is_bool_dtype(shown[name])]
    up = [name for name in numbers if name in figures]
    if not up:
        raise SpinloomError(f"figures: expected at least one column of numbers, got {', '.join(figures) or 'none'}")
    set_to = [name for name in parameters if name in numbers] or numbers
    varied = [name for name in set_to if shown[name].nunique() > 1] or set_to
    others = [name for name in parameters if name != varied[0] and shown[name].nunique() > 1]
    start = Start(varied[0], up[0], next(iter([*others, up[0]])))
    found = explorer(shown, [*set_to, *(name for name in numbers if name not in set_to)], [*up, *set_to], start)
    told = {"title": title, "words": list(words), "kept": list(kept), "points": len(shown), "keys": found.keys}
    return render("sweep.html", found.plots, parameters=list(parameters), figures=list(figures), **told)
