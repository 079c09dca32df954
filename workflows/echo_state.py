"""An echo state network of as many nodes, tuned as junctions are: the rival that a referee asks for.

Its nodes are leaky integrators of tanh (:class:`spinloom.reduced_models.baselines.LeakyTanh`). Leak, spectral radius,
scales and penalties are drawn at random; all candidates are screened on what they make of the tasks while the target
feeds back, the best of them on free runs too, on seeds of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.scale import Scaled
from spinloom.networks.screening import SEEN, SETTLE, screen
from spinloom.networks.seeds import stream
from spinloom.networks.tasks import CLASSES
from spinloom.networks.topology import Weights, draw
from spinloom.networks.training import train_classifier
from spinloom.networks.trials import recognise
from spinloom.reduced_models.baselines import LeakyTanh, in_units
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings

CANDIDATES, PROMOTED = 64, 8
"""Operating points that are tried, and those of them that run freely."""
SEEDS = (9001, 9002)
"""Topologies that candidates are judged on; nothing is reported of them."""
TAUGHT, FORCED, FREE = 40, 40, 25
"""Periods of each rung, as in the search for an operating point of junctions."""
TRIALS = 100
"""Of recognition, to train a candidate and to judge it."""
RANGES = {
    "leak": (0.1, 1.0),
    "spectral_radius": (0.1, 1.5),
    "gain": (0.05, 0.8),
    "bias": (0.05, 2.0),
    "feedback": (0.3, 4.0),
    "clock": (0.3, 8.0),
    "input": (0.3, 6.0),
    "noise": (1e-3, 3e-2),
    "ridge": (1e-8, 1e-2),
}
"""Each is drawn uniformly in its logarithm; feedback, clock and noise only where the junctions' network has them."""
_UNITS = ("spectral_radius", "gain", "bias", "feedback", "clock", "input")


@dataclass(frozen=True)
class Tuned:
    """What the search chose.

    Attributes
    ----------
    node : Scaled
        as a network takes it
    settings : GenerateSettings or RecogniseSettings
        those of the junctions, with the topology and penalties of the choice
    params : dict of float
        what was drawn
    candidates : int
        out of how many
    """

    node: Scaled
    settings: Any
    params: dict[str, float]
    candidates: int


def tune_generator(settings: GenerateSettings, tick: float, f: np.ndarray, candidates: int | None = None) -> Tuned:
    """The best of some echo state networks for series, (period_ticks, S, K): one operating point for all of them.

    Examples
    --------
    >>> from spinloom.workflows.train import targets
    >>> tuned = tune_generator(GenerateSettings(), 7.5e-12, targets(["sine"], 24), candidates=2)
    >>> sorted(tuned.params)
    ['bias', 'feedback', 'gain', 'leak', 'noise', 'ridge', 'spectral_radius']
    """
    topology, how = settings.topology, settings.training
    asked = {"leak", "spectral_radius", "gain", "bias", "ridge"}
    asked |= {name for name, used in (("feedback", topology.feedback), ("clock", topology.clock)) if used}
    asked |= {"noise"} if topology.feedback else set()
    drawn = _drawn(asked, candidates or CANDIDATES)

    def with_params(p: dict[str, float]) -> GenerateSettings:
        units = {name: p[name] for name in _UNITS if name in p}
        penalties: dict[str, Any] = {name: p[name] for name in ("noise", "ridge") if name in p}
        return settings.model_copy(
            update={"topology": topology.model_copy(update=units), "training": how.model_copy(update=penalties)}
        )

    def rung(group: list[dict[str, float]], freely: bool) -> np.ndarray:
        made, ticks = [with_params(p) for p in group], len(f)
        jobs = [(k, seed, task) for k in range(len(group)) for seed in SEEDS for task in range(f.shape[1])]
        weights = Weights.stack([draw(made[k].topology, [seed], f.shape[2]) for k, seed, _ in jobs])
        weights = weights.with_devices(np.repeat([k for k, *_ in jobs], weights.nodes).reshape(-1, weights.nodes))
        seen = screen(
            _several(group, tick),
            weights,
            [f[:, task] for *_, task in jobs],
            [made[k].topology.clock_period(ticks) for k, *_ in jobs],
            noise=np.array([made[k].training.noise for k, *_ in jobs]),
            ridge=np.array([made[k].training.ridge for k, *_ in jobs]),
            taught_ticks=TAUGHT * ticks,
            tested_ticks=(SETTLE + SEEN) * ticks,
            force_ticks=FORCED * ticks if freely and how.method == "force" else 0,
            free_ticks=FREE * ticks if freely else 0,
            seed=SEEDS[0],
        )
        errors = np.maximum(seen.shape, seen.free / 3) if freely else seen.taught
        logs = np.log10(np.clip(np.nan_to_num(errors, nan=1.0, posinf=1.0), 1e-6, 1.0))
        return logs.reshape(len(group), -1).mean(axis=1)

    best = [drawn[k] for k in np.argsort(rung(drawn, False), kind="stable")[:PROMOTED]]
    params = best[int(rung(best, True).argmin())]
    return Tuned(_several([params], tick), with_params(params), params, len(drawn))


def tune_recogniser(settings: RecogniseSettings, tick: float, period: int, candidates: int | None = None) -> Tuned:
    """The best of some echo state networks for recognition.

    Examples
    --------
    >>> tuned = tune_recogniser(RecogniseSettings(), 7.5e-12, 12, candidates=2)
    >>> tuned.settings.topology.nodes, 0.1 < tuned.params["leak"] < 1
    (40, True)
    """
    drawn = _drawn({"leak", "spectral_radius", "gain", "bias", "input", "ridge"}, candidates or CANDIDATES)

    def with_params(p: dict[str, float]) -> RecogniseSettings:
        units = {name: p[name] for name in _UNITS if name in p}
        topology = settings.topology.model_copy(update=units)
        return settings.model_copy(update={"topology": topology, "ridge": p["ridge"]})

    made, node = [with_params(p) for p in drawn], _several(drawn, tick)
    how: dict[str, Any] = {name: getattr(settings, name) for name in ("periods", "averaged", "power")}
    right = np.zeros(len(drawn))
    for seed in SEEDS:
        weights = Weights.stack([draw(one.topology, [seed], len(CLASSES)) for one in made])
        weights = weights.with_devices(np.repeat(np.arange(len(drawn)), weights.nodes).reshape(-1, weights.nodes))
        first, second = (stream(seed, purpose) for purpose in ("training trials", "test trials"))
        seen = recognise(node, weights, trials=TRIALS, rng=first, period_ticks=period, **how)
        w_out = [
            train_classifier(x, classes, len(CLASSES), one.ridge)
            for x, classes, one in zip(seen.features, seen.classes, made, strict=True)
        ]
        trained = weights.with_readout(np.stack(w_out))
        right += recognise(node, trained, trials=TRIALS, rng=second, period_ticks=period, **how).accuracy
    params = drawn[int(right.argmax())]
    return Tuned(_several([params], tick), with_params(params), params, len(drawn))


def _drawn(names: set[str], candidates: int) -> list[dict[str, float]]:
    random = stream(SEEDS[0], "screening")
    return [
        {
            name: math.exp(random.uniform(math.log(low), math.log(high)))
            for name, (low, high) in RANGES.items()
            if name in names
        }
        for _ in range(candidates)
    ]


def _several(group: list[dict[str, float]], tick: float) -> Scaled:
    """A node that knows a device for each candidate, all in the same units: scales are searched anyway."""
    scaled = in_units(LeakyTanh.of(0.5, tick))
    return replace(scaled, node=LeakyTanh.of(jnp.asarray([p["leak"] for p in group]), tick))
