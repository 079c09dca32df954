"""What 'spinloom tune' finds for a device, and what is left of it in full micromagnetics.

    python benchmarks/tune.py data/devices/disc60.toml --out runs/tuned
    python benchmarks/tune.py data/devices/pma50.toml --out runs/tuned --follow

Tunes, prints what the ten seeds that judge it reach with reduced nodes, and takes the first three of them through the
finish and twenty periods in full micromagnetics: median and worst. The search and the choice among its best have seeds
of their own. What was tuned into the folder before is kept. With --follow, where the verdict is not "works", the card
is changed as the first advice says, and the changed card is tuned.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.card import DeviceCard, load_card, parse_card
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.ubermag import card_toml
from spinloom.networks.store import TrainedNetwork
from spinloom.reduced_models.model import CalibratedModel, fit_model
from spinloom.workflows.cosimulate import verdict_generate
from spinloom.workflows.finish import finish_stage
from spinloom.workflows.settings import Experiment, load_experiment, override
from spinloom.workflows.train import generators
from spinloom.workflows.tune import Wish, tune_stage


def main(arguments: list[str] | None = None) -> None:
    """Tune, and verify; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the experiment and all beside it")
    parser.add_argument("--task", action="append", help="may be repeated; sine, triangle and harmonics if not given")
    parser.add_argument("--budget", type=float, default=300.0, help="of the tuning (s)")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--full", type=int, default=3, help="seeds in full micromagnetics")
    parser.add_argument("--full-periods", type=int, default=20, help="of each of them, after the finish")
    parser.add_argument("--follow", action="store_true", help="change the card as it is advised, and tune that")
    options = parser.parse_args(arguments)
    try:
        wish = Wish(tuple(options.task or Wish.tasks), options.budget, options.seed)
        card = load_card(options.device)
        out = options.out / f"{card.name}.toml"
        result = tuned(card, options.device, out, wish)
        if options.follow and result["verdict"] != "works" and result["advice"]:
            say(f"followed: {result['advice'][0]['words']}")
            card = followed(card, result["advice"][0]["toml"])
            device, out = options.out / f"{card.name}.card.toml", options.out / f"{card.name}.toml"
            device.write_text(card_toml(card), encoding="utf-8")
            result = tuned(card, device, out, wish)
        if result["out"] is not None and options.full:
            verify(out, result, options.full, options.full_periods)
    except SpinloomError as error:
        parser.error(str(error))


def say(text: str) -> None:
    """A line of the outcome, at once: a run takes long."""
    print(text, flush=True)


def tuned(card: DeviceCard, device: Path, out: Path, wish: Wish) -> dict[str, Any]:
    """What tuning found, or had found before."""
    record = out.with_suffix(".tune.json")
    if record.is_file():
        result = json.loads(record.read_text(encoding="utf-8"))
        say(f"{card.name}: tuned before, kept")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        result = tune_stage(card, device, choose_engine("embedded"), out, wish)
    period = "" if result["period_s"] is None else f", period {result['period_s'] * 1e9:.3g} ns"
    say(
        f"{card.name}: {result['verdict']}, model {result['device_verdict']} up to {result['reach']:g} of J_max"
        f"{period}, {result['candidates']} candidates, {result['wall_s']:.0f} s"
    )
    for task, one in result["tasks"].items():
        say(
            f"reduced {task}: median {one['median_nrmse']:.5f}, worst {one['worst_nrmse']:.5f} of {one['seeds']} fresh "
            f"seeds, {one['periods']} periods"
        )
    for one in result["advice"]:
        say(f"advice: {one['words']}")
    return result


def followed(card: DeviceCard, advice: str) -> DeviceCard:
    """The card, changed as a line of TOML says."""
    values = json.loads(card.to_json())
    for table, changed in tomllib.loads(advice).items():
        values[table] |= changed
    return parse_card({**values, "name": f"{card.name}_changed"})


def verify(out: Path, result: dict[str, Any], seeds: int, periods: int) -> None:
    """The first of the seeds that judged an experiment, through the finish and in full micromagnetics."""
    experiment, _ = load_experiment(out)
    model = model_of(experiment, out)
    networks = [
        replace(network, name=f"{network.name} seed {seed}")
        for seed in range(experiment.generate.seed, experiment.generate.seed + seeds)
        for network in trained(experiment, model, seed)
    ]
    choice = choose_engine("embedded")
    finished, _ = finish_stage(networks, model, choice)
    verdicts = verdict_generate(finished, model, choice, periods)
    say(f"full: {periods} periods after the finish and a washout of {experiment.generate.washouts[0]} periods")
    for task in result["tasks"]:
        found = [verdict for verdict in verdicts if verdict["task"].startswith(f"{task} seed ")]
        errors = [verdict["nrmse_full"] for verdict in found]
        drifts = [1e3 * (verdict["phase_drift_per_period"] or np.nan) for verdict in found]
        stopped = sum(verdict["stopped"] for verdict in found)
        say(
            f"full {task}: median {np.median(errors):.5f}, worst {max(errors):.5f} of {len(errors)} seeds, drift "
            f"{', '.join(f'{drift:+.3f}' for drift in drifts)} mrad/period"
            + (f", {stopped} stopped because the model is wrong there" if stopped else "")
        )


def model_of(experiment: Experiment, out: Path) -> CalibratedModel:
    """The model as 'spinloom run' would fit it."""
    return fit_model(load_calibration(out.with_suffix(".calibration.nc")), experiment.model, experiment.reach)


def trained(experiment: Experiment, model: CalibratedModel, seed: int) -> list[TrainedNetwork]:
    """One network for each task."""
    return generators(model, override(experiment.generate, seed=seed), list(experiment.generate.tasks))


if __name__ == "__main__":
    main()
