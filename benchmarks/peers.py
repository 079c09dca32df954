"""What a tick costs beside other people's programs, in one run, as ratios.

    python benchmarks/peers.py data/devices/disc60.toml --model data/reference/networks/model.nc
        [--peers cmtj,reservoirpy,neuralmag,oommf] [--repeats 5] [--json FILE] [--oommf COMMAND]

Every peer is installed in an environment of its own, under --cache, and timed in a process of its own; one that cannot
be is named with the reason and left out. What is compared:

    cmtj         one macrospin for one tick of 7.5 ps, without a current. CMTJ takes Runge-Kutta steps of 1 ps; ours
                 are the macrospin of the same card, at steps of 1.5 ps, and the flow map, driven, 40 devices at once.
    reservoirpy  one tick of an echo-state network of 40 tanh nodes without feedback, and one with recursive least
                 squares on its states; ours a tick of 40 junctions with feedback and read-out, alone, of 16 networks
                 at once, and with FORCE.
    neuralmag    a ns of one free layer at the card's cells, in full micromagnetics (float64): NeuralMag's nodal LLG of
                 exchange, demagnetisation, bias and damping, without a torque, to its own tolerances, one device,
                 against the embedded engine with the torque, 40 devices at once.
    oommf        the same device-nanosecond through OOMMF, as many processes as cores.

Theirs and ours are timed alternately; the medians are printed, and the median of the ratios, theirs over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.card import MU0, DeviceCard, load_card
from spinloom.device_models.engines.demag import demag_factors
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.installation import find_oommf
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.machine import cores
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.networks.loop import simulate, start
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import force_on
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.model import load_model
from spinloom.reduced_models.node import ReducedNode

TICK = 7.5e-12
NODES, TOGETHER = 40, 16
TOPOLOGY = Topology(nodes=NODES, spectral_radius=0.8, feedback=1.0, bias=0.5, gain=0.5)
PACKAGES = {"cmtj": ["cmtj==1.15.0"], "reservoirpy": ["reservoirpy==0.4.2"], "neuralmag": ["neuralmag[jax]==1.0.0"]}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "spinloom" / "peers"

Timed = Callable[[], float]
"""Runs once and says what one unit cost (s)."""

CMTJ = """
import cmtj
V = cmtj.CVector
ticks = 20000
def once():
    layer = cmtj.Layer("free", V(0, 1, 0), V(0, 0, 1), mu0 * Ms, thickness, area,
                       [V(N[0], 0, 0), V(0, N[1], 0), V(0, 0, N[2])], alpha)
    junction = cmtj.Junction([layer])
    junction.setLayerExternalFieldDriver("free", cmtj.AxialDriver(
        cmtj.constantDriver(H[0]), cmtj.constantDriver(H[1]), cmtj.constantDriver(H[2])))
    began = now()
    junction.runSimulation(ticks * tick, 1e-12, tick)
    return {"device-tick": (now() - began) / ticks}
"""

RESERVOIRPY = """
import numpy as np
from reservoirpy.nodes import RLS, Reservoir
import reservoirpy
try:
    reservoirpy.verbosity(0)
except AttributeError:
    pass
ticks = 4000
u, y = np.zeros((ticks, 1)), np.sin(np.arange(ticks) / 8.0)[:, None]
def once():
    alone = Reservoir(nodes, sr=0.8, lr=1.0, rc_connectivity=0.3, seed=0)
    alone.run(u[:10])
    began = now()
    states = alone.run(u)
    tick = (now() - began) / ticks
    readout = RLS(1)
    readout.partial_fit(states[:10], y[:10])
    began = now()
    alone.run(u)
    readout.partial_fit(states, y)
    return {"tick": tick, "tick with RLS": (now() - began) / ticks}
"""

NEURALMAG = """
import contextlib, os
os.environ.update(NM_BACKEND="jax", NM_DTYPE="float64", NM_DEVICE="cpu")
with contextlib.redirect_stdout(sys.stderr):
    import neuralmag as nm
import logging
logging.disable(logging.INFO)
import numpy as np
state = nm.State(nm.Mesh(cells[:2], cell))
state.rho = nm.CellFunction(state, tensor=state.tensor(np.where(mask, 1.0, state.eps)))
state.material.Ms, state.material.A, state.material.alpha = Ms, A, alpha
state.m = nm.VectorFunction(state).fill((0.6, 0.8, 0.0))
nm.ExchangeField().register(state, "exchange")
nm.DemagField().register(state, "demag")
nm.ExternalField(state.tensor(H)).register(state, "external")
nm.TotalField("exchange", "demag", "external").register(state)
llg, first, ticks = nm.LLGSolver(state), np.array(state.m.tensor), 40
def once():
    state.m.tensor = state.tensor(first)
    began = now()
    for _ in range(ticks):
        llg.step(tick)
    assert np.isfinite(np.asarray(state.m.tensor)).all()
    return {"device-ns": (now() - began) / (ticks * tick * 1e9)}
"""

WORKERS = {"cmtj": CMTJ, "reservoirpy": RESERVOIRPY, "neuralmag": NEURALMAG}
FRAME = """
import json, sys, time
globals().update(json.loads(sys.argv[1]))
now = time.perf_counter
{body}
once()
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(once()), flush=True)
"""


class Row(NamedTuple):
    """One comparison.

    Attributes
    ----------
    peer, what : str
        what of theirs
    ours : str
        against what of ours
    theirs_s, ours_s, ratio : float
        medians; the ratio is of theirs to ours
    """

    peer: str
    what: str
    ours: str
    theirs_s: float
    ours_s: float
    ratio: float


class MissingError(Exception):
    """A peer that cannot be run, with the reason."""


class Peer:
    """Another program, in an environment and a process of its own.

    Parameters
    ----------
    name : str
    values : dict
        what its script is told
    cache : path
        where environments are
    """

    def __init__(self, name: str, values: dict[str, Any], cache: Path) -> None:
        python = environment(name, cache)
        script = FRAME.format(body=textwrap.dedent(WORKERS[name]))
        self.process = subprocess.Popen(
            [python, "-c", script, json.dumps(values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        )
        self._answer("ready")

    def once(self) -> dict[str, float]:
        """What each of its units costs (s)."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self._answer("{"))

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()

    def _answer(self, begins: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(begins):
                return line
        _, error = self.process.communicate()
        raise MissingError(last_line(error) or f"ended with {self.process.returncode}")


def environment(name: str, cache: Path) -> str:
    """The Python of a peer's environment, which is made where it is missing."""
    folder = cache / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "installed.txt"
    if done.is_file() and done.read_text().split() == PACKAGES[name]:
        return str(python)
    print(f"{name}: installing {' '.join(PACKAGES[name])} in {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    found = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise MissingError(f"cannot be installed: {last_line(found.stderr)}")
    done.write_text("\n".join(PACKAGES[name]))
    return str(python)


def last_line(text: str) -> str:
    """What a program said last: of a traceback, the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def main(arguments: list[str] | None = None) -> None:
    """Run the comparisons; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="reduced model of the device")
    parser.add_argument("--peers", default="cmtj,reservoirpy,neuralmag,oommf", help="which, with commas")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is timed")
    parser.add_argument("--ticks", type=int, default=2000, help="of our networks")
    parser.add_argument("--full-ticks", type=int, default=20, help="of our full micromagnetics")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where environments are made")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--oommf", default=os.environ.get("SPINLOOM_OOMMF"), help="command that starts OOMMF")
    options = parser.parse_args(arguments)
    wanted = options.peers.split(",")
    if unknown := set(wanted) - {*WORKERS, "oommf"}:
        parser.error(f"peers: expected some of {', '.join([*WORKERS, 'oommf'])}, got {', '.join(sorted(unknown))}")
    if min(options.repeats, options.ticks, options.full_ticks) < 1:
        parser.error("repeats and ticks: expected at least 1 of each")
    try:
        card, model = load_card(options.device), load_model(options.model)
    except SpinloomError as error:
        parser.error(str(error))
    ours = our_runs(card, model.scaled, options.ticks, options.full_ticks)
    rows, missing = [], {}
    for name in wanted:
        try:
            rows += compared(name, card, ours, options)
        except (MissingError, SpinloomError) as error:
            missing[name] = str(error)
            print(f"{name}: left out, {error}", flush=True)
    if options.json is not None:
        told = {"repeats": options.repeats, "rows": [row._asdict() for row in rows], "left_out": missing}
        with files.written_whole(options.json) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n")


def our_runs(card: DeviceCard, node: Node, ticks: int, full_ticks: int) -> dict[str, Timed]:
    """What of ours can be timed, by its name."""
    law = MacrospinLaw.of_card(card, TICK)
    spin = ReducedNode.of(law, (0.0, 1.0, 0.0), card.readout.axis, TICK)
    made: list[Node] = []

    def full() -> float:
        if not made:
            made.append(EmbeddedEngine(card, TICK).node)
            device_ticks(made[0], NODES, full_ticks)()
        return device_ticks(made[0], NODES, full_ticks)() / TICK * 1e-9

    return {
        "macrospin, device-tick": device_ticks(spin, NODES, ticks),
        "flow map, device-tick": device_ticks(node, NODES, ticks),
        "network tick": network(node, 1, ticks),
        "network tick of 16 at once": network(node, TOGETHER, ticks),
        "network tick with FORCE": network(node, 1, ticks, learns=True),
        "embedded engine, device-ns": full,
    }


def device_ticks(node: Node, devices: int, ticks: int) -> Timed:
    """Seconds for each device-tick of a batch."""
    state, u = node.start(devices), np.random.default_rng(0).uniform(-1, 1, (ticks, devices))

    def timed() -> float:
        began = time.perf_counter()
        drive(node, u, state, chunk=ticks)
        return (time.perf_counter() - began) / ticks / devices

    return timed


def network(node: Node, networks: int, ticks: int, learns: bool = False) -> Timed:
    """Seconds for each tick of a network."""
    weights = draw(TOPOLOGY, list(range(networks)))
    state, target, free = start(node, weights), np.zeros((ticks, networks, 1)), np.zeros(ticks, bool)

    def timed() -> float:
        began = time.perf_counter()
        if learns:
            force_on(node, weights, target, None, None, state, chunk=ticks)
        else:
            simulate(node, weights, target=target, hold=free, state=state, record="z", chunk=ticks)
        return (time.perf_counter() - began) / ticks / networks

    return timed


PAIRS = {
    "cmtj": [("device-tick", "macrospin, device-tick"), ("device-tick", "flow map, device-tick")],
    "reservoirpy": [
        ("tick", "network tick"),
        ("tick", "network tick of 16 at once"),
        ("tick with RLS", "network tick with FORCE"),
    ],
    "neuralmag": [("device-ns", "embedded engine, device-ns")],
    "oommf": [("device-ns", "embedded engine, device-ns")],
}


def compared(name: str, card: DeviceCard, ours: dict[str, Timed], options: argparse.Namespace) -> list[Row]:
    """Time one peer and ours in turn, and print what came out."""
    peer = Oommf(card, options.oommf) if name == "oommf" else Peer(name, told(card), options.cache)
    pairs, times = PAIRS[name], dict[str, list[float]]()
    names = list(dict.fromkeys(mine for _, mine in pairs))
    try:
        for mine in names:  # compile first
            ours[mine]()
        for _ in range(options.repeats):
            for what, seconds in peer.once().items():
                times.setdefault(what, []).append(seconds)
            for mine in names:
                times.setdefault(mine, []).append(ours[mine]())
    finally:
        peer.close()
    rows = []
    for what, mine in pairs:
        ratio = statistics.median(a / b for a, b in zip(times[what], times[mine], strict=True))
        rows.append(Row(name, what, mine, statistics.median(times[what]), statistics.median(times[mine]), ratio))
        print(table_line(rows[-1]), flush=True)
    return rows


def table_line(row: Row) -> str:
    """A row as it is printed."""
    return (
        f"{row.peer:12s} {row.what:14s} {row.theirs_s * 1e6:12.4g} us   {row.ours:28s} {row.ours_s * 1e6:12.4g} us   "
        f"ratio {row.ratio:.2f}"
    )


def told(card: DeviceCard) -> dict[str, Any]:
    """What the script of a peer is told."""
    return {
        "tick": TICK,
        "nodes": NODES,
        "mu0": MU0,
        "Ms": card.material.Ms,
        "A": card.material.A,
        "alpha": card.material.alpha,
        "H": list(card.bias.H),
        "thickness": card.thickness,
        "area": card.area,
        "N": list(demag_factors(card.geometry)),
        "mask": card.geometry.mask()[:, :, 0].tolist(),
        "cells": list(card.geometry.shape_cells),
        "cell": list(card.geometry.cell),
    }


class Oommf:
    """OOMMF through `play`, all cores busy.

    Parameters
    ----------
    card : DeviceCard
    command : str or None
        that starts it
    """

    def __init__(self, card: DeviceCard, command: str | None) -> None:
        self.engine = OommfEngine(card, TICK, installation=find_oommf(command))
        self.ticks, self.devices = 400, 2 * cores()
        self.engine.__enter__()

    def once(self) -> dict[str, float]:
        """Seconds for each device-ns, on the whole machine."""
        u = np.random.default_rng(0).uniform(-1, 1, (self.ticks, self.devices))
        began = time.perf_counter()
        self.engine.play(np.full(self.ticks, TICK), u)
        return {"device-ns": (time.perf_counter() - began) / (self.ticks * TICK * 1e9 * self.devices)}

    def close(self) -> None:
        """End its processes."""
        self.engine.__exit__(*sys.exc_info())


if __name__ == "__main__":
    main()
