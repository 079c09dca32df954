"""Trained networks and single junctions as ONNX graphs of float64, in ONNX's own operators."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import stamp
from spinloom.device_models.scale import Scale
from spinloom.networks.loop import LoopState
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.tasks import CLASSES
from spinloom.networks.topology import Weights
from spinloom.networks.trials import generate
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.chips import on_their_chips
from spinloom.workflows.export.graph import Graph, Value, join
from spinloom.workflows.export.laws import Devices, rows

PARTS = ("run", "tick")
WASHOUT = 5
"""Periods with the target fed back before a start, of a network that does not say how many it takes."""


def start_of(network: TrainedNetwork, model: CalibratedModel) -> LoopState:
    """Where an exported network starts: a generator after its washout, all others in equilibrium."""
    from spinloom.networks.loop import start

    (placed,), of_chip = on_their_chips([network.as_trained], model)
    if network.task != "generate":
        weights = placed.weights.with_readout(np.zeros((1, placed.weights.outputs, placed.weights.nodes + 1)))
        return start(of_chip.scaled, weights)
    return generate(of_chip.scaled, placed.weights, network.f, 0, washout_of(network), clock=network.clock).state


def washout_of(network: TrainedNetwork) -> int:
    """Periods with the target fed back before a generator runs free."""
    return int(network.settings.get("washouts", [WASHOUT])[0])


def network_onnx(network: TrainedNetwork, model: CalibratedModel, part: str = "run") -> Any:
    """A trained network of reduced nodes as an ONNX model.

    Its read-out is the one that was trained on reduced nodes, before any finish: its nodes are those. Node states are
    (batch, nodes, d), so that one call runs many copies side by side.

    Parameters
    ----------
    network : TrainedNetwork
    model : CalibratedModel
        that it was trained on
    part : {"run", "tick"}
        ``tick``: ``state``, the last output ``z``, if it generates, and the input ``s``, if it has one, to
        ``next_state``, ``next_z`` and the signals ``r``. ``run``, of one that generates: ``state``, ``z`` and the
        number of ``ticks`` to the ``outputs`` of all of them, and where they end; with a clock also ``first``, the
        tick of the clock's period that it begins with. ``run``, of one that recognises: a series ``s`` (ticks, batch)
        to ``scores`` of the classes and the ``answer``. A network of warm nodes also takes ``normals``, standard
        normal numbers (ticks, batch, nodes, k). Where a run starts is told in the metadata: ``start``, JSON of
        ``state`` and ``z`` after the washout

    Returns
    -------
    onnx : onnx.ModelProto
        float64, opset 17, checked

    Raises
    ------
    SpinloomError
        where ``onnx`` is not installed, or a node has no form in ONNX here
    """
    if part not in PARTS:
        raise SpinloomError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    begun = start_of(network, model)
    (placed,), of_chip = on_their_chips([network.as_trained], model)
    tick = _Tick(placed.weights, Devices.of(of_chip.node, placed.weights.which()), model.scale)
    graph, x = Graph(), rows(of_chip.node, begun.nodes)
    size = _Size(len(x), x.shape[1], placed.weights.outputs, of_chip.node.laws.normals)
    if part == "tick":
        _one_tick(graph, tick, network, size)
    elif network.task == "generate":
        _free_run(graph, tick, network, size)
    else:
        _recognition(graph, tick, network, x, size)
    return graph.model(
        f"spinloom_{part}",
        {
            **_told(model),
            "part": part,
            "task": network.task,
            "name": network.name,
            "period_ticks": str(network.period_ticks),
            "nodes": str(placed.weights.nodes),
            "gain": repr(float(placed.weights.gain[0])),
            "classes": json.dumps(CLASSES) if network.task != "generate" else "[]",
            "start": json.dumps({"state": x.tolist(), "z": np.asarray(begun.z)[0].tolist()}),
            "settings": files.to_json(network.settings),
        },
    )


def node_onnx(model: CalibratedModel, part: str = "run") -> Any:
    """One junction, a reduced model, as an ONNX model; in the device's own units.

    Parameters
    ----------
    model : CalibratedModel
    part : {"run", "tick"}
        ``tick``: ``state`` (n, d) and drives ``u`` (n,), J / J_max, to ``next_state``, ``m`` (n, 3) and ``signal``
        m . e_read (n,). ``run``: drives (ticks, n), from equilibrium, to ``m`` and ``signal`` of all ticks

    Returns
    -------
    onnx : onnx.ModelProto
    """
    if part not in PARTS:
        raise SpinloomError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    device, graph = Devices.of(model.node, None), Graph()
    start = rows(model.node, model.node.at(model.m_start[None], np.zeros(1, int)))
    k = model.node.laws.normals
    if part == "tick":
        x = graph.input("state", ["n", start.shape[1]])
        u = graph.input("u", ["n"])
        normals = graph.input("normals", ["n", k]) if k else None
        after = device.advance(x, u, normals)
        graph.output("next_state", after, ["n", start.shape[1]])
        graph.output("m", after.slice(0, 3), ["n", 3])
        graph.output("signal", device.signal(after), ["n"])
    else:
        u = graph.input("u", ["ticks", "n"])
        normals = graph.input("normals", ["ticks", "n", k]) if k else None
        rest = start + 0.0 * u.row(np.array(0)).unsqueeze(-1)

        def one(_: Graph, i: Value, carry: list[Value]) -> tuple[list[Value], list[Value]]:
            x = device.advance(carry[0], u.row(i), normals and normals.row(i))
            return [x], [x.slice(0, 3), device.signal(x)]

        _, (m, signal) = graph.loop(u.length(), [rest], one)
        graph.output("m", m, ["ticks", "n", 3])
        graph.output("signal", signal, ["ticks", "n"])
    return graph.model(f"spinloom_node_{part}", {**_told(model), "part": part, "task": "node", "name": model.card.name})


def _told(model: CalibratedModel) -> dict[str, str]:
    """What every file says of its device and of what made it."""
    return {
        "tick_s": repr(model.tick),
        "model": model.kind,
        "card": model.card.to_json(),
        "scale": model.scale.model_dump_json(),
        **stamp(),
    }


class _Tick:
    """One tick of a network as a graph."""

    def __init__(self, weights: Weights, devices: Devices, scale: Scale) -> None:
        self.weights, self.devices, self.scale = weights, devices, scale

    def signals(self, x: Value) -> Value:
        """R of states, (batch, N)."""
        return (self.devices.signal(x) - self.scale.mean) / self.scale.spread

    def drive(self, x: Value, z: Value | None, s: Value | None) -> Value:
        """J / J_max of every node, (batch, N)."""
        w = self.weights
        v = self.signals(x) @ w.W[0].T + w.b[0]
        if z is not None:
            v = v + z @ w.w_fb[0].T
        if s is not None:
            v = v + s.unsqueeze(-1) * w.W_in[0]
        return (v * float(w.gain[0])).clip(-1.0, 1.0) * self.scale.reach

    def advance(self, x: Value, z: Value | None, s: Value | None, normals: Value | None) -> Value:
        """States after a tick."""
        return self.devices.advance(x, self.drive(x, z, s), normals)

    def outputs(self, x: Value) -> Value:
        """What the read-out makes of states, (batch, K)."""
        w_out = self.weights.w_out[0]
        return self.signals(x) @ w_out[:, :-1].T + w_out[:, -1]


class _Size(NamedTuple):
    """Nodes, numbers in the state of each, outputs, random numbers that a node takes."""

    nodes: int
    state: int
    outputs: int
    normals: int

    def states(self, graph: Graph) -> Value:
        """Input: where all nodes stand."""
        return graph.input("state", ["batch", self.nodes, self.state])

    def fed_back(self, graph: Graph) -> Value:
        """Input: the last output."""
        return graph.input("z", ["batch", self.outputs])

    def noise(self, graph: Graph, *ticks: str) -> Value | None:
        """Input: the random numbers of warm nodes."""
        return graph.input("normals", [*ticks, "batch", self.nodes, self.normals]) if self.normals else None


def _one_tick(graph: Graph, tick: _Tick, network: TrainedNetwork, size: _Size) -> None:
    generates = network.task == "generate"
    x, z = size.states(graph), size.fed_back(graph) if generates else None
    s = graph.input("s", ["batch"]) if network.clock is not None or not generates else None
    after = tick.advance(x, z, s, size.noise(graph))
    graph.output("next_state", after, ["batch", size.nodes, size.state])
    if generates:
        graph.output("next_z", tick.outputs(after), ["batch", size.outputs])
    graph.output("r", tick.signals(after), ["batch", size.nodes])


def _free_run(graph: Graph, tick: _Tick, network: TrainedNetwork, size: _Size) -> None:
    x, z, noise = size.states(graph), size.fed_back(graph), size.noise(graph, "ticks")
    ticks = graph.input("ticks", [], "INT64") if noise is None else noise.length()
    clocked = None
    if network.clock is not None:
        clock = graph.constant(np.asarray(network.clock, dtype=float))
        clocked = clock, graph.input("first", [], "INT64"), np.array(network.period_ticks)

    def one(body: Graph, i: Value, carry: list[Value]) -> tuple[list[Value], list[Value]]:
        x, z = carry
        s = None
        if clocked is not None:
            clock, first, period = clocked
            s = clock.row(body.add("Mod", first + i, period)).unsqueeze(0)
        x = tick.advance(x, z, s, noise and noise.row(i))
        z = tick.outputs(x)
        return [x, z], [z]

    (x, z), (outputs,) = graph.loop(ticks, [x, z], one)
    graph.output("outputs", outputs, ["ticks", "batch", size.outputs])
    graph.output("next_state", x, ["batch", size.nodes, size.state])
    graph.output("next_z", z, ["batch", size.outputs])


def _recognition(graph: Graph, tick: _Tick, network: TrainedNetwork, start: np.ndarray, size: _Size) -> None:
    listening = network.listening
    s, noise = graph.input("s", ["ticks", "batch"]), size.noise(graph, "ticks")
    rest = start + 0.0 * s.row(np.array(0)).unsqueeze(-1).unsqueeze(-1)

    def one(_: Graph, i: Value, carry: list[Value]) -> tuple[list[Value], list[Value]]:
        x = tick.advance(carry[0], None, s.row(i), noise and noise.row(i))
        return [x], [tick.signals(x)]

    _, (r,) = graph.loop(s.length(), [rest], one)
    # The last periods; a series that is shorter is averaged over all of it.
    heard = r.slice(-listening["averaged"] * network.period_ticks, axis=0)
    features = graph.add("ReduceMean", heard, axes=[0], keepdims=0)
    if listening["power"]:
        features = join(features, graph.add("ReduceMean", heard * heard, axes=[0], keepdims=0))
    w_out = tick.weights.w_out[0]
    scores = features @ w_out[:, :-1].T + w_out[:, -1]
    graph.output("scores", scores, ["batch", size.outputs])
    graph.output("answer", graph.add("ArgMax", scores, axis=-1, keepdims=0), ["batch"], "INT64")
    graph.output("features", features, ["batch", w_out.shape[1] - 1])
