"""The calibration protocol: seeded drives into a full engine, and the data set that comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine

KIND, FORMAT = "calibration", 1
CYCLE = ("noise", "holds", "chirp", "tones", "tones", "steps", "tones", "noise")
"""Kinds of drive in the order in which trajectories take them; tones are what networks make."""


class Protocol(BaseModel):
    """How a device is excited.

    Attributes
    ----------
    tick : float
        duration of a tick (s)
    trajectories : int
        number of independent runs, each from equilibrium
    duration : float
        of each trajectory (s)
    seed : int
        trajectory k draws from ``numpy.random.default_rng([seed, k])``
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tick: float = Field(default=7.5e-12, gt=1e-14, lt=1e-7)
    trajectories: int = Field(default=40, ge=4, le=10_000)
    duration: float = Field(default=6e-9, gt=0, lt=1e-3)
    seed: int = Field(default=0, ge=0)

    @property
    def n_ticks(self) -> int:
        """Ticks in a trajectory."""
        return max(1, round(self.duration / self.tick))

    def kinds(self) -> list[str]:
        """The kind of drive of each trajectory."""
        return [CYCLE[k % len(CYCLE)] for k in range(self.trajectories)]

    def drives(self) -> np.ndarray:
        """All drives, (trajectories, ticks).

        Examples
        --------
        >>> Protocol(trajectories=4, duration=75e-12).drives().shape
        (4, 10)
        """
        return np.stack(
            [
                calibration_drive(kind, self.n_ticks, self.tick, np.random.default_rng([self.seed, k]))
                for k, kind in enumerate(self.kinds())
            ]
        )


def calibrate(
    card: DeviceCard, engine: Engine, protocol: Protocol, progress: Callable[[float], None] | None = None
) -> xr.Dataset:
    """Drive a batch of full micromagnetic devices by the protocol.

    Parameters
    ----------
    card : DeviceCard
    engine : Engine
        of this card, with the protocol's tick
    protocol : Protocol
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    dataset : xarray.Dataset
        ``u`` (trajectory, tick), ``m`` (trajectory, tick, component) at the END of each tick,
        ``m_start`` (component), and ``field_start``, the relaxed field (x, y, z, component)
    """
    u = protocol.drives()
    began = time.perf_counter()
    relaxed = engine.equilibria[0]
    start = relaxed[card.geometry.mask()].mean(axis=0)
    _, m = engine.play(np.full(protocol.n_ticks, protocol.tick), u.T, progress=progress)
    wall = time.perf_counter() - began
    dataset = xr.Dataset(
        {
            "u": (("trajectory", "tick"), u, {"units": "1", "long_name": "drive J / J_max, held for the tick"}),
            "m": (
                ("trajectory", "tick", "component"),
                m.transpose(1, 0, 2),
                {"units": "1", "long_name": "average magnetisation <m> at the end of the tick"},
            ),
            "m_start": (("component",), start, {"units": "1", "long_name": "<m> at equilibrium"}),
            "field_start": (("x", "y", "z", "component"), relaxed, {"units": "1", "long_name": "relaxed m"}),
        },
        coords={
            "t": (
                ("tick",),
                protocol.tick * np.arange(1, protocol.n_ticks + 1),
                {"units": "s", "long_name": "time at the end of the tick"},
            ),
            "component": ["x", "y", "z"],
            "drive_kind": (("trajectory",), protocol.kinds()),
        },
        attrs={
            "card": card.to_json(),
            "protocol": protocol.model_dump_json(),
            "engine": engine.name,
            "engine_version": engine.version,
            "tick_s": protocol.tick,
            "device_ns": protocol.trajectories * protocol.n_ticks * protocol.tick * 1e9,
            "wall_s": wall,
        },
    )
    return dataset


def save_calibration(dataset: xr.Dataset, path: str | Path) -> None:
    """Write a calibration set as NetCDF."""
    files.save(dataset, path, KIND, FORMAT)


def load_calibration(path: str | Path) -> xr.Dataset:
    """Read a calibration set and check that it is whole.

    Raises
    ------
    SpinloomError
        if the file is missing, truncated, of another kind or holds values that are not finite
    """
    dataset = files.load(path, KIND, FORMAT)
    for name, dims in {"u": ("trajectory", "tick"), "m": ("trajectory", "tick", "component")}.items():
        if name not in dataset or dataset[name].dims != dims:
            raise SpinloomError(f"{path}: expected a variable {name} with dimensions {dims}")
        if not np.isfinite(dataset[name].values).all():
            raise SpinloomError(f"{path}: variable {name} has values that are not finite; calibrate again")
    for name in ("card", "tick_s", "engine", "protocol"):
        if name not in dataset.attrs:
            raise SpinloomError(f"{path}: expected an attribute {name}; calibrate again")
    DeviceCard.from_json(dataset.attrs["card"])
    return dataset
