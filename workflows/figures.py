"""The pictures of a run. Each public function gives SVG text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from spinloom.device_models.calibration import amplitudes
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.probe import Probe
from spinloom.networks.measures import GENERATES
from spinloom.reduced_models.measured_fit import Signals, follow
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.observation import Chain, lead_of
from spinloom.reduced_models.reach import GOOD, held_out

_OUTLINED = [withStroke(linewidth=1.5, foreground="black")]
TARGET, REDUCED, FULL = "#9aa3ad", "#1f6fb4", "#c8442d"
"""Colours of the target, the reduced network and the network in full micromagnetics."""
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "spinloom",
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., str]:
    """Draw in the house style and give SVG text, the same for the same data."""

    @wraps(draw)
    def svg(*arguments: Any, **options: Any) -> str:
        text = io.StringIO()
        with mpl.rc_context(_STYLE):
            draw(*arguments, **options).savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()

    return svg


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@_styled
def device(card: DeviceCard, field: np.ndarray) -> Figure:
    """The relaxed field: in-plane direction as arrows, m_z as colour.

    Parameters
    ----------
    field : (nx, ny, nz, 3) ndarray
        the bottom layer of cells is drawn
    """
    figure, axes = _figure(4.2, 3.4)
    ax = axes[0, 0]
    nx, ny, _ = card.geometry.shape_cells
    dx, dy, _ = (1e9 * d for d in card.geometry.cell)
    m = np.where(card.geometry.mask()[..., None], field, np.nan)[:, :, 0]
    x, y = (np.arange(nx) + 0.5 - nx / 2) * dx, (np.arange(ny) + 0.5 - ny / 2) * dy
    edges = ((np.arange(nx + 1) - nx / 2) * dx, (np.arange(ny + 1) - ny / 2) * dy)
    mesh = ax.pcolormesh(*edges, m[..., 2].T, cmap="coolwarm", vmin=-1, vmax=1, alpha=0.6)
    every = max(1, max(nx, ny) // 18)
    pick = slice(every // 2, None, every)
    ax.quiver(
        x[pick], y[pick], m[pick, pick, 0].T, m[pick, pick, 1].T, pivot="mid", scale=1.1 / (every * dx),
        scale_units="x", units="x", width=0.09 * every * dx,
    )  # fmt: skip
    ax.set(xlabel="x (nm)", ylabel="y (nm)", aspect="equal", title=f"{card.name}, relaxed")
    figure.colorbar(mesh, ax=ax, label="m_z (1)", shrink=0.8)
    return figure


@_styled
def calibration(dataset: xr.Dataset, shown: tuple[int, ...] = (0, 1, 3)) -> Figure:
    """Drive and response of a few trajectories."""
    figure, axes = _figure(9.2, 3.6, 2, len(shown), sharex=True, sharey="row")
    t = dataset["t"].values * 1e9
    for column, k in enumerate(shown):
        top, bottom = axes[:, column]
        top.step(t, dataset["u"].values[k], where="pre", color="black", lw=0.8)
        top.set_title(f"trajectory {k}: {dataset['drive_kind'].values[k]}")
        for component, colour in zip("xyz", (REDUCED, "#7a8794", FULL), strict=True):
            m = dataset["m"].sel(component=component).values[k]
            bottom.plot(t, m, color=colour, lw=0.9, label=f"<m_{component}>")
        bottom.set_xlabel("t (ns)")
    axes[0, 0].set_ylabel("drive u = J/J_max (1)")
    axes[1, 0].set_ylabel("<m> (1)")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@_styled
def rollout(dataset: xr.Dataset, model: CalibratedModel) -> Figure:
    """The worst held-out trajectory: full micromagnetics, free roll-out, and their difference."""
    amplitude = amplitudes(dataset)
    numbers = np.flatnonzero(held_out(amplitude) & (amplitude <= model.info.get("amplitude", 1.0)))
    errors = [np.inf if error is None else error for error in model.info["holdout_nrmse_each"]]
    worst = numbers[int(np.argmax(errors))]
    m = dataset["m"].values[worst]
    rolled = model.simulate(dataset["u"].values[worst])
    t = dataset["t"].values * 1e9
    figure, axes = _figure(9.2, 3.8, 2, 1, sharex=True, height_ratios=[2, 1])
    top, bottom = axes[:, 0]
    for axis, colour in enumerate((REDUCED, "#7a8794", FULL)):
        top.plot(t, m[:, axis], color=colour, lw=2.2, alpha=0.35)
        top.plot(t, rolled[:, axis], color=colour, lw=0.9, label=f"<m_{'xyz'[axis]}>")
        bottom.plot(t, 1e3 * (rolled - m)[:, axis], color=colour, lw=0.8)
    top.set(ylabel="<m> (1)", title=f"held-out trajectory {worst}, the worst: wide full, thin reduced")
    top.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    bottom.set(xlabel="t (ns)", ylabel="difference (10⁻³)")
    return figure


@_styled
def measured(dataset: xr.Dataset, model: CalibratedModel) -> Figure:
    """The best and the worst held-out trace: the measured signal, the predicted one, and their difference."""
    told = json.loads(dataset.attrs["measured"])
    tick, lead = model.tick, lead_of(dataset.sizes["tick"])
    amplitude = amplitudes(dataset)
    numbers = np.flatnonzero(held_out(amplitude) & (amplitude <= model.info.get("amplitude", 1.0)))
    errors = np.array([np.inf if error is None else error for error in model.info["holdout_nrmse_each"]])
    shown = numbers[[int(errors.argmin()), int(errors.argmax())]]
    chain = Chain(told["gain"], told["offset"], told["delay_s"] / tick)
    visited = dataset["m"].values[~held_out(amplitude)].reshape(-1, 3)
    y, u = dataset["signal"].values[shown], dataset["u"].values[shown]
    signals = Signals(y, dataset["m_first"].values[shown], visited, np.asarray(model.card.readout.axis), chain)
    predicted, _ = follow(model.estimator, signals, u)
    t = dataset["t"].values * 1e9
    figure, axes = _figure(9.2, 4.2, 3, 2, sharex=True, sharey="row", height_ratios=[1, 2, 1])
    for column, (k, word) in enumerate(zip(shown, ("best", "worst"), strict=True)):
        top, middle, bottom = axes[:, column]
        top.step(t, u[column], where="pre", color="black", lw=0.8)
        top.set_title(f"held-out trace {k}, the {word}: {model.info['holdout_nrmse_each'][list(numbers).index(k)]:.2g}")
        middle.plot(t, y[column], color=TARGET, lw=2.2, label="measured")
        middle.plot(t, predicted[column], color=REDUCED, lw=0.9, label=f"predicted ({model.kind.replace('_', ' ')})")
        bottom.plot(t, (y - predicted)[column], color=FULL, lw=0.6)
        for ax in (top, middle, bottom):
            ax.axvspan(0, t[lead - 1], color=TARGET, alpha=0.15, lw=0)
        bottom.set_xlabel("t (ns); its start is found in the grey part")
    for ax, label in zip(axes[:, 0], ("drive (1)", "signal (1)", "difference (1)"), strict=True):
        ax.set_ylabel(label)
    axes[1, 1].legend(loc="upper right")
    return figure


@_styled
def task(record: xr.Dataset, name: str, periods: int = 5) -> Figure:
    """Target, reduced and full outputs of the first and last periods, with the errors under each."""
    one = record.sel(network=name)
    ticks, total, outputs = record.sizes["period_tick"], record.sizes["tick"], record.sizes["output"]
    t = record["t"].values * 1e9
    shown = min(periods, total // ticks) * ticks
    spans = [slice(0, shown), slice(total - shown, total)] if total > 2 * shown else [slice(0, shown)]
    height, ratios = 0.2 + 3.2 * outputs, [2, 1] * outputs
    figure, axes = _figure(9.2, height, 2 * outputs, len(spans), sharey="row", sharex="col", height_ratios=ratios)
    for output in range(outputs):
        target = np.tile(one["f"].values[:, output], total // ticks)
        reduced, full = (one[f"z_{which}"].values[:, output] for which in ("reduced", "full"))
        for column, span in enumerate(spans):
            top, bottom = axes[2 * output : 2 * output + 2, column]
            top.plot(t[span], target[span], color=TARGET, lw=3.5, label="target")
            top.plot(t[span], reduced[span], color=REDUCED, label="reduced")
            top.plot(t[span], full[span], color=FULL, ls="--", label=f"full ({record.attrs['engine']})")
            bottom.plot(t[span], 1e3 * (reduced - target)[span], color=REDUCED)
            bottom.plot(t[span], 1e3 * (full - target)[span], color=FULL)
        number = f" {output + 1}" if outputs > 1 else ""
        axes[2 * output, 0].set_ylabel(f"output z{number} (1)")
        axes[2 * output + 1, 0].set_ylabel("z − f (10⁻³)")
    for column in range(len(spans)):
        which = "first" if column == 0 else "last"
        axes[0, column].set_title(f"{which} {shown // ticks} of {total // ticks} periods")
        axes[-1, column].set_xlabel("t in free run (ns)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@_styled
def nodes(record: xr.Dataset, name: str, shown: int = 8, periods: int = 3) -> Figure:
    """Signals of some junctions in closed loop, reduced and full; of all where there are fewer."""
    one = record.sel(network=name)
    shown = min(shown, record.sizes["node"])
    span = slice(0, periods * len(one["f"]))
    t = record["t"].values[span] * 1e9
    rows = 1 if shown < 4 else 2
    figure, axes = _figure(9.2, 1.5 * rows, rows, -(-shown // rows), sharex=True, sharey=True)
    for node, ax in enumerate(axes.ravel()):
        if node >= shown:
            ax.set_visible(False)
            continue
        ax.plot(t, one["r_reduced"].values[span, node], color=REDUCED, lw=2.4, alpha=0.4, label="reduced")
        ax.plot(t, one["r_full"].values[span, node], color=FULL, lw=0.9, label="full micromagnetics")
        ax.set_title(f"node {node}", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("t (ns)")
    for ax in axes[:, 0]:
        ax.set_ylabel("m · e_read (1)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@_styled
def confusion(classes: list[str], tables: dict[str, list[list[int]]]) -> Figure:
    """Confusion matrices side by side, in trials."""
    figure, axes = _figure(4.4 * len(tables), 3.5, 1, len(tables))
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        counts = np.array(table)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(*counts.shape):
            ax.text(j, i, counts[i, j], ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
        places = range(len(classes))
        ax.set_xticks(places, classes, rotation=30, ha="right")
        ax.set_yticks(places, classes)
        ax.spines[:].set_visible(False)
        ax.set(xlabel="recognised as (trials)", ylabel="fed in (trials)", title=title)
    return figure


@_styled
def reach(model: CalibratedModel) -> Figure:
    """Errors of held-out roll-outs against the amplitude of the drives, with the reach."""
    curve = [point for point in model.info["reach_curve"] if point["worst"] is not None]
    amplitude = [point["amplitude"] for point in curve]
    figure, axes = _figure(4.6, 3.0)
    ax = axes[0, 0]
    ax.semilogy(amplitude, [point["worst"] for point in curve], "o-", color=FULL, label="worst")
    ax.semilogy(amplitude, [point["median"] for point in curve], "o-", color=REDUCED, label="median")
    ax.axhline(GOOD, color=TARGET, lw=0.8)
    ax.axvline(model.scale.reach, color="black", lw=0.8, ls=":")
    ax.set(
        xlabel="drive, share of J_max (1)",
        ylabel="hold-out NRMSE",
        title=f"reach {model.scale.reach:g}: {model.verdict}",
    )
    ax.legend()
    return figure


STATES = {
    "works": "#2c8a4b", "unstable": "#c8862d", "follows": REDUCED, "poor": "#b9a3c9", "sings": FULL, "dead": TARGET,
}  # fmt: skip
"""Colours of what candidates of a tuning do."""


@_styled
def map_of_tuning(rows: list[dict[str, Any]], task: str, chosen_s: float | None) -> Figure:
    """What all candidates of a tuning do at a task: error against period, and where in strength of coupling.

    The error is that of the shape in free run, and of those that came not so far the one with the target fed back.

    Parameters
    ----------
    rows : list of dict
        of :meth:`spinloom.workflows.search.Candidate.row`
    task : str
    chosen_s : float or None
        period of the operating point that was chosen (s)
    """
    figure, axes = _figure(9.2, 3.4, 1, 2)
    left, right = axes[0]
    for state, colour in STATES.items():
        some = [row for row in rows if row[f"state_{task}"] == state]
        style: Any = {"ls": "", "marker": "o", "ms": 4, "mec": "none", "color": colour, "alpha": 0.75}
        error = [min(max(row.get(f"shape_{task}", row[f"taught_{task}"]), 1e-5), 3.0) for row in some]
        left.loglog([row["period_s"] * 1e9 for row in some], error, label=f"{state} ({len(some)})", **style)
        right.loglog([row["radius"] for row in some], [row["feedback"] for row in some], **style)
    left.axhline(GENERATES, color=TARGET, lw=0.8)
    if chosen_s is not None:
        left.axvline(chosen_s * 1e9, color="black", lw=0.8, ls=":")
    left.set(xlabel="period (ns)", ylabel="error (NRMSE, 3 at most)", title=f"{task}: speed against error")
    right.set(xlabel="spectral radius × gain", ylabel="feedback × gain", title="where it works, sings, is dead")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(STATES))
    return figure


@_styled
def map_of_design(rows: list[dict[str, Any]], tasks: list[str], chosen: dict[str, Any]) -> Figure:
    """Smallest error of each task over diameter and voltage, whatever the thickness, bias, period and network.

    Parameters
    ----------
    rows : list of dict
        of :func:`spinloom.workflows.design.evaluate`
    tasks : list of str
    chosen : dict
        the row that was chosen
    """
    diameters, voltages = (sorted({row[name] for row in rows}) for name in ("diameter", "voltage"))
    figure, axes = _figure(3.1 * len(tasks), 3.2, 1, len(tasks), sharey=True)
    for ax, task in zip(axes[0], tasks, strict=True):
        best = np.full((len(voltages), len(diameters)), np.nan)
        for row in rows:
            at = voltages.index(row["voltage"]), diameters.index(row["diameter"])
            if row["stable"]:
                best[at] = np.fmin(best[at], row[f"nrmse_{task}"])
        image = ax.imshow(best, origin="lower", cmap="viridis_r", aspect="auto", norm=mpl.colors.LogNorm())
        for (i, j), error in np.ndenumerate(best):
            told = "unstable" if np.isnan(error) else f"{error:.2f}"
            ax.text(j, i, told, ha="center", va="center", fontsize=7, color="white", path_effects=_OUTLINED)
        at = diameters.index(chosen["diameter"]), voltages.index(chosen["voltage"])
        ax.plot(*at, "s", ms=22, mfc="none", mec=FULL, mew=1.5)
        ax.set_xticks(range(len(diameters)), [f"{1e9 * d:.0f}" for d in diameters])
        ax.set_yticks(range(len(voltages)), [f"{v:.2g}" for v in voltages])
        ax.set(xlabel="diameter (nm)", title=f"{task}: smallest NRMSE")
        figure.colorbar(image, ax=ax, shrink=0.8)
    axes[0, 0].set_ylabel("voltage at full drive (V)")
    return figure


@_styled
def cost_of_design(rows: list[dict[str, Any]], judged: list[dict[str, Any]], chosen: dict[str, Any]) -> Figure:
    """Error, in units of what is asked, against energy per period, and where the speed comes from.

    Parameters
    ----------
    rows : list of dict
        of the map
    judged : list of dict
        those with other numbers of nodes
    chosen : dict
        the row that was chosen
    """
    figure, axes = _figure(9.2, 3.4, 1, 2)
    for ax, name, label in ((axes[0, 0], "energy", "energy per period (pJ)"), (axes[0, 1], "period", "period (ns)")):
        scale = 1e12 if name == "energy" else 1e9
        some = [row for row in rows if row["stable"]]
        style: Any = {"ls": "", "marker": "o", "ms": 3, "mec": "none"}
        ax.loglog(
            [scale * r[name] for r in some], [min(r["score"], 10) for r in some], color=TARGET, alpha=0.6, **style
        )
        for nodes, colour in zip(
            sorted({row["nodes"] for row in judged}), (REDUCED, "#2c8a4b", "#c8862d"), strict=False
        ):
            these = [row for row in judged if row["nodes"] == nodes]
            points = [scale * r[name] for r in these], [min(r["score"], 10) for r in these]
            ax.loglog(*points, color=colour, label=f"N = {nodes}", **{**style, "ms": 5})
        ax.plot(scale * chosen[name], min(chosen["score"], 10), "s", ms=12, mfc="none", mec=FULL, mew=1.5)
        ax.axhline(1, color="black", lw=0.8, ls=":")
        ax.set(xlabel=label, ylabel="largest error / what is asked")
    axes[0, 0].legend()
    return figure


@_styled
def yields(table: pd.DataFrame, limits: dict[str, float]) -> Figure:
    """Errors of chips against the spread, and the share of chips within a limit.

    Parameters
    ----------
    table : pandas.DataFrame
        columns ``how, factor, task, chip, nrmse``
    limits : dict of str to float
        largest error, by task
    """
    colours = {"each": REDUCED, "several": "#2c8a4b", "nominal": FULL}
    figure, axes = _figure(3.1 * len(limits), 5.6, 2, len(limits), sharex=True)
    for column, (task, limit) in enumerate(limits.items()):
        top, bottom = axes[:, column]
        some = table[(table["task"] == task) & (table["factor"] > 0)]
        for how, colour in colours.items():
            one = some[some["how"] == how].groupby("factor")["nrmse"]
            low, median, high = (one.quantile(q) for q in (0.1, 0.5, 0.9))
            top.plot(median.index, median, "o-", ms=3, color=colour, label=how)
            top.fill_between(median.index, low, high, color=colour, alpha=0.15, lw=0)
            within = one.apply(lambda errors, limit=limit: (errors <= limit).mean())
            bottom.plot(within.index, within, "o-", ms=3, color=colour)
        top.axhline(limit, color=TARGET, lw=0.8)
        top.set(ylim=(0, None), title=task)
        bottom.set(xlabel="multiple of the spread", ylim=(0, 1.03))
    axes[0, 0].set_ylabel("NRMSE: median, 10 to 90 % of chips")
    axes[1, 0].set_ylabel("share of chips within the limit")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@_styled
def probe(found: Probe) -> Figure:
    """The signal against a held drive, from rest and both ways, and the spectrum of the answer to a small step."""
    figure, axes = _figure(9.2, 3.2, 1, 2)
    held, ring = axes[0]
    u = [row["u"] for row in found.levels]
    held.errorbar(
        u,
        [row["signal"] for row in found.levels],
        yerr=[row["after_burst"] for row in found.levels],
        fmt="o",
        ms=3,
        color=REDUCED,
        label="from rest; bars: oscillation after a burst",
    )
    for key, marker, label in (("from_above", "v", "from u = 1"), ("from_below", "^", "from u = -1")):
        held.plot(
            [row["u"] for row in found.past], [row[key] for row in found.past], marker, ms=5, mfc="none", label=label,
            color=FULL if key == "from_above" else TARGET,
        )  # fmt: skip
    held.axvspan(-found.safe, found.safe, color=TARGET, alpha=0.15, lw=0)
    held.set(xlabel="held drive u = J/J_max (1)", ylabel="m · e_read (1)", title=f"{found.name}: quiet where shaded")
    held.legend()
    ring.semilogy([f / 1e9 for f in found.spectrum["f"]], [1e9 * m for m in found.spectrum["m"]], color=REDUCED)
    if found.resonance is not None:
        ring.axvline(found.resonance / 1e9, color=TARGET)
        ring.set_title(f"{found.resonance / 1e9:.3g} GHz, Q = {found.quality:.2g}")
    ring.set(xlabel="f (GHz)", ylabel="d<m>/du after a small step (ns)")
    return figure
