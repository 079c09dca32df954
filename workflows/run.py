"""All stages of an experiment, one after the other; what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard, expect_cold
from spinloom.device_models.engines import Choice, choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import stamp, versions
from spinloom.networks.record import TWO_ENGINES
from spinloom.networks.store import save_network
from spinloom.networks.tasks import task_name
from spinloom.reduced_models.model import load_model
from spinloom.workflows.calibrate import calibrate_stage
from spinloom.workflows.console import console, say
from spinloom.workflows.cosimulate import load_networks, verdict_generate, verdict_recognise
from spinloom.workflows.finish import finish_stage
from spinloom.workflows.fit import fit_stage
from spinloom.workflows.full_runs import How
from spinloom.workflows.report import report_stage
from spinloom.workflows.settings import RECOGNISE, Experiment, load_experiment, override
from spinloom.workflows.train import generate_stage, recognise_stage, targets

Result = dict[str, Any]


class Stages:
    """Results of stages in a folder, each with a digest of what it was made from.

    Parameters
    ----------
    folder : path
        of the run; ``stages/NAME.json`` holds a stage's result and the digest of its input
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: dict[str, Any] = {}
        self.wall_s: dict[str, float] = {}

    def do(self, name: str, made_from: Any, outputs: list[Path], work: Callable[[], Any]) -> Any:
        """Return the stored result if its input is the same and its files are there, else compute it."""
        source = json.dumps([made_from, versions().get("spinloom")], sort_keys=True)
        key = hashlib.sha256(source.encode()).hexdigest()
        path = self.folder / "stages" / f"{name}.json"
        stored = _stored(path)
        if stored.get("made_from") == key and stored.get("files") == _digests(outputs):
            say(f"{name}: done before, kept")
        else:
            began = time.perf_counter()
            result = work()
            wall = time.perf_counter() - began
            stored = {"made_from": key, "result": result, "wall_s": wall, "files": _digests(outputs)}
            stored = json.loads(files.to_json(stored))
            with files.written_whole(path) as temporary:
                temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
        self.results[name], self.wall_s[name] = stored["result"], stored["wall_s"]
        return stored["result"]


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digests(paths: list[Path]) -> dict[str, str | None]:
    return {path.name: files.digest(path) if path.is_file() else None for path in paths}


def run_experiment(
    path: Path,
    folder: Path,
    engine: str | None = None,
    oommf: str | None = None,
    *,
    finish: str | None = None,
    anyway: bool = False,
) -> Result:
    """Calibrate, fit, train, finish, cosimulate and report.

    Only what generates, or recognises better than chance, goes into full micromagnetics: the rest has
    nothing to verify, and is told so with what to change.

    Parameters
    ----------
    path : path
        of the experiment's TOML, or the name of a shipped one
    folder : path
        of the results; a folder that holds anything else is left alone
    engine, finish : str, optional
        instead of the experiment's
    oommf : str, optional
        command that starts OOMMF
    anyway : bool
        verify in full micromagnetics whatever the reduced networks do

    Returns
    -------
    summary : dict
        what ``summary.json`` holds; ``outcome`` is ``verified``, or ``nothing to verify`` where no
        network ran to the end in full micromagnetics
    """
    experiment, card = load_experiment(path)
    expect_cold(card, "a run")
    experiment = override(experiment, engine=engine, finish=finish)
    choice = choose_engine(experiment.engine, oommf)
    if choice.recorded and experiment.finish != "none":
        say("finish: none, because what OOMMF recorded is of networks as they were trained")
        experiment = override(experiment, finish="none")
    finisher = None if experiment.finish == "none" else choose_engine(experiment.finish, oommf)
    if experiment.generate.tasks:  # a bad file is told before anything is computed
        targets(list(experiment.generate.tasks), experiment.generate.usual_ticks)
    _claim(folder)
    with files.claimed(folder / "stages"):
        return _run(experiment, card, choice, finisher, folder, anyway)


def _run(
    experiment: Experiment, card: DeviceCard, choice: Choice, finisher: Choice | None, folder: Path, anyway: bool
) -> Result:
    stages = Stages(folder)
    calibration, model_path = folder / "calibration.nc", folder / "model.nc"
    stages.do(
        "calibrate",
        [card.to_json(), choice.name, experiment.calibration.model_dump()],
        [calibration],
        lambda: calibrate_stage(card, choice, experiment.calibration, calibration),
    )
    source = [files.digest(calibration), experiment.model, experiment.reach]
    stages.do(
        "fit",
        source,
        [model_path],
        lambda: fit_stage(calibration, experiment.model, model_path, experiment.reach),
    )
    _train(experiment, model_path, folder, stages)
    tasks, recognises = worth_verifying(experiment, stages.results, anyway)
    paths = _finish(tasks, finisher, folder, stages)
    _verdict(experiment, choice, paths, recognises, folder, stages, anyway)
    summary = summarise(experiment, card, stages)
    with files.written_whole(folder / "summary.json") as temporary:
        temporary.write_text(files.to_json(summary, indent=1), encoding="utf-8")
    report_stage(folder)
    console.print(results_table(summary))
    for text in summary["words"]:
        say(text)
    say(f"report: {folder / 'report.html'}")
    return summary


def worth_verifying(experiment: Experiment, done: Result, anyway: bool) -> tuple[list[str], bool]:
    """Tasks whose networks generate, and whether the recogniser beats guessing; all of them if ``anyway``."""
    tasks = [
        task
        for task, result in zip(experiment.generate.tasks, done.get("train-generate", []), strict=True)
        if anyway or result["generates"]
    ]
    return tasks, anyway or done["train-recognise"]["above_chance"]


def _claim(folder: Path) -> None:
    """Take an empty folder, or one that an earlier run took."""
    mark = folder / "stages"
    if folder.exists() and not folder.is_dir():
        raise SpinloomError(f"{folder}: is a file; choose a folder for the results")
    if folder.is_dir() and not mark.is_dir() and any(folder.iterdir()):
        raise SpinloomError(f"{folder}: holds other files; choose an empty folder for the results")
    try:
        mark.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpinloomError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    files.check_writable(folder / "summary.json")


def network_paths(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """Where the generator of each task is kept."""
    return {task: folder / f"network-{task_name(task)}.nc" for task in experiment.generate.tasks}


def _train(experiment: Experiment, model_path: Path, folder: Path, stages: Stages) -> None:
    model, digest = load_model(model_path), files.digest(model_path)
    outs = network_paths(experiment, folder)
    if outs:
        settings = experiment.generate
        # The target's values, not only its name: a user's CSV may have changed.
        wanted = targets(list(outs), settings.ticks(model)).tolist()
        stages.do(
            "train-generate",
            [digest, settings.model_dump(mode="json", exclude={"full_periods"}), wanted],
            list(outs.values()),
            lambda: generate_stage(model, model_path, settings, outs),
        )
    recogniser = folder / f"network-{RECOGNISE}.nc"
    stages.do(
        "train-recognise",
        [digest, experiment.recognise.model_dump(mode="json", exclude={"full_trials"})],
        [recogniser],
        lambda: recognise_stage(model, model_path, experiment.recognise, recogniser),
    )


def _finish(tasks: list[str], finisher: Choice | None, folder: Path, stages: Stages) -> list[Path]:
    """Networks finished for full micromagnetics: the files to verify."""
    trained = [folder / f"network-{task_name(task)}.nc" for task in tasks]
    if finisher is None or not trained:
        return trained
    finished = [folder / f"finished-{task_name(task)}.nc" for task in tasks]
    networks, model = load_networks(trained)

    def work() -> list[Result]:
        done, results = finish_stage(networks, model, finisher)
        for network, path in zip(done, finished, strict=True):
            save_network(network, path, folder / "model.nc")
        return results

    stages.do("finish", [_digests(trained), finisher.name], finished, work)
    return finished


def _verdict(
    experiment: Experiment,
    choice: Choice,
    paths: list[Path],
    recognises: bool,
    folder: Path,
    stages: Stages,
    anyway: bool,
) -> None:
    record = folder / "cosimulation.nc"
    if paths:
        periods = experiment.generate.full_periods
        networks, model = load_networks(paths)
        how = How(anyway=anyway, kick=not (choice.recorded or choice.outside))
        stages.do(
            "cosimulate-generate",
            [_digests(paths), choice.name, periods, anyway],
            [record],
            lambda: verdict_generate(networks, model, choice, periods, record, how),
        )
    if recognises:
        recogniser = folder / f"network-{RECOGNISE}.nc"
        (network,), model = load_networks([recogniser])
        trials = experiment.recognise.full_trials
        stages.do(
            "cosimulate-recognise",
            [files.digest(recogniser), choice.name, trials],
            [],
            lambda: verdict_recognise(network, model, choice, trials),
        )


def summarise(experiment: Experiment, card: DeviceCard, stages: Stages) -> Result:
    """The figures of a run, as ``summary.json`` holds them; those of full micromagnetics only of what ran there."""
    done = stages.results
    calibration, fit = done["calibrate"], done["fit"]
    verdicts = {verdict["task"]: verdict for verdict in done.get("cosimulate-generate", [])}
    finishes = {finish["task"]: finish for finish in done.get("finish", [])}
    generated = {}
    for reduced in done.get("train-generate", []):
        name = task_name(reduced["task"])
        generated[name] = {
            "seed": reduced["seed"],
            "period_s": reduced["period_s"],
            "generates": reduced["generates"],
            "words": reduced["words"],
            "nrmse_reduced": reduced["nrmse"],
            "nrmse_taught": reduced["nrmse_taught"],
            "shape_error_reduced": reduced["shape_error"],
            "phase_drift_per_period_reduced": reduced["phase_drift_per_period"],
            "periods_reduced": reduced["periods"],
            "washouts_reduced": reduced["washouts"],
            "outside_share_reduced": reduced["outside_share"],
            "finish": finishes.get(name),
            "verified": name in verdicts and not verdicts[name]["stopped"],
            **({} if name not in verdicts else _in_full(verdicts[name])),
        }
    trained, full = done["train-recognise"], done.get("cosimulate-recognise")
    recognised = {
        "classes": trained["classes"],
        "seed": trained["seed"],
        "accuracy_reduced": trained["accuracy"],
        "trials_reduced": trained["trials"],
        "chance": trained["chance"],
        "above_chance": trained["above_chance"],
        "words": trained["words"],
        "confusion_reduced": trained["confusion"],
        "outside_share_reduced": trained["outside_share"],
        "verified": full is not None,
    }
    if full is not None:
        recognised |= {
            "engine_full": full["engine"],
            "accuracy_full": full["accuracy_full"],
            "trials_full": full["trials"],
            "confusion_full": full["confusion"],
            "outside_share_full": full["outside_share"],
        }
    verified = recognised["verified"] or any(one["verified"] for one in generated.values())
    return {
        "name": experiment.name,
        "outcome": "verified" if verified else "nothing to verify",
        "words": _words(fit, generated, recognised, verified),
        "device": json.loads(card.to_json()),
        "engine": {"name": calibration["engine"], "version": calibration["engine_version"]},
        "calibration": {key: calibration[key] for key in ("device_ns", "wall_s", "trajectories", "tick_s")},
        "reduced_model": {key: fit[key] for key in FIT_FIGURES},
        "generate": generated,
        "recognise": recognised,
        "wall_s": stages.wall_s,
        "experiment": experiment.model_dump(mode="json"),
        "versions": versions(),
        "made": {key: value for key, value in stamp().items() if key != "versions"},
    }


FIT_FIGURES = (
    "kind",
    "verdict",
    "words",
    "reach",
    "reach_curve",
    "holdout_nrmse",
    "us_per_device_tick",
    "outside_share",
    "params",
    "scale",
)


def _in_full(verdict: Result) -> Result:
    """What full micromagnetics said about a generator."""
    return {
        "engine_full": verdict["engine"],
        "nrmse_full": verdict["nrmse_full"],
        "shape_error_full": verdict["shape_error_full"],
        "nrmse_reduced_over_periods_full": verdict["nrmse_reduced"],
        "periods_full": verdict["periods"],
        "phase_drift_per_period": verdict["phase_drift_per_period"],
        "max_node_difference": verdict["max_node_difference"],
        "outside_share_full": verdict["outside_share"],
        "stopped": verdict["stopped"],
        "model_error": verdict.get("model_error"),
        "kick": verdict.get("kick"),
        **{key: verdict[key] for key in TWO_ENGINES if key in verdict},
    }


def _words(fit: Result, generated: Result, recognised: Result, verified: bool) -> list[str]:
    """What a reader has to know, the most important first."""
    told = [] if verified else ["Nothing to verify in full micromagnetics: everything is saved; what to change:"]
    told += [] if fit["verdict"] == "good" else [fit["words"]]
    told += [one["words"] for one in generated.values() if not one["generates"]]
    told += [
        f"{name}: the reduced model is wrong where this network goes"
        for name, g in generated.items()
        if g.get("stopped")
    ]
    kicks = {name: g["kick"] for name, g in generated.items() if g.get("kick")}
    told += [_kicked(name, kick) for name, kick in kicks.items() if not kick["returns"]]
    told += [] if recognised["above_chance"] else [recognised["words"]]
    if not verified:
        told.append(
            "'spinloom tune DEVICE.toml --out EXPERIMENT.toml' finds an operating point, or says what to change"
        )
    return told


def _kicked(name: str, kick: Result) -> str:
    """What a kick from which a network does not return means."""
    errors = kick["shape_error_after"]
    return (
        f"{name}: does not return from a kick of {kick['size']:g} in m within {len(errors)} periods (shape error "
        f"{errors[-1]:.2g}); noise may throw it off too: try another --seed, or more --noise in training"
    )


def results_table(summary: Result) -> Table:
    """The outcome of a run, for a terminal."""
    table = Table(title=f"{summary['name']}: {summary['outcome']}", box=None, title_justify="left")
    for heading in ("task", "period (ns)", "NRMSE reduced", "NRMSE full", "drift (mrad/period)", "after a kick"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, g in summary["generate"].items():
        drift, kick = g.get("phase_drift_per_period"), g.get("kick")
        table.add_row(
            f"generate {name}",
            f"{g['period_s'] * 1e9:.3f}",
            f"{_number(g['nrmse_reduced'])} ({g['periods_reduced']} periods)",
            f"{_number(g['nrmse_full'])} ({g['periods_full']} periods)" if "nrmse_full" in g else "not verified",
            "" if drift is None else f"{1e3 * drift:+.2f}",
            "" if kick is None else "returns" if kick["returns"] else "does not return",
        )
    r = summary["recognise"]
    full = f"{r['accuracy_full']:.1%} of {r['trials_full']}" if r["verified"] else "not verified"
    table.add_row("recognise", "", f"{r['accuracy_reduced']:.1%} of {r['trials_reduced']}", full, "", "")
    return table


def _number(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"
