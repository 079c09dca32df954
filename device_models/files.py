"""NetCDF files that are data and nothing else: written whole or not at all, checked when read."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models import strangers
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import stamp

_REFUSED = (
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
)  # fmt: skip
LOOKED_AT_S = 0.05
"""For longer than it takes to look whether a folder is claimed."""


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary neighbour of ``path`` that takes its place when the block ends well.

    A crash, a full disk or Ctrl-C leaves what stood there before.

    Raises
    ------
    SpinloomError
        if the folder cannot be written
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise SpinloomError(f"{path}: cannot be written ({error.strerror}); choose another output path") from None
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except IsADirectoryError:
        raise SpinloomError(f"{path}: is a folder; choose a file name for the output") from None
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        reason = os.strerror(error.errno).lower()
        raise SpinloomError(f"{path}: cannot be written ({reason}); free some space or choose another output") from None
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Say before a long computation, not after it, that its result could not be written."""
    path = Path(path)
    if path.is_dir():
        raise SpinloomError(f"{path}: is a folder; choose a file name for the output")
    existing = next(folder for folder in [path.parent, *path.parent.parents] if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise SpinloomError(f"{path}: the folder {existing} cannot be written; choose another output path")


@contextmanager
def claimed(folder: str | Path) -> Iterator[Path]:
    """A folder, made if need be, that no other run of this machine uses until the block ends.

    The claim is a lock that the system drops with the process: nothing is left to clean up.

    Raises
    ------
    SpinloomError
        if another process has it, or the folder cannot be made
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise SpinloomError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        _lock(handle)
    except BlockingIOError:
        os.close(handle)
        raise SpinloomError(f"{folder}: another run is at work here; wait for it, or choose another output") from None
    except OSError:
        # Some network file systems do not lock folders: better unguarded than not at all.
        pass
    try:
        yield folder
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    for last in (False, False, True):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if last:
                raise
            time.sleep(LOOKED_AT_S)  # perhaps somebody only looks whether it is free


def busy(folder: str | Path) -> bool:
    """Whether some process has claimed a folder.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with claimed(folder):
    ...         during = busy(folder)
    ...     during, busy(folder)
    (True, False)
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def save(dataset: xr.Dataset, path: str | Path, kind: str, version: int) -> None:
    """Write a data set as NetCDF with its kind, its format version and what made it."""
    dataset = dataset.assign_attrs(spinloom_kind=kind, spinloom_format=version, **stamp())
    packed = {name: {"zlib": True, "shuffle": True} for name, data in dataset.items() if data.ndim and data.size > 1000}
    # In memory first: HDF5 does not survive a disk that fills up while it writes.
    content = dataset.to_netcdf(engine="h5netcdf", encoding=packed)
    strangers.vouch(content)
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def load(path: str | Path, kind: str, *versions: int) -> xr.Dataset:
    """Read a file that :func:`save` wrote, in one of the format versions that the caller knows.

    Another process has read it before, unless this one wrote it: see :mod:`spinloom.device_models.strangers`.

    Raises
    ------
    SpinloomError
        if it is missing, damaged, of another kind or of another format version, or is more than plain data
    """
    path = Path(path)
    if not path.is_file():
        raise SpinloomError(f"{path}: no such file; expected a {kind} file (NetCDF)")
    with _opened(path) as lazy:
        dataset = lazy.load()
    found = dataset.attrs.get("spinloom_kind")
    if found != kind:
        raise SpinloomError(f"{path}: expected a {kind} file, got {found or 'a file that Spinloom did not write'}")
    if dataset.attrs.get("spinloom_format") not in versions:
        known = " or ".join(str(version) for version in versions)
        raise SpinloomError(
            f"{path}: {kind} format {dataset.attrs.get('spinloom_format')}, but this Spinloom reads format {known}; "
            "make the file again with this version"
        )
    return dataset


def kind_of(path: str | Path) -> str | None:
    """What a NetCDF file says that it is; None if it is of another program.

    Raises
    ------
    SpinloomError
        if it is missing or damaged
    """
    path = Path(path)
    if not path.is_file():
        raise SpinloomError(f"{path}: no such file; expected a NetCDF file that Spinloom wrote")
    with _opened(path) as dataset:
        found = dataset.attrs.get("spinloom_kind")
    return None if found is None else str(found)


@contextmanager
def _opened(path: Path) -> Iterator[xr.Dataset]:
    strangers.expect_harmless(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
            yield dataset
    except MemoryError:
        raise SpinloomError(f"{path}: not enough memory to read it; end other programs, and try again") from None
    except Exception as error:
        # h5netcdf and HDF5 report damage with many exception types.
        raise SpinloomError(f"{path}: damaged or not NetCDF ({error}); make it again") from None


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: a number that is not finite becomes ``null``.

    Examples
    --------
    >>> to_json({"nrmse": float("inf"), "seeds": (0, 1)})
    '{"nrmse": null, "seeds": [0, 1]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(path: str | Path) -> str:
    """SHA-256 of a file, by which one file names another that it depends on.

    Raises
    ------
    SpinloomError
        if it cannot be read
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpinloomError(f"{path}: cannot be read ({error.strerror})") from None
