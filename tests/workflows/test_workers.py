"""Who does the work: real processes, which die, join and lose each other."""

import contextlib
import os
import signal
import socket
import time

import pytest

from spinloom.device_models.errors import SpinloomError, UnfinishedError
from spinloom.device_models.machine import cores
from spinloom.workflows import workers as workers_module
from spinloom.workflows.workers import Done, Here, open_workers, share


def test_one_core_or_one_part_starts_no_process(parts, monkeypatch):
    with open_workers(1) as alone, open_workers(4, parts=1) as single:
        assert isinstance(alone, Here)
        assert isinstance(single, Here)
        assert list(alone.map(parts.double, [1, 2])) == [Done(0, 2), Done(1, 4)]
    monkeypatch.setenv("SPINLOOM_CORES", "1")
    with open_workers(parts=9) as usual:
        assert isinstance(usual, Here)


def test_what_fails_is_told_with_its_number_and_the_rest_goes_on(parts):
    expected = [Done(0, 0), Done(1, error="x: expected another number, got 1"), Done(2, error="RuntimeError: odd")]
    assert list(Here().map(parts.picky, [0, 1, 2])) == expected
    with open_workers(2) as workers:
        found = sorted(workers.map(parts.picky, range(5)))
    assert found[:3] == expected
    assert found[3] == Done(3, error="its worker died every time it was tried, as by a lack of memory; given up")
    assert found[4] == Done(4, 4)


def test_a_worker_that_is_killed_is_replaced_and_its_part_repeated(parts, tmp_path):
    given = [(str(tmp_path), number) for number in range(6)]
    with open_workers(2) as workers:
        under_way = workers.map(parts.slow, given)
        first = next(under_way)
        victim, killed = wait_for_another(tmp_path, first.number)
        os.kill(killed, signal.SIGKILL)
        found = sorted([first, *under_way])
    assert [done.number for done in found] == list(range(6))
    assert [done.error for done in found] == [""] * 6
    assert killed != found[victim].value
    assert len(list(tmp_path.glob(f"{victim}.*"))) == 2


def test_what_a_killed_worker_had_finished_is_computed_again(parts, dask_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "LOOK_S", 2.0)  # so that several are finished at the second look
    dask = dask_cluster()
    dask.add_worker()
    with open_workers(scheduler=dask.address) as workers:
        under_way = workers.map(parts.slow, [(str(tmp_path), number) for number in range(4)])
        first = next(under_way)
        os.kill(first.value, signal.SIGKILL)
        dask.add_worker()
        found = sorted([first, *under_way])
    assert [done.number for done in found] == list(range(4))
    assert [done.error for done in found] == [""] * 4
    assert len({done.value for done in found}) == 2


def wait_for_another(folder, finished):
    """Number and process of a part that has begun after the first was finished."""
    while True:
        for path in folder.iterdir():
            number, process = map(int, path.name.split("."))
            if number > finished + 1:
                return number, process
        time.sleep(0.01)


def test_every_process_has_its_share_of_the_cores_and_no_port_that_others_want(parts):
    """Dask's pages of state would take port 8787, and warn if another cluster has it."""
    taken, each = socket.socket(), str(max(1, cores() // 2))
    with contextlib.suppress(OSError):
        taken.bind(("0.0.0.0", 8787))
        taken.listen()
    with taken, open_workers(2) as workers:
        names = ["SPINLOOM_CORES", "NPROC", "OMP_NUM_THREADS"]
        assert {done.value for done in workers.map(parts.environment, names)} == {each}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads where Linux does")
def test_jax_has_fewer_threads_where_it_has_fewer_cores(parts):
    """By two, as jaxlib has two pools: of a process with one core and of one with two."""
    found = {}
    for number in (1, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers_module, "cores", lambda number=number: 2 * number)
            with open_workers(2) as workers:
                found[number] = [done.value for done in workers.map(parts.threads, [0, 0])]
    assert max(found[1]) < min(found[5])


def test_a_worker_may_join(parts, dask_cluster, tmp_path):
    dask = dask_cluster()
    dask.add_worker()
    with open_workers(scheduler=dask.address) as workers:
        under_way = workers.map(parts.slow, [(str(tmp_path), number) for number in range(30)])
        alone = [next(under_way)]
        dask.add_worker()
        found = [*alone, *under_way]
    assert {done.error for done in found} == {""}
    assert len({done.value for done in found}) == 2


def test_a_scheduler_that_is_lost_is_told(parts, dask_cluster, tmp_path):
    dask = dask_cluster()
    dask.add_worker()

    def cut_in_the_middle():
        with open_workers(scheduler=dask.address) as workers:
            for _ in workers.map(parts.slow, [(str(tmp_path), number) for number in range(30)]):
                dask.scheduler.send_signal(signal.SIGKILL)

    with pytest.raises(UnfinishedError, match="connection to tcp://.* is lost; what is finished is saved"):
        cut_in_the_middle()
    assert len(list(tmp_path.iterdir())) < 30


def test_where_there_is_no_worker_that_is_told_once(parts, dask_cluster, monkeypatch, capsys):
    monkeypatch.setattr(workers_module, "LONELY_S", 0.2)
    monkeypatch.setattr(workers_module, "ASK_S", 0.1)
    dask = dask_cluster()
    with open_workers(scheduler=dask.address) as workers:
        under_way = workers.map(parts.double, [3])
        monkeypatch.setattr(workers_module.time, "sleep", Later(dask.add_worker))
        assert list(under_way) == [Done(0, 6)]
    assert capsys.readouterr().err.count("no worker for") == 1


class Later:
    """A sleep that does something at its twentieth call."""

    def __init__(self, what):
        self.calls, self.what, self.sleep = 0, what, time.sleep

    def __call__(self, seconds):
        self.calls += 1
        if self.calls == 20:
            self.what()
        self.sleep(seconds)


def test_another_version_is_refused(parts, monkeypatch):
    """As the worker does it, here."""
    assert workers_module._attempt((parts.double, 1, workers_module.versions()["spinloom"])) == (2, "")
    value, error = workers_module._attempt((parts.double, 1, "0.0.1"))
    assert value is None
    assert "expected Spinloom 0.0.1, got" in error


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "tcp://", "http://127.0.0.1:1", ""])
def test_an_address_where_no_scheduler_is(address, monkeypatch):
    monkeypatch.setattr(workers_module, "CONNECT_S", 0.3)
    told = "does not answer.*expected the address that 'dask scheduler' tells"
    with pytest.raises(SpinloomError, match=told), open_workers(scheduler=address):
        pass


@pytest.mark.parametrize(
    ("given", "told"),
    [({"count": 0}, "workers: expected 1 or more, got 0"), ({"count": 2, "scheduler": "tcp://h:1"}, "got both")],
)
def test_wrong_numbers_are_refused(given, told):
    with pytest.raises(SpinloomError, match=told), open_workers(**given):
        pass


def test_the_share_is_of_all_that_has_threads():
    assert set(share(3).values()) == {"3", "false"}
