"""Stage: one self-contained page that shows a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import UndefinedError

from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.readout import junction_power
from spinloom.device_models.texts import MOST_SETTINGS, json_object, read_bytes
from spinloom.networks.fluctuations import FIGURES
from spinloom.networks.record import COMPARED_PERIODS, load_record
from spinloom.reduced_models.model import load_model
from spinloom.reduced_models.region import WARN_SHARE
from spinloom.workflows import figures
from spinloom.workflows.page import device_plots
from spinloom.workflows.page.closed_loop import MOST_NOISES, closed_loop
from spinloom.workflows.page.frame import as_picture, render, write
from spinloom.workflows.summary import CHIP


def report_stage(folder: Path) -> dict[str, Any]:
    """Draw ``report.html`` from what a run left in its folder, whoever it is from.

    Returns
    -------
    result : dict
        ``report``, the page's path

    Raises
    ------
    SpinloomError
        if the folder holds no finished run, or its summary is not what a run wrote
    """
    summary = _summary(folder)
    try:
        return draw_report(folder, summary)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, UndefinedError) as error:
        told = f"{type(error).__name__}: {error}"[:500]
        raise SpinloomError(
            f"{folder / 'summary.json'}: not what a run wrote ({told}); use 'spinloom run' again"
        ) from None


def draw_report(folder: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Draw ``report.html`` from a summary and the files beside it; as :func:`report_stage`."""
    calibration, model = load_calibration(folder / "calibration.nc"), load_model(folder / "model.nc")
    verified = [task for task, result in summary["generate"].items() if "engine_full" in result]
    record = load_record(folder / "cosimulation.nc") if verified else None
    recognise = summary["recognise"]
    shown, kept = device_plots.trajectories(calibration, model)
    plots: dict[str, Any] = {
        **shown,
        "relaxed": device_plots.relaxed(model.card, calibration["field_start"].values),
        "reach": device_plots.reach(model),
        "confusion_reduced": device_plots.confusion(
            recognise["classes"], recognise["confusion_reduced"], "reduced junctions"
        ),
    }
    if recognise["verified"]:
        plots["confusion_full"] = device_plots.confusion(
            recognise["classes"], recognise["confusion_full"], "full micromagnetics"
        )
    loop = closed_loop(record, model.card) if record is not None else None
    if loop is not None:
        plots |= loop.plots
    finishes = {task: result["finish"] for task, result in summary["generate"].items() if result["finish"]}
    noises = max((record.sizes.get(f"seed_{run}", 1) for run in ("reduced", "full")) if record is not None else [1])
    page = render(
        "report.html",
        plots,
        s=summary,
        loop_of=loop,
        picture=None if record is None else as_picture(figures.outputs(first_chip(record))),
        trajectories=kept,
        most_noises=MOST_NOISES,
        noises_left_out=noises if noises > MOST_NOISES else 0,
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
        power=_power(model.card, first_chip(record) if record is not None else None, verified, model.tick),
        card=card_rows(model.card),
        recognise_periods=summary["experiment"]["recognise"]["periods"],
    )
    path = folder / "report.html"
    write(path, page)
    return {"report": str(path)}


def first_chip(record: xr.Dataset) -> xr.Dataset:
    """Of a record of several chips, the first, its networks by the names of their tasks."""
    names = [str(name) for name in record["network"].values]
    first = [k for k, name in enumerate(names) if CHIP not in name or name.endswith(f"{CHIP}0")]
    return record.isel(network=first).assign_coords(network=[names[k].split(CHIP)[0] for k in first])


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    if not path.exists():
        raise SpinloomError(f"{folder}: holds no finished run (summary.json); use 'spinloom run' first")
    try:
        return json_object(read_bytes(path, "the summary of a run", MOST_SETTINGS), str(path))
    except SpinloomError as error:
        raise SpinloomError(f"{error}; use 'spinloom run' again") from None


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


def _power(card: DeviceCard, record: xr.Dataset | None, verified: list[str], tick: float) -> dict[str, Any]:
    """Electrical power of the junctions at the first task, from the drive and the conductance of each tick."""
    task = next(iter(verified), None)
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
