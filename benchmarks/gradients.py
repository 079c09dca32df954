"""What gradients add to fixed weights, where fixed weights fall short: square waves, eight classes, NARMA-10.

    python benchmarks/gradients.py MODEL.nc                      # three tasks, seeds 0 to 2, reduced nodes
    python benchmarks/gradients.py MODEL.nc --task narma --full  # one of them, in full micromagnetics too

square: a square wave of 168 ticks, without a clock; FORCE, full-FORCE, and the refined network. recognise: eight
waveforms of equal power in white noise of the same power in all (5 dB below), two periods each. narma: the series
y(t+1) = 0.3 y(t) + 0.05 y(t) sum y(t-i) + 1.5 u(t-9) u(t) + 0.1 of an input u, uniform in [0, 0.5], held for six ticks.
All networks have 40 nodes. Errors are NRMSE and the share of wrong answers, on what nothing was trained or chosen on.
In full micromagnetics generators of both kinds are finished first; the read-outs of the two other tasks are as trained
on reduced nodes, and, of NARMA-10, trained again on full ones.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spinloom.device_models.engines import choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError, SpinloomWarning
from spinloom.device_models.node import Node
from spinloom.networks.finish import Plan, finish
from spinloom.networks.full_force import full_force
from spinloom.networks.gradients import Descent, Name, Regression, Taught, Told, descend, solve
from spinloom.networks.loop import simulate
from spinloom.networks.seeds import stream
from spinloom.networks.tasks import INPUT_RMS, waveform
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.networks.training import learn, train_classifier
from spinloom.networks.trials import generate
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings
from spinloom.workflows.train import judge, targets

EIGHT = ("sine", "triangle", "square", "sawtooth", "harmonics", "falling", "rectified", "third")
SQUARE_TICKS, STEP_TICKS, RECOGNISE_TICKS = 168, 6, 60
NARMA_POINT = Topology(spectral_radius=0.849, input=0.3, bias=0.641, gain=0.396)
"""Near the best of 40 random points with fixed weights (seeds 100 to 102), with a stronger input."""
FREE: tuple[Name, ...] = ("W", "W_in", "b", "gain")
_RIDGE = 1e-8
_BESIDE = 64
"""Runs that are advanced side by side at most, in full micromagnetics."""


def main(arguments: list[str] | None = None) -> None:
    """Train, refine and compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--task", choices=sorted(TASKS), action="append", help="one of the three; all if not given")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--steps", type=int, default=200, help="steps downhill")
    parser.add_argument("--nodes", type=int, default=40, help="of each network")
    parser.add_argument("--full", action="store_true", help="in full micromagnetics too")
    parser.add_argument("--trials", type=int, default=800, help="trials of recognition, reduced")
    parser.add_argument("--full-trials", type=int, default=80, help="and in full micromagnetics")
    parser.add_argument(
        "--narma-steps", type=int, default=1000, help="steps of the series that read-outs are trained on"
    )
    parser.add_argument("--periods", type=int, default=8, help="periods of a square in full micromagnetics")
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpinloomWarning)
            for name in options.task or list(TASKS):
                TASKS[name](model, options)
    except SpinloomError as error:
        parser.error(str(error))


def tell(task: str, kind: str, where: str, errors: Any, wall_s: float | None = None) -> None:
    """A line of the outcome: every seed, the median and the worst."""
    errors = np.asarray(errors)
    took = "" if wall_s is None else f", {wall_s:.0f} s"
    each = " ".join(f"{error:.3f}" for error in errors)
    print(f"{task} {kind} {where}: median {np.median(errors):.3f}, worst {errors.max():.3f} ({each}){took}", flush=True)


def seeds_of(options: argparse.Namespace) -> list[int]:
    """Seeds of the networks."""
    return list(range(options.first, options.first + options.seeds))


def square(model: CalibratedModel, options: argparse.Namespace) -> None:
    """A square wave without a clock."""
    base = GenerateSettings()
    settings = base.model_copy(
        update={
            "topology": base.topology.model_copy(update={"nodes": options.nodes}),
            "free_periods": 100,
            "training": base.training.model_copy(update={"force_periods": 100, "trim_rounds": 4, "trim_periods": 50}),
        }
    )
    f = targets(["square"] * options.seeds, SQUARE_TICKS)
    drawn, how, node = draw(settings.topology, seeds_of(options)), settings.training, model.scaled

    began = time.perf_counter()
    found = {"fixed": learn(node, drawn, f, how).weights}
    walls = {"fixed": time.perf_counter() - began}
    began = time.perf_counter()
    found["full-FORCE"] = full_force(node, drawn, f, how)
    walls["full-FORCE"] = time.perf_counter() - began
    began = time.perf_counter()
    moved = descend(node, drawn, Taught(f, periods=3, runs=1), Descent(steps=options.steps, rate=0.03))
    found["refined"] = learn(node, moved.weights, f, how).weights
    walls["refined"] = time.perf_counter() - began
    for kind, weights in found.items():
        tell("square", kind, "reduced", [one["nrmse"] for one in judge(node, weights, f, settings)], walls[kind])
    if not options.full:
        return
    with open_engine(choose_engine("embedded"), model.cards, model.tick) as engine:
        full = model.scale.of(engine.node)
        for kind, weights in found.items():
            began = time.perf_counter()
            done = finish(full, weights, f, node, how, Plan(longest=6))
            run = generate(full, done.weights, f, options.periods, settings.washouts[0])
            tell("square", kind, "full", run.nrmse, time.perf_counter() - began)


def shape(name: str, phase: np.ndarray) -> np.ndarray:
    """One of the eight waveforms, at some phase."""
    if name == "falling":
        return -waveform("sawtooth", phase)
    if name == "rectified":
        return np.maximum(np.sin(phase), 0) - 1 / np.pi
    if name == "third":
        return np.sin(phase) + np.sin(3 * phase)
    return waveform(name, phase)


def noisy_trials(rng: np.random.Generator, n: int, decibel: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms of random class and phase in white noise, (n_ticks, n), and their classes."""
    classes, phases = rng.permutation(np.arange(n) % len(EIGHT)), rng.uniform(0, 2 * np.pi, n)
    phase = 2 * np.pi * np.arange(2 * RECOGNISE_TICKS)[:, None] / RECOGNISE_TICKS + phases
    fine = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    s = np.empty_like(phase)
    for k, name in enumerate(EIGHT):
        chosen = classes == k
        s[:, chosen] = shape(name, phase[:, chosen]) / np.sqrt((shape(name, fine) ** 2).mean())
    return INPUT_RMS * (s + 10 ** (-decibel / 20) * rng.standard_normal(s.shape)), classes


def signals(node: Node, weights: Weights, s: np.ndarray) -> np.ndarray:
    """Signals (n_ticks, runs, N) of one network under many inputs (n_ticks, runs), its loop open."""
    pieces = []
    step = s.shape[1] if node.traceable and weights.nodes * s.shape[1] * len(s) < 10_000_000 else _BESIDE
    for at in range(0, s.shape[1], step):
        fed = s[:, at : at + step]
        many = weights.with_readout(np.zeros((1, 1, weights.nodes + 1))).repeat(fed.shape[1])
        many = Weights(many.W, np.zeros((fed.shape[1], weights.nodes, 1)), many.W_in, many.b, many.gain, many.w_out)
        target = np.zeros((len(fed), fed.shape[1], 1))
        _, record = simulate(node, many, target=target, hold=np.ones(len(fed), bool), s=fed, record="r")
        pieces.append(record.r)
    return np.concatenate(pieces, axis=1)


def averages(node: Node, weights: Weights, s: np.ndarray) -> np.ndarray:
    """Features of a classifier: signals averaged over the last period, (runs, N)."""
    return signals(node, weights, s)[-RECOGNISE_TICKS:].mean(axis=0)


def wrong(w_out: np.ndarray, x: np.ndarray, classes: np.ndarray) -> float:
    """Share of wrong answers."""
    return float(((np.column_stack([x, np.ones(len(x))]) @ w_out.T).argmax(axis=1) != classes).mean())


def recognise(model: CalibratedModel, options: argparse.Namespace) -> None:
    """Eight waveforms in noise."""
    settings, node, seeds = RecogniseSettings(), model.scaled, seeds_of(options)
    fixed = draw(settings.topology.model_copy(update={"nodes": options.nodes}), seeds, len(EIGHT))
    how, began = Descent(steps=options.steps, rate=0.03, free=FREE), time.perf_counter()
    moved = descend(node, fixed, Told(noisy_trials, len(EIGHT), RECOGNISE_TICKS, ridge=1e-3), how)
    wall, found = time.perf_counter() - began, {"fixed": fixed, "refined": moved.weights}
    readouts: dict[str, list[np.ndarray]] = {}
    for kind, weights in found.items():
        errors, readouts[kind] = [], []
        for k, seed in enumerate(seeds):
            s, classes = noisy_trials(stream(seed, "training trials"), options.trials)
            w_out = train_classifier(averages(node, weights.one(k), s), classes, len(EIGHT), settings.ridge)
            s, classes = noisy_trials(stream(seed, "test trials"), options.trials)
            errors.append(wrong(w_out, averages(node, weights.one(k), s), classes))
            readouts[kind].append(w_out)
        tell("recognise", kind, "reduced", errors, wall if kind == "refined" else 0)
    if not options.full:
        return
    with open_engine(choose_engine("embedded"), model.cards, model.tick) as engine:
        full = model.scale.of(engine.node)
        for kind, weights in found.items():
            began, errors = time.perf_counter(), []
            for k, seed in enumerate(seeds):
                s, classes = noisy_trials(stream(seed, "full trials"), options.full_trials)
                errors.append(wrong(readouts[kind][k], averages(full, weights.one(k), s), classes))
            tell("recognise", kind, "full", errors, time.perf_counter() - began)


def narma_series(rng: np.random.Generator, n: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs within [-1, 1], (steps, n), and NARMA-10 (steps, n, 1); what diverges, as some do, is drawn again."""
    u, y = rng.uniform(0, 0.5, (steps, n)), np.zeros((steps + 1, n))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(9, steps):
            y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * y[t - 9 : t + 1].sum(axis=0) + 1.5 * u[t - 9] * u[t] + 0.1
    lost = ~(y < 1).all(axis=0)
    if lost.any():
        again, after = narma_series(rng, int(lost.sum()), steps)
        u[:, lost], y[1:, lost] = (again + 1) / 4, after[..., 0]
    return 4 * u - 1, y[1:, :, None]


def narma(model: CalibratedModel, options: argparse.Namespace) -> None:
    """NARMA-10."""
    node, seeds = model.scaled, seeds_of(options)
    fixed = draw(NARMA_POINT.model_copy(update={"nodes": options.nodes}), seeds)
    objective = Regression(lambda rng, n: narma_series(rng, n, 150), STEP_TICKS, ridge=_RIDGE)
    how, began = Descent(steps=options.steps, rate=0.03, free=FREE), time.perf_counter()
    moved = descend(node, fixed, objective, how)
    wall, found = time.perf_counter() - began, {"fixed": fixed, "refined": moved.weights}
    readouts: dict[str, list[Any]] = {}
    for kind, weights in found.items():
        errors, readouts[kind] = [], []
        for k, seed in enumerate(seeds):
            x, y = answered(node, weights.one(k), stream(seed, "test trials"), options.narma_steps)
            error, w_out = trained_and_tested(x, y)
            errors.append(error)
            readouts[kind].append(w_out)
        tell("narma", kind, "reduced", errors, wall if kind == "refined" else 0)
    if not options.full:
        return
    with open_engine(choose_engine("embedded"), model.cards, model.tick) as engine:
        full = model.scale.of(engine.node)
        for kind, weights in found.items():
            began, kept, again = time.perf_counter(), [], []
            for k, seed in enumerate(seeds):
                x, y = answered(full, weights.one(k), stream(seed, "full trials"), options.narma_steps // 2)
                kept.append(trained_and_tested(x, y, readouts[kind][k])[0])
                again.append(trained_and_tested(x, y)[0])
            tell("narma", kind, "full, read-out of reduced nodes", kept, time.perf_counter() - began)
            tell("narma", kind, "full", again)


def answered(node: Node, weights: Weights, rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals (steps, N) at the end of every step of a series half as long again, without a washout, and the series."""
    s, y = narma_series(rng, 1, 50 + steps + steps // 2)
    r = signals(node, weights, np.repeat(s, STEP_TICKS, axis=0))
    return r[STEP_TICKS - 1 :: STEP_TICKS, 0][50:], y[50:, 0]


def trained_and_tested(x: np.ndarray, y: np.ndarray, w_out: Any = None) -> tuple[float, Any]:
    """NRMSE on the last third, of a read-out that is given or trained on the rest."""
    at = 2 * len(x) // 3
    w_out = np.asarray(solve(x[None, :at], y[None, :at], _RIDGE)) if w_out is None else w_out
    lacks = np.column_stack([x[at:], np.ones(len(x) - at)]) @ w_out[0].T - y[at:]
    return float(np.sqrt((lacks**2).mean()) / y[at:].std()), w_out


TASKS: dict[str, Callable[[CalibratedModel, argparse.Namespace], None]] = {
    "square": square,
    "recognise": recognise,
    "narma": narma,
}


if __name__ == "__main__":
    main()
