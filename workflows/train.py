"""Stage: train networks of reduced nodes, to generate or to recognise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.loop import Record
from spinloom.networks.lost import MEND, FirstLost, Lost
from spinloom.networks.measures import GENERATES, GENERATES_WARM, RESTLESS, against_chance, mean_error
from spinloom.networks.seeds import JUDGES, stream
from spinloom.networks.series import CLOCK, Demand, demand, figures, warning
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.tasks import CLASSES, target, task_name
from spinloom.networks.topology import Weights, draw
from spinloom.networks.training import Trained, learn, taught_error, train_classifier
from spinloom.networks.trials import Progress, Recognition, generate, recognise
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.region import Watch
from spinloom.workflows.console import progress, say
from spinloom.workflows.settings import RECOGNISE, GenerateSettings, RecogniseSettings


def train_generate(
    model: CalibratedModel, settings: GenerateSettings, jobs: list[tuple[str, int]]
) -> tuple[Weights, np.ndarray, list[dict[str, Any]]]:
    """The weights, targets and results of :func:`learn_generate`, with its arguments."""
    trained, f, results = learn_generate(model, settings, jobs)
    return trained.weights, f, results


def learn_generate(
    model: CalibratedModel,
    settings: GenerateSettings,
    jobs: list[tuple[str, int]],
    f: np.ndarray | None = None,
) -> tuple[Trained, np.ndarray, list[dict[str, Any]]]:
    """Train networks for several (task, seed) at once and judge their free runs.

    What a read-out was chosen on (one washout, the periods of the trim) is not what it is judged
    on: free runs of ``free_periods`` after each of ``washouts``, the worst of which is reported.

    Parameters
    ----------
    model : CalibratedModel
    settings : GenerateSettings
    jobs : list of (str, int)
        task and topology seed of each network; tasks of the same number of outputs
    f : (period_ticks, S, K) ndarray, optional
        targets, instead of those that the tasks name

    Returns
    -------
    trained : Trained
        networks of all jobs
    f : (period_ticks, S, K) ndarray
        targets
    results : list of dict
        ``task, seed, nrmse, nrmse_mean, shape_error, phase_drift_per_period, periods, washouts, period_s,
        outside_share``; errors are the largest over the washouts, the drift is the one of the
        worst NRMSE, and None where the output does not oscillate; ``nrmse_mean``, the error of the
        average period; ``lost``, where a free run is not finite (:func:`judge`); ``nrmse_taught``,
        that of the ridge read-out while the target itself feeds back; ``generates``, and in
        ``words`` why not and what to change; of the series ``band_hz, variance_beyond,
        still_share`` (:func:`spinloom.networks.series.demand`)
    """
    f = targets([task for task, _ in jobs], settings.ticks(model)) if f is None else f
    ticks = len(f)
    weights = on_devices(model, draw(settings.topology, [seed for _, seed in jobs], f.shape[2]))
    what = f"train {', '.join(dict.fromkeys(task_name(task) for task, _ in jobs))}"
    clock = settings.topology.clock_period(ticks)
    asked = told_beforehand(model, f, [task_name(task) for task, _ in jobs], clock is not None)
    with progress(what, settings.training.lasts(clock is not None) * ticks) as advance:
        trained = learn(model.scaled, weights, f, settings.training, advance, clock=clock)
    watch = Watch(model.region, model.scale.reach, judged_ticks(settings, ticks) * weights.nodes * weights.networks)
    summaries = judge(model.scaled, trained.weights, f, settings, watch)
    for summary, outside in zip(summaries, watch.outside, strict=True):
        summary["outside_share"] = outside
    forced = taught_error(model.scaled, trained.weights.with_readout(trained.ridge), f, clock=clock)
    for k, ((task, seed), summary) in enumerate(zip(jobs, summaries, strict=True)):
        summary |= {"task": task, "seed": seed, "period_s": ticks * model.tick}
        enough = GENERATES_WARM if model.temperature else GENERATES
        summary |= {"nrmse_taught": float(forced.nrmse[k]), "generates": summary["nrmse"] <= enough}
        summary |= figures(asked[k])
        if model.temperature:
            summary["words"] = warm_words(summary)
        else:
            summary["words"] = words(summary, float(forced.restless[k]), clock is not None)
        model.region.warn(summary["outside_share"], f"{task_name(task)}, seed {seed}")
    return trained, f, summaries


def on_devices(model: CalibratedModel, weights: Weights) -> Weights:
    """Networks whose nodes are the devices of a model, one each, where it has several.

    Raises
    ------
    SpinloomError
        for networks of another size
    """
    if model.deviations is None:
        return weights
    if weights.nodes != len(model.deviations):
        raise SpinloomError(f"nodes: expected {len(model.deviations)}, one for each junction, got {weights.nodes}")
    return weights.with_devices(np.tile(np.arange(weights.nodes), (weights.networks, 1)))


def told_beforehand(model: CalibratedModel, f: np.ndarray, names: list[str], clocked: bool) -> list[Demand]:
    """What each target, (period_ticks, S, K), asks of the device; what stands in the way is said."""
    asked = [demand(f[:, k], model.tick, model.node.response) for k in range(f.shape[1])]
    for text in dict.fromkeys(warning(name, one, len(f), clocked) for name, one in zip(names, asked, strict=True)):
        if text:
            say(text)
    return asked


def words(result: dict[str, Any], restless: float, clocked: bool) -> str:
    """Whether a network generates; if not, what stops it and what to change."""
    name, error, taught = task_name(result["task"]), result["nrmse"], result["nrmse_taught"]
    told = f"NRMSE {error:.2g} in free run, {taught:.2g} with the target fed back"
    if result["generates"]:
        return f"{name} is generated ({told})"
    if result.get("lost"):
        return f"{name} is not generated ({told}): {result['lost']}; {MEND}"
    if restless > RESTLESS:
        return (
            f"{name} is not generated ({told}): the network sings, it does not repeat itself even with the target fed "
            "back; lower --spectral-radius or --gain"
        )
    if taught > GENERATES:
        return (
            f"{name} is not generated ({told}): the nodes cannot represent it; lengthen the period (--period-ticks), "
            f"take more --nodes" + (", another --clock-ahead" if clocked else f", or a clock ({CLOCK})")
        )
    if result["shape_error"] <= GENERATES:
        return (
            f"{name} is not generated ({told}): its shape is kept (error {result['shape_error']:.2g}) but it drifts; "
            f"trim over longer runs (--trim-periods), or give it a clock ({CLOCK})"
        )
    return (
        f"{name} is not generated ({told}): the nodes can represent it but the free run leaves it; more --noise, a "
        "larger --ridge, another --seed" + ("; less --feedback" if clocked else f", or a clock ({CLOCK})")
    )


def warm_words(result: dict[str, Any]) -> str:
    """The same of noisy nodes: whether noise or what the nodes can represent stands in the way."""
    name, error, mean = task_name(result["task"]), result["nrmse"], result["nrmse_mean"]
    told = f"NRMSE {error:.2g} in free run, {mean:.2g} of its average period"
    if result["generates"]:
        return f"{name} is generated ({told})"
    if result.get("lost"):
        return f"{name} is not generated ({told}): {result['lost']}; {MEND}"
    if result["shape_error"] < 0.5 * error:
        return f"{name} is not generated ({told}): it keeps its shape and loses its time; give it a clock ({CLOCK})"
    if mean < 0.5 * error:
        return (
            f"{name} is not generated ({told}): noise limits it; more --nodes, a larger --ridge, a clock ({CLOCK}) "
            "without --feedback, a larger junction or a harder drive"
        )
    return (
        f"{name} is not generated ({told}): the nodes cannot represent it at this noise; lengthen the period "
        f"(--period-ticks), take more --nodes, or a clock ({CLOCK})"
    )


def read_washouts(text: str) -> tuple[int, ...]:
    """Washouts as they are given on the command line.

    Raises
    ------
    SpinloomError
        for anything but whole numbers with commas between them

    Examples
    --------
    >>> read_washouts("5,7,10")
    (5, 7, 10)
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise SpinloomError(f"washouts: expected whole numbers of periods such as 5,7,10, got {text!r}") from None


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


def judged_ticks(settings: GenerateSettings, ticks: int) -> int:
    """Ticks of all free runs that networks are judged by."""
    return sum(washout + settings.free_periods for washout in settings.washouts) * ticks


def judge(
    node: Node, weights: Weights, f: np.ndarray, settings: GenerateSettings, watch: Watch | None = None
) -> list[dict[str, Any]]:
    """Figures of trained networks in free run, on what they were not chosen on.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
    f : (period_ticks, S, K) ndarray
        targets
    settings : GenerateSettings
    watch : callable, optional
        sees everything of the runs

    Returns
    -------
    figures : list of dict
        of each network ``nrmse, nrmse_mean, shape_error, phase_drift_per_period, periods, washouts``; ``lost``, in
        words where it is not finite in the first free run that is not, else None; its node only if there is a ``watch``
    """
    periods, ticks = settings.free_periods, len(f)
    how: dict[str, Any] = {"watch": watch, "clock": settings.topology.clock_period(ticks)}
    with progress(f"free runs of {periods} periods", judged_ticks(settings, ticks)) as advance:
        runs = [
            generate(node, weights, f, periods, washout, advance, seed=JUDGES + k, **how)
            for k, washout in enumerate(settings.washouts)
        ]
    nrmse = np.stack([run.nrmse for run in runs])
    shape, drift = np.stack([run.shape_error for run in runs]), np.stack([run.phase_drift for run in runs])
    mean = np.stack([mean_error(run.z, run.f) for run in runs])
    worst = nrmse.argmax(axis=0)
    lost = [
        [
            one and f"{one.words}, counted from the start of {washout} periods of washout"
            for washout, one in zip(settings.washouts, of_each, strict=True)
        ]
        for of_each in zip(*(run.lost for run in runs), strict=True)
    ]
    return [
        {
            "nrmse": float(nrmse[worst[k], k]),
            "nrmse_mean": float(mean[:, k].max()),
            "shape_error": float(shape[:, k].max()),
            "phase_drift_per_period": None if np.isnan(drift[worst[k], k]) else float(drift[worst[k], k]),
            "periods": periods,
            "washouts": list(settings.washouts),
            "lost": next((told for told in lost[k] if told), None),
        }
        for k in range(weights.networks)
    ]


def generate_stage(
    model: CalibratedModel, model_path: Path, settings: GenerateSettings, outs: dict[str, Path], named: str = ""
) -> list[dict[str, Any]]:
    """Train one network for each task and save it.

    Parameters
    ----------
    outs : dict
        where the network of each task goes
    named : str
        what is put behind the name of each network

    Returns
    -------
    results : list of dict
        as :func:`train_generate`, with ``out``
    """
    for out in outs.values():
        files.check_writable(out)
    results = []
    for network, out in zip(generators(model, settings, list(outs)), outs.values(), strict=True):
        save_network(replace(network, name=network.name + named), out, model_path)
        results.append({**network.settings["reached"], "out": str(out)})
    return results


def generators(
    model: CalibratedModel, settings: GenerateSettings, tasks: list[str], f: np.ndarray | None = None
) -> list[TrainedNetwork]:
    """Train one network for each task, or for each of the targets ``f``, (period_ticks, S, K).

    The figures that they reached are in their settings.
    """
    trained, f, results = learn_generate(model, settings, [(task, settings.seed) for task in tasks], f)
    return [
        TrainedNetwork(
            task="generate",
            name=task_name(task),
            weights=trained.weights.one(k),
            period_ticks=len(f),
            f=f[:, k],
            settings={**settings.model_dump(mode="json", exclude={"tasks"}), "reached": results[k]},
            clock=settings.topology.clock_period(len(f)),
            deviations=model.deviations,
        )
        for k, task in enumerate(tasks)
    ]


def train_recognise(
    model: CalibratedModel, settings: RecogniseSettings, seeds: list[int], tell: bool = True
) -> tuple[Weights, list[Recognition], list[dict[str, Any]]]:
    """Train classifiers on fresh trials and test them on others; ``tell`` their progress.

    Returns
    -------
    weights : Weights
        one network for each seed
    tests : list of Recognition
        the test trials of each seed
    results : list of dict
        ``seed, accuracy, trials, periods, period_s, outside_share``, and the answers against
        guessing (:func:`spinloom.networks.measures.against_chance`), in ``words`` too
    """
    networks, tests, results = [], [], []
    period = settings.ticks(model)
    ticks = settings.periods * period
    told = progress("train and test recognition", 2 * ticks * len(seeds)) if tell else nullcontext(lambda _: None)
    with told as advance:
        for seed in seeds:
            weights = on_devices(model, draw(settings.topology, [seed], len(CLASSES)))
            watch = Watch(model.region, model.scale.reach, ticks * settings.test_trials * weights.nodes)
            lost = FirstLost()
            weights, test = listen(model.scaled, weights, settings, period, seed, advance, lost.beside(watch))
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
                    **_recognised(test, lost.of_each),
                }
            )
    return Weights.stack(networks), tests, results


def listen(
    node: Node,
    weights: Weights,
    settings: RecogniseSettings,
    period: int,
    seed: int,
    progress: Progress = None,
    watch: Callable[[Record], None] | None = None,
) -> tuple[Weights, Recognition]:
    """Train a network's classifier on the trials of a seed, and test it on others.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        one network
    settings : RecogniseSettings
    period : int
        ticks in a period
    seed : int
        of the trials
    progress : callable, optional
        called with the number of ticks just done
    watch : callable, optional
        sees everything of the test

    Returns
    -------
    weights : Weights
        with the read-out
    test : Recognition
    """
    how: dict[str, Any] = {name: getattr(settings, name) for name in ("periods", "averaged", "power")}
    how |= {"period_ticks": period, "progress": progress}
    first, second = (stream(seed, purpose) for purpose in ("training trials", "test trials"))
    seen = recognise(node, weights, trials=settings.train_trials, rng=first, **how)
    w_out = train_classifier(seen.features[0], seen.classes[0], len(CLASSES), settings.ridge)
    weights = weights.with_readout(w_out[None])
    return weights, recognise(node, weights, trials=settings.test_trials, rng=second, watch=watch, seed=JUDGES, **how)


def lost_trials(of_each: Sequence[Lost | None]) -> str:
    """In words, which trials of a network were not finite, and where the first of them; empty if none."""
    gone = [(trial, one) for trial, one in enumerate(of_each) if one is not None]
    if not gone:
        return ""
    trial, first = gone[0]
    return f"{len(gone)} of {len(of_each)} trials have no answer: in trial {trial} {first.words}; {MEND}"


def _recognised(test: Recognition, of_each: Sequence[Lost | None]) -> dict[str, Any]:
    """Answers against guessing, in figures and in words."""
    right, trials = int((test.classes == test.answers).sum()), test.classes.size
    result = against_chance(right, trials, len(CLASSES))
    told = f"{right} of {trials} right (95 %: {result['accuracy_low']:.0%} to {result['accuracy_high']:.0%})"
    lost = lost_trials(of_each)
    if lost:
        return {**result, "words": f"{told}; {lost}"}
    if result["above_chance"]:
        return {**result, "words": f"{told}; guessing gives {result['chance']:.0%}"}
    return {
        **result,
        "words": f"{told}, no better than guessing ({result['chance']:.0%}): change --gain or --input, or take more "
        "--nodes",
    }


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
        deviations=model.deviations,
    )
