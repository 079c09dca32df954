"""The calibration protocol: seeded drives into a full engine, and the data set that comes out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, field_validator

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Engine

KIND, FORMAT = "calibration", 1
CYCLE = ("noise", "holds", "chirp", "tones", "tones", "steps", "tones", "noise")
"""Kinds of drive in the order in which trajectories take them; tones are what networks make."""
GRADES = (0.75, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of J_max that drives are scaled to beside those of full amplitude."""
AMPLITUDE = {"units": "1", "long_name": "share of J_max that the drive is scaled to"}


class Protocol(BaseModel):
    """How a device is excited.

    Attributes
    ----------
    tick : float
        duration of a tick (s)
    trajectories : int
        number of independent runs under drives of full amplitude, each from equilibrium
    duration : float
        of each trajectory (s)
    seed : int
        the drive of trajectory k draws from ``numpy.random.default_rng([seed, k])``; also of the thermal field
    grades : tuple of float
        smaller amplitudes, as shares of J_max: they tell how far a reduced model reaches
    per_grade : int
        further runs for each of them, after those of full amplitude

    Examples
    --------
    >>> Protocol().n_trajectories, Protocol(grades=()).n_trajectories
    (88, 40)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tick: float = Field(default=7.5e-12, gt=1e-14, lt=1e-7)
    trajectories: int = Field(default=40, ge=4, le=10_000)
    duration: float = Field(default=6e-9, gt=0, lt=1e-3)
    seed: int = Field(default=0, ge=0)
    grades: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=GRADES, max_length=100)
    per_grade: int = Field(default=8, ge=4, le=10_000)

    @field_validator("grades")
    @classmethod
    def _grades_differ(cls, grades: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(grades)) < len(grades):
            raise ValueError(f"expected each grade once, got {', '.join(f'{grade:g}' for grade in grades)}")
        return grades

    @classmethod
    def from_json(cls, text: str) -> Protocol:
        """The protocol that a calibration set names; sets that are older than grades have none.

        Examples
        --------
        >>> Protocol.from_json('{"trajectories": 40}').grades
        ()
        """
        return cls.model_validate({"grades": (), **json.loads(text)})

    @property
    def n_trajectories(self) -> int:
        """All runs: those of full amplitude, then those of each grade."""
        return self.trajectories + len(self.grades) * self.per_grade

    @property
    def n_ticks(self) -> int:
        """Ticks in a trajectory."""
        return max(1, round(self.duration / self.tick))

    def kinds(self) -> list[str]:
        """The kind of drive of each trajectory."""
        full, graded = range(self.trajectories), range(len(self.grades) * self.per_grade)
        return [CYCLE[k % len(CYCLE)] for k in (*full, *graded)]

    def amplitudes(self) -> np.ndarray:
        """Share of J_max that the drive of each trajectory is scaled to, (n_trajectories,).

        Examples
        --------
        >>> Protocol(trajectories=4, grades=(0.5,), per_grade=4).amplitudes()
        array([1. , 1. , 1. , 1. , 0.5, 0.5, 0.5, 0.5])
        """
        return np.concatenate([np.ones(self.trajectories), np.repeat(self.grades, self.per_grade)])

    def drives(self) -> np.ndarray:
        """All drives, (n_trajectories, ticks).

        Examples
        --------
        >>> Protocol(trajectories=4, duration=75e-12, grades=()).drives().shape
        (4, 10)
        """
        return np.stack(
            [
                amplitude * calibration_drive(kind, self.n_ticks, self.tick, np.random.default_rng([self.seed, k]))
                for k, (kind, amplitude) in enumerate(zip(self.kinds(), self.amplitudes(), strict=True))
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
        ``m_start`` (component), and ``field_start``, the field relaxed at 0 K (x, y, z, component); coordinates
        ``drive_kind`` and ``amplitude`` of each trajectory
    """
    u = protocol.drives()
    began = time.perf_counter()
    relaxed = engine.equilibria[0]
    start = relaxed[card.geometry.mask()].mean(axis=0)
    _, m = engine.play(np.full(protocol.n_ticks, protocol.tick), u.T, progress=progress, seed=protocol.seed)
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
            "amplitude": (("trajectory",), protocol.amplitudes(), AMPLITUDE),
        },
        attrs={
            "card": card.to_json(),
            "protocol": protocol.model_dump_json(),
            "engine": engine.name,
            "engine_version": engine.version,
            "tick_s": protocol.tick,
            "device_ns": protocol.n_trajectories * protocol.n_ticks * protocol.tick * 1e9,
            "wall_s": wall,
        },
    )
    return dataset


def save_calibration(dataset: xr.Dataset, path: str | Path) -> None:
    """Write a calibration set as NetCDF."""
    files.save(dataset, path, KIND, FORMAT)


def load_calibration(path: str | Path) -> xr.Dataset:
    """Read a calibration set and check that it is whole.

    A set without amplitudes is older than grades: all its drives have the full amplitude.

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
    dataset = dataset.assign_coords(amplitude=("trajectory", amplitudes(dataset), AMPLITUDE))
    _check_amplitude(dataset["amplitude"], path)
    return dataset


def amplitudes(dataset: xr.Dataset) -> np.ndarray:
    """Share of J_max that the drive of each trajectory is scaled to, (trajectory,); 1 where a set does not say."""
    if "amplitude" not in dataset:
        return np.ones(dataset.sizes["trajectory"])
    return dataset["amplitude"].values


def _check_amplitude(amplitude: xr.DataArray, path: str | Path) -> None:
    if amplitude.dims != ("trajectory",):
        raise SpinloomError(f"{path}: amplitude: expected one for each trajectory, got dimensions {amplitude.dims}")
    values = amplitude.values
    wrong = values[~((values > 0) & (values <= 1))]
    if len(wrong):
        raise SpinloomError(
            f"{path}: amplitude: expected shares of J_max above 0 and at most 1, got {wrong[0]:g}; calibrate again"
        )
