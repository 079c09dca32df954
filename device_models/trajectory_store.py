"""Calibration trajectories that outlive their run: addressed by what made them, checked when they are read.

A trajectory is what a device did under one drive. Whoever asks for the same again finds it, whatever experiment it
was computed for. Nothing in here is needed: a store that is off, full or damaged costs time and no result.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError, SpinloomWarning
from spinloom.device_models.node import Engine
from spinloom.device_models.provenance import versions

PLACE, LIMIT = "SPINLOOM_STORE", "SPINLOOM_STORE_LIMIT"
"""Environment variables: a folder, or ``off``; and how much it may hold."""
USUAL_LIMIT = "4 GB"
FORM = 1
"""To be raised when what an engine computes changes within a version of Spinloom."""
LEFT_BEHIND_S = 86400.0
"""A temporary file that is older was left by a process that was killed."""
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_TIMES = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class DamagedEntryError(SpinloomError):
    """An entry of the store is not what was written."""


@dataclass(frozen=True)
class Entry:
    """One file of the store.

    Attributes
    ----------
    path : Path
    size : int
        in bytes
    used : float
        when it was last asked for (s since 1970)
    """

    path: Path
    size: int
    used: float


class TrajectoryStore:
    """A folder of trajectories, each under the SHA-256 of what made it.

    Processes may share it: an entry appears whole or not at all, and the first good one stays.

    Parameters
    ----------
    folder : path
        made when the first trajectory is kept
    limit : int
        bytes that :meth:`trim` leaves at most

    Attributes
    ----------
    found, kept : int
        how many trajectories were read, and written, through this object

    Examples
    --------
    >>> import tempfile
    >>> store = TrajectoryStore(Path(tempfile.mkdtemp()))
    >>> source = {"card": {"Ms": 8e5}, "drive": digest_of(np.zeros(3))}
    >>> store.get(source, 3) is None
    True
    >>> kept = store.put(source, np.ones((3, 3)), {"card": "disc60"})
    >>> store.get(source, 3).tolist() == kept.tolist()
    True
    """

    def __init__(self, folder: str | Path, limit: int = 4_000_000_000) -> None:
        self.folder, self.limit = Path(folder), limit
        self.found = self.kept = 0
        self._works = True

    def path(self, source: dict[str, Any]) -> Path:
        """Where the trajectory that this made is kept."""
        address = hashlib.sha256(_canonical(source)).hexdigest()
        return self.folder / address[:2] / f"{address}.npz"

    def get(self, source: dict[str, Any], ticks: int) -> np.ndarray | None:
        """``<m>`` at the end of each tick, (ticks, 3), if it is there and whole; what is damaged is told."""
        path = self.path(source)
        try:
            m, _ = read_entry(path)
        except FileNotFoundError:
            return None
        except (OSError, DamagedEntryError) as error:
            warnings.warn(f"store: {error}; computed again", SpinloomWarning, stacklevel=2)
            return None
        with contextlib.suppress(OSError):  # somebody else's store may be read, not written
            os.utime(path)
        if m.shape != (ticks, 3):
            return None
        self.found += 1
        return m

    def put(self, source: dict[str, Any], m: np.ndarray, about: dict[str, Any]) -> np.ndarray:
        """Keep a trajectory, and return what is kept: another process may have been quicker.

        Parameters
        ----------
        source : dict
            all that it depends on, as JSON
        m : (ticks, 3) ndarray
        about : dict
            what people want to know of it, as JSON
        """
        path = self.path(source)
        with contextlib.suppress(OSError, DamagedEntryError):
            return read_entry(path)[0]
        if self._works:
            try:
                with files.written_whole(path) as temporary:
                    temporary.write_bytes(_packed(source, m, about))
                self.kept += 1
            except (SpinloomError, OSError) as error:
                self._works = False
                warnings.warn(f"store: {error}; trajectories are not kept", SpinloomWarning, stacklevel=2)
        return m

    def entries(self) -> Iterator[Entry]:
        """All entries; whether they are whole is not looked at."""
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*.npz")):
            with contextlib.suppress(OSError):
                found = path.stat()
                yield Entry(path, found.st_size, found.st_mtime)

    def prune(self, limit: int | None = None, older_s: float | None = None, damaged: bool = False) -> tuple[int, int]:
        """Remove what was not used for long, then the least recently used until the rest is within a limit.

        Parameters
        ----------
        limit : int, optional
            bytes that may stay
        older_s : float, optional
            seconds after the last use
        damaged : bool
            whether to remove what cannot be read too

        Returns
        -------
        entries, size : int
            that were removed, and their bytes
        """
        now, removed, freed = time.time(), 0, 0
        found = sorted(self.entries(), key=lambda entry: entry.used)
        left = sum(entry.size for entry in found)
        for entry in found:
            old = older_s is not None and now - entry.used > older_s
            if old or (limit is not None and left > limit) or (damaged and not whole(entry.path)):
                entry.path.unlink(missing_ok=True)
                removed, freed, left = removed + 1, freed + entry.size, left - entry.size
        for path in self.folder.glob("[0-9a-f][0-9a-f]/.*"):
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > LEFT_BEHIND_S:
                    path.unlink()
        return removed, freed

    def trim(self) -> None:
        """Keep within the limit."""
        with contextlib.suppress(OSError):
            self.prune(self.limit)


def open_store() -> TrajectoryStore | None:
    """The store of this user, or None where it is switched off.

    Raises
    ------
    SpinloomError
        for a limit that is none
    """
    place = os.environ.get(PLACE, "").strip()
    if place.lower() == "off":
        return None
    folder = Path(place) if place else platformdirs.user_cache_path("spinloom") / "trajectories"
    return TrajectoryStore(folder, read_size(os.environ.get(LIMIT) or USUAL_LIMIT))


def sources(engine: Engine, devices: np.ndarray, drives: np.ndarray, seed: int, together: int) -> list[dict[str, Any]]:
    """All that each trajectory depends on, down to its last digit.

    A name and the read-out change nothing, and neither does the seed of a cold device. The engine's way of
    computing does: how many devices are one batch, and, in a batch, of which cards.

    Parameters
    ----------
    engine : Engine
    devices : (n,) int ndarray
        which of the engine's cards each is
    drives : (n, ticks) ndarray
    seed : int
        of the thermal field
    together : int
        how many are computed as one batch
    """
    cards = [_physics(card) for card in engine.cards]
    starts = [digest_of(field) for field in engine.equilibria]
    common: dict[str, Any] = {
        "form": FORM,
        "engine": engine.name,
        "engine_version": engine.version,
        "spinloom": versions().get("spinloom"),
        "tick": engine.tick,
        "together": together,
    }
    if together > 1 and len(cards) > 1:
        common["among"] = hashlib.sha256(_canonical(cards)).hexdigest()
    found = []
    for k, (device, drive) in enumerate(zip(devices.tolist(), drives, strict=True)):
        noise = [seed, k] if engine.cards[device].conditions.temperature else None
        one = {"card": cards[device], "start": starts[device], "drive": digest_of(drive), "noise": noise}
        found.append({**common, **one})
    return found


def digest_of(values: np.ndarray) -> str:
    """SHA-256 of numbers and their shape."""
    values = np.ascontiguousarray(values, dtype="<f8")
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()


def _physics(card: DeviceCard) -> dict[str, Any]:
    return card.model_dump(mode="json", exclude={"name", "readout"})


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _packed(source: dict[str, Any], m: np.ndarray, about: dict[str, Any]) -> bytes:
    texts = {"source": _canonical(source), "about": _canonical(about)}
    arrays = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
    arrays["m"] = np.ascontiguousarray(m, dtype="<f8")
    arrays["digest"] = np.frombuffer(_digest(arrays), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    parts = [name.encode() + str(arrays[name].shape).encode() + arrays[name].tobytes() for name in sorted(arrays)]
    return hashlib.sha256(b"\0".join(parts)).digest()


def read_entry(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """A trajectory, and what is told about it.

    Raises
    ------
    DamagedEntryError
        if the file is not what was written, or lies under another address
    """
    with path.open("rb") as file:
        content = file.read()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("source", "about", "m", "digest")}
        told, about = arrays.pop("digest").tobytes(), json.loads(arrays["about"].tobytes())
        good = told == _digest(arrays) and hashlib.sha256(arrays["source"].tobytes()).hexdigest() == path.stem
    except Exception:
        # numpy, zipfile and zlib each meet a damaged file in their own way.
        good = False
    if not good:
        raise DamagedEntryError(f"{path}: damaged")
    return arrays["m"], about


def whole(path: Path) -> bool:
    """Whether an entry is what was written."""
    try:
        read_entry(path)
    except (OSError, DamagedEntryError):
        return False
    return True


def read_size(text: str) -> int:
    """Bytes, as people write them.

    Raises
    ------
    SpinloomError
        for anything else

    Examples
    --------
    >>> read_size("1.5 GB"), read_size("20 MB"), read_size("300")
    (1500000000, 20000000, 300)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    if found is None:
        raise SpinloomError(f"size: expected a number with kB, MB, GB or TB behind it, such as 4 GB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def read_age(text: str) -> float:
    """Seconds, as people write them.

    Raises
    ------
    SpinloomError
        for anything else

    Examples
    --------
    >>> read_age("30 d"), read_age("12h")
    (2592000.0, 43200.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d|w)\s*", text, re.IGNORECASE)
    if found is None:
        raise SpinloomError(f"age: expected a number with s, min, h, d or w behind it, such as 30 d, got {text!r}")
    return float(found[1]) * _TIMES[found[2].lower()]
