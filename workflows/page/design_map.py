"""The map of a design: the smallest error over diameter and voltage, of whichever task is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.model import Model
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.palettes import Viridis256

from spinloom.workflows.page.plots import FULL, TARGET, choose, plot, single, when

_TASK = """
for (const name of ["error", "text", "colour", "ink"]) shown.data[name] = each[task.value][name]
shown.change.emit()
"""


def design_map(rows: Sequence[dict[str, Any]], tasks: Sequence[str], chosen: dict[str, Any]) -> dict[str, Model]:
    """Smallest error of a task over diameter and voltage, whatever the thickness, bias, period and network.

    Parameters
    ----------
    rows : sequence of dict
        of :func:`spinloom.workflows.design.evaluate`
    tasks : sequence of str
    chosen : dict
        the row that was chosen

    Returns
    -------
    plots : dict of str to bokeh.model.Model
        ``map``, and ``task``, the selector
    """
    diameters, voltages = (sorted({row[name] for row in rows}) for name in ("diameter", "voltage"))
    across, up = [f"{1e9 * d:.0f}" for d in diameters], [f"{v:.2g}" for v in voltages]
    each = {task: _cells(rows, task, diameters, voltages) for task in tasks}
    places = {"diameter": [d for _ in up for d in across], "voltage": [v for v in up for _ in across]}
    shown = ColumnDataSource({**places, **each[tasks[0]]})
    task = choose("Task", list(tasks))
    when(_TASK, task, task=task, shown=shown, each=each)
    found = plot("diameter (nm)", "voltage at full drive (V)", height=380, tools="save", x_range=across, y_range=up)
    drawn = found.rect("diameter", "voltage", 0.97, 0.96, source=shown, color="colour", line_color=None)
    found.text("diameter", "voltage", "text", source=shown, text_color="ink", text_align="center",
               text_baseline="middle", text_font_size="10pt")  # fmt: skip
    at = f"{1e9 * chosen['diameter']:.0f}", f"{chosen['voltage']:.2g}"
    found.rect([at[0]], [at[1]], 0.97, 0.96, fill_alpha=0, line_color=FULL, line_width=3)
    values = [("diameter (nm)", "@diameter"), ("voltage (V)", "@voltage"), ("smallest NRMSE", "@text")]
    found.add_tools(HoverTool(renderers=[drawn], tooltips=values))
    found.grid.visible, found.axis.axis_line_color, found.axis.major_tick_line_color = False, None, None
    return {"map": found, "task": task}


def _cells(
    rows: Sequence[dict[str, Any]], task: str, diameters: Sequence[float], voltages: Sequence[float]
) -> dict[str, Any]:
    """The best of every cell, row by row, and how it is drawn; a small error is bright."""
    best = np.full((len(voltages), len(diameters)), np.nan)
    for row in rows:
        at = voltages.index(row["voltage"]), diameters.index(row["diameter"])
        if row["stable"]:
            best[at] = np.fmin(best[at], row[f"nrmse_{task}"])
    errors = best.ravel()
    level = np.log(np.where(errors > 0, errors, np.nan))
    some = level[np.isfinite(level)]
    low, wide = (some.min(), max(float(np.ptp(some)), 1e-9)) if len(some) else (0.0, 1.0)
    share = 1 - (level - low) / wide
    return {
        "error": single(errors),
        "text": ["unstable" if np.isnan(error) else f"{error:.3g}" for error in errors],
        "colour": [Viridis256[int(255 * s)] if np.isfinite(s) else TARGET for s in share],
        "ink": ["#16202a" if np.isfinite(s) and s > 0.6 else "white" for s in share],
    }
