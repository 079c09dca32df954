"""What OOMMF is started with, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from spinloom.device_models.engines.oommf import mif
from spinloom.device_models.engines.oommf import processes as module
from spinloom.device_models.engines.oommf.installation import Installation
from spinloom.device_models.engines.oommf.processes import Host
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.ubermag import card_toml


@pytest.fixture
def host(installation, calls):
    host = Host(installation)
    yield host
    host.close()


@pytest.fixture
def run_folder(coarse_card, start_field):
    """A folder with the input of a run of two ticks."""

    def make(host):
        folder = host.new_folder("run-0")
        mif.write_waveform(folder, coarse_card, start_field, np.full(2, 7.5e-12), np.zeros(2))
        return folder

    return make


def installed(*command):
    return Installation(tuple(map(str, command)), "named by you", "2.1a0")


def test_the_callers_oommf_variables_are_not_handed_on(installation, run_folder, calls, monkeypatch):
    monkeypatch.setenv("OOMMF_HOSTPORT", "1")
    monkeypatch.setenv("OOMMF_OUTDIR", "/nowhere")
    monkeypatch.setenv("OOMMF_RESTARTFILEDIR", "/nowhere")
    monkeypatch.setenv("OOMMF_THREADS", "1")
    host = Host(installation)
    host.boxsi(run_folder(host)).wait()
    folder = str(host.folder)
    host.close()
    assert calls("launchhost")[0]["environment"] == {"OOMMF_THREADS": "1", "TMPDIR": folder}
    assert calls("boxsi")[0]["environment"] == {"OOMMF_THREADS": "1", "TMPDIR": folder, "OOMMF_HOSTPORT": "45678"}
    assert os.environ["OOMMF_HOSTPORT"] == "1"


def test_one_thread_in_a_folder_below_the_temporary_one(host, run_folder, calls, temporary):
    folder = run_folder(host)
    host.boxsi(folder).wait()
    (call,) = calls("boxsi")
    assert call["folder"] == str(folder)
    assert folder.is_relative_to(temporary)
    assert " tests ü " in str(folder), "a space and a letter beyond ASCII, here and in every test"
    words = call["arguments"]
    assert words[words.index("-threads") + 1] == "1"
    assert words[words.index("-exitondone") + 1] == "1"


def test_a_folder_of_its_own_for_every_run(host):
    folders = [host.new_folder("run-0") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.name.startswith("run-0") for folder in folders)


def test_strangers_cannot_list_the_folders(host, temporary):
    host.new_folder("run-0")
    (outer,) = temporary.iterdir()
    assert outer.stat().st_mode & 0o066 == 0


def test_all_processes_are_in_one_group_which_is_not_ours(host, run_folder, processes):
    host.boxsi(run_folder(host)).wait()
    groups = {os.getpgid(process.pid) for process in processes()}
    assert len(groups) == 1
    assert groups != {os.getpgid(0)}
    assert {process.pid for process in host.members()} == {process.pid for process in processes()}


def test_close_ends_helpers_and_may_be_called_twice(host, run_folder, processes, temporary):
    host.boxsi(run_folder(host))
    assert processes()
    host.close()
    assert processes() == []
    assert list(temporary.iterdir()) == []
    host.close()


def test_what_does_not_leave_when_asked_is_killed(installation, calls, processes, monkeypatch, fault):
    fault("stubborn")
    host = Host(installation)
    while not calls("wait"):
        time.sleep(0.01)
    monkeypatch.setattr(module, "LEAVE_S", 0.1)
    host.close()
    assert processes() == []


def test_no_place_for_files(installation, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(SpinloomError, match=rf"no folder for its files \(.*{tmp_path}/file\); set TMPDIR to a folder"):
        Host(installation)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(installation, monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SpinloomError, match=r"no folder for its files \(Permission denied"):
        Host(installation)


def test_oommf_has_gone_since(tmp_path):
    with pytest.raises(SpinloomError, match=r"oommf: cannot be started \(No such file.*spinloom doctor"):
        Host(installed(tmp_path / "oommf"))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo cannot connect", "its host server gave no port, but 'cannot connect'; see 'spinloom doctor'"),
        ("exit 1", "its host server gave no port, but ''"),
        ("exec sleep 10", "its host server did not start within 0.1 s"),
        ("sleep 10 & echo no port", "its host server gave no port"),
    ],
)
def test_no_host_server(program, monkeypatch, script, message):
    monkeypatch.setattr(module, "START_S", 0.1 if script.startswith("exec") else 20.0)
    with pytest.raises(SpinloomError, match=f"oommf: {message}"):
        Host(installed(program("oommf", script)))


ABANDONED = """
import sys, time
import numpy as np
from spinloom.device_models.card import load_card
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.installation import find_oommf
card = load_card(sys.argv[1])
start = card.geometry.mask()[..., None] * np.array([0.0, 1.0, 0.0])
engine = OommfEngine(card, 7.5e-12, start, installation=find_oommf(sys.argv[2]))
state = engine.node.start(3)
print(engine.host.group, flush=True)
while True:
    state = engine.node.step(state, np.zeros((3, 1)))
"""


def abandoned(card, command, temporary, processes, tmp_path):
    """Live nodes whose parent is killed: nothing is left within seconds."""
    (tmp_path / "card.toml").write_text(card_toml(card))
    arguments = [sys.executable, "-c", ABANDONED, tmp_path / "card.toml", command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as parent:
        try:
            group = int(parent.stdout.readline())
            started, folders = len(processes()), len(list(temporary.rglob("live-*")))
        finally:
            parent.kill()
    assert started >= 3
    assert folders == 3
    until = time.monotonic() + 10
    while (processes() or list(temporary.iterdir())) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes() == []
    assert list(temporary.iterdir()) == []
    with contextlib.suppress(psutil.NoSuchProcess):  # the watcher itself
        while psutil.Process(group).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_nothing_survives_a_parent_that_is_killed(coarse_card, command, temporary, processes, tmp_path):
    abandoned(coarse_card, command, temporary, processes, tmp_path)


@pytest.mark.oommf
def test_no_oommf_survives_a_parent_that_is_killed(oommf, coarse_card, temporary, processes, tmp_path):
    abandoned(coarse_card, shlex.join(oommf.command), temporary, processes, tmp_path)


def test_containers_of_a_parent_that_was_killed_are_killed(installation, tmp_path, program, temporary):
    log = tmp_path / "docker.txt"
    docker = program("docker", f'echo "$@" >> {shlex.quote(str(log))}')
    host = Host(Installation((str(docker),), "docker", "2.1a0", image="oommf"))
    folder = host.new_folder("run-0")
    host.boxsi(folder).wait()
    (run,) = log.read_text().splitlines()
    name = run.split()[3]
    host._watcher.stdin.close()  # as the system does when this process is killed
    until = time.monotonic() + 10
    while list(temporary.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert log.read_text().splitlines()[1] == f"kill {name}"
    host.close()
    assert list(temporary.iterdir()) == []


def test_a_watcher_that_somebody_killed_is_not_missed(host, run_folder, processes):
    folder = run_folder(host)
    host._watcher.kill()
    host._watcher.wait()
    host.boxsi(folder).wait()
    assert processes()
