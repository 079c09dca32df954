"""The verdict at a temperature: what noise makes of trained networks, reduced and full, compared by statistics.

No two runs of a warm network are the same, so nodes cannot be compared one by one. What can be compared is what the
noise does to the output, over several seeds of it: error, shape, amplitude and phase, each with an interval.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from spinloom.device_models.engines import Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.networks.fluctuations import fluctuations, interval, summary
from spinloom.networks.loop import Record, simulate
from spinloom.networks.lost import MEND, FirstLost, Lost
from spinloom.networks.measures import GENERATES_WARM, against_chance
from spinloom.networks.record import make_record, save_unfinished
from spinloom.networks.seeds import FORETELLS, VERIFIES, stream
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.tasks import CLASSES
from spinloom.networks.together import Together
from spinloom.networks.trials import FreeRun, Recognition, generate, recognise
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.region import Watch
from spinloom.reduced_models.warmed import warmed
from spinloom.workflows.console import progress, say
from spinloom.workflows.full_runs import How, foretold
from spinloom.workflows.train import lost_trials

SEEDS = 4
"""Of the noise, in full micromagnetics."""
REDUCED_SEEDS = 16
"""The same on reduced nodes, which cost little."""
ROOM = 300.0
"""Room temperature (K)."""
FORETOLD_PERIODS, FORETOLD_TRIALS = 20, 200
"""What networks of 0 K are foretold by, on reduced nodes."""
FEWEST_PERIODS = 4
"""A scatter from period to period needs some."""
_MANY = 5
AGREES = 3.0
"""Means of reduced and full differ if they are further apart than this, in units of the error of both."""


def warm_compare(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How,
    salvage: Path | None,
    temperature: float,
    seeds: int = SEEDS,
) -> tuple[xr.Dataset, list[dict[str, Any]]]:
    """Trained generators in closed loop at a temperature, reduced and full, several times over.

    Parameters
    ----------
    networks : list of TrainedNetwork
        of the same size, period and number of outputs
    model : CalibratedModel
        warm, or of 0 K: then its noise is estimated (:mod:`spinloom.reduced_models.warmed`)
    choice : Choice
        of the engine
    periods : int
        in free run
    how : How
    salvage : path or None
        where what was computed goes if the run ends early
    temperature : float
        (K)
    seeds : int
        of the noise, in full micromagnetics

    Returns
    -------
    record : xarray.Dataset
        the first seed as in :func:`spinloom.networks.record.make_record`, and the outputs of all, ``z_full_seeds`` and
        ``z_reduced_seeds`` (seed, tick, network, output)
    results : list of dict
        of each network ``task, engine, temperature, periods, seeds``; ``noise``, figures with their intervals
        (:func:`spinloom.networks.fluctuations.summary`); means over seeds as ``nrmse_full``, ``nrmse_reduced``,
        ``shape_error_full``, ``phase_drift_per_period``; ``agrees``, ``words``, ``outside_share``, ``wall_s``
    """
    if periods < FEWEST_PERIODS or seeds < 1:
        raise SpinloomError(
            f"periods and seeds: expected at least {FEWEST_PERIODS} and 1 at a temperature, got {periods} and {seeds}"
        )
    if how.method == "relaxation":
        raise SpinloomError("method: relaxation iterates the same waveforms, and noise has no such; use lock-step")
    if how.kick:
        say("kick: left out at a temperature, whose noise kicks all the time")
    began = time.perf_counter()
    group = Together.of(networks)
    washout = networks[0].washouts[0]
    # A finish is for full nodes: reduced ones have the read-outs that were trained on them.
    trained = Together.of([network.as_trained for network in networks])
    guess = _guessed(reduced(model, temperature), [n.name for n in networks], trained, periods, washout)
    full, seen, attributes = _full(networks, group, model, choice, periods, how, salvage, temperature, seeds)
    record = _record(networks, model, {"full": full, "reduced": guess}).assign_attrs(attributes)
    outside = [float(share) for share in group.of_each(seen, axis=0)]
    record["outside_share"] = (("network",), outside, {"units": "1"})
    wall = time.perf_counter() - began
    results = []
    for k, network in enumerate(networks):
        one = summary(*(fluctuations(*several.of_network(k)) for several in (full, guess)))
        result = {
            "task": network.name,
            "engine": attributes["engine"],
            "temperature": temperature,
            "periods": periods,
            "seeds": seeds,
            "seeds_reduced": REDUCED_SEEDS,
            "noise": one,
            "nrmse_full": one["nrmse"]["full"]["mean"],
            "nrmse_reduced": one["nrmse"]["reduced"]["mean"],
            "shape_error_full": one["shape_error"]["full"]["mean"],
            "phase_drift_per_period": one["phase_drift"]["full"]["mean"],
            "agrees": agrees(one),
            "outside_share": outside[k],
            "stopped": False,
            "wall_s": wall,
        }
        result["words"] = words(result)
        model.region.warn(outside[k], f"{network.name} in full micromagnetics")
        say(result["words"])
        results.append(result)
    return record, results


def reduced(model: CalibratedModel, temperature: float) -> Node:
    """The reduced device at a temperature, or each of several that differ, as a network takes it.

    Raises
    ------
    SpinloomError
        for a model that was fitted at another temperature above 0 K
    """
    if temperature == model.temperature:
        return model.scaled
    if model.temperature > 0:
        raise SpinloomError(
            f"temperature: the reduced model was fitted at {model.temperature:g} K, got {temperature:g} K; take one of "
            "that temperature, or of 0 K, whose noise is estimated"
        )
    laws, rest = model.node.laws, np.asarray(model.node.m_start)
    nodes = [
        warmed(jax.tree.map(lambda leaf, k=k: leaf[k], laws), card.at(temperature), rest[k], model.tick)
        for k, card in enumerate(model.cards)
    ]
    return model.scale.of(ReducedNode.stack(nodes))


def foretell(networks: list[TrainedNetwork], model: CalibratedModel, temperature: float) -> dict[str, Any]:
    """What a temperature would do to networks, on reduced nodes whose noise is estimated.

    Parameters
    ----------
    networks : list of TrainedNetwork
        that generate, or recognise
    model : CalibratedModel
    temperature : float
        (K)

    Returns
    -------
    foretold : dict
        ``temperature, periods, seeds``; ``generate``, by the name of each network the interval of each figure of
        :data:`spinloom.networks.fluctuations.FIGURES`; ``recognise``, None without such a network, else ``accuracy,
        trials`` and what :func:`spinloom.networks.measures.against_chance` says
    """
    node = reduced(model, temperature)
    generators = [network.as_trained for network in networks if network.task == "generate"]
    found: dict[str, Any] = {}
    if generators:
        names = [network.name for network in generators]
        several = _guessed(node, names, Together.of(generators), FORETOLD_PERIODS, generators[0].washouts[0])
        for k, network in enumerate(generators):
            figures = fluctuations(*several.of_network(k))
            found[network.name] = {name: interval(values) for name, values in figures.items()}
    answers = [_foretold_answers(node, network) for network in networks if network.task != "generate"]
    return {
        "temperature": temperature,
        "periods": FORETOLD_PERIODS,
        "seeds": REDUCED_SEEDS,
        "generate": found,
        "recognise": answers[0] if answers else None,
    }


def _foretold_answers(node: Node, network: TrainedNetwork) -> dict[str, Any]:
    trials = FORETOLD_TRIALS

    def listened(watch: FirstLost | None) -> Recognition:
        rng = stream(network.settings.get("seed", 0), "full trials")
        how: dict[str, Any] = {**network.listening, "rng": rng, "seed": FORETELLS, "watch": watch}
        return recognise(node, network.weights, trials=trials, **how)

    test = listened(None)
    if (test.answers < 0).any():
        lost = FirstLost()
        listened(lost)
        say(f"{network.name} on reduced nodes: {lost_trials(lost.of_each)}")
    right = int((test.classes == test.answers).sum())
    return {"accuracy": right / trials, "trials": trials, **against_chance(right, trials, len(CLASSES))}


def agrees(noise: dict[str, Any]) -> bool | None:
    """Whether all figures of full micromagnetics are those of the reduced model, within their errors; None unknown."""
    apart = [one["apart"] for one in noise.values() if one["apart"] is not None]
    return max(abs(one) for one in apart) <= AGREES if apart else None


def words(result: dict[str, Any]) -> str:
    """What a network is worth at a temperature, and what to do where that is little."""
    noise, error = result["noise"], result["nrmse_full"]
    told = (
        f"{result['task']} at {result['temperature']:g} K: NRMSE {_told(noise['nrmse']['full'])}, shape error "
        f"{_told(noise['shape_error']['full'])}, phase diffusion {_told(noise['phase_diffusion']['full'])} rad2/period"
    )
    if error is not None and error <= GENERATES_WARM:
        return told
    diffuses = noise["phase_diffusion"]["full"]["mean"]
    if diffuses is not None and noise["shape_error"]["full"]["mean"] < 0.5 * (error or np.inf):
        return f"{told}: it keeps its shape and loses its time; give it a clock (--clock) in training"
    return f"{told}: noise limits it; more --nodes, a clock, a larger junction or a harder drive average it out"


def _told(one: dict[str, float | None]) -> str:
    if one["mean"] is None:
        return "diverged"
    if one["low"] is None or one["high"] is None:
        return f"{one['mean']:.3g}"
    return f"{one['mean']:.3g} ({one['low']:.2g} to {one['high']:.2g})"


@dataclass(frozen=True)
class Several:
    """Free runs of S networks under several noises.

    Attributes
    ----------
    z : (seeds, n_ticks, S, K) ndarray
    f : (period_ticks, S, K) ndarray
    first : FreeRun
        the networks under the first of the noises, with signals
    """

    z: np.ndarray
    f: np.ndarray
    first: FreeRun

    def of_network(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Outputs of one network, its seeds as networks side by side, and their targets."""
        z = self.z[:, :, k].swapaxes(0, 1)
        return z, np.repeat(self.f[:, k : k + 1], z.shape[1], axis=1)


def _guessed(node: Node, names: list[str], group: Together, periods: int, washout: int) -> Several:
    """What reduced nodes do with networks of these names; where one is not finite is said."""

    def go(times: int, record: str) -> FreeRun:
        batch = group.repeated(times)
        how: dict[str, Any] = {"clock": batch.clock, "seed": FORETELLS, "record": record}
        return generate(node, batch.weights, batch.f, periods, washout, **how)

    many = go(REDUCED_SEEDS, "z")
    if any(many.lost):
        # The same again, for the nodes: signals of so many are kept only if one of them is lost.
        _tell_lost(names, group, go(REDUCED_SEEDS, "r").lost)
    # A device's noise does not depend on the batch, so that the first of many is the one alone.
    return _several(group, [many.z], go(1, "r").record)


def _tell_lost(names: list[str], group: Together, lost: Sequence[Lost | None]) -> None:
    """Say of each network in how many noises it is not finite, and where in the first of them."""
    groups = group.weights.networks
    for name, of in zip(names, group.place[:, 0], strict=True):
        gone = [(seed, one) for seed, one in enumerate(lost[of::groups]) if one is not None]
        if gone:
            seed, first = gone[0]
            say(
                f"{name} on reduced nodes: not finite under {len(gone)} of {len(lost) // groups} noises: under noise "
                f"{seed} {first.words}, washout included; {MEND}"
            )


def _several(group: Together, pieces: list[np.ndarray], first: Record) -> Several:
    z = np.concatenate([group.outputs_of_each(piece) for piece in pieces])
    f = group.outputs_of_each(group.f)[0]
    signals = Record(z[0], *(None if x is None else group.of_each(x) for x in (first.r, first.u, first.m)))
    return Several(z, f, FreeRun(z[0], f, signals))


def _full(
    networks: list[TrainedNetwork],
    group: Together,
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How,
    salvage: Path | None,
    temperature: float,
    seeds: int,
) -> tuple[Several, np.ndarray, dict[str, Any]]:
    """What full micromagnetics does, the share of ticks outside the region, and what computed."""
    washout = networks[0].washouts[0]
    ticks, cards = (washout + periods) * len(group.f), [card.at(temperature) for card in model.cards]
    names = ", ".join(network.name for network in networks) if len(networks) < _MANY else f"{len(networks)} networks"
    firsts: list[Record] = []
    with open_engine(choice, cards, model.tick, limit_s=how.limit_s) as engine:
        if not engine.live:
            raise SpinloomError(f"method: {engine.name} has no live nodes here, and noise needs them")
        together = seeds if engine.batched else 1
        batch = group.repeated(together)
        found: list[np.ndarray] = []
        nodes = batch.weights.networks * batch.weights.nodes
        watch = Watch(model.region, model.scale.reach, ticks * nodes * seeds // together)
        members = _members(networks, group)
        what = f"{names}: {nodes} junctions in {engine.name} micromagnetics at {temperature:g} K"

        def see(piece: Record) -> None:
            watch(piece)
            if not found:
                firsts.append(Record(*(x[:, : group.weights.networks].copy() for x in piece)))

        try:
            with progress(what, ticks * seeds // together) as bar:
                advance = foretold(bar, what, ticks * seeds // together)
                for k in range(0, seeds, together):
                    called = [f"{member}, noise {k + seed}" for seed in range(together) for member in members]
                    run = generate(
                        model.scale.of(engine.node), batch.weights, batch.f, periods, washout, advance,
                        clock=batch.clock, seed=VERIFIES + k, watch=see, solve=partial(simulate, names=called),
                    )  # fmt: skip
                    found.append(run.z)
        except BaseException:
            if salvage is not None and firsts:
                attributes = {"engine": engine.name, "card": model.card.to_json(), "tick_s": model.tick}
                save_unfinished(salvage, model.scale, {}, networks[:1], firsts, attributes)
                say(f"what was computed is kept in {salvage}")
            raise
        attributes = {"engine": engine.name, "engine_version": engine.version, "card": cards[0].to_json()}
    whole = Record(*(np.concatenate(parts)[washout * len(group.f) :] for parts in zip(*firsts, strict=True)))
    shares = np.mean(np.reshape(watch.outside, (-1, group.weights.networks)), axis=0)
    return _several(group, found, whole), shares, attributes


def _members(networks: list[TrainedNetwork], group: Together) -> list[str]:
    """What each network of a group is called: by all that share its nodes."""
    return [
        " and ".join(network.name for network, of in zip(networks, group.place[:, 0], strict=True) if of == k)
        for k in range(group.weights.networks)
    ]


def _record(networks: list[TrainedNetwork], model: CalibratedModel, runs: dict[str, Several]) -> xr.Dataset:
    """The first seeds as a record of any verdict, and the outputs of all."""
    record = make_record(networks, model.scale, model.tick, {name: one.first for name, one in runs.items()})
    for name, one in runs.items():
        dims = (f"seed_{name}", "tick", "network", "output")
        record[f"z_{name}_seeds"] = (dims, one.z.astype(np.float32), {"units": "1"})
    return record
