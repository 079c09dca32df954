"""Text files that somebody else may have written: TOML, JSON and CSV, no larger than they need be."""

from __future__ import annotations

import io
import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinloom.device_models.errors import SpinloomError

MOST_SETTINGS = 1_000_000
"""Bytes of a card, an experiment or another file of settings."""
MOST_ROWS = 500_000_000
"""Bytes of a table."""
MOST_COLUMNS = 1000
_SHOWN = 80
_PARTS = 16
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
# Time and memory of tomllib go with the square of a key's parts: 84 s and 2.4 GB for one of 20,000.
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:\s*\.\s*{_PART}){{{_PARTS},}}")


def read_bytes(path: str | Path, expected: str, most: int) -> bytes:
    """A whole file, if it is one and not too large.

    Parameters
    ----------
    path : path
    expected : str
        what it should be, for messages
    most : int
        bytes

    Raises
    ------
    SpinloomError
        if it is missing, no file, larger, or cannot be read
    """
    path = Path(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise SpinloomError(f"{path}: no such file; expected {expected}") from None
    except OSError as error:
        raise SpinloomError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except ValueError as error:  # a null in the name
        raise SpinloomError(f"{str(path)!r}: cannot be read ({error}); expected {expected}") from None
    if not stat.S_ISREG(found.st_mode):
        # A pipe or a device may never end.
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no file on a disk"
        raise SpinloomError(f"{path}: cannot be read (is {what}); expected {expected}")
    if found.st_size > most:
        raise SpinloomError(f"{path}: {found.st_size / 1e6:.3g} MB, expected {expected} of at most {most / 1e6:.3g} MB")
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise SpinloomError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except MemoryError:
        raise SpinloomError(f"{path}: not enough memory to read it; end other programs, and try again") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file, with the user's mistakes told plainly."""
    content = read_bytes(path, "a TOML file", MOST_SETTINGS)
    try:
        text = content.decode("utf-8")
        if _LONG_KEY.search(text):
            raise ValueError(f"a key of more than {_PARTS} parts")
        return tomllib.loads(text)
    except RecursionError:
        raise SpinloomError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # of TOML, of UTF-8, and of numbers with thousands of digits
        raise SpinloomError(f"{path}: not valid TOML: {error}") from None


def parse_json(text: str | bytes, source: str) -> Any:
    """A value from JSON.

    Parameters
    ----------
    text : str or bytes
    source : str
        what it is, for messages

    Raises
    ------
    SpinloomError
        if it is not JSON

    Examples
    --------
    >>> parse_json('{"seeds": [0, 1]}', "settings")
    {'seeds': [0, 1]}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise SpinloomError(f"{source}: not valid JSON (nested too deeply)") from None
    except (TypeError, ValueError) as error:
        raise SpinloomError(f"{source}: not valid JSON ({error})") from None


def json_object(text: Any, source: str) -> dict[str, Any]:
    """As :func:`parse_json`, where names and values are expected."""
    if not isinstance(text, str | bytes):
        raise SpinloomError(f"{source}: expected JSON, got {shown(text)}")
    found = parse_json(text, source)
    if not isinstance(found, dict):
        raise SpinloomError(f"{source}: expected names and values, got {shown(found)}")
    return found


def read_csv(path: str | Path, expected: str) -> pd.DataFrame:
    """A table of a CSV file, under the names of its first row.

    Raises
    ------
    SpinloomError
        if it cannot be read, or its rows are longer than the row of names
    """
    content = read_bytes(path, f"a CSV with {expected}", MOST_ROWS)
    try:
        wide = max((line.count(b",") for line in content[:MOST_SETTINGS].split(b"\n")), default=0)
        if wide >= MOST_COLUMNS:
            raise ValueError(f"{wide + 1} columns")
        table = pd.read_csv(io.BytesIO(content), skipinitialspace=True, comment="#")
    except MemoryError:
        raise SpinloomError(f"{path}: not enough memory to read it; end other programs, and try again") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise SpinloomError(f"{path}: not a readable CSV with {expected} ({error})") from None
    if not isinstance(table.index, pd.RangeIndex):
        # The first values of every row would be taken for its label, and the others for columns that they are not of.
        raise SpinloomError(f"{path}: rows with more values than names above them; expected {expected}")
    return table


def numbers(path: str | Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """A column of finite numbers.

    Raises
    ------
    SpinloomError
        naming the row that has none
    """
    values = as_numbers(table[column])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        got = shown(str(table[column].iloc[bad[0]]))
        raise SpinloomError(f"{path}: column {column}, row {bad[0] + 1}: expected a finite number, got {got}")
    return values


def as_numbers(column: pd.Series) -> np.ndarray:
    """Values as floats; NaN where they are no numbers.

    Examples
    --------
    >>> as_numbers(pd.Series(["0.5", "x", 10**400]))
    array([0.5, nan, inf])
    """
    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    except OverflowError:  # whole numbers of more than 308 digits
        return np.array([_as_number(value) for value in column], dtype=float)


def _as_number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        return float("nan")


def shown(value: Any) -> str:
    r"""A value in a message: as Python writes it, and not all of it if it is long.

    Examples
    --------
    >>> shown("a\x1b[2J"), len(shown("a" * 10_000)), shown(1 << 100_000)
    ("'a\\x1b[2J'", 80, 'a whole number of 100001 bits')
    """
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested deeply, or holds a number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."
