"""Which of the best candidates of a search is taken: several seeds, and a glance at full micromagnetics, decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spinloom.device_models.engines import choose_engine, open_engine
from spinloom.networks.finish import run_on
from spinloom.networks.loop import start
from spinloom.networks.tasks import task_name
from spinloom.networks.topology import draw
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.console import progress
from spinloom.workflows.search import CLOCK_COSTS, ENOUGH, SPEED_COUNTS, Candidate, goal
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.train import targets
from spinloom.workflows.trust import APART, model_error

GLANCE = 3
"""Periods in full micromagnetics."""
OUTSIDE_COSTS, OUTSIDE = 0.5, 0.01
"""What a share outside of the region of calibration costs that is ten times this one."""
PARTED_COSTS, PARTED = 1.0, 0.05
"""What nodes cost that differ from full micromagnetics by ten times this share of the signal's spread."""
LOST = 3.0
"""An error that is a thousand times the goal counts no more than that; nodes that part for good cost as much."""


@dataclass(frozen=True)
class Finalist:
    """How a candidate does.

    Attributes
    ----------
    candidate : Candidate
    period_s : float
    errors : dict of list of float
        by task, NRMSE in free run of each seed
    outside : float
        share of the node-ticks outside the region of calibration, median over networks
    apart : float
        largest difference of m . e_read between the model and full micromagnetics under the same drives
    spread : float
        of the signal
    """

    candidate: Candidate
    period_s: float
    errors: dict[str, list[float]]
    outside: float
    apart: float
    spread: float

    @property
    def score(self) -> float:
        """What is missing, in log10 (error / goal), the smaller the better: the worst seed counts too, at a third.

        Below the goal it still counts a little, because fresh seeds do worse than those that one is chosen on.
        """
        missing = [
            max(np.log10(max(np.median(error), np.max(error) / 3, 1e-9) / goal(task)), ENOUGH)
            for task, error in self.errors.items()
        ]
        cost = SPEED_COUNTS * np.log10(self.period_s / 1e-9) + CLOCK_COSTS * (self.candidate.params["clock"] > 0)
        cost += OUTSIDE_COSTS * np.log10(1 + self.outside / OUTSIDE)
        cost += LOST if self.apart > APART else PARTED_COSTS * np.log10(1 + self.apart / self.spread / PARTED)
        return float(np.mean(np.minimum(missing, LOST)) + cost)

    @property
    def reaches(self) -> bool:
        """Whether the median of every task is good enough."""
        return all(np.median(error) <= goal(task) for task, error in self.errors.items())

    @property
    def words(self) -> str:
        """The same for people."""
        told = (f"{task_name(t)} {np.median(e):.2g} (worst {np.max(e):.2g})" for t, e in self.errors.items())
        seeds = len(next(iter(self.errors.values())))
        clock = ", with a clock" if self.candidate.params["clock"] else ""
        return (
            f"candidate {self.candidate.number}, {self.period_s * 1e9:.3g} ns{clock}, {seeds} seeds: "
            f"{', '.join(told)}; {self.outside:.1%} outside the region of calibration, "
            f"nodes {self.apart:.2g} from full micromagnetics"
        )


def glance(model: CalibratedModel, settings: GenerateSettings, tasks: tuple[str, ...], seed: int) -> float:
    """How far nodes are from full micromagnetics where networks of these settings drive them.

    The target is fed back, so the networks need no training. The embedded engine does it, whatever engine
    calibrated.

    Parameters
    ----------
    model : CalibratedModel
    settings : GenerateSettings
    tasks : tuple of str
    seed : int
        of the topology

    Returns
    -------
    apart : float
        largest difference of m . e_read of any node and tick, under the same drives
    """
    f = targets(list(tasks), settings.ticks(model))
    weights = draw(settings.topology, [seed] * len(tasks), f.shape[2])
    clock = settings.topology.clock_period(len(f))
    what = f"{GLANCE} periods of {weights.networks * weights.nodes} junctions in embedded micromagnetics"
    with (
        open_engine(choose_engine("embedded"), model.card, model.tick) as engine,
        progress(what, GLANCE * len(f)) as advance,
    ):
        node: Any = model.scale.of(engine.node)
        _, record = run_on(node, weights, f, GLANCE, start(node, weights), advance, forced=True, clock=clock)
    return max(error["worst_node_difference"] for error in model_error(model, record))
