"""What a temperature does to trained networks: with reduced nodes that have noise, and in thermal micromagnetics.

    python benchmarks/warm_network.py data/reference/networks/network-sine.nc --model runs/warm.nc
    python benchmarks/warm_network.py data/reference/networks/network-recognise.nc --model runs/warm.nc --trials 40

The networks were trained at 0 K, or on the warm model itself; the model is one of the same device at a temperature
('spinloom calibrate --temperature 300', 'spinloom fit'). Generators run from several seeds of the noise after a washout
of five periods: NRMSE, shape error (every period aligned in phase), and the output's variance from seed to seed, over
all ticks; mean over seeds and standard error. The last column is the difference in units of the uncertainty of both.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.seeds import stream
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.trials import generate, recognise
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import progress

WASHOUT = 5


def main(arguments: list[str] | None = None) -> None:
    """Run reduced and full, and compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+", help="trained networks")
    parser.add_argument("--model", type=Path, required=True, help="reduced model of the same device, warm")
    parser.add_argument("--seeds", type=int, default=4, help="of the noise, for networks that generate")
    parser.add_argument("--periods", type=int, default=10, help="in free run")
    parser.add_argument("--trials", type=int, default=40, help="of a network that recognises")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.periods, options.trials) < 2:
        parser.error("seeds, periods and trials: expected at least 2 of each")
    try:
        warm = load_model(options.model)
        for path in options.networks:
            network, cold = load_network(path)
            nodes = both_nodes(warm, load_model(cold))
            if network.task == "generate":
                rows = generated(network, nodes, options.seeds, options.periods, options.seed)
            else:
                rows = recognised(network, nodes, options.trials, options.seed)
            for what, (a, a_se), (b, b_se) in rows:
                apart = (a - b) / max(np.hypot(a_se, b_se), 1e-300)
                told = f"full {a:.4f} ± {a_se:.4f}   reduced {b:.4f} ± {b_se:.4f}   {apart:+.1f}"
                print(f"{network.name} at {warm.temperature:g} K  {what:<12} {told}", flush=True)
    except SpinloomError as error:
        parser.error(str(error))


def both_nodes(warm: CalibratedModel, cold: CalibratedModel) -> dict[str, Any]:
    """The warm device in full and reduced, in the units of the model that a network was trained on."""
    if warm.card.at(0) != cold.card.at(0) or warm.tick != cold.tick:
        raise SpinloomError(
            f"model: expected one of {cold.card.name} with the tick of the networks, got another device"
        )
    card: DeviceCard = warm.card
    return {"full": cold.scale.of(EmbeddedEngine(card, cold.tick).node), "reduced": cold.scale.of(warm.node)}


def generated(network: TrainedNetwork, nodes: dict[str, Any], seeds: int, periods: int, seed: int) -> list[Any]:
    """Figures of a generator, full and reduced."""
    figures = []
    for name, node in nodes.items():
        ticks = (WASHOUT + periods) * network.period_ticks
        with progress(f"{network.name}, {seeds} seeds, {name}", ticks) as advance:
            weights, clock = network.weights.repeat(seeds), network.clock
            run = generate(node, weights, network.f, periods, WASHOUT, advance, clock=clock, seed=seed)
        apart = ((run.z - run.z.mean(axis=1, keepdims=True)) ** 2).mean(axis=(0, 2)) * seeds / (seeds - 1)
        figures.append({"NRMSE": run.nrmse, "shape error": run.shape_error, "variance": apart})
    full, reduced = figures
    return [(what, spread(full[what]), spread(reduced[what])) for what in full]


def recognised(network: TrainedNetwork, nodes: dict[str, Any], trials: int, seed: int) -> list[Any]:
    """Accuracy of a recogniser, full and reduced, on the same waveforms."""
    found = []
    for name, node in nodes.items():
        how = network.listening
        with progress(f"{network.name}, {trials} trials, {name}", how["period_ticks"] * how["periods"]) as advance:
            rng = stream(seed, "full trials")
            one = recognise(node, network.weights, trials=trials, rng=rng, progress=advance, seed=seed, **how)
        found.append(spread((one.classes == one.answers).ravel().astype(float)))
    return [("accuracy", *found)]


def spread(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


if __name__ == "__main__":
    main()
