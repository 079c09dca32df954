"""What OOMMF costs through Spinloom, side by side in one run, as ratios.

    python benchmarks/oommf.py data/devices/disc60.toml [--ns 3] [--nodes 40] [--repeats 3] [--oommf COMMAND]

1. `play` against `boxsi` itself on the very same input, started by hand under one host server:
   both finish as many runs, as many side by side as there are cores. Asked for: at most 1.3.
2. oommfc's own drive with an output per tick (table and field file) against `play`, one run at
   a time; with the threads that OOMMF takes by default, and with one. Asked for: at least 3 of
   what a user of oommfc gets who sets nothing.
3. A network tick of live nodes in lock-step against `play` of the same drives, whose cost of
   starting is taken off. Asked for: at most 1.3.

Each pair is timed alternately, `--repeats` times, and the median of the ratios is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.engines.oommf import mif
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.installation import Installation, find_oommf
from spinloom.device_models.machine import cores
from spinloom.device_models.scan import drive
from spinloom.device_models.system import card_system

TICK = 7.5e-12
JOIN_GROUP = "import os, sys; os.setpgid(0, int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"


def main(arguments: list[str] | None = None) -> None:
    """Run the comparisons; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path)
    parser.add_argument("--ns", type=float, default=3.0, help="length of a run (ns)")
    parser.add_argument("--nodes", type=int, default=40, help="live nodes")
    parser.add_argument("--ticks", type=int, default=60, help="of the live nodes")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is timed")
    parser.add_argument("--oommf", default=os.environ.get("SPINLOOM_OOMMF"), help="command that starts OOMMF")
    options = parser.parse_args(arguments)
    card, installation = load_card(options.device), find_oommf(options.oommf)
    print(f"OOMMF {installation.version} ({installation.where}), {card.geometry.mask().sum()} cells")
    u = drives(round(options.ns * 1e-9 / TICK), 2 * cores())
    with open_folders(), OommfEngine(card, TICK, installation=installation) as engine:
        compare("play, and boxsi itself on the same input", played(engine, u), by_hand(engine, u), options.repeats)
        one = u[:, :1]
        for threads in (None, 1):
            what = f"plain oommfc with an output per tick ({threads or 'default'} threads), and play"
            compare(what, plain(card, engine, one, threads), played(engine, one), options.repeats)
    lock_step(card, installation, options.nodes, options.ticks, options.repeats)


@contextlib.contextmanager
def open_folders() -> Iterator[None]:
    """Root starts OOMMF as another user, who has to write in the folders that oommfc makes."""
    before = os.umask(0) if os.geteuid() == 0 else None
    try:
        yield
    finally:
        if before is not None:
            os.umask(before)


def drives(n_ticks: int, devices: int) -> np.ndarray:
    """Calibration drives, (n_ticks, devices)."""
    rng = np.random.default_rng(0)
    return np.stack([calibration_drive("tones", n_ticks, TICK, rng) for _ in range(devices)], axis=1)


def compare(what: str, first: Callable[[], float], second: Callable[[], float], repeats: int) -> None:
    """Alternate two runs and print the median of each and of their ratio."""
    pairs = [(first(), second()) for _ in range(repeats)]
    a, b, ratio = (statistics.median(column) for column in zip(*[(x, y, x / y) for x, y in pairs], strict=True))
    print(f"{what}: {a:.3g} and {b:.3g} s, ratio {ratio:.2f}", flush=True)


def played(engine: OommfEngine, u: np.ndarray) -> Callable[[], float]:
    """`play`, timed."""

    def timed() -> float:
        began = time.perf_counter()
        engine.play(np.full(len(u), TICK), u)
        return time.perf_counter() - began

    return timed


def by_hand(engine: OommfEngine, u: np.ndarray) -> Callable[[], float]:
    """The solver on input that is written beforehand, one process for each core, timed."""

    def timed() -> float:
        folders = []
        for k in range(u.shape[1]):
            folder = engine.host.new_folder(f"by-hand-{time.monotonic_ns()}")
            mif.write_waveform(folder, engine.cards[0], engine.equilibria[0], np.full(len(u), TICK), u[:, k])
            folders.append(folder)
        began = time.perf_counter()
        running: list[subprocess.Popen[bytes]] = []
        for folder in folders:
            while len(running) >= engine.side_by_side:
                running = [process for process in running if process.poll() is None]
                time.sleep(0.001)
            running.append(engine.host.boxsi(folder))
        for process in running:
            process.communicate()
        return time.perf_counter() - began

    return timed


def plain(card: DeviceCard, engine: OommfEngine, u: np.ndarray, threads: int | None) -> Callable[[], float]:
    """The drive that a user of oommfc writes first: a function of time, n = number of ticks, timed."""
    import micromagneticmodel as mm
    import oommfc

    class Runner(oommfc.oommf.ExeOOMMFRunner):
        """The same OOMMF, the same host server, and the same end of all processes."""

        def __init__(self) -> None:
            join = [sys.executable, "-I", "-S", "-c", JOIN_GROUP, str(engine.host.group)]
            self.oommf = [*join, *engine.installation.command]
            self.env = engine.host.environment

    def timed() -> float:
        system = card_system(card, engine.equilibria[0], u=1.0)
        (torque,) = system.dynamics.get(type=mm.Slonczewski)
        torque.func, torque.dt = lambda t: float(u[min(int(t / TICK), len(u) - 1), 0]), TICK
        folder = engine.host.new_folder(f"plain-{time.monotonic_ns()}")
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            oommfc.TimeDriver().drive(
                system, t=len(u) * TICK, n=len(u), dirname=str(folder), runner=Runner(), n_threads=threads, verbose=0
            )
        return time.perf_counter() - began

    return timed


def lock_step(card: DeviceCard, installation: Installation, nodes: int, ticks: int, repeats: int) -> None:
    """Live nodes against runs of the same drives."""
    u = drives(ticks + 1, nodes)
    with OommfEngine(card, TICK, installation=installation) as engine:
        began = time.perf_counter()
        state = engine.node.start(nodes)
        print(f"{nodes} live nodes started in {time.perf_counter() - began:.3g} s", flush=True)
        began = time.perf_counter()
        state, _ = drive(engine.node, u[:1], state)
        print(f"their first tick, in which their tables are connected: {time.perf_counter() - began:.3g} s", flush=True)
        before, lives = state.processor_s(), []
        for _ in range(repeats):
            began = time.perf_counter()
            state, _ = drive(engine.node, u[:ticks], state)
            lives.append((time.perf_counter() - began) / ticks)
        spent = np.subtract(state.processor_s(), before)
        solver, helpers = spent / (repeats * ticks)
    with OommfEngine(card, TICK, installation=installation) as engine:
        whole = [played(engine, np.tile(u[:ticks], (repeats, 1)))() for _ in range(repeats)]
        short = [played(engine, u[:1])() for _ in range(repeats)]
    batch = (statistics.median(whole) - statistics.median(short)) / (repeats * ticks)
    live = statistics.median(lives)
    print(
        f"a network tick of {nodes} live nodes: {live:.3g} s, of the same nodes as separate runs {batch:.3g} s, "
        f"ratio {live / batch:.2f}; processor time in solvers {solver:.3g} s, in OOMMF's other processes "
        f"{helpers:.2g} s, on {engine.side_by_side} cores"
    )


if __name__ == "__main__":
    main()
