"""A known device, recovered from noisy signals of one read-out, starting from a card that is wrong.

    python benchmarks/measured.py --noise 0.01 0.05 --seeds 3 --out runs/measured
    python benchmarks/measured.py --noise 0.02 --seeds 1 --other --network --out runs/measured-other

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
import time
from pathlib import Path
from typing import Any

import numpy as np

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
from spinloom.workflows.fit import fit_stage
from spinloom.workflows.measured import measure_stage
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.train import generators

TICK, SAMPLES, BEFORE = 7.5e-12, 4, 150
"""Tick (s), samples in it, and ticks that a device was driven for before a trace begins."""
DRIVES = ("noise", "holds", "tones", "steps")
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
        card = load_card(options.device)
        for noise in options.noise:
            for seed in range(options.first, options.first + options.seeds):
                print(row(card, noise, seed, options), flush=True)
    except SpinloomError as error:
        parser.error(str(error))


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


def row(card: DeviceCard, noise: float, seed: int, options: argparse.Namespace) -> str:
    """One device: its traces, the model that comes of them, and what it is worth."""
    began, folder = time.perf_counter(), options.out / f"noise-{noise:g}-seed-{seed}"
    true = device(card, seed, options.other)
    paths = write_traces(true, folder, noise, seed, options.traces, options.duration)
    made, choice = folder / "measured.nc", choose_engine("embedded")
    told = measure_stage(
        card, paths, choice, Tolerance(Spread.uniform(0.1)), made, TICK, found_card=folder / "found.toml"
    )
    result = fit_stage(made, options.kind, folder / "model.nc", plot=folder / "held-out.svg")
    model = fit_model(load_calibration(made), options.kind)
    errors = {
        "wrong card": against(calibrated(card, options), true, seed),
        "measured": against(model, true, seed),
        "direct": against(calibrated(true, options), true, seed),
    }
    figures = ", ".join(f"{name} {error:.4f}" for name, error in errors.items())
    scores = [f"{one['trust']:g}: {one['signal_nrmse']:.4f}" for one in model.info["search"] if "trust" in one]
    text = (
        f"noise {noise:g} seed {seed}: verdict {result['verdict']} ({result['holdout_nrmse']:.4f}), card in full "
        f"{told['signal_nrmse']:.4f}; unseen drives, worst: {figures}; corrections {', '.join(scores)}"
    )
    if options.network:
        text += f"; {network(model, true)}"
    return f"{text}; {time.perf_counter() - began:.0f} s"


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


def network(model: CalibratedModel, true: DeviceCard, periods: int = 20) -> str:
    """A sine trained on the recovered model: reduced, and on the device itself and the one that was found, in full."""
    trained = generators(model, GenerateSettings(), ["sine"])[0]
    nodes: dict[str, Any] = {
        "reduced": model.scaled,
        "device": model.scale.of(EmbeddedEngine(true, TICK).node),
        "found": model.scale.of(EmbeddedEngine(model.card, TICK).node),
    }
    runs = {name: generate(node, trained.weights, trained.f, periods, 5) for name, node in nodes.items()}
    told = ", ".join(f"{name} {float(np.max(run.nrmse)):.4f}" for name, run in runs.items())
    return f"sine over {periods} periods: {told}"


if __name__ == "__main__":
    main()
