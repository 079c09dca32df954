"""What Spinloom recorded, as ubermag's objects: tables, and drives with their fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.system import card_field
from spinloom.device_models.ubermag import table

if TYPE_CHECKING:
    import ubermagtable as ut

    from spinloom.workflows.recorded_drive import RecordedDrive

MEMBERS = {"replay": "device", "calibration": "trajectory", "cosimulation": "network"}
"""What each kind of record has several of."""


def to_table(record: xr.Dataset, which: int | str = 0) -> ut.Table:
    """One member of a record as the table that OOMMF would have left in ubermag.

    Parameters
    ----------
    record : xarray.Dataset
        from :func:`spinloom.replay` or :func:`spinloom.calibrate`, or the ``record`` of a verdict on networks that
        generate (:func:`spinloom.cosimulate`)
    which : int or str
        number of the device, of the trajectory or of the network, or the network's name

    Returns
    -------
    table : ubermagtable.Table
        rows at the end of each tick; ``t`` (s), and of a device ``u``, ``mx``, ``my``, ``mz``; of a network the target
        ``f``, and of every kind of node that it ran on the outputs ``z_full`` and signals m . e_read ``r_full_0`` ...,
        with the drives ``u_full_0`` ... of the full ones. Outputs are numbered from 0 where there are several

    Raises
    ------
    SpinloomError
        for another data set, or a member that it does not have

    Examples
    --------
    >>> import spinloom
    >>> card = spinloom.load_card("data/devices/disc60.toml")
    >>> found = to_table(spinloom.replay(card, [0.0, 0.5, 0.5], 7.5e-12))
    >>> found.y, found.units["t"], len(found.data)
    (['u', 'mx', 'my', 'mz'], 's', 3)
    """
    kind = _kind(record)
    member = record.isel({MEMBERS[kind]: _number(record, kind, which)})
    if kind == "cosimulation":
        return _network_table(member)
    t = member["t"].values
    made = table(np.diff(t, prepend=0.0), member["u"].values, member["m"].values)
    made.data["t"] = t  # without the rounding of the sum
    return made


def to_drive(record: xr.Dataset, which: int = 0) -> RecordedDrive:
    """One device of a replay, or one trajectory of a calibration set, as a drive of ``micromagneticdata``.

    Parameters
    ----------
    record : xarray.Dataset
        from :func:`spinloom.replay` or :func:`spinloom.calibrate`
    which : int
        number of the device or of the trajectory

    Returns
    -------
    drive : RecordedDrive
        a ``micromagneticdata.AbstractDrive``: ``m0`` and, of a replay, its one step, the field at the end, as
        ``discretisedfield.Field`` (A/m); ``table`` of :func:`to_table`; ``info``

    Raises
    ------
    SpinloomError
        for another data set, a device that it does not have, or a population, of which only one field is kept
    """
    from spinloom.workflows.recorded_drive import RecordedDrive

    kind = _kind(record)
    if kind == "cosimulation":
        raise SpinloomError("record: a verdict keeps no fields; expected a replay or a calibration set")
    if "deviation" in record:
        raise SpinloomError("record: a population keeps the field of its nominal device alone; take to_table")
    number = _number(record, kind, which)
    if kind == "replay":
        card = DeviceCard.from_json(json.dumps(_cards(record)[number % len(_cards(record))]))
        start, ends = record["field_start"].values[number], [record["field"].values[number]]
    else:
        card = DeviceCard.from_json(record.attrs["card"])
        start, ends = record["field_start"].values, []
    info = {
        "system": card.name,
        "drive_number": number,
        "driver": "TimeDriver",
        "adapter": f"spinloom, {record.attrs['engine']} {record.attrs['engine_version']}",
        "t": float(record["t"][-1]),
        "n": record.sizes["tick"],
    }
    return RecordedDrive(
        card_field(card, start), [card_field(card, end) for end in ends], to_table(record, which), info
    )


def _cards(record: xr.Dataset) -> list[dict[str, Any]]:
    return json.loads(record.attrs["cards"])


def _kind(record: xr.Dataset) -> str:
    """Which of the known records a data set is."""
    for kind, member in MEMBERS.items():
        needed = {"z_full", "f"} if kind == "cosimulation" else {"u", "m"}
        if needed <= set(record) and member in record.dims and "t" in record.coords:
            return kind
    raise SpinloomError(
        "record: expected what replay, calibrate or cosimulate give, got a data set of "
        f"{', '.join(map(str, record.data_vars)) or 'nothing'}"
    )


def _number(record: xr.Dataset, kind: str, which: int | str) -> int:
    names = [str(name) for name in record["network"].values] if kind == "cosimulation" else []
    size = record.sizes[MEMBERS[kind]]
    if isinstance(which, str) and which in names:
        return names.index(which)
    if isinstance(which, str) or not 0 <= which < size:
        known = f"one of {', '.join(names)}, or " if names else ""
        raise SpinloomError(f"which: expected {known}the number of a {MEMBERS[kind]} below {size}, got {which!r}")
    return int(which)


def _network_table(one: xr.Dataset) -> ut.Table:
    """Columns of one network."""
    import ubermagtable as ut

    ticks = int(one["periods"]) * one.sizes["period_tick"] if "periods" in one else one.sizes["tick"]
    one = one.isel(tick=slice(0, ticks))
    t = one["t"].values
    f = np.tile(one["f"].values, (ticks // one.sizes["period_tick"], 1))
    columns = {"t": t, **_numbered("f", f, single=True)}
    for name in map(str, one.data_vars):
        head = name.split("_")[0]
        if head in ("z", "r", "u") and one[name].dims[0] == "tick":
            columns |= _numbered(name, one[name].values, single=head == "z")
    units = {name: "s" if name == "t" else "" for name in columns}
    return ut.Table(data=pd.DataFrame(columns), units=units, x="t")


def _numbered(name: str, values: np.ndarray, single: bool) -> dict[str, np.ndarray]:
    """Columns of (ticks, n) values; without a number where there is but one and it needs none."""
    if single and values.shape[1] == 1:
        return {name: values[:, 0].astype(float)}
    return {f"{name}_{k}": column.astype(float) for k, column in enumerate(values.T)}
