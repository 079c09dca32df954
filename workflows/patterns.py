"""Stage: several patterns in one network, and an input that chooses; trained, judged, and in full micromagnetics."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.lost import MEND
from spinloom.networks.measures import GENERATES, GENERATES_WARM
from spinloom.networks.patterns import WASHOUT, Chosen, choose, learn_patterns, levels, tour
from spinloom.networks.seeds import JUDGES, VERIFIES
from spinloom.networks.store import PATTERNS, TrainedNetwork, save_network
from spinloom.networks.tasks import task_name
from spinloom.networks.topology import Weights, draw
from spinloom.reduced_models.baselines import baselines
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.region import Watch
from spinloom.workflows.console import progress, say
from spinloom.workflows.settings import PatternSettings
from spinloom.workflows.train import on_devices, targets
from spinloom.workflows.warm_verdict import reduced

Result = dict[str, Any]


def train_patterns(
    model: CalibratedModel, settings: PatternSettings, beside: bool = True
) -> tuple[TrainedNetwork, Result]:
    """Train one network on all patterns, and judge it in free run.

    Parameters
    ----------
    model : CalibratedModel
    settings : PatternSettings
    beside : bool
        whether the same network is trained without magnets too

    Returns
    -------
    network : TrainedNetwork
    result : dict
        ``patterns``, their names; what :func:`told` gives; ``period_s, outside_share``; ``baselines``, by kind of node
        ``nrmse`` and ``right``
    """
    ticks, names = settings.ticks(model), [task_name(task) for task in settings.patterns]
    f = targets(list(settings.patterns), ticks).transpose(1, 0, 2)
    weights = on_devices(model, draw(settings.topology, [settings.seed], f.shape[2]))
    lasts = settings.training.lasts(len(f)) * ticks
    with progress(f"train {', '.join(names)}, chosen by an input", lasts) as advance:
        weights = learn_patterns(model.scaled, weights, f, settings.training, advance)
    watch = Watch(model.region, model.scale.reach, _ticks(f, settings) * weights.nodes)
    with progress(f"free runs through {settings.tours} tours of all switches", _ticks(f, settings)) as advance:
        chosen = _judged(model.scaled, weights, f, settings, progress=advance, watch=watch)
    model.region.warn(watch.outside_of_all, ", ".join(names))
    result = {
        "patterns": names,
        **told(chosen, names, ticks * model.tick, bool(model.temperature)),
        "seed": settings.seed,
        "outside_share": watch.outside_of_all,
    }
    if beside:
        result["baselines"] = _baselines(model, f, settings)
    network = TrainedNetwork(
        task=PATTERNS,
        name="-".join(names),
        weights=weights,
        period_ticks=ticks,
        f=f[0],
        settings={**settings.model_dump(mode="json"), "reached": result},
        deviations=model.deviations,
        patterns=f,
    )
    return network, result


def _ticks(f: np.ndarray, settings: PatternSettings) -> int:
    return (WASHOUT + settings.tours * len(tour(len(f))) * settings.dwell) * f.shape[1]


def _judged(node: Node, weights: Weights, f: np.ndarray, settings: PatternSettings, **how: Any) -> Chosen:
    return choose(node, weights, f, settings.tours, settings.dwell, seed=JUDGES, **how)


def _baselines(model: CalibratedModel, f: np.ndarray, settings: PatternSettings) -> dict[str, Result]:
    """The same training on nodes without magnets; their operating points are the junctions' own."""
    say("baselines: the same training on nodes without magnets, at the same operating point")
    found = {}
    for kind, node in baselines(model).items():
        weights = draw(settings.topology, [settings.seed], f.shape[2])
        chosen = _judged(node, learn_patterns(node, weights, f, settings.training), f, settings)
        found[kind] = {"nrmse": float(chosen.late.max()), "right": float(chosen.right[0])}
    return found


def told(chosen: Chosen, names: list[str], period_s: float, warm: bool) -> Result:
    """Figures of one network's free run through all switches.

    Returns
    -------
    figures : dict
        ``nrmse``, of the worst visit, and ``nrmse_median``, aligned in phase, over the second half of each visit;
        ``right``, share of periods there that are nearest to the pattern asked for; ``settles_periods``, of the slowest
        switch, None where one does not settle, and ``unsettled``, how many do not; ``settles_s``; ``switches``, of each
        pair the worst of its visits; ``generates``; ``words``
    """
    bound = GENERATES_WARM if warm else GENERATES
    late, settled = chosen.late[:, 0], chosen.settled(bound)[:, 0]
    switches: dict[str, float] = {}
    for (before, after), error in zip(chosen.visits, late, strict=True):
        name = f"{names[before]} > {names[after]}"
        switches[name] = max(float(error), switches.get(name, 0.0))
    unsettled, slowest = int(np.isnan(settled).sum()), float(np.max(settled))
    worst = max(switches, key=lambda name: switches[name])
    generates = switches[worst] <= bound
    words = (
        f"{len(late)} switches: NRMSE {late.max():.2g} after the worst ({worst}), {np.median(late):.2g} in the median"
    )
    if chosen.lost and chosen.lost[0] is not None:
        words += f"; {chosen.lost[0].words}, washout included; {MEND}"
    elif unsettled:
        words += f"; {unsettled} do not settle within {bound:g}"
    else:
        words += f"; all settle within {slowest:g} periods ({1e9 * slowest * period_s:.3g} ns)"
    if not generates:
        words += (
            ": not every pattern is reached; fewer patterns, patterns that are alike where they begin, more --nodes, "
            "another --seed"
        )
    return {
        "nrmse": float(late.max()),
        "nrmse_median": float(np.median(late)),
        "right": float(chosen.right[0]),
        "settles_periods": None if unsettled else slowest,
        "settles_s": None if unsettled else slowest * period_s,
        "unsettled": unsettled,
        "switches": switches,
        "period_s": period_s,
        "generates": bool(generates),
        "words": words,
    }


def patterns_stage(
    model: CalibratedModel, model_path: Path, settings: PatternSettings, out: Path, beside: bool = True
) -> Result:
    """Train one network on all patterns and save it; as :func:`train_patterns`, with ``out``."""
    files.check_writable(out)
    network, result = train_patterns(model, settings, beside)
    save_network(network, out, model_path)
    say(result["words"])
    return {**result, "out": str(out)}


def verdict_patterns(
    network: TrainedNetwork,
    model: CalibratedModel,
    choice: Choice,
    *,
    temperature: float | None = None,
    tours: int = 1,
) -> Result:
    """Let the input choose while every node is full micromagnetics, and the same on reduced nodes.

    Parameters
    ----------
    network : TrainedNetwork
        of patterns
    model : CalibratedModel
    choice : Choice
        of the engine; where it has no live nodes, the embedded one computes
    temperature : float, optional
        of all nodes (K); the model's if not given
    tours : int
        of all switches

    Returns
    -------
    result : dict
        ``task, engine, temperature``, ``full`` and ``reduced`` as :func:`told`, ``outside_share, wall_s``
    """
    f, names = _patterns(network)
    temperature = model.temperature if temperature is None else temperature
    dwell, ticks = int(network.settings["dwell"]), network.period_ticks
    begun = time.perf_counter()
    say(choice.why)
    if choice.recorded:
        say("engine: embedded for patterns, because OOMMF's record is of single ones")
        choice = choose_engine("embedded")
    total = (WASHOUT + tours * len(tour(len(f))) * dwell) * ticks
    watch = Watch(model.region, model.scale.reach, total * network.weights.nodes)
    with open_engine(choice, [card.at(temperature) for card in model.cards], model.tick) as engine:
        if not engine.live:
            raise SpinloomError(f"engine: {engine.name} has no live nodes here; use --engine embedded")
        what = f"{network.name}: {network.weights.nodes} junctions in {engine.name} micromagnetics"
        with progress(what, total) as bar:
            full = choose(
                model.scale.of(engine.node),
                network.weights,
                f,
                tours,
                dwell,
                seed=VERIFIES,
                progress=bar,
                watch=watch,
                names=[network.name],
            )
    beside = choose(reduced(model, temperature), network.weights, f, tours, dwell, seed=JUDGES)
    model.region.warn(watch.outside_of_all, f"{network.name} in full micromagnetics")
    found = {
        kind: told(chosen, names, ticks * model.tick, temperature > 0)
        for kind, chosen in (("full", full), ("reduced", beside))
    }
    say(f"full: {found['full']['words']}")
    say(f"reduced: {found['reduced']['words']}")
    return {
        "task": network.name,
        "engine": choice.name,
        "temperature": temperature,
        **found,
        "levels": levels(len(f)).tolist(),
        "outside_share": watch.outside_of_all,
        "wall_s": time.perf_counter() - begun,
    }


def _patterns(network: TrainedNetwork) -> tuple[np.ndarray, list[str]]:
    if network.patterns is None:
        raise SpinloomError(f"{network.name}: holds no patterns; train it with 'spinloom train patterns'")
    names = [task_name(str(task)) for task in network.settings.get("patterns", ())]
    if len(names) != len(network.patterns) or "dwell" not in network.settings:
        raise SpinloomError(
            f"{network.name}: its settings do not tell its patterns and how long each is kept; train again"
        )
    return network.patterns, names
