"""How far the work in a folder is, and what was said on the way: told by those who work, for others to read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import versions
from spinloom.device_models.texts import json_object

FILE, LOG = "status.json", "log.txt"
EVERY_S = 1.0
_telling: list[Path] = []
_now: dict[str, Any] = {}


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Tell in ``folder/status.json`` how far this process is, until the block ends; what is said goes to its log."""
    _telling.append(folder)
    before = dict(_now)
    _now.clear()
    state = "stopped"
    log(f"Spinloom {versions().get('spinloom')} begins")
    try:
        _write(state="working", stage=None)
        yield
        state = "done"
    except SpinloomError as error:
        _now["why"] = str(error)
        log(f"error: {error}")
        raise
    except BaseException as error:
        log(f"error: {type(error).__name__} {error}")
        raise
    finally:
        log(state)
        for key in ("what", "done", "total", "left_s", "per_s"):
            _now.pop(key, None)
        _write(state=state)
        _telling.pop()
        _now.clear()
        _now.update(before)


def log(text: str) -> None:
    """Put words and the time (UTC) at the end of ``log.txt`` in the folder that is told of, if there is one."""
    if not _telling:
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # A log that cannot be written stops nobody.
    with suppress(OSError), (_telling[-1] / LOG).open("a", encoding="utf-8") as file:
        file.writelines(f"{now} {line}\n" for line in text.splitlines())


def stage(name: str) -> None:
    """Tell that a stage begins."""
    for key in ("what", "done", "total", "left_s", "per_s"):
        _now.pop(key, None)
    _write(stage=name)


def follow(what: str, total: float) -> Callable[[float], None]:
    """What is to be called with every advance of a long computation; about one in a second is written."""
    done, began = 0.0, time.monotonic()
    last = began

    def advance(n: float) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if _telling and now - last >= EVERY_S:
            last = now
            rate = done / (now - began)
            left = (total - done) / rate if rate > 0 else None
            _write(what=what, done=done, total=total, per_s=rate, left_s=left)

    if _telling:
        _write(what=what, done=0.0, total=total, per_s=None, left_s=None)
    return advance


def _write(**values: Any) -> None:
    if not _telling:
        return
    _now.update(values, pid=os.getpid(), at=time.time())
    # A status that cannot be written stops nobody.
    with suppress(OSError, SpinloomError), files.written_whole(_telling[-1] / FILE) as temporary:
        temporary.write_text(files.to_json(_now, indent=1), encoding="utf-8")


def read_status(folder: Path) -> dict[str, Any]:
    """How far the work in a folder is.

    Parameters
    ----------
    folder : path
        of a run or a sweep; of a tuning, its experiment (NAME.toml)

    Returns
    -------
    result : dict
        ``state``: ``working``, ``done``, ``stopped`` (it ended before its time), or ``unknown``; ``finished``, a list
        of the stages, or points, that are done, with ``stage`` and ``wall_s``; of a sweep also ``at_work``, the stage
        of each point that is computed now; while there is work also ``stage``, ``what``,
        ``done, total, per_s, left_s``; ``ago_s``, the age of all this; ``why``, if a message ended it

    Raises
    ------
    SpinloomError
        if nothing that has stages was ever started there
    """
    folder = Path(folder)
    if folder.suffix == ".toml":
        folder = folder.with_suffix(".tuning")
    kind = next((name for name in ("stages", "points") if (folder / name).is_dir()), None)
    if kind is None:
        expected = "expected the folder of 'spinloom run' or 'sweep', or the file of 'tune'"
        raise SpinloomError(f"{folder}: no stages in it; {expected}")
    now = _read(folder / FILE)
    paths = sorted((folder / kind).glob("*.json"), key=lambda path: path.stat().st_mtime)
    finished = [{"stage": path.stem, "wall_s": _wall_s(_read(path))} for path in paths]
    result: dict[str, Any] = {"folder": str(folder), "state": now.pop("state", "unknown"), "finished": finished}
    busy = files.busy(folder / kind)
    if busy:
        result["state"] = "working"
    elif result["state"] == "working":
        result["state"] = "stopped"  # it had no time to say so
    if kind == "points":
        runs = [path.parent for path in sorted((folder / kind).glob("*/stages")) if files.busy(path)]
        result["at_work"] = {run.name: _read(run / FILE).get("stage") for run in runs}
    at = now.pop("at", None)
    result["ago_s"] = None if at is None else max(0.0, time.time() - at)
    kept = ("stage", "what", "done", "total", "per_s", "left_s", "pid") if busy else ("stage", "why")
    return result | {key: now[key] for key in kept if now.get(key) is not None}


def _wall_s(stored: dict[str, Any]) -> float | None:
    figures = stored.get("figures")
    wall = figures.get("wall_s") if isinstance(figures, dict) else stored.get("wall_s")
    return wall if isinstance(wall, int | float) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return json_object(path.read_bytes(), str(path))
    except (OSError, SpinloomError):
        return {}
