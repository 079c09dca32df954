"""What OOMMF computed, shipped in ``data/reference``, for machines that have no OOMMF."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from spinloom.device_models.calibration import Protocol, load_calibration
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder


def calibration_path(name: str) -> Path:
    """Where the calibration set of a named card is shipped."""
    return data_folder() / "reference" / f"{name}_calibration.nc"


def reference_calibration(card: DeviceCard, protocol: Protocol) -> xr.Dataset:
    """The shipped calibration set of a card.

    Parameters
    ----------
    card : DeviceCard
        one of ``data/devices``, unchanged
    protocol : Protocol
        the one that the set was made by; a set without grades stands for the same protocol with any

    Returns
    -------
    dataset : xarray.Dataset
        as :func:`spinloom.device_models.calibration.calibrate` gives it

    Raises
    ------
    SpinloomError
        if there is no set of this card and protocol; it says which there are
    """
    folder = data_folder() / "reference"
    shipped = sorted(path.name.removesuffix("_calibration.nc") for path in folder.glob("*_calibration.nc"))
    advice = "use --engine oommf or embedded to compute another"
    if card.name not in shipped:
        raise SpinloomError(f"device: OOMMF's set is shipped for {', '.join(shipped)}, not for {card.name}; {advice}")
    dataset = load_calibration(calibration_path(card.name))
    if DeviceCard.from_json(dataset.attrs["card"]) != card:
        raise SpinloomError(f"device: {card.name} is not the card that OOMMF's set was computed for; {advice}")
    made_by = Protocol.from_json(dataset.attrs["protocol"])
    ungraded = protocol.model_copy(update={"grades": (), "per_grade": made_by.per_grade})
    if made_by not in (protocol, ungraded):
        raise SpinloomError(f"calibration: OOMMF's set of {card.name} is shipped for {made_by!r} only; {advice}")
    return dataset
