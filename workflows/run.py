"""All stages of an experiment, one after the other; what is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import Choice, choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.tasks import task_name
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.baselines import baseline_results
from spinloom.workflows.calibrate import calibrate_stage
from spinloom.workflows.chips import of_chip
from spinloom.workflows.console import say, show
from spinloom.workflows.cosimulate import Elsewhere, load_networks, verdict_generate, verdict_recognise
from spinloom.workflows.cost import words_of_what_follows
from spinloom.workflows.finish import finish_stage
from spinloom.workflows.fit import fit_stage
from spinloom.workflows.full_runs import How
from spinloom.workflows.report import draw_report
from spinloom.workflows.settings import RECOGNISE, Experiment, load_experiment, override
from spinloom.workflows.stages import Part, Stages, at_work, digests
from spinloom.workflows.summary import CHIP, Result, baselines_table, by_task, results_table, summarise
from spinloom.workflows.train import generate_stage, recognise_stage, targets
from spinloom.workflows.warm_verdict import ROOM, foretell
from spinloom.workflows.workers import ALONE, Team

RECORDED = "what OOMMF recorded is of networks as they were trained"


def run_experiment(
    path: Path,
    folder: Path,
    engine: str | None = None,
    oommf: str | None = None,
    *,
    finish: str | None = None,
    temperature: float | None = None,
    anyway: bool = False,
    team: Team = ALONE,
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
    temperature : float, optional
        of the junctions (K), instead of the experiment's
    anyway : bool
        verify in full micromagnetics whatever the reduced networks do
    team : Team, optional
        workers that trajectories of the calibration, and trials of recognisers, are spread over

    Returns
    -------
    summary : dict
        what ``summary.json`` holds; ``outcome`` is ``verified``, or ``nothing to verify`` where no
        network ran to the end in full micromagnetics
    """
    experiment, card = load_experiment(path)
    card = card if temperature is None else card.at(temperature)
    temperature = card.conditions.temperature
    experiment = override(experiment, engine=engine, finish=finish, temperature=temperature)
    choice = choose_engine(experiment.engine, oommf)
    if experiment.finish != "none" and (choice.recorded or temperature):
        why = "at a temperature noise is larger than what it mends" if temperature else RECORDED
        say(f"finish: none, because {why}")
        experiment = override(experiment, finish="none")
    finisher = None if experiment.finish == "none" else choose_engine(experiment.finish, oommf)
    if experiment.generate.tasks:  # a bad file is told before anything is computed
        targets(list(experiment.generate.tasks), experiment.generate.usual_ticks)
    _claim(folder)
    with at_work(folder) as stages:
        return _run(experiment, card, choice, finisher, folder, stages, anyway, team)


def _run(
    experiment: Experiment,
    card: DeviceCard,
    choice: Choice,
    finisher: Choice | None,
    folder: Path,
    stages: Stages,
    anyway: bool,
    team: Team,
) -> Result:
    calibration, model_path = folder / "calibration.nc", folder / "model.nc"
    spread = experiment.spread if experiment.chips_differ else None
    stages.do(
        "calibrate",
        [card.to_json(), choice.name, experiment.calibration.model_dump(), spread and spread.model_dump()],
        [calibration],
        lambda: calibrate_stage(card, choice, experiment.calibration, calibration, spread=spread, team=team),
    )
    if not (choice.recorded or choice.outside):  # live processes of another program cost more than its runs
        say(words_of_what_follows(experiment, card, stages.results["calibrate"]))
    source = [files.digest(calibration), experiment.model, experiment.reach]
    stages.do(
        "fit",
        source,
        [model_path],
        lambda: fit_stage(calibration, experiment.model, model_path, experiment.reach),
    )
    _train(experiment, model_path, folder, stages)
    _baselines(experiment, model_path, calibration, stages)
    tasks, recognises = worth_verifying(experiment, stages.results, anyway)
    paths = _finish(experiment, tasks, finisher, folder, stages)
    _foretell(experiment, card, tasks, folder, stages)
    _verdict(experiment, choice, paths, recognises, folder, stages, anyway, team)
    summary = summarise(experiment, card, stages.results, stages.wall_s)
    with files.written_whole(folder / "summary.json") as temporary:
        temporary.write_text(files.to_json(summary, indent=1), encoding="utf-8")
    draw_report(folder, json.loads(files.to_json(summary)))
    show(results_table(summary))
    if summary["baselines"]:
        show(baselines_table(summary))
        for text in summary["baselines"]["words"]:
            say(text)
    for text in summary["words"]:
        say(text)
    say(f"report: {folder / 'report.html'}")
    return summary


def worth_verifying(experiment: Experiment, done: Result, anyway: bool) -> tuple[list[str], bool]:
    """Tasks whose networks generate, and whether the recogniser beats guessing; all of them if ``anyway``.

    Of several chips, most have to.
    """
    trained = by_task(done.get("train-generate", []))
    tasks = [task for task in experiment.generate.tasks if anyway or _most(trained[task_name(task)], "generates")]
    return tasks, anyway or _most(done["train-recognise"], "above_chance")


def _most(results: list[Result], key: str) -> bool:
    return 2 * sum(result[key] for result in results) > len(results)


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


def network_path(experiment: Experiment, folder: Path, name: str, chip: int, kind: str = "network") -> Path:
    """Where the network of a task and a chip is kept."""
    return folder / f"{kind}-{name}{f'-chip{chip}' if experiment.chips > 1 else ''}.nc"


def _train(experiment: Experiment, model_path: Path, folder: Path, stages: Stages) -> None:
    model, digest = load_model(model_path), files.digest(model_path)
    settings, chips = experiment.generate, range(experiment.chips)
    differ = experiment.spread.model_dump() if experiment.chips_differ else None

    def one(chip: int, nodes: int) -> Any:
        return model if differ is None else of_chip(model, experiment.spread, nodes, chip)

    def part(chip: int, made_from: list[Any], outputs: list[Path], work: Callable[[], Any]) -> Part:
        return Part(f"chip{chip}", [*made_from, differ, chip], outputs, work)

    if settings.tasks:
        # The target's values, not only its name: a user's CSV may have changed.
        wanted = targets(list(settings.tasks), settings.ticks(model)).tolist()
        made_from = [digest, settings.model_dump(mode="json", exclude={"full_periods", "full_seeds"}), wanted]

        def generate(chip: int) -> Part:
            named = f"{CHIP}{chip}" if experiment.chips > 1 else ""
            outs = {task: network_path(experiment, folder, task_name(task), chip) for task in settings.tasks}
            return part(
                chip,
                made_from,
                list(outs.values()),
                lambda: generate_stage(one(chip, settings.topology.nodes), model_path, settings, outs, named),
            )

        found = stages.each("train-generate", [generate(chip) for chip in chips])
        stages.results["train-generate"] = [result for results in found for result in results]
    recognise = experiment.recognise
    asked = [digest, recognise.model_dump(mode="json", exclude={"full_trials"})]

    def listener(chip: int) -> Part:
        out = network_path(experiment, folder, RECOGNISE, chip)
        return part(
            chip, asked, [out], lambda: recognise_stage(one(chip, recognise.topology.nodes), model_path, recognise, out)
        )

    stages.each("train-recognise", [listener(chip) for chip in chips])


def _baselines(experiment: Experiment, model_path: Path, calibration: Path, stages: Stages) -> None:
    """The same training on nodes without magnets."""
    if not experiment.baselines:
        return
    generate, recognise = experiment.generate, experiment.recognise
    wanted = targets(list(generate.tasks), generate.usual_ticks).tolist() if generate.tasks else []
    full = {"full_periods", "full_seeds", "full_trials"}
    settings = [one.model_dump(mode="json", exclude=full) for one in (generate, recognise)]
    stages.do(
        "baselines",
        [files.digest(model_path), *settings, wanted],
        [],
        lambda: baseline_results(load_model(model_path), load_calibration(calibration), generate, recognise),
    )


def _finish(
    experiment: Experiment, tasks: list[str], finisher: Choice | None, folder: Path, stages: Stages
) -> list[Path]:
    """Networks finished for full micromagnetics: the files to verify."""
    places = [(task_name(task), chip) for task in tasks for chip in range(experiment.chips)]
    trained = [network_path(experiment, folder, *place) for place in places]
    if finisher is None or not trained:
        return trained
    finished = [network_path(experiment, folder, *place, "finished") for place in places]
    networks, model = load_networks(trained)

    def work() -> list[Result]:
        done, results = finish_stage(networks, model, finisher)
        for network, path in zip(done, finished, strict=True):
            save_network(network, path, folder / "model.nc")
        return results

    stages.do("finish", [digests(trained), finisher.name], finished, work)
    return finished


def _foretell(experiment: Experiment, card: DeviceCard, tasks: list[str], folder: Path, stages: Stages) -> None:
    """What room temperature would do to networks that were trained at 0 K: those of the first chip."""
    if card.conditions.temperature:
        return
    names = [*map(task_name, tasks), RECOGNISE]
    paths = [network_path(experiment, folder, name, 0) for name in names]
    networks, model = load_networks(paths)
    networks = [replace(network, name=network.name.split(CHIP)[0]) for network in networks]
    stages.do("foretell", [digests(paths), ROOM], [], lambda: foretell(networks, model, ROOM))


def _verdict(
    experiment: Experiment,
    choice: Choice,
    paths: list[Path],
    recognises: bool,
    folder: Path,
    stages: Stages,
    anyway: bool,
    team: Team,
) -> None:
    record = folder / "cosimulation.nc"
    if paths:
        periods, seeds = experiment.generate.full_periods, experiment.generate.full_seeds
        networks, model = load_networks(paths)
        how = How(anyway=anyway, kick=not (choice.recorded or choice.outside or model.temperature))
        stages.do(
            "cosimulate-generate",
            [digests(paths), choice.name, periods, anyway, seeds if model.temperature else None],
            [record],
            lambda: verdict_generate(networks, model, choice, periods, record, how, seeds=seeds),
        )
    if recognises:
        recognisers = [network_path(experiment, folder, RECOGNISE, chip) for chip in range(experiment.chips)]
        trials = experiment.recognise.full_trials

        def verdict(chip: int, path: Path) -> Part:
            made_from = [digests([path]), choice.name, trials]
            how = partial(verdict_recognise, elsewhere=Elsewhere(path, team))
            return Part(f"chip{chip}", made_from, [], lambda: how(*_alone(path), choice, trials))

        stages.each("cosimulate-recognise", [verdict(chip, path) for chip, path in enumerate(recognisers)])


def _alone(path: Path) -> tuple[TrainedNetwork, CalibratedModel]:
    (network,), model = load_networks([path])
    return network, model
