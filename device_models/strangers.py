"""HDF5 files that nobody vouches for are read by a process of their own first: the library hangs on some of them."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from spinloom.device_models.errors import SpinloomError

MOST_BYTES = 2_000_000_000
"""Memory that the variables of a file may take, if the environment does not say otherwise."""
VARIABLE = "SPINLOOM_MOST_BYTES"
LIMIT_S = 20.0
"""Processor time that reading a file may take, and so much more for every :data:`MOST_BYTES` of it."""
_KNOWN = 10_000
"""Files that a process remembers."""

_lock = threading.Lock()
_known: set[str] = set()
_reader: subprocess.Popen[str] | None = None
_owner = 0


def vouch(content: bytes | memoryview) -> None:
    """Remember what this process wrote itself."""
    _remember(hashlib.sha256(content).hexdigest())


def most_bytes() -> int:
    """Memory that the variables of a file may take.

    Raises
    ------
    SpinloomError
        if the environment says something else than a number

    Examples
    --------
    >>> most_bytes()
    2000000000
    """
    given = os.environ.get(VARIABLE)
    try:
        return MOST_BYTES if given is None else int(float(given))
    except (ValueError, OverflowError):
        raise SpinloomError(f"{VARIABLE}: expected a number of bytes such as 8e9, got {given!r}") from None


def expect_harmless(path: Path) -> None:
    """Let a process of its own read the whole file, unless this one wrote it or has asked before.

    Raises
    ------
    SpinloomError
        for a file that is damaged, is more than plain data, asks for too much memory, or that HDF5 hangs on or
        crashes with
    """
    most = most_bytes()
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            key = hashlib.file_digest(file, "sha256").hexdigest() if size <= most else ""
    except OSError as error:
        raise SpinloomError(f"{path}: cannot be read ({error.strerror})") from None
    if size > most:
        raise SpinloomError(
            f"{path}: {size / 1e9:.3g} GB, expected at most {most / 1e9:g} GB ({VARIABLE} sets another)"
        )
    if key in _known:
        return
    limit = LIMIT_S * (1 + size / MOST_BYTES)
    with _lock:
        found = _asked({"path": str(path.absolute()), "most": most, "limit_s": limit})
    if "refused" in found:
        raise SpinloomError(f"{path}: {found['refused']}; Spinloom wrote no such file")
    if "damaged" in found:
        raise SpinloomError(f"{path}: damaged or not NetCDF ({found['damaged']}); make it again")
    _remember(key)


def _remember(key: str) -> None:
    if len(_known) >= _KNOWN:
        _known.clear()
    _known.add(key)


def _asked(question: dict[str, Any]) -> dict[str, Any]:
    """What the reader says of a file; a new reader takes the place of one that did not survive it."""
    reader = _started()
    assert reader.stdin is not None
    assert reader.stdout is not None
    try:
        reader.stdin.write(json.dumps(question) + "\n")
        reader.stdin.flush()
        line = reader.stdout.readline()
    except OSError:
        line = ""
    except BaseException:
        close(at_once=True)  # else the answer would be taken for that to the next question
        raise
    if line.endswith("\n"):
        return json.loads(line)
    code = close()
    if code == -signal.SIGPROF:
        return {"damaged": f"HDF5 is not done with it after {question['limit_s']:.3g} s"}
    return {"damaged": f"HDF5 crashes with it, exit code {code}"}


def _started() -> subprocess.Popen[str]:
    """The reader of this process."""
    global _reader, _owner
    if _owner != os.getpid():  # a fork must not talk to its parent's
        _reader, _owner = None, os.getpid()
    if _reader is not None and _reader.poll() is not None:
        close()
    if _reader is None:
        program = Path(__file__).with_name("hdf5_reader.py")
        try:
            _reader = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-W", "ignore", str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise SpinloomError(
                f"no process could be started that reads files ({error.strerror}); end other programs, and try again"
            ) from None
    return _reader


def close(at_once: bool = False) -> int | None:
    """End the reader; how it ended."""
    global _reader
    reader, _reader = _reader, None
    if reader is None or _owner != os.getpid():
        return None
    with reader:
        assert reader.stdin is not None
        if at_once:
            reader.kill()
        with contextlib.suppress(OSError):
            reader.stdin.close()
        try:
            return reader.wait(timeout=2)
        except subprocess.TimeoutExpired:
            reader.kill()
            return reader.wait()


atexit.register(close)
