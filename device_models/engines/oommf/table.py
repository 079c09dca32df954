"""OOMMF's data table (.odt) while it grows: <m> at the end of each stage."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from spinloom.device_models.errors import SpinloomError

COLUMNS = ("Oxs_TimeDriver::Stage", "Oxs_TimeDriver::mx", "Oxs_TimeDriver::my", "Oxs_TimeDriver::mz")


class Table:
    """Rows of a table that another process is writing.

    Parameters
    ----------
    path : path
        need not exist yet
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.m: list[np.ndarray] = []
        self._file: io.FileIO | None = None
        self._columns: list[int] = []
        self._rest = b""

    def read(self) -> int:
        """Take what has been written since the last call.

        Returns
        -------
        rows : int
            how many there are now

        Raises
        ------
        SpinloomError
            for a row that is not ``<m>`` at the end of the next stage
        """
        if self._file is None:
            try:
                self._file = io.FileIO(self.path)
            except FileNotFoundError:
                return 0
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            if line.startswith(b"# Columns:"):
                self._columns = _places(line.decode("utf-8", "replace"))
            elif not line.startswith(b"#") and line.strip():
                self.m.append(self._row(line))
        return len(self.m)

    def _row(self, line: bytes) -> np.ndarray:
        stage = len(self.m)
        try:
            words = line.split()
            found, *m = (float(words[place]) for place in self._columns)
        except (ValueError, IndexError):
            raise SpinloomError(f"bad row for stage {stage}: {line[:80].decode('utf-8', 'replace')!r}") from None
        if found != stage:
            raise SpinloomError(f"bad row: expected stage {stage}, got {found:g}")
        if not np.hypot(np.hypot(m[0], m[1]), m[2]) <= 1 + 1e-6:
            raise SpinloomError(f"bad row for stage {stage}: expected |<m>| <= 1, got <m> = {m}")
        return np.array(m)

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _places(header: str) -> list[int]:
    names = [name.strip("{}") for name in re.findall(r"\{[^}]*\}|\S+", header.removeprefix("# Columns:"))]
    try:
        return [names.index(column) for column in COLUMNS]
    except ValueError as error:
        raise SpinloomError(f"table without a column of <m>: {error}; this OOMMF writes other tables") from None
