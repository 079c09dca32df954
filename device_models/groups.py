"""Many devices under known drives, in groups: what is found is not computed, and a group is computed whole.

The last digits of an answer may depend on how many devices an engine computes as one batch. So the groups follow from
the number of drives alone, not from what a store holds, and an interrupted calibration ends with the same numbers as
one that was left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from spinloom.device_models.node import Engine
from spinloom.device_models.scan import part_of
from spinloom.device_models.trajectory_store import TrajectoryStore, sources


class Group(NamedTuple):
    """Devices that are computed as one batch, and what drives them: plain data, which other processes take too.

    Attributes
    ----------
    numbers : (n,) int ndarray
        of the trajectories
    devices : (n,) int ndarray
        which of the engine's devices each is
    u : (ticks, n) ndarray
        drives
    seed : int
        of the thermal field
    """

    numbers: np.ndarray
    devices: np.ndarray
    u: np.ndarray
    seed: int

    def play(
        self,
        engine: Engine,
        progress: Callable[[float], None] | None = None,
        done: Callable[[int, np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """``<m>`` at the end of each tick, (ticks, n, 3); what is called on the way is as for an engine."""
        return engine.play(
            np.full(len(self.u), engine.tick),
            self.u,
            progress=progress,
            devices=self.devices,
            seed=self.seed,
            numbers=self.numbers,
            done=done,
        )[1]


Elsewhere = Callable[[list[Group]], Iterator[tuple[int, np.ndarray]]]
"""Computes groups in other processes, and tells the number and ``<m>`` of each as they come."""


def groups(n: int, together: int) -> list[np.ndarray]:
    """Numbers of the devices of each group, all groups of one size; the last may name its last device again.

    Examples
    --------
    >>> [group.tolist() for group in groups(5, 4)]
    [[0, 1, 2], [3, 4, 4]]
    >>> [len(group) for group in groups(88, 44)]
    [44, 44]
    """
    count = -(-n // together)
    size = -(-n // count)
    return [np.minimum(np.arange(k * size, (k + 1) * size), n - 1) for k in range(count)]


def trajectories(
    engine: Engine,
    devices: np.ndarray,
    u: np.ndarray,
    seed: int = 0,
    store: TrajectoryStore | None = None,
    progress: Callable[[float], None] | None = None,
    elsewhere: Elsewhere | None = None,
) -> np.ndarray:
    """What devices do under drives that are held for a tick, each from its equilibrium.

    Parameters
    ----------
    engine : Engine
    devices : (n,) int ndarray
        which of the engine's devices each is
    u : (n, ticks) ndarray
        drives
    seed : int
        of the thermal field; device k has a random stream of its own
    store : TrajectoryStore, optional
        where trajectories are looked for, and kept as soon as they are done
    progress : callable, optional
        called with the ticks just done, over all devices divided by their number
    elsewhere : callable, optional
        computes groups in other processes, instead of the engine here

    Returns
    -------
    m : (n, ticks, 3) ndarray
        ``<m>`` at the end of each tick
    """
    n, ticks = u.shape
    parts = groups(n, engine.together)
    made_from = sources(engine, devices, u, seed, len(parts[0])) if store is not None else []
    found: dict[int, np.ndarray] = {}
    for k, source in enumerate(made_from):
        kept = None if store is None else store.get(source, ticks)
        if kept is not None:
            found[k] = kept
    tell = progress or (lambda done: None)
    missing = [part for part in parts if any(k not in found for k in part.tolist())]
    lacking = len({k for part in missing for k in part.tolist()})
    tell(ticks * (n - lacking) / n)
    if engine.together == 1 and missing and elsewhere is None:
        missing = [np.concatenate(missing)]  # each on its own, as many side by side as the engine likes

    def keep(k: int, m: np.ndarray) -> None:
        if k in found:
            return
        about = {"card": engine.cards[devices[k]].name, "engine": engine.name, "ticks": ticks, "tick_s": engine.tick}
        found[k] = m if store is None else store.put(made_from[k], m, about)

    def share(part: np.ndarray) -> float:
        return len(set(part.tolist())) / n

    def here(asked: list[Group]) -> Iterator[tuple[int, np.ndarray]]:
        for number, group in enumerate(asked):
            on = partial(part_of, tell, share(group.numbers))
            yield number, group.play(engine, on, partial(_numbered, keep, group.numbers))

    asked = [Group(part, devices[part], u[part].T, seed) for part in missing]
    for number, m in (elsewhere or here)(asked):
        for at in range(len(missing[number])):
            _numbered(keep, missing[number], at, m[:, at])
        if elsewhere is not None:
            tell(ticks * share(missing[number]))
    if store is not None and missing:
        store.trim()
    return np.stack([found[k] for k in range(n)])


def _numbered(keep: Callable[[int, np.ndarray], None], part: np.ndarray, at: int, m: np.ndarray) -> None:
    keep(int(part[at]), m)
