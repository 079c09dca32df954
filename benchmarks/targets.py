"""How well do ten seeds do? Every figure of the README that is not of a single network.

    python benchmarks/targets.py MODEL.nc              # reduced networks, seeds 0 to 9
    python benchmarks/targets.py MODEL.nc --full 3     # the first three in full micromagnetics too

Prints a line for each seed and, for each task, how many meet the target, and the worst. A reduced
network is judged by the worst of its free runs, one after each of three washouts; in full
micromagnetics it runs once, after the first of them. The usual settings were chosen on seeds 100
to 119 alone: only other seeds say how well they do.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import SpinloomError, SpinloomWarning
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Weights
from spinloom.networks.training import Training
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.cosimulate import verdict_generate, verdict_recognise
from spinloom.workflows.settings import RECOGNISE, GenerateSettings, RecogniseSettings, override
from spinloom.workflows.train import train_generate, train_recognise

REDUCED = {"sine": 0.005, "triangle": 0.03, "harmonics": 0.02}
FULL = {"sine": 0.02, "triangle": 0.05, "harmonics": 0.03}
RIGHT = 0.99
"""Share of right answers that recognition is to reach."""
CHOSEN_ON = range(100, 120)
"""Seeds on which the usual settings were chosen."""
SHORTER: list[tuple[Any, tuple[str, ...]]] = [
    (Training(), ("teacher_periods", "force_periods", "trim_rounds", "trim_periods", "tries")),
    (GenerateSettings(), ("period_ticks", "free_periods", "full_periods")),
    (RecogniseSettings(), ("period_ticks", "train_trials", "test_trials", "full_trials")),
]
"""Settings that an option may replace, one of all that have its name."""


class Row(NamedTuple):
    """What one network reached.

    Attributes
    ----------
    task : str
    seed : int
    nrmse, shape_error : float
    drift : float
        of the phase (rad per period)
    outside : float
        share of node-ticks outside the region of calibration
    apart : float, optional
        largest difference of a junction's signal from that of the reduced network
    """

    task: str
    seed: int
    nrmse: float
    shape_error: float
    drift: float
    outside: float
    apart: float | None = None


def main(arguments: list[str] | None = None) -> None:
    """Train, run free, and count; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--first", type=at_least(0), default=0, help="first seed")
    parser.add_argument("--seeds", type=at_least(1), default=10, help="number of seeds")
    parser.add_argument("--full", type=at_least(0), default=0, help="number of seeds in full micromagnetics")
    parser.add_argument("--skip-recognition", action="store_true")
    shorter = parser.add_argument_group("settings, for a shorter run")
    for name in dict.fromkeys(name for _, names in SHORTER for name in names):
        usual = " and ".join(str(usually(settings, name)) for settings, names in SHORTER if name in names)
        shorter.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"instead of {usual}")
    options = parser.parse_args(arguments)
    seeds = list(range(options.first, options.first + options.seeds))
    try:
        training, generation, recognition = (
            override(usual, **{name: getattr(options, name) for name in names}) for usual, names in SHORTER
        )
        model = load_model(options.model)
        with warnings.catch_warnings():  # every line says what share was outside
            warnings.simplefilter("ignore", SpinloomWarning)
            say(chosen_on(seeds))
            generate(model, override(generation, training=training), seeds, options.full)
            if not options.skip_recognition:
                recognise(model, recognition, seeds, options.full)
    except SpinloomError as error:
        parser.error(str(error))


def usually(settings: Any, name: str) -> int:
    """What a setting is if nobody says otherwise."""
    return settings.usual_ticks if name == "period_ticks" else getattr(settings, name)


def at_least(least: int) -> Callable[[str], int]:
    """A whole number of the command line, not below ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {value}")
        return value

    return number


def say(text: str) -> None:
    """A line of the outcome, at once: a run takes long."""
    print(text, flush=True)


def chosen_on(seeds: Sequence[int]) -> str:
    """What the choice of the settings has to do with these seeds."""
    seen = [seed for seed in seeds if seed in CHOSEN_ON]
    told = f"{len(seen)} of these" if seen else "none of these"
    return (
        f"seeds {seeds[0]} to {seeds[-1]}; the usual settings were chosen on seeds {CHOSEN_ON[0]} to "
        f"{CHOSEN_ON[-1]} alone, {told}"
    )


def generate(model: CalibratedModel, settings: GenerateSettings, seeds: Sequence[int], full: int) -> None:
    """The three generation tasks, all seeds at once."""
    jobs = [(task, seed) for task in REDUCED for seed in seeds]
    weights, f, results = train_generate(model, settings, jobs)
    washouts = ", ".join(map(str, settings.washouts))
    say(f"reduced: the worst of {settings.free_periods} periods after each of the washouts {washouts} periods")
    count("reduced", [reduced_row(result) for result in results], REDUCED)
    chosen = [k for k, (_, seed) in enumerate(jobs) if seed in seeds[:full]]
    if not chosen:
        return
    # A verdict knows networks by their names, so that a task alone would not do.
    networks = [
        TrainedNetwork(
            task="generate",
            name=f"{jobs[k][0]} seed {jobs[k][1]}",
            weights=weights.one(k),
            period_ticks=len(f),
            f=f[:, k],
            settings=settings.model_dump(mode="json", exclude={"tasks"}),
        )
        for k in chosen
    ]
    verdicts = verdict_generate(networks, model, choose_engine("embedded"), settings.full_periods)
    say(f"full: {settings.full_periods} periods after a washout of {settings.washouts[0]} periods")
    count("full", [full_row(*jobs[k], verdict) for k, verdict in zip(chosen, verdicts, strict=True)], FULL)


def reduced_row(result: dict[str, Any]) -> Row:
    """A result of training as a row."""
    figures = (result[name] for name in ("nrmse", "shape_error", "phase_drift_per_period", "outside_share"))
    return Row(result["task"], result["seed"], *figures)


def full_row(task: str, seed: int, verdict: dict[str, Any]) -> Row:
    """A verdict as a row."""
    names = ("nrmse_full", "shape_error_full", "phase_drift_per_period", "outside_share", "max_node_difference")
    return Row(task, seed, *(verdict[name] for name in names))


def count(what: str, rows: Sequence[Row], targets: dict[str, float]) -> None:
    """Print every seed, then the number that meet the target, and the worst."""
    for task, limit in targets.items():
        found = [row for row in rows if row.task == task]
        for row in found:
            apart = "" if row.apart is None else f", nodes apart {row.apart:.4f}"
            say(
                f"{what} {task} seed {row.seed}: NRMSE {row.nrmse:.5f}, shape {row.shape_error:.5f}, "
                f"drift {1e3 * row.drift:+.4f} mrad/period, outside {row.outside:.2%}{apart}"
            )
        worst = max(found, key=lambda row: row.nrmse)
        met = sum(row.nrmse <= limit for row in found)
        say(
            f"{what} {task}: {met} of {len(found)} at or below {limit}, worst {worst.nrmse:.5f} (seed {worst.seed}), "
            f"worst shape {max(row.shape_error for row in found):.5f}, "
            f"largest drift {1e3 * max(abs(row.drift) for row in found):.4f} mrad/period"
        )


def recognise(model: CalibratedModel, settings: RecogniseSettings, seeds: Sequence[int], full: int) -> None:
    """Recognition of the four waveforms."""
    weights, _, results = train_recognise(model, settings, list(seeds))
    tally("recognise", [(result["seed"], result["accuracy"], result) for result in results])
    if not full:
        return
    verdicts = [(seed, full_recognition(model, settings, weights.one(k), seed)) for k, seed in enumerate(seeds[:full])]
    tally("recognise full", [(seed, verdict["accuracy_full"], verdict) for seed, verdict in verdicts])


def full_recognition(
    model: CalibratedModel, settings: RecogniseSettings, weights: Weights, seed: int
) -> dict[str, Any]:
    """Trials of one network, every junction in full micromagnetics."""
    ticks = settings.ticks(model)
    network = TrainedNetwork(
        task=RECOGNISE,
        name=f"{RECOGNISE} seed {seed}",
        weights=weights,
        period_ticks=ticks,
        f=np.zeros((ticks, weights.outputs)),
        settings={**settings.model_dump(mode="json"), "seed": seed},
    )
    return verdict_recognise(network, model, choose_engine("embedded"), settings.full_trials)


def tally(what: str, rows: Sequence[tuple[int, float, dict[str, Any]]]) -> None:
    """Print the right answers of every seed, then the number of seeds that meet the target, and the worst."""
    for seed, accuracy, result in rows:
        say(f"{what} seed {seed}: {accuracy:.2%} of {result['trials']}, outside {result['outside_share']:.2%}")
    seed, worst, _ = min(rows, key=lambda row: row[1])
    met = sum(accuracy >= RIGHT for _, accuracy, _ in rows)
    say(f"{what}: {met} of {len(rows)} at {RIGHT:.0%} or above, worst {worst:.2%} (seed {seed})")


if __name__ == "__main__":
    main()
