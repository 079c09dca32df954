"""What onnxruntime makes of exported files is what the networks here do."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.networks.loop import simulate, start
from spinloom.networks.store import load_network, save_network
from spinloom.networks.tasks import inputs
from spinloom.networks.topology import Topology, draw
from spinloom.networks.trials import generate, recognise
from spinloom.reduced_models.basis import exponents
from spinloom.reduced_models.flow_map import FlowMapLaw
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.memory_map import MemoryLaw
from spinloom.reduced_models.model import load_model, save_model
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.thermal_map import ThermalLaw
from spinloom.reduced_models.warmed import WarmedLaw
from spinloom.workflows.export.graph import Graph
from spinloom.workflows.export.laws import Devices, rows
from spinloom.workflows.export.onnx import _free_run, _Size, _Tick, network_onnx, node_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
SHIPPED = data_folder() / "reference" / "networks"


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def begun(opened):
    """Inputs that a run starts from, from what the file tells."""
    told = json.loads(opened.get_modelmeta().custom_metadata_map["start"])
    return {name: np.array(value)[None] for name, value in told.items()}


@pytest.fixture(scope="module")
def shipped():
    return load_model(SHIPPED / "model.nc")


def test_a_generator_runs_free_for_twenty_periods(shipped):
    network, _ = load_network(SHIPPED / "network-sine.nc")
    opened = session(network_onnx(network, shipped))
    ticks = 20 * network.period_ticks
    z, state, last = opened.run(None, {**begun(opened), "ticks": np.array(ticks)})
    ours = generate(shipped.scaled, network.weights, network.f, 20, network.settings["washouts"][0])
    np.testing.assert_allclose(z, ours.z, atol=1e-6)
    np.testing.assert_allclose(state[0], rows(shipped.node, ours.state.nodes), atol=1e-6)
    np.testing.assert_array_equal(last, z[-1])
    assert ours.nrmse < 0.03


def test_copies_run_side_by_side_each_from_its_own_state(shipped):
    network, _ = load_network(SHIPPED / "network-sine.nc")
    opened = session(network_onnx(network, shipped))
    one = {**begun(opened), "ticks": np.array(30)}
    turned = one["state"] * [1, 1, -1]
    alone = [opened.run(["outputs"], {**one, "state": state})[0] for state in (one["state"], turned)]
    both = {"state": np.concatenate([one["state"], turned]), "z": one["z"].repeat(2, axis=0), "ticks": one["ticks"]}
    np.testing.assert_allclose(opened.run(["outputs"], both)[0], np.concatenate(alone, axis=1), atol=1e-12)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_run_is_its_ticks_one_after_the_other(shipped):
    network, _ = load_network(SHIPPED / "network-sine.nc")
    opened, tick = (session(network_onnx(network, shipped, part)) for part in ("run", "tick"))
    given = begun(opened)
    z, *_ = opened.run(None, {**given, "ticks": np.array(5)})
    for k in range(5):
        given["state"], given["z"], r = tick.run(None, given)
        np.testing.assert_allclose(given["z"], z[k], atol=1e-12)
        assert r.shape == (1, 40)


@pytest.mark.parametrize("fixture", ["clocked", "of_two_outputs"])
def test_a_clocked_generator_keeps_the_time(fixture, macrospin, request):
    network, model = request.getfixturevalue(fixture), macrospin()
    opened = session(network_onnx(network, model))
    given = begun(opened)
    ours = generate(model.scaled, network.weights, network.f, 20, 2, clock=network.clock).z
    z, *_ = opened.run(None, {**given, "ticks": np.array(240), "first": np.array(0)})
    np.testing.assert_allclose(z, ours, atol=1e-6)
    assert ours.std() > 0.05
    first, *on = opened.run(None, {**given, "ticks": np.array(7), "first": np.array(0)})
    rest, *_ = opened.run(None, {"state": on[0], "z": on[1], "ticks": np.array(8), "first": np.array(7)})
    np.testing.assert_allclose(np.concatenate([first, rest]), z[:15], atol=1e-12)


def test_a_recogniser_answers_as_here(shipped):
    network, _ = load_network(SHIPPED / "network-recognise.nc")
    opened, rng = session(network_onnx(network, shipped)), np.random.default_rng(5)
    ours = recognise(shipped.scaled, network.weights, trials=20, rng=rng, **network.listening)
    phases = np.random.default_rng(5).uniform(0, 2 * np.pi, 20)
    s = inputs(np.arange(20) % 4, phases, 2 * network.period_ticks, network.period_ticks)
    scores, answer, features = opened.run(None, {"s": s})
    np.testing.assert_allclose(features, ours.features[0], atol=1e-6)
    np.testing.assert_array_equal(answer, ours.answers[0])
    np.testing.assert_array_equal(scores.argmax(axis=1), answer)
    assert json.loads(opened.get_modelmeta().custom_metadata_map["classes"])[answer[0]] == "sine"


def test_a_power_detector_is_read_too(macrospin, listener):
    model, rng = macrospin(), np.random.default_rng(5)
    ours = recognise(model.scaled, listener.weights, trials=8, rng=rng, **listener.listening)
    s = inputs(np.arange(8) % 4, np.random.default_rng(5).uniform(0, 2 * np.pi, 8), 36, 12)
    _, answer, features = session(network_onnx(listener, model)).run(None, {"s": s})
    np.testing.assert_allclose(features, ours.features[0], atol=1e-9)
    np.testing.assert_array_equal(answer, ours.answers[0])


RNG = np.random.default_rng(7)
POWERS = tuple(tuple(row) for row in exponents(4, 3, sphere_axis=1).tolist())
LATENT = (*((*row, 0, 0) for row in POWERS), (0, 0, 0, 0, 1, 0), (1, 0, 0, 1, 1, 0), (0, 1, 0, 0, 0, 1))


def flow_map():
    return FlowMapLaw(0.02 * RNG.normal(size=(4, len(POWERS))), 0.01 * RNG.normal(size=4), np.array(0.98), POWERS)


def memory_map():
    coef = 0.02 * RNG.normal(size=(6, len(LATENT)))
    return MemoryLaw(coef, 0.01 * RNG.normal(size=6), np.array(0.98), LATENT)


def macrospin_law():
    theta = np.array([0.1, -2e3, 6e5, 7e3, 300.0, 0.0, 8e3, 0.0]) * RNG.uniform(0.9, 1.1, 8)
    readout = np.eye(4, 3) + 1e-3 * RNG.normal(size=(4, 3))
    return MacrospinLaw(theta, readout, np.array(2.2e5), np.array([0.0, 0.6, 0.8]), np.array(1.5e-12), 5)


def thermal_map():
    noise = POWERS[:4]
    coef = 0.1 * RNG.normal(size=(3, len(noise)))
    return ThermalLaw(flow_map(), coef, np.array([-4.0, 0.1, -4.0]), np.array([0.9, 1e-3]), noise, 1)


@pytest.mark.parametrize("make", [flow_map, memory_map, macrospin_law, thermal_map])
@pytest.mark.parametrize("which", [None, np.array([1, 0, 1, 1])], ids=["alike", "differ"])
def test_every_law_is_the_same_in_a_graph(make, which):
    """Ten ticks of four nodes, all alike or of two devices."""
    nodes = [ReducedNode.of(make(), (0.0, 0.98, 0.0), (0.6, 0.0, 0.8), 1e-12, offset) for offset in (0.1, -0.2)]
    node = nodes[0] if which is None else ReducedNode.stack(nodes)
    state = node.start(4, seed=3, devices=which)
    d, k = rows(node, state).shape[1], node.laws.normals
    graph = Graph()
    x, u = graph.input("x", ["n", d]), graph.input("u", ["n"])
    after = Devices.of(node, which).advance(x, u, graph.input("normals", ["n", k]) if k else None)
    graph.output("after", after, ["n", d])
    graph.output("signal", Devices.of(node, which).signal(after), ["n"])
    opened, theirs = session(graph.model("law", {})), rows(node, state)
    for drive in np.random.default_rng(1).uniform(-1, 1, (10, 4)):
        given = {"x": theirs, "u": drive}
        if k:
            given["normals"] = np.asarray(state.noise.draw(k)[1], dtype=float)
        state = node.step(state, drive[:, None])
        theirs, signal = opened.run(None, given)
        np.testing.assert_allclose(theirs, rows(node, state), atol=1e-12)
        np.testing.assert_allclose(signal, node.observe(state), atol=1e-12)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3


def test_a_warm_network_takes_its_noise_from_outside(shipped, macrospin):
    warm = ReducedNode.of(thermal_map(), (0.0, 0.98, 0.0), (1.0, 0.0, 0.0), 1e-12)
    weights = draw(Topology(nodes=3, spectral_radius=0.5, feedback=0.5, bias=0.3, gain=0.9), [0])
    weights = weights.with_readout(np.random.default_rng(1).uniform(-0.5, 0.5, (1, 1, 4)))
    network = type("Network", (), {"clock": None, "period_ticks": 6})()
    scaled, graph = shipped.scale.of(warm), Graph()
    begin = start(scaled, weights, seed=4)
    size = _Size(3, rows(warm, begin.nodes).shape[1], 1, 3)
    _free_run(graph, _Tick(weights, Devices.of(warm, None), shipped.scale), network, size)
    normals, noise = [], begin.nodes.noise
    for _ in range(12):
        noise, drawn = noise.draw(3)
        normals.append(np.asarray(drawn, dtype=float)[None])
    free = {"target": np.zeros((12, 1, 1)), "hold": np.zeros(12, bool)}
    _, ours = simulate(scaled, weights, **free, state=begin)
    given = {"state": rows(warm, begin.nodes)[None], "z": np.asarray(begin.z), "normals": np.array(normals)}
    z, *_ = session(graph.model("warm", {})).run(None, given)
    np.testing.assert_allclose(z, ours.z, atol=1e-9)


def test_one_junction_follows_a_drive(shipped):
    u = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    m, signal = session(node_onnx(shipped)).run(None, {"u": u})
    np.testing.assert_allclose(m, shipped.simulate(u), atol=1e-12)
    np.testing.assert_allclose(signal, m[..., 0], atol=1e-15)
    tick = session(node_onnx(shipped, "tick"))
    _, first, _ = tick.run(None, {"state": shipped.m_start[None].repeat(3, axis=0), "u": u[0]})
    np.testing.assert_allclose(first, m[0], atol=1e-12)


def test_a_file_says_what_it_is_in_operators_of_onnx_alone(shipped):
    network, _ = load_network(SHIPPED / "network-sine.nc")
    made = network_onnx(network, shipped)
    told = {entry.key: entry.value for entry in made.metadata_props}
    assert float(told["tick_s"]) == 7.5e-12
    assert (told["task"], told["name"], told["period_ticks"], told["nodes"]) == ("generate", "sine", "84", "40")
    assert json.loads(told["settings"])["seed"] == 0
    assert "jax" in json.loads(told["versions"])
    assert [(one.domain, one.version) for one in made.opset_import] == [("", 17)]
    assert {value.type.tensor_type.elem_type for value in made.graph.input} == {11, 7}  # float64, and int64 of ticks


def test_a_law_without_a_form_is_named(shipped):
    law = WarmedLaw(flow_map(), np.array(0.01))
    node, graph = ReducedNode.of(law, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), 1e-12), Graph()
    with pytest.raises(SpinloomError, match="FlowMapLaw, MacrospinLaw, MemoryLaw, ThermalLaw, got WarmedLaw"):
        Devices.of(node, None).advance(graph.input("x", ["n", 3]), graph.input("u", ["n"]))
    with pytest.raises(SpinloomError, match="part: expected one of run, tick, got 'whole'"):
        node_onnx(shipped, "whole")


def test_the_command_writes_and_compares(spinloom, tmp_path, macrospin, clocked, listener):
    save_model(macrospin(), tmp_path / "model.nc")
    for network in (clocked, listener):
        save_network(network, tmp_path / "net.nc", tmp_path / "model.nc")
        told = spinloom("export", tmp_path / "net.nc", "--to", "onnx", "--out", tmp_path / "net.onnx", "--json").json
        assert told["difference"] < 1e-9
        assert told["bytes"] == (tmp_path / "net.onnx").stat().st_size
    told = spinloom("export", tmp_path / "model.nc", "--part", "tick", "--out", tmp_path / "mtj.onnx", "--json").json
    assert told["what"] == "junction"


def test_the_users_mistakes_are_told(refused, tmp_path, coarse_calibration_path, monkeypatch):
    out = ["--out", tmp_path / "net.onnx"]
    sine = SHIPPED / "network-sine.nc"
    refused("export", sine, "--to", "verilog", *out, told="to: expected one of onnx, spice, got 'verilog'")
    refused("export", coarse_calibration_path, *out, told="expected a network or a reduced model, got calibration")
    refused("export", tmp_path / "none.nc", *out, told="no such file")
    Path(tmp_path / "text.nc").write_text("text")
    refused("export", tmp_path / "text.nc", *out, told="damaged or not NetCDF")
    refused("export", sine, "--to", "onnx", "--part", "half", *out, told="part: expected one of run, tick")
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused("export", sine, *out, told="pip install 'spinloom[export]'")
    assert not (tmp_path / "net.onnx").exists()
