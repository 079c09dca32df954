"""Live nodes: in lock-step with the caller, and gone with the engine whatever happens."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from spinloom.device_models.engines.oommf.live import NodeError
from spinloom.device_models.node import drive

TICK = 7.5e-12


def drives(n_ticks, n, seed=3):
    return np.random.default_rng(seed).uniform(-1, 1, (n_ticks, n))


def kill(solvers, node):
    (solver,) = (process for process in solvers() if process.info["cwd"].endswith(f"live-{node}"))
    solver.kill()


def test_lock_step_gives_what_a_batch_gives(engine):
    u = drives(15, 3)
    state, m = engine.start(3)
    np.testing.assert_allclose(m, [[0, 1, 0]] * 3, atol=1e-12)
    _, live = drive(engine, u, state)
    _, batch = engine.play(np.full(15, TICK), u)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-14)
    assert state.ticks == 15
    np.testing.assert_array_equal(state.m, live[-1])


def test_a_tick_is_answered_before_the_next_drive_is_known(engine):
    """A loop that closes: the drive of each node is the answer of its neighbour."""
    state, m = engine.start(2)
    u = np.array([0.9, -0.4])
    angle = np.zeros(2)
    for _ in range(5):
        angle = angle + (u - angle) * (1 - np.exp(-TICK / 20e-12))
        state, m = engine.step(state, u)
        np.testing.assert_allclose(m[:, 0], np.sin(angle), atol=1e-12)
        u = m[::-1, 0]


def test_progress_counts_nodes(engine):
    ready = []
    engine.start(3, ready.append)
    assert ready == [1, 1, 1]


def test_a_new_start_ends_the_old_nodes(engine, solvers):
    u = drives(4, 2)
    first, _ = engine.start(2)
    _, before = drive(engine, u, first)
    second, m = engine.start(2)
    np.testing.assert_allclose(m, [[0, 1, 0]] * 2, atol=1e-12)
    np.testing.assert_array_equal(drive(engine, u, second)[1], before)
    assert len(solvers()) == 2


def test_rows_that_come_late_are_waited_for_in_the_warm_up(engine_of, fault):
    fault("slow-table:1:6")
    u = drives(5, 2)
    with engine_of() as engine:
        state, m = engine.start(2)
        np.testing.assert_allclose(m, [[0, 1, 0]] * 2, atol=1e-12)
        _, live = drive(engine, u, state)
        _, batch = engine.play(np.full(5, TICK), u[:, :1])
    np.testing.assert_allclose(live[:, :1], batch, rtol=0, atol=1e-14)


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
        state, _ = engine.start(3)
        if asked.startswith(("hang", "no-rows")):
            state.limit_s = 0.3
        with pytest.raises(NodeError, match=rf"^oommf: node 1: {message}") as caught:
            drive(engine, u, state)
        assert caught.value.node == 1
        # Two ticks were spent on the warm-up.
        assert 2 <= state.ticks <= 3
        assert processes()
    assert processes() == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("die:2:0", "OOMMF ended with exit code 1; it said: .*panic"),
        ("die:2:1", "OOMMF ended with exit code 1; it said: .*panic"),
        ("hang:2:0", "silent for 1 s, taken to hang"),
        ("bad-row:2:0", "bad row for stage 0"),
        ("slow-table:2:1000000", "no row in its table after 1 s"),
    ],
)
def test_a_node_that_fails_at_the_start(engine_of, fault, solvers, asked, message):
    fault(asked)
    u = drives(3, 2)
    with engine_of(limit_s=20.0 if asked.startswith(("die", "bad")) else 1.0) as engine:
        with pytest.raises(NodeError, match=rf"^oommf: node 2: {message}"):
            engine.start(3)
        # Without the bad node the engine is still of use.
        engine.limit_s = 20.0
        _, m = drive(engine, u)
        assert m.shape == (3, 2, 3)
        assert len(solvers()) == 2


def test_a_killed_node_is_named(engine, solvers):
    state, _ = engine.start(3)
    state, _ = engine.step(state, np.zeros(3))
    kill(solvers, 1)
    with pytest.raises(NodeError, match="node 1: OOMMF was killed by signal 9"):
        drive(engine, np.zeros((3, 3)), state)


def test_a_node_killed_while_it_is_waited_for(engine_of, fault, solvers):
    fault("hang:0:4")
    with engine_of() as engine:
        state, _ = engine.start(2)
        state, _ = engine.step(state, np.zeros(2))
        threading.Timer(0.2, kill, (solvers, 0)).start()
        with pytest.raises(NodeError, match="node 0: OOMMF was killed by signal 9"):
            engine.step(state, np.zeros(2))


def test_ctrl_c_leaves_nothing(engine_of, processes, temporary):
    def interrupted():
        with engine_of() as engine:
            state, _ = engine.start(2)
            engine.step(state, np.zeros(2))
            assert len(processes()) >= 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert processes() == []
    assert list(temporary.iterdir()) == []


def test_closing_lets_go_of_everything(engine_of, processes, temporary):
    engine = engine_of()
    engine.start(2)
    assert len(list(temporary.rglob("drive"))) == 2
    engine.close()
    assert processes() == []
    assert list(temporary.iterdir()) == []
    engine.close()


def test_a_drive_for_every_node(engine):
    state, _ = engine.start(2)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        engine.step(state, np.zeros(1))
