"""What trained networks did, as a data set, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.calibration import expect_finite
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.device_models.scan import joined
from spinloom.device_models.texts import json_object, shown
from spinloom.networks.loop import Record
from spinloom.networks.measures import free_run_error, phase_drift, shape_error
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.trials import FreeRun

KIND, FORMAT = "cosimulation", 3
COMPARED_PERIODS = 5
"""Two engines are compared at the output over the first periods: later on, any drift adds up."""
TWO_ENGINES = (
    "nrmse_embedded",
    "output_apart_first_periods",
    "output_apart",
    "max_node_apart",
    "worst_node_apart",
)
"""Figures that a verdict has where the embedded engine ran the network too."""
_DIMS = {
    "f": ("period_tick", "network", "output"),
    "z": ("tick", "network", "output"),
    "r": ("tick", "network", "node"),
    "u": ("tick", "network", "node"),
    "outside_share": ("network",),
    "periods": ("network",),
}
_NEEDED = ("f", "z_full", "z_reduced", "r_full", "r_reduced")
"""Dimensions of the variables of a record, by their names or what these begin with; and those of every one."""


def make_record(
    networks: Sequence[TrainedNetwork], scale: Scale, tick: float, runs: Mapping[str, FreeRun]
) -> xr.Dataset:
    """Free runs of the same networks on several kinds of node, in the devices' own units.

    Parameters
    ----------
    networks : sequence of TrainedNetwork
    scale : Scale
        units of the networks
    tick : float
        (s)
    runs : mapping of str to FreeRun
        ``full``, with everything recorded; ``reduced``, and ``embedded`` if it ran too, with signals

    Returns
    -------
    record : xarray.Dataset
        for each run ``z_RUN`` (tick, network, output) and the signals m . e_read ``r_RUN`` (tick,
        network, node); ``u_full``, J / J_max; ``f`` (period_tick, network, output)
    """
    full = runs["full"]
    drive = _single(scale.reach * full.record.u)
    record = xr.Dataset(
        {
            "f": (
                ("period_tick", "network", "output"),
                full.f,
                {"long_name": "one period of the target"},
            ),
            "u_full": (("tick", "network", "node"), drive, {"units": "1", "long_name": "J / J_max"}),
        },
        coords={
            "network": [network.name for network in networks],
            "t": (("tick",), tick * np.arange(1, len(full.z) + 1), {"units": "s"}),
        },
        attrs={"networks": files.to_json({network.name: network.settings for network in networks})},
    )
    for name, run in runs.items():
        record = record.assign(run_variables(name, run, scale))
    return record


def run_variables(name: str, run: FreeRun, scale: Scale) -> dict[str, Any]:
    """Variables of a record that one run gives."""
    signal = _single(scale.signal(run.record.r))
    return {
        f"z_{name}": (("tick", "network", "output"), run.z, {"units": "1"}),
        f"r_{name}": (("tick", "network", "node"), signal, {"units": "1", "long_name": "m . e_read"}),
    }


def judged(record: xr.Dataset, name: str) -> dict[str, Any]:
    """The figures of one network, from a record of its runs.

    Parameters
    ----------
    record : xarray.Dataset
        from :func:`make_record`, with ``outside_share`` (network) and, where networks were stopped
        early, ``periods`` (network)
    name : str
        of the network

    Returns
    -------
    result : dict
        ``task, engine, periods``; of the full run ``nrmse_full, shape_error_full,
        phase_drift_per_period``; ``nrmse_reduced`` over the same periods; ``max_node_difference``
        of m . e_read and ``worst_node``; ``outside_share``; the figures of :data:`TWO_ENGINES`
        where two engines ran
    """
    one = record.sel(network=[name])
    if "periods" in one:
        one = one.isel(tick=slice(0, int(one["periods"].values[0]) * one.sizes["period_tick"]))
    f, z = one["f"].values, one["z_full"].values
    apart, worst = _apart(one, "full", "reduced")
    result = {
        "task": name,
        "engine": record.attrs["engine"],
        "nrmse_reduced": float(free_run_error(one["z_reduced"].values, f)[0]),
        "nrmse_full": float(free_run_error(z, f)[0]),
        "shape_error_full": float(shape_error(z, f)[0]),
        "periods": len(z) // len(f),
        "phase_drift_per_period": float(phase_drift(z, f)[0]),
        "max_node_difference": apart,
        "worst_node": worst,
        "outside_share": float(one["outside_share"].values[0]),
    }
    if "z_embedded" in one:
        first = slice(0, COMPARED_PERIODS * len(f))
        difference = _difference(one["z_full"], one["z_embedded"])
        error = float(free_run_error(one["z_embedded"].values, f)[0])
        figures = (error, float(difference[first].max()), float(difference.max()), *_apart(one, "full", "embedded"))
        result |= dict(zip(TWO_ENGINES, figures, strict=True))
    return result


def _apart(one: xr.Dataset, first: str, second: str) -> tuple[float, int]:
    """Largest difference of two runs' signals, and at which node."""
    difference = _difference(one[f"r_{first}"], one[f"r_{second}"])[:, 0].max(axis=0)
    return float(difference.max()), int(difference.argmax())


def _difference(first: xr.DataArray, second: xr.DataArray) -> np.ndarray:
    """Modulus of the difference of two runs, of which either may have diverged."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(first.values - second.values)


def _single(values: np.ndarray) -> np.ndarray:
    """As float32, infinite beyond its range."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


def save_record(record: xr.Dataset, path: str | Path) -> None:
    """Write a record as NetCDF."""
    files.save(record, path, KIND, FORMAT)


def load_record(path: str | Path) -> xr.Dataset:
    """Read a record that :func:`save_record` wrote; values of a run that diverged may not be finite.

    Raises
    ------
    SpinloomError
        if it is not one, or its variables do not belong together
    """
    record = files.load(path, KIND, FORMAT)
    try:
        needed = (
            *_NEEDED,
            *(name for name in ("z_embedded", "r_embedded") if {"z_embedded", "r_embedded"} & {*record}),
        )
        missing = [name for name in needed if name not in record]
        if missing:
            raise ValueError(f"expected a variable {missing[0]}")
        for name in map(str, record.data_vars):
            head, *rest = name.split("_")
            # Of several noises side by side (z_full_seeds) there is one dimension more, and nothing reads them here.
            dims = _DIMS.get(name, _DIMS.get(head) if len(rest) == 1 else None)
            if dims and (record[name].dims != dims or record[name].dtype.kind not in "iuf"):
                raise ValueError(f"expected numbers with dimensions {dims} in {shown(name)}")
        if "periods" in record:
            expect_finite(record, "periods", "network")
        if "network" not in record.indexes:
            raise ValueError("expected the names of the networks")
        names = [str(name) for name in record["network"].values]
        if len(set(names)) < len(names) or not record.sizes["network"] or not record.sizes["period_tick"]:
            raise ValueError(f"expected a name of its own for each network, got {shown(names)}")
        expect_finite(record, "t", "tick")
        if "engine" not in record.attrs:
            raise ValueError("expected an attribute engine")
        json_object(record.attrs.get("networks"), "networks")
    except (KeyError, TypeError, ValueError) as error:
        told = str(error) if isinstance(error, ValueError) else repr(error)
        raise SpinloomError(f"{path}: not a whole record ({told[:500]}); run the networks again") from None
    return record


def save_unfinished(
    path: Path,
    scale: Scale,
    finished: Mapping[str, FreeRun],
    under_way: Sequence[TrainedNetwork],
    pieces: list[Record],
    attributes: dict[str, Any],
) -> None:
    """Keep what was computed before a run ended early.

    Parameters
    ----------
    path : path
    scale : Scale
    finished : mapping of str to FreeRun
        by network
    under_way : sequence of TrainedNetwork
        the ones that were running
    pieces : list of Record
        their ticks so far, washout included
    attributes : dict
        of the file
    """
    data = xr.Dataset(attrs=attributes)
    for name, free in finished.items():
        data[f"z_{name}"] = (("tick", "output"), free.z[:, 0])
        data[f"r_{name}"] = (("tick", "node"), _single(scale.signal(free.record.r[:, 0])))
    if pieces:
        rest, first = joined(pieces), under_way[0]
        washout = first.washouts[0] * first.period_ticks
        data.attrs |= {"stopped_in": ", ".join(network.name for network in under_way), "washout_ticks": washout}
        data = data.assign_coords(network=[network.name for network in under_way])
        data["z_stopped"] = (("tick_stopped", "network", "output"), rest.z)
        for name, values in (("r", scale.signal(rest.r)), ("u", scale.reach * rest.u)):
            data[f"{name}_stopped"] = (("tick_stopped", "network", "node"), _single(values))
    files.save(data, path, f"{KIND}-partial", FORMAT)
