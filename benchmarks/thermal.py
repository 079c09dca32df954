"""How a junction fluctuates at a temperature, in one full engine and in the other.

    python benchmarks/thermal.py data/devices/disc60.toml --engine oommf --runs 16 --out runs/disc60_300K.nc
    python benchmarks/thermal.py --record data/reference/disc60_300K.nc          # against the embedded engine

Every run is an experiment of its own: the device starts in equilibrium and is held at a level of the drive. After the
first nanosecond each run gives the mean of <m>, its variance, and its correlation over some ticks; of these stand
the mean over runs and, as its uncertainty, the standard error. The last column is the difference of the two engines in
units of the uncertainty of both. Two engines that agree stay within about 3 almost everywhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.console import progress

FORM, VERSION = "thermal-runs", 1
SETTLED_S = 1e-9
"""What is left out at the beginning of each run (s)."""
LAGS_S = (1.5e-11, 6e-11, 2.4e-10)
"""Delays over which correlations are taken (s)."""


def main(arguments: list[str] | None = None) -> None:
    """Compute, keep and compare; the arguments are those of the command line if not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", type=Path, nargs="?", help="card of the device")
    parser.add_argument("--record", type=Path, help="runs of before, instead of new ones")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--engine", default="oommf", help="that computes them")
    parser.add_argument("--oommf", help="how OOMMF is started")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.0, 0.5], help="held drives u")
    parser.add_argument("--runs", type=int, default=16, help="of each level")
    parser.add_argument("--ticks", type=int, default=534, help="of 7.5 ps, in each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where they are kept (NetCDF)")
    parser.add_argument(
        "--against", type=int, default=96, help="runs of the embedded engine that they are compared with"
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
        beside = runs(
            card, choose_engine("embedded"), data["level"].values, options.against, data.sizes["tick"], options.seed + 1
        )
    except SpinloomError as error:
        parser.error(str(error))
    print(f"{card.name} at {card.conditions.temperature:g} K, {data.sizes['run']} runs of {data.attrs['engine']}")
    for row in compared(data, beside):
        print(
            f"u = {row['level']:+.2f}  {row['what']:<22} {row['first']:+.5f} ± {row['first_se']:.5f}   "
            f"embedded {row['second']:+.5f} ± {row['second_se']:.5f}   {row['apart']:+.1f}"
        )


def runs(card: DeviceCard, choice: Choice, levels: Any, count: int, n_ticks: int, seed: int) -> xr.Dataset:
    """<m> at the end of each tick, of so many runs of each level."""
    tick, levels = 7.5e-12, np.asarray(levels, dtype=float)
    u = np.tile(np.repeat(levels, count), (n_ticks, 1))
    what = f"{u.shape[1]} runs of {n_ticks * tick * 1e9:.3g} ns in {choice.name}"
    with open_engine(choice, card, tick) as engine, progress(what, n_ticks) as advance:
        _, m = engine.play(np.full(n_ticks, tick), u, progress=advance, seed=seed)
        made = {"engine": engine.name, "engine_version": engine.version}
    m = m.reshape(n_ticks, len(levels), count, 3).transpose(1, 2, 0, 3)
    return xr.Dataset(
        {"m": (("level", "run", "tick", "component"), m.astype(np.float32), {"units": "1"})},
        coords={"level": levels, "component": ["x", "y", "z"], "t": ("tick", tick * np.arange(1, n_ticks + 1))},
        attrs={"card": card.to_json(), "tick_s": tick, "seed": seed, **made},
    )


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
    return found


if __name__ == "__main__":
    main()
