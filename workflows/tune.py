"""Stage: find an operating point for a device, judge it on fresh seeds, and write it as an experiment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinloom.device_models import files
from spinloom.device_models.calibration import Protocol, load_calibration
from spinloom.device_models.card import DeviceCard, expect_cold, load_card
from spinloom.device_models.engines import Choice
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.probe import LEVELS, Probe
from spinloom.device_models.provenance import data_folder, stamp
from spinloom.networks.measures import GENERATES
from spinloom.networks.tasks import task_name
from spinloom.networks.training import Training
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import WITHOUT_MEMORY, CalibratedModel, load_model, save_model
from spinloom.workflows import status
from spinloom.workflows.advice import advise
from spinloom.workflows.baselines import baseline_results
from spinloom.workflows.calibrate import calibrate_stage
from spinloom.workflows.console import say
from spinloom.workflows.finalists import Finalist, glance
from spinloom.workflows.fit import fit_stage
from spinloom.workflows.journal import Journal
from spinloom.workflows.judges import spread
from spinloom.workflows.probe import advised
from spinloom.workflows.search import Candidate, Search, halving, may_need_clock, unlike
from spinloom.workflows.settings import Experiment, GenerateSettings, RecogniseSettings, experiment_toml, override
from spinloom.workflows.stages import Stages, at_work
from spinloom.workflows.train import targets, train_generate, train_recognise
from spinloom.workflows.trust import APART
from spinloom.workflows.tune_page import draw_page
from spinloom.workflows.workers import ALONE, Team

SEARCHES = 0.5
"""Share of the budget after which the search ends; the rest is for training and judging."""
FINALISTS = 3
"""How many candidates of a search are trained to choose among them; up to twice as many while none of them is good
enough and time is left."""
JUDGING = 3
"""About how many times as long as a finalist's training it takes to try one more and to judge the chosen one."""
CHOSEN_ON, JUDGED_ON = 6, 10
"""Seeds on which finalists are trained to choose among them, and fresh ones on which the chosen one is judged."""
BESIDE = 3
"""Of the latter, those that the same networks without magnets are judged on."""
FREE_PERIODS = 100
"""Of each free run of these."""
RECOGNISERS, TRIALS = 12, 400
"""Settings that are tried for recognition, and trials on which the best of them is trained, and tested."""
TRIES = 2
SHARES = (1.0, 0.7, 0.5, 0.35, 0.2)
"""Of the model's reach, that networks may stay within."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a tuning.

    Attributes
    ----------
    tasks : tuple of str
    budget : float
        about how long it may take (s)
    seed : int
    nodes : int
    clock : bool or None
        whether generators get a clock; tried where one may help, if not given, see
        :func:`spinloom.workflows.search.may_need_clock`
    longest_s : float, optional
        longest period (s)
    baselines : bool
        whether what was chosen is told beside the same networks without magnets
    """

    tasks: tuple[str, ...] = ("sine", "triangle", "harmonics")
    budget: float = 300.0
    seed: int = 0
    nodes: int = 40
    clock: bool | None = None
    longest_s: float | None = None
    baselines: bool = True

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise SpinloomError(f"budget: expected seconds above zero, got {self.budget:g}")
        if self.longest_s is not None and not self.longest_s > 0:
            raise SpinloomError(f"longest period: expected seconds above zero, got {self.longest_s:g}")
        if self.nodes < 1:
            raise SpinloomError(f"nodes: expected at least one junction, got {self.nodes}")
        if not self.tasks:
            raise SpinloomError("task: expected at least one")


@dataclass(frozen=True)
class Beside:
    """Where everything goes: the experiment, and what is kept beside it."""

    out: Path

    def __post_init__(self) -> None:
        if self.out.suffix != ".toml":
            raise SpinloomError(f"out: expected the name of an experiment file, such as tuned.toml, got {self.out}")

    def file(self, ending: str) -> Path:
        """A neighbour of the experiment."""
        return self.out.with_name(f"{self.out.stem}.{ending}")

    @property
    def folder(self) -> Path:
        """What is kept so that the same command goes on after an interruption."""
        return self.file("tuning")


def tune_stage(
    card: DeviceCard,
    device: Path,
    choice: Choice,
    out: Path,
    wish: Wish,
    model_path: Path | None = None,
    team: Team = ALONE,
) -> dict[str, Any]:
    """Calibrate, fit, search, train the best on several seeds, judge the winner on fresh ones.

    Parameters
    ----------
    card : DeviceCard
    device : path
        its file
    choice : Choice
        of the engine that calibrates
    out : path
        where the experiment goes; beside it ``NAME.search.csv`` (all candidates), ``NAME.tune.json``
        (the result), ``NAME.html`` (the page), ``NAME.calibration.nc`` and ``NAME.model.nc``, and what is done so
        far in ``NAME.tuning``
    wish : Wish
    model_path : path, optional
        a fitted model of the card, instead of a new calibration
    team : Team, optional
        workers that trajectories of the calibration, and batches of candidates, are spread over

    Returns
    -------
    result : dict
        ``verdict`` ("works", "partly", "unfit"), ``device_verdict``, ``probe`` (in words), ``reach, period_s,
        candidates, wall_s, tasks`` (by task ``median_nrmse, worst_nrmse, seeds, generates, periods``),
        ``recognise, baselines, advice, settings, out``
    """
    expect_cold(card, "tuning")
    beside = Beside(out)
    files.check_writable(out)
    targets(list(wish.tasks), GenerateSettings.usual_ticks)  # a bad file is told before anything is computed
    with at_work(beside.folder) as stages:
        return _tune(card, device, choice, wish, beside, stages, model_path, team)


def _tune(
    card: DeviceCard,
    device: Path,
    choice: Choice,
    wish: Wish,
    beside: Beside,
    stages: Stages,
    model_path: Path | None,
    team: Team,
) -> dict[str, Any]:
    found = None
    if model_path is None:
        found = Probe(**stages.do("probe", [card.to_json()], [], lambda: advised(card).to_dict()))
    start = _model(card, choice, beside, stages, model_path, found, team)
    model, calibration = start.model, start.calibration
    shares = _shares(model, found) if calibration is not None else (1.0,)
    quick = _quick(start, beside, stages)
    clock = may_need_clock(wish.tasks, model) if wish.clock is None else wish.clock
    wanted = targets(list(wish.tasks), GenerateSettings.usual_ticks).tolist()
    made_from = [start.digest, asdict(wish) | {"budget": None}, wanted, clock, shares, halving()]
    journal = Journal(beside.folder / "search.jsonl", made_from)
    search = Search(quick, wish.tasks, wish.nodes, wish.seed, clock, wish.longest_s, shares, model, journal)
    tuning = Tuning(card, device, model, wish, beside, search, stages, start.digest, calibration, found)
    try:
        if model.verdict == "unfit":
            say("the reduced model is unfit: networks are not trained on it")
        else:
            seconds = max(SEARCHES * wish.budget - stages.spent, 0.3 * wish.budget)
            say(f"searching operating points for {', '.join(map(task_name, wish.tasks))}")
            status.stage("search")
            with spread(search, team, beside.folder / "search-model.nc"):
                search.until(seconds, lambda search: tuning.told(search, seconds))
        return tuning.finish(choice)
    except BaseException:
        if search.candidates:
            tuning.keep_unfinished()
        raise


@dataclass(frozen=True)
class Start:
    """The model that a tuning starts from, the SHA-256 of its file, and the calibration, if there is one."""

    model: CalibratedModel
    digest: str
    calibration: Path | None = None


def _model(
    card: DeviceCard,
    choice: Choice,
    beside: Beside,
    stages: Stages,
    model_path: Path | None,
    found: Probe | None,
    team: Team,
) -> Start:
    if model_path is not None:
        model = load_model(model_path)
        if model.card != card:
            raise SpinloomError(f"{model_path}: is a model of {model.card.name} as its own card says, not of this card")
        return Start(model, files.digest(model_path))
    calibration, fitted = beside.file("calibration.nc"), beside.folder / "model.nc"
    protocol = Protocol()
    if found is not None and found.tick is not None and found.tick < protocol.tick:
        protocol = override(protocol, tick=found.tick)
    stages.do(
        "calibrate",
        [card.to_json(), choice.name, protocol.model_dump()],
        [calibration],
        lambda: calibrate_stage(card, choice, protocol, calibration, team=team),
    )
    digest = files.digest(calibration)
    stages.do("fit", [digest, "auto"], [fitted], lambda: fit_stage(calibration, "auto", fitted))
    with files.written_whole(beside.file("model.nc")) as temporary:
        shutil.copyfile(fitted, temporary)
    return Start(load_model(fitted), files.digest(fitted), calibration)


def _shares(model: CalibratedModel, found: Probe | None) -> tuple[float, ...]:
    """Shares of the model's reach that networks may stay within: where twins part no model can follow."""
    if found is None or found.chaotic is None or found.chaotic > model.scale.reach:
        return SHARES
    below = max((level for level in LEVELS if level < found.chaotic), default=None)
    if below is None:
        return SHARES
    say(f"networks stay within {below:g} of J_max: at {found.chaotic:g} twins part")
    return tuple(share * below / model.scale.reach for share in SHARES)


def _quick(start: Start, beside: Beside, stages: Stages) -> CalibratedModel:
    """What is searched on: ten times as quick as a model with a memory is a flow map of the same reach, if usable."""
    model = start.model
    if model.kind in WITHOUT_MEMORY or start.calibration is None:
        return model
    quick = _fitted("fit-quick", start.calibration, "flow_map", model.scale.reach, beside, stages)
    if quick.verdict == "unfit":
        return model
    say(
        f"searching on a flow map (off by {quick.holdout_nrmse:.2g}), which is quicker; the best are tried, "
        f"trained and judged on the {model.kind.replace('_', ' ')}"
    )
    return quick


def _fitted(name: str, calibration: Path, kind: str, reach: float, beside: Beside, stages: Stages) -> CalibratedModel:
    """Another fit to a calibration, as a stage."""
    path = beside.folder / f"{name}.nc"
    made_from = [files.digest(calibration), kind, reach]
    stages.do(name, made_from, [path], lambda: save_model(fit_model(load_calibration(calibration), kind, reach), path))
    return load_model(path)


@dataclass(frozen=True)
class Tuning:
    """A search and what is to be made of it."""

    card: DeviceCard
    device: Path
    model: CalibratedModel
    wish: Wish
    beside: Beside
    search: Search
    stages: Stages
    source: str
    """SHA-256 of the model."""
    calibration: Path | None
    probe: Probe | None = None
    models: dict[float, CalibratedModel] = field(default_factory=dict)

    def told(self, search: Search, seconds: float) -> None:
        """A line on how the search goes; its record is kept after every batch."""
        best = search.best[0]
        errors = ", ".join(f"{task} {error.get('shape', error['taught']):.2g}" for task, error in best.errors.items())
        left = seconds - sum(search.walls)
        say(
            f"{len(search.candidates)} candidates; best so far {self.period_s(best) * 1e9:.3g} ns: {errors}; "
            f"{max(0, left):.0f} s of search left"
        )
        self.keep_record()

    def period_s(self, candidate: Candidate) -> float:
        """Its period (s)."""
        return candidate.params["period_ticks"] * self.model.tick

    def keep_record(self) -> None:
        """All candidates, as a table."""
        rows = [candidate.row(self.model.tick) for candidate in self.search.candidates]
        with files.written_whole(self.beside.file("search.csv")) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False)

    def keep_unfinished(self) -> None:
        """The search, and the best candidate that works as an experiment, after an interruption."""
        self.keep_record()
        best = next(filter(_works, self.search.best), None)
        if best is not None:
            self.write(best, RecogniseSettings(), "The search was interrupted: never trained, not judged.")
            say(f"the best of {len(self.search.candidates)} candidates so far is kept in {self.beside.out}, not judged")

    def settings(self, candidate: Candidate) -> GenerateSettings:
        """A candidate as settings; the seed is the first of the fresh ones.

        Another fit has another spread of the signal, the unit of r: what multiplies r is put into the new one.
        """
        p = candidate.params
        unit = self.model_at(candidate).scale.spread / self.model.scale.spread
        topology = candidate.topology(self.wish.nodes)
        return override(
            GenerateSettings(),
            tasks=self.wish.tasks,
            seed=self.seeds("judge")[0],
            period_ticks=p["period_ticks"],
            topology=override(topology, spectral_radius=unit * p["radius"]).model_dump(),
            training=Training(noise=p["noise"], ridge=p["ridge"] / unit**2, tries=TRIES).model_dump(),
        )

    def seeds(self, purpose: str) -> list[int]:
        """Seeds of the topologies: those that finalists are chosen on, and fresh ones; the search has others."""
        first, count = {"choose": (200_000, CHOSEN_ON), "judge": (300_000, JUDGED_ON)}[purpose]
        return [first + 1000 * self.wish.seed + k for k in range(count)]

    def finish(self, choice: Choice) -> dict[str, Any]:
        """Choose, judge, write, and advise where nothing works."""
        finalists = unlike(
            [candidate for candidate in self.search.best if candidate.rung == 2 and _works(candidate)]
            or [candidate for candidate in self.search.best if _works(candidate)],
            2 * FINALISTS,
        )
        result: dict[str, Any] = {
            "verdict": "unfit",
            "device": self.card.name,
            "device_verdict": self.model.verdict,
            "probe": [] if self.probe is None else self.probe.advice,
            "reach": self.model.scale.reach,
            "holdout_nrmse": self.model.holdout_nrmse,
            "period_s": None,
            "candidates": len(self.search.candidates),
            "tasks": {},
            "recognise": None,
            "baselines": None,
            "advice": [],
            "settings": None,
        }
        if finalists:
            result |= self._judged(self._chosen(finalists))
        if result["verdict"] != "works":
            result["advice"] = self._do(
                "advise",
                [choice.name],
                lambda: advise(self.card, self.model, self.wish.tasks, self.calibration, choice, self._left()),
            )
        result |= {"wall_s": self._spent(), "out": str(self.beside.out) if finalists else None}
        if self.search.candidates:
            self.keep_record()
        with files.written_whole(self.beside.file("tune.json")) as temporary:
            made = {"wish": {"tasks": self.wish.tasks, "budget_s": self.wish.budget, "seed": self.wish.seed}, **stamp()}
            temporary.write_text(files.to_json({**result, "made": made}, indent=1), encoding="utf-8")
        draw_page(self.beside.file("html"), self.card, self.model, self.search.candidates, self.wish.tasks, result)
        say(f"page: {self.beside.file('html')}")
        return result

    def _left(self) -> float:
        return self.wish.budget - self._spent()

    def _spent(self) -> float:
        """How long all of it took when it was computed (s): what is kept counts as it did then."""
        return self.stages.spent + sum(self.search.walls)

    def _do(self, name: str, made_from: list[Any], work: Callable[[], Any]) -> Any:
        """A stage of what this model and these tasks give."""
        wish = asdict(self.wish) | {"budget": None}
        tasks = targets(list(self.wish.tasks), GenerateSettings.usual_ticks).tolist()
        return self.stages.do(name, [self.source, wish, tasks, *made_from], [], work)

    def model_at(self, candidate: Candidate) -> CalibratedModel:
        """The model as 'spinloom run' will fit it, for the reach that a candidate takes."""
        share = candidate.params["share"]
        if share not in self.models:
            reach = share * self.model.scale.reach
            amplitudes = (*self.model.info["protocol"].get("grades", ()), 1.0)
            if share == 1 or self.calibration is None:
                self.models[share] = self.model
            elif min(a for a in amplitudes if a >= reach) == self.model.info["amplitude"]:
                # The same drives cover it, so that the same fit would follow.
                self.models[share] = replace(self.model, scale=self.model.scale.model_copy(update={"reach": reach}))
            else:
                say(f"fitting the model again, up to {reach:g} of J_max")
                how = (self.calibration, self.model.kind, reach, self.beside, self.stages)
                self.models[share] = _fitted(f"fit-{share:g}", *how)
        return self.models[share]

    def _chosen(self, candidates: list[Candidate]) -> Candidate:
        """The finalist that does best on several seeds, trained in full, and is near full micromagnetics."""
        if len(candidates) == 1:
            return candidates[0]
        finalists: list[Finalist] = []
        seeds = self.seeds("choose")
        for candidate in candidates:
            model, name = self.model_at(candidate), f"finalist-{candidate.number}"
            taken = finalists or candidate is not candidates[-1]  # one is taken in any case
            tried = self._do(
                name,
                [candidate.params, seeds, FREE_PERIODS, TRIES, bool(taken)],
                partial(self._tried, candidate, seeds, bool(taken)),
            )
            apart, told = _error(tried["apart"]), tried["told"]
            if told is None:
                say(f"candidate {candidate.number}: nodes {apart:.2g} from full micromagnetics, not taken")
                continue
            finalist = Finalist(
                candidate=candidate,
                period_s=self.period_s(candidate),
                errors={
                    task: [_error(row["nrmse"]) for row in told if row["task"] == task] for task in self.wish.tasks
                },
                outside=float(np.median([row["outside_share"] for row in told])),
                apart=apart,
                spread=model.scale.spread,
            )
            say(finalist.words)
            finalists.append(finalist)
            good = any(one.reaches for one in finalists)
            if len(finalists) >= FINALISTS and (good or self._left() < JUDGING * self.stages.wall_s[name]):
                break
        return min(finalists, key=lambda one: one.score).candidate

    def _tried(self, candidate: Candidate, seeds: list[int], may_be_left: bool) -> dict[str, Any]:
        """How far nodes are from full micromagnetics; if it is not too far, or it must be, how training goes."""
        apart = glance(self.model_at(candidate), self.settings(candidate), self.wish.tasks, seeds[0])
        if apart > APART and may_be_left:
            return {"apart": apart, "told": None}
        return {"apart": apart, "told": self._trained(candidate, seeds)}

    def _trained(self, candidate: Candidate, seeds: list[int]) -> list[dict[str, Any]]:
        settings = override(self.settings(candidate), free_periods=FREE_PERIODS)
        jobs = [(task, seed) for task in self.wish.tasks for seed in seeds]
        return train_generate(self.model_at(candidate), settings, jobs)[2]

    def _judged(self, candidate: Candidate) -> dict[str, Any]:
        """Figures of the chosen candidate on fresh seeds; the experiment is written."""
        model = self.model_at(candidate)
        if model is not self.model:
            save_model(model, self.beside.file("model.nc"))
        recognise, recognised = self._recogniser(model, candidate)
        self.write(candidate, recognise, "Found by 'spinloom tune'; not judged yet.")
        judged_on = self.seeds("judge")
        how = [candidate.params, judged_on, FREE_PERIODS, TRIES]
        told = self._do("judge", how, lambda: self._trained(candidate, judged_on))
        tasks = {}
        for task in self.wish.tasks:
            errors = [_error(row["nrmse"]) for row in told if row["task"] == task]
            tasks[task_name(task)] = {
                "median_nrmse": float(np.median(errors)),
                "worst_nrmse": float(np.max(errors)),
                "median_shape_error": float(
                    np.median([_error(row["shape_error"]) for row in told if row["task"] == task])
                ),
                "generates": int(np.sum(np.array(errors) <= GENERATES)),
                "seeds": len(errors),
                "periods": FREE_PERIODS,
            }
        good = [one["median_nrmse"] <= GENERATES for one in tasks.values()]
        verdict = "works" if all(good) else "partly" if any(good) else "unfit"
        lines = [
            f"{name}: median {one['median_nrmse']:.2g}, worst {one['worst_nrmse']:.2g}" for name, one in tasks.items()
        ]
        clock = candidate.params["clock"]
        clocked = f"with a clock of strength {clock:.2g}, " if clock else ""
        judged = f"On {JUDGED_ON} fresh seeds, {clocked}{FREE_PERIODS} periods with reduced nodes: {'; '.join(lines)}."
        self.write(candidate, recognise, f"Found by 'spinloom tune'. {judged}")
        baselines = None
        if self.wish.baselines:
            shown = None if self.calibration is None else load_calibration(self.calibration)
            seeds = self.seeds("judge")[:BESIDE]
            settings = self.settings(candidate)
            baselines = self._do(
                "baselines",
                [candidate.params, recognise.model_dump(mode="json"), seeds],
                lambda: baseline_results(model, shown, settings, recognise, seeds),
            )
        return {
            "verdict": verdict,
            "reach": model.scale.reach,
            "period_s": self.period_s(candidate),
            "tasks": tasks,
            "recognise": recognised,
            "baselines": baselines,
            "settings": candidate.params,
        }

    def _recogniser(self, model: CalibratedModel, candidate: Candidate) -> tuple[RecogniseSettings, dict[str, Any]]:
        """The best of some settings for recognition, and how it does on fresh seeds."""
        rng = np.random.default_rng([self.wish.seed, 7])
        base = override(RecogniseSettings(), period_ticks=candidate.params["period_ticks"])
        tried = []
        say(f"trying {RECOGNISERS} settings for recognition")
        for k in range(RECOGNISERS):
            drawn = {
                "spectral_radius": float(np.exp(rng.uniform(np.log(0.03), np.log(2.0)))),
                "input": float(np.exp(rng.uniform(np.log(0.5), np.log(5.0)))),
                "bias": float(np.exp(rng.uniform(np.log(0.2), np.log(1.5)))),
                "gain": 1.0,
            }
            topology = base.topology if k == 0 else override(base.topology, **drawn)
            topology = override(topology, nodes=self.wish.nodes)
            settings = override(base, topology=topology.model_dump(), train_trials=TRIALS // 5, test_trials=TRIALS // 5)
            tried.append(
                (self._accuracies(f"recognise-{k}", model, settings, self.seeds("choose")[:1], False)[0], topology)
            )
        best = max(range(RECOGNISERS), key=lambda k: (tried[k][0], -k))
        settings = override(base, seed=self.seeds("judge")[0], topology=tried[best][1].model_dump())
        counted = override(settings, train_trials=TRIALS, test_trials=TRIALS)
        accuracy = self._accuracies("recognise", model, counted, self.seeds("judge")[:3])
        told = {"median_accuracy": float(np.median(accuracy)), "worst_accuracy": min(accuracy), "seeds": len(accuracy)}
        return settings, told

    def _accuracies(
        self, name: str, model: CalibratedModel, settings: RecogniseSettings, seeds: list[int], tell: bool = True
    ) -> list[float]:
        """Shares of right answers of networks with these settings, one for each seed."""

        def work() -> list[float]:
            return [row["accuracy"] for row in train_recognise(model, settings, seeds, tell=tell)[2]]

        return self._do(name, [model.scale.reach, settings.model_dump(mode="json"), seeds], work)

    def write(self, candidate: Candidate, recognise: RecogniseSettings, words: str) -> None:
        """The experiment file, with the card and the series of one's own beside it."""
        out, generate, model = self.beside.out, self.settings(candidate), self.model_at(candidate)
        tasks = tuple(_beside(Path(task), out) if task.endswith(".csv") else task for task in generate.tasks)
        shipped = data_folder() / "devices" / f"{self.card.name}.toml"
        same = shipped.is_file() and load_card(shipped) == self.card
        experiment = Experiment(
            name=out.stem,
            device=self.card.name if same else _beside(self.device, out),
            engine="embedded",
            calibration=Protocol.model_validate(model.info["protocol"]),
            model=model.kind,
            reach=model.scale.reach,
            generate=override(generate, tasks=tasks),
            recognise=recognise,
        )
        with files.written_whole(out) as temporary:
            temporary.write_text(experiment_toml(experiment, words), encoding="utf-8")


def _error(stored: float | None) -> float:
    """Numbers that are not finite are null in files; of errors, these were infinite."""
    return float("inf") if stored is None else stored


def _works(candidate: Candidate) -> bool:
    return "works" in candidate.states.values()


def _beside(path: Path, out: Path) -> str:
    """The name by which an experiment may call a file; it is copied beside it if it does not lie there or below."""
    folder = out.resolve().parent
    if path.resolve().is_relative_to(folder):
        return path.resolve().relative_to(folder).as_posix()
    shutil.copyfile(path, folder / path.name)
    return path.name
