"""How a junction fluctuates at a temperature: in one full engine and in the other, or in a reduced model.

    python benchmarks/thermal.py data/devices/disc60.toml --engine oommf --runs 16 --out runs/disc60_300K.nc
    python benchmarks/thermal.py --record data/reference/disc60_300K.nc          # against the embedded engine
    python benchmarks/thermal.py data/devices/disc60.toml --engine embedded --model runs/warm.nc

Every run is an experiment of its own: the device starts in equilibrium and is held at a level of the drive. After the
first nanosecond each run gives the mean of <m>, its variance, quantiles, its correlation over some ticks, and how its
spectrum is spread over bands; of these stand the mean over runs and, as its uncertainty, the standard error. The last
column is the difference of the two in units of the uncertainty of both. Two that agree stay within about 3 almost
everywhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.signal import periodogram

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import progress

FORM, VERSION = "thermal-runs", 1
SETTLED_S = 1e-9
"""What is left out at the beginning of each run (s)."""
LAGS_S = (1.5e-11, 6e-11, 2.4e-10)
"""Delays over which correlations are taken (s)."""
BANDS_HZ = ((0.3e9, 1.5e9), (1.5e9, 4e9), (4e9, 15e9))
"""Below, around and above the resonance of the shipped discs (Hz)."""
QUANTILES = (0.05, 0.95)


def main(arguments: list[str] | None = None) -> None:
    """Compute, keep and compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path, nargs="?", help="card of the device")
    parser.add_argument("--record", type=Path, help="runs of before, instead of new ones")
    parser.add_argument("--model", type=Path, help="warm reduced model that they are compared with")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--engine", default="oommf", help="that computes them")
    parser.add_argument("--oommf", help="how OOMMF is started")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.0, 0.5], help="held drives u")
    parser.add_argument("--runs", type=int, default=16, help="of each level")
    parser.add_argument("--ticks", type=int, default=534, help="of 7.5 ps, in each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where they are kept (NetCDF)")
    parser.add_argument(
        "--against", type=int, default=96, help="runs of the embedded engine, or the model, that they are compared with"
    )
    options = parser.parse_args(arguments)
    try:
        if (options.record is None) == (options.device is None):
            raise SpinloomError("device: expected a card, or --record")
        if options.record is not None:
            data = files.load(options.record, FORM, VERSION)
        else:
            card = load_card(options.device).at(options.temperature)
            choice = choose_engine(options.engine, options.oommf)
            data = runs(card, choice, options.levels, options.runs, options.ticks, options.seed)
            if options.out is not None:
                files.save(data, options.out, FORM, VERSION)
        card = DeviceCard.from_json(data.attrs["card"])
        shape = (data["level"].values, options.against, data.sizes["tick"], options.seed + 1)
        if options.model is None:
            beside = runs(card, choose_engine("embedded"), *shape)
        else:
            beside = reduced_runs(same_device(options.model, card), *shape)
    except SpinloomError as error:
        parser.error(str(error))
    print(f"{card.name} at {card.conditions.temperature:g} K, {data.sizes['run']} runs of {data.attrs['engine']}")
    for row in compared(data, beside):
        print(
            f"u = {row['level']:+.2f}  {row['what']:<22} {row['first']:+.5f} ± {row['first_se']:.5f}   "
            f"{beside.attrs['engine']} {row['second']:+.5f} ± {row['second_se']:.5f}   {row['apart']:+.1f}"
        )


def runs(card: DeviceCard, choice: Choice, levels: Any, count: int, n_ticks: int, seed: int) -> xr.Dataset:
    """<m> at the end of each tick, of so many runs of each level."""
    tick, levels = 7.5e-12, np.asarray(levels, dtype=float)
    u = np.tile(np.repeat(levels, count), (n_ticks, 1))
    what = f"{u.shape[1]} runs of {n_ticks * tick * 1e9:.3g} ns in {choice.name}"
    with open_engine(choice, card, tick) as engine, progress(what, n_ticks) as advance:
        _, m = engine.play(np.full(n_ticks, tick), u, progress=advance, seed=seed)
        made = {"engine": engine.name, "engine_version": engine.version}
    return dataset(card, levels, m, tick, seed, made)


def dataset(
    card: DeviceCard, levels: np.ndarray, m: np.ndarray, tick: float, seed: int, made: dict[str, str]
) -> xr.Dataset:
    """Runs, (ticks, levels runs, 3), with what made them."""
    n_ticks = len(m)
    m = m.reshape(n_ticks, len(levels), -1, 3).transpose(1, 2, 0, 3)
    return xr.Dataset(
        {"m": (("level", "run", "tick", "component"), m.astype(np.float32), {"units": "1"})},
        coords={"level": levels, "component": ["x", "y", "z"], "t": ("tick", tick * np.arange(1, n_ticks + 1))},
        attrs={"card": card.to_json(), "tick_s": tick, "seed": seed, **made},
    )


def same_device(path: Path, card: DeviceCard) -> CalibratedModel:
    """The model of a file, if it is of this device at this temperature."""
    model = load_model(path)
    if model.card != card:
        raise SpinloomError(
            f"{path}: is a model of {model.card.name} at {model.temperature:g} K as its own card says; expected one of "
            f"{card.name} at {card.conditions.temperature:g} K"
        )
    return model


def reduced_runs(model: CalibratedModel, levels: Any, count: int, n_ticks: int, seed: int) -> xr.Dataset:
    """The same of a reduced model."""
    levels = np.asarray(levels, dtype=float)
    u = np.tile(np.repeat(levels, count), (n_ticks, 1))
    _, m = drive(model.node, u, model.node.start(u.shape[1], seed))
    return dataset(model.card, levels, np.asarray(m), model.tick, seed, {"engine": "reduced"})


def compared(first: xr.Dataset, second: xr.Dataset) -> list[dict[str, Any]]:
    """Statistics of both, level by level, with their uncertainties."""
    rows = []
    for level in first["level"].values:
        both = [
            statistics(data["m"].sel(level=level).transpose("run", "tick", "component").values, data.attrs["tick_s"])
            for data in (first, second)
        ]
        for what in both[0]:
            (a, a_se), (b, b_se) = ((one[what].mean(), one[what].std(ddof=1) / len(one[what]) ** 0.5) for one in both)
            rows.append(
                {
                    "level": float(level), "what": what, "first": a, "first_se": a_se, "second": b, "second_se": b_se,
                    "apart": (a - b) / max(np.hypot(a_se, b_se), 1e-300),
                }
            )  # fmt: skip
    return rows


def statistics(m: np.ndarray, tick: float) -> dict[str, np.ndarray]:
    """Of every run, (run, tick, component): what is compared, each (run,)."""
    m = m[:, round(SETTLED_S / tick) :].astype(float)
    about = m - m.mean(axis=(0, 1))
    found = {}
    for k, name in enumerate("xyz"):
        found[f"mean of m_{name}"] = m[..., k].mean(axis=1)
        found[f"variance of m_{name}"] = (about[..., k] ** 2).mean(axis=1)
        for delay in LAGS_S:
            lag = round(delay / tick)
            product = about[:, lag:, k] * about[:, :-lag, k]
            found[f"m_{name}, {delay * 1e12:.0f} ps later"] = product.mean(axis=1)
        for share in QUANTILES:
            found[f"{share:.0%} of m_{name}"] = np.quantile(m[..., k], share, axis=1)
        frequency, power = periodogram(m[..., k], 1 / tick, window="hann", axis=1)
        for low, high in BANDS_HZ:
            band = (frequency >= low) & (frequency < high)
            found[f"m_{name}, {low / 1e9:g}-{high / 1e9:g} GHz"] = power[:, band].sum(axis=1) * frequency[1]
    return found


if __name__ == "__main__":
    main()
