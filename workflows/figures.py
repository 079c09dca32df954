"""The pictures of a run. Each public function gives SVG text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from spinloom.device_models.calibration import amplitudes
from spinloom.device_models.probe import Probe
from spinloom.reduced_models.measured_fit import Signals, follow
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.observation import Chain, lead_of
from spinloom.reduced_models.reach import held_out

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
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., str]:
    """Draw in the house style and give SVG text, the same for the same data."""

    @wraps(draw)
    def svg(*arguments: Any, **options: Any) -> str:
        with mpl.rc_context(_STYLE):
            return as_svg(draw(*arguments, **options))

    return svg


def as_svg(figure: Figure, fonts: Literal["path", "none"] = "path") -> str:
    """A figure as SVG text, the same for the same data; letters are drawn, or left to the fonts of the reader."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "spinloom", "svg.fonttype": fonts}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


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
def outputs(record: xr.Dataset, periods: int = 4) -> Figure:
    """Outputs of the first network in closed loop, beside its target: the first periods of the free run."""
    f = record["f"].values[:, 0]
    rows = slice(0, min(periods * len(f), record.sizes["tick"]))
    t = 1e9 * record["t"].values[rows]
    figure, axes = _figure(7.2, 2.4)
    axis = axes[0, 0]
    target = np.tile(f, (-(-len(t) // len(f)), 1))[: len(t)]
    for values, colour, name, width in (
        (target, TARGET, "target", 3.0),
        (record["z_reduced"].values[rows, 0], REDUCED, "reduced", 1.4),
        (record["z_full"].values[rows, 0], FULL, f"full ({record.attrs['engine']})", 0.8),
    ):
        # Of a network that diverged what can be drawn.
        shown = np.where(np.abs(values) < 1e3, values, np.nan)
        lines = axis.plot(t, shown, color=colour, lw=width)
        lines[0].set_label(name)
    axis.set(xlabel="t in free run (ns)", ylabel="output z (1)")
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
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
