"""Trained networks with every node in full micromagnetics: how the loop is closed, and what is kept if it breaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinloom.device_models.engines import SILENT_S, Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine, Node
from spinloom.networks.kick import PERIODS as KICK_PERIODS
from spinloom.networks.kick import can_be_kicked, kick
from spinloom.networks.loop import LoopState, Record, simulate, start
from spinloom.networks.record import save_unfinished
from spinloom.networks.relaxation import WINDOW, relax
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Weights
from spinloom.networks.trials import FreeRun, generate
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.console import progress, say
from spinloom.workflows.trust import PREVIEW, PartedError, Preview, first_ticks, model_error

_WORTH_TELLING_S = 5.0


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
    anyway : bool
        whether the run goes on where the reduced model turns out to be wrong
    kick : bool
        whether every node is kicked at the end, to see whether the network returns
    """

    method: str = ""
    window: int = WINDOW
    limit_s: float = SILENT_S
    anyway: bool = False
    kick: bool = False

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


class Batch(NamedTuple):
    """Networks that run side by side.

    Attributes
    ----------
    weights : Weights
    f : (period_ticks, S, K) ndarray
        targets
    clock : (period_ticks, S) ndarray or None
        inputs; zero for a network without a clock beside others that have one
    washout : int
        periods
    """

    weights: Weights
    f: np.ndarray
    clock: np.ndarray | None
    washout: int


def side_by_side(networks: list[TrainedNetwork]) -> Batch:
    """Networks of the same size, period and number of outputs as one batch."""
    weights = Weights.stack([network.weights for network in networks])
    f = np.stack([network.f for network in networks], axis=1)
    clock = None
    if any(network.clock is not None for network in networks):
        clock = np.stack([np.zeros(len(f)) if n.clock is None else n.clock for n in networks], axis=1)
    return Batch(weights, f, clock, networks[0].washouts[0])


@dataclass(frozen=True)
class FullRun:
    """What an engine did with networks, what it is, and what each network cost.

    Attributes
    ----------
    run : FreeRun
        NaN after the end of a network that was stopped
    attributes : dict
        of the record
    periods : list of int
        in free run, of each network
    found : list of dict
        of each network: the error of the model, whether it was stopped, the kick, and costs
    outside : list of float
        share of node-ticks outside the region of calibration
    given : str
        what an external solver was given
    """

    run: FreeRun
    attributes: dict[str, Any]
    periods: list[int]
    found: list[dict[str, Any]]
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
            with open_engine(choice, model.cards, model.tick, limit_s=how.limit_s) as engine:
                group = networks[finished:] if engine.batched else networks[finished : finished + 1]
                done.append(_group(group, model, engine, periods, how, pieces))
            finished += len(group)
    except BaseException:
        if salvage is not None and (pieces or done):
            _salvage(networks, model, choice, done, group, pieces, salvage)
        raise
    longest = max(len(one.run.z) for one in done)
    records = [Record(*(_padded(x, longest) for x in one.run.record)) for one in done]
    run = FreeRun(
        z=np.concatenate([_padded(one.run.z, longest) for one in done], axis=1),
        f=np.concatenate([one.run.f for one in done], axis=1),
        record=Record(*(np.concatenate(x, axis=1) for x in zip(*records, strict=True))),
    )
    first = done[0]
    of_each = {name: [x for one in done for x in getattr(one, name)] for name in ("periods", "found", "outside")}
    return FullRun(run, first.attributes, given=first.given, **of_each)


def run_whole(networks: list[TrainedNetwork], model: CalibratedModel, choice: Choice, periods: int, how: How) -> Record:
    """What networks do from equilibrium on, washout included, whatever the model says about it."""
    records = []
    waiting = networks
    while waiting:
        with open_engine(choice, model.cards, model.tick, limit_s=how.limit_s) as engine:
            group = waiting if engine.batched else waiting[:1]
            pieces: list[Record] = []
            _group(group, model, engine, periods, replace(how, anyway=True, kick=False), pieces)
        records.append(first_ticks(pieces, sum(len(piece.z) for piece in pieces)))
        waiting = waiting[len(group) :]
    return Record(*(np.concatenate(parts, axis=1) for parts in zip(*records, strict=True)))


def _padded(values: np.ndarray, ticks: int) -> np.ndarray:
    """Values of a run that ended early, with NaN to the length of the others."""
    rest = np.full((ticks - len(values), *values.shape[1:]), np.nan)
    return np.concatenate([values, rest]) if len(rest) else values


def _group(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    engine: Engine,
    periods: int,
    how: How,
    pieces: list[Record],
) -> FullRun:
    """Networks that run side by side."""
    weights, f, clock, washout = side_by_side(networks)
    ticks, devices = (washout + periods) * len(f), weights.networks * weights.nodes
    what = f"{', '.join(network.name for network in networks)}: {devices} junctions in {engine.name} micromagnetics"
    node, given, state, began = model.scaled, "", None, time.perf_counter()
    if how.relaxes(engine):
        solve: Any = partial(_relax_on, engine, model, how.window)
    else:
        given, node = engine.input(), model.scale.of(engine.node)
        state = started(node, weights, f"{what}, starting")
        solve = partial(simulate, state=state, names=[network.name for network in networks])
    preview = (
        None if how.anyway or periods <= PREVIEW else Preview(model, (washout + PREVIEW) * len(f), weights.which())
    )

    def watch(piece: Record) -> None:
        pieces.append(piece)
        if preview is not None:
            preview(piece)

    since, stopped = time.perf_counter(), False
    try:
        with progress(what, ticks) as bar:
            advance = foretold(bar, what, ticks)
            options: dict[str, Any] = {"clock": clock, "record": "all", "watch": watch, "solve": solve}
            result = generate(node, weights, f, periods, washout, advance, **options)
    except PartedError:
        stopped, ticks = True, (washout + PREVIEW) * len(f)
        free = Record(*(x[washout * len(f) :] for x in first_ticks(pieces, ticks)))
        result = FreeRun(free.z, f, free)
    cost: dict[str, Any] = {}
    if state and not stopped:
        cost = engine.costs(result.state, time.perf_counter() - since, ticks)
    if cost:
        cost["startup_s"] = since - began
    errors = model_error(model, first_ticks(pieces, ticks), weights.which())
    found: list[dict[str, Any]] = [{"stopped": stopped, "model_error": error, **cost} for error in errors]
    if how.kick and not stopped:
        _kicked(networks, node, result, clock, state is not None, found)
    attributes = {"engine": engine.name, "engine_version": engine.version, "card": model.card.to_json()}
    u = model.scale.reach * result.record.u
    outside = [model.region.outside(result.record.m[:, k], u[:, k]) for k in range(len(networks))]
    return FullRun(result, attributes, [len(result.z) // len(f)] * len(networks), found, outside, given)


def _kicked(
    networks: list[TrainedNetwork],
    node: Node,
    result: FreeRun,
    clock: np.ndarray | None,
    live: bool,
    found: list[dict[str, Any]],
) -> None:
    """Kick the nodes at the end of a run, and add what followed to what was found."""
    if not live or not can_be_kicked(node):
        say("kick: these nodes cannot be turned from here; use --engine embedded")
        return
    weights = side_by_side(networks).weights
    what = f"{', '.join(network.name for network in networks)}: kicked"
    s = None if clock is None else np.tile(clock, (KICK_PERIODS, 1))
    with progress(what, KICK_PERIODS * len(result.f)) as advance:
        kicks = kick(node, weights, result.f, result.state, result.z, clock=s, progress=advance)
    for network, one, kicked in zip(networks, found, kicks, strict=True):
        one["kick"] = kicked
        if kicked["lost"]:
            say(
                f"{network.name}, kicked: {kicked['lost']}, counted from the kick; its figures before the kick are "
                "kept: take a shorter tick, or leave the kick out"
            )


def foretold(advance: Callable[[float], None], what: str, total: float) -> Callable[[float], None]:
    """Progress that says how long all will take as soon as a first piece has been timed.

    The first piece of all compiles, and is not the one.
    """
    marks: list[tuple[float, float]] = []
    done = 0.0

    def tell(n: float) -> None:
        nonlocal done
        done += n
        advance(n)
        if len(marks) > 1:
            return
        marks.append((time.perf_counter(), done))
        if len(marks) == 2:
            (before, at), (now, then) = marks
            each = (now - before) / (then - at)
            if each * (total - done) > _WORTH_TELLING_S:
                say(f"{what}: {total:.0f} ticks of {1e3 * each:.3g} ms, {each * (total - done):.0f} s from now")

    return tell


def started(node: Node, weights: Weights, what: str) -> LoopState:
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
