"""A process that outlives the one that started it, and ends what that one left.

It leads the process group of everything that OOMMF is made of, and holds the reading end of a pipe whose other end
its parent alone has. Whatever ends the parent, ``kill -9`` included, closes the pipe: then all of the group is
killed and the folder removed. It is run by its path, without Spinloom and without site-packages.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable


def watch(told: Iterable[bytes], folder: str, docker: list[str]) -> None:
    """Wait for the end of what is told, one name of a container a line, then end all."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    containers = [line.decode().strip() for line in told]
    group = os.getpgrp()
    if os.fork():
        signal.pause()  # the leader is killed with its group
    os.setpgid(0, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for name in containers:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*docker, "kill", name], capture_output=True, check=False, timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(sys.stdin.buffer, sys.argv[1], sys.argv[2:])
