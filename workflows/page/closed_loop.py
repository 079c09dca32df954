"""Figures of networks in closed loop: outputs and every junction, of whichever task, chip and noise is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from bokeh.model import Model
from bokeh.models import ColumnDataSource, CustomJS, Div, RangeTool
from bokeh.plotting import figure

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.readout import junction_power
from spinloom.networks.record import judged
from spinloom.workflows.page.plots import (
    FULL,
    GREEN,
    REDUCED,
    TARGET,
    Trace,
    brief,
    choose,
    draw,
    plot,
    single,
    sort_by,
    span,
    table,
    when,
)
from spinloom.workflows.summary import CHIP

MOST_OUTPUTS, MOST_SIGNALS = 300_000, 200_000
"""About how many numbers of outputs and of junctions a page keeps; a number is five bytes of it."""
MOST_NOISES = 8
"""How many of the noises can be chosen."""
FIRST_PERIODS = 5
"""What is shown before anyone zooms."""
_STYLES = {"reduced": (REDUCED, 2.8, 0.75), "embedded": (GREEN, 1.4, 1.0), "full": (FULL, 1.3, 1.0)}

_OUTPUTS = """
const k = networks[task.value][chip.value], o = Number(output.value) - 1
const wave = f[k][o], target = Array.from(t, (_, i) => wave[(i * every) % wave.length])
const data = {t, target}
for (const run of runs) {
  const z = outputs[run][k][o][noises[run].value]
  data[run] = z
  data["off_" + run] = Array.from(z, (value, i) => 1e3 * (value - target[i]))
}
shown.data = data
words.text = told[k]
"""
_SIGNALS = """
const k = networks[task.value][chip.value], n = Number(node.value)
const data = {t, drive: drives[k][n]}
for (const run of runs) data[run] = signals[run][k][n]
data.apart = Array.from(data.full, (value, i) => 1e3 * (value - data.reduced[i]))
shown.data = data
"""
_NODES = """
const k = networks[task.value][chip.value]
rows.selected.indices = []
rows.data = {listed: listed, node: listed, worst: worst[k], rms: rms[k], drive: drive[k], power: power[k]}
grid.view.change.emit()
sort.value = "listed"
"""
_PICK = """
const i = cb_obj.indices[0]
if (i !== undefined) { task.value = rows.data.task[i]; chip.value = String(rows.data.chip[i]) }
"""


@dataclass(frozen=True)
class ClosedLoop:
    """What a page shows of networks in closed loop, and the words that go with it.

    Parameters
    ----------
    plots : dict of str to bokeh.model.Model
        ``outputs``, ``errors``, ``overview``, ``signals``, ``apart``, ``drive``, ``nodes``, ``sort``, ``words``; of
        several networks also ``all``, a table of them, and ``sort_all``
    selectors : list of str
        names of the selectors among them, of whatever there is a choice
    periods, shown_periods : int
        of the outputs, and of the signals of junctions
    every : int
        every so many ticks of the outputs are kept
    networks : list of str
    """

    plots: dict[str, Model]
    selectors: list[str]
    periods: int
    shown_periods: int
    every: int
    networks: list[str]


def closed_loop(record: xr.Dataset, card: DeviceCard) -> ClosedLoop:
    """Figures from a record of free runs.

    Parameters
    ----------
    record : xarray.Dataset
        of :func:`spinloom.networks.record.make_record`, with the seeds of the noise where there are several
    card : DeviceCard
        for the power in the junctions

    Returns
    -------
    found : ClosedLoop
    """
    names = [str(name) for name in record["network"].values]
    places: dict[str, dict[str, int]] = {}
    for k, name in enumerate(names):
        task, _, chip = name.partition(CHIP)
        places.setdefault(task, {})[chip or "0"] = k
    runs = [run for run in _STYLES if f"z_{run}" in record]
    choice = {
        "task": choose("Task", list(places)),
        "chip": choose("Chip", list(dict.fromkeys(chip for chips in places.values() for chip in chips))),
        "output": choose("Output", [str(1 + o) for o in range(record.sizes["output"])]),
        "node": choose("Junction", [str(node) for node in range(record.sizes["node"])]),
    }
    outputs = {run: _outputs(record, run) for run in runs}
    noises = {run: choose(f"Noise, {run}", [str(s) for s in range(outputs[run].shape[2])]) for run in runs}
    common: dict[str, Any] = {"networks": places, "task": choice["task"], "chip": choice["chip"], "runs": runs}
    found = [judged(record, name) for name in names]
    told = [_told(one) for one in found]
    words = Div(
        text=told[0], render_as_text=True, disable_math=True, styles={"font-size": "1rem"}, sizing_mode="stretch_width"
    )
    of_outputs = {**common, "output": choice["output"], "noises": noises, "words": words, "told": told}
    loops, every = _outputs_of(record, outputs, of_outputs)
    junctions, periods = _junctions_of(record, runs, card, {**common, "node": choice["node"]})
    options = {**choice, **{f"noise_{run}": select for run, select in noises.items()}}
    selectors = [name for name, select in options.items() if len(select.options) > 1]
    plots = {**loops, **junctions, "words": words, **{name: options[name] for name in selectors}}
    if len(names) > 1:
        plots |= _table_of_networks(found, common)
    total = record.sizes["tick"] // record.sizes["period_tick"]
    return ClosedLoop(plots, selectors, total, periods, every, names)


def _outputs(record: xr.Dataset, run: str) -> np.ndarray:
    """(network, output, noise, tick)."""
    if f"z_{run}_seeds" in record:
        several = record[f"z_{run}_seeds"].transpose("network", "output", f"seed_{run}", "tick")
        return several.values[:, :, :MOST_NOISES]
    return record[f"z_{run}"].transpose("network", "output", "tick").values[:, :, None]


def _lists(values: np.ndarray) -> Any:
    """All but the last axis as lists: a script picks a row without arithmetic."""
    return single(values) if values.ndim == 1 else [_lists(one) for one in values]


def _name(record: xr.Dataset, run: str) -> str:
    return f"full ({record.attrs['engine']})" if run == "full" else run


def _outputs_of(
    record: xr.Dataset, outputs: dict[str, np.ndarray], common: dict[str, Any]
) -> tuple[dict[str, Model], int]:
    """Outputs, their errors, and an overview that tells where one looks."""
    runs, period = common["runs"], record.sizes["period_tick"]
    every = max(1, -(-sum(z.size for z in outputs.values()) // MOST_OUTPUTS))
    every = min(every, max(1, period // 24))
    kept = {run: z[..., ::every] for run, z in outputs.items()}
    t = record["t"].values[::every] * 1e9
    f = record["f"].transpose("network", "output", "period_tick").values
    target = np.tile(f[0, 0], record.sizes["tick"] // period + 1)[: record.sizes["tick"] : every]
    data = {"t": t, "target": target}
    for run, z in kept.items():
        data |= {run: single(z[0, 0, 0]), f"off_{run}": single(1e3 * (z[0, 0, 0] - target))}
    shown = ColumnDataSource(data)
    first = span(0.0, float(min(t[-1], FIRST_PERIODS * period * (record["t"].values[0] * 1e9))))
    above = plot("", "output z (1)", height=280, x_range=first)
    below = plot("t in free run (ns)", "z − f (10⁻³)", height=190, x_range=first)
    traces = [Trace("target", "target", TARGET, 4.5, 0.65)]
    draw(above, shown, traces + [Trace(run, _name(record, run), *_STYLES[run]) for run in runs], "t", "t (ns)")
    draw(below, shown, [Trace(f"off_{run}", _name(record, run), *_STYLES[run]) for run in runs], "t", "t (ns)")
    arguments = {"outputs": {run: _lists(z) for run, z in kept.items()}, "f": _lists(f), "t": t, "every": every}
    selectors = [common["task"], common["chip"], common["output"], *common["noises"].values()]
    when(_OUTPUTS, *selectors, shown=shown, **arguments, **common)
    return {"outputs": above, "errors": below, "overview": _overview(shown, first, float(t[-1]))}, every


def _table_of_networks(found: list[dict[str, Any]], common: dict[str, Any]) -> dict[str, Model]:
    """Every network in a row; who picks one sees its outputs."""
    parts = [one["task"].partition(CHIP) for one in found]
    rows = ColumnDataSource(
        {
            "task": [task for task, *_ in parts],
            "chip": np.array([int(chip or 0) for *_, chip in parts]),
            "reduced": single([one["nrmse_reduced"] for one in found]),
            "full": single([one["nrmse_full"] for one in found]),
            "drift": single([1e3 * one["phase_drift_per_period"] for one in found]),
            "apart": single([one["max_node_difference"] for one in found]),
            "node": np.array([one["worst_node"] for one in found]),
            "periods": np.array([one["periods"] for one in found]),
        }
    )
    heads = {
        "task": "task",
        "chip": "chip",
        "reduced": "NRMSE reduced",
        "full": "NRMSE full",
        "drift": "drift full (mrad)",
        "apart": "farthest apart",
        "node": "of junction",
        "periods": "periods",
    }
    grid = table(rows, heads)
    selectors = {"task": common["task"], "chip": common["chip"]}
    rows.selected.js_on_change("indices", CustomJS(args={**selectors, "rows": rows}, code=_PICK))
    return {"all": grid, "sort_all": sort_by(grid, "Sort networks by")}


def _overview(shown: ColumnDataSource, looked_at: Any, end: float) -> figure:
    """The whole run, small, with a window that may be dragged."""
    found = plot("the whole run: drag the window, or its edges", "", height=96, tools="", x_range=span(0.0, end))
    found.min_border_right = 34
    found.line("t", "off_full", source=shown, color=FULL, line_width=1)
    found.toolbar_location, found.left, found.ygrid.visible = None, [], False
    window = RangeTool(x_range=looked_at)
    window.overlay.fill_color, window.overlay.fill_alpha = REDUCED, 0.18
    found.add_tools(window)
    return found


def _told(found: dict[str, Any]) -> str:
    """The figures of a network in a sentence."""
    reduced, full = brief(found["nrmse_reduced"]), brief(found["nrmse_full"])
    text = f"{found['task']}: NRMSE {reduced} with reduced junctions, {full} in full"
    apart = f"junction {found['worst_node']} is farthest from its model, {brief(found['max_node_difference'])} at most"
    return f"{text} micromagnetics ({found['engine']}), over {found['periods']} periods; {apart}."


def _junctions_of(
    record: xr.Dataset, runs: list[str], card: DeviceCard, common: dict[str, Any]
) -> tuple[dict[str, Model], int]:
    """Signals and drive of one junction, and a table of all."""
    period = record.sizes["period_tick"]
    values = (len(runs) + 1) * record.sizes["network"] * record.sizes["node"] * period
    periods = int(np.clip(MOST_SIGNALS // values, 1, max(1, record.sizes["tick"] // period)))
    ticks, order = slice(0, periods * period), ("network", "node", "tick")
    t = record["t"].values[ticks] * 1e9
    signals = {run: record[f"r_{run}"].transpose(*order).values for run in runs}
    drives = record["u_full"].transpose(*order).values
    kept = {run: _lists(r[..., ticks]) for run, r in signals.items()}
    driven = _lists(drives[..., ticks])
    data = {"t": t, "drive": driven[0][0], **{run: r[0][0] for run, r in kept.items()}}
    data["apart"] = 1e3 * (data["full"] - data["reduced"])
    shown = ColumnDataSource(data)
    first = span(0.0, float(min(t[-1], FIRST_PERIODS * period * t[0])))
    above = plot("", "m · e_read (1)", height=240, x_range=first)
    middle = plot("", "apart (10⁻³)", height=150, x_range=first)
    below = plot("t in free run (ns)", "J / J_max (1)", height=180, x_range=first)
    draw(above, shown, [Trace(run, _name(record, run), *_STYLES[run]) for run in runs], "t", "t (ns)")
    draw(middle, shown, [Trace("apart", "full − reduced (10⁻³)", FULL)], "t", "t (ns)")
    draw(below, shown, [Trace("drive", "drive", TARGET, step=True)], "t", "t (ns)")
    when(_SIGNALS, common["task"], common["chip"], common["node"], shown=shown, t=t, signals=kept, drives=driven,
         **common)  # fmt: skip
    figures = {"signals": above, "apart": middle, "drive": below, **_table_of(signals, drives, card, common)}
    return figures, periods


def _table_of(
    signals: dict[str, np.ndarray], drives: np.ndarray, card: DeviceCard, common: dict[str, Any]
) -> dict[str, Model]:
    """Every junction in a row; who picks one sees its signals."""
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.abs(signals["full"] - signals["reduced"])
        found = {
            "worst": apart.max(axis=-1),
            "rms": np.sqrt(np.mean(apart**2, axis=-1)),
            "drive": np.sqrt(np.mean(drives**2, axis=-1)),
            "power": 1e6 * junction_power(card, drives, signals["full"]).mean(axis=-1),
        }
    listed = np.arange(drives.shape[1])
    each = {name: _lists(values) for name, values in found.items()}
    rows = ColumnDataSource({"node": listed, **{name: values[0] for name, values in each.items()}})
    heads = {
        "node": "junction",
        "worst": "apart, largest",
        "rms": "apart, rms",
        "drive": "drive, rms",
        "power": "power (µW)",
    }
    grid = table(rows, heads)
    sort = sort_by(grid)
    when(_NODES, common["task"], common["chip"], rows=rows, grid=grid, sort=sort, listed=listed, **each, **common)
    pick = "const i = cb_obj.indices[0]; if (i !== undefined) node.value = String(rows.data.node[i])"
    rows.selected.js_on_change("indices", CustomJS(args={"node": common["node"], "rows": rows}, code=pick))
    return {"nodes": grid, "sort": sort}
