"""A page as text: a template, its figures, and the library that draws them, in one file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from bokeh.embed import components
from bokeh.model import Model
from bokeh.resources import Resources
from bokeh.themes import Theme

from spinloom.device_models import files

_FONT = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
_THEME = Theme(
    json={
        "attrs": {
            "Axis": {
                "axis_label_text_font": _FONT,
                "major_label_text_font": _FONT,
                "axis_label_text_font_size": "10pt",
                "major_label_text_font_size": "9pt",
            },
            "Legend": {"label_text_font": _FONT},
            "Title": {"text_font": _FONT, "text_font_size": "10.5pt", "text_font_style": "normal"},
            "ColorBar": {"major_label_text_font": _FONT, "title_text_font": _FONT, "title_text_font_style": "normal"},
            "Text": {"text_font": {"value": _FONT}},
        }
    }
)

_MANNERS = """
<script>
// What is drawn has the colours that the page had then: it is drawn again when they change.
for (const media of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(media).addEventListener("change", () => {
    for (const view of Bokeh.index.query((view) => view.model.type === "Figure")) {
      view.invalidate_painters()
      view.paint()
    }
  })
}
// On paper plots and tables are as wide as they were on the screen: they are scaled to A4 upright, less its margins.
const within = (root, what) => [...root.querySelectorAll("*")].flatMap((one) =>
  [...(one.matches(what) ? [one] : []), ...(one.shadowRoot ? within(one.shadowRoot, what) : [])])
addEventListener("beforeprint", () => {
  for (const place of document.querySelectorAll(".plot, .grid")) {
    const ends = within(place, ".slick-header-column").map((head) => head.getBoundingClientRect().right)
    const wide = ends.length ? Math.max(...ends) - place.getBoundingClientRect().left : place.clientWidth
    place.style.setProperty("--onto-paper", Math.min(ends.length ? 1 : 1.25, 680 / Math.max(1, wide)))
  }
})
// What says that it can be sorted, has more than two rows and is in no order of its own: by a button in each head.
const value = (row, at) => {
  let passed = 0
  const cell = [...row.cells].find((one) => (passed += one.colSpan) > at && one.colSpan === 1)
  const text = cell?.innerText.trim() ?? "–"
  const number = text === "diverged" ? Infinity : Number.parseFloat(text.replace("−", "-"))
  return text === "–" || text === "" ? null : Number.isNaN(number) ? text.toLowerCase() : number
}
const before = (a, b) => typeof a !== typeof b ? (typeof a === "number" ? -1 : 1) : a < b ? -1 : a > b ? 1 : 0
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0]
  if (body.rows.length < 3) continue
  const heads = [...table.tHead.rows[0].cells]
  heads.forEach((head, at) => {
    const button = document.createElement("button")
    button.append(...head.childNodes)
    head.append(button)
    button.addEventListener("click", () => {
      const down = head.ariaSort === "ascending"
      for (const one of heads) one.ariaSort = one === head ? (down ? "descending" : "ascending") : "none"
      const keyed = [...body.rows].map((row) => [value(row, at), row])
      keyed.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : (down ? -1 : 1) * before(a, b))
      body.append(...keyed.map(([, row]) => row))
    })
  })
}
// A table would keep the tab key to itself until it has gone through every cell.
document.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.composedPath().some((one) => one.classList?.contains("bk-data-table"))) {
    event.stopPropagation()
  }
}, true)
</script>"""


@cache
def library() -> str:
    """The plotting library as it stands in every page: nothing is fetched when one is opened."""
    parts = ["bokeh", "bokeh-widgets", "bokeh-tables"]
    return Resources(mode="inline", minified=True, components=parts, log_level="warn").render_js()


def environment() -> jinja2.Environment:
    """The templates of pages, with what they format figures by."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["figure"] = _figure
    environment.filters["drift"] = _drift
    environment.filters["interval"] = _interval
    environment.filters["apart"] = lambda value: "–" if value is None else f"{value:+.1f}"
    return environment


def render(template: str, plots: Mapping[str, Model], **told: Any) -> str:
    """The text of a page.

    Parameters
    ----------
    template : str
        name of its file
    plots : mapping of str to bokeh.model.Model
        what the template shows as ``plots.NAME``; they may know of each other
    **told
        what else the template shows; all of it is escaped

    Returns
    -------
    page : str
        HTML that loads nothing from elsewhere
    """
    script, places = components(dict(plots), theme=_THEME)
    shown = {"library": library(), "script": script + _MANNERS, "plots": places}
    return environment().get_template(template).render(**shown, **told)


def as_picture(svg: str) -> str:
    """An address of a picture that holds the picture itself.

    Examples
    --------
    >>> as_picture("<svg/>")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def write(path: Path, page: str) -> None:
    """Write a page, whole or not at all."""
    with files.written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _figure(value: float | None) -> str:
    """An error, or that there is none to tell: JSON has no infinity."""
    if value is None:
        return "diverged"
    return f"{value:.2g}" if value < 0.001 or value >= 1e4 else f"{value:.4f}"


def _drift(value: float | None) -> str:
    """A drift of the phase in mrad per period; none of an output that does not oscillate."""
    return "–" if value is None else f"{1e3 * value:+.3f}"


def _interval(one: dict[str, float | None]) -> str:
    """A mean and where the true one lies."""
    mean, low, high = one["mean"], one["low"], one["high"]
    if mean is None:
        return "–"
    return f"{mean:.3g}" if low is None or high is None else f"{mean:.3g} ({low:.2g} to {high:.2g})"
