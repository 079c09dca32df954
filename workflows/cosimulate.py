"""Stage: the verdict. The same trained network, every node in full micromagnetics."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from device_models import files
from device_models.engines import check_engine, open_engine
from device_models.errors import SpinloomError
from networks.store import TrainedNetwork, load_network
from networks.tasks import CLASSES
from networks.topology import Weights
from networks.trials import FreeRun, generate, recognise
from reduced_models.model import CalibratedModel, load_model
from workflows.console import progress
from workflows.train import full_trial_seed, outside_shares

KIND, FORMAT = "cosimulation", 1


def load_networks(paths: list[Path]) -> tuple[list[TrainedNetwork], CalibratedModel]:
    """Networks that share one model.

    Raises
    ------
    SpinloomError
        if their models differ
    """
    loaded = [load_network(path) for path in paths]
    if len({files.digest(model_path) for _, model_path in loaded}) != 1:
        raise SpinloomError("networks: expected all to be trained on the same model; run them one by one")
    return [network for network, _ in loaded], load_model(loaded[0][1])


def verdict_generate(
    networks: list[TrainedNetwork], model: CalibratedModel, engine_name: str, periods: int, out: Path | None = None
) -> list[dict[str, Any]]:
    """Run trained generators in closed loop, reduced and full, from the same start.

    All networks run side by side as one batch of devices.

    Parameters
    ----------
    networks : list of TrainedNetwork
        of the same size and period
    model : CalibratedModel
    engine_name : str
    periods : int
        in free run
    out : path, optional
        where the record goes (NetCDF)

    Returns
    -------
    results : list of dict
        of each network: ``task, engine, nrmse_reduced, nrmse_full, periods,
        phase_drift_per_period, max_node_difference, outside_share, wall_s``
    """
    if len({(n.period_ticks, n.weights.nodes, n.settings["washout"]) for n in networks}) != 1:
        raise SpinloomError("networks: expected the same size, period and washout; run them one by one")
    check_engine(engine_name)
    if out is not None:
        files.check_writable(out)
    weights = Weights.stack([network.weights for network in networks])
    f = np.stack([network.f for network in networks], axis=1)
    washout, ticks, axis = networks[0].settings["washout"], len(f), networks[0].axis
    reduced = generate(model, weights, axis, f, periods, washout)
    began = time.perf_counter()
    engine = open_engine(engine_name, model.card, model.tick)
    devices = weights.networks * weights.nodes
    with progress(f"{devices} junctions in full micromagnetics", (washout + periods) * ticks) as advance:
        full = generate(engine, weights, axis, f, periods, washout, advance)
    wall = time.perf_counter() - began
    outside = outside_shares(model, full.record.m, full.record.u)
    difference = np.abs(full.record.r - reduced.record.r).max(axis=0)
    if out is not None:
        files.save(_record(networks, model, engine, f, reduced, full), out, KIND, FORMAT)
    results = []
    for k, network in enumerate(networks):
        model.region.warn(outside[k], f"{network.name} in full micromagnetics")
        results.append(
            {
                "task": network.name,
                "engine": engine_name,
                "nrmse_reduced": float(reduced.nrmse[k]),
                "nrmse_full": float(full.nrmse[k]),
                "periods": periods,
                "phase_drift_per_period": float(full.phase_drift[k]),
                "max_node_difference": float(difference[k].max()),
                "worst_node": int(difference[k].argmax()),
                "outside_share": outside[k],
                "wall_s": wall,
            }
        )
    return results


def _record(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    engine: Any,
    f: np.ndarray,
    reduced: FreeRun,
    full: FreeRun,
) -> xr.Dataset:
    node = ("tick", "network", "node")
    return xr.Dataset(
        {
            "f": (("period_tick", "network"), f, {"units": "1", "long_name": "one period of the target"}),
            "z_reduced": (("tick", "network"), reduced.z, {"units": "1"}),
            "z_full": (("tick", "network"), full.z, {"units": "1"}),
            "r_reduced": (node, reduced.record.r.astype(np.float32), {"units": "1"}),
            "r_full": (node, full.record.r.astype(np.float32), {"units": "1"}),
            "u_full": (node, full.record.u.astype(np.float32), {"units": "1"}),
        },
        coords={
            "network": [network.name for network in networks],
            "t": (("tick",), model.tick * np.arange(1, len(full.z) + 1), {"units": "s"}),
        },
        attrs={"engine": engine.name, "engine_version": engine.version, "card": model.card.to_json()},
    )


def verdict_recognise(network: TrainedNetwork, model: CalibratedModel, engine_name: str, trials: int) -> dict[str, Any]:
    """Trials of a trained recogniser, every junction in full micromagnetics.

    Returns
    -------
    result : dict
        ``task, engine, accuracy_full, trials, confusion, outside_share, wall_s``
    """
    check_engine(engine_name)
    settings = network.settings
    began = time.perf_counter()
    engine = open_engine(engine_name, model.card, model.tick)
    devices, ticks = trials * network.weights.nodes, settings["periods"] * network.period_ticks
    with progress(f"recognise, {devices} junctions in full micromagnetics", ticks) as advance:
        result = recognise(
            engine,
            network.weights,
            network.axis,
            trials=trials,
            period_ticks=network.period_ticks,
            periods=settings["periods"],
            seed=full_trial_seed(settings["seed"]),
            progress=advance,
        )
    outside = model.region.outside(result.record.m, result.record.u)
    model.region.warn(outside, "recognise in full micromagnetics")
    return {
        "task": "recognise",
        "engine": engine_name,
        "accuracy_full": float(result.accuracy[0]),
        "trials": trials,
        "classes": list(CLASSES),
        "confusion": result.confusion().tolist(),
        "outside_share": outside,
        "wall_s": time.perf_counter() - began,
    }
