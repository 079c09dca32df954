"""What OOMMF computed with the networks of the default experiment, shipped in ``data/reference/networks``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.networks.record import load_record
from spinloom.networks.store import TrainedNetwork, load_network

SAME_WEIGHTS = 1e-6
"""A network is the recorded one if no weight differs by more."""


def reference_networks() -> Path:
    """Folder of the networks, and of what OOMMF computed with them."""
    return data_folder() / "reference" / "networks"


def recorded(networks: Sequence[TrainedNetwork], periods: int) -> xr.Dataset:
    """OOMMF's record of these very networks.

    Parameters
    ----------
    networks : sequence of TrainedNetwork
    periods : int
        at most so many are given

    Returns
    -------
    record : xarray.Dataset
        see :func:`spinloom.networks.record.make_record`

    Raises
    ------
    SpinloomError
        if there is none
    """
    record = load_record(reference_networks() / "cosimulation.nc")
    ticks = periods * record.sizes["period_tick"]
    for network in networks:
        if network.name not in record["network"].values:
            raise SpinloomError(f"OOMMF's record holds {', '.join(record['network'].values)}, not {network.name}")
        shipped, _ = load_network(reference_networks() / f"network-{network.name}.nc")
        if not network.alike(shipped, SAME_WEIGHTS):
            raise SpinloomError(f"{network.name} is not the network that OOMMF's record is of")
    return record.sel(network=[network.name for network in networks]).isel(tick=slice(0, ticks))
