"""Stage: train networks of reduced nodes, to generate or to recognise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.seeds import stream
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.tasks import CLASSES, target, task_name
from spinloom.networks.topology import Weights, draw
from spinloom.networks.training import train, train_classifier
from spinloom.networks.trials import Recognition, generate, recognise
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.region import Watch
from spinloom.workflows.console import progress
from spinloom.workflows.settings import RECOGNISE, GenerateSettings, RecogniseSettings


def train_generate(
    model: CalibratedModel, settings: GenerateSettings, jobs: list[tuple[str, int]]
) -> tuple[Weights, np.ndarray, list[dict[str, Any]]]:
    """Train networks for several (task, seed) at once and judge their free runs.

    What a read-out was chosen on (one washout, the periods of the trim) is not what it is judged
    on: free runs of ``free_periods`` after each of ``washouts``, the worst of which is reported.

    Parameters
    ----------
    model : CalibratedModel
    settings : GenerateSettings
    jobs : list of (str, int)
        task and topology seed of each network; tasks of the same number of outputs

    Returns
    -------
    weights : Weights
        of all jobs
    f : (period_ticks, S, K) ndarray
        targets
    results : list of dict
        ``task, seed, nrmse, shape_error, phase_drift_per_period, periods, washouts, period_s,
        outside_share``; errors are the largest over the washouts, the drift is the one of the
        worst NRMSE
    """
    ticks = settings.ticks(model)
    f = targets([task for task, _ in jobs], ticks)
    weights = draw(settings.topology, [seed for _, seed in jobs], f.shape[2])
    what = f"train {', '.join(dict.fromkeys(task_name(task) for task, _ in jobs))}"
    with progress(what, settings.training.periods * ticks) as advance:
        weights = train(model.scaled, weights, f, settings.training, advance)
    summaries = judge(model, weights, f, settings)
    for (task, seed), summary in zip(jobs, summaries, strict=True):
        summary |= {"task": task, "seed": seed, "period_s": ticks * model.tick}
        model.region.warn(summary["outside_share"], f"{task_name(task)}, seed {seed}")
    return weights, f, summaries


def targets(tasks: list[str], ticks: int) -> np.ndarray:
    """One period of each task, (period_ticks, S, K).

    Raises
    ------
    SpinloomError
        for tasks with different numbers of outputs
    """
    f = [target(task, ticks) for task in tasks]
    outputs = {task_name(task): one.shape[1] for task, one in zip(tasks, f, strict=True)}
    if len(set(outputs.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in outputs.items())
        raise SpinloomError(f"tasks: expected all with the same number of outputs, got {told}; run them one by one")
    return np.stack(f, axis=1)


def judge(model: CalibratedModel, weights: Weights, f: np.ndarray, settings: GenerateSettings) -> list[dict[str, Any]]:
    """Figures of trained networks in free run, on what they were not chosen on."""
    periods, ticks = settings.free_periods, len(f)
    total = sum(washout + periods for washout in settings.washouts) * ticks
    watch = Watch(model.region, model.scale.reach, total * weights.nodes * weights.networks)
    with progress(f"free runs of {periods} periods", total) as advance:
        runs = [
            generate(model.scaled, weights, f, periods, washout, advance, watch=watch) for washout in settings.washouts
        ]
    nrmse = np.stack([run.nrmse for run in runs])
    shape, drift = np.stack([run.shape_error for run in runs]), np.stack([run.phase_drift for run in runs])
    worst = nrmse.argmax(axis=0)
    return [
        {
            "nrmse": float(nrmse[worst[k], k]),
            "shape_error": float(shape[:, k].max()),
            "phase_drift_per_period": float(drift[worst[k], k]),
            "periods": periods,
            "washouts": list(settings.washouts),
            "outside_share": outside,
        }
        for k, outside in enumerate(watch.outside)
    ]


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
    results = []
    for network, out in zip(generators(model, settings, list(outs)), outs.values(), strict=True):
        save_network(network, out, model_path)
        results.append({**network.settings["reached"], "out": str(out)})
    return results


def generators(model: CalibratedModel, settings: GenerateSettings, tasks: list[str]) -> list[TrainedNetwork]:
    """Train one network for each task; the figures that it reached are in its settings."""
    weights, f, results = train_generate(model, settings, [(task, settings.seed) for task in tasks])
    return [
        TrainedNetwork(
            task="generate",
            name=task_name(task),
            weights=weights.one(k),
            period_ticks=len(f),
            f=f[:, k],
            settings={**settings.model_dump(mode="json", exclude={"tasks"}), "reached": results[k]},
        )
        for k, task in enumerate(tasks)
    ]


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
    networks, tests, results = [], [], []
    period, node = settings.ticks(model), model.scaled
    ticks = settings.periods * period
    timing: dict[str, Any] = {"period_ticks": period, "periods": settings.periods}
    with progress("train and test recognition", 2 * ticks * len(seeds)) as advance:
        for seed in seeds:
            weights = draw(settings.topology, [seed], len(CLASSES))
            first, second = (stream(seed, purpose) for purpose in ("training trials", "test trials"))
            seen = recognise(node, weights, trials=settings.train_trials, rng=first, progress=advance, **timing)
            w_out = train_classifier(seen.features[0], seen.classes[0], len(CLASSES), settings.ridge)
            weights = weights.with_readout(w_out[None])
            watch = Watch(model.region, model.scale.reach, ticks * settings.test_trials * weights.nodes)
            test = recognise(
                node, weights, trials=settings.test_trials, rng=second, progress=advance, watch=watch, **timing
            )
            model.region.warn(watch.outside_of_all, f"recognise, seed {seed}")
            networks.append(weights)
            tests.append(test)
            results.append(
                {
                    "seed": seed,
                    "accuracy": float(test.accuracy[0]),
                    "trials": settings.test_trials,
                    "periods": settings.periods,
                    "period_s": period * model.tick,
                    "outside_share": watch.outside_of_all,
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
    network = recogniser(model, settings)
    save_network(network, out, model_path)
    return {**network.settings["reached"], "out": str(out)}


def recogniser(model: CalibratedModel, settings: RecogniseSettings) -> TrainedNetwork:
    """Train one network to recognise; the figures that it reached are in its settings."""
    weights, tests, results = train_recognise(model, settings, [settings.seed])
    result = {**results[0], "classes": list(CLASSES), "confusion": tests[0].confusion().tolist()}
    return TrainedNetwork(
        task=RECOGNISE,
        name=RECOGNISE,
        weights=weights,
        period_ticks=settings.ticks(model),
        f=np.zeros((settings.ticks(model), len(CLASSES))),
        settings={**settings.model_dump(mode="json"), "reached": result},
    )
