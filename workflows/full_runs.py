"""Trained networks with every node in full micromagnetics: how the loop is closed, and what is kept if it breaks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models.engines import SILENT_S, Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine, Node
from spinloom.networks.loop import LoopState, Record, simulate, start
from spinloom.networks.record import save_unfinished
from spinloom.networks.relaxation import WINDOW, relax
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Weights
from spinloom.networks.trials import FreeRun, generate
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.console import progress, say


@dataclass(frozen=True)
class How:
    """How the loop is closed.

    Attributes
    ----------
    method : str
        ``lock-step``, all nodes tick by tick, or ``relaxation``, whole waveforms until they
        agree; if not given, lock-step, but for an engine that has no live nodes
    window : int
        ticks that relaxation iterates together
    limit_s : float
        a live node of another process that is silent for longer is taken to hang (s)
    """

    method: str = ""
    window: int = WINDOW
    limit_s: float = SILENT_S

    def __post_init__(self) -> None:
        if self.method not in ("", "lock-step", "relaxation"):
            raise SpinloomError(f"method: expected lock-step or relaxation, got {self.method!r}")
        if self.window < 1:
            raise SpinloomError(f"window: expected at least one tick, got {self.window}")
        if not self.limit_s > 0:
            raise SpinloomError(f"node limit: expected seconds above zero, got {self.limit_s:g}")

    def relaxes(self, engine: Engine) -> bool:
        """Whether this engine's loop is closed by relaxation.

        Raises
        ------
        SpinloomError
            for lock-step with an engine that has no live nodes
        """
        if self.method == "lock-step" and not engine.live:
            raise SpinloomError(f"method: {engine.name} has no live nodes here; use --method relaxation")
        return self.method == "relaxation" or not engine.live


def side_by_side(networks: list[TrainedNetwork]) -> tuple[Weights, np.ndarray, int]:
    """Weights, targets (period_ticks, S, K) and washout of networks that run side by side."""
    weights = Weights.stack([network.weights for network in networks])
    return weights, np.stack([network.f for network in networks], axis=1), networks[0].settings["washouts"][0]


@dataclass(frozen=True)
class FullRun:
    """What an engine did with networks, what it is, and what each network cost."""

    run: FreeRun
    attributes: dict[str, Any]
    costs: list[dict[str, Any]]
    outside: list[float]
    given: str = ""


def run_full(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How,
    salvage: Path | None,
) -> FullRun:
    """All networks at once in an engine that is batched, one after the other in one that is not."""
    done: list[FullRun] = []
    pieces: list[Record] = []
    group, finished = networks, 0
    try:
        while finished < len(networks):
            pieces.clear()
            with open_engine(choice, model.card, model.tick, limit_s=how.limit_s) as engine:
                group = networks[finished:] if engine.batched else networks[finished : finished + 1]
                done.append(_group(group, model, engine, periods, how, pieces))
            finished += len(group)
    except BaseException:
        if salvage is not None and (pieces or done):
            _salvage(networks, model, choice, done, group, pieces, salvage)
        raise
    first = done[0]
    run = FreeRun(
        z=np.concatenate([one.run.z for one in done], axis=1),
        f=np.concatenate([one.run.f for one in done], axis=1),
        record=Record(*(np.concatenate(x, axis=1) for x in zip(*(one.run.record for one in done), strict=True))),
    )
    costs, outside = [cost for one in done for cost in one.costs], [share for one in done for share in one.outside]
    return FullRun(run, first.attributes, costs, outside, first.given)


def _group(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    engine: Engine,
    periods: int,
    how: How,
    pieces: list[Record],
) -> FullRun:
    """Networks that run side by side."""
    weights, f, washout = side_by_side(networks)
    ticks, devices = (washout + periods) * len(f), weights.networks * weights.nodes
    what = f"{', '.join(network.name for network in networks)}: {devices} junctions in {engine.name} micromagnetics"
    node, given, state, began = model.scaled, "", None, time.perf_counter()
    if how.relaxes(engine):
        solve: Any = partial(_relax_on, engine, model, how.window)
    else:
        given, node = engine.input(), model.scale.of(engine.node)
        state = _started(node, weights, f"{what}, starting")
        solve = partial(simulate, state=state)
    started = time.perf_counter()
    with progress(what, ticks) as advance:
        result = generate(node, weights, f, periods, washout, advance, record="all", watch=pieces.append, solve=solve)
    cost: dict[str, Any] = engine.costs(result.state, time.perf_counter() - started, ticks) if state else {}
    if cost:
        cost["startup_s"] = started - began
    attributes = {"engine": engine.name, "engine_version": engine.version, "card": model.card.to_json()}
    u = model.scale.reach * result.record.u
    outside = [model.region.outside(result.record.m[:, k], u[:, k]) for k in range(len(networks))]
    return FullRun(result, attributes, [cost for _ in networks], outside, given)


def _started(node: Node, weights: Weights, what: str) -> LoopState:
    """Devices in equilibrium; those that live elsewhere take their time, and tell it."""
    if node.traceable:
        return start(node, weights)
    with progress(what, weights.networks * weights.nodes) as advance:
        return start(node, weights, progress=advance)


def _relax_on(
    engine: Engine, model: CalibratedModel, window: int, guide: Any, weights: Weights, **run: Any
) -> tuple[Any, Record]:
    """:func:`spinloom.networks.relaxation.relax` with the arguments of :func:`spinloom.networks.loop.simulate`."""
    return relax(engine, weights, scale=model.scale, guide=guide, window=window, **run)


def _salvage(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    done: list[FullRun],
    group: list[TrainedNetwork],
    pieces: list[Record],
    path: Path,
) -> None:
    """Keep what was computed before a run ended early: finished networks, and the ticks of those under way."""
    finished = dict(zip([network.name for network in networks], [one.run for one in done], strict=False))
    attributes = {"engine": choice.name, "card": model.card.to_json(), "tick_s": model.tick}
    try:
        save_unfinished(path, model.scale, finished, group, pieces, attributes)
    except SpinloomError as problem:
        say(f"what was computed could not be kept: {problem}")
        return
    say(f"what was computed is kept in {path}: {len(done)} finished, {sum(len(p.z) for p in pieces)} ticks of the next")
