"""Stage: one self-contained page that shows a run."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.readout import junction_power
from spinloom.networks.fluctuations import FIGURES
from spinloom.networks.record import COMPARED_PERIODS, load_record
from spinloom.reduced_models.model import load_model
from spinloom.reduced_models.region import WARN_SHARE
from spinloom.workflows import figures
from spinloom.workflows.summary import CHIP


def report_stage(folder: Path) -> dict[str, Any]:
    """Draw ``report.html`` from what a run left in its folder.

    Returns
    -------
    result : dict
        ``report``, the page's path

    Raises
    ------
    SpinloomError
        if the folder holds no finished run
    """
    summary = _summary(folder)
    calibration, model = load_calibration(folder / "calibration.nc"), load_model(folder / "model.nc")
    verified = [task for task, result in summary["generate"].items() if "engine_full" in result]
    record = first_chip(load_record(folder / "cosimulation.nc")) if verified else None
    recognise = summary["recognise"]
    tables = {"reduced": recognise["confusion_reduced"]}
    if recognise["verified"]:
        tables["full micromagnetics"] = recognise["confusion_full"]
    pictures: dict[str, Any] = {
        "device": figures.device(model.card, calibration["field_start"].values),
        "calibration": figures.calibration(calibration),
        "rollout": figures.rollout(calibration, model),
        "reach": figures.reach(model),
        "confusion": figures.confusion(recognise["classes"], tables),
    }
    shown = next(iter(verified), None)
    if record is not None and shown is not None:
        pictures["tasks"] = {task: figures.task(record, task) for task in verified}
        pictures["nodes"] = figures.nodes(record, shown)
    finishes = {task: result["finish"] for task, result in summary["generate"].items() if result["finish"]}
    page = (
        environment()
        .get_template("report.html")
        .render(
            s=summary,
            nodes=summary["experiment"]["generate"]["topology"]["nodes"],
            verdict=summary["reduced_model"]["words"],
            warnings=_warnings(summary),
            finished={task: finish for task, finish in finishes.items() if finish["finished"]},
            noisy={task: g for task, g in summary["generate"].items() if "noise" in g},
            noise_names=FIGURES,
            by_chip=_by_chip(summary),
            compared={task: g for task, g in summary["generate"].items() if "nrmse_embedded" in g},
            compared_periods=COMPARED_PERIODS,
            outside=_outside(summary),
            power=_power(model.card, record, shown, model.tick),
            card=card_rows(model.card),
            recognise_periods=summary["experiment"]["recognise"]["periods"],
            pictures=data_uris(pictures),
        )
    )
    path = folder / "report.html"
    with files.written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return {"report": str(path)}


def first_chip(record: xr.Dataset) -> xr.Dataset:
    """Of a record of several chips, the first, its networks by the names of their tasks."""
    names = [str(name) for name in record["network"].values]
    first = [k for k, name in enumerate(names) if CHIP not in name or name.endswith(f"{CHIP}0")]
    return record.isel(network=first).assign_coords(network=[names[k].split(CHIP)[0] for k in first])


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise SpinloomError(f"{folder}: holds no finished run (summary.json); use 'spinloom run' first") from None
    except ValueError as error:
        raise SpinloomError(f"{path}: damaged ({error}); use 'spinloom run' again") from None


def environment() -> jinja2.Environment:
    """The templates of pages, with what they format figures by."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["figure"] = _figure
    environment.filters["drift"] = _drift
    environment.filters["interval"] = _interval
    environment.filters["apart"] = lambda value: "–" if value is None else f"{value:+.1f}"
    return environment


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


def _by_chip(summary: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Errors of every chip, of tasks that ran on several."""
    tasks = {**summary["generate"], "recognise": summary["recognise"]}
    names = {"nrmse_reduced": "NRMSE reduced", "nrmse_full": "NRMSE full"}
    names |= {"accuracy_reduced": "right reduced", "accuracy_full": "right full"}
    return {
        task: {names[key]: values for key, values in result["chips"].items() if values}
        for task, result in tasks.items()
        if "chips" in result
    }


def data_uris(pictures: Any) -> Any:
    """SVG texts, in whatever dictionaries, as what a page can show without other files."""
    if isinstance(pictures, dict):
        return {name: data_uris(picture) for name, picture in pictures.items()}
    return "data:image/svg+xml;base64," + base64.b64encode(pictures.encode()).decode()


def _outside(summary: dict[str, Any]) -> dict[str, float]:
    shares = {"held-out roll-outs": summary["reduced_model"]["outside_share"]}
    for name, result in {**summary["generate"], "recognise": summary["recognise"]}.items():
        for nodes in ("reduced", "full"):
            if f"outside_share_{nodes}" in result:
                shares[f"{name} {nodes}"] = result[f"outside_share_{nodes}"]
    return shares


def _warnings(summary: dict[str, Any]) -> list[str]:
    return [
        f"{what}: {share:.1%} of the node-ticks were outside the region that the model was calibrated in."
        for what, share in _outside(summary).items()
        if share > WARN_SHARE
    ]


def _power(card: DeviceCard, record: xr.Dataset | None, task: str | None, tick: float) -> dict[str, Any]:
    """Electrical power of the junctions, from the drive and the conductance of each tick."""
    result = {
        "task": task,
        "current_uA": card.torque.J_max * card.area * 1e6,
        "resistance_kohm": card.readout.RA / card.area / 1e3,
    }
    if record is None or task is None:
        return {**result, "mean_uW": float("nan"), "network_pJ": float("nan")}
    one = record.sel(network=task)
    power = junction_power(card, one["u_full"].values, one["r_full"].values)
    period = len(one["f"]) * tick
    return {
        **result,
        "mean_uW": float(power.mean() * 1e6),
        "network_pJ": float(power.mean() * power.shape[1] * period * 1e12),
    }


def card_rows(card: DeviceCard) -> list[tuple[str, str, str]]:
    """A card as rows of a table: name, value, unit."""
    g, m, t = card.geometry, card.material, card.torque
    return [
        ("shape", f"{g.shape}, {g.mask().sum()} cells", ""),
        ("size", " × ".join(f"{1e9 * x:g}" for x in g.size), "nm"),
        ("cell", " × ".join(f"{1e9 * x:g}" for x in g.cell), "nm"),
        ("Ms", f"{m.Ms / 1e3:g}", "kA/m"),
        ("A", f"{m.A * 1e12:g}", "pJ/m"),
        ("Ku", f"{m.Ku / 1e3:g}", "kJ/m³"),
        ("damping α", f"{m.alpha:g}", ""),
        ("bias field", ", ".join(f"{x / 1e3:g}" for x in card.bias.H), "kA/m"),
        ("polariser", ", ".join(f"{x:g}" for x in t.polariser), ""),
        ("P, Λ, ε′", f"{t.P:g}, {t.Lambda:g}, {t.eps_prime:g}", ""),
        ("J at u = 1", f"{t.J_max / 1e9:g}", "GA/m²"),
        ("Oersted field", t.oersted, ""),
        ("read-out axis", ", ".join(f"{x:g}" for x in card.readout.axis), ""),
        ("TMR, RA", f"{100 * card.readout.TMR:g} %, {card.readout.RA * 1e12:g}", "Ω µm²"),
    ]
