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
from spinloom.networks.record import COMPARED_PERIODS, load_record
from spinloom.reduced_models.model import load_model
from spinloom.reduced_models.region import WARN_SHARE
from spinloom.workflows import figures


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
    record = None
    if summary["generate"]:
        record = load_record(folder / "cosimulation.nc")
    recognise = summary["recognise"]
    pictures: dict[str, Any] = {
        "device": figures.device(model.card, calibration["field_start"].values),
        "calibration": figures.calibration(calibration),
        "rollout": figures.rollout(calibration, model),
        "confusion": figures.confusion(
            recognise["classes"],
            {
                "reduced": recognise["confusion_reduced"],
                "full micromagnetics": recognise["confusion_full"],
            },
        ),
    }
    shown = next(iter(summary["generate"]), None)
    if record is not None and shown is not None:
        pictures["tasks"] = {task: figures.task(record, task) for task in summary["generate"]}
        pictures["nodes"] = figures.nodes(record, shown)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            s=summary,
            nodes=summary["experiment"]["generate"]["topology"]["nodes"],
            warnings=_warnings(summary),
            compared={task: g for task, g in summary["generate"].items() if "nrmse_embedded" in g},
            compared_periods=COMPARED_PERIODS,
            outside=_outside(summary),
            power=_power(model.card, record, shown, model.tick),
            card=_card_rows(model.card),
            recognise_periods=summary["experiment"]["recognise"]["periods"],
            pictures=_data_uris(pictures),
        )
    )
    path = folder / "report.html"
    with files.written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return {"report": str(path)}


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise SpinloomError(f"{folder}: holds no finished run (summary.json); use 'spinloom run' first") from None
    except ValueError as error:
        raise SpinloomError(f"{path}: damaged ({error}); use 'spinloom run' again") from None


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["figure"] = _figure
    return environment


def _figure(value: float | None) -> str:
    """An error, or that there is none to tell: JSON has no infinity."""
    if value is None:
        return "diverged"
    return f"{value:.2g}" if value < 0.001 or value >= 1e4 else f"{value:.4f}"


def _data_uris(pictures: Any) -> Any:
    if isinstance(pictures, dict):
        return {name: _data_uris(picture) for name, picture in pictures.items()}
    return "data:image/svg+xml;base64," + base64.b64encode(pictures.encode()).decode()


def _outside(summary: dict[str, Any]) -> dict[str, float]:
    shares = {"held-out roll-outs": summary["reduced_model"]["outside_share"]}
    for task, result in summary["generate"].items():
        shares[f"{task} reduced"] = result["outside_share_reduced"]
        shares[f"{task} full"] = result["outside_share_full"]
    shares["recognise reduced"] = summary["recognise"]["outside_share_reduced"]
    shares["recognise full"] = summary["recognise"]["outside_share_full"]
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


def _card_rows(card: DeviceCard) -> list[tuple[str, str, str]]:
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
