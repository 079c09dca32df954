"""How several seeds of an experiment do, with reduced nodes and in full micromagnetics.

    python benchmarks/experiment.py data/experiments/beat.toml                             # three seeds of its own
    python benchmarks/experiment.py demo --first 400 --seeds 5 --full-periods 100          # drifts show over long runs
    python benchmarks/experiment.py runs/tuned.toml --model runs/tuned.model.nc            # what tuning found

Calibrates and fits as the experiment says (or takes a model), trains its generators on one seed after the other,
finishes all of them, and runs all of them in full micromagnetics: every network, then median and worst of each task.
An experiment that 'spinloom tune' wrote names the first of the seeds that judged it: none of them was searched or
chosen on. Nothing is left out: what the verdict stops is counted as it stands.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models.calibration import calibrate
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError, SpinloomWarning
from spinloom.networks.store import TrainedNetwork
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import progress
from spinloom.workflows.cosimulate import verdict_generate
from spinloom.workflows.finish import finish_stage
from spinloom.workflows.settings import Experiment, load_experiment, override
from spinloom.workflows.train import generators

EMBEDDED = choose_engine("embedded")


def main(arguments: list[str] | None = None) -> None:
    """Train, finish, verify and count; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--model", type=Path, help="reduced model of its device, instead of a calibration")
    parser.add_argument("--first", type=int, help="first seed, instead of the experiment's")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--full-periods", type=int, default=20, help="in full micromagnetics")
    parser.add_argument("--no-finish", action="store_true", help="networks as they were trained")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.full_periods < 1:
        parser.error("seeds and full-periods: expected at least 1 of each")
    try:
        experiment, card = load_experiment(options.experiment)
        model = made(experiment, card) if options.model is None else taken(options.model, experiment)
        first = experiment.generate.seed if options.first is None else options.first
        with warnings.catch_warnings():  # every line says what share was outside
            warnings.simplefilter("ignore", SpinloomWarning)
            networks = trained(experiment, model, range(first, first + options.seeds))
            finished = networks if options.no_finish else finish_stage(networks, model, EMBEDDED)[0]
            verdicts = verdict_generate(finished, model, EMBEDDED, options.full_periods)
    except SpinloomError as error:
        parser.error(str(error))
    reached = [network.settings["reached"] for network in networks]
    say(f"reduced: the worst of {experiment.generate.free_periods} periods after each of several washouts")
    say(f"full: {options.full_periods} periods{'' if options.no_finish else ' after the finish'}")
    for network, reduced, full in zip(networks, reached, verdicts, strict=True):
        say(line(network.name, reduced, full))
    for task in dict.fromkeys(reduced["task"] for reduced in reached):
        of_task = [k for k, reduced in enumerate(reached) if reduced["task"] == task]
        say(f"{Path(task).stem} reduced: {spread([reached[k]['nrmse'] for k in of_task])}")
        say(f"{Path(task).stem} full: {spread([verdicts[k]['nrmse_full'] for k in of_task])}")


def say(text: str) -> None:
    """A line of the outcome, at once: a run takes long."""
    print(text, flush=True)


def made(experiment: Experiment, card: DeviceCard) -> CalibratedModel:
    """The model of an experiment, calibrated in the embedded engine."""
    protocol = experiment.calibration
    with open_engine(EMBEDDED, card, protocol.tick) as engine, progress("calibrate", protocol.n_ticks) as advance:
        data = calibrate(card, engine, protocol, advance)
    return fit_model(data, experiment.model, experiment.reach)


def taken(path: Path, experiment: Experiment) -> CalibratedModel:
    """A model that is at hand, if the experiment would have made it so: its settings are in units of the reach."""
    model = load_model(path)
    if experiment.reach not in ("auto", model.scale.reach):
        raise SpinloomError(
            f"model: expected one of reach {experiment.reach:g}, as the experiment asks, got {model.scale.reach:g}; "
            "leave --model out to calibrate and fit anew"
        )
    return model


def trained(experiment: Experiment, model: CalibratedModel, seeds: range) -> list[TrainedNetwork]:
    """One network for each seed and task; a verdict knows them by their names."""
    return [
        replace(network, name=f"{network.name} seed {seed}")
        for seed in seeds
        for network in generators(model, override(experiment.generate, seed=seed), list(experiment.generate.tasks))
    ]


def line(name: str, reduced: dict[str, Any], full: dict[str, Any]) -> str:
    """One network."""
    drift = full["phase_drift_per_period"]
    told = "none" if drift is None else f"{1e3 * drift:+.4f} mrad/period"
    return (
        f"{name}: reduced {reduced['nrmse']:.5f}, full {full['nrmse_full']:.5f}, shape {full['shape_error_full']:.5f}, "
        f"drift {told}, outside {full['outside_share']:.2%}, nodes apart {full['max_node_difference']:.4f}"
        + (", stopped: the model is wrong there" if full["stopped"] else "")
    )


def spread(errors: list[float]) -> str:
    """Median and worst."""
    return f"median {np.median(errors):.5f}, worst {max(errors):.5f} of {len(errors)} seeds"


if __name__ == "__main__":
    main()
