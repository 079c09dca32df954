"""Live nodes: a row of OOMMF processes that advance tick by tick, in lock-step.

A stage of OOMMF is a tick. When a stage begins, the Tcl procedure that gives the drive reports
the stage, which says that the last one is done, and reads the drive from a named pipe, which
blocks until it is written. <m> is then the newest row of the table. The first stage is the
first tick: a node starts from the very field that it is given. Nothing of OOMMF is changed; see
:func:`spinloom.device_models.engines.oommf.mif.write_live`.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from spinloom.device_models.engines.oommf import mif
from spinloom.device_models.engines.oommf.batch import why_it_ended
from spinloom.device_models.engines.oommf.processes import Host
from spinloom.device_models.engines.oommf.table import Table
from spinloom.device_models.errors import SpinloomError

LATE_ROW_S = 0.01
"""A node whose row is not there by then is told to look after its table, again and again."""
LOOK_S = 0.0002
_REPORT = re.compile(rf"{mif.READY} (\d+)\s*$")


class NodeError(SpinloomError):
    """A live node died, hangs, or wrote what cannot be.

    Attributes
    ----------
    node : int
    """

    def __init__(self, node: int, why: str) -> None:
        super().__init__(f"oommf: node {node}: {why}")
        self.node = node


class LiveNode:
    """One OOMMF process that waits for its next drive.

    Parameters
    ----------
    number : int
    folder : Path
        with ``node.mif``
    host : Host
    """

    def __init__(self, number: int, folder: Path, host: Host) -> None:
        self.number, self.folder = number, folder
        self.table = Table(folder / f"{mif.NAME}.odt")
        self.pipe = folder / mif.PIPE
        os.mkfifo(self.pipe)
        if os.geteuid() == 0:
            self.pipe.chmod(0o666)
        self.process: subprocess.Popen[bytes] = host.boxsi(folder)
        assert self.process.stderr is not None
        self.stderr = self.process.stderr
        os.set_blocking(self.stderr.fileno(), False)
        self.said, self._line = b"", b""
        self.stage = -1
        self.asks = False

    def hear(self) -> None:
        """Take what OOMMF says; a report moves ``stage`` on, and says that the node asks for a drive."""
        self._line += self.stderr.read() or b""
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            report = _REPORT.search(line.decode("utf-8", "replace"))
            if report:
                self.stage, self.asks = int(report[1]), True
            else:
                self.said = (self.said + line + b"\n")[-20_000:]

    def check(self) -> None:
        """Raise if the process has ended."""
        code = self.process.poll()
        if code is not None:
            self.hear()
            raise NodeError(self.number, why_it_ended(code, self.said + self._line, self.folder))

    def send(self, word: str, until: float) -> None:
        """Write a drive, or that there is none yet, to the pipe once OOMMF reads from it."""
        while not (self.asks and self._write(word)):
            self.check()
            if time.monotonic() > until:
                raise NodeError(self.number, "it reported a tick but does not read its drive")
            time.sleep(LOOK_S)
            self.hear()
        self.asks = False

    def _write(self, word: str) -> bool:
        """Whether OOMMF was there to read it."""
        try:
            pipe = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise NodeError(self.number, f"its pipe is gone ({error.strerror})") from None
            return False
        try:
            os.write(pipe, word.encode())
        except BrokenPipeError:
            self.check()
            raise NodeError(self.number, "it left its pipe while it was read") from None
        finally:
            os.close(pipe)
        return True

    def has(self, rows: int) -> bool:
        """Whether the table has that many."""
        try:
            return self.table.read() >= rows
        except SpinloomError as error:
            raise NodeError(self.number, str(error)) from None


class LiveNodes:
    """A row of live nodes, all at the same tick.

    Parameters
    ----------
    host : Host
    write : callable
        (device, folder): writes the input of such a node
    devices : (n,) int ndarray
        which device each node is
    m : (n, 3) ndarray
        <m> of the fields that they start from
    at_once : int
        how many nodes compute at a time; one more than there are cores keeps all of them busy
    limit_s : float
        how long a node may be silent (s)
    progress : callable, optional
        called with the number of nodes just started
    seed : int
        of the thermal fields of warm nodes; each has a random stream of its own

    Attributes
    ----------
    m : (n, 3) ndarray
        <m> after the last tick
    ticks : int
        done
    spent : dict
        seconds of ``step``: ``total``; ``solving``, until the last report; ``rows``, from
        there to the last row
    """

    def __init__(
        self,
        host: Host,
        write: Callable[[int, Path], object],
        devices: np.ndarray,
        m: np.ndarray,
        at_once: int,
        limit_s: float,
        progress: Callable[[int], None] | None = None,
        seed: int = 0,
    ) -> None:
        self.host, self.at_once, self.limit_s, self.seed = host, at_once, limit_s, seed
        self.devices, self.m = devices, m
        self.selector = selectors.DefaultSelector()
        self.nodes: list[LiveNode] = []
        self.ticks = 0
        self.spent = {"total": 0.0, "solving": 0.0, "rows": 0.0}
        try:
            self._start(write, progress)
        except BaseException:
            self.close()
            raise

    def _start(self, write: Callable[[int, Path], object], progress: Callable[[int], None] | None) -> None:
        first: dict[int, list[Path]] = {}
        for k, device in enumerate(self.devices.tolist()):
            folder = self.host.new_folder(f"live-{k}")
            if device in first:
                for file in first[device]:
                    shutil.copyfile(file, folder / file.name)
            else:
                write(device, folder)
                first[device] = mif.input_files(folder)
            mif.reseed(folder, (self.seed, k))
            node = LiveNode(k, folder, self.host)
            self.nodes.append(node)
            self.selector.register(node.stderr, selectors.EVENT_READ, node)
        self._collect(0, progress)
        self._cpu = self.host.cpu_s()

    def step(self, u: np.ndarray) -> np.ndarray:
        """Advance every node by one tick.

        Parameters
        ----------
        u : (n,) ndarray

        Returns
        -------
        m : (n, 3) ndarray

        Raises
        ------
        NodeError
        """
        began = time.perf_counter()
        self._advance(u)
        solved = time.perf_counter()
        self._wait_for_rows(self.ticks + 1)
        self.m = np.stack([node.table.m[self.ticks] for node in self.nodes])
        ended = time.perf_counter()
        self.ticks += 1
        for what, seconds in (("total", ended - began), ("solving", solved - began), ("rows", ended - solved)):
            self.spent[what] += seconds
        return self.m

    def _advance(self, u: np.ndarray) -> None:
        """One tick of every node, a few at a time: all at once would push each other out of the caches."""
        drives = zip(self.nodes, u, strict=True)

        def send(count: int) -> None:
            for node, drive in islice(drives, count):
                node.send(repr(float(drive)), time.monotonic() + self.limit_s)

        send(self.at_once)
        self._collect(self.ticks + 1, send)

    def _wait_for_rows(self, rows: int) -> None:
        """Until all tables have that many, without a further step of any node."""
        began = time.monotonic()
        until, late = began + self.limit_s, began + LATE_ROW_S
        while missing := [node for node in self.nodes if not node.has(rows)]:
            for node in missing:
                node.check()
            now = time.monotonic()
            if now > until:
                raise NodeError(
                    missing[0].number,
                    f"tick {rows - 1} is done but its row is not in the table; "
                    + why_it_ended(0, missing[0].said, missing[0].folder),
                )
            if now > late:
                for node in missing:
                    node.hear()
                    if node.asks:
                        node.send(mif.WAIT, until)
                late = now + LATE_ROW_S
            time.sleep(LOOK_S)

    def _collect(self, stage: int, heard: Callable[[int], None] | None = None) -> None:
        """Wait until every node has begun ``stage``; ``heard`` is called for each that has."""
        waiting = {node.number: node for node in self.nodes if node.stage < stage}
        until = time.monotonic() + self.limit_s
        while waiting:
            for key, _ in self.selector.select(timeout=0.2):
                node = key.data
                node.hear()
                if node.stage >= stage and waiting.pop(node.number, None) is not None:
                    until = time.monotonic() + self.limit_s
                    if heard is not None:
                        heard(1)
            for node in waiting.values():
                node.check()
                if time.monotonic() > until:
                    said = " ".join(node.said.decode("utf-8", "replace").split())[-300:]
                    raise NodeError(
                        node.number, f"silent for {self.limit_s:g} s, taken to hang; it said last: {said or 'nothing'}"
                    )

    def processor_s(self) -> tuple[float, float]:
        """Processor time since the start, of the solvers and of OOMMF's other processes (s)."""
        (solver, other), (solver_0, other_0) = self.host.cpu_s(), self._cpu
        return solver - solver_0, other - other_0

    def close(self) -> None:
        """Let go of the nodes' files; the host ends their processes."""
        self.selector.close()
        for node in self.nodes:
            node.table.close()
