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
from spinloom.networks.screening import Screened, screen
from spinloom.networks.tasks import target, task_name
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.reduced_models.model import CalibratedModel

optuna.logging.set_verbosity(optuna.logging.WARNING)

GOALS = {"sine": 0.003, "triangle": 0.03, "harmonics": 0.01, "square": 0.15}
"""Errors (NRMSE) that are good enough: below them, speed counts; 0.02 for a series of one's own."""
BATCH = 32
"""Candidates in a batch of the first rung."""
SEEDS = 4
"""Topologies for each candidate of the second rung."""
PERIODS = ((40, 25), (60, 40))
"""Periods of teacher forcing and of free run, of the two rungs: a read-out from fewer is not stable in closed loop."""
LEAST_TICKS, MOST_TICKS = ((2400, 1600), (3600, 3600)), (7200, 3600)
"""Least ticks of each, of the two rungs, and most."""
RESONANCES = (0.7, 4.0)
"""Periods that are tried, in periods of the resonance, where Q is at most 1."""
PER_QUALITY, LATEST = 0.2, 1.6
"""By how much the shortest grows with Q, and to what at most: nodes that ring on mix up periods near their own."""
SHORTEST, LONGEST = 16, 400
"""Periods that are tried, in ticks."""
CLOCK_COSTS, SPEED_COUNTS = 0.3, 0.25
"""A clock, and a period ten times as long, have to lower the mean log10 of the error by this much."""


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
        by task: median over seeds of NRMSE in free run (shape, free, taught), and the commonest state
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
    second : CalibratedModel, optional
        of the same device and reach, for the second rung, if the first is a quicker one
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
        second: CalibratedModel | None = None,
    ) -> None:
        self.models = (model, model if second is None else second)
        self.tasks, self.nodes, self.seed = tasks, nodes, seed
        self.space = space(model, clock, longest_s, shares)
        self.candidates: list[Candidate] = []
        self._trials: dict[int, optuna.trial.Trial] = {}
        self._waiting: list[Candidate] = []
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=96),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=4),
        )

    @property
    def best(self) -> list[Candidate]:
        """Candidates that came farthest, the best first."""
        return sorted(self.candidates, key=lambda candidate: (-candidate.rung, candidate.score))

    def until(self, deadline: float, say: Callable[[Search], None] = lambda search: None, most: int = 100_000) -> None:
        """Batch after batch until ``time.perf_counter()`` reaches the deadline; one at least.

        Candidates that wait for the second rung at the end are not lost: the best of them are tried there.
        """
        while True:
            began = time.perf_counter()
            self.batch()
            say(self)
            now = time.perf_counter()
            if now + 0.7 * (now - began) > deadline or len(self.candidates) >= most:
                break
        waiting = sorted(self._waiting, key=lambda candidate: candidate.score)[: BATCH // SEEDS]
        if waiting:
            self._waiting.clear()
            self._judge(waiting, 1)
            say(self)

    def batch(self) -> None:
        """One batch of proposals, and of the second rung when enough have survived the first."""
        asked = [self._study.ask(self.space) for _ in range(BATCH)]
        new = [Candidate(trial.number, self._params(trial.params)) for trial in asked]
        self._trials |= {trial.number: trial for trial in asked}
        self.candidates += new
        self._judge(new, 0)
        many = BATCH // SEEDS
        while len(self._waiting) >= many:
            group, self._waiting = self._waiting[:many], self._waiting[many:]
            self._judge(group, 1)

    def _judge(self, group: list[Candidate], rung: int) -> None:
        seeds = [self.seed * 1000 + 100_000 + 100 * rung + k for k in range(SEEDS if rung else 1)]
        # Short periods and long ones apart: the longest of a batch says how many ticks all of it run.
        by_period = sorted(group, key=lambda candidate: candidate.params["period_ticks"])
        for half in (by_period[: len(group) // 2], by_period[len(group) // 2 :]):
            if half:
                evaluate(self.models[rung], half, self.tasks, self.nodes, seeds, _ticks(half, rung))
        for candidate in group:
            candidate.rung = rung
            trial = self._trials[candidate.number]
            trial.report(candidate.score, rung + 1)
            if rung == 0 and not trial.should_prune():
                self._waiting.append(candidate)
                continue
            ended = optuna.trial.TrialState.COMPLETE if rung else optuna.trial.TrialState.PRUNED
            self._study.tell(trial, candidate.score if rung else None, state=ended)

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


def space(
    model: CalibratedModel, clock: bool | None, longest_s: float | None, shares: tuple[float, ...]
) -> dict[str, optuna.distributions.BaseDistribution]:
    """What is searched, and within which limits."""
    real, choice = optuna.distributions.FloatDistribution, optuna.distributions.CategoricalDistribution
    one = LONGEST / RESONANCES[1] if model.scale.resonance is None else 1 / model.scale.resonance / model.tick
    shortest = RESONANCES[0] + PER_QUALITY * max(0.0, (model.scale.quality or 0.0) - 1)
    limits = (min(shortest, LATEST), RESONANCES[1])
    low, high = (min(max(round(limit * one), SHORTEST), LONGEST) for limit in limits)
    if longest_s is not None:
        high = max(low, min(high, int(longest_s / model.tick)))
    found: dict[str, optuna.distributions.BaseDistribution] = {
        "period_ticks": optuna.distributions.IntDistribution(low, max(high, low + 1), log=True),
        "share": choice(list(shares)),
        "radius": real(0.05, 8.0, log=True),
        "feedback": real(0.2, 5.0, log=True),
        "bias": real(0.1, 3.0, log=True),
        "noise": real(1e-3, 1e-1, log=True),
        "ridge": real(1e-7, 1e-2, log=True),
    }
    if clock is not False:
        # Biases of some share of the clock: nodes then go over at moments of their own.
        found |= {"clock": real(0.3, 30.0, log=True), "clock_shape": choice(["ramp", "sine"])}
        found |= {"bias_share": real(0.1, 1.0, log=True), "heard": choice([0.0, 1.0])}
    if clock is None:
        found["clocked"] = choice([True, False])
    return found


def _ticks(group: list[Candidate], rung: int) -> tuple[int, int]:
    """Ticks of teacher forcing and of free run, enough for the longest period of a group."""
    longest = max(candidate.params["period_ticks"] for candidate in group)
    limits = zip(PERIODS[rung], LEAST_TICKS[rung], MOST_TICKS, strict=True)
    forced, free = (min(max(periods * longest, least), most) for periods, least, most in limits)
    return forced, free


def evaluate(
    model: CalibratedModel,
    group: list[Candidate],
    tasks: tuple[str, ...],
    nodes: int,
    seeds: list[int],
    ticks: tuple[int, int],
) -> None:
    """Screen candidates, each with every task and seed in one batch, and write into them how they did."""
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
        forced_ticks=ticks[0],
        free_ticks=ticks[1],
        seed=seeds[0],
    )
    for candidate in group:
        for task in tasks:
            rows = [k for k, job in enumerate(jobs) if job[0] is candidate and job[1] == task]
            _write(candidate, task, result, rows)
        candidate.score = scored(candidate, tasks, model)


def _write(candidate: Candidate, task: str, result: Screened, rows: list[int]) -> None:
    # Of several seeds the third quartile: a point has to work for most of them.
    quartile = {
        kind: float(np.quantile(getattr(result, kind)[rows], 0.75, method="higher"))
        for kind in ("shape", "free", "taught")
    }
    states = result.state[rows].tolist()
    candidate.errors[task_name(task)] = quartile
    candidate.states[task_name(task)] = max(sorted(set(states)), key=states.count)


def scored(candidate: Candidate, tasks: tuple[str, ...], model: CalibratedModel) -> float:
    """How much is missing: mean over tasks of log10 (error / goal), no less than -0.5; speed and clock count a little.

    The error is that of the shape, or a third of the free run's where that is larger: what drifts
    can be trimmed. Errors count up to 1.
    """
    missing = []
    for task in tasks:
        error = candidate.errors[task_name(task)]
        worst = min(max(error["shape"], error["free"] / 3, 1e-6), 1.0)
        missing.append(max(math.log10(worst / goal(task)), -0.5))
    one = 1e-9 if model.scale.resonance is None else 1 / model.scale.resonance
    slow = SPEED_COUNTS * math.log10(candidate.params["period_ticks"] * model.tick / one)
    return float(np.mean(missing)) + slow + CLOCK_COSTS * (candidate.params["clock"] > 0)


def goal(task: str) -> float:
    """The error (NRMSE) that is good enough for a task."""
    return GOALS.get(task, 0.02)
