"""A known device, recovered from noisy signals of one read-out, starting from a card that is wrong.

    python benchmarks/measured.py --noise 0.01 0.05 --seeds 3 --out runs/measured
    python benchmarks/measured.py --noise 0.02 --seeds 1 --other --network --out runs/measured-other

A row that is finished in the folder is not done again; what is asked for is drawn there, in measured.svg.

For each noise and seed a device is drawn that differs from disc60 by 5 to 10 % in Ms, thickness and damping, either
way (--other: it also has an in-plane anisotropy that no card of the fit has). The embedded engine drives it, an
instrument of a gain, offset and delay of its own samples its signal four times a tick, and writes CSV files; traces
begin anywhere. 'spinloom measure' and 'fit' get these and the card of disc60. The model is then held against the
device itself on eight drives that nobody has seen, from equilibrium: NRMSE of the signal, worst of the drives. Beside
it stand the model of the wrong card, and one that was calibrated on the <m> of the device itself. With --network a sine
is trained on the recovered model and verified with every node a device as it truly is, in full micromagnetics.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spinloom.device_models import files
from spinloom.device_models.calibration import Protocol, calibrate, load_calibration
from spinloom.device_models.card import DeviceCard, load_card, parse_card
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.spread import PARAMETERS, Spread, vary
from spinloom.networks.trials import generate
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.identify import Tolerance
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.figures import as_svg
from spinloom.workflows.fit import fit_stage
from spinloom.workflows.measured import measure_stage
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.stages import Stages
from spinloom.workflows.train import generators

TICK, SAMPLES, BEFORE = 7.5e-12, 4, 150
"""Tick (s), samples in it, and ticks that a device was driven for before a trace begins."""
DRIVES = ("noise", "holds", "tones", "steps")
MODELS = ("wrong card", "measured", "direct")
"""That of the card, that of the measured signals, and one calibrated on the device's own <m>."""
_JUDGES, _NOISE, _DEVICE = 1, 2, 3
"""Streams of the random numbers, beside that of the measured drives, 0."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, recover, compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=Path, default=data_folder() / "devices" / "disc60.toml", help="card")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.05], help="of a tick, share of the spread")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--traces", type=int, default=20)
    parser.add_argument("--duration", type=float, default=6e-9, help="of a trace (s)")
    parser.add_argument("--kind", default="flow_map", help="of reduced model")
    parser.add_argument("--other", action="store_true", help="devices with an anisotropy that the card lacks")
    parser.add_argument("--network", action="store_true", help="train a sine, and verify it on the device itself")
    parser.add_argument("--out", type=Path, default=Path("runs/measured"))
    options = parser.parse_args(arguments)
    try:
        card, stages = load_card(options.device), Stages(options.out)
        for noise in options.noise:
            for seed in range(options.first, options.first + options.seeds):
                name = f"noise-{noise:g}-seed-{seed}"
                make = partial(row, card, noise, seed, options, options.out / name)
                print(words(stages.do(name, asked(card, options), [], make)), flush=True)
        rows = list(stages.results.values())
        with files.written_whole(options.out / "measured.svg") as temporary:
            temporary.write_text(picture(rows), encoding="utf-8")
    except SpinloomError as error:
        parser.error(str(error))


def asked(card: DeviceCard, options: argparse.Namespace) -> dict[str, Any]:
    """What else than noise and seed a row depends on."""
    names = ("traces", "duration", "kind", "other", "network")
    return {"card": json.loads(card.to_json()), **{name: getattr(options, name) for name in names}}


def device(card: DeviceCard, seed: int, other: bool) -> DeviceCard:
    """A device that differs from its card by 5 to 10 % in three parameters."""
    rng, by = np.random.default_rng([seed, _DEVICE]), np.zeros(len(PARAMETERS))
    for name in ("Ms", "thickness", "alpha"):
        by[PARAMETERS.index(name)] = rng.choice([-1, 1]) * rng.uniform(0.05, 0.1)
    true = vary(card, by, "true")
    if not other:
        return true
    values = true.model_dump()
    values["material"] |= {"Ku": 8e2, "Ku_axis": (np.cos(0.5), np.sin(0.5), 0.0)}
    return parse_card(values)


def drives(n: int, ticks: int, seed: int, stream: int) -> np.ndarray:
    """Held drives, (n, ticks)."""
    kinds = [DRIVES[k % len(DRIVES)] for k in range(n)]
    return np.stack(
        [calibration_drive(kind, ticks, TICK, np.random.default_rng([seed, stream, k])) for k, kind in enumerate(kinds)]
    )


def write_traces(true: DeviceCard, folder: Path, noise: float, seed: int, n: int, duration: float) -> list[Path]:
    """What an instrument would write: a header, then time, drive and signal."""
    ticks, rng = round(duration / TICK), np.random.default_rng([seed, _NOISE])
    gain, offset, delay = rng.uniform(0.92, 1.08), rng.uniform(-0.05, 0.05), int(rng.integers(0, 8))
    u = np.repeat(drives(n, ticks + BEFORE, seed, 0), SAMPLES, axis=1)
    step = TICK / SAMPLES
    _, m = EmbeddedEngine(true, step).play(np.full(u.shape[1], step), u.T)
    r = (m @ np.asarray(true.readout.axis)).T
    first, count, folder = BEFORE * SAMPLES, ticks * SAMPLES, Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(n):
        # A sample is taken before the drive of its time begins to act: the end of the step before.
        seen = r[k, first - 1 - delay : first - 1 - delay + count]
        white = rng.standard_normal(count) * noise * SAMPLES**0.5 * r.std()
        columns = np.column_stack(
            [np.arange(count) * step, u[k, first : first + count], gain * (seen + white) + offset]
        )
        paths.append(folder / f"trace-{k:02d}.csv")
        with paths[-1].open("w") as file:
            file.write(f"Model,embedded\nSample Interval,{step:g}\nTIME,CH1,CH2\n")
            np.savetxt(file, columns, delimiter=",", fmt="%.9g")
    return paths


def row(card: DeviceCard, noise: float, seed: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One device: its traces, the model that comes of them, and what it is worth."""
    began = time.perf_counter()
    true = device(card, seed, options.other)
    paths = write_traces(true, folder, noise, seed, options.traces, options.duration)
    made, choice = folder / "measured.nc", choose_engine("embedded")
    told = measure_stage(
        card, paths, choice, Tolerance(Spread.uniform(0.1)), made, TICK, found_card=folder / "found.toml"
    )
    result = fit_stage(made, options.kind, folder / "model.nc", plot=folder / "held-out.svg")
    model = fit_model(load_calibration(made), options.kind)
    return {
        "noise": noise,
        "seed": seed,
        "verdict": result["verdict"],
        "holdout_nrmse": result["holdout_nrmse"],
        "found_card": told["signal_nrmse"],
        "wrong card": against(calibrated(card, options), true, seed),
        "measured": against(model, true, seed),
        "direct": against(calibrated(true, options), true, seed),
        "network": network(model, true) if options.network else {},
        "wall_s": time.perf_counter() - began,
    }


def words(told: dict[str, Any]) -> str:
    """A row as a line."""
    figures = ", ".join(f"{name} {told[name]:.4f}" for name in MODELS)
    text = f"noise {told['noise']:g} seed {told['seed']}: verdict {told['verdict']} ({told['holdout_nrmse']:.4f}), "
    text += f"card in full {told['found_card']:.4f}; unseen drives, worst: {figures}"
    if told["network"]:
        text += "; sine over 20 periods: " + ", ".join(f"{name} {error:.4f}" for name, error in told["network"].items())
    return f"{text}; {told['wall_s']:.0f} s"


def picture(rows: list[dict[str, Any]]) -> str:
    """Errors on unseen drives, a column for each noise, a line for each device, as SVG."""
    noises = sorted({one["noise"] for one in rows})
    figure = Figure(figsize=(1.5 + 2.6 * len(noises), 3.2), layout="constrained")
    axes = figure.subplots(1, len(noises), sharey=True, squeeze=False)[0]
    for ax, noise in zip(axes, noises, strict=True):
        for one in (one for one in rows if one["noise"] == noise):
            ax.plot(
                range(len(MODELS)), [one[name] for name in MODELS], "o-", markersize=4, label=f"device {one['seed']}"
            )
        ax.set(title=f"{noise:.0%} noise", yscale="log")
        ax.set_xticks(range(len(MODELS)), ["card it\nstarts from", "measured\nsignals", "its own\n⟨m⟩"])
        ax.set_xlim(-0.3, len(MODELS) - 0.7)
        ax.grid(axis="y", color="0.9")
    axes[0].set_ylabel("NRMSE on unseen drives, the worst")
    axes[-1].legend(fontsize="small")
    return as_svg(figure, "none")


def calibrated(card: DeviceCard, options: argparse.Namespace) -> CalibratedModel:
    """A model that was shown <m>, of as many trajectories."""
    protocol = Protocol(tick=TICK, trajectories=options.traces, duration=options.duration, grades=())
    return fit_model(calibrate(card, EmbeddedEngine(card, TICK), protocol), options.kind)


def against(model: CalibratedModel, true: DeviceCard, seed: int) -> float:
    """NRMSE of the signal on drives that nobody has seen, the worst."""
    u = drives(8, 400, seed, _JUDGES).T
    _, m = EmbeddedEngine(true, TICK).play(np.full(len(u), TICK), u)
    axis = np.asarray(true.readout.axis)
    r, predicted = m @ axis, model.simulate(u) @ axis
    return float((np.sqrt(((predicted - r) ** 2).mean(axis=0)) / r.std(axis=0)).max())


def network(model: CalibratedModel, true: DeviceCard, periods: int = 20) -> dict[str, float]:
    """NRMSE of a sine trained on the recovered model: reduced, and in full on the device itself and the one found."""
    trained = generators(model, GenerateSettings(), ["sine"])[0]
    nodes: dict[str, Any] = {
        "reduced": model.scaled,
        "device": model.scale.of(EmbeddedEngine(true, TICK).node),
        "found": model.scale.of(EmbeddedEngine(model.card, TICK).node),
    }
    runs = {name: generate(node, trained.weights, trained.f, periods, 5) for name, node in nodes.items()}
    return {name: float(np.max(run.nrmse)) for name, run in runs.items()}


if __name__ == "__main__":
    main()
