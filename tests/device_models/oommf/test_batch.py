"""Known drives: every device is a run of its own, told once it is finished."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import psutil
import pytest

from spinloom.device_models.engines.oommf import batch
from spinloom.device_models.engines.oommf.installation import find_oommf
from spinloom.device_models.errors import SpinloomError

TICK = 7.5e-12


def evenly(n):
    return np.full(n, TICK)


def drives(n_ticks, n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n_ticks, n))


def low_pass(u, angle=0.0, alpha=0.1):
    """<m> of the stand-in at the end of each tick."""
    angles = []
    for row in u:
        angle = angle + (row - angle) * (1 - np.exp(-TICK * alpha / 2e-12))
        angles.append(angle)
    return np.stack([np.sin(angles), np.cos(angles), np.zeros_like(angles)], axis=-1)


def test_devices_keep_their_order_and_start_from_their_fields(engine_of, coarse_card):
    u = drives(12, 5)
    start = np.linspace(-0.6, 0.6, 5)
    fields = [coarse_card.geometry.mask()[..., None] * np.array([np.sin(angle), np.cos(angle), 0.0]) for angle in start]
    with engine_of(side_by_side=2) as engine:
        final, m = engine.play(evenly(12), u, np.stack(fields))
    np.testing.assert_allclose(m, low_pass(u, start), atol=1e-12)
    np.testing.assert_allclose(final[:, 3, 3, 0], m[-1], atol=1e-12)
    assert not final[:, ~coarse_card.geometry.mask()].any()


def test_it_goes_on_from_the_fields_it_gave(engine):
    u = drives(10, 2)
    _, whole = engine.play(evenly(10), u)
    fields, first = engine.play(evenly(4), u[:4])
    _, second = engine.play(evenly(6), u[4:], fields)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-12)


def test_uneven_holds(engine):
    ticks = np.array([3, 1, 4])
    u = drives(3, 1)
    _, m = engine.play(ticks * TICK, u)
    np.testing.assert_allclose(m, low_pass(np.repeat(u, ticks, axis=0))[np.cumsum(ticks) - 1], atol=1e-12)


def test_each_device_is_made_from_its_own_card(engine_of, coarse_card, alter):
    u = drives(8, 3)
    cards = [coarse_card, alter(coarse_card, material={"alpha": 0.3})]
    with engine_of(cards=cards) as engine:
        _, m = engine.play(evenly(8), u[..., None], devices=np.array([1, 0, 1]))
        _, first = engine.play(evenly(8), u)
    np.testing.assert_allclose(m, low_pass(u, alpha=np.array([0.3, 0.1, 0.3])), atol=1e-12)
    np.testing.assert_allclose(first, low_pass(u), atol=1e-12)


def test_an_input_that_no_device_has(engine):
    with pytest.raises(SpinloomError, match=r"inputs: expected .* at most 1 channels \(drive\)"):
        engine.play(evenly(2), np.zeros((2, 1, 2)))
    with pytest.raises(SpinloomError, match="devices: expected numbers from 0 to 0, got 1 to 1"):
        engine.play(evenly(2), np.zeros((2, 1)), devices=np.array([1]))


def test_no_more_runs_side_by_side_than_asked_for(engine_of, solvers):
    running, done = [], []

    def progress(ticks):
        done.append(ticks)
        running.append(len(solvers()))

    with engine_of(side_by_side=2) as engine:
        engine.play(evenly(8), drives(8, 5), progress=progress)
    assert 1 <= max(running) <= 2
    assert sum(done) == pytest.approx(8)


def test_finished_runs_hold_no_files(engine):
    # Thousands of them would not fit into a process.
    engine.play(evenly(2), drives(2, 1))
    before = psutil.Process().num_fds()
    engine.play(evenly(2), drives(2, 6))
    assert psutil.Process().num_fds() == before
    assert [path.name for path in engine.host.folder.iterdir() if path.is_dir()] == []


def test_seeds_change_nothing(engine):
    u = drives(3, 1)
    np.testing.assert_array_equal(engine.play(evenly(3), u, seed=1)[1], engine.play(evenly(3), u, seed=2)[1])


def test_what_is_done_is_told_at_once_by_its_place_and_called_by_its_number(engine_of, fault, tmp_path, calls):
    u, told = drives(6, 3), {}
    fault("die:12:3")
    with engine_of(side_by_side=1) as engine, pytest.raises(SpinloomError, match="device 12"):
        engine.play(evenly(6), u, numbers=np.array([10, 11, 12]), done=told.__setitem__)
    np.testing.assert_allclose(np.stack([told[0], told[1]], axis=1), low_pass(u[:, :2]), atol=1e-12)
    assert len(told) == 2
    assert [Path(call["folder"]).name for call in calls("boxsi")] == ["run-10", "run-11", "run-12"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("die:1:4", r"device 1: OOMMF ended with exit code 1; it said: .*panic: stand-in broke at stage 4"),
        ("exit:1:4", r"device 1: OOMMF ended with exit code 3$"),
        ("signal:1:4", r"device 1: OOMMF was killed by signal 9; if nobody did it, the machine ran out of memory"),
        ("bad-row:1:4", r"device 1: bad row for stage 4"),
        ("wrong-stage:1:4", r"device 1: bad row: expected stage 4, got 11"),
        ("stop:1:4", r"device 1: OOMMF did not write all it was asked for$"),
        ("no-rows:1:4", r"device 1: OOMMF did not write all it was asked for; it said: .*Boxsi run end"),
    ],
)
def test_a_failed_run_names_the_device_and_says_why(engine_of, fault, monkeypatch, asked, message):
    monkeypatch.setattr(batch, "LATE_S", 0.1)
    fault(asked)
    with engine_of() as engine, pytest.raises(SpinloomError, match=f"^oommf: {message}"):
        engine.play(evenly(6), drives(6, 2))


def test_words_of_oommf_pass_as_they_are(tmp_path):
    said = "cannot open [such] a file: /tmp/runs[1]/m0[/].omf"
    assert batch.why_it_ended(1, f"{said}\n".encode(), tmp_path) == f"OOMMF ended with exit code 1; it said: {said}"


def test_a_full_disk_is_said(engine_of, fault, monkeypatch, temporary):
    usage = collections.namedtuple("usage", "total used free")(1, 1, 0)
    fault("die:0:2")
    with engine_of() as engine:
        monkeypatch.setattr(batch.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(SpinloomError, match=f"device 0: no space left in {temporary}; free some, or set TMPDIR"):
            engine.play(evenly(6), drives(6, 1))


@pytest.mark.parametrize("n", [1, 6, 120])
def test_rows_and_field_may_come_after_the_end(engine_of, fault, n):
    u, done = drives(n, 1), []
    fault(f"late:0:{n - 1}")
    with engine_of() as engine:
        fields, m = engine.play(evenly(n), u, progress=done.append)
    np.testing.assert_allclose(m, low_pass(u), atol=1e-12)
    np.testing.assert_allclose(fields[0, 3, 3, 0], m[-1, 0], atol=1e-12)
    assert sum(done) == pytest.approx(n)


def test_an_engine_can_be_used_after_a_failed_run(engine_of, fault):
    fault("die:1:3")
    u = drives(6, 2)
    with engine_of() as engine:
        with pytest.raises(SpinloomError, match="device 1"):
            engine.play(evenly(6), u)
        _, m = engine.play(evenly(6), u[:, :1])
    np.testing.assert_allclose(m, low_pass(u[:, :1]), atol=1e-12)


def test_in_docker(engine_of, docker, calls):
    u = drives(6, 2)
    with engine_of(installation=find_oommf()) as engine:
        assert engine.installation.image
        _, m = engine.play(evenly(6), u)
    np.testing.assert_allclose(m, low_pass(u), atol=1e-12)
    assert len(calls("boxsi")) == 2


def test_in_docker_an_interrupted_run_leaves_nothing(engine_of, docker, fault):
    fault("hang:0:3")

    def interrupt(ticks):
        raise KeyboardInterrupt

    with engine_of(installation=find_oommf()) as engine, pytest.raises(KeyboardInterrupt):
        engine.play(evenly(6), drives(6, 2), progress=interrupt)
