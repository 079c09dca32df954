"""Stage: fit a reduced model to a calibration set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from spinloom.device_models import files
from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import CalibratedModel, load_model, save_model
from spinloom.workflows import figures
from spinloom.workflows.console import progress, say, show


def read_reach(text: str) -> float | str:
    """A reach as it is written on the command line: a share of J_max, or ``auto``.

    Raises
    ------
    SpinloomError
        for anything else

    Examples
    --------
    >>> read_reach("0.5"), read_reach("auto")
    (0.5, 'auto')
    """
    if text.strip().lower() == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise SpinloomError(f"reach: expected a share of J_max such as 0.5, or auto; got {text!r}") from None


def fit_stage(
    calibration: Path, kind: str, out: Path, reach: float | str = "auto", plot: Path | None = None
) -> dict[str, Any]:
    """Fit, judge on held-out trajectories, save, and time the saved model; draw the worst of these, if asked (SVG).

    Returns
    -------
    result : dict
        ``kind, verdict, words, reach, holdout_nrmse, reach_curve, outside_share, scale, us_per_device_tick, params``
    """
    dataset = load_calibration(calibration)
    for path in (out, plot):
        if path is not None:
            files.check_writable(path)
    if plot is not None and "deviation" in dataset:
        raise SpinloomError("plot: a population has no single worst trajectory to draw; leave --plot out")
    with progress(f"fit {kind}", 1) as advance:
        model = fit_model(dataset, kind, reach, advance)
    save_model(model, out)
    model = load_model(out)
    if plot is not None:
        picture = figures.measured if "signal" in dataset else figures.rollout
        with files.written_whole(plot) as temporary:
            temporary.write_text(picture(dataset, model), encoding="utf-8")
    say(in_words(model))
    show(curve_table(model))
    model.region.warn(model.info["outside_share"], "held-out roll-outs")
    return {
        "kind": model.kind,
        "verdict": model.verdict,
        "words": in_words(model),
        "reach": model.scale.reach,
        "holdout_nrmse": model.holdout_nrmse,
        "reach_curve": model.info["reach_curve"],
        "outside_share": model.info["outside_share"],
        "scale": model.scale.model_dump(),
        "us_per_device_tick": _microseconds(model.node),
        "params": {k: v for k, v in model.estimator.get_params().items() if k in ("degree", "ridge")},
        "out": str(out),
    }


def in_words(model: CalibratedModel) -> str:
    """What a fit is worth, and what to do where it is worth little."""
    scale, card = model.scale, model.card
    if model.temperature > 0:
        return _warm_words(model)
    worst = f"worst held-out roll-out off by {model.holdout_nrmse:.2g} of its spread"
    upto = f"up to {scale.reach:g} of J_max ({scale.reach * card.torque.J_max:.3g} A/m2)"
    if "measured" in model.info:
        return f"{model.verdict}: {_measured_words(model, worst, upto)}"
    if model.verdict == "good":
        further = "" if scale.reach == 1 else "; networks stay within it"
        return f"good: the {_name(model)} of {card.name} holds {upto}, {worst}{further}"
    if model.verdict == "usable":
        return (
            f"usable: the {_name(model)} of {card.name} is nowhere better than 1 %, best {upto}, {worst}. "
            "Networks may drift in full micromagnetics: calibrate with more trajectories, a shorter tick or smaller "
            "grades, or lower torque.J_max"
        )
    return (
        f"unfit: the {_name(model)} of {card.name} does not hold, not even {upto}, {worst}. Do not train on it: "
        "lower torque.J_max, raise the bias or the damping, or add smaller grades; 'spinloom probe' says which"
    )


def _measured_words(model: CalibratedModel, worst: str, upto: str) -> str:
    """The same of a measured device."""
    told = model.info["measured"]
    noise = max(told["noise_each"])
    text = f"the {_name(model)} of {model.card.name} follows measured signals {upto}, {worst} or less, noise aside"
    if model.verdict == "good":
        return text
    if told["limited_by_noise"]:
        return (
            f"{text}. Noise of {noise:.2g} of the spread hides smaller errors: bring longer pieces (--piece), or "
            "average repeated traces"
        )
    return (
        f"{text}. The device is more than its card says: check geometry, axes and units in the card, widen the "
        "tolerances, bring more traces, or measure under smaller drives"
    )


def _warm_words(model: CalibratedModel) -> str:
    """The same of a warm device."""
    noise, card = model.info["noise"], model.card
    told = (
        f"{model.verdict}: the {_name(model)} of {card.name} at {model.temperature:g} K, up to {model.scale.reach:g} "
        f"of J_max: the noise that held-out ticks must have had is {noise['rms']:.3f} of the fitted one (rms), its "
        f"correlation from tick to tick {noise['correlation']:.2g}"
    )
    if model.verdict == "good":
        return told
    return (
        f"{told}. The noise of a tick is off by {noise['off']:.1%}: calibrate with more trajectories, or, where ticks "
        "are correlated, with a longer tick; <m> alone may not say what comes next"
    )


def _name(model: CalibratedModel) -> str:
    return model.kind.replace("_", " ")


def curve_table(model: CalibratedModel) -> Table:
    """Errors of held-out roll-outs against the amplitude of the drives."""
    table = Table(title="held-out roll-outs, drives up to", box=None, title_justify="left")
    for heading in ("of J_max", "worst", "median", "trajectories", "model", ""):
        table.add_column(heading, justify="right")
    for point in model.info["reach_curve"]:
        worst, median = (np.inf if point[key] is None else point[key] for key in ("worst", "median"))
        here = "<- reach" if point["amplitude"] == model.info["amplitude"] else ""
        kind, count = point["kind"].replace("_", " "), str(point["trajectories"])
        table.add_row(f"{point['amplitude']:g}", f"{worst:.2g}", f"{median:.2g}", count, kind, here)
    return table


def _microseconds(node: Node, devices: int = 40, ticks: int = 2000) -> float:
    """Wall time of a compiled roll-out, per device and tick (us)."""
    u = np.random.default_rng(0).uniform(-1, 1, (ticks, devices))
    drive(node, u, chunk=ticks)
    began = time.perf_counter()
    drive(node, u, chunk=ticks)
    return (time.perf_counter() - began) / (devices * ticks) * 1e6
