"""Results of stages in a folder, each with a digest of what it was made from: what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import versions
from spinloom.device_models.texts import json_object
from spinloom.workflows import status
from spinloom.workflows.console import say


@dataclass(frozen=True)
class Part:
    """One of several pieces of work that are a stage together.

    Attributes
    ----------
    label : str
        behind the stage's name, if there are several
    made_from : object
        all that the result depends on, as JSON
    outputs : list of Path
        files that it writes
    work : callable
        gives its result, as JSON
    """

    label: str
    made_from: Any
    outputs: list[Path]
    work: Callable[[], Any]


class Stages:
    """Results of stages in a folder, each with a digest of what it was made from.

    Parameters
    ----------
    folder : path
        of the run; ``stages/NAME.json`` holds a stage's result and the digest of its input

    Attributes
    ----------
    results, wall_s : dict
        by name of the stage: what came out, and how long it took when it was computed

    Examples
    --------
    >>> import tempfile
    >>> stages = Stages(Path(tempfile.mkdtemp()))
    >>> stages.do("sum", [1, 2], [], lambda: 3), stages.do("sum", [1, 2], [], lambda: 4)
    (3, 3)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: dict[str, Any] = {}
        self.wall_s: dict[str, float] = {}

    @property
    def spent(self) -> float:
        """How long all stages took when they were computed (s)."""
        return sum(self.wall_s.values())

    def do(self, name: str, made_from: Any, outputs: list[Path], work: Callable[[], Any]) -> Any:
        """Return the stored result if its input is the same and its files are there, else compute it."""
        stored = self._do(name, made_from, outputs, work)
        self.results[name], self.wall_s[name] = stored["result"], stored["wall_s"]
        return stored["result"]

    def each(self, name: str, parts: list[Part]) -> list[Any]:
        """Pieces of work that are kept one by one; their results and times are those of one stage."""
        several = len(parts) > 1
        stored = [
            self._do(f"{name}-{part.label}" if several else name, part.made_from, part.outputs, part.work)
            for part in parts
        ]
        self.results[name] = [one["result"] for one in stored]
        self.wall_s[name] = sum(one["wall_s"] for one in stored)
        return self.results[name]

    def _do(self, name: str, made_from: Any, outputs: list[Path], work: Callable[[], Any]) -> dict[str, Any]:
        source = json.dumps([made_from, versions().get("spinloom")], sort_keys=True)
        key = hashlib.sha256(source.encode()).hexdigest()
        path = self.folder / "stages" / f"{name}.json"
        stored = _stored(path)
        if stored.get("made_from") == key and stored.get("files") == digests(outputs):
            say(f"{name}: done before, kept")
            return stored
        status.stage(name)
        began = time.perf_counter()
        result = work()
        wall = time.perf_counter() - began
        stored = {"made_from": key, "result": result, "wall_s": wall, "files": digests(outputs)}
        stored = json.loads(files.to_json(stored))
        with files.written_whole(path) as temporary:
            temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
        return stored


@contextmanager
def at_work(folder: Path) -> Iterator[Stages]:
    """The stages of a folder, which nobody else works in until the block ends; others see how it goes.

    Raises
    ------
    SpinloomError
        if another process is at work there
    """
    with files.claimed(folder / "stages") as claimed:
        for place in (folder, claimed):  # what a killed process left half written
            for path in place.glob(".*.*"):
                if path.is_file() and not path.is_symlink() and _temporary(path.name):
                    path.unlink(missing_ok=True)
        with status.told(folder):
            yield Stages(folder)


def _temporary(name: str) -> bool:
    """Whether a file is a neighbour that :func:`spinloom.device_models.files.written_whole` made.

    Examples
    --------
    >>> _temporary(".model.nc.k2x81_9a"), _temporary(".gitignore"), _temporary(".model.nc")
    (True, False, False)
    """
    stem, _, random = name[1:].rpartition(".")
    return Path(stem).suffix in (".nc", ".json", ".jsonl", ".html", ".toml", ".csv") and len(random) == 8


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json_object(path.read_bytes(), str(path))
    except (OSError, SpinloomError):
        return {}
    return found if {"made_from", "result", "wall_s", "files"} <= found.keys() else {}


def digests(paths: list[Path]) -> dict[str, str | None]:
    """SHA-256 of each file by its name; None where there is no such file."""
    return {path.name: files.digest(path) if path.is_file() else None for path in paths}
