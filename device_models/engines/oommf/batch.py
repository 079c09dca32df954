"""Known drives: every device is one OOMMF run, as many side by side as there are cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.oommf import mif
from spinloom.device_models.engines.oommf.processes import Host
from spinloom.device_models.engines.oommf.table import Table
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.system import read_field

WAIT_S = 0.02
LATE_S = 10.0
"""How long the last row and the final field may take to appear after the solver has ended."""


@dataclass
class Run:
    """One OOMMF run that is under way."""

    number: int
    folder: Path
    process: subprocess.Popen[bytes]
    rows: int
    """To be expected in the table; none of a relaxation, whose table has other columns."""
    place: int = 0
    """Among those that are computed."""
    told: int = 0
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        self.table = Table(self.folder / f"{mif.NAME}.odt")
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = b""

    def hear(self) -> None:
        """Take what OOMMF has to say, so that its pipe never fills."""
        assert self.process.stderr is not None
        self.said = (self.said + (self.process.stderr.read() or b""))[-20_000:]

    def close(self) -> None:
        """Let its files go: thousands of runs may follow."""
        self.table.close()
        assert self.process.stderr is not None
        self.process.stderr.close()


def relax(host: Host, cards: Sequence[DeviceCard], side_by_side: int) -> list[np.ndarray]:
    """The relaxed field of each card at zero drive, computed by OOMMF, (nx, ny, nz, 3).

    Cards whose input does not differ are relaxed once.
    """
    fields: dict[int, np.ndarray] = {}
    first: dict[tuple[str, bytes], int] = {}
    which: list[int] = []

    def begin() -> Iterator[Run]:
        for k, card in enumerate(cards):
            folder = host.new_folder(f"relax-{k}")
            given = (mif.write_relaxation(folder, card), (folder / "m0.omf").read_bytes())
            which.append(first.setdefault(given, k))
            if which[k] == k:
                yield Run(k, folder, host.boxsi(folder), rows=0)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def end(run: Run) -> None:
        fields[run.number] = _final_field(run, f"relaxation of {cards[run.number].name}")
        run.close()
        shutil.rmtree(run.folder, ignore_errors=True)

    _side_by_side(begin(), side_by_side, lambda run: None, end)
    return [fields[k] for k in which]


def play(
    host: Host,
    cards: Sequence[DeviceCard],
    fields: Sequence[np.ndarray],
    durations: np.ndarray,
    u: np.ndarray,
    *,
    side_by_side: int,
    seed: int = 0,
    numbers: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
    done: Callable[[int, np.ndarray], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Play waveforms into devices, each as a run of its own.

    Parameters
    ----------
    host : Host
    cards : sequence of n DeviceCard
        of each device
    fields : sequence of n (nx, ny, nz, 3) ndarray
        directions that each device starts from
    durations : (n_ticks,) ndarray
        of each hold (s)
    u : (n_ticks, n) ndarray
        drives
    side_by_side : int
        how many runs at a time
    seed : int
        of the thermal field
    numbers : (n,) int ndarray, optional
        that name each device, in messages and to the thermal field, which has a random stream for each; 0 to n - 1 if
        not given
    progress : callable, optional
        called with the ticks just done, over all devices divided by their number
    done : callable, optional
        called with the place and the ``<m>``, (n_ticks, 3), of each device as soon as it is done

    Returns
    -------
    fields : (n, nx, ny, nz, 3) ndarray
        at the end
    m : (n_ticks, n, 3) ndarray
        <m> at the end of each hold

    Raises
    ------
    SpinloomError
        if a run fails; it names the device and what OOMMF said
    """
    n_ticks, n = u.shape
    results: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    names = list(range(n)) if numbers is None else [int(number) for number in numbers]
    tell = progress or (lambda ticks: None)

    def begin() -> Iterator[Run]:
        for k, card in enumerate(cards):
            folder = host.new_folder(f"run-{names[k]}")
            mif.write_waveform(folder, card, fields[k], durations, u[:, k], (seed, names[k]))
            yield Run(names[k], folder, host.boxsi(folder), n_ticks, place=k)

    def look(run: Run) -> None:
        rows = _rows(run)
        tell((rows - run.told) / n)
        run.told = rows

    def end(run: Run) -> None:
        results[run.place] = _result(run)
        tell((n_ticks - run.told) / n)
        if done is not None:
            done(run.place, results[run.place][1])

    _side_by_side(begin(), side_by_side, look, end)
    final, m = zip(*(results[k] for k in range(n)), strict=True)
    return np.stack(final), np.stack(m, axis=1)


def _side_by_side(runs: Iterator[Run], at_once: int, look: Callable[[Run], None], end: Callable[[Run], None]) -> None:
    """Go through runs, which start as they are taken; ``end`` takes each that has ended."""
    running: list[Run] = []
    try:
        while True:
            running.extend(islice(runs, at_once - len(running)))
            if not running:
                return
            for run in list(running):
                ended = run.process.poll() is not None
                run.hear()
                look(run)
                if ended:
                    end(run)
                    running.remove(run)
            time.sleep(WAIT_S)
    finally:
        for run in running:
            run.close()


def _rows(run: Run) -> int:
    try:
        return run.table.read()
    except SpinloomError as error:
        raise SpinloomError(f"oommf: device {run.number}: {error}") from None


def _result(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Final field and rows of a run that has ended; its folder goes."""
    final = _final_field(run, f"device {run.number}")
    m = np.stack(run.table.m)
    run.close()
    shutil.rmtree(run.folder, ignore_errors=True)
    return final, m


def _final_field(run: Run, what: str) -> np.ndarray:
    """The field that a run saved at its end, once it and the last row are there."""
    run.hear()
    until = time.monotonic() + LATE_S
    last = max(run.rows - 1, 0)
    while run.process.returncode == 0:
        # NAME-output-stage-iteration.omf; how many digits a stage has depends on their number.
        found = [path for path in run.folder.glob(f"{mif.NAME}-*.omf") if int(path.stem.split("-")[-2]) == last]
        if found and (run.rows == 0 or _rows(run) == run.rows):
            return read_field(found[0])
        if time.monotonic() > until:
            break
        time.sleep(WAIT_S)
    raise SpinloomError(f"oommf: {what}: {why_it_ended(run.process.returncode, run.said, run.folder)}")


def why_it_ended(code: int | None, said: bytes, folder: Path) -> str:
    """What can be said about a solver that ended before its time: the signal, its words, the disk.

    Parameters
    ----------
    code : int or None
        exit code; negative for a signal
    said : bytes
        what it wrote to standard error
    folder : Path
        where it ran
    """
    words = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    words = [
        line for line in words if line and mif.READY not in line and "Start:" not in line and "Options:" not in line
    ]
    message = " ".join(words)[-600:]
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    killed = code is not None and (code < 0 or "child killed" in message)
    if free < 1_000_000:
        reason = f"no space left in {tempfile.gettempdir()}; free some, or set TMPDIR to another folder"
    elif killed:
        number = f"signal {-code}" if code is not None and code < 0 else "a signal"
        reason = f"OOMMF was killed by {number}; if nobody did it, the machine ran out of memory"
    elif code:
        reason = f"OOMMF ended with exit code {code}"
    else:
        reason = "OOMMF did not write all it was asked for"
    return f"{reason}; it said: {message}" if message else reason
