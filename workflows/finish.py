"""Stage: the finish. Networks are trained again for the nodes that they are meant for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from spinloom.device_models.card import expect_cold, explain
from spinloom.device_models.engines import SILENT_S, Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine
from spinloom.networks.finish import Finished, Plan, finish
from spinloom.networks.store import TrainedNetwork, load_network, save_network
from spinloom.networks.training import Training
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import progress, say
from spinloom.workflows.full_runs import foretold, side_by_side, started

Keep = Callable[[TrainedNetwork, dict[str, Any]], None]


def finish_stage(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    plan: Plan | None = None,
    *,
    limit_s: float = SILENT_S,
    keep: Keep | None = None,
) -> tuple[list[TrainedNetwork], list[dict[str, Any]]]:
    """Train generators again, on reduced nodes that are corrected by what full micromagnetics shows.

    An engine that is batched runs networks of one size side by side, another one after the other.
    The reduced model's figures in ``settings["reached"]`` stay those of the read-out before.

    Parameters
    ----------
    networks : list of TrainedNetwork
    model : CalibratedModel
        that they were trained on
    choice : Choice
        of the engine
    plan : Plan, optional
    limit_s : float
        a live node of another process that is silent for longer is taken to hang (s)
    keep : callable, optional
        called with each network and its result as soon as it is done

    Returns
    -------
    networks : list of TrainedNetwork
        with new read-outs; those that could not be finished, or need not, as they were
    results : list of dict
        of each ``task, engine, finished, why``; of those that ran ``nrmse_before`` and ``nrmse_after``
        (expected over 100 periods in full micromagnetics), ``drift_before`` and ``drift_after`` (rad per
        period), ``rounds``, ``periods``, ``node_difference`` of m . e_read from the reduced model under the same
        drives, ``wall_s``

    Raises
    ------
    SpinloomError
        for an engine without live nodes, and for one that only reads what was recorded
    """
    expect_cold(model.card, "the finish")
    if choice.recorded:
        raise SpinloomError(f"finish: expected an engine that computes, got {choice.name}; use embedded, or none")
    plan = plan or Plan()
    done: dict[int, tuple[TrainedNetwork, dict[str, Any]]] = {}
    waiting = []
    for k, network in enumerate(networks):
        why = _spared(network)
        if why:
            say(f"{network.name}: {why}")
            done[k] = (network, _result(network, choice.name, why))
        else:
            waiting.append(k)
    if waiting:
        say(choice.why)
    while waiting:
        with open_engine(choice, model.cards, model.tick, limit_s=limit_s) as engine:
            if not engine.live:
                raise SpinloomError(f"finish: {engine.name} has no live nodes here; use embedded, or none")
            alike = [k for k in waiting if _form(networks[k]) == _form(networks[waiting[0]])]
            group = alike if engine.batched else alike[:1]
            finished = _group([networks[k] for k in group], model, engine, plan)
        for k, one in zip(group, finished, strict=True):
            done[k] = one
            if keep is not None:
                keep(*one)
        waiting = [k for k in waiting if k not in group]
    return [done[k][0] for k in range(len(networks))], [done[k][1] for k in range(len(networks))]


def _spared(network: TrainedNetwork) -> str:
    """Why a network needs no finish; empty if it does."""
    if network.task != "generate":
        return "a finish is for networks that generate; left as it is"
    if "finish" in network.settings:
        return "finished before; left as it is"
    return ""


def _form(network: TrainedNetwork) -> tuple[Any, ...]:
    """What networks that run side by side have in common."""
    weights = network.weights
    return network.period_ticks, weights.nodes, weights.outputs, network.clock is None, _how(network)


def _how(network: TrainedNetwork) -> Training:
    try:
        return Training.model_validate(network.settings["training"])
    except (KeyError, ValidationError) as error:
        told = explain(error, "training") if isinstance(error, ValidationError) else "they hold no training"
        raise SpinloomError(
            f"{network.name}: its settings do not say how it was trained ({told}); train it again"
        ) from None


def _result(network: TrainedNetwork, engine: str, why: str) -> dict[str, Any]:
    return {"task": network.name, "engine": engine, "finished": False, "why": why}


def _group(
    networks: list[TrainedNetwork], model: CalibratedModel, engine: Engine, plan: Plan
) -> list[tuple[TrainedNetwork, dict[str, Any]]]:
    """Networks that run side by side."""
    began = time.perf_counter()
    weights, f, clock, _ = side_by_side(networks)
    how = _how(networks[0])
    what = (
        f"finish {', '.join(network.name for network in networks)}: {weights.networks * weights.nodes} junctions, "
        f"{plan.total} periods at most in {engine.name} micromagnetics"
    )
    node = model.scale.of(engine.node)
    state = started(node, weights, f"{what}, starting")
    total = plan.work(how, clock is not None) * len(f)
    with progress(what, total) as bar:
        tell = foretold(bar, what, total)
        found = finish(node, weights, f, model.scaled, how, plan, tell, clock=clock, state=state)
    wall = time.perf_counter() - began
    return [_finished(network, k, found, model, engine, plan, wall) for k, network in enumerate(networks)]


def _finished(
    network: TrainedNetwork,
    k: int,
    found: Finished,
    model: CalibratedModel,
    engine: Engine,
    plan: Plan,
    wall_s: float,
) -> tuple[TrainedNetwork, dict[str, Any]]:
    """One network of a group, and its result."""
    done = bool(found.finished[k])
    result = {
        **_result(network, engine.name, "" if done else "does not generate on these nodes; left as it is"),
        "finished": done,
        "nrmse_before": _number(found.before.nrmse[k]),
        "nrmse_after": _number(found.after.nrmse[k]),
        "drift_before": _number(found.before.phase_drift[k]),
        "drift_after": _number(found.after.phase_drift[k]),
        "rounds": plan.rounds,
        "periods": found.washout + plan.closed,
        "node_difference": float(model.scale.spread * found.difference[k]),
        "wall_s": wall_s,
    }
    if not done:
        say(f"{network.name}: {result['why']}")
        return network, result
    errors = " before, ".join(f"{run.nrmse[k]:.2g}" for run in (found.before, found.after))
    say(f"{network.name}: NRMSE to be expected in full micromagnetics {errors} after")
    settings = {**network.settings, "finish": result}
    before = network.weights.w_out
    return replace(network, weights=found.weights.one(k), reduced=before, settings=settings), result


def _number(value: float) -> float | None:
    """A figure, or None where there is none: a drift of what does not oscillate, the error of what diverges."""
    return float(value) if np.isfinite(value) else None


def finish_file(
    path: Path, choice: Choice, out: Path, plan: Plan | None = None, limit_s: float = SILENT_S
) -> dict[str, Any]:
    """Finish the network of a file and write a new one; nothing is written if that is interrupted.

    Returns
    -------
    result : dict
        as of :func:`finish_stage`, with ``out``

    Raises
    ------
    SpinloomError
        for an output that is the network itself
    """
    if out.resolve() == path.resolve():
        raise SpinloomError(f"{out}: is the network itself; choose another output for the finished one")
    network, model_path = load_network(path)
    (finished,), (result,) = finish_stage([network], load_model(model_path), choice, plan, limit_s=limit_s)
    save_network(finished, out, model_path)
    return {**result, "out": str(out)}
