"""A program that reads HDF5 files nobody vouches for, so that no other process meets what they do to the library.

It takes a line of JSON for each file and answers with one; see :mod:`spinloom.device_models.strangers`. It imports
nothing of Spinloom, so that it starts at once. Where the library hangs, its own alarm ends it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sys
from typing import Any

import h5netcdf
import h5py
import numpy as np

FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}
"""Filters that are part of the library; any other would load a plugin."""
INFLATES = 1100
"""By how much deflate makes anything smaller, at most 1032."""
SMALL = 64_000_000
"""Bytes that any file may ask for: what was never written takes no place in it."""
MANY = 10_000
"""Variables and attributes of a file, at most."""
PIECE = 32_000_000
"""Bytes that are read at once."""
MOST = 4_000_000_000
"""Bytes of memory that this program may take."""


class Refused(Exception):  # noqa: N818
    """What is wrong with a file, in words."""


def survey(path: str, most: int) -> int:
    """Read a whole file piece by piece, and keep nothing.

    Parameters
    ----------
    path : str
    most : int
        bytes that its variables may have in memory

    Returns
    -------
    asked : int
        bytes that they have

    Raises
    ------
    Refused
        for what is no plain data, or for more of it than the file can hold
    """
    size = os.path.getsize(path)
    with h5py.File(path, "r") as file:
        if len(file) > MANY:
            raise Refused(f"{len(file)} variables, expected at most {MANY}")
        variables = {name: _variable(file, name) for name in file}
        asked = sum(_asked(name, variable) for name, variable in variables.items())
        if asked > most:
            raise Refused(f"asks for {_bytes(asked)} of memory, expected at most {_bytes(most)}")
        if asked > max(SMALL, INFLATES * size):
            raise Refused(f"asks for {_bytes(asked)} of memory, which {_bytes(size)} of file cannot hold")
        left = most
        for name, owner in [("the file", file), *variables.items()]:
            left = _read_attributes(name, owner, left)
        for variable in variables.values():
            left = _read(variable, left, size)
    with h5netcdf.File(path, "r", decode_vlen_strings=True) as netcdf:
        for variable in netcdf.variables.values():
            _ = variable.dimensions, variable.dtype, dict(variable.attrs)
    return asked


def _variable(file: Any, name: str) -> Any:
    """A variable that lies in this file as plain numbers or text."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise Refused(f"{name!r} leads elsewhere; expected data in the file itself")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise Refused(f"{name!r} is a {type(found).__name__.lower()}; expected variables only")
    if found.is_virtual or found.external:
        raise Refused(f"{name!r} lies in another file; expected data in the file itself")
    plugins = [number for number in _filters(found) if number not in FILTERS]
    if plugins:
        raise Refused(f"{name!r} needs filter {plugins[0]}; expected {', '.join(FILTERS.values())}")
    _expect_plain(name, found.dtype)
    return found


def _filters(variable: Any) -> list[int]:
    made = variable.id.get_create_plist()
    return [int(made.get_filter(k)[0]) for k in range(made.get_nfilters())]


def _expect_plain(name: str, dtype: np.dtype) -> None:
    if dtype.kind in "biufS" or h5py.check_string_dtype(dtype) is not None or h5py.check_enum_dtype(dtype) is not None:
        return
    raise Refused(f"{name!r} holds {dtype}; expected numbers or text")


def _asked(name: str, variable: Any) -> int:
    """Bytes in memory: of the whole, and of the largest piece that is unpacked at once."""
    if variable.shape is None:
        return 0
    each = max(variable.dtype.itemsize, 1)
    chunk = math.prod(variable.chunks or (0,)) * each
    if chunk > PIECE * 16:
        raise Refused(f"{name!r} comes in pieces of {_bytes(chunk)}")
    return max(math.prod(variable.shape) * each, chunk)


def _read_attributes(name: str, owner: Any, left: int) -> int:
    if len(owner.attrs) > MANY:
        raise Refused(f"{name} has {len(owner.attrs)} attributes, expected at most {MANY}")
    for key in owner.attrs:
        attribute = owner.attrs.get_id(key)
        left -= math.prod(attribute.shape or ()) * attribute.dtype.itemsize
        if left >= 0:
            left -= _weight(owner.attrs[key])
        if left < 0:
            raise Refused(f"attribute {key!r} of {name} asks for more memory than there may be")
    return left


def _read(variable: Any, left: int, size: int) -> int:
    """Go through the values; text counts by its length, which no header tells."""
    if variable.shape is None or math.prod(variable.shape) == 0:
        return left
    text = variable.dtype.kind == "O"
    row = math.prod(variable.shape[1:]) * (size if text else variable.dtype.itemsize)
    step = max(1, PIECE // max(row, 1))
    for at in range(0, len(variable) if variable.shape else 1, step):
        piece = variable[at : at + step] if variable.shape else variable[()]
        if text:
            left -= _weight(piece)
        if left < 0:
            raise Refused(f"{variable.name!r} asks for more memory than there may be")
    return left


def _weight(value: Any) -> int:
    """Bytes of text and of arrays of it."""
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return sum(_weight(one) if isinstance(one, bytes | str | np.ndarray) else 8 for one in value.ravel())
    return int(getattr(value, "nbytes", 8))


def _bytes(count: float) -> str:
    """A size in words.

    Examples
    --------
    >>> _bytes(8e12), _bytes(1200)
    ('8e+03 GB', '1.2 kB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:g} bytes"


def answer(line: str) -> dict[str, Any]:
    """What is to be said of one file."""
    question = json.loads(line)
    # Without a handler: a library that hangs never comes back to Python, which would run one. Of processor time: on a
    # busy machine the clock says nothing.
    signal.setitimer(signal.ITIMER_PROF, question["limit_s"])
    try:
        return {"asked": survey(question["path"], question["most"])}
    except Refused as problem:
        return {"refused": str(problem)}
    except MemoryError:
        return {"refused": "asks for more memory than there is"}
    except Exception as problem:
        # h5netcdf and HDF5 report damage with many exception types.
        return {"damaged": str(problem)[:300] or type(problem).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _few_bytes() -> None:
    """Of memory for the whole process, where the system counts it."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MOST if hard == resource.RLIM_INFINITY else min(MOST, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    _few_bytes()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when its parent lets go of the pipe
    for question in sys.stdin:
        print(json.dumps(answer(question)), flush=True)
