"""Throughput against the number of workers, as ratios to one process that has all cores.

    python benchmarks/workers.py data/devices/disc60.toml [--workers 1,2,4] [--parts 8] [--devices 40] [--ticks 200]

A part is a batch of devices in full micromagnetics under random drives, as of a calibration; each worker has its share
of the cores. Printed are, for each number of workers, the seconds until they stand ready, those until each has
compiled and is done with its first part, and device-nanoseconds in a second from then on, with the ratio to one process
that computes the same parts one after the other on all cores; and at last what a part costs that does nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.workers import Cluster, Here, open_workers

TICK = 7.5e-12
NOTHINGS = 200


class Measured(NamedTuple):
    """How quick some workers are.

    Attributes
    ----------
    ready, first : float
        seconds until they stand ready, and until each is done with a first part
    rate : float
        device-ns in a second after that
    nothing : float
        seconds for a part that does nothing
    """

    ready: float
    first: float
    rate: float
    nothing: float


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path)
    parser.add_argument("--workers", default="1,2", help="numbers of workers, with commas between")
    parser.add_argument("--parts", type=int, default=8, help="of all workers together")
    parser.add_argument("--devices", type=int, default=40, help="in a part")
    parser.add_argument("--ticks", type=int, default=200, help="of a part")
    options = parser.parse_args(arguments)
    try:
        counts = [int(number) for number in options.workers.split(",")]
    except ValueError:
        parser.error(f"workers: expected numbers with commas between, such as 1,2,4, got {options.workers!r}")
    if min(*counts, options.parts, options.devices, options.ticks) < 1:
        parser.error("workers, parts, devices and ticks: expected at least 1 of each")
    try:
        card = load_card(options.device)
        print(f"{card.name}: {options.parts} parts of {options.devices} devices and {options.ticks} ticks", flush=True)
        alone = None
        for count in counts:
            found = measured(card, count, options.parts, options.devices, options.ticks)
            alone = found.rate if alone is None else alone
            print(
                f"{count} workers: ready in {found.ready:.3g} s, first part in {found.first:.3g} s, then "
                f"{found.rate:.4g} device-ns a second, ratio {found.rate / alone:.3g}; a part that does nothing: "
                f"{1e3 * found.nothing:.3g} ms",
                flush=True,
            )
    except SpinloomError as error:
        parser.error(str(error))


def measured(card: DeviceCard, count: int, parts: int, devices: int, ticks: int) -> Measured:
    """Some workers on the same parts; a single one is this process, with all cores."""
    given = [{"card": card.to_json(), "seed": seed, "devices": devices, "ticks": ticks} for seed in range(parts)]
    began = time.perf_counter()
    with open_workers(count) as workers:
        ready = time.perf_counter()
        spent(workers, part, given[:1] * count)
        first = time.perf_counter()
        seconds = spent(workers, part, given)
        nothing = spent(workers, abs, [0] * NOTHINGS) / NOTHINGS
    device_ns = parts * devices * ticks * TICK * 1e9
    return Measured(ready - began, first - ready, device_ns / seconds, nothing)


def spent(workers: Here | Cluster, function: Any, given: list[Any]) -> float:
    """Seconds until all parts are done; one that fails is told."""
    began = time.perf_counter()
    for done in workers.map(function, given):
        if done.error:
            raise SpinloomError(f"part {done.number}: {done.error}")
    return time.perf_counter() - began


def part(given: dict[str, Any]) -> float:
    """A batch of devices under random drives."""
    engine = EmbeddedEngine(DeviceCard.from_json(given["card"]), TICK)
    u = np.random.default_rng(given["seed"]).uniform(-1, 1, (given["ticks"], given["devices"]))
    _, m = engine.play(np.full(len(u), TICK), u)
    return float(m[-1].mean())


if __name__ == "__main__":
    main()
