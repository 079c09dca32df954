"""Stage: write a network or a junction for another tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.store import KIND as NETWORK
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.tasks import CLASSES, inputs
from spinloom.networks.trials import generate, recognise
from spinloom.reduced_models.model import KIND as MODEL
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.chips import on_their_chips
from spinloom.workflows.console import say
from spinloom.workflows.export.onnx import network_onnx, node_onnx, washout_of
from spinloom.workflows.export.spice import network_netlist, node_netlist

FORMS = ("onnx", "spice")
CHECKED = 20
"""Periods, or trials of each class, that an ONNX file is compared over."""


def export_stage(path: Path, form: str, out: Path, part: str = "run", bench: bool = True) -> dict[str, Any]:
    """Write a network or a model as ONNX or SPICE.

    Parameters
    ----------
    path : path
        of a trained network, its model beside it, or of a reduced model
    form : {"onnx", "spice"}
    out : path
    part : {"run", "tick"}
        of an ONNX graph
    bench : bool
        whether a netlist has an analysis

    Returns
    -------
    result : dict
        ``out, to, what, name, tick_s, bytes``; of a network's ONNX run also ``difference``, the largest between
        onnxruntime and this project over 20 periods, or 80 trials; None where it was not tried

    Raises
    ------
    SpinloomError
        if the file is neither, or cannot be exported
    """
    if form not in FORMS:
        raise SpinloomError(f"to: expected one of {', '.join(FORMS)}, got {form!r}")
    files.check_writable(out)
    network, model = read_subject(path)
    result: dict[str, Any] = {
        "out": str(out),
        "to": form,
        "what": "junction" if network is None else f"network, {network.task}",
        "name": model.card.name if network is None else network.name,
        "tick_s": model.tick,
    }
    content = _onnx(network, model, part, result) if form == "onnx" else _spice(network, model, bench)
    with files.written_whole(out) as temporary:
        temporary.write_bytes(content)
    return {**result, "bytes": len(content)}


def read_subject(path: Path) -> tuple[TrainedNetwork | None, CalibratedModel]:
    """A network and its model, or no network and a model, whichever the file is."""
    kind = files.kind_of(path)
    if kind == MODEL:
        return None, load_model(path)
    if kind != NETWORK:
        raise SpinloomError(f"{path}: expected a {NETWORK} or a {MODEL}, got {kind or 'a file of another program'}")
    network, model_path = load_network(path)
    network.expect("generate", "recognise")
    return network, load_model(model_path)


def _spice(network: TrainedNetwork | None, model: CalibratedModel, bench: bool) -> bytes:
    text = node_netlist(model, bench=bench) if network is None else network_netlist(network, model, bench=bench)
    return text.encode("ascii")


def _onnx(network: TrainedNetwork | None, model: CalibratedModel, part: str, result: dict[str, Any]) -> bytes:
    made = node_onnx(model, part) if network is None else network_onnx(network, model, part)
    content = made.SerializeToString()
    if network is not None and part == "run":
        result["difference"] = difference(content, network, model)
    return content


def difference(content: bytes, network: TrainedNetwork, model: CalibratedModel) -> float | None:
    """Largest difference of what an exported run gives in onnxruntime and here; None where that is not installed.

    Parameters
    ----------
    content : bytes
        of the file
    network : TrainedNetwork
    model : CalibratedModel
    """
    try:
        import onnxruntime
    except ImportError:
        say("onnxruntime is not installed, so the file was not tried; pip install 'spinloom[export]'")
        return None
    (placed,), of_chip = on_their_chips([network.as_trained], model)
    if of_chip.node.laws.normals:
        return None  # its noise comes from outside
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    if network.task == "generate":
        begun = json.loads(session.get_modelmeta().custom_metadata_map["start"])
        given = {name: np.array(value)[None] for name, value in begun.items()}
        given["ticks"] = np.array(CHECKED * network.period_ticks)
        if network.clock is not None:
            given["first"] = np.array(0)
        theirs = session.run(["outputs"], given)[0]
        washout, clock = washout_of(network), network.clock
        ours = generate(of_chip.scaled, placed.weights, network.f, CHECKED, washout, clock=clock).z
    else:
        trials, listening = CHECKED * len(CLASSES), network.listening
        one, same = (np.random.default_rng(0) for _ in range(2))
        ours = recognise(of_chip.scaled, placed.weights, trials=trials, rng=one, **listening).features[0]
        phases = same.uniform(0, 2 * np.pi, trials)
        ticks = listening["periods"] * network.period_ticks
        series = inputs(np.arange(trials) % len(CLASSES), phases, ticks, network.period_ticks)
        theirs = session.run(["features"], {"s": series})[0]
    return float(np.abs(theirs - ours).max())
