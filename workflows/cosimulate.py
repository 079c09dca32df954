"""Stage: the verdict. The same trained network, every node in full micromagnetics."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError, UnfinishedError
from spinloom.device_models.node import Engine
from spinloom.networks.lost import MEND
from spinloom.networks.record import judged, make_record, run_variables, save_record
from spinloom.networks.reference import recorded
from spinloom.networks.seeds import VERIFIES, stream
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.tasks import CLASSES
from spinloom.networks.trials import FreeRun, generate, recognise
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.reduced_models.region import Watch
from spinloom.workflows.chips import on_their_chips
from spinloom.workflows.console import progress, say, spoken_to
from spinloom.workflows.full_runs import How, run_full, side_by_side
from spinloom.workflows.trust import APART, trusted
from spinloom.workflows.warm_verdict import SEEDS, warm_compare
from spinloom.workflows.workers import Team

TOGETHER = 120
"""Processes that live at once at most, over several trials."""
PART = 10
"""Trials that a worker runs at a time."""


def load_networks(paths: list[Path]) -> tuple[list[TrainedNetwork], CalibratedModel]:
    """Networks that share one model, which knows the junctions of all their chips.

    Raises
    ------
    SpinloomError
        if their models differ
    """
    loaded = [load_network(path) for path in paths]
    if len({files.digest(model_path) for _, model_path in loaded}) != 1:
        raise SpinloomError("networks: expected all to be trained on the same model; run them one by one")
    return on_their_chips([network for network, _ in loaded], load_model(loaded[0][1]))


def verdict_generate(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    out: Path | None = None,
    how: How | None = None,
    salvage: Path | None = None,
    *,
    temperature: float | None = None,
    seeds: int = SEEDS,
) -> list[dict[str, Any]]:
    """Run trained generators in closed loop, reduced and full, from the same start.

    An engine that is batched runs all networks side by side, another one after the other. The
    embedded engine runs beside one that computes outside Spinloom, to be compared.

    Parameters
    ----------
    networks : list of TrainedNetwork
        of the same size, period and number of outputs
    model : CalibratedModel
    choice : Choice
        of the engine
    periods : int
        in free run
    out : path, optional
        where the record goes (NetCDF)
    how : How, optional
    salvage : path, optional
        where what was computed goes if the run ends early; beside ``out`` if not given
    temperature : float, optional
        of the nodes (K); the model's if not given
    seeds : int
        of the noise, above 0 K

    Returns
    -------
    results : list of dict
        see :func:`compare`
    """
    if out is not None:
        files.check_writable(out)
        salvage = salvage or out.with_name(f"{out.stem}.partial.nc")
    record, results = compare(networks, model, choice, periods, how, salvage, temperature=temperature, seeds=seeds)
    if out is not None:
        save_record(record, out)
    return results


def compare(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How | None = None,
    salvage: Path | None = None,
    *,
    temperature: float | None = None,
    seeds: int = SEEDS,
) -> tuple[xr.Dataset, list[dict[str, Any]]]:
    """The verdict itself; the arguments are those of :func:`verdict_generate`.

    Above 0 K it is :func:`spinloom.workflows.warm_verdict.warm_compare`.

    Returns
    -------
    record : xarray.Dataset
        see :func:`spinloom.networks.record.make_record`
    results : list of dict
        of each network what :func:`spinloom.networks.record.judged` gives; ``model_error``
        (:func:`spinloom.workflows.trust.model_error`; not of a recorded run), ``stopped``, whether it
        ended after a few periods because of that; ``kick``, if asked for; what the engine tells of its
        costs; ``wall_s``
    """
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise SpinloomError(f"networks: expected a name of its own for each, got {', '.join(names)}")
    alike = {(n.period_ticks, n.weights.nodes, n.weights.outputs, tuple(n.washouts)) for n in networks}
    if len(alike) != 1:
        raise SpinloomError("networks: expected the same size, period, outputs and washouts; run them one by one")
    say(choice.why)
    temperature = model.temperature if temperature is None else temperature
    if temperature > 0:
        if choice.recorded:
            say("engine: embedded, because OOMMF's record is of 0 K")
            choice = choose_engine("embedded")
        return warm_compare(networks, model, choice, periods, how or How(), salvage, temperature, seeds)
    if model.temperature > 0:
        raise SpinloomError(f"temperature: the model was fitted at {model.temperature:g} K, got 0 K; take one of 0 K")
    began = time.perf_counter()
    record = None
    if choice.recorded:
        try:
            record, periods = _of_record(networks, model, choice, periods)
        except SpinloomError as reason:
            say(f"engine: embedded, because {reason}")
            choice = choose_engine("embedded")
    found: list[dict[str, Any]] = [{"stopped": False} for _ in networks]
    if record is None:
        record, found = _computed(networks, model, choice, periods, how or How(), salvage)
    wall = time.perf_counter() - began
    results = []
    for network, one in zip(networks, found, strict=True):
        result = {**judged(record, network.name), **one, "wall_s": wall}
        model.region.warn(result["outside_share"], f"{network.name} in full micromagnetics")
        _tell(result)
        results.append(result)
    return record, results


def _tell(result: dict[str, Any]) -> None:
    """Say what is wrong with the model where the network goes, and what to do."""
    error = result.get("model_error")
    if error is None or trusted(error):
        return
    ended = f"stopped after {result['periods']} periods" if result["stopped"] else "run to the end all the same"
    say(
        f"{result['task']}: the reduced model is wrong where this network goes: under the same drives node "
        f"{error['worst_node']} differs by {error['worst_node_difference']:.2g} of at most {APART:g} "
        f"(NRMSE {error['nrmse_worst']:.2g}); {ended}. Calibrate on the network's own drives "
        "(--recalibrate 1), fit with a smaller --reach, find another operating point "
        "(spinloom tune), or run on (--anyway)"
    )


def _of_record(
    networks: list[TrainedNetwork], model: CalibratedModel, choice: Choice, periods: int
) -> tuple[xr.Dataset, int]:
    """What OOMMF computed with these networks, with today's reduced model beside it."""
    record = recorded(networks, periods)
    found = record.sizes["tick"] // record.sizes["period_tick"]
    if found < periods:
        say(f"OOMMF's record is of {found} periods: these are judged")
    reduced = _reduced(networks, model, found)
    return record.assign(run_variables("reduced", reduced, model.scale)).assign_attrs(engine=choice.name), found


def _reduced(networks: list[TrainedNetwork], model: CalibratedModel, periods: int) -> FreeRun:
    """The same networks on reduced nodes, with the read-outs that were trained on these: a finish is for full ones."""
    weights, f, clock, washout = side_by_side([network.as_trained for network in networks])
    run = generate(model.scaled, weights, f, periods, washout, clock=clock, record="r")
    for network, lost in zip(networks, run.lost, strict=True):
        if lost is not None:
            say(f"{network.name} on reduced nodes: {lost.words}, washout included; {MEND}")
    return run


def _computed(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How,
    salvage: Path | None,
) -> tuple[xr.Dataset, list[dict[str, Any]]]:
    """Run the networks, and put what all kinds of node did side by side."""
    full = run_full(networks, model, choice, periods, how, salvage)
    longest = max(full.periods)
    runs = {"reduced": _reduced(networks, model, longest), "full": full.run}
    if choice.outside:
        beside = How(anyway=True)
        runs["embedded"] = run_full(networks, model, choose_engine("embedded"), longest, beside, None).run
    record = make_record(networks, model.scale, model.tick, runs).assign_attrs(full.attributes)
    record["outside_share"] = (("network",), full.outside, {"units": "1"})
    if min(full.periods) < periods:
        record["periods"] = (("network",), full.periods, {"units": "1", "long_name": "periods until it was stopped"})
    if full.given:
        record[f"{full.attributes['engine']}_input"] = ((), full.given, {"long_name": "input of a live node"})
    return record, full.found


def verdict_recognise(
    network: TrainedNetwork,
    model: CalibratedModel,
    choice: Choice,
    trials: int,
    how: How | None = None,
    temperature: float | None = None,
    only: slice | None = None,
    elsewhere: Elsewhere | None = None,
) -> dict[str, Any]:
    """Trials of a trained recogniser, every junction in full micromagnetics.

    Parameters
    ----------
    network : TrainedNetwork
    model : CalibratedModel
    choice : Choice
        of the engine
    trials : int
    how : How, optional
    temperature : float, optional
        of the nodes (K); the model's if not given
    only : slice, optional
        which of the trials are run; all if not given
    elsewhere : Elsewhere, optional
        who runs them, in parts, instead of this process

    Returns
    -------
    result : dict
        ``task, engine, accuracy_full, trials, confusion, outside_share, wall_s``
    """
    how = how or How()
    if how.method == "relaxation":
        raise SpinloomError("method: relaxation is for networks that generate; recognition runs in lock-step")
    say(choice.why)
    if choice.recorded:
        say("engine: embedded for the recognition, because OOMMF's record is of generators")
        choice = choose_engine("embedded")
    began = time.perf_counter()
    temperature = model.temperature if temperature is None else temperature
    if elsewhere is not None and not elsewhere.team.alone:
        result = elsewhere.recognise(choice, trials, how, temperature)
        return {**result, "temperature": temperature, "wall_s": time.perf_counter() - began}
    cards = [card.at(temperature) for card in model.cards]
    with open_engine(choice, cards, model.tick, limit_s=how.limit_s) as engine:
        if engine.live:
            result = _recognise(network, model, engine, trials, only)
            return {**result, "temperature": temperature, "wall_s": time.perf_counter() - began}
    say(f"engine: embedded for the recognition, because {choice.name} has no live nodes here")
    return verdict_recognise(network, model, choose_engine("embedded"), trials, how, temperature, only)


class Elsewhere(NamedTuple):
    """Workers that trials of a recogniser are spread over.

    Attributes
    ----------
    network : path
        which every process reads
    team : Team
    """

    network: Path
    team: Team

    def recognise(self, choice: Choice, trials: int, how: How, temperature: float) -> dict[str, Any]:
        """All trials, in parts of :data:`PART`; see :func:`verdict_recognise`.

        Raises
        ------
        UnfinishedError
            if a part failed, when the others are done
        """
        parts = [(first, min(first + PART, trials)) for first in range(0, trials, PART)]
        given = {
            "network": str(self.network.resolve()),
            "engine": choice.name,
            "oommf": self.team.oommf,
            "limit_s": how.limit_s,
            "temperature": temperature,
            "trials": trials,
        }
        found, failed = [], {}
        with self.team.open(len(parts)) as workers, progress(f"recognise, {trials} trials", trials) as advance:
            for done in workers.map(trials_on_worker, [{**given, "part": part} for part in parts]):
                first, end = parts[done.number]
                advance(end - first)
                if done.error:
                    failed[first] = done.error
                else:
                    found.append(done.value)
        if failed:
            first = min(failed)
            raise UnfinishedError(
                f"recognise: {len(failed)} of {len(parts)} parts of {PART} trials failed, the first from trial {first} "
                f"on: {failed[first]}"
            )
        confusion = np.sum([one["confusion"] for one in found], axis=0)
        weights = [one["trials"] for one in found]
        return {
            **found[0],
            "accuracy_full": float(np.trace(confusion) / trials),
            "trials": trials,
            "confusion": confusion.tolist(),
            "outside_share": float(np.average([one["outside_share"] for one in found], weights=weights)),
        }


def trials_on_worker(given: dict[str, Any]) -> dict[str, Any]:
    """A part on a worker: ``network`` (path), ``engine, oommf, limit_s, temperature, trials, part``."""
    (network,), model = load_networks([Path(given["network"])])
    choice, how = choose_engine(given["engine"], given["oommf"]), How(limit_s=given["limit_s"])
    with spoken_to(Path(os.devnull)):
        only = slice(*given["part"])
        return verdict_recognise(network, model, choice, given["trials"], how, given["temperature"], only)


def _recognise(
    network: TrainedNetwork, model: CalibratedModel, engine: Engine, trials: int, only: slice | None
) -> dict[str, Any]:
    settings, count = network.settings, len(range(trials)[only or slice(None)])
    nodes, ticks = network.weights.nodes, network.listening["periods"] * network.period_ticks
    together = count if engine.batched else max(1, TOGETHER // nodes)
    watch = Watch(model.region, model.scale.reach, ticks * count * nodes)
    what = f"recognise, {count * nodes} junctions in {engine.name} micromagnetics"
    with progress(what, ticks * -(-count // together)) as advance:
        result = recognise(
            model.scale.of(engine.node),
            network.weights,
            trials=trials,
            **network.listening,
            rng=stream(settings.get("seed", 0), "full trials"),
            progress=advance,
            watch=watch,
            together=together,
            seed=VERIFIES,
            finite=True,
            only=only,
        )
    model.region.warn(watch.outside_of_all, "recognise in full micromagnetics")
    return {
        "task": network.task,
        "engine": engine.name,
        "accuracy_full": float(result.accuracy[0]),
        "trials": count,
        "classes": list(CLASSES),
        "confusion": result.confusion().tolist(),
        "outside_share": watch.outside_of_all,
    }
