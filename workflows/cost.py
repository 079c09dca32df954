"""What a run costs, before it begins: device-nanoseconds of each stage, times what one costs here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.networks.finish import Plan
from spinloom.networks.kick import PERIODS as KICK_PERIODS
from spinloom.workflows.baselines import KINDS
from spinloom.workflows.baselines import PERIODS as BASELINE_PERIODS
from spinloom.workflows.console import emit, show
from spinloom.workflows.settings import Experiment, load_experiment, override

TICK = 7.5e-12
TICKS, DEVICES = 100, 8
"""Of the probe of an engine's speed."""
REDUCED_S = 0.4e-6
"""A tick of one reduced node in training, about, with its share of the network (s); see docs/speed.md."""
START_S = 5.0
"""To compile what a stage runs, about (s)."""


class StageCost(NamedTuple):
    """What a stage computes.

    Attributes
    ----------
    stage : str
        as it is called in a run's folder
    device_ns : float
        that junctions live for, all together
    full : bool
        whether in full micromagnetics; else as reduced nodes
    """

    stage: str
    device_ns: float
    full: bool

    def seconds(self, speed: float, tick: float) -> float:
        """How long it takes (s), about.

        Parameters
        ----------
        speed : float
            seconds for a device-nanosecond of full micromagnetics
        tick : float
            (s)
        """
        return START_S + self.device_ns * (speed if self.full else REDUCED_S / (tick * 1e9))


def stage_costs(experiment: Experiment, temperature: float = 0.0) -> list[StageCost]:
    """Device-nanoseconds of each stage, if all networks work: what does not is not verified.

    A period that is given in resonances counts as the usual number of ticks, because only a fit tells the resonance.

    Parameters
    ----------
    experiment : Experiment
    temperature : float
        of the junctions (K)

    Examples
    --------
    >>> for one in stage_costs(Experiment(name="demo", baselines=False)):
    ...     print(f"{one.stage:22} {one.device_ns:8.0f} {'full' if one.full else 'reduced'}")
    calibrate                   528 full
    train-generate           507881 reduced
    train-recognise           28800 reduced
    finish                     1512 full
    cosimulate-generate        2344 full
    cosimulate-recognise        720 full
    """
    protocol, generate, heard = experiment.calibration, experiment.generate, experiment.recognise
    tick, chips = protocol.tick, experiment.chips
    ns = 1e9 * tick
    tasks = len(generate.tasks)
    # A period of all networks that generate, and one of a trial of the one that recognises.
    period = tasks * chips * generate.topology.nodes * (generate.period_ticks or generate.usual_ticks) * ns
    trial = chips * heard.topology.nodes * heard.periods * (heard.period_ticks or heard.usual_ticks) * ns
    how = generate.training
    taught = how.lasts(bool(generate.topology.clock)) * (how.tries if how.method == "force" else 1)
    judged = sum(washout + generate.free_periods for washout in generate.washouts)
    trials = heard.train_trials + heard.test_trials
    found = [
        StageCost("calibrate", protocol.n_trajectories * protocol.n_ticks * ns, True),
        StageCost("train-generate", period * (taught + judged), False),
        StageCost("train-recognise", trial * trials, False),
    ]
    if experiment.baselines:
        others = len(KINDS) * (period * (taught + BASELINE_PERIODS) + trial * trials) / chips
        found.append(StageCost("baselines", others, False))
    if experiment.finish != "none" and not temperature:
        found.append(StageCost("finish", period * Plan().total, True))
    verified = generate.washouts[0] + generate.full_periods
    verified = verified * generate.full_seeds if temperature else verified + KICK_PERIODS
    found.append(StageCost("cosimulate-generate", period * verified, True))
    found.append(StageCost("cosimulate-recognise", trial * heard.full_trials, True))
    return [one for one in found if one.device_ns]


def measured_speed(choice: Choice, card: DeviceCard, tick: float = TICK) -> float:
    """Seconds for a device-nanosecond of full micromagnetics here and now, without what starting costs."""
    with open_engine(choice, card, tick) as engine:
        devices = DEVICES if engine.batched else 1
        seconds = {}
        for ticks in (1, 1, TICKS, TICKS):  # the first of each may compile
            began = time.perf_counter()
            engine.play(np.full(ticks, tick), np.zeros((ticks, devices)))
            seconds[ticks] = time.perf_counter() - began
    return max(seconds[TICKS] - seconds[1], 0.0) / ((TICKS - 1) * devices * tick * 1e9)


def estimate(experiment: Experiment, card: DeviceCard, choice: Choice) -> dict[str, Any]:
    """What a run would cost on this machine, with the engine's speed tried out for a moment.

    Returns
    -------
    estimate : dict
        ``s_per_device_ns``; ``stages``, of each ``stage, device_ns, nodes, seconds``; ``seconds`` of all
    """
    tick = experiment.calibration.tick
    speed = 0.0 if choice.recorded else measured_speed(choice, card, tick)
    stages = [
        {
            "stage": one.stage,
            "device_ns": one.device_ns,
            "nodes": "full" if one.full else "reduced",
            "seconds": one.seconds(speed, tick),
        }
        for one in stage_costs(experiment, card.conditions.temperature)
    ]
    return {"s_per_device_ns": speed, "stages": stages, "seconds": sum(one["seconds"] for one in stages)}


def costs_table(found: dict[str, Any], title: str) -> Table:
    """An estimate for a terminal."""
    table = Table(title=title, box=None, title_justify="left")
    for heading in ("stage", "nodes", "device-ns", "seconds here, about"):
        table.add_column(heading, justify="left" if heading in ("stage", "nodes") else "right")
    for one in found["stages"]:
        table.add_row(one["stage"], one["nodes"], f"{one['device_ns']:.0f}", f"{one['seconds']:.0f}")
    table.add_row("all", "", "", f"{found['seconds']:.0f}")
    return table


def time_words(seconds: float) -> str:
    """A length of time, for people.

    Examples
    --------
    >>> time_words(40), time_words(600), time_words(9000), time_words(400_000)
    ('40 s', '10 min', '2.5 h', '4.6 days')
    """
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= least * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.0f} s"


def words_of_what_follows(experiment: Experiment, card: DeviceCard, calibrated: dict[str, Any]) -> str:
    """After the calibration: how long full micromagnetics will take, at the speed that it had.

    Parameters
    ----------
    experiment : Experiment
    card : DeviceCard
    calibrated : dict
        of :func:`spinloom.workflows.calibrate.calibrate_stage`
    """
    speed = calibrated["wall_s"] / calibrated["device_ns"]
    costs = stage_costs(experiment, card.conditions.temperature)
    full = [one for one in costs if one.full and one.stage != "calibrate"]
    device_ns = sum(one.device_ns for one in full)
    seconds = sum(one.seconds(speed, experiment.calibration.tick) for one in full)
    return (
        f"full micromagnetics to come: {device_ns:.0f} device-ns, about {time_words(seconds)} at the speed of the "
        f"calibration ({speed:.2g} s each)"
    )


def as_asked(experiment: Experiment, card: DeviceCard, options: dict[str, Any]) -> tuple[Experiment, DeviceCard]:
    """An experiment and its card with what a command line asks for instead."""
    temperature = options.get("temperature")
    card = card if temperature is None else card.at(temperature)
    given = {key: options.get(key) for key in ("engine", "finish")}
    return override(experiment, temperature=card.conditions.temperature, **given), card


def tell_cost(path: Path, options: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """Print what a run would cost, and run nothing.

    Parameters
    ----------
    path : path
        of the experiment
    options : dict
        ``engine, oommf, finish, temperature``, instead of the experiment's, where they are not None
    as_json : bool
        whether one JSON object goes to standard output, else a table to standard error

    Returns
    -------
    estimate : dict
        of :func:`estimate`
    """
    experiment, card = as_asked(*load_experiment(path), options)
    found = estimate(experiment, card, choose_engine(experiment.engine, options.get("oommf")))
    if as_json:
        emit(found, True)
    else:
        show(costs_table(found, f"{experiment.name}: what a run costs, if all of it works"))
    return found
