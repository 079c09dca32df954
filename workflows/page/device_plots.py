"""Figures of one device and its reduced model: where it rests, how it answers, how far the model follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.model import Model
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    HoverTool,
    LinearColorMapper,
    PrintfTickFormatter,
    Span,
)
from bokeh.palettes import RdBu11, interp_palette
from bokeh.plotting import figure

from spinloom.device_models.calibration import amplitudes
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.scan import drive
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.reach import GOOD, held_out
from spinloom.reduced_models.rollout import simulate
from spinloom.workflows.page.plots import FULL, GREEN, REDUCED, TARGET, Trace, brief, choose, draw, plot, single, when

MOST_CALIBRATION = 120_000
"""About how many numbers of the calibration a page keeps."""
_AXES = dict(zip("xyz", (REDUCED, GREEN, FULL), strict=True))

_TRAJECTORY = """
const k = Number(which.value), data = {t, u: u[k]}
for (const axis of "xyz") {
  data["m_" + axis] = m[axis][k]
  data["rolled_" + axis] = rolled[axis][k]
  data["off_" + axis] = Array.from(data["m_" + axis], (value, i) => 1e3 * (data["rolled_" + axis][i] - value))
}
shown.data = data
"""


def relaxed(card: DeviceCard, field: np.ndarray) -> figure:
    """The relaxed field: in-plane direction as arrows, m_z as colour.

    Parameters
    ----------
    card : DeviceCard
    field : (nx, ny, nz, 3) ndarray
        the bottom layer of cells is drawn
    """
    nx, ny, _ = card.geometry.shape_cells
    dx, dy, _ = (1e9 * d for d in card.geometry.cell)
    inside = card.geometry.mask()[:, :, 0]
    x, y = np.meshgrid((np.arange(nx) + 0.5 - nx / 2) * dx, (np.arange(ny) + 0.5 - ny / 2) * dy, indexing="ij")
    m = field[:, :, 0][inside]
    cells = ColumnDataSource({"x": x[inside], "y": y[inside], **{f"m_{axis}": m[:, i] for i, axis in enumerate("xyz")}})
    found = plot("x (nm)", "y (nm)", height=340, match_aspect=True, tools="wheel_zoom,pan,save,reset")
    colours = LinearColorMapper(interp_palette(RdBu11[::-1], 128), low=-1, high=1)
    drawn = found.rect("x", "y", dx, dy, source=cells, color={"field": "m_z", "transform": colours}, fill_alpha=0.75,
                       line_color=None)  # fmt: skip
    values = [("x, y (nm)", "@x, @y"), *((f"m_{axis}", f"@m_{axis}{{0.000}}") for axis in "xyz")]
    found.add_tools(HoverTool(renderers=[drawn], tooltips=values))
    every = max(1, max(nx, ny) // 18)
    some = (np.arange(nx)[:, None] % every == every // 2) & (np.arange(ny)[None, :] % every == every // 2) & inside
    along, reach = field[:, :, 0][some], 0.42 * every * min(dx, dy)
    x0, y0 = x[some] - reach * along[:, 0], y[some] - reach * along[:, 1]
    x1, y1 = x[some] + reach * along[:, 0], y[some] + reach * along[:, 1]
    found.segment(x0, y0, x1, y1, color="#222b35", line_width=1.4)
    turned = np.arctan2(along[:, 1], along[:, 0]) - np.pi / 2
    found.scatter(x1, y1, marker="triangle", size=6, angle=turned, color="#222b35")
    found.add_layout(ColorBar(color_mapper=colours, width=10, ticker=BasicTicker(desired_num_ticks=4),
                              background_fill_alpha=0), "right")  # fmt: skip
    found.grid.visible = False
    return found


def trajectories(dataset: xr.Dataset, model: CalibratedModel) -> tuple[dict[str, Model], int]:
    """Drive and response of any trajectory, and its free roll-out; that which a held-out one is worst at comes first.

    Parameters
    ----------
    dataset : xarray.Dataset
        the calibration
    model : CalibratedModel

    Returns
    -------
    plots : dict of str to bokeh.model.Model
        ``trajectory`` (the selector), ``calibration``, ``response``, ``rollout``
    kept : int
        how many trajectories can be chosen
    """
    amplitude, kinds = amplitudes(dataset), dataset["drive_kind"].values
    unseen = dataset["held_out"].values.astype(bool) if "held_out" in dataset else held_out(amplitude)
    unseen &= amplitude <= model.info.get("amplitude", 1.0)
    picked = _picked(unseen, max(4, MOST_CALIBRATION // (7 * dataset.sizes["tick"])))
    t, m, judge = dataset["t"].values * 1e9, dataset["m"].values[picked], unseen[picked]
    rolled = _rolled(dataset, model, picked)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(np.mean((rolled - m) ** 2, axis=(1, 2)) / np.maximum(m.var(axis=1).mean(axis=1), 1e-300))
    error = np.where(np.isfinite(error), error, np.inf)
    worst = int(np.argmax(np.where(judge, error, -1.0)))
    told = [f"{'held out' if mine else 'fitted'}, off {brief(off)}" for off, mine in zip(error, judge, strict=True)]
    options = [(str(i), f"{k}: {kinds[k]}, {amplitude[k]:g} J_max, {told[i]}") for i, k in enumerate(picked)]
    which = choose("Trajectory", options, str(worst))
    u = single(dataset["u"].values[picked])
    data: dict[str, Any] = {"t": t, "u": u[worst]}
    each: dict[str, dict[str, Any]] = {"m": {}, "rolled": {}}
    for i, axis in enumerate("xyz"):
        each["m"][axis] = [single(one[:, i]) for one in m]
        each["rolled"][axis] = [single(one[:, i]) for one in rolled]
        data[f"m_{axis}"], data[f"rolled_{axis}"] = single(m[worst][:, i]), single(rolled[worst][:, i])
        data[f"off_{axis}"] = single(1e3 * (rolled - m)[worst][:, i])
    shown = ColumnDataSource(data)
    when(_TRAJECTORY, which, which=which, shown=shown, t=t, u=list(u), **each)
    above = plot("", "u = J / J_max (1)", height=170)
    draw(above, shown, [Trace("u", "drive", TARGET, step=True)], "t", "t (ns)")
    middle = plot("", "⟨m⟩ (1)", height=280, x_range=above.x_range)
    wide = [Trace(f"m_{axis}", f"m_{axis} full", colour, 4.5, 0.4) for axis, colour in _AXES.items()]
    thin = [Trace(f"rolled_{axis}", f"m_{axis} rolled out", colour, 1.4) for axis, colour in _AXES.items()]
    draw(middle, shown, wide + thin, "t", "t (ns)")
    below = plot("t (ns)", "difference (10⁻³)", height=170, x_range=above.x_range)
    draw(below, shown, [Trace(f"off_{axis}", f"m_{axis}", colour) for axis, colour in _AXES.items()], "t", "t (ns)")
    return {"trajectory": which, "calibration": above, "response": middle, "rollout": below}, len(picked)


def _picked(unseen: np.ndarray, most: int) -> np.ndarray:
    """Which trajectories a page keeps: those that are held out, and as many others, evenly, as there is room for."""
    judged, others = np.flatnonzero(unseen)[:most], np.flatnonzero(~unseen)
    room = min(max(most - len(judged), 1), len(others))
    return np.sort(np.concatenate([judged, others[np.linspace(0, len(others) - 1, room).astype(int)]]).astype(int))


def _rolled(dataset: xr.Dataset, model: CalibratedModel, numbers: np.ndarray) -> np.ndarray:
    """Free roll-outs (trajectory, tick, component), each of the device that its trajectory is of."""
    u = dataset["u"].values[numbers]
    if "deviation" not in dataset:
        return simulate(model.estimator, u.T, model.m_start).swapaxes(0, 1)
    node = model.on(dataset["deviation"].values[numbers]).node
    _, m = drive(node, u.T, node.start(len(numbers), devices=np.arange(len(numbers))))
    return np.asarray(m).swapaxes(0, 1)


def reach(model: CalibratedModel) -> figure:
    """Errors of held-out roll-outs against the amplitude of the drives, with the reach."""
    curve = [point for point in model.info["reach_curve"] if point["worst"] is not None]
    found = plot("drive, share of J_max (1)", "hold-out NRMSE", height=300, y_axis_type="log",
                 title=f"reach {model.scale.reach:g}: {model.verdict}")  # fmt: skip
    shown = ColumnDataSource({name: [point[name] for point in curve] for name in ("amplitude", "worst", "median")})
    draw(
        found, shown, [Trace("worst", "worst", FULL), Trace("median", "median", REDUCED)], "amplitude", "share of J_max"
    )
    for name, colour in (("worst", FULL), ("median", REDUCED)):
        found.scatter("amplitude", name, source=shown, size=6, color=colour)
    found.yaxis.formatter = PrintfTickFormatter(format="%.1e")
    found.add_layout(Span(location=GOOD, dimension="width", line_color=TARGET, line_dash="dashed"))
    found.add_layout(Span(location=model.scale.reach, dimension="height", line_color=TARGET, line_dash="dotted"))
    return found


def confusion(classes: list[str], counts: list[list[int]], title: str) -> figure:
    """A confusion matrix, in trials."""
    trials = np.asarray(counts)
    share = trials / np.maximum(trials.sum(axis=1, keepdims=True), 1)
    i, j = (index.ravel() for index in np.indices(trials.shape))
    cells = ColumnDataSource(
        {
            "fed": [classes[k] for k in i],
            "found": [classes[k] for k in j],
            "trials": trials.ravel(),
            "share": share.ravel(),
            "alpha": 0.1 + 0.85 * share.ravel(),
            "ink": ["white" if value > 0.5 else TARGET for value in share.ravel()],
            "text": [str(count) for count in trials.ravel()],
        }
    )
    found = plot("recognised as (trials)", "fed in (trials)", height=320, title=title, tools="save",
                 x_range=classes, y_range=classes[::-1])  # fmt: skip
    drawn = found.rect("found", "fed", 0.96, 0.96, source=cells, color=REDUCED, fill_alpha="alpha", line_color=None)
    found.text("found", "fed", "text", source=cells, text_color="ink", text_align="center", text_baseline="middle",
               text_font_size="11pt")  # fmt: skip
    values = [("fed in", "@fed"), ("recognised as", "@found"), ("trials", "@trials (@share{0 %})")]
    found.add_tools(HoverTool(renderers=[drawn], tooltips=values))
    found.grid.visible, found.axis.axis_line_color, found.axis.major_tick_line_color = False, None, None
    return found
