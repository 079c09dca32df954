"""The processes that OOMMF is made of: started in one group, known by their ids, and all ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from spinloom.device_models.engines.oommf import watcher
from spinloom.device_models.engines.oommf.installation import Installation
from spinloom.device_models.engines.oommf.mif import NAME, input_files
from spinloom.device_models.errors import SpinloomError

NOT_HANDED_ON = ("OOMMF_HOSTPORT", "OOMMF_OUTDIR", "OOMMF_RESTARTFILEDIR")
START_S = 60.0
LEAVE_S = 3.0
"""How long processes may take to leave when asked, before they are killed."""


class Host:
    """One host server of OOMMF and every process that computes under it.

    ``boxsi`` starts helpers (an account server, ``mmArchive``) that outlive it. All of them
    join one process group, which is ended as a whole: by :meth:`close`, or, where this process is killed before, by
    the group's leader (:mod:`spinloom.device_models.engines.oommf.watcher`). The port of the host server is our own:
    OOMMF_HOSTPORT in the environment, stale or not, is not used.

    Parameters
    ----------
    installation : Installation

    Raises
    ------
    SpinloomError
        if OOMMF cannot be started
    """

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self._outer, self.folder = _private_folders()
        self._started: list[subprocess.Popen[bytes]] = []
        self._containers: list[str] = []
        self._closed = False
        self._watcher = self._watched()
        self.environment = {key: value for key, value in os.environ.items() if key not in NOT_HANDED_ON}
        # OOMMF writes a field to a temporary file first, which a full disk would leave behind.
        self.environment["TMPDIR"] = str(self.folder)
        try:
            if not installation.image:
                self.environment["OOMMF_HOSTPORT"] = self._launch()
        except BaseException:
            self.close()
            raise

    @property
    def group(self) -> int:
        """Number of the process group that ends with this host."""
        return self._watcher.pid

    def _watched(self) -> subprocess.Popen[bytes]:
        """Start the leader of the group, which knows the folder from the first moment."""
        command = [sys.executable, "-I", "-S", str(Path(watcher.__file__).resolve()), str(self._outer)]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            return subprocess.Popen(
                [*command, *self.installation.command], cwd="/", stdin=subprocess.PIPE, process_group=0, **quiet
            )
        except OSError as error:
            shutil.rmtree(self._outer, ignore_errors=True)
            raise SpinloomError(f"oommf: no process can be started ({error.strerror})") from None

    def _launch(self) -> str:
        # The server keeps what it inherits: a pipe would never come to its end, a file does.
        words = self.folder / "launchhost.txt"
        with words.open("wb") as file:
            launcher = self._popen(["launchhost", "0"], self.folder, file.fileno(), file.fileno())
        try:
            launcher.wait(timeout=START_S)
        except subprocess.TimeoutExpired:
            raise SpinloomError(f"oommf: its host server did not start within {START_S:g} s") from None
        said = words.read_text(encoding="utf-8", errors="replace").strip()
        if not said.isdecimal():
            raise SpinloomError(f"oommf: its host server gave no port, but {said[-300:]!r}; see 'spinloom doctor'")
        return said

    def _popen(self, arguments: list[str], folder: Path, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                [*self.installation.command, *arguments],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=self.group,
            )
        except OSError as error:
            raise SpinloomError(f"oommf: cannot be started ({error.strerror}); see 'spinloom doctor'") from None
        self._started.append(process)
        return process

    def new_folder(self, name: str) -> Path:
        """A folder for one run, which OOMMF may write in; of its own even if an earlier one failed."""
        folder = self.folder / name
        if folder.exists():
            folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self.folder))
        else:
            folder.mkdir()
        if os.geteuid() == 0:
            # A wrapper runs OOMMF as somebody else, and only it knows as whom.
            folder.chmod(0o777)
        return folder

    def boxsi(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start OOMMF's batch solver on ``node.mif``, one thread, its messages on stderr."""
        if os.geteuid() == 0:
            for path in input_files(folder):
                path.chmod(0o644)
        boxsi = ["boxsi", "+fg", f"{NAME}.mif", "-exitondone", "1", "-threads", "1", "-logfile", "boxsi.log"]
        if not self.installation.image:
            return self._popen(boxsi, folder, subprocess.DEVNULL, subprocess.PIPE)
        name = f"spinloom-{secrets.token_hex(8)}"
        self._containers.append(name)
        assert self._watcher.stdin is not None
        with contextlib.suppress(OSError):  # somebody ended the watcher: then nobody watches
            self._watcher.stdin.write(f"{name}\n".encode())
            self._watcher.stdin.flush()
        inside = ["tclsh", "/usr/local/oommf/oommf/oommf.tcl", *boxsi]
        arguments = ["run", "--rm", "--name", name, "-v", f"{folder}:/io", "-w", "/io", self.installation.image]
        return self._popen([*arguments, *inside], folder, subprocess.DEVNULL, subprocess.PIPE)

    def members(self) -> list[psutil.Process]:
        """All living processes of the group but its leader."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if process.pid == self.group or os.getpgid(process.pid) != self.group:
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def cpu_s(self) -> tuple[float, float]:
        """Processor time spent so far: in solvers, and in all else that OOMMF runs (s)."""
        solver = other = 0.0
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                if any("boxsi" in word for word in process.cmdline()):
                    solver += times.user + times.system
                else:
                    other += times.user + times.system
        return solver, other

    def close(self) -> None:
        """End every process that was started here, and remove the folder. May be called twice."""
        for name in self._containers:
            subprocess.run([*self.installation.command, "kill", name], capture_output=True, check=False)
        self._containers.clear()
        if not self._closed:
            self._end_group()
        for process in self._started:
            if process.stderr is not None:
                process.stderr.close()
        self._started.clear()
        shutil.rmtree(self._outer, ignore_errors=True)
        self._closed = True
        # Last of all: until here it would do the rest if this process were killed.
        self._watcher.kill()
        self._watcher.wait()
        assert self._watcher.stdin is not None
        with contextlib.suppress(OSError):
            self._watcher.stdin.close()

    def _end_group(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, number)
            until = time.monotonic() + LEAVE_S
            while time.monotonic() < until:
                left = self.members()
                for process in self._started:
                    process.poll()
                if not left:
                    return
                time.sleep(0.02)


def _private_folders() -> tuple[Path, Path]:
    """A temporary folder of one's own, and the one in it that runs live in.

    Root starts OOMMF as another user, who has to be let in. That user is not known here, so
    the inner folder is open to whoever knows its name, which nobody can list or guess.
    """
    try:
        outer = Path(tempfile.mkdtemp(prefix="spinloom-oommf-"))
        if os.geteuid() != 0:
            return outer, outer
        outer.chmod(0o711)
        inner = outer / secrets.token_hex(16)
        inner.mkdir()
        inner.chmod(0o777)
    except OSError as error:
        raise SpinloomError(
            f"oommf: no folder for its files ({error.strerror}: {tempfile.gettempdir()}); "
            "set TMPDIR to a folder that can be written"
        ) from None
    return outer, inner
