"""All stages of an experiment, one after the other; what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import Choice, choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import stamp, versions
from spinloom.networks.record import TWO_ENGINES
from spinloom.networks.tasks import task_name
from spinloom.reduced_models.model import load_model
from spinloom.workflows.calibrate import calibrate_stage
from spinloom.workflows.console import say
from spinloom.workflows.cosimulate import load_networks, verdict_generate, verdict_recognise
from spinloom.workflows.fit import fit_stage
from spinloom.workflows.report import report_stage
from spinloom.workflows.settings import RECOGNISE, Experiment, load_experiment
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


def run_experiment(path: Path, folder: Path, engine: str | None = None, oommf: str | None = None) -> Result:
    """Calibrate, fit, train, cosimulate and report.

    Parameters
    ----------
    path : path
        of the experiment's TOML, or the name of a shipped one
    folder : path
        of the results; a folder that holds anything else is left alone
    engine : str, optional
        instead of the experiment's
    oommf : str, optional
        command that starts OOMMF

    Returns
    -------
    summary : dict
        what ``summary.json`` holds
    """
    experiment, card = load_experiment(path)
    if engine is not None:
        experiment = experiment.model_copy(update={"engine": engine})
    choice = choose_engine(experiment.engine, oommf)
    if experiment.generate.tasks:  # a bad file is told before anything is computed
        targets(list(experiment.generate.tasks), experiment.generate.usual_ticks)
    _claim(folder)
    with files.claimed(folder / "stages"):
        return _run(experiment, card, choice, folder)


def _run(experiment: Experiment, card: DeviceCard, choice: Choice, folder: Path) -> Result:
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
    _verdict(experiment, choice, folder, stages)
    summary = summarise(experiment, card, stages)
    with files.written_whole(folder / "summary.json") as temporary:
        temporary.write_text(files.to_json(summary, indent=1), encoding="utf-8")
    report_stage(folder)
    say(f"report: {folder / 'report.html'}")
    return summary


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


def _verdict(experiment: Experiment, choice: Choice, folder: Path, stages: Stages) -> None:
    paths, record = list(network_paths(experiment, folder).values()), folder / "cosimulation.nc"
    if paths:
        periods = experiment.generate.full_periods
        networks, model = load_networks(paths)
        stages.do(
            "cosimulate-generate",
            [_digests(paths), choice.name, periods],
            [record],
            lambda: verdict_generate(networks, model, choice, periods, record),
        )
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
    """The figures of a run, as ``summary.json`` holds them."""
    done = stages.results
    calibration, fit = done["calibrate"], done["fit"]
    trained, full = done["train-recognise"], done["cosimulate-recognise"]
    generated = {}
    for reduced, verdict in zip(done.get("train-generate", []), done.get("cosimulate-generate", []), strict=True):
        generated[verdict["task"]] = {
            "seed": reduced["seed"],
            "period_s": reduced["period_s"],
            "nrmse_reduced": reduced["nrmse"],
            "shape_error_reduced": reduced["shape_error"],
            "phase_drift_per_period_reduced": reduced["phase_drift_per_period"],
            "periods_reduced": reduced["periods"],
            "washouts_reduced": reduced["washouts"],
            "engine_full": verdict["engine"],
            "nrmse_full": verdict["nrmse_full"],
            "shape_error_full": verdict["shape_error_full"],
            "nrmse_reduced_over_periods_full": verdict["nrmse_reduced"],
            "periods_full": verdict["periods"],
            "phase_drift_per_period": verdict["phase_drift_per_period"],
            "max_node_difference": verdict["max_node_difference"],
            "outside_share_reduced": reduced["outside_share"],
            "outside_share_full": verdict["outside_share"],
            **{key: verdict[key] for key in TWO_ENGINES if key in verdict},
        }
    return {
        "name": experiment.name,
        "device": json.loads(card.to_json()),
        "engine": {"name": calibration["engine"], "version": calibration["engine_version"]},
        "calibration": {key: calibration[key] for key in ("device_ns", "wall_s", "trajectories", "tick_s")},
        "reduced_model": {
            key: fit[key] for key in ("kind", "holdout_nrmse", "us_per_device_tick", "outside_share", "params", "scale")
        },
        "generate": generated,
        "recognise": {
            "classes": trained["classes"],
            "seed": trained["seed"],
            "accuracy_reduced": trained["accuracy"],
            "trials_reduced": trained["trials"],
            "engine_full": full["engine"],
            "accuracy_full": full["accuracy_full"],
            "trials_full": full["trials"],
            "confusion_reduced": trained["confusion"],
            "confusion_full": full["confusion"],
            "outside_share_reduced": trained["outside_share"],
            "outside_share_full": full["outside_share"],
        },
        "wall_s": stages.wall_s,
        "experiment": experiment.model_dump(mode="json"),
        "versions": versions(),
        "made": {key: value for key, value in stamp().items() if key != "versions"},
    }
