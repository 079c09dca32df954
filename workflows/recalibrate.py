"""Calibrate again where networks go: their own nodes in full micromagnetics join the calibration set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.calibration import amplitudes, load_calibration, save_calibration
from spinloom.device_models.card import expect_cold
from spinloom.device_models.engines import Choice
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import Record
from spinloom.networks.store import TrainedNetwork, load_network, save_network
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import CalibratedModel, load_model, save_model
from spinloom.reduced_models.reach import GOOD
from spinloom.workflows.console import progress, say
from spinloom.workflows.full_runs import How, run_whole
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.train import generators
from spinloom.workflows.trust import model_error, worst_nodes

NODES = 40
"""Nodes whose records join a calibration set in one round, at most."""
KIND = "network"
"""What their drives are called among the kinds of drive."""


def join_calibration(dataset: xr.Dataset, u: np.ndarray, m: np.ndarray, amplitude: float) -> xr.Dataset:
    """A calibration set with further trajectories, from equilibrium, of as many ticks.

    Parameters
    ----------
    dataset : xarray.Dataset
        from :func:`spinloom.device_models.calibration.calibrate`
    u : (n_ticks, n) ndarray
        drives J / J_max
    m : (n_ticks, n, 3) ndarray
        <m> at the end of each tick
    amplitude : float
        the grade that they belong to, as a share of J_max

    Returns
    -------
    dataset : xarray.Dataset
        a new one; the other stays as it is

    Raises
    ------
    SpinloomError
        for trajectories of another length
    """
    ticks, count = dataset.sizes["tick"], u.shape[1]
    if len(u) != ticks:
        raise SpinloomError(f"calibration: expected further trajectories of {ticks} ticks, got {len(u)}")
    grown = dataset.drop_vars(["u", "m", "drive_kind", "amplitude"], errors="ignore")
    values = {"u": (dataset["u"], u.T), "m": (dataset["m"], m.transpose(1, 0, 2))}
    for name, (old, new) in values.items():
        grown[name] = (old.dims, np.concatenate([old.values, new]), old.attrs)
    kinds = np.concatenate([dataset["drive_kind"].values.astype(object), np.full(count, KIND, object)]).astype(str)
    grades = np.concatenate([amplitudes(dataset), np.full(count, float(amplitude))])
    grown = grown.assign_coords(drive_kind=("trajectory", kinds), amplitude=("trajectory", grades))
    grown["amplitude"].attrs.update(dataset["amplitude"].attrs if "amplitude" in dataset else {})
    return grown.assign_attrs(device_ns=dataset.attrs["device_ns"] + count * ticks * dataset.attrs["tick_s"] * 1e9)


def recalibrate(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    dataset: xr.Dataset,
    choice: Choice,
    rounds: int = 1,
    how: How | None = None,
) -> tuple[list[TrainedNetwork], CalibratedModel, xr.Dataset, list[dict[str, Any]]]:
    """Let records of the networks' own nodes join the calibration, fit and train again.

    Every round runs the networks in full micromagnetics for as long as a calibration's trajectory,
    takes the nodes on which the model errs most and others at even distances, and trains with the
    settings and targets of before. It ends early where the model is good on all nodes.

    Parameters
    ----------
    networks : list of TrainedNetwork
        that generate, side by side
    model : CalibratedModel
        that they were trained on
    dataset : xarray.Dataset
        that the model was fitted to
    choice : Choice
        of the engine
    rounds : int
        at most
    how : How, optional

    Returns
    -------
    networks, model, dataset
        new ones; the ones given if the model was good
    results : list of dict
        of each round ``trajectories`` that joined; the errors of the model on the networks' own drives
        (:func:`spinloom.workflows.trust.model_error`, the worst of all networks) ``before``, and
        ``after`` on the same drives; ``holdout_nrmse`` of the new model; ``nrmse`` of the new networks
    """
    _check(networks, model, dataset, choice)
    results: list[dict[str, Any]] = []
    for round_ in range(1, rounds + 1):
        record = _own_record(networks, model, choice, dataset.sizes["tick"] + 1, how or How())
        before = _worst(model_error(model, record))
        say(f"recalibrate: NRMSE of the model on the networks' own drives {before['nrmse_worst']:.2g} (worst node)")
        if before["nrmse_worst"] <= GOOD:
            say("recalibrate: the model is good there; nothing to add")
            break
        chosen = worst_nodes(model, record, NODES)
        ticks = dataset.sizes["tick"]
        u = model.scale.reach * record.u[:ticks].reshape(ticks, -1)[:, chosen]
        m = record.m[1 : ticks + 1].reshape(ticks, -1, 3)[:, chosen]
        dataset = join_calibration(dataset, u, m, model.scale.reach)
        dataset.attrs["joined"] = _joined(dataset, networks, choice, len(chosen))
        with progress(f"recalibrate, round {round_}: fit {model.kind}", 1) as advance:
            model = fit_model(dataset, model.kind, model.scale.reach)
            advance(1)
        after = _worst(model_error(model, record))
        say(f"recalibrate: {after['nrmse_worst']:.2g} with the new fit")
        networks = [_again(network, model) for network in networks]
        results.append(
            {
                "trajectories": len(chosen),
                "before": before,
                "after": after,
                "holdout_nrmse": model.holdout_nrmse,
                "nrmse": {network.name: _reached(network) for network in networks},
            }
        )
    return networks, model, dataset, results


def _check(networks: list[TrainedNetwork], model: CalibratedModel, dataset: xr.Dataset, choice: Choice) -> None:
    expect_cold(model.card, "recalibration")
    if any(network.deviations is not None for network in networks):
        raise SpinloomError(
            f"recalibrate: {networks[0].name} has junctions that differ, and their drives belong to no single device; "
            "calibrate the population with more trajectories instead"
        )
    if any(network.task != "generate" for network in networks):
        raise SpinloomError("recalibrate: expected networks that generate")
    if choice.recorded:
        raise SpinloomError(f"recalibrate: expected an engine that computes, got {choice.name}; use embedded")
    if "signal" in dataset:
        raise SpinloomError(
            "recalibrate: the calibration set was measured, and no engine can add to it; measure traces under drives "
            "like the network's, or calibrate the card that was found ('spinloom measure --card')"
        )
    if dataset.attrs["card"] != model.card.to_json() or dataset.attrs["tick_s"] != model.tick:
        raise SpinloomError(
            "calibration: expected the set that the networks' model was fitted to, got one of another device or tick"
        )


def _own_record(networks: list[TrainedNetwork], model: CalibratedModel, choice: Choice, ticks: int, how: How) -> Record:
    """So many ticks of full micromagnetics, from equilibrium, at most half of them washout."""
    period = networks[0].period_ticks
    washout = max(1, min(networks[0].washouts[0], ticks // period // 2))
    early = [replace(n, settings={**n.settings, "washouts": [washout]}) for n in networks]
    periods = max(1, -(-ticks // period) - washout)
    whole = run_whole(early, model, choice, periods, how)
    return Record(*(part[:ticks] for part in whole))


def _worst(errors: list[dict[str, Any]]) -> dict[str, Any]:
    return max(errors, key=lambda error: error["nrmse_worst"])


def _joined(dataset: xr.Dataset, networks: list[TrainedNetwork], choice: Choice, count: int) -> str:
    """What has joined a calibration set so far (JSON)."""
    before = json.loads(dataset.attrs.get("joined", "[]"))
    one = {"networks": [network.name for network in networks], "engine": choice.name, "trajectories": count}
    return json.dumps([*before, one])


def _again(network: TrainedNetwork, model: CalibratedModel) -> TrainedNetwork:
    """Train with the same settings and target, on another model."""
    told = {key: value for key, value in network.settings.items() if key in GenerateSettings.model_fields}
    settings = GenerateSettings.model_validate({**told, "tasks": (network.name,)})
    return generators(model, settings, [network.name], network.f[:, None])[0]


def recalibrate_files(
    path: Path, calibration: Path, choice: Choice, rounds: int, how: How | None = None
) -> tuple[Path, list[dict[str, Any]]]:
    """:func:`recalibrate` one network; new files go beside the old ones, which stay.

    Returns
    -------
    path : path
        of the new network; the old one if there was nothing to do
    results : list of dict
        of each round, with the names of ``files`` in the last
    """
    network, model_path = load_network(path)
    (again,), model, dataset, results = recalibrate(
        [network], load_model(model_path), load_calibration(calibration), choice, rounds, how
    )
    if not results:
        return path, results
    places = _free(path, model_path, calibration)
    new_network, new_model, new_calibration = places
    save_calibration(dataset, new_calibration)
    save_model(model, new_model)
    save_network(again, new_network, new_model)
    results[-1]["files"] = [str(place) for place in places]
    say(f"recalibrate: wrote {', '.join(place.name for place in places)}")
    return new_network, results


def _free(network: Path, model: Path, calibration: Path) -> list[Path]:
    """Names beside the old files that nothing has yet."""
    homes = (network, network.with_name(model.name), calibration)
    for number in range(1, 10_000):
        places = [home.with_name(f"{home.stem}-recalibrated{number}{home.suffix}") for home in homes]
        if not any(place.exists() for place in places):
            for place in places:
                files.check_writable(place)
            return places
    raise SpinloomError(f"{network.parent}: holds too many recalibrated networks; move some elsewhere")


def _reached(network: TrainedNetwork) -> float | None:
    """What the training came to, as far as the network tells."""
    reached = network.settings.get("reached")
    return reached.get("nrmse") if isinstance(reached, dict) else None
