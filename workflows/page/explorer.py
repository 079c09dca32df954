"""Many points of a search or a sweep: axes and colour that can be chosen, and all of them in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bokeh.model import Model
from bokeh.models import Column, ColumnDataSource, HoverTool, Range1d, Span
from bokeh.palettes import Category10_10, Viridis256

from spinloom.workflows.page.plots import FULL, TARGET, choose, frame_source, plot, sort_by, span, table, when

DECADES = 2.0
"""A column of positive numbers that reaches over more decades than this is shown on a logarithmic scale."""
_INK = "ink of "

_AXES = """
const fit = (range, values, log) => {
  const some = Array.from(values).filter(Number.isFinite)
  const low = Math.min(...some), high = Math.max(...some)
  const room = log ? (high / low) ** 0.04 : 0.04 * (high - low) || 0.5
  const [start, end] = log ? [low / room, high * room] : [low - room, high + room]
  if (some.length) range.setv({start, end, reset_start: start, reset_end: end})
}
for (const [way, select] of [["x", across], ["y", up]]) shown.data[way] = shown.data[select.value]
shown.data.ink = shown.data[colour.value]
shown.change.emit()
fit(plots[0].x_range, shown.data.x, logs.includes(across.value))
fit(plots[0].y_range, shown.data.y, logs.includes(up.value))
const number = (logs.includes(across.value) ? 2 : 0) + (logs.includes(up.value) ? 1 : 0)
plots.forEach((plot, i) => {
  plot.visible = i === number
  for (const axis of plot.below) axis.axis_label.text = across.value
  for (const axis of plot.left) axis.axis_label.text = up.value
})
"""


class Start(NamedTuple):
    """What is shown first: columns along the axes, and the one that colours the points."""

    across: str
    up: str
    colour: str


class Explorer(NamedTuple):
    """Models of a page by name: ``across, up, colour, sort, scatter, table``; and what colours stand for."""

    plots: dict[str, Model]
    keys: dict[str, dict[str, str]]


def explorer(
    points: pd.DataFrame,
    across: Sequence[str],
    up: Sequence[str],
    start: Start,
    colours: Mapping[str, Mapping[str, str]] | None = None,
    *,
    line: float | None = None,
    marked: Mapping[str, Any] | None = None,
) -> Explorer:
    """A plot of many points whose axes and colour can be chosen, and a table of them.

    Points that are picked in one are picked in the other.

    Parameters
    ----------
    points : pandas.DataFrame
        a row for each; the names of its columns are what a reader sees
    across, up : sequence of str
        columns of numbers that may be put along the axes
    start : Start
    colours : mapping of str to mapping of str to str, optional
        colours of the words in a column, where they are not to be chosen here
    line : float, optional
        height of a line, such as what is good enough
    marked : mapping of str to value, optional
        a point to be found again: the columns that tell it

    Returns
    -------
    found : Explorer
        ``keys`` has what every word of a column is coloured by; a column of numbers goes from dark to bright

    Examples
    --------
    >>> points = pd.DataFrame({"J_max": [1e10, 1e12], "error": [0.1, 0.2], "state": ["works", "dead"]})
    >>> found = explorer(points, ["J_max"], ["error"], Start("J_max", "error", "state"))
    >>> sorted(found.plots), list(found.keys["state"])
    (['across', 'colour', 'scatter', 'sort', 'table', 'up'], ['works', 'dead'])
    """
    source = frame_source(points.reset_index(drop=True))
    columns = {str(name): str(name) for name in points.columns}
    keys: dict[str, dict[str, str]] = {}
    for name in columns:
        source.data[_INK + name], key = _inks(source.data[name], (colours or {}).get(name))
        if key:
            keys[name] = key
    chosen = {
        "across": choose("Horizontal", list(across), start.across),
        "up": choose("Vertical", list(up), start.up),
        "colour": choose("Colour", [(_INK + name, name) for name in columns], _INK + start.colour),
    }
    for way, name in (("x", start.across), ("y", start.up), ("ink", _INK + start.colour)):
        source.data[way] = source.data[name]
    logs = sorted({name for name in (*across, *up) if _wide(np.asarray(source.data[name], dtype=float))})
    plots = _plots(source, columns, start, logs, line, marked)
    when(_AXES, *chosen.values(), shown=source, plots=plots, logs=logs, **chosen)
    grid, seen = table(source, columns), Column(*plots, sizing_mode="stretch_width")
    return Explorer({**chosen, "scatter": seen, "table": grid, "sort": sort_by(grid)}, keys)


def _plots(
    source: ColumnDataSource,
    columns: Mapping[str, str],
    start: Start,
    logs: list[str],
    line: float | None,
    marked: Mapping[str, Any] | None,
) -> list[Any]:
    """The same points on linear and logarithmic axes, of which one is seen: a plot cannot change its own."""
    plots = []
    # Ranges are told, not found by the plots: those that are not seen would find none.
    x_range, y_range = (_range(source.data[name], name in logs) for name in (start.across, start.up))
    for x in (False, True):
        for y in (False, True):
            kinds: Any = {"x_axis_type": "log" if x else "linear", "y_axis_type": "log" if y else "linear"}
            kinds |= {"x_range": x_range, "y_range": y_range}
            one = plot(start.across, start.up, height=400, tools="box_zoom,pan,wheel_zoom,lasso_select,tap,save,reset",
                       active_tap="tap", **kinds)  # fmt: skip
            drawn = one.scatter("x", "y", source=source, size=8, fill_color="ink", fill_alpha=0.8, line_color="ink",
                                nonselection_fill_alpha=0.15, nonselection_line_alpha=0.15)  # fmt: skip
            one.add_tools(HoverTool(renderers=[drawn], tooltips=[(name, f"@{{{name}}}") for name in _told(columns)],
                                    limit=1, point_policy="snap_to_data"))  # fmt: skip
            if marked is not None:
                _ring(one, source, marked)
            if line is not None:
                one.add_layout(Span(location=line, dimension="width", line_color=TARGET, line_dash="dashed"))
            one.visible = (x, y) == (start.across in logs, start.up in logs)
            plots.append(one)
    return plots


def _range(values: Any, log: bool) -> Range1d:
    """A range with room on both sides."""
    numbers = np.asarray(values, dtype=float)
    some = numbers[np.isfinite(numbers)]
    low, high = (some.min(), some.max()) if len(some) else (0.1, 1.0)
    room = (high / low) ** 0.04 if log else 0.04 * (high - low) or 0.5
    return span(low / room, high * room) if log else span(low - room, high + room)


def _told(columns: Mapping[str, str]) -> list[str]:
    """Columns whose values a box of values can look up: braces end a name there."""
    return [name for name in columns if not set("{}") & set(name)][:16]


def _ring(one: Any, source: ColumnDataSource, marked: Mapping[str, Any]) -> None:
    """A square around the points that are marked."""
    rows = np.ones(len(source.data["x"]), dtype=bool)
    for name, value in marked.items():
        rows &= np.asarray(source.data[name]) == value
    # A column of its own, so that the square follows when other axes are chosen.
    source.data["ring"] = np.where(rows, 18.0, 0.0)
    one.scatter("x", "y", source=source, size="ring", marker="square", fill_alpha=0, line_color=FULL, line_width=2,
                line_alpha=1.0, nonselection_line_alpha=1.0)  # fmt: skip


def _wide(values: np.ndarray) -> bool:
    """Whether numbers need a logarithmic scale, and can have one."""
    some = values[np.isfinite(values)]
    return bool(len(some) and some.min() > 0 and np.log10(some.max() / some.min()) > DECADES)


def _inks(values: Any, given: Mapping[str, str] | None) -> tuple[list[str], dict[str, str]]:
    """A colour for every row, and what words stand for."""
    if isinstance(values, list):
        words = list(given or dict.fromkeys(values))
        key = {word: (given or {}).get(word, Category10_10[i % 10]) for i, word in enumerate(words)}
        return [key.get(value, TARGET) for value in values], key
    numbers = np.asarray(values, dtype=float)
    numbers = np.log10(numbers) if _wide(numbers) else numbers
    some = numbers[np.isfinite(numbers)]
    low, high = (some.min(), some.max()) if len(some) else (0.0, 1.0)
    share = (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)
    return [Viridis256[int(20 + 215 * s)] if np.isfinite(s) else TARGET for s in share], {}
