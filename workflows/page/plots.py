"""The house style of figures on a page: plots, selectors and tables of bokeh, and what they do when they are used."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    DataTable,
    HoverTool,
    HTMLTemplateFormatter,
    InlineStyleSheet,
    Legend,
    LegendItem,
    PlainText,
    Range1d,
    Select,
    StringFormatter,
    TableColumn,
)
from bokeh.plotting import figure

TARGET, REDUCED, FULL = "#8d98a4", "#2a7fcf", "#d9513a"
"""Colours of the target, the reduced network and the network in full micromagnetics, on light and on dark."""
GREEN, AMBER, PURPLE = "#2f9c57", "#d08a2a", "#a884c4"

# Inside of what the library draws, the page's own style does not reach; its variables do.
_TABLE_CSS = """
:host { font-variant-numeric: tabular-nums; }
.bk-data-table { color: var(--ink); background: var(--paper); }
.slick-viewport, .slick-header, .slick-headerrow, .slick-pane-header { background: var(--paper) !important; }
.slick-header-columns { border-bottom: 1px solid var(--line) !important; }
.slick-header-column { background: var(--paper) !important; color: var(--ink) !important; font-weight: 600; }
.slick-header-column { border-color: var(--line) !important; }
.slick-row, .slick-cell { color: var(--ink) !important; border-color: var(--line) !important; }
.slick-row { background: var(--paper) !important; }
.slick-row.odd { background: var(--panel) !important; }
.slick-cell.selected { background: var(--mark) !important; }
.slick-cell.active { outline: 2px solid var(--accent); outline-offset: -2px; }
.slick-sort-indicator { filter: grayscale(1) opacity(.7); }
@media print { .slick-viewport { overflow: hidden !important; } }
"""
_TOOLS_CSS = "@media print { :host { visibility: hidden; } }"
_SELECT_CSS = """
label { color: var(--soft); font-size: .85rem; }
.bk-input {
  color: var(--ink) !important; background-color: var(--paper) !important; border: 1px solid var(--edge) !important;
  border-radius: 6px !important; min-height: 2.3rem; text-overflow: ellipsis; font-size: .95rem;
  appearance: auto !important; background-image: none !important; padding-right: .4rem !important;
}
.bk-input:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
"""
_BRIEF = """<%= value === null || isNaN(value) ? "–" : value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)
  ? value.toExponential(2) : Number(value.toPrecision(4)) %>"""


class Trace(NamedTuple):
    """A line of a plot: the column that it is of, its name in the legend, and how it is drawn."""

    column: str
    name: str
    colour: str
    width: float = 1.6
    alpha: float = 1.0
    dash: str = "solid"
    step: bool = False


def plot(x: str, y: str, *, height: int = 260, title: str = "", **options: Any) -> figure:
    """An empty plot as wide as the page lets it be; colours of its frame come from the page's style.

    Parameters
    ----------
    x, y : str
        labels of the axes, shown as they are, whatever is in them; none if empty
    height : int
        (pixels)
    title : str
    **options
        of :class:`bokeh.plotting.figure`
    """
    tools = "box_zoom,pan,wheel_zoom,save,reset" if height > 240 else "box_zoom,pan,reset"
    given: dict[str, Any] = {"tools": tools, "active_scroll": None, **options}
    given |= {"active_drag": "box_zoom"} if "box_zoom" in given["tools"] else {}
    found = figure(height=height, sizing_mode="stretch_width", min_width=200, min_border_left=68, **given)
    # Plain text, since what stands between dollars would be taken for an equation.
    found.xaxis.axis_label = PlainText(text=x) if x else None
    found.yaxis.axis_label = PlainText(text=y) if y else None
    if title:
        found.title.text = PlainText(text=title)
    found.toolbar.logo = None
    found.toolbar.stylesheets = [InlineStyleSheet(css=_TOOLS_CSS)]
    found.outline_line_color = None
    found.axis.axis_label_text_font_style = "normal"
    found.axis.minor_tick_line_color = None
    return found


def draw(target: figure, source: ColumnDataSource, traces: Sequence[Trace], x: str, unit: str) -> None:
    """Draw lines, with a legend above whose entries hide them and one box of values where the pointer is.

    Parameters
    ----------
    target : bokeh.plotting.figure
    source : ColumnDataSource
    traces : sequence of Trace
    x : str
        column of the abscissa
    unit : str
        what it is, for the box of values
    """
    drawn, items = [], []
    for trace in traces:
        style: dict[str, Any] = {"source": source, "color": trace.colour, "line_width": trace.width}
        style |= {"line_alpha": trace.alpha, "line_dash": trace.dash}
        glyph = target.step(x, trace.column, mode="before", **style) if trace.step else None
        drawn.append(glyph or target.line(x, trace.column, **style))
        items.append(LegendItem(label={"value": trace.name}, renderers=[drawn[-1]]))
    if len(traces) > 1:
        target.add_layout(legend(items), "above")
    values = [(trace.name, f"@{{{trace.column}}}{{0.0000[00]}}") for trace in traces]
    over = HoverTool(renderers=drawn[:1], mode="vline", tooltips=[(unit, f"@{{{x}}}{{0.000}}"), *values], visible=False)
    target.add_tools(over)


def legend(items: list[LegendItem]) -> Legend:
    """A legend in a line, or in two where a narrow page has no room for one."""
    columns = len(items) if len(items) <= 3 else -(-len(items) // 2)
    return Legend(
        items=items, orientation="horizontal", click_policy="hide", border_line_color=None, padding=0, margin=2,
        label_text_font_size="9pt", spacing=8, glyph_width=16, background_fill_alpha=0, ncols=columns,
        stylesheets=[InlineStyleSheet(css=".bk-label { color: var(--ink) !important; }")],
    )  # fmt: skip


def choose(title: str, options: Sequence[str] | Sequence[tuple[str, str]], value: str | None = None) -> Select:
    """A selector with a label, which the keyboard reaches.

    Parameters
    ----------
    title : str
        the label
    options : sequence of str, or of (value, shown) pairs
    value : str, optional
        of the first if not given
    """
    first = options[0] if isinstance(options[0], str) else options[0][0]
    style = InlineStyleSheet(css=_SELECT_CSS)
    return Select(
        title=title, options=list(options), value=value or first, stylesheets=[style], min_width=110, max_width=460
    )


def table(source: ColumnDataSource, columns: Mapping[str, str], height: int = 320) -> DataTable:
    """A table that a click on a column's head sorts.

    Parameters
    ----------
    source : ColumnDataSource
    columns : mapping of str to str
        name in the source -> head
    height : int
        (pixels)
    """
    shown = []
    for name, head in columns.items():
        number = np.asarray(source.data[name]).dtype.kind in "fiu"
        how = HTMLTemplateFormatter(template=_BRIEF) if number else StringFormatter()
        width = max(70, 22 + 8 * max(len(word) for word in head.split("\n")))
        # A head is taken for HTML.
        shown.append(TableColumn(field=name, title=html.escape(head), formatter=how, width=width))
    return DataTable(
        source=source, columns=shown, index_position=None, reorderable=False, autosize_mode="none",
        sizing_mode="stretch_width", height=min(height, 46 + 25 * len(source.data[next(iter(columns))])),
        stylesheets=[InlineStyleSheet(css=_TABLE_CSS)], min_width=200,
    )  # fmt: skip


def when(code: str, *models: Any, **arguments: Any) -> None:
    """Run a few lines in the browser whenever one of the selectors changes."""
    callback = CustomJS(args=arguments, code=code)
    for model in models:
        model.js_on_change("value", callback)


def sort_by(grid: DataTable, title: str = "Sort by") -> Select:
    """A selector that puts the rows of a table in order, for those who have no pointer."""
    source = grid.source
    fields = [column.field for column in grid.columns]
    source.data["listed"] = np.arange(len(source.data[fields[0]]))
    heads = [(column.field, html.unescape(column.title)) for column in grid.columns]
    found = choose(title, [("listed", "as listed"), *heads], "listed")
    code = """
const key = source.data[by.value]
const before = (a, b) => Number.isNaN(a) ? 1 : Number.isNaN(b) ? -1 : a < b ? -1 : a > b ? 1 : 0
const order = Array.from(key, (_, i) => i).sort((i, j) => before(key[i], key[j]))
const sorted = Object.entries(source.data).map(([name, column]) => [name, order.map((i) => column[i])])
source.selected.indices = source.selected.indices.map((i) => order.indexOf(i))
source.data = Object.fromEntries(sorted)
grid.view.change.emit()
"""
    when(code, found, source=source, by=found, grid=grid)
    return found


def brief(value: float | None) -> str:
    """An error in a sentence, or that there is none to tell.

    >>> brief(0.01234), brief(1e-5), brief(float("inf"))
    ('0.0123', '1e-05', 'diverged')
    """
    return "diverged" if value is None or not np.isfinite(value) else f"{value:.3g}"


def single(values: Any) -> np.ndarray:
    """Numbers as a page keeps them: float32, what is not finite left out."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(values, dtype=float).astype(np.float32)
    return np.where(np.isfinite(found), found, np.float32(np.nan))


def span(start: float, end: float) -> Range1d:
    """A range that a plot shows first, and that it goes back to."""
    return Range1d(float(start), float(end))


def frame_source(frame: pd.DataFrame) -> ColumnDataSource:
    """A table as the source of plots: numbers as float64, everything else as text.

    >>> sorted(frame_source(pd.DataFrame({"a": [1, 2], "b": [True, None]})).data)
    ['a', 'b']
    """
    data: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        words = {True: "yes", False: "no"}
        data[str(name)] = (
            column.to_numpy(dtype=float, na_value=np.nan)
            if number
            else ["" if value is None or value != value else words.get(value, str(value)) for value in column.tolist()]
        )
    return ColumnDataSource(data)
