"""OOMMF behind the interface of engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np

from spinloom.device_models.card import DeviceCard, Start
from spinloom.device_models.engines import SILENT_S
from spinloom.device_models.engines.equilibria import lower_states
from spinloom.device_models.engines.oommf import batch, mif
from spinloom.device_models.engines.oommf.installation import Installation
from spinloom.device_models.engines.oommf.live import LiveNodes
from spinloom.device_models.engines.oommf.node import OommfNode
from spinloom.device_models.engines.oommf.processes import Host
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.machine import cores
from spinloom.device_models.node import State, as_cards, which_devices, with_channels
from spinloom.device_models.system import checked_field


class OommfEngine:
    """Unmodified OOMMF, one thread a process, set up by ubermag.

    ``play`` drives devices by known waveforms, each as a run of its own; ``node`` advances live
    processes tick by tick, for closed loops. Close the engine, or use it in a ``with`` block:
    that ends every process it started. Cards that are warm are computed by ``Xf_ThermSpinXferEvolve``, and each
    process has a seed of its own.

    Parameters
    ----------
    cards : DeviceCard or sequence of DeviceCard
        the devices that it knows, on meshes of one shape
    tick : float
        duration of one tick (s)
    initial : (nx, ny, nz, 3) ndarray, optional
        field that every device starts from, as it is; without it OOMMF relaxes the cards' own
        starts, each once, and those that come to rest on a saddle from the state beside it
    installation : Installation
    side_by_side : int, optional
        runs at a time, and live nodes that compute at a time but for one more, which waits for
        a core; as many as there are cores if not given
    limit_s : float
        a live node that is silent for longer is taken to hang (s)
    """

    name = "oommf"
    batched = False
    together = 1

    def __init__(
        self,
        cards: DeviceCard | Sequence[DeviceCard],
        tick: float,
        initial: np.ndarray | None = None,
        *,
        installation: Installation,
        side_by_side: int | None = None,
        limit_s: float = SILENT_S,
    ) -> None:
        if not 0 < tick < 1e-6:
            raise SpinloomError(f"tick: expected seconds between 0 and 1e-6, got {tick:g}")
        self.cards, self.tick = as_cards(cards), float(tick)
        shapes = {card.geometry.shape_cells for card in self.cards}
        if len(shapes) > 1:
            raise SpinloomError(f"cards: expected as many cells in all, got meshes of {sorted(shapes)} cells")
        self.installation = installation
        self.limit_s = limit_s
        self.side_by_side = side_by_side or cores()
        self.node = OommfNode(self.cards, self.tick, self._launch)
        self._live: LiveNodes | None = None
        self._live_before = False
        self.host = Host(installation)
        try:
            self.equilibria = np.stack(self._starts(initial))
        except BaseException:
            self.host.close()
            raise

    def _starts(self, initial: np.ndarray | None) -> list[np.ndarray]:
        """The field that each device starts from."""
        if initial is not None:
            return [checked_field(card, initial) for card in self.cards]
        fields = batch.relax(self.host, self.cards, self.side_by_side)
        lower = {k: m for k, m in enumerate(lower_states(self.cards, fields)) if m is not None}
        again = [self.cards[k].model_copy(update={"start": Start(m=tuple(m))}) for k, m in lower.items()]
        for k, field in zip(lower, batch.relax(self.host, again, self.side_by_side), strict=True):
            fields[k] = field
        return fields

    @property
    def version(self) -> str:
        """Of OOMMF."""
        return self.installation.version

    @property
    def live(self) -> bool:
        """Whether its processes can be reached: not those in a container."""
        return not self.installation.image

    def input(self, u: np.ndarray | None = None) -> str:
        """What OOMMF is given: the MIF of the first device under held drives, or as a live node.

        Parameters
        ----------
        u : (n_ticks,) ndarray, optional
            drives; a live node if not given
        """
        folder, card, m = self.host.new_folder("input"), self.cards[0], self.equilibria[0]
        if u is None:
            return mif.write_live(folder, card, m, self.tick)
        return mif.write_waveform(folder, card, m, np.full(len(u), self.tick), u)

    def play(
        self,
        durations: np.ndarray,
        inputs: np.ndarray,
        fields: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
        *,
        devices: np.ndarray | None = None,
        seed: int = 0,
        numbers: np.ndarray | None = None,
        done: Callable[[int, np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drive devices by known waveforms; see :class:`spinloom.device_models.node.Engine`."""
        u = with_channels(inputs, self.node.channels)[..., 0]
        which = which_devices(u.shape[1], devices, len(self.cards))
        return batch.play(
            self.host,
            [self.cards[device] for device in which],
            list(self.equilibria[which] if fields is None else fields),
            np.asarray(durations, dtype=float),
            u,
            side_by_side=self.side_by_side,
            seed=seed,
            numbers=numbers,
            progress=progress,
            done=done,
        )

    def _launch(self, devices: np.ndarray, seed: int, progress: Callable[[int], None] | None) -> LiveNodes:
        """Live processes of these devices; those of an earlier start end."""
        if not self.live:
            raise SpinloomError(
                "oommf: live nodes need an OOMMF of this machine, not one in docker; use --method relaxation"
            )
        if self._live_before:
            self.close()
            self.host = Host(self.installation)
        self._live_before = True
        moments = [_moment(card, field) for card, field in zip(self.cards, self.equilibria, strict=True)]
        self._live = LiveNodes(
            self.host,
            lambda k, folder: mif.write_live(folder, self.cards[k], self.equilibria[k], self.tick),
            devices,
            np.stack(moments)[devices],
            self.side_by_side + 1,
            self.limit_s,
            progress,
            seed,
        )
        return self._live

    def costs(self, state: State, wall_s: float, ticks: int) -> dict[str, float | None]:
        """Of a tick of the live nodes: waiting for solvers, for rows of tables, and our own share (s).

        Nothing if none were advanced.
        """
        nodes = self._live
        if nodes is None or not nodes.ticks:
            return {}
        wall = wall_s / ticks
        solver, helpers = (seconds / nodes.ticks for seconds in nodes.processor_s())
        share = solver / min(cores(), len(nodes.nodes))
        return {
            "tick_wall_s": wall,
            "tick_until_last_report_s": nodes.spent["solving"] / nodes.ticks,
            "tick_until_last_row_s": nodes.spent["rows"] / nodes.ticks,
            "tick_network_s": wall - nodes.spent["total"] / nodes.ticks,
            "tick_solver_cpu_s": solver,
            "tick_helper_cpu_s": helpers,
            "wall_over_solver": wall / share if share else None,
        }

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


def _moment(card: DeviceCard, field: np.ndarray) -> np.ndarray:
    """``<m>`` of a field."""
    cells = field[card.geometry.mask()]
    return (cells / np.linalg.norm(cells, axis=1, keepdims=True)).mean(axis=0)
