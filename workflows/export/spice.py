"""Macrospin junctions, and networks of them, as netlists of ngspice."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import stamp
from spinloom.networks.store import TrainedNetwork
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.export.junction import XYZ, Junction
from spinloom.workflows.export.netlist import card_line, identifier, number, pulse, weighted
from spinloom.workflows.export.onnx import start_of

STEPS = 10
"""Largest time step of the analysis, as a share of a tick."""
EDGE = 0.01
"""Duration of the change from one held drive to the next, around the end of a tick, as a share of the tick."""
TRACKS = 0.1587
"""Time constant of what will be held, as a share of the edge: the one at which its value is not late."""
PERIODS = 20


@dataclass(frozen=True)
class _Begin:
    """Where a network starts: <m>, signals, outputs, and the drives of the first tick."""

    m: np.ndarray
    r: np.ndarray
    z: np.ndarray
    u: np.ndarray


def network_netlist(
    network: TrainedNetwork, model: CalibratedModel, *, bench: bool = True, periods: int = PERIODS
) -> str:
    """A trained network of macrospins as a netlist.

    Every junction is driven by a current that is held for a tick: at its end, the drives are sampled anew from the
    signals of all junctions and the outputs, as the network is defined. It starts after the washout. A generator goes
    on by itself; one that recognises takes its input from the port ``s``, and leaves the averaging to its reader.

    Parameters
    ----------
    network : TrainedNetwork
    model : CalibratedModel
        the macrospin that it was trained on
    bench : bool
        with an analysis; else the sub-circuits alone, to be included
    periods : int
        that it lasts

    Returns
    -------
    text : str

    Raises
    ------
    SpinloomError
        for a network of other nodes than macrospins of one device at 0 K
    """
    junction, name = Junction.of(model), identifier(network.name, "network")
    if network.deviations is not None or network.weights.devices is not None:
        raise SpinloomError("network: SPICE takes networks of one device, got junctions that differ")
    trained = network.as_trained
    begin = _begin(trained, model)
    generates = trained.task == "generate"
    outputs = [f"z{k + 1}" for k in range(trained.weights.outputs)] if generates else []
    ports = outputs + ([] if generates else ["s", *(f"r{k + 1}" for k in range(trained.weights.nodes))])
    text = [
        _head(f"{name}: {trained.weights.nodes} junctions {junction.name}, a tick of {number(model.tick)} s", model),
        junction.subcircuit(),
        *_network(trained, model, junction, begin, name, ports),
    ]
    if bench:
        drive = (
            [] if generates else ["Vs s 0 SIN(0 1 {f})".replace("{f}", number(1 / model.tick / trained.period_ticks))]
        )
        save = " ".join(f"V({port})" for port in (outputs or ports))
        text += [f"X1 {' '.join(ports)} {name}", *drive, *_analysis(model.tick, periods * trained.period_ticks, save)]
    return "\n".join(text) + "\n"


def node_netlist(model: CalibratedModel, *, bench: bool = True) -> str:
    """One macrospin junction as a netlist: ``pl`` is the terminal of the pinned layer, ``fl`` that of the free layer.

    Parameters
    ----------
    model : CalibratedModel
        a macrospin
    bench : bool
        with an analysis: half of the reach as a sine at the resonance, for 20 periods

    Returns
    -------
    text : str
    """
    junction = Junction.of(model)
    text = [_head(f"{junction.name}: a magnetic tunnel junction", model), junction.subcircuit()]
    if bench:
        frequency = model.scale.resonance or 1 / (50 * model.tick)
        ticks = math.ceil(PERIODS / frequency / model.tick)
        text += [
            f"X1 pl 0 mx my mz {junction.name}_m",
            f"I1 0 pl SIN(0 {number(0.5 * model.scale.reach * junction.full)} {number(frequency)})",
            *_analysis(model.tick, ticks, "V(pl) V(mx) V(my) V(mz)"),
        ]
    return "\n".join(text) + "\n"


def _begin(network: TrainedNetwork, model: CalibratedModel) -> _Begin:
    state, w = start_of(network, model), network.weights
    m, r, z = (np.asarray(part) for part in (state.nodes.x, state.r[0], state.z[0]))
    s = 0.0 if network.clock is None else float(network.clock[0])
    v = w.W[0] @ r + w.w_fb[0] @ z + w.W_in[0] * s + w.b[0]
    return _Begin(m, r, z, np.clip(w.gain[0] * v, -1, 1))


def _network(
    network: TrainedNetwork, model: CalibratedModel, junction: Junction, begin: _Begin, name: str, ports: list[str]
) -> list[str]:
    w, scale, tick = network.weights, model.scale, model.tick
    starts, nodes = junction.start(begin.m), range(1, w.nodes + 1)
    signals, outputs = [f"r{k}" for k in nodes], [f"z{k + 1}" for k in range(w.outputs)]
    generates = network.task == "generate"
    listens = network.clock is not None or not generates
    rate = number(1e-12 / (TRACKS * EDGE * tick))
    lines = [card_line(f".subckt {name} {' '.join(ports)}"), *_clocks(network, tick)]
    for k in nodes:
        start = " ".join(f"s{axis}0={number(value)}" for axis, value in zip(XYZ, starts[k - 1], strict=True))
        axis = [c / scale.spread for c in model.card.readout.axis]
        read = weighted(
            f"r{k}", axis, [f"m{c}{k}" for c in XYZ], (model.card.readout.offset - scale.mean) / scale.spread
        )
        terms = [*w.W[0, k - 1], *(w.w_fb[0, k - 1] if generates else [])]
        sources = [*signals, *(outputs if generates else [])]
        if listens:
            terms, sources = [*terms, w.W_in[0, k - 1]], [*sources, "s"]
        gain = float(w.gain[0])
        lines += [
            card_line(f"X{k} pl{k} 0 mx{k} my{k} mz{k} {junction.name}_m {start}"),
            *read,
            *weighted(f"w{k}", [gain * term for term in terms], sources, gain * float(w.b[0, k - 1])),
            f"Bv{k} v{k} 0 V=min(max(V(w{k}),-1),1)",
            *(f"C{h}{k} {h}{k} 0 1p IC={number(begin.u[k - 1])}" for h in "ab"),
            f"Ba{k} 0 a{k} I={rate}*V(tracka)*(V(v{k})-V(a{k}))",
            f"Bb{k} 0 b{k} I={rate}*V(trackb)*(V(v{k})-V(b{k}))",
            f"Bi{k} 0 pl{k} I={number(scale.reach * junction.full)}*(V(even)*V(b{k})+(1-V(even))*V(a{k}))",
        ]
    if generates:
        for k, row in enumerate(w.w_out[0], start=1):
            lines += weighted(f"z{k}", row[:-1], signals, row[-1])
    return [*lines, f".ends {name}"]


def _clocks(network: TrainedNetwork, tick: float) -> list[str]:
    """When samples are taken, at the end of every tick; and the input that keeps the time, a staircase."""
    edge = EDGE * tick
    lines = [
        pulse("even", 1, tick - edge / 2, edge, tick - edge, 2 * tick),
        # What is held next follows in the second half of the tick, when what was held before is not heard any more.
        *(
            pulse(f"track{h}", 0, k * tick + tick / 2, edge, tick / 2 - 1.5 * edge, 2 * tick)
            for k, h in enumerate("ab")
        ),
    ]
    if network.clock is not None:
        # What a tick takes is there when its drive is sampled, at the end of the tick before.
        points, period = [], tick * len(network.clock)
        for k, value in enumerate(np.roll(network.clock, -1)):
            points += [((k + 0.5) * tick - tick / 4, value)]
        first = network.clock[0]
        stairs = [(0.0, first)]
        for at, value in points:
            stairs += [(at, stairs[-1][1]), (at + edge, value)]
        stairs.append((period, stairs[-1][1]))
        told = " ".join(f"{number(at)} {number(value)}" for at, value in stairs)
        lines.append(card_line(f"Vs s 0 PWL({told}) r=0"))
    return lines


def _analysis(tick: float, ticks: int, save: str) -> list[str]:
    step, stop = number(tick / STEPS), number(tick * ticks)
    return [
        "* ngspice -b -r out.raw FILE",
        ".options reltol=1e-6 abstol=1e-12 vntol=1e-9",
        f".tran {step} {stop} 0 {step} uic",
        card_line(f".save {save}"),
        ".end",
    ]


def _head(what: str, model: CalibratedModel) -> str:
    """Title and provenance; nothing of it is a user's text as it came."""
    made = stamp()
    versions = re.sub(r"[^0-9a-z.+]", "", json.loads(made["versions"]).get("spinloom", ""))
    return "\n".join(
        f"* {line}"
        for line in (
            what,
            f"Spinloom {versions}, {made['created']}, for ngspice 39 or newer",
            f"macrospin at 0 K, held-out error of the model {model.holdout_nrmse:.2g}",
        )
    )
