"""OOMMF behind the node interface, and how an engine is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.calibration import Protocol, calibrate, load_calibration, save_calibration
from spinloom.device_models.engines import REFERENCE, choose_engine, open_engine
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.installation import find_oommf
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine, Node
from spinloom.device_models.scan import drive

TICK = 7.5e-12


def test_is_an_engine(engine, coarse_card, start_field):
    assert [name for name in vars(Engine) if not name.startswith("_") and not hasattr(engine, name)] == []
    assert (engine.name, engine.version, engine.tick) == ("oommf", "2.1a0", TICK)
    assert (engine.cards, engine.live, engine.batched) == ((coarse_card,), True, False)
    np.testing.assert_array_equal(engine.equilibria, start_field[None])


def test_its_live_processes_are_a_node(engine):
    assert isinstance(engine.node, Node)
    assert (engine.node.tick, engine.node.channels, engine.node.devices, engine.node.traceable) == (
        TICK,
        ("drive",),
        1,
        False,
    )


def test_without_an_initial_field_oommf_relaxes_the_cards_start(coarse_card, installation, start_field, calls):
    with OommfEngine(coarse_card, TICK, installation=installation) as engine:
        np.testing.assert_allclose(engine.equilibria, start_field[None], atol=1e-15)
    assert len(calls("boxsi")) == 1


def test_cards_that_relax_alike_are_relaxed_once(coarse_card, alter, installation, start_field, calls):
    # Stand-in: the field stays as it starts.
    turned = alter(coarse_card, start={"m": (1.0, 0.0, 0.0)})
    cards = [coarse_card, turned, alter(coarse_card, torque={"J_max": 1e11}), coarse_card, turned]
    with OommfEngine(cards, TICK, installation=installation) as engine:
        found = engine.equilibria
    assert len(calls("boxsi")) == 2
    along_x = start_field[..., [1, 0, 2]]
    np.testing.assert_allclose(found, [start_field, along_x, start_field, start_field, along_x], atol=1e-15)


def test_cards_on_meshes_of_different_shapes(coarse_card, disc, installation):
    with pytest.raises(SpinloomError, match=r"cards: expected as many cells in all, got meshes of \[\(6, 6, 1\), \(15"):
        OommfEngine([coarse_card, disc], TICK, installation=installation)


def test_a_failed_relaxation_is_said(coarse_card, program, command):
    script = f'case "$1" in boxsi) echo "cannot relax" >&2; exit 1 ;; *) exec {command} "$@" ;; esac'
    found = find_oommf(str(program("oommf", script)))
    message = "oommf: relaxation of disc60: OOMMF ended with exit code 1; it said: cannot relax"
    with pytest.raises(SpinloomError, match=message):
        OommfEngine(coarse_card, TICK, installation=found)


def test_input_is_what_oommf_is_given(engine, calls):
    u = np.array([0.25, -0.5])
    assert "set spinloom_u { 0.25 -0.5 }" in engine.input(u)
    assert "ReadFile drive" in engine.input()
    assert engine.input(u) == engine.input(u)
    assert not calls("boxsi")


def test_calibration(engine, coarse_card, tmp_path):
    protocol = Protocol(trajectories=4, duration=60e-12, seed=2, grades=())
    done = []
    save_calibration(calibrate(coarse_card, engine, protocol, done.append), tmp_path / "c.nc")
    found = load_calibration(tmp_path / "c.nc")
    assert (found.attrs["engine"], found.attrs["engine_version"]) == ("oommf", "2.1a0")
    assert sum(done) == pytest.approx(8)
    _, m = engine.play(np.full(8, TICK), protocol.drives().T)
    np.testing.assert_allclose(found["m"], m.transpose(1, 0, 2), atol=1e-14)
    np.testing.assert_allclose(found["m_start"], [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize("tick", [0.0, -1e-12, 1.0, float("nan")])
def test_bad_tick(coarse_card, installation, tick):
    with pytest.raises(SpinloomError, match="tick: expected seconds"):
        OommfEngine(coarse_card, tick, installation=installation)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (np.ones((6, 5, 1, 3)), r"initial field: expected shape \(6, 6, 1, 3\) for device disc60"),
        (np.zeros((6, 6, 1, 3)), "initial field: no magnetic cell"),
        (np.ones((6, 6, 1, 3)), "initial field: 36 magnetic cells, but disc60 has 32"),
    ],
)
def test_bad_initial_field(coarse_card, installation, initial, message):
    with pytest.raises(SpinloomError, match=message):
        OommfEngine(coarse_card, TICK, initial, installation=installation)


def test_docker_has_no_live_nodes(engine_of, docker):
    with engine_of(installation=find_oommf()) as engine:
        assert not engine.live
        with pytest.raises(SpinloomError, match="not one in docker"):
            engine.node.start(2)
        assert engine.costs(None, 1.0, 10) == {}


@pytest.mark.parametrize("name", ["embedded", REFERENCE])
def test_chosen_without_looking_for_oommf(name):
    choice = choose_engine(name, oommf="/no/such/oommf")
    assert (choice.name, choice.installation) == (name, None)
    assert choice.why == f"engine: {name}, as asked"


@pytest.mark.parametrize("name", ["mumax", "", "OOMMF"])
def test_unknown_engine(name):
    with pytest.raises(SpinloomError, match="engine: expected one of embedded, oommf, oommf-reference, auto, got"):
        choose_engine(name)


def test_auto_without_oommf():
    choice = choose_engine("auto")
    assert choice.name == "embedded"
    assert choice.why.startswith("engine: embedded, because OOMMF is not to be had (oommf: not installed")


def test_auto_with_oommf(program, command):
    path = program("oommf", f'exec {command} "$@"')
    choice = choose_engine("auto")
    assert choice.name == "oommf"
    assert choice.why == f"engine: oommf 2.1a0 ({path}, on PATH), found and works"


def test_auto_with_an_oommf_that_does_not_work(program, command, fault):
    program("oommf", f'exec {command} "$@"')
    fault("die:0:0")
    choice = choose_engine("auto")
    assert choice.name == "embedded"
    assert "stand-in broke at stage 0" in choice.why


def test_auto_with_a_named_oommf_does_not_fall_back(command, fault):
    with pytest.raises(SpinloomError, match="/no/such/oommf is not there"):
        choose_engine("auto", oommf="/no/such/oommf")
    fault("die:0:0")
    with pytest.raises(SpinloomError, match="stand-in broke"):
        choose_engine("auto", oommf=command)


def test_oommf_asked_for(command):
    choice = choose_engine("oommf", oommf=command)
    assert choice.name == "oommf"
    assert choice.why == f"engine: oommf 2.1a0 ({command}, named by you), as asked"
    with pytest.raises(SpinloomError, match="not installed"):
        choose_engine("oommf")


def test_an_open_engine_ends_with_the_block(command, coarse_card, start_field, processes):
    with open_engine(choose_engine("oommf", command), coarse_card, TICK, start_field) as engine:
        assert isinstance(engine, OommfEngine)
        drive(engine.node, np.zeros((2, 1)))
        assert processes()
    assert processes() == []


def test_the_embedded_engine_is_opened_the_same_way(coarse_card, start_field):
    with open_engine(choose_engine("embedded"), coarse_card, TICK, start_field) as engine:
        assert isinstance(engine, EmbeddedEngine)
