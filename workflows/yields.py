"""Stage: how good chips are whose junctions differ, trained each for itself or by a read-out that is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scaled
from spinloom.device_models.spread import PARAMETERS, Spread
from spinloom.networks.loop import simulate
from spinloom.networks.seeds import JUDGES, stream
from spinloom.networks.tasks import task_name
from spinloom.networks.topology import Weights, draw
from spinloom.networks.training import learn
from spinloom.networks.trials import clock_ticks, generate
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows import figures
from spinloom.workflows.console import progress, say
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.train import targets

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

    Returns
    -------
    result : dict
        ``chips, tasks``; ``curves``, for each way of training, task and factor ``median, low, high`` (the tenth and the
        ninetieth of a hundred chips) of the NRMSE; ``allows``, for each way and task the largest factor at which nine
        tenths of the chips are within twice the error of equal junctions; ``out, plot``
    """
    if chips < 2:
        raise SpinloomError(f"chips: expected at least 2, got {chips}")
    if not factors or min(factors) <= 0:
        raise SpinloomError("factors: expected multiples of the spread above 0")
    files.check_writable(out)
    rows = list(_rows(model, settings, spread, factors, chips, seed))
    table = pd.DataFrame(rows)
    with files.written_whole(out) as temporary:
        table.to_csv(temporary, index=False)
    plot = out.with_suffix(".svg")
    equal = table[table["factor"] == 0].groupby("task")["nrmse"].median().to_dict()
    with files.written_whole(plot) as temporary:
        temporary.write_text(figures.yields(table, equal), encoding="utf-8")
    curves, allows = _curves(table), _allows(table, equal)
    for (how, task), factor in allows.items():
        told = "less than all that was tried" if factor is None else f"{factor:g} times the spread"
        say(f"{task}, {HOW[how]}: {LEVEL:.0%} of chips within twice the error of equal junctions up to {told}")
    return {
        "chips": chips,
        "tasks": [task_name(task) for task in settings.tasks],
        "spread": spread.model_dump(),
        "equal": equal,
        "curves": curves,
        "allows": [{"how": how, "task": task, "factor": factor} for (how, task), factor in allows.items()],
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
) -> Iterator[dict[str, Any]]:
    """Errors, row by row."""
    nodes, steps = settings.topology.nodes, len(factors) * -(-chips // _TOGETHER)
    with progress(f"{chips} chips of {nodes} junctions, {len(factors)} spreads", steps + 1) as advance:
        equal = Batch.of(model, settings, np.zeros((1, nodes, len(PARAMETERS))))
        nominal = equal.trained()
        yield from equal.judged(nominal, {"how": "each", "factor": 0.0}, 0)
        advance(1)
        for factor in factors:
            drawn = factor * np.stack([spread.draw(nodes, 1000 * seed + chip) for chip in range(chips + SHOWN)])
            several = Batch.of(model, settings, drawn[chips:]).trained_together()
            for at in range(0, chips, _TOGETHER):
                batch = Batch.of(model, settings, drawn[at : min(at + _TOGETHER, chips)])
                for how, w_out in (("each", batch.trained()), ("nominal", nominal), ("several", several)):
                    yield from batch.judged(w_out, {"how": how, "factor": factor}, at)
                advance(1)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some chips, with a network for each task on each.

    Attributes
    ----------
    node : Scaled
        of all their junctions
    weights : Weights
        of chips T networks, the T tasks of the first chip first
    f : (period_ticks, chips T, 1) ndarray
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
        f, tasks = targets(list(settings.tasks), settings.ticks(model)), len(settings.tasks)
        one = draw(settings.topology, [settings.seed], f.shape[2])
        devices = np.arange(chips * nodes).reshape(chips, nodes).repeat(tasks, axis=0)
        node = model.on(deviations.reshape(chips * nodes, -1)).scaled
        return cls(node, one.repeat(chips * tasks).with_devices(devices), np.tile(f, (1, chips, 1)), settings)

    @property
    def clock(self) -> np.ndarray | None:
        """One period of it; None without one."""
        return self.settings.topology.clock_period(len(self.f))

    def trained(self) -> np.ndarray:
        """Read-outs of every network, trained on its own chip, (chips T, K, N + 1)."""
        return np.asarray(
            learn(self.node, self.weights, self.f, self.settings.training, clock=self.clock).weights.w_out
        )

    def trained_together(self) -> np.ndarray:
        """Read-outs of each task that do best on all these chips at once, (T, K, N + 1): teacher-forced ridge."""
        how, tasks = self.settings.training, len(self.settings.tasks)
        target = np.tile(self.f, (how.teacher_periods, 1, 1))
        noise = how.noise * stream(how.seed, "noise").standard_normal((len(target), 1, self.f.shape[2]))
        hold = np.arange(len(target)) < len(target) - 1
        s = clock_ticks(self.clock, self.weights, len(self.f), how.teacher_periods)
        _, record = simulate(self.node, self.weights, target=target + noise, hold=hold, s=s, record="r")
        keep, found = slice(len(self.f) * (how.teacher_periods // 10), None), []
        for task in range(tasks):
            r = np.concatenate(list(record.r[keep, task::tasks].swapaxes(0, 1)))
            wanted = np.concatenate(list(target[keep, task::tasks].swapaxes(0, 1)))
            fit = Ridge(alpha=how.ridge * len(r)).fit(r, wanted)
            found.append(np.column_stack([np.atleast_2d(fit.coef_), fit.intercept_]))
        return np.stack(found)

    def judged(self, w_out: np.ndarray, told: dict[str, Any], first: int) -> Iterator[dict[str, Any]]:
        """Errors of free runs with read-outs of every network, or of every task; ``first`` is the first chip."""
        tasks = [task_name(task) for task in self.settings.tasks]
        weights = self.weights.with_readout(np.tile(w_out, (self.weights.networks // len(w_out), 1, 1)))
        washout = self.settings.washouts[0]
        run = generate(self.node, weights, self.f, PERIODS, washout, clock=self.clock, seed=JUDGES + first)
        for k, error in enumerate(run.nrmse):
            yield {**told, "task": tasks[k % len(tasks)], "chip": first + k // len(tasks), "nrmse": float(error)}


def _curves(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Median and tenths of the errors of each way, task and factor."""
    found = []
    for (how, task, factor), group in table.groupby(["how", "task", "factor"]):
        low, median, high = np.quantile(group["nrmse"], [0.1, 0.5, 0.9])
        tenths = {"low": float(low), "median": float(median), "high": float(high)}
        found.append({"how": how, "task": task, "factor": float(factor), **tenths})
    return found


def _allows(table: pd.DataFrame, equal: dict[str, float]) -> dict[tuple[str, str], float | None]:
    """The largest factor up to which enough chips are within twice the error of equal junctions."""
    found: dict[tuple[str, str], float | None] = {}
    for (how, task), group in table[table["factor"] > 0].groupby(["how", "task"]):
        share = group.groupby("factor")["nrmse"].apply(lambda errors, task=task: (errors <= 2 * equal[task]).mean())
        good = [factor for factor in share.index if (share[:factor] >= LEVEL).all()]
        found[how, task] = max(good, default=None)
    return found
