"""What a tick of a reduced network costs, beside another version of Spinloom if its folder is given.

    python benchmarks/ticks.py data/reference/networks/model.nc [--beside FOLDER] [--repeats 7]
        [--full CARD [--cell 2e-9]]

Networks of 40 nodes: one, one with FORCE, 16 at once; 40 and 640 devices without a network; and sparse networks of up
to 10,000 nodes of which each hears 10 others. With --full, 40 free layers of a card in the embedded engine too, with
cells of another edge in the plane if --cell says so, from a uniform state. Printed are microseconds a tick and network
of 40 nodes (so of the large ones: for each 40 of their nodes), on the clock and of processor time: the clock is
another on a busy machine.

Each version runs in a process of its own; they take turns, and the medians are printed, with that of the ratios, the
other's to this one's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NODES = 40
WORKER = "--worker"
LARGE = (1000, 10_000)
HEARD = 10


def main(arguments: list[str] | None = None) -> None:
    """Run the comparisons; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="reduced model")
    parser.add_argument("--beside", type=Path, help="folder of another version, with spinloom/ in it")
    parser.add_argument("--repeats", type=int, default=7, help="how often each is timed")
    parser.add_argument("--ticks", type=int, default=2000, help="of a run of 40 nodes")
    parser.add_argument("--largest", type=int, default=LARGE[-1], help="nodes of a sparse network at most")
    parser.add_argument("--full", type=Path, help="card of a device for full micromagnetics")
    parser.add_argument("--cell", type=float, help="edge of its cells (m)")
    parser.add_argument(WORKER, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.repeats, options.ticks) < 1:
        parser.error("repeats and ticks: expected at least 1 of each")
    if options.worker:
        known = runs(options.model, options.ticks, options.largest)
        if options.full is not None:
            known |= full(options.full, options.cell)
        answer(known)
        return
    here = Path(__file__).resolve().parents[1]
    folders = [here] if options.beside is None else [here, options.beside.resolve()]
    told = [str(options.model), "--ticks", str(options.ticks), "--largest", str(options.largest)]
    if options.full is not None:
        told += ["--full", str(options.full), *([] if options.cell is None else ["--cell", str(options.cell)])]
    processes = [begun(folder, told) for folder in folders]
    names = [json.loads(read(process)) for process in processes]
    times: dict[str, list[list[list[float]]]] = {name: [[] for _ in processes] for name in names[0]}
    for _ in range(options.repeats):
        for name, of_each in times.items():
            for process, known, found in zip(processes, names, of_each, strict=True):
                if name in known:
                    found.append(asked(process, name))
    for process in processes:
        process.communicate()
    for name, of_each in times.items():
        print(line(name, of_each), flush=True)


def line(name: str, of_each: list[list[list[float]]]) -> str:
    """Medians of one run, and of the ratios to the other version's."""
    clock, processor = (statistics.median(found) for found in zip(*of_each[0], strict=True))
    text = f"{name:26s} {clock:8.3f} us on the clock, {processor:8.3f} us of processor time"
    if len(of_each) > 1 and of_each[1]:
        pairs = zip(of_each[1], of_each[0], strict=True)
        ratios = zip(*([a / b for a, b in zip(*pair, strict=True)] for pair in pairs), strict=True)
        text += "; the other's are {:.2f} and {:.2f} times as many".format(*map(statistics.median, ratios))
    return text


def begun(folder: Path, told: list[str]) -> subprocess.Popen[str]:
    """A process of the version in a folder."""
    return subprocess.Popen(
        [sys.executable, __file__, *told, WORKER],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read(process: subprocess.Popen[str]) -> str:
    """What a process says next."""
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise SystemExit("a version ended early; its own message is above")
    return said


def asked(process: subprocess.Popen[str], name: str) -> list[float]:
    """Microseconds of one run, on the clock and of the processor."""
    assert process.stdin is not None
    process.stdin.write(name + "\n")
    process.stdin.flush()
    return json.loads(read(process))


def answer(known: dict[str, tuple[Callable[[], Any], float]]) -> None:
    """Time what is asked for, until nothing is."""
    for run, _ in known.values():
        run()
    print(json.dumps(list(known)), flush=True)
    for asking in sys.stdin:
        run, units = known[asking.strip()]
        began = time.perf_counter(), time.process_time()
        run()
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
        print(json.dumps([1e6 * seconds / units for seconds in spent]), flush=True)


def runs(path: Path, ticks: int, largest: int) -> dict[str, tuple[Callable[[], Any], float]]:
    """What can be timed, by name, and how many ticks of 40 nodes each is of."""
    import numpy as np

    from spinloom.device_models.scan import drive
    from spinloom.networks.loop import simulate, start
    from spinloom.networks.topology import Topology, draw
    from spinloom.networks.training import force_on
    from spinloom.reduced_models.model import load_model

    node = load_model(path).scaled
    known: dict[str, tuple[Callable[[], Any], float]] = {}

    def network(name: str, nodes: int, networks: int, density: float, ticks: int, learns: bool = False) -> None:
        topology = Topology(nodes=nodes, spectral_radius=0.8, density=density, feedback=1.0, bias=0.5, gain=0.5)
        weights = draw(topology, list(range(networks)))
        state, target, free = start(node, weights), np.zeros((ticks, networks, 1)), np.zeros(ticks, bool)

        def run() -> Any:
            if learns:
                return force_on(node, weights, target, None, None, state, chunk=ticks)
            return simulate(node, weights, target=target, hold=free, state=state, record="z", chunk=ticks)

        known[name] = run, ticks * networks * nodes / NODES

    def devices(number: int) -> None:
        u, state = np.zeros((ticks, number)), node.start(number)
        known[f"{number} devices"] = (lambda: drive(node, u, state, chunk=ticks)), ticks * number / NODES

    network("network", NODES, 1, 0.3, ticks)
    network("network with FORCE", NODES, 1, 0.3, ticks, learns=True)
    network("16 networks", NODES, 16, 0.3, ticks)
    network("16 networks with FORCE", NODES, 16, 0.3, ticks, learns=True)
    devices(NODES)
    devices(16 * NODES)
    lists = hasattr(sys.modules["spinloom.networks.topology"], "Sparse")
    for nodes in LARGE:
        if nodes <= largest and (lists or nodes <= LARGE[0]):
            network(f"sparse, {nodes} nodes", nodes, 1, HEARD / nodes, max(1, ticks // 10))
    return known


def full(path: Path, edge: float | None) -> dict[str, tuple[Callable[[], Any], float]]:
    """The same of full micromagnetics: two ticks of 40 devices."""
    import numpy as np

    from spinloom.device_models.card import load_card
    from spinloom.device_models.engines.embedded import EmbeddedEngine
    from spinloom.device_models.scan import drive

    card, ticks = load_card(path), 2
    if edge is not None:
        cell = (edge, edge, card.geometry.cell[2])
        card = card.model_copy(update={"geometry": card.geometry.model_copy(update={"cell": cell})})
    mask = card.geometry.mask()
    node = EmbeddedEngine(card, 7.5e-12, mask[..., None] * np.array([0.0, 1.0, 0.0])).node
    u, state = np.random.default_rng(0).uniform(-1, 1, (ticks, NODES)), node.start(NODES)
    return {f"full, {mask.sum()} cells": ((lambda: drive(node, u, state, chunk=ticks)), ticks)}


if __name__ == "__main__":
    main()
