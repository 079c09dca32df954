"""Live nodes: in lock-step with the caller, and gone with the engine whatever happens."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from spinloom.device_models.engines.oommf.live import NodeError
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive

TICK = 7.5e-12


def drives(n_ticks, n, seed=3):
    return np.random.default_rng(seed).uniform(-1, 1, (n_ticks, n))


def kill(solvers, node):
    (solver,) = (process for process in solvers() if process.info["cwd"].endswith(f"live-{node}"))
    solver.kill()


@pytest.fixture
def tilted(coarse_card):
    """No equilibrium: a field with a direction of its own in every cell."""
    m = np.random.default_rng(1).normal((0.6, 0.5, 0.4), 0.3, (*coarse_card.geometry.mask().shape, 3))
    return coarse_card.geometry.mask()[..., None] * m / np.linalg.norm(m, axis=-1, keepdims=True)


def step(engine, state, u):
    return engine.node.step(state, np.array(u)[:, None])


def test_lock_step_gives_what_a_batch_gives(engine):
    u = drives(15, 3)
    state = engine.node.start(3)
    np.testing.assert_allclose(engine.node.moment(state), [[0, 1, 0]] * 3, atol=1e-12)
    state, live = drive(engine.node, u, state)
    _, batch = engine.play(np.full(15, TICK), u)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-14)
    assert state.ticks == 15
    np.testing.assert_array_equal(engine.node.moment(state), live[-1])


def test_the_first_tick_starts_from_the_very_field_that_was_given(engine_of, tilted, coarse_card):
    u = drives(6, 2)
    with engine_of(initial=tilted) as engine:
        state = engine.node.start(2)
        mean = tilted[coarse_card.geometry.mask()].mean(axis=0)
        np.testing.assert_allclose(engine.node.moment(state), [mean, mean], rtol=0, atol=1e-12)
        _, live = drive(engine.node, u, state)
        _, batch = engine.play(np.full(6, TICK), u)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-14)


@pytest.mark.parametrize("waits", [1, 5])
def test_rows_that_come_late_cost_no_tick(engine_of, tilted, fault, waits):
    fault(f"slow-table:1:{waits}")
    u = drives(5, 2)
    with engine_of(initial=tilted) as engine:
        state, live = drive(engine.node, u, engine.node.start(2))
        # One by one: a run of the same number would wait for ever.
        batch = [engine.play(np.full(5, TICK), u[:, [k]])[1] for k in range(2)]
    np.testing.assert_allclose(live, np.concatenate(batch, axis=1), rtol=0, atol=1e-14)
    assert state.ticks == 5


def test_each_node_is_made_from_its_own_card(engine_of, coarse_card, alter):
    slow, quick = 0.1, 0.3
    read = {"axis": (0.0, 1.0, 0.0), "offset": 0.25}
    cards = [coarse_card, alter(coarse_card, material={"alpha": quick}, readout=read)]
    u, which = drives(6, 3), np.array([1, 0, 1])
    with engine_of(cards=cards) as engine:
        assert engine.node.devices == 2
        state, live = drive(engine.node, u, engine.node.start(3, devices=which))
        signal = engine.node.observe(state)
        _, batch = engine.play(np.full(6, TICK), u, devices=which)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-14)
    alpha = np.array([quick, slow, quick])
    np.testing.assert_allclose(live[0, :, 0], np.sin(u[0] * (1 - np.exp(-TICK * alpha / 2e-12))), atol=1e-12)
    np.testing.assert_array_equal(signal, [live[-1, 0, 1] + 0.25, live[-1, 1, 0], live[-1, 2, 1] + 0.25])


def test_all_files_of_a_card_are_in_the_folder_of_each_of_its_nodes(engine_of, coarse_card, alter):
    cards = [coarse_card, alter(coarse_card, torque={"oersted": "up"})]
    with engine_of(cards=cards) as engine:
        engine.node.start(4, devices=np.array([1, 0, 1, 0]))
        fields = [sorted(path.name for path in (engine.host.folder / f"live-{k}").glob("*.o?f")) for k in range(4)]
    assert fields == [["m0.omf", "oersted_H.ovf"], ["m0.omf"]] * 2


def test_a_device_that_the_node_does_not_know(engine, solvers):
    with pytest.raises(SpinloomError, match="devices: expected numbers from 0 to 0, got 0 to 1"):
        engine.node.start(2, devices=np.array([0, 1]))
    assert solvers() == []


def test_a_tick_is_answered_before_the_next_drive_is_known(engine):
    """A loop that closes: the drive of each node is the answer of its neighbour."""
    node = engine.node
    state = node.start(2)
    u = np.array([0.9, -0.4])
    angle = np.zeros(2)
    for _ in range(5):
        angle = angle + (u - angle) * (1 - np.exp(-TICK / 20e-12))
        state = step(engine, state, u)
        np.testing.assert_allclose(node.observe(state), np.sin(angle), atol=1e-12)
        u = node.observe(state)[::-1]


def test_progress_counts_nodes(engine):
    ready = []
    engine.node.start(3, progress=ready.append)
    assert ready == [1, 1, 1]


def test_a_new_start_ends_the_old_nodes(engine, solvers):
    u = drives(4, 2)
    _, before = drive(engine.node, u, engine.node.start(2))
    second = engine.node.start(2)
    np.testing.assert_allclose(engine.node.moment(second), [[0, 1, 0]] * 2, atol=1e-12)
    np.testing.assert_array_equal(drive(engine.node, u, second)[1], before)
    assert len(solvers()) == 2


def test_costs_of_a_tick(engine):
    assert engine.costs(None, 1.0, 10) == {}
    state = engine.node.start(2)
    assert engine.costs(state, 1.0, 10) == {}
    state, _ = drive(engine.node, drives(4, 2), state)
    costs = engine.costs(state, 8.0, 4)
    assert list(costs) == [
        "tick_wall_s",
        "tick_until_last_report_s",
        "tick_until_last_row_s",
        "tick_network_s",
        "tick_solver_cpu_s",
        "tick_helper_cpu_s",
        "wall_over_solver",
    ]
    assert costs["tick_wall_s"] == 2.0
    waited = costs["tick_until_last_report_s"] + costs["tick_until_last_row_s"]
    assert waited + costs["tick_network_s"] == pytest.approx(2.0)
    assert 0 < waited < 1


def test_a_batch_costs_nothing_in_lock_step(engine):
    engine.play(np.full(2, TICK), drives(2, 1))
    assert engine.costs(None, 1.0, 2) == {}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("die:1:5", "OOMMF ended with exit code 1; it said: .*panic: stand-in broke at stage 5"),
        ("exit:1:5", "OOMMF ended with exit code 3$"),
        ("stop:1:5", "OOMMF did not write all it was asked for$"),
        ("signal:1:5", "OOMMF was killed by signal 9; if nobody did it, the machine ran out of memory"),
        ("hang:1:5", "silent for 0.3 s, taken to hang; it said last: .*Start:"),
        ("bad-row:1:5", "bad row for stage 5"),
        ("wrong-stage:1:5", "bad row: expected stage 5, got 12"),
        ("no-rows:1:5", "tick 5 is done but its row is not in the table"),
    ],
)
def test_a_failing_node_ends_the_run_with_its_number(engine_of, fault, processes, asked, message):
    fault(asked)
    u = drives(10, 3)
    with engine_of() as engine:
        state = engine.node.start(3)
        if asked.startswith(("hang", "no-rows")):
            state.limit_s = 0.3
        with pytest.raises(NodeError, match=rf"^oommf: node 1: {message}") as caught:
            drive(engine.node, u, state)
        assert caught.value.node == 1
        assert 4 <= state.ticks <= 5
        assert processes()
    assert processes() == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("die:2:0", "OOMMF ended with exit code 1; it said: .*panic"),
        ("hang:2:0", "silent for 1 s, taken to hang"),
    ],
)
def test_a_node_that_fails_at_the_start(engine_of, fault, solvers, asked, message):
    fault(asked)
    u = drives(3, 2)
    with engine_of(limit_s=20.0 if asked.startswith("die") else 1.0) as engine:
        with pytest.raises(NodeError, match=rf"^oommf: node 2: {message}"):
            engine.node.start(3)
        # Without the bad node the engine is still of use.
        engine.limit_s = 20.0
        _, m = drive(engine.node, u)
        assert m.shape == (3, 2, 3)
        assert len(solvers()) == 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("die:2:1", "OOMMF ended with exit code 1; it said: .*panic"),
        ("bad-row:2:0", "bad row for stage 0"),
        ("slow-table:2:1000000", "tick 0 is done but its row is not in the table"),
    ],
)
def test_a_node_that_fails_in_its_first_tick(engine_of, fault, asked, message):
    fault(asked)
    with engine_of(limit_s=0.5 if asked.startswith("slow") else 20.0) as engine:
        state = engine.node.start(3)
        with pytest.raises(NodeError, match=rf"^oommf: node 2: {message}"):
            step(engine, state, np.zeros(3))
        assert state.ticks == 0


def test_a_killed_node_is_named(engine, solvers):
    state = step(engine, engine.node.start(3), np.zeros(3))
    kill(solvers, 1)
    with pytest.raises(NodeError, match="node 1: OOMMF was killed by signal 9"):
        drive(engine.node, np.zeros((3, 3)), state)


def test_a_node_killed_while_it_is_waited_for(engine_of, fault, solvers):
    fault("hang:0:2")
    with engine_of() as engine:
        state = step(engine, engine.node.start(2), np.zeros(2))
        threading.Timer(0.2, kill, (solvers, 0)).start()
        with pytest.raises(NodeError, match="node 0: OOMMF was killed by signal 9"):
            step(engine, state, np.zeros(2))


def test_ctrl_c_leaves_nothing(engine_of, processes, temporary):
    def interrupted():
        with engine_of() as engine:
            step(engine, engine.node.start(2), np.zeros(2))
            assert len(processes()) >= 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert processes() == []
    assert list(temporary.iterdir()) == []


def test_closing_lets_go_of_everything(engine_of, processes, temporary):
    engine = engine_of()
    engine.node.start(2)
    assert len(list(temporary.rglob("drive"))) == 2
    engine.close()
    assert processes() == []
    assert list(temporary.iterdir()) == []
    engine.close()


def test_a_drive_for_every_node(engine):
    state = engine.node.start(2)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        step(engine, state, np.zeros(1))
