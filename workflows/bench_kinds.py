"""The kinds of node that a benchmark compares, and their tuning: every kind gets the same number of candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive as drive_node
from spinloom.networks.benchmarks.listening import Listening, Vowels, features, heard_alone, wrong_each
from spinloom.networks.benchmarks.memory import delayed
from spinloom.networks.benchmarks.reservoir import RIDGES, Reading, Ridge, drive
from spinloom.networks.benchmarks.tasks import WASHOUT, FreeRun, Task, judged
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.reduced_models.baselines import baselines
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.warm_verdict import reduced

SELECTION = (900_000, 900_001)
"""Seeds that settings are chosen on; what is reported is of others."""
HOLDS = (1, 2, 4, 8)
"""Ticks that a sample may be held for junctions, whose time scale is given; the other kinds choose their leak."""
RANGES = {"spectral_radius": (0.1, 2.0), "input": (0.03, 3.0), "bias": (0.03, 3.0), "leak": (0.1, 2.0)}
"""What candidates are drawn from, evenly by ratio, in units of a node's answer to a small held drive; a leak above 1
is one of 1, so that a fair share of candidates has no memory but the couplings."""
FREE_RIDGES = (1e-9, 1e-7, 1e-5, 1e-3)
FREE_STARTS, FREE_WASHOUT = 10, 100
_MOST_DEVICES, _MOST_TRIALS = 4_000, 200_000
"""Devices of a batch: its states are kept for a series, and only their means for trials."""
Tested = Task | FreeRun | Listening | Vowels
Report = Callable[[float], None]


@dataclass(frozen=True)
class Settings:
    """Of a network of one kind: what a candidate is.

    Attributes
    ----------
    spectral_radius, input, bias : float
        in units in which the answer of a node to a small held drive is 1
    hold : int
        ticks a sample is held for, or each part of it where there are virtual nodes
    leak : float
        of nodes that have one
    ridge : float
        penalty per sample
    virtual, levels : int
        parts of a sample whose states are read, and levels of the mask on its input
    """

    spectral_radius: float
    input: float
    bias: float
    hold: int = 1
    leak: float = 1.0
    ridge: float = 1e-6
    virtual: int = 1
    levels: int = 1

    @property
    def reading(self) -> Reading:
        """How a sample meets the nodes."""
        return Reading(hold=self.hold * self.virtual, virtual=self.virtual, levels=self.levels)


@dataclass(frozen=True)
class Kind:
    """A kind of node.

    Attributes
    ----------
    name : str
    node : Node
        of one device, as a network takes it
    tunes : {"hold", "leak", ""}
        what sets its time scale
    gain : float
        with which its answer to a small held drive is 1
    """

    name: str
    node: Any
    tunes: str
    gain: float

    def with_leaks(self, leaks: list[float]) -> Node:
        """A node that knows a device for each leak."""
        if self.tunes != "leak":
            return self.node
        return replace(self.node, node=replace(self.node.node, leak=jnp.asarray(leaks)))


def kinds_of(model: CalibratedModel, temperature: float | None = None) -> dict[str, Kind]:
    """Junctions of a model, at a temperature if it is given, and the baselines beside them."""
    node = model.scaled if temperature is None else model.scale.of(reduced(model, temperature))
    nodes: dict[str, Any] = {"junctions": node, **baselines(model)}
    tunes = {"junctions": "hold", "memoryless": "", "leaky": "leak", "tanh": "leak"}
    return {name: Kind(name, one, tunes[name], 1 / slope(one)) for name, one in nodes.items()}


def slope(node: Node, by: float = 0.05, ticks: int = 400, devices: int = 32) -> float:
    """How much a node's signal, in units of its spread, changes with a small held drive; 1 where it hardly does.

    Examples
    --------
    >>> from spinloom.reduced_models.baselines import Leaky
    >>> round(slope(Leaky.of(0.3, 7.5e-12), ticks=100), 6)
    1.0
    """
    u = np.tile(np.repeat([by, -by], devices), (ticks, 1))
    state, _ = drive_node(node, u)
    r = np.asarray(node.observe(state))
    found = abs(float(r[:devices].mean() - r[devices:].mean())) / (2 * by)
    return found if found > 1e-2 else 1.0


def candidates(kind: Kind, budget: int, seed: int, virtual: int = 1, levels: int = 1) -> list[Settings]:
    """Settings drawn at random, the same number for every kind, from the same stream.

    Examples
    --------
    >>> kind = Kind("leaky", None, "leak", 1.0)
    >>> first, second = candidates(kind, 2, 0)
    >>> first != second, 0.1 <= first.leak <= 1
    (True, True)
    """
    found = []
    for row in np.random.default_rng([seed, 9]).random((budget, 4)):
        low, high = np.transpose(list(RANGES.values()))
        values = dict(zip(RANGES, np.exp(np.log(low) + row * np.log(high / low)).tolist(), strict=True))
        hold = HOLDS[int(row[3] * len(HOLDS))] if kind.tunes == "hold" else 1
        leak = min(values.pop("leak"), 1.0) if kind.tunes == "leak" else 1.0
        values.pop("leak", None)
        found.append(Settings(**values, hold=hold, leak=leak, virtual=virtual, levels=levels))
    return found


def network(kind: Kind, nodes: int, settings: list[Settings], seeds: list[int], channels: int) -> Weights:
    """Networks of all settings for all seeds, those of a setting side by side; input weights are ``w_fb``."""
    one = Topology(nodes=nodes, spectral_radius=1.0, feedback=1.0, bias=1.0, gain=kind.gain)
    drawn = draw(one, seeds, channels)
    many = Weights.stack(
        [replace(drawn, W=drawn.W * s.spectral_radius, w_fb=drawn.w_fb * s.input, b=drawn.b * s.bias) for s in settings]
    )
    if kind.tunes != "leak":
        return many
    which = np.repeat(np.arange(len(settings)), len(seeds))
    return many.with_devices(np.repeat(which[:, None], nodes, axis=1))


def figures(
    task: Tested,
    kind: Kind,
    nodes: int,
    settings: list[Settings],
    seeds: list[int],
    ridges: tuple[float, ...],
    report: Report | None = None,
) -> np.ndarray:
    """The figure of every setting, seed and penalty, (settings, seeds, ridges).

    Networks of a hold are run in batches; ``report`` is called with the share just done.
    """
    found = np.full((len(settings), len(seeds), len(ridges)), np.nan)
    devices = len(seeds) * nodes
    if isinstance(task, Listening | Vowels):
        devices *= len(task.make(0).labels)
        most = _MOST_TRIALS
    else:
        most = _MOST_DEVICES
    size = max(1, most // devices)
    for hold in sorted({one.hold for one in settings}):
        places = [k for k, one in enumerate(settings) if one.hold == hold]
        for at in range(0, len(places), size):
            batch = places[at : at + size]
            these = [settings[k] for k in batch]
            found[batch] = _batch(task, kind, nodes, these, seeds, ridges)
            if report is not None:
                report(len(batch) / len(settings))
    return found


def _batch(
    task: Tested, kind: Kind, nodes: int, settings: list[Settings], seeds: list[int], ridges: tuple[float, ...]
) -> np.ndarray:
    weights = network(kind, nodes, settings, seeds, task.channels)
    node, reading = kind.with_leaks([one.leak for one in settings]), settings[0].reading
    of_each = seeds * len(settings)
    if isinstance(task, Task):
        found = _series(task, node, weights, reading, nodes, of_each, ridges)
    elif isinstance(task, FreeRun):
        found = _free(task, node, weights, reading, of_each, ridges)
    else:
        trials = {seed: task.make(seed) for seed in seeds}
        x = features(node, weights, [trials[seed] for seed in of_each], reading, seed=of_each[0])
        found = [wrong_each(x[k], trials[seed], ridges) for k, seed in enumerate(of_each)]
    return np.reshape(found, (len(settings), len(seeds), len(ridges)))


def _series(
    task: Task,
    node: Node,
    weights: Weights,
    reading: Reading,
    nodes: int,
    seeds: list[int],
    ridges: tuple[float, ...],
) -> list[list[float]]:
    series = {seed: task.series(nodes, seed) for seed in set(seeds)}
    u = np.stack([series[seed].u for seed in seeds], axis=1)
    x = drive(node, weights, u, reading, seed=seeds[0])[0]
    return [judged(task, x[:, k], series[seed].target, ridges) for k, seed in enumerate(seeds)]


def _free(
    task: FreeRun, node: Node, weights: Weights, reading: Reading, seeds: list[int], ridges: tuple[float, ...]
) -> list[list[float]]:
    series = {seed: free_series(task, seed) for seed in set(seeds)}
    u = np.stack([series[seed][0] for seed in seeds], axis=1)
    x = drive(node, weights, u[:-1], reading, seed=seeds[0])[0]
    fits = [Ridge(x[WASHOUT:, k], u[WASHOUT + 1 :, k]) for k in range(len(seeds))]
    found = np.zeros((len(seeds), len(ridges)))
    tests = np.stack([series[seed][1] for seed in seeds], axis=1)
    for column, ridge in enumerate(ridges):
        w_out = np.repeat(np.stack([fit.readout(ridge) for fit in fits]), FREE_STARTS, axis=0)
        inputs = tests.reshape(len(tests), -1, task.channels)
        many = weights.repeat(FREE_STARTS)
        _, seen = drive(node, many, inputs, reading, seed=seeds[0], w_out=w_out, taught=FREE_WASHOUT)
        y = seen.reshape(tests.shape)[FREE_WASHOUT:]
        found[:, column] = [task.judge(y[:, k], tests[FREE_WASHOUT:, k]) for k in range(len(seeds))]
    return found.tolist()


def free_series(task: FreeRun, seed: int, starts: int = FREE_STARTS) -> tuple[np.ndarray, np.ndarray]:
    """What a free run is taught, (n, C), and what it goes on from and by, (washout + free, starts, C)."""
    taught, lasts = WASHOUT + task.train, FREE_WASHOUT + task.free
    series = task.make(taught + FREE_STARTS * lasts, np.random.default_rng([seed, 7]))
    tests = series[taught:].reshape(FREE_STARTS, lasts, task.channels).swapaxes(0, 1)
    return series[: taught + 1], tests[:, :starts]


def ridges_of(task: Tested) -> tuple[float, ...]:
    """Penalties that are tried; few where each takes runs of its own."""
    return FREE_RIDGES if isinstance(task, FreeRun) else RIDGES


def best(task: Tested, found: np.ndarray) -> tuple[int, int]:
    """Setting and penalty with the best mean over seeds, of (settings, seeds, ridges)."""
    mean = np.nan_to_num(found.mean(axis=1), nan=-np.inf if task.higher else np.inf, posinf=1e300, neginf=-1e300)
    place = mean.argmax() if task.higher else mean.argmin()
    setting, ridge = np.unravel_index(place, mean.shape)
    return int(setting), int(ridge)


def tune(task: Tested, kind: Kind, nodes: int, tried: list[Settings], report: Report | None = None) -> Settings:
    """The best of some candidates on the selection seeds, with its penalty."""
    ridges = ridges_of(task)
    setting, ridge = best(task, figures(task, kind, nodes, tried, list(SELECTION), ridges, report))
    return replace(tried[setting], ridge=ridges[ridge])


def ridge_again(task: Tested, kind: Kind, nodes: int, settings: Settings) -> Settings:
    """The same settings for networks of another size, with the penalty that is best there."""
    ridges = ridges_of(task)
    _, ridge = best(task, figures(task, kind, nodes, [settings], list(SELECTION), ridges))
    return replace(settings, ridge=ridges[ridge])


def without_nodes(task: Task | Listening | Vowels, taps: int, nodes: int, seeds: list[int]) -> list[float]:
    """Figures of a linear read-out of the last ``taps`` inputs, or of all of a trial; its penalty is selected too."""

    def each(seed: int) -> list[float]:
        if isinstance(task, Task):
            one = task.series(nodes, seed)
            x = np.concatenate([delayed(column, taps) for column in one.u.T], axis=1)
            return judged(task, x, one.target, RIDGES)
        trials = task.make(seed)
        return wrong_each(heard_alone(trials), trials, RIDGES)

    _, ridge = best(task, np.array([[each(seed) for seed in SELECTION]]))
    return [each(seed)[ridge] for seed in seeds]
