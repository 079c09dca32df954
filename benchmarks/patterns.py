"""Networks whose input chooses the pattern: how ten seeds do, beside nodes without magnets and in full micromagnetics.

    python benchmarks/patterns.py MODEL.nc                               # reduced nodes, seeds 0 to 9
    python benchmarks/patterns.py MODEL.nc --tasks circle,eight --full   # the first seeds in full micromagnetics too
    python benchmarks/patterns.py MODEL.nc --seeds 1 --plot patterns.svg # what one network does

A line for each kind of node: of the worst switch and in the median over switches the NRMSE, aligned in phase, in the
second half of a visit; how many seeds settle after every switch; how many periods the slowest takes. The usual settings
were chosen on the seeds 100 to 107 alone, among 48 random points; nodes without magnets run at that of the junctions,
or with --search 48 at the best of as many points of their own, on the seeds 100 to 147.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

from spinloom.device_models.engines import choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError, SpinloomWarning
from spinloom.device_models.node import Node
from spinloom.networks.measures import GENERATES, GENERATES_WARM
from spinloom.networks.patterns import Chosen, choose, learn_patterns, levels
from spinloom.networks.seeds import JUDGES, VERIFIES
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.reduced_models.baselines import baselines
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.settings import PatternSettings, override
from spinloom.workflows.train import on_devices, targets
from spinloom.workflows.warm_verdict import reduced


def main(arguments: list[str] | None = None) -> None:
    """Train, let the input choose, and compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tasks", default="sine,triangle,harmonics", help="patterns, commas between")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--nodes", type=int, default=40, help="of each network")
    parser.add_argument("--force-tours", type=int, default=None, help="of all switches in FORCE")
    parser.add_argument("--search", type=int, default=0, help="operating points that nodes without magnets choose from")
    parser.add_argument("--full", type=int, nargs="?", const=5, default=0, help="seeds in full micromagnetics too (5)")
    parser.add_argument("--temperature", type=float, default=None, help="of what is run, not of the training (K)")
    parser.add_argument("--plot", type=Path, default=None, help="outputs of the first network, as SVG or PNG")
    options = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpinloomWarning)
            compare(load_model(options.model), options)
    except SpinloomError as error:
        parser.error(str(error))


def compare(model: CalibratedModel, options: argparse.Namespace) -> None:
    """All kinds of node on the same patterns."""
    base = PatternSettings()
    settings = override(
        base,
        patterns=tuple(options.tasks.split(",")),
        topology=override(base.topology, nodes=options.nodes).model_dump(),
        training=override(base.training, force_tours=options.force_tours).model_dump(),
    )
    patterns = targets(list(settings.patterns), settings.ticks(model)).transpose(1, 0, 2)
    drawn = on_devices(
        model, draw(settings.topology, list(range(options.first, options.first + options.seeds)), patterns.shape[2])
    )
    temperature = model.temperature if options.temperature is None else options.temperature

    def run(node: Node, weights: Weights, seed: int, tours: int = settings.tours) -> Chosen:
        return choose(node, weights, patterns, tours, settings.dwell, seed=seed)

    weights = _trained(model.scaled, drawn, patterns, settings)
    chosen = run(reduced(model, temperature), weights, JUDGES)
    tell("junctions, reduced", chosen, temperature)
    if options.plot is not None:
        draw_outputs(options.plot, chosen, patterns, settings, model.tick)
    for kind, node in () if options.full or options.plot else baselines(model).items():
        point = settings.topology if not options.search else searched(node, patterns, settings, options.search)
        theirs = draw(point, list(range(options.first, options.first + options.seeds)), patterns.shape[2])
        tell(kind, run(node, _trained(node, theirs, patterns, settings), JUDGES), 0.0)
    if options.full:
        began = time.perf_counter()
        cards = [card.at(temperature) for card in model.cards]
        with open_engine(choose_engine("embedded"), cards, model.tick) as engine:
            full = run(model.scale.of(engine.node), weights.take(slice(0, options.full)), VERIFIES, 1)
        tell("junctions, full micromagnetics", full, temperature)
        print(f"full micromagnetics took {time.perf_counter() - began:.0f} s")


def _trained(node: Node, weights: Weights, patterns: np.ndarray, settings: PatternSettings) -> Weights:
    return learn_patterns(node, weights, patterns, settings.training)


def searched(node: Node, patterns: np.ndarray, settings: PatternSettings, points: int) -> Topology:
    """The best of some random operating points, each with a seed of its own from 100 on and a short training."""
    rng = np.random.default_rng(points)

    def log(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    drawn = [
        Topology(
            nodes=settings.topology.nodes,
            spectral_radius=rng.uniform(0.1, 1.2),
            feedback=log(0.3, 4),
            bias=rng.uniform(0.1, 1.5),
            gain=rng.uniform(0.3, 1),
            input=log(0.2, 4),
        )
        for _ in range(points)
    ]
    weights = Weights.stack([draw(one, [100 + k], patterns.shape[2]) for k, one in enumerate(drawn)])
    brief = settings.training.model_copy(update={"tries": 1, "force_tours": min(6, settings.training.force_tours)})
    found = choose(node, learn_patterns(node, weights, patterns, brief), patterns, 1, settings.dwell)
    return drawn[int(found.late.max(axis=0).argmin())]


def tell(kind: str, chosen: Chosen, temperature: float) -> None:
    """A line of the outcome."""
    bound = GENERATES_WARM if temperature else GENERATES
    late, settled = chosen.late, chosen.settled(bound)
    all_settle = ~np.isnan(settled).any(axis=0)
    slowest = f"{np.nanmax(settled[:, all_settle]):g}" if all_settle.any() else "-"
    worst, median = late.max(axis=0), np.median(late, axis=0)
    print(f"{kind} at {temperature:g} K: worst switch {np.median(worst):.3f} (worst seed {worst.max():.3f})", end=", ")
    print(f"median switch {np.median(median):.3f} ({median.max():.3f})", end=", ")
    print(f"right {np.median(chosen.right):.3f} ({chosen.right.min():.3f})", end=", ")
    print(f"{all_settle.sum()} of {len(worst)} seeds settle within {bound:g} after every switch", end=", ")
    print(f"in {slowest} periods at most; each seed {' '.join(f'{error:.3f}' for error in worst)}", flush=True)


def draw_outputs(path: Path, chosen: Chosen, patterns: np.ndarray, settings: PatternSettings, tick: float) -> None:
    """Outputs and input of the first network, over the first tour."""
    from matplotlib.figure import Figure

    P, ticks, K = patterns.shape
    n = min(len(chosen.z), P * (P - 1) * settings.dwell * ticks)
    t = 1e9 * tick * np.arange(1, n + 1)
    which = np.repeat(chosen.visits[:, 1], settings.dwell * ticks)[:n]
    figure = Figure(figsize=(9, 1.2 + 1.5 * K), layout="constrained")
    axes = figure.subplots(K + 1, 1, sharex=True, height_ratios=[*[3] * K, 1])
    for k in range(K):
        axes[k].plot(t, chosen.z[:n, 0, k], lw=0.7)
        axes[k].set_ylabel(f"output {k + 1}" if K > 1 else "output")
    axes[K].step(t, levels(P)[which], where="pre", color="C1")
    axes[K].set_ylabel("input")
    axes[K].set_xlabel("time (ns)")
    for visit in range(0, n // (settings.dwell * ticks)):
        name = settings.patterns[chosen.visits[visit, 1]]
        axes[0].text(t[visit * settings.dwell * ticks], 1.04, name, fontsize=8, transform=axes[0].get_xaxis_transform())
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
