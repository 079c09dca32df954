"""The search for an operating point: Optuna proposes, networks are screened in batches, few survive each rung."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna

from spinloom.device_models.scale import Scaled
from spinloom.networks.screening import SEEN, SETTLE, Screened, screen
from spinloom.networks.tasks import target, task_name
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.journal import Journal

optuna.logging.set_verbosity(optuna.logging.WARNING)

GOALS = {"sine": 0.003, "triangle": 0.03, "harmonics": 0.01, "square": 0.15}
"""Errors (NRMSE) that are good enough: below them, speed counts; 0.02 for a series of one's own."""
SMOOTH = ("sine", "triangle", "harmonics")
"""Tasks in which a network keeps the time itself, unless its nodes ring."""
BATCH, PROMOTED, LAST = 32, 8, 8
"""Candidates in a batch, of which all are judged on what nodes make of each task while the target feeds back; those of
them that go on to a little of FORCE and a free run; and those that in the end do so on several topologies."""
UNLIKE = 0.1
"""By how much the logarithms of periods differ at least of candidates that are unlike, if they take the same reach."""
SEEDS = (1, 2, 4)
"""Topologies for each candidate of the three rungs."""
TAUGHT, FORCED, FREE = (40, 2400, 7200), (40, 2400, 5000), (25, 2400, 3600)
"""Periods, least and most ticks of each: a read-out from fewer is not stable in closed loop."""
RESONANCES, CLOCKED_RESONANCES = (0.7, 3.0), (0.7, 4.0)
"""Periods that are tried, in periods of the resonance, where Q is at most 1, without a clock and with one."""
PER_QUALITY, LATEST = 0.2, 1.6
"""By how much the shortest grows with Q, and to what at most: nodes that ring on mix up periods near their own."""
SHORTEST, LONGEST = 16, 400
"""Periods that are tried, in ticks."""
CLOCK_COSTS, SPEED_COUNTS = 0.3, 0.3
"""A clock, and a period ten times as long, have to lower the mean log10 of the error by this much."""
RINGS = 3.0
"""Q of a device above which clocks are tried too: nodes that ring on keep a closed loop from being stable."""
ENOUGH = -0.15
"""An error below the goal by more than this, in log10, counts no more: speed does."""


@dataclass
class Candidate:
    """One operating point, and how it did.

    Attributes
    ----------
    number : int
    params : dict
        ``period_ticks, share`` (of the model's reach), ``radius, feedback, bias, noise, ridge, clock``
    score : float
        the smaller the better, see :func:`scored`
    rung : int
        how far it came
    errors, states : dict
        by task: the worst over seeds of the NRMSE (taught; after a free run also shape and free), and the
        commonest state
    """

    number: int
    params: dict[str, Any]
    score: float = math.inf
    rung: int = -1
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def topology(self, nodes: int) -> Topology:
        """The fixed weights' settings; the gain is 1, because it scales what three others say."""
        p = self.params
        return Topology(
            nodes=nodes,
            spectral_radius=p["radius"],
            feedback=p["feedback"],
            bias=p["bias"],
            gain=1.0,
            clock=p["clock"],
            clock_shape=p["clock_shape"],
        )

    @property
    def found(self) -> dict[str, Any]:
        """How it did, as plain data."""
        return {"rung": self.rung, "errors": self.errors, "states": self.states}

    def take(self, found: dict[str, Any], judge: Judge) -> None:
        """Have what :attr:`found` told elsewhere, or before."""
        self.rung, self.states = found["rung"], found["states"]
        self.errors = {task: _errors(errors) for task, errors in found["errors"].items()}
        self.score = scored(self, judge.tasks, judge.models[self.rung])

    def row(self, tick: float) -> dict[str, Any]:
        """One line of the search's record."""
        told = {f"{kind}_{task}": value for task, error in self.errors.items() for kind, value in error.items()}
        states = {f"state_{task}": state for task, state in self.states.items()}
        period = self.params["period_ticks"] * tick
        return {
            "candidate": self.number,
            "rung": self.rung,
            "score": self.score,
            "period_s": period,
            **self.params,
            **told,
            **states,
        }


@dataclass(frozen=True)
class Judge:
    """Screens candidates on rungs.

    Attributes
    ----------
    models : (3,) tuple of CalibratedModel
        for each rung
    tasks : tuple of str
    nodes, seed : int
        of the networks; topologies and noise follow from the seed and the rung
    """

    models: tuple[CalibratedModel, ...]
    tasks: tuple[str, ...]
    nodes: int
    seed: int

    def batch(self, group: list[Candidate]) -> None:
        """All on the first rung, the best of them on the second."""
        self.rung(group, 0)
        self.rung(sorted(group, key=lambda candidate: candidate.score)[:PROMOTED], 1)

    def rung(self, group: list[Candidate], rung: int) -> None:
        """Screen candidates on one of the rungs, 0 to 2."""
        seeds = [self.seed * 1000 + 100_000 + 100 * rung + k for k in range(SEEDS[rung])]
        # Short periods and long ones apart: the longest of a batch says how many ticks all of it run.
        by_period = sorted(group, key=lambda candidate: candidate.params["period_ticks"])
        halves = [by_period] if rung == 1 else [by_period[: len(group) // 2], by_period[len(group) // 2 :]]
        for half in filter(None, halves):
            evaluate(self.models[rung], half, self.tasks, self.nodes, seeds, rung > 0)
            for candidate in half:
                candidate.rung = rung


Elsewhere = Callable[[Judge, list[list[Candidate]]], None]
"""Judges batches as :meth:`Judge.batch` does, in other processes."""


class Search:
    """Successive halving over operating points of one reduced model.

    Parameters
    ----------
    model : CalibratedModel
    tasks : tuple of str
    nodes : int
    seed : int
        of the proposals, of the topologies and of the noise; none of them is used for what is reported
    clock : bool or None
        whether candidates have a clock; some do if not given
    longest_s : float, optional
        longest period that is tried (s)
    shares : tuple of float
        of the model's reach, that networks may stay within
    last : CalibratedModel, optional
        of the same device and reach, for the last rung, if the first is a quicker one
    journal : Journal, optional
        what an earlier search like this one has found, which is not computed again; what this one finds is added

    Attributes
    ----------
    candidates : list of Candidate
    walls : list of float
        how long each batch took when it was computed (s), or its share of the round
    judge : Judge
    elsewhere : callable or None
        judges batches in other processes
    at_once : int
        batches of a round: all are proposed before any is judged, so another number finds other candidates
    """

    def __init__(
        self,
        model: CalibratedModel,
        tasks: tuple[str, ...],
        nodes: int = 40,
        seed: int = 0,
        clock: bool | None = False,
        longest_s: float | None = None,
        shares: tuple[float, ...] = (1.0,),
        last: CalibratedModel | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.judge = Judge((model, model, model if last is None else last), tasks, nodes, seed)
        self.elsewhere: Elsewhere | None = None
        self.at_once = 1
        self.space = space(model, clock, longest_s, shares)
        self.candidates: list[Candidate] = []
        self.walls: list[float] = []
        self.journal = journal
        # Half of a batch is drawn anywhere: one lucky network must not draw all the others to it.
        self._samplers = (
            optuna.samplers.RandomSampler(seed=seed),
            optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=BATCH),
        )
        self._study = optuna.create_study()

    @property
    def best(self) -> list[Candidate]:
        """Candidates that came farthest, the best first."""
        return sorted(self.candidates, key=lambda candidate: (-candidate.rung, candidate.score))

    def until(self, seconds: float, say: Callable[[Search], None] = lambda search: None, most: int = 100_000) -> None:
        """Batch after batch until they have taken so many seconds; one at least.

        The best of all go to the last rung in the end. What a journal holds counts with the time that it took then,
        so that a search which was interrupted ends where it would have ended.
        """
        while True:
            new = self.round()
            if new:
                say(self)
            if sum(self.walls) + 0.7 * self.at_once * self.walls[-1] > seconds or len(self.candidates) >= most:
                break
        # Half of the last are unlike each other: fast and hard driven ones lean on the model most.
        others = unlike(self.best, LAST // 2)
        last = others + [one for one in self.best if one not in others][: LAST - len(others)]
        self._recalled("last", [last], lambda groups: self.judge.rung(groups[0], 2))
        say(self)

    def round(self) -> bool:
        """Batches of proposals; the best of each go on to the second rung. False if the journal had them all."""
        asked = [self._asked() for _ in range(self.at_once)]
        groups = [[Candidate(trial.number, self._params(trial.params)) for trial in trials] for trials in asked]
        for group in groups:
            self.candidates += group
        computed = self._recalled("batch", groups, self._judged)
        for trials, group in zip(asked, groups, strict=True):
            for trial, candidate in zip(trials, group, strict=True):
                self._study.tell(trial, scored(candidate, self.judge.tasks, self.judge.models[0], pessimistic=True))
        return computed

    def _asked(self) -> list[optuna.Trial]:
        asked = []
        for sampler in self._samplers:
            self._study.sampler = sampler
            asked += [self._study.ask(self.space) for _ in range(BATCH // 2)]
        return asked

    def _judged(self, groups: list[list[Candidate]]) -> None:
        if self.elsewhere is not None:
            self.elsewhere(self.judge, groups)
            return
        for group in groups:
            self.judge.batch(group)

    def _recalled(
        self, kind: str, groups: list[list[Candidate]], judge: Callable[[list[list[Candidate]]], None]
    ) -> bool:
        """Write into candidates how they did: from the journal, or computed, and then added to it."""
        left = list(groups)
        while left and self._known(kind, left[0]):
            left.pop(0)
        if not left:
            return False
        began = time.perf_counter()
        judge(left)
        wall = (time.perf_counter() - began) / len(left)
        for group in left:
            self.walls.append(wall)
            if self.journal is not None:
                found = [{"params": c.params, **c.found} for c in group]
                self.journal.add({"kind": kind, "wall_s": wall, "candidates": found})
        return True

    def _known(self, kind: str, group: list[Candidate]) -> bool:
        """Whether the journal's next line tells of this group, which then has what it tells."""
        line = None if self.journal is None else self.journal.next()
        if line is None or self.journal is None:
            return False
        if line.get("kind") != kind or [one["params"] for one in line["candidates"]] != [c.params for c in group]:
            self.journal.forget()
            return False
        for candidate, one in zip(group, line["candidates"], strict=True):
            candidate.take(one, self.judge)
        self.walls.append(line["wall_s"])
        return True

    def _params(self, given: dict[str, Any]) -> dict[str, Any]:
        params = {"clock": 0.0, "clock_shape": "sine", **given}
        share, heard = params.pop("bias_share", 0.0), params.pop("heard", 1.0)
        if params.pop("clocked", params["clock"] > 0):
            # With a clock there may be no feedback at all, and then no noise in it.
            params |= {"bias": share * params["clock"], "feedback": heard * params["feedback"]}
            params["noise"] *= heard
        else:
            params["clock"] = 0.0
        return params


def halving() -> list[Any]:
    """What else than its arguments decides what a search finds."""
    return [BATCH, PROMOTED, LAST, UNLIKE, SEEDS, TAUGHT, FORCED, FREE, GOALS]


def _errors(stored: dict[str, float | None]) -> dict[str, float]:
    """Numbers that are not finite are null in files; of errors, these were infinite."""
    return {kind: math.inf if error is None else error for kind, error in stored.items()}


def unlike(candidates: list[Candidate], most: int) -> list[Candidate]:
    """The first of some candidates that differ in period or reach."""
    chosen: list[Candidate] = []
    for candidate in candidates:
        same = [one for one in chosen if one.params["share"] == candidate.params["share"]]
        ratios = [candidate.params["period_ticks"] / one.params["period_ticks"] for one in same]
        if all(abs(math.log(ratio)) > UNLIKE for ratio in ratios):
            chosen.append(candidate)
    return chosen[:most]


def space(
    model: CalibratedModel, clock: bool | None, longest_s: float | None, shares: tuple[float, ...]
) -> dict[str, optuna.distributions.BaseDistribution]:
    """What is searched, and within which limits."""
    real, choice = optuna.distributions.FloatDistribution, optuna.distributions.CategoricalDistribution
    least, most = RESONANCES if clock is False else CLOCKED_RESONANCES
    one = LONGEST / most if model.scale.resonance is None else 1 / model.scale.resonance / model.tick
    shortest = least + PER_QUALITY * max(0.0, (model.scale.quality or 0.0) - 1)
    limits = (min(shortest, LATEST), most)
    low, high = (min(max(round(limit * one), SHORTEST), LONGEST) for limit in limits)
    if longest_s is not None:
        high = max(low, min(high, int(longest_s / model.tick)))
    found: dict[str, optuna.distributions.BaseDistribution] = {
        "period_ticks": optuna.distributions.IntDistribution(low, max(high, low + 1), log=True),
        "share": choice(list(shares)),
        "radius": real(0.05, 3.0, log=True),
        "feedback": real(0.2, 10.0, log=True),
        "bias": real(0.1, 3.0, log=True),
        "noise": real(2e-3, 1e-1, log=True),
        "ridge": real(1e-7, 1e-2, log=True),
    }
    if clock is not False:
        # Biases of some share of the clock: nodes then go over at moments of their own.
        found |= {"clock": real(0.3, 30.0, log=True), "clock_shape": choice(["ramp", "sine"])}
        found |= {"bias_share": real(0.1, 1.0, log=True), "heard": choice([0.0, 1.0])}
    if clock is None:
        found["clocked"] = choice([True, False])
    return found


def _ticks(span: tuple[int, int, int], longest: int) -> int:
    """Ticks for so many periods of the longest of a group, no fewer and no more than given."""
    periods, least, most = span
    return min(max(periods * longest, least), most)


def evaluate(
    model: CalibratedModel,
    group: list[Candidate],
    tasks: tuple[str, ...],
    nodes: int,
    seeds: list[int],
    freely: bool = True,
) -> None:
    """Screen candidates, each with every task and seed in one batch, and write into them how they did."""
    longest = max(candidate.params["period_ticks"] for candidate in group)
    jobs = [(candidate, task, seed) for candidate in group for seed in seeds for task in tasks]
    weights = Weights.stack([draw(c.topology(nodes), [seed]) for c, task, seed in jobs])
    # Networks of a batch are independent; only the reach differs from device to device.
    reach = np.repeat([model.scale.reach * c.params["share"] for c, _, _ in jobs], nodes)
    result = screen(
        Scaled(model.node, model.scale.mean, model.scale.spread, reach),
        weights,
        [target(task, c.params["period_ticks"]) for c, task, _ in jobs],
        [c.topology(nodes).clock_period(c.params["period_ticks"]) for c, _, _ in jobs],
        noise=np.array([c.params["noise"] for c, _, _ in jobs]),
        ridge=np.array([c.params["ridge"] for c, _, _ in jobs]),
        taught_ticks=_ticks(TAUGHT, longest),
        tested_ticks=(SETTLE + SEEN) * longest,
        force_ticks=_ticks(FORCED, longest) if freely else 0,
        free_ticks=_ticks(FREE, longest) if freely else 0,
        seed=seeds[0],
    )
    for candidate in group:
        for task in tasks:
            rows = [k for k, job in enumerate(jobs) if job[0] is candidate and job[1] == task]
            _write(candidate, task, result, rows)
        candidate.score = scored(candidate, tasks, model)


def _write(candidate: Candidate, task: str, result: Screened, rows: list[int]) -> None:
    # Of several seeds the worst: a point has to work for most of them.
    worst = {kind: float(getattr(result, kind)[rows].max()) for kind in ("shape", "free", "taught")}
    states = result.state[rows].tolist()
    candidate.errors[task_name(task)] = {kind: error for kind, error in worst.items() if not math.isnan(error)}
    candidate.states[task_name(task)] = max(sorted(set(states)), key=states.count)


def scored(candidate: Candidate, tasks: tuple[str, ...], model: CalibratedModel, *, pessimistic: bool = False) -> float:
    """How much is missing: mean over tasks of log10 (error / goal), with a least value; speed and clock count a little.

    The error is the taught one; after a free run it is the geometric mean of that and the free run's: that of the
    shape, or a third of the whole where that is larger, because what drifts can be trimmed. Errors count up to 1.
    A pessimist takes a network that has not run freely for one that fails: so all candidates have one scale.
    """
    missing = []
    for task in tasks:
        error = candidate.errors[task_name(task)]
        found = [error["taught"]]
        if pessimistic or "free" in error:
            found.append(max(error.get("shape", 1.0), error.get("free", 1.0) / 3))
        logs = [math.log10(min(max(one, 1e-6), 1.0) / goal(task)) for one in found]
        missing.append(max(sum(logs) / len(logs), ENOUGH))
    one = 1e-9 if model.scale.resonance is None else 1 / model.scale.resonance
    slow = SPEED_COUNTS * math.log10(candidate.params["period_ticks"] * model.tick / one)
    return float(np.mean(missing)) + slow + CLOCK_COSTS * (candidate.params["clock"] > 0)


def may_need_clock(tasks: tuple[str, ...], model: CalibratedModel) -> bool | None:
    """None, which is networks with a clock and without, where a series may stand still or the device rings; else False.

    In closed loop ridge and FORCE leave nodes that ring unstable, whatever the noise: three harmonics on
    ``ellipse80x50`` (Q = 7; a point of a search, eight seeds) had a median NRMSE of 1.7 in free run and 0.016 with the
    target fed back. With a clock of strength 3, else alike, it was 0.0075, worst 0.015.
    """
    rings = model.scale.quality is not None and model.scale.quality > RINGS
    return None if rings or any(task not in SMOOTH for task in tasks) else False


def goal(task: str) -> float:
    """The error (NRMSE) that is good enough for a task."""
    return GOALS.get(task, 0.02)
