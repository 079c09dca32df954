"""Stage: train networks of reduced nodes, to generate or to recognise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.tasks import CLASSES, target
from spinloom.networks.topology import Weights, draw
from spinloom.networks.training import train, train_classifier
from spinloom.networks.trials import Recognition, generate, recognise
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.console import progress
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings

_SEED_STEP = 1_000_003
"""Keeps the phases of training, testing and full trials apart."""


def train_generate(
    model: CalibratedModel, settings: GenerateSettings, jobs: list[tuple[str, int]]
) -> tuple[Weights, np.ndarray, list[dict[str, Any]]]:
    """Train networks for several (task, seed) at once and let them run free.

    Parameters
    ----------
    model : CalibratedModel
    settings : GenerateSettings
    jobs : list of (str, int)
        task and topology seed of each network

    Returns
    -------
    weights : Weights
        of all jobs
    f : (period_ticks, S) ndarray
        targets
    results : list of dict
        ``task, seed, nrmse, periods, period_s, phase_drift_per_period, outside_share``
    """
    axis, ticks = model.card.readout.axis, settings.period_ticks
    f = np.stack([target(task, ticks) for task, _ in jobs], axis=1)
    weights = draw(settings.topology, [seed for _, seed in jobs])
    what = f"train {', '.join(dict.fromkeys(Path(task).stem for task, _ in jobs))}"
    with progress(what, settings.training.periods * ticks) as advance:
        weights = train(model, weights, axis, f, settings.training, advance)
    free_ticks = (settings.washout + settings.free_periods) * ticks
    with progress(f"free run, {settings.free_periods} periods", free_ticks) as advance:
        result = generate(model, weights, axis, f, settings.free_periods, settings.washout, advance)
    outside = outside_shares(model, result.record.m, result.record.u)
    summaries: list[dict[str, Any]] = [
        {
            "task": task,
            "seed": seed,
            "nrmse": float(result.nrmse[k]),
            "periods": settings.free_periods,
            "period_s": ticks * model.tick,
            "phase_drift_per_period": float(result.phase_drift[k]),
            "outside_share": outside[k],
        }
        for k, (task, seed) in enumerate(jobs)
    ]
    for summary in summaries:
        model.region.warn(summary["outside_share"], f"{Path(summary['task']).stem}, seed {summary['seed']}")
    return weights, f, summaries


def outside_shares(model: CalibratedModel, m: np.ndarray, u: np.ndarray) -> list[float]:
    """Share of node-ticks outside the region of calibration, of each network.

    Parameters
    ----------
    m : (n_ticks, S, N, 3) ndarray
        before each tick
    u : (n_ticks, S, N) ndarray
    """
    return [model.region.outside(m[:, k], u[:, k]) for k in range(u.shape[1])]


def generate_stage(
    model: CalibratedModel, model_path: Path, settings: GenerateSettings, outs: dict[str, Path]
) -> list[dict[str, Any]]:
    """Train one network for each task and save it.

    Parameters
    ----------
    outs : dict
        where the network of each task goes

    Returns
    -------
    results : list of dict
        as :func:`train_generate`, with ``out``
    """
    for out in outs.values():
        files.check_writable(out)
    weights, f, results = train_generate(model, settings, [(task, settings.seed) for task in outs])
    for k, (task, out) in enumerate(outs.items()):
        network = TrainedNetwork(
            task="generate",
            name=Path(task).stem,
            weights=weights.one(k),
            axis=model.card.readout.axis,
            period_ticks=settings.period_ticks,
            f=f[:, k],
            settings={**settings.model_dump(mode="json", exclude={"tasks"}), "reached": results[k]},
        )
        save_network(network, out, model_path)
        results[k]["out"] = str(out)
    return results


def train_recognise(
    model: CalibratedModel, settings: RecogniseSettings, seeds: list[int]
) -> tuple[Weights, list[Recognition], list[dict[str, Any]]]:
    """Train classifiers on fresh trials and test them on others.

    Returns
    -------
    weights : Weights
        one network for each seed
    tests : list of Recognition
        the test trials of each seed
    results : list of dict
        ``seed, accuracy, trials, periods, period_s, outside_share``
    """
    axis, networks, tests, results = model.card.readout.axis, [], [], []
    ticks = settings.periods * settings.period_ticks
    with progress("train and test recognition", 2 * ticks * len(seeds)) as advance:
        for seed in seeds:
            weights = draw(settings.topology, [seed])
            timing: dict[str, Any] = {
                "period_ticks": settings.period_ticks,
                "periods": settings.periods,
                "progress": advance,
            }
            seen = recognise(model, weights, axis, trials=settings.train_trials, seed=seed * _SEED_STEP, **timing)
            w_out = train_classifier(seen.features[0], seen.classes[0], len(CLASSES), settings.ridge)
            weights = weights.with_readout(w_out[None])
            test = recognise(model, weights, axis, trials=settings.test_trials, seed=seed * _SEED_STEP + 1, **timing)
            outside = model.region.outside(test.record.m, test.record.u)
            model.region.warn(outside, f"recognise, seed {seed}")
            networks.append(weights)
            tests.append(test)
            results.append(
                {
                    "seed": seed,
                    "accuracy": float(test.accuracy[0]),
                    "trials": settings.test_trials,
                    "periods": settings.periods,
                    "period_s": settings.period_ticks * model.tick,
                    "outside_share": outside,
                }
            )
    return Weights.stack(networks), tests, results


def recognise_stage(model: CalibratedModel, model_path: Path, settings: RecogniseSettings, out: Path) -> dict[str, Any]:
    """Train one network to recognise and save it.

    Returns
    -------
    result : dict
        as :func:`train_recognise`, with ``classes``, ``confusion`` and ``out``
    """
    files.check_writable(out)
    weights, tests, results = train_recognise(model, settings, [settings.seed])
    result = {**results[0], "classes": list(CLASSES), "confusion": tests[0].confusion().tolist()}
    network = TrainedNetwork(
        task="recognise",
        name="recognise",
        weights=weights,
        axis=model.card.readout.axis,
        period_ticks=settings.period_ticks,
        f=np.zeros(settings.period_ticks),
        settings={**settings.model_dump(mode="json"), "reached": result},
    )
    save_network(network, out, model_path)
    return {**result, "out": str(out)}


def full_trial_seed(seed: int) -> int:
    """Seed of the phases of the trials in full micromagnetics: neither trained nor tested on."""
    return seed * _SEED_STEP + 2
