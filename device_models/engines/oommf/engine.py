"""OOMMF behind the one node interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import SILENT_S
from spinloom.device_models.engines.oommf import batch, mif
from spinloom.device_models.engines.oommf.installation import Installation
from spinloom.device_models.engines.oommf.live import LiveNodes
from spinloom.device_models.engines.oommf.processes import Host, cores
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.system import checked_field


class OommfEngine:
    """Unmodified OOMMF, one thread a process, set up by ubermag.

    ``play`` drives devices by known waveforms, each as a run of its own; ``start`` and
    ``step`` advance live processes tick by tick, for closed loops. Close the engine, or use
    it in a ``with`` block: that ends every process it started.

    Parameters
    ----------
    card : DeviceCard
    tick : float
        duration of one tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field to start from as it is; without it OOMMF relaxes the card's own start
    installation : Installation
    side_by_side : int, optional
        runs at a time, and live nodes that compute at a time but for one more, which waits for
        a core; as many as there are cores if not given
    keep : path, optional
        folder in which ``play`` keeps finished runs, and looks for them
    limit_s : float
        a live node that is silent for longer is taken to hang (s)
    """

    name = "oommf"
    traceable = False

    def __init__(
        self,
        card: DeviceCard,
        tick: float,
        initial: np.ndarray | None = None,
        *,
        installation: Installation,
        side_by_side: int | None = None,
        keep: Path | None = None,
        limit_s: float = SILENT_S,
    ) -> None:
        if not 0 < tick < 1e-6:
            raise SpinloomError(f"tick: expected seconds between 0 and 1e-6, got {tick:g}")
        self.card, self.tick = card, float(tick)
        self.installation = installation
        self.keep, self.limit_s = keep, limit_s
        self.side_by_side = side_by_side or cores()
        self._live: LiveNodes | None = None
        self._live_before = False
        self.host = Host(installation)
        try:
            self.equilibrium = batch.relax(self.host, card) if initial is None else checked_field(card, initial)
        except BaseException:
            self.host.close()
            raise

    @property
    def version(self) -> str:
        """Of OOMMF."""
        return self.installation.version

    def input(self, u: np.ndarray | None = None) -> str:
        """What OOMMF is given: the MIF of a device under held drives, or of a live node.

        Parameters
        ----------
        u : (n_ticks,) ndarray, optional
            drives of one device; a live node if not given
        """
        folder = self.host.new_folder("input")
        if u is None:
            return mif.write_live(folder, self.card, self.equilibrium, self.tick)
        return mif.write_waveform(folder, self.card, self.equilibrium, np.full(len(u), self.tick), u)

    def play(
        self,
        durations: np.ndarray,
        u: np.ndarray,
        fields: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drive devices by known waveforms; see :class:`spinloom.device_models.node.Engine`."""
        n = u.shape[1]
        return batch.play(
            self.host,
            self.card,
            [self.equilibrium] * n if fields is None else list(fields),
            np.asarray(durations, dtype=float),
            np.asarray(u, dtype=float),
            side_by_side=self.side_by_side,
            keep=self.keep,
            progress=progress,
        )

    def start(self, n: int, progress: Callable[[int], None] | None = None) -> tuple[LiveNodes, np.ndarray]:
        """Start ``n`` live processes in equilibrium, and warm them up with ticks of zero drive.

        Those of an earlier start end. ``progress`` is called with the number just started.
        """
        if self.installation.image:
            raise SpinloomError(
                "oommf: live nodes need an OOMMF of this machine, not one in docker; use --method relaxation"
            )
        if self._live_before:
            self.close()
            self.host = Host(self.installation)
        self._live_before = True
        self._live = LiveNodes(
            self.host,
            lambda folder: mif.write_live(folder, self.card, self.equilibrium, self.tick),
            n,
            self.side_by_side + 1,
            self.limit_s,
            progress,
        )
        return self._live, self._live.m

    def step(self, state: LiveNodes, u: Any) -> tuple[LiveNodes, np.ndarray]:
        """Advance every live process by one tick."""
        return state, state.step(np.asarray(u, dtype=float))

    def close(self) -> None:
        """End every process that this engine started, and remove its files."""
        if self._live is not None:
            self._live.close()
            self._live = None
        self.host.close()

    def __enter__(self) -> OommfEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
