"""What this machine lends: cores and memory, as much as this process may use of them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from spinloom.device_models.errors import SpinloomError

CORES = "SPINLOOM_CORES"
"""Environment variable: how many cores this process may use, where it shares the machine with others of its kind."""
_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container what it may use."""


def cores() -> int:
    """How many cores this process may use: those that it is told, else those that the system lets it run on.

    Raises
    ------
    SpinloomError
        if ``SPINLOOM_CORES`` is not a number of cores

    Examples
    --------
    >>> cores() >= 1
    True
    """
    told = os.environ.get(CORES)
    if told is not None:
        if not told.strip().isdecimal() or int(told) < 1:
            raise SpinloomError(f"{CORES}: expected a number of cores, 1 or more, got {told!r}; set it, or unset it")
        return int(told)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that are free for this process: of the machine, or of the container that it is in.

    Examples
    --------
    >>> free_memory() > 0
    True
    """
    free = psutil.virtual_memory().available
    try:
        used = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # Without its cache of files, which the system gives back when asked.
        free = min(free, int((_GROUP / "memory.max").read_text()) - int(used["anon"]))
    except (OSError, ValueError, KeyError):  # no container, or one without a limit ("max")
        pass
    return max(free, 1)
