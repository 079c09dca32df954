"""What a device-nanosecond costs, side by side in one run, as ratios.

    python benchmarks/engines.py data/devices/disc60.toml [--model MODEL.nc] [--devices 40] [--repeats 3]
        [--temperature 300]

1. The dense operator and the FFT convolution, on the card's mesh.
2. A batch of devices and one device.
3. Identical devices and a batch of different ones: diameter, thickness, Ms, damping and bias spread by 5 %, the mesh
   scaled with the device.
4. With a model: the reduced model and full micromagnetics.
5. With a model: its roll-out called for the first time and again, which compiles nothing.

Each pair is timed alternately, `--repeats` times, and the medians are printed, of the ratio of the
second to the first too: machines are noisy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines.convolution import Convolved
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.fields import Dense
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.device_models.spread import Spread, chip
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.reduced_models.rollout import simulate

TICK = 7.5e-12
SPREAD = Spread(diameter=0.05, thickness=0.05, Ms=0.05, alpha=0.05, bias=0.05)
"""Of devices that differ."""
MOST_DENSE = 4000
"""Cells above which a matrix is left out: it would take more than a gigabyte."""

Timed = Callable[[], float]


def main(arguments: list[str] | None = None) -> None:
    """Run the comparisons; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path)
    parser.add_argument("--model", type=Path, help="reduced model of the device")
    parser.add_argument("--temperature", type=float, help="of the device (K), instead of the card's")
    parser.add_argument("--devices", type=int, default=40, help="in a batch")
    parser.add_argument("--ticks", type=int, default=100, help="of a run in full micromagnetics")
    parser.add_argument("--rollout-ticks", type=int, default=2000, help="of a run of the reduced model")
    parser.add_argument("--repeats", type=int, default=3, help="how often each pair is timed")
    options = parser.parse_args(arguments)
    if min(options.devices, options.ticks, options.rollout_ticks, options.repeats) < 1:
        parser.error("devices, ticks and repeats: expected at least 1 of each")
    try:
        card = load_card(options.device, options.temperature)
        model = None if options.model is None else load_model(options.model)
        batch = full(card, options.devices, options.ticks, options.repeats)
        if model is not None:
            reduced(model, batch, options.devices, options.rollout_ticks, options.repeats)
    except SpinloomError as error:
        parser.error(str(error))


def full(card: DeviceCard, devices: int, ticks: int, repeats: int) -> Timed:
    """Full micromagnetics against itself.

    Returns
    -------
    batch : callable
        seconds per device-ns of identical devices, the yardstick for the reduced model
    """
    engine = EmbeddedEngine(card, TICK)
    cells, node = int(engine.mask.sum()), engine.node
    print(f"{card.name}: {cells} cells, {devices} devices, {node.steps} steps in a tick of {TICK:g} s", flush=True)
    if cells <= MOST_DENSE:
        dense = driven(replace(node, field=Dense.of(card, engine.mask)), devices, ticks)
        convolved = driven(replace(node, field=Convolved.of([card], engine.mask)), devices, ticks)
        compare("dense, and FFT", dense, convolved, repeats)
    batch = driven(node, devices, ticks)
    compare(f"{devices} devices, and 1 device", batch, driven(node, 1, ticks), repeats)
    several = EmbeddedEngine(chip(card, SPREAD, devices, seed=0), TICK).node
    different = driven(several, devices, ticks, np.arange(devices))
    compare(f"identical devices, and different ones ({several.steps} steps)", batch, different, repeats)
    return batch


def reduced(model: CalibratedModel, batch: Timed, devices: int, ticks: int, repeats: int) -> None:
    """The reduced model against full micromagnetics, and against itself."""
    compare("reduced model, and full", driven(model.node, devices, ticks), batch, repeats)
    pairs = []
    for repeat in range(repeats):  # a length of its own each time, else only the very first call would compile
        once = rolled_out(model, devices, ticks + repeat)
        pairs.append((once(), once()))
    tell("roll-out, first call and second", pairs)


def driven(node: Node, devices: int, ticks: int, which: np.ndarray | None = None) -> Timed:
    """Seconds per device-ns of a batch under random drives, compiled beforehand."""
    u = np.random.default_rng(0).uniform(-1, 1, (ticks, devices))
    state = node.start(devices, devices=which)
    drive(node, u, state)

    def timed() -> float:
        began = time.perf_counter()
        drive(node, u, state)
        return (time.perf_counter() - began) / (u.size * node.tick * 1e9)

    return timed


def rolled_out(model: CalibratedModel, devices: int, ticks: int) -> Timed:
    """Seconds per device-ns of a roll-out, as it is called."""
    u = np.random.default_rng(0).uniform(-1, 1, (ticks, devices))

    def timed() -> float:
        began = time.perf_counter()
        simulate(model.estimator, u, model.m_start)
        return (time.perf_counter() - began) / (u.size * model.tick * 1e9)

    return timed


def compare(what: str, first: Timed, second: Timed, repeats: int) -> None:
    """Alternate two runs and print what each takes."""
    tell(what, [(first(), second()) for _ in range(repeats)])


def tell(what: str, pairs: list[tuple[float, float]]) -> None:
    """Print the median of each of two runs and of their ratio."""
    a, b, ratio = (statistics.median(column) for column in zip(*[(x, y, y / x) for x, y in pairs], strict=True))
    print(f"{what}: {a:.4g} and {b:.4g} s per device-ns, ratio {ratio:.3g}", flush=True)


if __name__ == "__main__":
    main()
