"""How well do ten seeds do? Every figure of the README that is not of a single network.

    python benchmarks/targets.py MODEL.nc                    # reduced networks, seeds 0 to 9
    python benchmarks/targets.py MODEL.nc --full 3           # the first three in full micromagnetics too

Prints one line for each seed and, for each task, the worst seed and how many meet the target.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from spinloom.device_models.errors import SpinloomWarning
from spinloom.networks.store import TrainedNetwork
from spinloom.reduced_models.model import load_model
from spinloom.workflows.cosimulate import verdict_generate, verdict_recognise
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings
from spinloom.workflows.train import train_generate, train_recognise

REDUCED = {"sine": 0.005, "triangle": 0.03, "harmonics": 0.02}
FULL = {"sine": 0.02, "triangle": 0.05, "harmonics": 0.03}


def main() -> None:
    """Train, run free, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--full", type=int, default=0, help="number of seeds in full micromagnetics")
    parser.add_argument("--skip-recognition", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", SpinloomWarning)
    model = load_model(options.model)
    seeds = list(range(options.first, options.first + options.seeds))
    generate(model, seeds, options.full)
    if not options.skip_recognition:
        recognise(model, seeds, options.full)


def generate(model, seeds: list[int], full: int) -> None:
    """The three generation tasks, all seeds at once."""
    settings = GenerateSettings()
    jobs = [(task, seed) for task in REDUCED for seed in seeds]
    weights, f, results = train_generate(model, settings, jobs)
    count("reduced", [(r["task"], r["seed"], r["nrmse"], r["outside_share"]) for r in results], REDUCED)
    chosen = [k for k, (_, seed) in enumerate(jobs) if seed in seeds[:full]]
    if not chosen:
        return
    networks = [
        TrainedNetwork(
            "generate", jobs[k][0], weights.one(k), model.card.readout.axis, len(f), f[:, k], settings.model_dump()
        )
        for k in chosen
    ]
    verdicts = verdict_generate(networks, model, "embedded", settings.full_periods)
    rows = [(v["task"], jobs[k][1], v["nrmse_full"], v["outside_share"]) for k, v in zip(chosen, verdicts, strict=True)]
    count("full", rows, FULL)
    for k, v in zip(chosen, verdicts, strict=True):
        drift, difference = 1e3 * v["phase_drift_per_period"], v["max_node_difference"]
        print(f"full {v['task']} seed {jobs[k][1]}: drift {drift:+.3f} mrad/period, node difference {difference:.4f}")


def count(what: str, rows: list[tuple[str, int, float, float]], targets: dict[str, float]) -> None:
    """Print every seed, then the worst and the number that meet the target."""
    for task, limit in targets.items():
        found = [(error, seed, outside) for name, seed, error, outside in rows if name == task]
        for error, seed, outside in found:
            print(f"{what} {task} seed {seed}: NRMSE {error:.5f}, outside {outside:.2%}")
        met = sum(error <= limit for error, _, _ in found)
        print(f"{what} {task}: {met} of {len(found)} at or below {limit}, worst {max(found)[0]:.5f}")


def recognise(model, seeds: list[int], full: int) -> None:
    """Recognition of the four waveforms."""
    settings = RecogniseSettings()
    weights, _, results = train_recognise(model, settings, seeds)
    for result in results:
        print(f"recognise seed {result['seed']}: {result['accuracy']:.2%} of {result['trials']}")
    met = sum(result["accuracy"] >= 0.99 for result in results)
    print(f"recognise: {met} of {len(results)} at 99 % or above, worst {min(r['accuracy'] for r in results):.2%}")
    for k in range(full):
        network = TrainedNetwork(
            "recognise",
            "recognise",
            weights.one(k),
            model.card.readout.axis,
            settings.period_ticks,
            None,
            {**settings.model_dump(), "seed": seeds[k]},
        )
        verdict = verdict_recognise(network, model, "embedded", settings.full_trials)
        print(f"recognise full seed {seeds[k]}: {verdict['accuracy_full']:.2%} of {verdict['trials']}")


if __name__ == "__main__":
    main()
