"""Real files, spoilt: every case follows from its seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

Random = np.random.Generator

NUMBERS = [
    "nan", "inf", "-inf", "0", "-0.0", "-1", "1", "1e-320", "1e308", "1e400", "-1e400", "0x7fffffffffffffff",
    "9223372036854775808", "1e-9", "1e12", "1_000", "0b1", "007", "1.7976931348623157e308", "true", "false", "null",
]  # fmt: skip
WORDS = [
    "", " ", "../../../etc/passwd", "/etc/passwd", "a/b", "x\x00y", "x\ny",
    "[exec touch pwned]", "$env(HOME)", "{",
    "}", "};", "\\", '"', "'", "\x1b[2J", "e\u0301", "\U0001f9f2", "\u202e", "%s%n", "{0}", "__import__('os')",
    "sine.csv",
    "..csv", "!!python/object", "None", "=cmd()", "a" * 300, "NaN", "\ufeff", "\r\n", "#",
    "0x" + "f" * 5000, "9" * 5000,
]  # fmt: skip
DEEP = "[" * 100_000


def pick(rng: Random, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def some_bytes(content: bytes, rng: Random) -> bytes:
    """A few bytes changed, lost, doubled or made up; those at the beginning as often as all others."""
    spoilt = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        reach = pick(rng, (200, 4000, len(spoilt)))
        at, n = int(rng.integers(0, max(1, min(reach, len(spoilt))))), int(rng.integers(1, 9))
        match int(rng.integers(9)):
            case 0:
                spoilt[at : at + n] = bytes(n)
            case 1:
                spoilt[at : at + n] = b"\xff" * n
            case 2:
                spoilt[at : at + n] = rng.bytes(n)
            case 3 | 4 if at < len(spoilt):
                spoilt[at] ^= 1 << int(rng.integers(8))
            case 5:
                del spoilt[at : at + int(rng.integers(1, 200))]
            case 6:
                spoilt[at:at] = spoilt[at : at + int(rng.integers(1, 200))]
            case 7:
                spoilt[at:at] = rng.bytes(n)
            case _:
                if rng.random() < 0.3:
                    del spoilt[at:]
                else:
                    other = int(rng.integers(0, max(1, len(spoilt))))
                    spoilt[at : at + n] = spoilt[other : other + n]
    return bytes(spoilt)


def some_text(content: bytes, rng: Random) -> bytes:
    """Numbers, words and lines that should not be there."""
    text = content.decode("utf-8", "replace")
    for _ in range(int(rng.integers(1, 4))):
        what = int(rng.integers(8))
        if what < 3:
            text = _replaced(text, r"-?\d[\d.e+-]*", lambda: pick(rng, (*NUMBERS, *WORDS[-2:])), rng)
        elif what < 5:
            text = _replaced(text, r"[A-Za-z_][\w.-]*", lambda: pick(rng, (*WORDS, *NUMBERS)), rng)
        elif what == 5:
            lines = text.split("\n")
            at, other = (int(rng.integers(len(lines))) for _ in range(2))
            lines[at] = pick(rng, ("", lines[other], lines[at] * 2, pick(rng, WORDS), DEEP, "a." * 20_000 + "a = 1"))
            text = "\n".join(lines)
        elif what == 6:
            at = int(rng.integers(len(text) + 1))
            text = text[:at] + pick(rng, (",", ";", "\t", "=", "[", "]", *WORDS, "," * 2000)) + text[at:]
        else:
            return some_bytes(text.encode("utf-8", "replace"), rng)
    return text.encode("utf-8", "replace")


def _replaced(text: str, pattern: str, by: Callable[[], str], rng: Random) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    one = pick(rng, found)
    return text[: one.start()] + by() + text[one.end() :]


def some_variables(dataset: xr.Dataset, rng: Random) -> xr.Dataset:
    """A file that is whole, of data that are not."""
    for _ in range(int(rng.integers(1, 4))):
        dataset = _spoilt_attribute(dataset, rng) if rng.random() < 0.4 else _spoilt_variable(dataset, rng)
    return dataset


def _spoilt_attribute(dataset: xr.Dataset, rng: Random) -> xr.Dataset:
    names = [name for name in dataset.attrs if name not in ("spinloom_kind", "spinloom_format", "versions", "created")]
    name = pick(rng, names)
    value = dataset.attrs[name]
    match int(rng.integers(6)):
        case 0:
            changed = {key: kept for key, kept in dataset.attrs.items() if key != name}
            return xr.Dataset(dataset.variables, attrs=changed)
        case 1:
            value = pick(rng, (np.nan, -1.0, 0, 1e308, np.arange(3.0), "", "x", 7, 1e-300))
        case 2 | 3 if isinstance(value, str) and value.startswith("{"):
            value = json.dumps(_spoilt_json(json.loads(value), rng))
        case _ if isinstance(value, str):
            value = some_text(value.encode(), rng).decode("utf-8", "replace").replace("\x00", "") or "{}"
        case _:
            value = pick(rng, (np.nan, -np.inf, -1.0, 0.0, 10**15, "text"))
    return dataset.assign_attrs({name: value})


def _spoilt_json(value: Any, rng: Random) -> Any:
    """One value of a nested dictionary lost, doubled or of another kind."""
    evil = pick(rng, (None, True, -1, 0, 1e308, float("nan"), "", "x", [], {}, [1, 2], {"a": 1}, 10**30, "../x"))
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = pick(rng, list(value))
        match int(rng.integers(4)):
            case 0:
                return {name: kept for name, kept in value.items() if name != key}
            case 1:
                return {**value, pick(rng, ("extra", "", "__class__")): evil}
            case _:
                return {**value, key: _spoilt_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = int(rng.integers(len(value)))
        return [*value[:at], _spoilt_json(value[at], rng), *value[at + 1 :]]
    return evil


def _spoilt_variable(dataset: xr.Dataset, rng: Random) -> xr.Dataset:
    name = pick(rng, list(dataset.variables))
    variable = dataset[name].variable
    values, dims = variable.values, variable.dims
    new = tuple(f"{name}_{k}" for k in range(values.ndim + 1))
    rest = dataset.drop_vars(name)
    match int(rng.integers(8)):
        case 0:
            return rest
        case 1 if values.dtype.kind == "f" and values.size:
            values = values.copy()
            values.flat[int(rng.integers(values.size))] = pick(rng, (np.nan, np.inf, -1e308, 1e30, -1, 0.5))
            return rest.assign({name: (dims, values, variable.attrs)})
        case 2:
            return rest.assign({name: (new[: values.ndim], values[: values.shape[0] // 2] if values.ndim else values)})
        case 3:
            return rest.assign({name: (new[: values.ndim], values.T)})
        case 4:
            return rest.assign({name: (new, values[None])})
        case 5 if values.dtype.kind in "iuf":
            dtype = pick(rng, ("int8", "float32", "uint64", "bool", "str"))
            with np.errstate(all="ignore"):
                return rest.assign({name: (dims, values.astype(dtype), variable.attrs)})
        case 6:
            return rest.assign({name: ((), pick(rng, (0.0, np.nan, -1, "text")))})
        case _:
            return rest.assign({name: (new[: values.ndim], np.zeros([0] * values.ndim))})
