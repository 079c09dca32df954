"""What a search has done, line by line, so that it can be gone through again without the work."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.provenance import versions


class Journal:
    """Lines of JSON, each written in one go; the first says what they were made from.

    A line that is not whole, as of a process that was killed, ends what can be read. Lines are read in turn
    (:meth:`next`); what is written (:meth:`add`) takes the place of those that were not read.

    Parameters
    ----------
    path : path
    made_from : object
        all that the lines depend on, as JSON; the lines of anything else are not read

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "search.jsonl"
    >>> first = Journal(path, ["disc60"])
    >>> first.add({"score": 1.5})
    >>> Journal(path, ["disc60"]).next(), Journal(path, ["pma50"]).next()
    ({'score': 1.5}, None)
    """

    def __init__(self, path: Path, made_from: Any) -> None:
        self.path = path
        source = json.dumps([made_from, versions().get("spinloom")], sort_keys=True)
        self._head = files.to_json({"made_from": hashlib.sha256(source.encode()).hexdigest()})
        self._lines = _whole_lines(path)
        if self._lines[:1] != [self._head]:
            self._lines = [self._head]
            self._stands = False
        else:
            self._stands = path.read_text(encoding="utf-8") == _text(self._lines)
        self._at = 1

    def next(self) -> dict[str, Any] | None:
        """The next line that was written before; None if there is none left."""
        if self._at >= len(self._lines):
            return None
        self._at += 1
        return json.loads(self._lines[self._at - 1])

    def forget(self) -> None:
        """The line that was read last, and all after it, are of no use."""
        self._at -= 1
        del self._lines[self._at :]
        self._stands = False

    def add(self, line: dict[str, Any]) -> None:
        """Write a line behind those that were read."""
        if self._at < len(self._lines):
            del self._lines[self._at :]
            self._stands = False
        self._lines.append(files.to_json(line))
        self._at += 1
        if self._stands:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lines[-1] + "\n")
            return
        with files.written_whole(self.path) as temporary:
            temporary.write_text(_text(self._lines), encoding="utf-8")
        self._stands = True


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _whole_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in text.split("\n")[:-1]:  # behind the last line break is nothing, or a line that is not whole
        try:
            whole = isinstance(json.loads(line), dict)
        except ValueError:
            break
        if not whole:
            break
        found.append(line)
    return found
