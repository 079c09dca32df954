"""What ngspice makes of exported netlists is what junctions and networks here do; and what a netlist may hold."""

import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.readout import conductance
from spinloom.networks.loop import simulate
from spinloom.networks.store import load_network, save_network
from spinloom.networks.trials import generate
from spinloom.reduced_models.model import load_model, save_model
from spinloom.workflows.export.junction import Junction, Turn
from spinloom.workflows.export.netlist import card_line, number
from spinloom.workflows.export.onnx import start_of
from spinloom.workflows.export.spice import network_netlist, node_netlist

SHIPPED = data_folder() / "reference" / "networks"
PERIODS, PERIOD = 20, 12
OPTIONS = ".options reltol=1e-6 abstol=1e-12 vntol=1e-9"


@pytest.fixture
def ngspice(tmp_path):
    """Runs a netlist, and gives what it saved at the end of every tick: (ticks, saved)."""
    program = shutil.which("ngspice")
    if program is None:
        pytest.skip("ngspice is not installed (Debian, Ubuntu: package ngspice)")

    def run(text, tick, ticks):
        netlist, raw = tmp_path / "net.cir", tmp_path / "net.raw"
        netlist.write_text(text)
        done = subprocess.run([program, "-b", "-r", raw, netlist], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        head, _, body = raw.read_bytes().partition(b"Binary:\n")
        rows = np.frombuffer(body).reshape(-1, int(re.search(rb"No. Variables: (\d+)", head)[1]))
        at = tick * np.arange(1, ticks + 1)
        return np.column_stack([np.interp(at, rows[:, 0], column) for column in rows.T[1:]])

    return run


def held(values, tick):
    """A source whose value is held for every tick."""
    points = [(0, values[0])]
    for k, value in enumerate(values[1:], start=1):
        points += [(k * tick - tick / 1000, values[k - 1]), (k * tick + tick / 1000, value)]
    return card_line("PWL(" + " ".join(f"{number(at)} {number(value)}" for at, value in points) + ")")


@pytest.mark.ngspice
@pytest.mark.parametrize("readout", [np.eye(4, 3), None], ids=["rigid", "fitted"])
def test_a_junction_in_ngspice_is_the_macrospin(readout, macrospin, ngspice):
    """Twenty periods of a drive that is held for every tick."""
    model = macrospin() if readout is None else macrospin(readout)
    u = 0.6 * np.sin(2 * np.pi * np.arange(PERIODS * PERIOD) / PERIOD) + 0.2
    junction = Junction.of(model)
    lines = [
        node_netlist(model, bench=False),
        f"X1 pl 0 mx my mz {junction.name}_m",
        f"I1 0 pl {held(u * junction.full, model.tick)}",
        OPTIONS,
        f".tran {model.tick / 10} {model.tick * len(u)} 0 {model.tick / 10} uic",
        ".save V(pl) V(mx) V(my) V(mz)",
        ".end",
    ]
    found = ngspice("\n".join(lines), model.tick, len(u))
    ours = model.simulate(u)
    np.testing.assert_allclose(found[:, 1:], ours, atol=5e-5)
    assert np.ptp(ours[:, 0]) > 0.2


@pytest.mark.ngspice
def test_a_junction_has_its_resistance_and_two_terminals(macrospin, ngspice):
    """At equilibrium, across the pinned layer's axis, and with a current far too small to move it."""
    model = macrospin(np.eye(4, 3))
    ticks, current = 4, 1e-9
    text = [node_netlist(model, bench=False), "X1 pl 0 mtj_disc60", f"I1 0 pl {current}", OPTIONS]
    text += [f".tran 7.5e-13 {ticks * model.tick} 0 7.5e-13 uic", ".save V(pl)", ".end"]
    volts = ngspice("\n".join(text), model.tick, ticks)[-1, 0]
    assert volts == pytest.approx(current / conductance(model.card, np.array(0.0)), rel=1e-3)


@pytest.mark.ngspice
@pytest.mark.parametrize("fixture", ["clocked", "of_two_outputs"])
def test_a_clocked_network_in_ngspice_is_the_network(fixture, macrospin, ngspice, request):
    network, model = request.getfixturevalue(fixture), macrospin()
    found = ngspice(network_netlist(network, model), model.tick, PERIODS * PERIOD)
    ours = generate(model.scaled, network.weights, network.f, PERIODS, 2, clock=network.clock).z[:, 0]
    np.testing.assert_allclose(found, ours, atol=1e-4)
    assert ours.std(axis=0).min() > 0.05


@pytest.mark.ngspice
def test_a_network_without_a_clock_in_ngspice_is_the_network(clocked, macrospin, ngspice):
    """It comes to rest: what the washout left behind is forgotten in both in the same way."""
    network, model = replace(clocked, clock=None), macrospin()
    found = ngspice(network_netlist(network, model), model.tick, PERIODS * PERIOD)
    ours = generate(model.scaled, network.weights, network.f, PERIODS, 2).z[:, 0]
    np.testing.assert_allclose(found, ours, atol=1e-4)
    assert np.ptp(ours) > 0.02


@pytest.mark.ngspice
def test_a_network_that_listens_takes_its_input_from_a_port(listener, macrospin, ngspice):
    model, s = macrospin(), np.random.default_rng(1).uniform(-0.8, 0.8, 24)
    lines = [
        network_netlist(listener, model, bench=False),
        "X1 s r1 r2 r3 network_recognise",
        # The drive of a tick is sampled at its beginning, so that the input has to be there by then.
        f"Vs s 0 {held(np.repeat(s, 2)[1:], model.tick / 2)}",
        OPTIONS,
        f".tran 7.5e-13 {model.tick * 24} 0 7.5e-13 uic",
        ".save V(r1) V(r2) V(r3)",
    ]
    found = ngspice("\n".join([*lines, ".end"]), model.tick, 24)
    begun = start_of(listener, model)
    forced = {"target": np.zeros((24, 1, 4)), "hold": np.ones(24, bool)}
    w = listener.weights.with_readout(np.zeros((1, 4, 4)))
    # The first tick of the netlist is one without an input.
    _, ours = simulate(model.scaled, w, **forced, s=np.append(0, s[1:])[:, None], state=begun, record="r")
    np.testing.assert_allclose(found, ours.r[:, 0], atol=1e-4)
    assert ours.r.std() > 0.1


def statements(text):
    """Folded lines as one, without comments."""
    whole = text.replace("\n+ ", " ").splitlines()
    return [line for line in whole if line and not line.startswith("*")]


def test_a_netlist_has_ports_units_and_no_place_of_this_machine(macrospin, clocked):
    model = macrospin()
    text = network_netlist(clocked, model)
    lines = statements(text)
    assert [re.sub(r" sx0=.*", "", line).split()[:5] for line in lines if line.startswith(".subckt")] == [
        [".subckt", "mtj_disc60_m", "pl", "fl", "mx"],
        [".subckt", "mtj_disc60", "pl", "fl"],
        [".subckt", "network_clocked", "z1"],
    ]
    assert lines.count(".end") == 1
    for name, unit in (("p_hy", "(A/m)"), ("p_ra", "(ohm m2)"), ("p_jmax", "(A/m2)"), ("p_gamma0", "(m/(A s))")):
        (line,) = (line for line in lines if line.startswith(f".param {name}="))
        assert line.endswith(unit)
    assert ".param p_tmr=1.0" in text
    assert str(Path.cwd()) not in text
    assert max(map(len, text.splitlines())) < 140
    directives = {line.split()[0] for line in lines if line.startswith(".")}
    assert directives == {".subckt", ".param", ".ends", ".options", ".tran", ".save", ".end"}
    bare = network_netlist(clocked, model, bench=False)
    assert {line.split()[0] for line in statements(bare) if line.startswith(".")} == {".subckt", ".param", ".ends"}


HOSTILE = "x\n.control\nshell touch gone\n.endc\n*#shell touch gone\n.include /etc/passwd\r\n.lib \x0b`ls`$(ls)"


def test_a_hostile_name_becomes_letters(macrospin, clocked):
    """A network's name comes from a stranger's file, a card's may be made without its checks."""
    network, model = replace(clocked, name=HOSTILE), macrospin(name=HOSTILE)
    usual = network_netlist(clocked, macrospin())
    text = network_netlist(network, model) + node_netlist(model)
    kinds = {line.split()[0] for line in statements(usual) if line.startswith(".")}
    assert {line.split()[0] for line in statements(text) if line.startswith(".")} == kinds
    assert not re.search(r"\*#|`|\$|/etc|^\s*shell|^\s*\.(control|include|lib)", text, flags=re.MULTILINE)
    assert len(text.splitlines()) < 2 * len(usual.splitlines())
    assert text.isascii()


@pytest.mark.ngspice
def test_ngspice_runs_nothing_that_a_name_says(macrospin, clocked, ngspice, tmp_path):
    network = replace(clocked, name="x\n.control\nshell touch gone\n.endc\n*#shell touch gone")
    text = network_netlist(network, macrospin()).replace(f"{number(240 * 7.5e-12)} 0", "1.5e-11 0")
    ngspice(text, 7.5e-12, 2)
    assert not (tmp_path / "gone").exists()


def test_a_number_that_is_none_does_not_get_in(macrospin, clocked):
    broken = replace(clocked, weights=replace(clocked.weights, b=np.array([[0.1, np.nan, 0.0]])))
    with pytest.raises(SpinloomError, match="expected finite numbers, got nan"):
        network_netlist(broken, macrospin())
    with pytest.raises(SpinloomError, match="read-out is near the identity"):
        node_netlist(macrospin(2 * np.eye(4, 3)))


def test_a_turn_is_that_of_the_read_out(macrospin):
    """Two halves of it are what reading the vector does; the rate is that of an ordinary rotation, by hand."""
    angle = 1e-3
    rotation = np.eye(4, 3)
    rotation[:2, :2] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    turn = Turn.of(rotation)
    np.testing.assert_allclose(turn.rate[:2, :2], [[0, -angle], [angle, 0]], atol=1e-15)
    m = np.array([0.6, 0.8, 0.0])
    back = turn.begun(m)
    assert math.atan2(back[1], back[0]) == pytest.approx(math.atan2(0.8, 0.6) - angle / 2)
    np.testing.assert_allclose(turn.begun(back) @ turn.read[:, :3].T, m, atol=1e-12)


def test_what_is_no_macrospin_is_refused(macrospin, clocked):
    flow = load_model(SHIPPED / "model.nc")
    network, _ = load_network(SHIPPED / "network-sine.nc")
    with pytest.raises(SpinloomError, match="got a flow map, a map of one tick. Fit one"):
        network_netlist(network, flow)
    with pytest.raises(SpinloomError, match="takes networks of one device"):
        network_netlist(replace(clocked, weights=clocked.weights.with_devices([[0, 0, 0]])), macrospin())


def test_the_command_writes_a_netlist(spinloom, refused, tmp_path, macrospin, clocked):
    save_model(macrospin(), tmp_path / "model.nc")
    save_network(clocked, tmp_path / "net.nc", tmp_path / "model.nc")
    told = spinloom("export", tmp_path / "net.nc", "--to", "spice", "--out", tmp_path / "net.cir", "--json").json
    assert told["what"] == "network, generate"
    assert "X1 z1 network_clocked" in (tmp_path / "net.cir").read_text()
    spinloom("export", tmp_path / "model.nc", "--to", "spice", "--no-bench", "--out", tmp_path / "mtj.cir")
    assert ".tran" not in (tmp_path / "mtj.cir").read_text()
    assert isinstance(macrospin().card, DeviceCard)
    sine = SHIPPED / "network-sine.nc"
    refused("export", sine, "--to", "spice", "--out", tmp_path / "no.cir", told="--kind macrospin")
    assert not (tmp_path / "no.cir").exists()
