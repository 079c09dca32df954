"""What a device-nanosecond costs, side by side in one run, as ratios.

    python benchmarks/engines.py data/devices/disc60.toml [--model MODEL.nc]

Compares the dense operator with the FFT convolution on the card's mesh, one device with a
batch of forty, and, with a model, full micromagnetics with the reduced model. Each pair is
timed alternately, three times, and the median of the ratios is printed: machines are noisy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spinloom.device_models.card import load_card
from spinloom.device_models.engines import fields
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.node import Node, drive
from spinloom.reduced_models.model import load_model

TICK = 7.5e-12


def seconds_per_device_ns(node: Node, devices: int, ticks: int) -> Callable[[], float]:
    """A timed run, compiled beforehand."""
    u = np.random.default_rng(0).uniform(-1, 1, (ticks, devices))
    drive(node, u)

    def timed() -> float:
        began = time.perf_counter()
        drive(node, u)
        return (time.perf_counter() - began) / (u.size * node.tick * 1e9)

    return timed


def compare(what: str, first: Callable[[], float], second: Callable[[], float]) -> None:
    """Alternate two runs and print the median of each and of their ratio."""
    pairs = [(first(), second()) for _ in range(3)]
    a, b, ratio = (statistics.median(column) for column in zip(*[(x, y, y / x) for x, y in pairs], strict=True))
    print(f"{what}: {a:.4g} and {b:.4g} s per device-ns, ratio {ratio:.2f}")


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    card = load_card(options.device)
    engine = EmbeddedEngine(card, TICK)
    forty = seconds_per_device_ns(engine, 40, 100)
    limit, fields.DENSE_LIMIT = fields.DENSE_LIMIT, 0
    convolution = EmbeddedEngine(card, TICK)
    fields.DENSE_LIMIT = limit
    compare(f"{engine.mask.sum()} cells, 40 devices, dense and FFT", forty, seconds_per_device_ns(convolution, 40, 50))
    compare("dense, 40 devices and 1 device", forty, seconds_per_device_ns(engine, 1, 100))
    if options.model:
        reduced = load_model(options.model)
        compare("reduced model and full, 40 devices", seconds_per_device_ns(reduced, 40, 2000), forty)


if __name__ == "__main__":
    main()
