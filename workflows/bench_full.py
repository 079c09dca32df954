"""Networks of a benchmark with every junction in full micromagnetics, on a sample of the test, beside reduced ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spinloom.device_models.engines import Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.benchmarks.listening import Listening, Vowels, answers, features
from spinloom.networks.benchmarks.memory import information
from spinloom.networks.benchmarks.reservoir import Ridge, drive, nrmse, read
from spinloom.networks.benchmarks.series import uniform
from spinloom.networks.benchmarks.tasks import WASHOUT, FreeRun, Task
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.bench_kinds import FREE_WASHOUT, Kind, Settings, Tested, free_series, network
from spinloom.workflows.console import progress

FULL_WASHOUT = 100
"""Samples of a series before those that count, to forget the start."""
HEARD_CLASSES, HEARD_NOISE = 8, 10.0
"""Of what is recognised in full: where no kind of node is always right."""
_TRIALS, _STARTS, _INFORMATION = 1 / 2, 1 / 20, 20
"""Trials, starts of a free run, and samples for the capacity, for each sample of a series that is asked for."""
_PREFIXES = ("", "expects_")


def unit(task: Tested | str) -> str:
    """What a sample of a task is counted in.

    Examples
    --------
    >>> unit("ipc"), unit(Vowels())
    ('samples', 'utterances')
    """
    units = {FreeRun: "starts", Listening: "trials", Vowels: "utterances"}
    return units.get(type(task), "samples")


@dataclass(frozen=True)
class FullRun:
    """One network, reduced and in full micromagnetics.

    Its read-outs are taught on reduced junctions. One has the penalty that was selected, which may rest on differences
    that are smaller than the error of the reduced model; the other ``expects`` that error: a penalty per sample is the
    variance of a noise on the states, so its penalty is at least the square of the model's worst held-out error. Of
    what is recognised it reads means and mean squares relative to their average over each network's own trials, which
    needs no labels: the model's error is much the same in all windows, and not small beside what differs between them.
    Both networks start from equilibrium. Above 0 K the noise of both differs, and so do the states.

    Attributes
    ----------
    model : CalibratedModel
    temperature : float or None
        of the junctions (K); that of the model if None
    kind : Kind
        the reduced junctions
    nodes : int
    settings : Settings
    samples : int
        of a series; half as many trials, a twentieth as many starts of a free run, twenty times as many samples for
        the capacity, which takes several for each node
    choice : Choice
        engine
    seed : int
        of weights, series and noise
    """

    model: CalibratedModel
    temperature: float | None
    kind: Kind
    nodes: int
    settings: Settings
    samples: int
    choice: Choice
    seed: int = 0

    def run(self, task: Tested | str) -> dict[str, Any]:
        """Figures of both networks on the same sample, and how far they are apart.

        Parameters
        ----------
        task : Task, FreeRun, Listening, Vowels, or "ipc"

        Returns
        -------
        told : dict
            ``reduced`` and ``full``; ``apart``: the NRMSE between their outputs (of the capacity: states), or the share
            of trials that they answer differently; of free runs ``together``: how long they agree, as the figure
            counts. The same with the prefix ``expects_`` for the second read-out, where there is any
        """
        card = self.model.card if self.temperature is None else self.model.card.at(self.temperature)
        with open_engine(self.choice, card, self.model.tick) as engine:
            sides = {"reduced": self.kind.node, "full": self.model.scale.of(engine.node)}
            told = self._told(task, sides)
        return {
            **told,
            "penalties": self.penalties,
            "temperature": card.conditions.temperature,
            "engine": self.choice.name,
            "settings": asdict(self.settings),
        }

    def _told(self, task: Tested | str, sides: dict[str, Node]) -> dict[str, Any]:
        if isinstance(task, str):
            return self._information(sides)
        if isinstance(task, Task):
            return self._series(task, sides)
        if isinstance(task, FreeRun):
            return self._free(task, sides)
        return self._heard(task, sides)

    @property
    def penalties(self) -> list[float]:
        """As selected, and what expects the model's error."""
        return [self.settings.ridge, max(self.settings.ridge, self.model.holdout_nrmse**2)]

    def _weights(self, channels: int) -> Any:
        return network(self.kind, self.nodes, [self.settings], [self.seed], channels)

    def _each(self, sides: dict[str, Node], total: int, ask: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
        """What both networks make of the same inputs, each with a seed of its own, and neither that of the teaching."""
        found = {}
        for number, (name, node) in enumerate(sides.items()):
            with progress(f"a sample on {name} junctions", total) as on:
                found[name] = ask(node, seed=self.seed + 1 + number, progress=on)
        return found

    def _series(self, task: Task, sides: dict[str, Node]) -> dict[str, Any]:
        weights, reading, series = (
            self._weights(task.channels),
            self.settings.reading,
            task.series(self.nodes, self.seed),
        )
        x = drive(self.kind.node, weights, series.u, reading, seed=self.seed)[0][:, 0]
        n, split = len(x), WASHOUT + task.train
        if split + self.samples > n:
            expected = f"at most {n - split} samples, as many as {task.name} tests"
            raise SpinloomError(f"full: expected {expected}, got {self.samples}")
        fit = Ridge(x[WASHOUT:split], series.target[WASHOUT:split])
        u, target = (rows[split - FULL_WASHOUT : split + self.samples] for rows in series)
        states = self._each(sides, len(u), lambda node, **how: drive(node, weights, u, reading, **how)[0][:, 0])
        told: dict[str, Any] = {"samples": self.samples}
        for prefix, penalty in zip(_PREFIXES, self.penalties, strict=True):
            y = {name: read(fit.readout(penalty), x)[FULL_WASHOUT:] for name, x in states.items()}
            told |= {f"{prefix}{name}": task.judge(one, target[FULL_WASHOUT:]) for name, one in y.items()}
            told[f"{prefix}apart"] = nrmse(y["full"], y["reduced"])
        return told

    def _free(self, task: FreeRun, sides: dict[str, Node]) -> dict[str, Any]:
        starts = max(1, round(self.samples * _STARTS))
        weights, reading = self._weights(task.channels), self.settings.reading
        taught, tests = free_series(task, self.seed, starts)
        x = drive(self.kind.node, weights, taught[:-1], reading, seed=self.seed)[0][:, 0]
        fit = Ridge(x[WASHOUT:], taught[WASHOUT + 1 :])
        w_out = np.repeat(np.stack([fit.readout(penalty) for penalty in self.penalties]), starts, axis=0)
        many, u, truth = weights.repeat(len(w_out)), np.concatenate([tests] * 2, axis=1), tests[FREE_WASHOUT:]
        runs = self._each(
            sides,
            len(u),
            lambda node, **how: drive(node, many, u, reading, w_out=w_out, taught=FREE_WASHOUT, **how)[1][
                FREE_WASHOUT:
            ],
        )
        told: dict[str, Any] = {"samples": starts}
        for number, prefix in enumerate(_PREFIXES):
            y = {name: run[:, number * starts : (number + 1) * starts] for name, run in runs.items()}
            told |= {f"{prefix}{name}": task.judge(one, truth) for name, one in y.items()}
            told[f"{prefix}together"] = task.judge(y["full"], y["reduced"])
        return told

    def _heard(self, task: Listening | Vowels, sides: dict[str, Node]) -> dict[str, Any]:
        weights, reading, trials = self._weights(task.channels), self.settings.reading, task.make(self.seed)
        count = max(2, round(self.samples * _TRIALS))
        tested = np.arange(trials.train, len(trials.labels))
        if count > len(tested):
            raise SpinloomError(
                f"full: expected at most {int(len(tested) / _TRIALS)} for {task.name}, got {self.samples}"
            )
        drawn = np.sort(np.random.default_rng([self.seed, 11]).choice(tested, count, replace=False))
        known, asked = trials.some(np.arange(trials.train)), trials.some(drawn)
        shown = features(self.kind.node, weights, [known], reading, seed=self.seed)[0]
        heard = self._each(sides, len(asked.u), lambda node, **how: features(node, weights, [asked], reading, **how)[0])
        both = trials.some(np.r_[: trials.train, drawn])

        def said(x: np.ndarray) -> list[np.ndarray]:
            selected, expects = self.penalties
            apart = np.concatenate([shown - shown.mean(axis=0), x - x.mean(axis=0)])
            return [*answers(np.concatenate([shown, x]), both, (selected,)), *answers(apart, both, (expects,))]

        given = {name: said(x) for name, x in heard.items()}
        told: dict[str, Any] = {"samples": count}
        for number, prefix in enumerate(_PREFIXES):
            told |= {f"{prefix}{name}": float((one[number] != asked.labels).mean()) for name, one in given.items()}
            told[f"{prefix}apart"] = float((given["full"][number] != given["reduced"][number]).mean())
        return told

    def _information(self, sides: dict[str, Node]) -> dict[str, Any]:
        """Capacities of states take no read-out."""
        samples = max(_INFORMATION * self.samples, 10 * self.nodes)
        u = uniform(WASHOUT + samples, np.random.default_rng([self.seed, 10]))
        weights, reading = self._weights(1), self.settings.reading
        states = self._each(sides, len(u), lambda node, **how: drive(node, weights, u, reading, **how)[0][:, 0])
        told: dict[str, Any] = {name: information(x, u, WASHOUT).total for name, x in states.items()}
        return {**told, "apart": nrmse(states["full"][WASHOUT:], states["reduced"][WASHOUT:]), "samples": samples}
