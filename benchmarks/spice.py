"""How far a network in ngspice is from the network here, and how long ngspice takes.

    python benchmarks/spice.py sine.nc --periods 20

The network is one that generates, of macrospins. Both run free from where they stand after the washout; printed is the
largest difference of the outputs at the end of a tick, in the first period and in the last.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.trials import generate
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import say
from spinloom.workflows.export.onnx import washout_of
from spinloom.workflows.export.spice import network_netlist


def main(arguments: list[str] | None = None) -> None:
    """Run both, and compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="trained network of macrospins, one that generates")
    parser.add_argument("--periods", type=int, default=20, help="in free run")
    options = parser.parse_args(arguments)
    if options.periods < 1:
        parser.error("periods: expected at least 1")
    try:
        network, model_path = load_network(options.network)
        if network.task != "generate":
            raise SpinloomError("network: expected one that generates")
        first, last, seconds = compared(network, load_model(model_path), options.periods)
    except SpinloomError as error:
        parser.error(str(error))
    told = f"first period {first:.1e}, period {options.periods} {last:.1e}"
    print(f"{network.name}, {network.weights.nodes} junctions: {told}; ngspice took {seconds:.0f} s of a processor")


def compared(network: TrainedNetwork, model: CalibratedModel, periods: int) -> tuple[float, float, float]:
    """Largest difference in the first and in the last period, and the processor time of ngspice (s)."""
    text, ticks = network_netlist(network, model, periods=periods), periods * network.period_ticks
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    z = saved(text, model.tick, ticks)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    network = network.as_trained
    clock, washout = network.clock, washout_of(network)
    ours = generate(model.scaled, network.weights, network.f, periods, washout, clock=clock).z[:, 0]
    apart = np.abs(z - ours).reshape(periods, -1).max(axis=1)
    return float(apart[0]), float(apart[-1]), seconds


def saved(netlist: str, tick: float, ticks: int) -> np.ndarray:
    """What a netlist saves, at the end of every tick, (ticks, saved).

    Raises
    ------
    SpinloomError
        if ngspice is not there, or fails
    """
    program = shutil.which("ngspice")
    if program is None:
        raise SpinloomError("ngspice: not installed (Debian, Ubuntu: package ngspice)")
    say(f"ngspice, {ticks} ticks ...")
    with tempfile.TemporaryDirectory() as folder:
        path, raw = Path(folder) / "net.cir", Path(folder) / "net.raw"
        path.write_text(netlist, encoding="ascii")
        done = subprocess.run([program, "-b", "-r", raw, path], capture_output=True, text=True)
        if done.returncode or not raw.is_file():
            raise SpinloomError(f"ngspice: {done.stderr or done.stdout}")
        head, _, body = raw.read_bytes().partition(b"Binary:\n")
    found = re.search(rb"No. Variables: (\d+)", head)
    if found is None:
        raise SpinloomError("ngspice: its output names no variables")
    rows, at = np.frombuffer(body).reshape(-1, int(found[1])), tick * np.arange(1, ticks + 1)
    return np.column_stack([np.interp(at, rows[:, 0], column) for column in rows.T[1:]])


if __name__ == "__main__":
    main()
