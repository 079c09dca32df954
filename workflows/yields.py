"""Stage: how good chips are whose junctions differ, trained each for itself or by a read-out that is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scaled
from spinloom.device_models.spread import PARAMETERS, Spread
from spinloom.networks.loop import simulate
from spinloom.networks.measures import free_run_error
from spinloom.networks.seeds import JUDGES, stream
from spinloom.networks.tasks import task_name
from spinloom.networks.topology import Weights, draw
from spinloom.networks.training import learn
from spinloom.networks.trials import clock_ticks, generate
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows import figures
from spinloom.workflows.baselines import without_magnets
from spinloom.workflows.console import progress, say
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.train import targets
from spinloom.workflows.workers import Team

HOW = {
    "each": "trained on each chip",
    "nominal": "trained on the nominal device, copied",
    "several": "trained on several chips at once, copied",
}
"""Where the read-out of a chip comes from."""
SHOWN = 8
"""Chips that the last of them is trained on; none of them is judged."""
LEVEL = 0.9
"""Share of chips that the spread which is told allows."""
PERIODS = 40
"""Of each free run."""
_TOGETHER = 10


def read_factors(text: str) -> tuple[float, ...]:
    """Factors as they are written on the command line.

    Examples
    --------
    >>> read_factors("0.5,1")
    (0.5, 1.0)
    """
    try:
        return tuple(sorted(float(part) for part in text.split(",")))
    except ValueError:
        raise SpinloomError(f"factors: expected numbers with commas between, such as 0.5,1, got {text!r}") from None


def yield_stage(
    model: CalibratedModel,
    settings: GenerateSettings,
    spread: Spread,
    factors: tuple[float, ...],
    chips: int,
    out: Path,
    seed: int = 0,
    nrmse: tuple[float, ...] = (),
    baselines: bool = True,
    elsewhere: Elsewhere | None = None,
) -> dict[str, Any]:
    """Errors of many chips against the spread of their junctions.

    Parameters
    ----------
    model : CalibratedModel
        of a population
    settings : GenerateSettings
        networks, tasks, training; every chip has the fixed weights of its seed
    spread : Spread
        how junctions differ
    factors : tuple of float
        it is multiplied by each of them
    chips : int
        of each spread
    out : path
        table of all errors (CSV); the curves are drawn beside it (SVG)
    seed : int
        of the chips
    nrmse : tuple of float
        largest error of each task; a quarter more than that of equal junctions if not given
    baselines : bool
        whether the same networks are trained without magnets too
    elsewhere : Elsewhere, optional
        processes that chips are spread over; this one, if not given

    Returns
    -------
    result : dict
        ``chips, spread``; ``equal`` and ``limits``, by task the error of equal junctions and the largest that is
        accepted; ``curves``, for each way of training, task and factor ``low, median, high`` of the NRMSE (the tenth,
        half, and nine tenths of the chips); ``yields``, for each way and factor the share of chips within all limits;
        ``allows``, for each way the factor down to which nine tenths of the chips are, None if at none that was tried;
        ``baselines``, by task and kind of node without magnets the NRMSE;
        ``out, plot``
    """
    if chips < 2:
        raise SpinloomError(f"chips: expected at least 2, got {chips}")
    if nrmse and len(nrmse) != len(settings.tasks):
        raise SpinloomError(f"nrmse: expected one for each of {len(settings.tasks)} tasks, got {len(nrmse)}")
    if not factors or not all(0 < factor < np.inf for factor in factors):
        raise SpinloomError("factors: expected multiples of the spread above 0")
    if spread == Spread():
        raise SpinloomError(
            "spread: expected one above 0 of some parameter, got none; give --spread, or an experiment with a [spread]"
        )
    files.check_writable(out)
    rows = list(_rows(model, settings, spread, factors, chips, seed, elsewhere))
    # As one process gives them, whoever was first.
    rows.sort(key=lambda row: (row["factor"], row["chip"] // _TOGETHER, tuple(HOW).index(row["how"])))
    table = pd.DataFrame(rows)
    with files.written_whole(out) as temporary:
        table.to_csv(temporary, index=False)
    plot = out.with_suffix(".svg")
    equal = table[table["factor"] == 0].groupby("task", sort=False)["nrmse"].median().to_dict()
    limits = dict(zip(equal, nrmse, strict=True)) if nrmse else {task: 1.25 * error for task, error in equal.items()}
    with files.written_whole(plot) as temporary:
        temporary.write_text(figures.yields(table, limits), encoding="utf-8")
    shares = _shares(table, limits)
    allows = {how: _allowed(shares[how]) for how in HOW}
    within = ", ".join(f"{task} {limit:.2g}" for task, limit in limits.items())
    for how, factor in allows.items():
        told = "not even at the least that was tried" if factor is None else f"up to {factor:.2g} times the spread"
        say(f"{HOW[how]}: {LEVEL:.0%} of chips are within {within} {told}")
    beside = without_magnets(model, settings) if baselines else {}
    return {
        "chips": chips,
        "spread": spread.model_dump(),
        "baselines": beside,
        "equal": equal,
        "limits": limits,
        "curves": _curves(table),
        "yields": {how: {f"{factor:g}": share for factor, share in one.items()} for how, one in shares.items()},
        "allows": allows,
        "out": str(out),
        "plot": str(plot),
    }


def _rows(
    model: CalibratedModel,
    settings: GenerateSettings,
    spread: Spread,
    factors: tuple[float, ...],
    chips: int,
    seed: int,
    elsewhere: Elsewhere | None,
) -> Iterator[dict[str, Any]]:
    """Errors, row by row."""
    nodes, steps = settings.topology.nodes, len(factors) * -(-chips // _TOGETHER)
    with progress(f"{chips} chips of {nodes} junctions, {len(factors)} spreads", steps + 1) as advance:
        equal = Batch.of(model, settings, np.zeros((1, nodes, len(PARAMETERS))))
        nominal = equal.trained()
        yield from equal.judged(nominal, {"how": "each", "factor": 0.0}, 0)
        advance(1)
        parts: list[Part] = []
        for factor in factors:
            drawn = factor * np.stack([spread.draw(nodes, 1000 * seed + chip) for chip in range(chips + SHOWN)])
            copied = {"nominal": nominal, "several": Batch.of(model, settings, drawn[chips:]).trained_together()}
            firsts = range(0, chips, _TOGETHER)
            parts += [Part(factor, at, drawn[at : min(at + _TOGETHER, chips)], copied) for at in firsts]
        here = (part.rows(model, settings) for part in parts)
        for rows in here if elsewhere is None else elsewhere.rows(settings, parts):
            yield from rows
            advance(1)


class Part(NamedTuple):
    """Some chips of one spread, each with its own read-out and with those that are copied.

    Attributes
    ----------
    factor : float
    first : int
        number of the first chip
    drawn : (chips, N, parameters) ndarray
        how their junctions differ
    copied : dict of str to ndarray
        read-outs by how they were trained
    """

    factor: float
    first: int
    drawn: np.ndarray
    copied: dict[str, np.ndarray]

    def rows(self, model: CalibratedModel, settings: GenerateSettings) -> list[dict[str, Any]]:
        """Their errors."""
        batch = Batch.of(model, settings, self.drawn)
        found: list[dict[str, Any]] = []
        for how, w_out in {"each": batch.trained(), **self.copied}.items():
            found += batch.judged(w_out, {"how": how, "factor": self.factor}, self.first)
        return found


class Elsewhere(NamedTuple):
    """Processes that chips are spread over.

    Attributes
    ----------
    model : path
        of the model, which every process reads
    team : Team
    """

    model: Path
    team: Team

    def rows(self, settings: GenerateSettings, parts: list[Part]) -> Iterator[list[dict[str, Any]]]:
        """Errors of all parts as they come.

        Raises
        ------
        SpinloomError
            if one fails
        """
        given = {"model": str(self.model.resolve()), "settings": settings.model_dump(mode="json")}
        with self.team.open(len(parts)) as workers:
            for done in workers.map(part_of_yield, [{**given, "part": tuple(part)} for part in parts]):
                if done.error:
                    part = parts[done.number]
                    raise SpinloomError(f"chips from {part.first} on, {part.factor:g} times the spread: {done.error}")
                yield done.value


def part_of_yield(given: dict[str, Any]) -> list[dict[str, Any]]:
    """One part on a worker: ``model`` (path), ``settings``, ``part``."""
    return Part(*given["part"]).rows(load_model(given["model"]), GenerateSettings.model_validate(given["settings"]))


@dataclass(frozen=True, eq=False)
class Batch:
    """Some chips, with a network for each task on each; where nothing is fed back, one network with all outputs.

    Attributes
    ----------
    node : Scaled
        of all their junctions
    weights : Weights
        those of the first chip first
    f : (period_ticks, S, K) ndarray
        targets
    settings : GenerateSettings
    """

    node: Scaled
    weights: Weights
    f: np.ndarray
    settings: GenerateSettings

    @classmethod
    def of(cls, model: CalibratedModel, settings: GenerateSettings, deviations: np.ndarray) -> Batch:
        """Chips whose junctions deviate by (chips, N, parameters)."""
        chips, nodes, _ = deviations.shape
        f = targets(list(settings.tasks), settings.ticks(model))
        if not settings.topology.feedback and settings.training.method == "ridge":
            f = f.reshape(len(f), 1, -1)
        one, networks = draw(settings.topology, [settings.seed], f.shape[2]), f.shape[1]
        devices = np.arange(chips * nodes).reshape(chips, nodes).repeat(networks, axis=0)
        node = model.on(deviations.reshape(chips * nodes, -1)).scaled
        return cls(node, one.repeat(chips * networks).with_devices(devices), np.tile(f, (1, chips, 1)), settings)

    @property
    def clock(self) -> np.ndarray | None:
        """One period of it; None without one."""
        return self.settings.topology.clock_period(len(self.f))

    @property
    def apart(self) -> int:
        """How many networks a chip has."""
        return self.weights.networks // self.chips

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return self.node.devices // self.weights.nodes

    def trained(self) -> np.ndarray:
        """Read-outs of every network, trained on its own chip, (S, K, N + 1)."""
        learnt = learn(self.node, self.weights, self.f, self.settings.training, clock=self.clock)
        return np.asarray(learnt.weights.w_out)

    def trained_together(self) -> np.ndarray:
        """Read-outs of one chip's networks that do best on all chips at once: teacher-forced ridge regression."""
        how, apart = self.settings.training, self.apart
        target = np.tile(self.f, (how.teacher_periods, 1, 1))
        noise = how.noise * stream(how.seed, "noise").standard_normal((len(target), 1, self.f.shape[2]))
        hold = np.arange(len(target)) < len(target) - 1
        s = clock_ticks(self.clock, self.weights, len(self.f), how.teacher_periods)
        _, record = simulate(self.node, self.weights, target=target + noise, hold=hold, s=s, record="r")
        keep, found = slice(len(self.f) * (how.teacher_periods // 10), None), []
        for network in range(apart):
            r = np.concatenate(list(record.r[keep, network::apart].swapaxes(0, 1)))
            wanted = np.concatenate(list(target[keep, network::apart].swapaxes(0, 1)))
            fit = Ridge(alpha=how.ridge * len(r)).fit(r, wanted)
            found.append(np.column_stack([np.atleast_2d(fit.coef_), fit.intercept_]))
        return np.stack(found)

    def judged(self, w_out: np.ndarray, told: dict[str, Any], first: int) -> Iterator[dict[str, Any]]:
        """Errors of free runs with read-outs of every network, or of those of one chip; ``first`` is the first chip."""
        weights = self.weights.with_readout(np.tile(w_out, (self.weights.networks // len(w_out), 1, 1)))
        washout = self.settings.washouts[0]
        run = generate(self.node, weights, self.f, PERIODS, washout, clock=self.clock, seed=JUDGES + first)
        z, f = (each.reshape(len(each), self.chips * len(self.settings.tasks), -1) for each in (run.z, run.f))
        for k, error in enumerate(free_run_error(z, f)):
            chip, task = divmod(k, len(self.settings.tasks))
            name = task_name(self.settings.tasks[task])
            yield {**told, "task": name, "chip": first + chip, "nrmse": float(error)}


def _curves(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Median and tenths of the errors of each way, task and factor."""
    found = []
    for (how, task, factor), group in table.groupby(["how", "task", "factor"]):
        low, median, high = np.quantile(group["nrmse"], [0.1, 0.5, 0.9])
        tenths = {"low": float(low), "median": float(median), "high": float(high)}
        found.append({"how": how, "task": task, "factor": float(factor), **tenths})
    return found


def _shares(table: pd.DataFrame, limits: dict[str, float]) -> dict[str, dict[float, float]]:
    """Share of chips within all limits, by way of training and factor."""
    some = table[table["factor"] > 0]
    good = some.assign(good=some["nrmse"] <= some["task"].map(limits)).groupby(["how", "factor", "chip"])["good"].all()
    return {how: good[how].groupby("factor").mean().to_dict() for how in HOW}


def _allowed(shares: dict[float, float]) -> float | None:
    """The factor up to which enough chips are good: straight lines between those that were tried.

    Examples
    --------
    >>> _allowed({0.2: 1.0, 1.0: 0.8, 2.0: 0.0}), _allowed({0.2: 0.5}), _allowed({0.2: 1.0})
    (0.6, None, 0.2)
    """
    allowed: float | None = None
    before = (0.0, 1.0)
    for factor, share in sorted(shares.items()):
        if share < LEVEL:
            if allowed is not None:
                allowed = round(before[0] + (factor - before[0]) * (before[1] - LEVEL) / (before[1] - share), 6)
            break
        allowed, before = factor, (factor, share)
    return allowed
