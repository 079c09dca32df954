"""Stage: fit a reduced model to a calibration set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.reduced_models.model import fit_model, load_model, save_model
from spinloom.workflows.console import progress


def fit_stage(calibration: Path, kind: str, out: Path, reach: float = 1.0) -> dict[str, Any]:
    """Fit, judge on held-out trajectories, save, and time the saved model.

    Returns
    -------
    result : dict
        ``kind, holdout_nrmse, outside_share, scale, us_per_device_tick, params``
    """
    dataset = load_calibration(calibration)
    files.check_writable(out)
    with progress(f"fit {kind}", 1) as advance:
        model = fit_model(dataset, kind, reach)
        advance(1)
    save_model(model, out)
    model = load_model(out)
    model.region.warn(model.info["outside_share"], "held-out roll-outs")
    return {
        "kind": model.kind,
        "holdout_nrmse": model.holdout_nrmse,
        "outside_share": model.info["outside_share"],
        "scale": model.scale.model_dump(),
        "us_per_device_tick": _microseconds(model.node),
        "params": {k: v for k, v in model.estimator.get_params().items() if k in ("degree", "ridge")},
        "out": str(out),
    }


def _microseconds(node: Node, devices: int = 40, ticks: int = 2000) -> float:
    """Wall time of a compiled roll-out, per device and tick (us)."""
    u = np.random.default_rng(0).uniform(-1, 1, (ticks, devices))
    drive(node, u, chunk=ticks)
    began = time.perf_counter()
    drive(node, u, chunk=ticks)
    return (time.perf_counter() - began) / (devices * ticks) * 1e6
