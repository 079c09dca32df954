"""The calibration protocol: seeded drives into a full engine, and the data set that comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard, explain
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.groups import Elsewhere, trajectories
from spinloom.device_models.node import Engine
from spinloom.device_models.spread import PARAMETERS, Spread, vary
from spinloom.device_models.texts import json_object
from spinloom.device_models.trajectory_store import TrajectoryStore

KIND, FORMAT = "calibration", 1
CYCLE = ("noise", "holds", "chirp", "tones", "tones", "steps", "tones", "noise")
"""Kinds of drive in the order in which trajectories take them; tones are what networks make."""
GRADES = (0.75, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of J_max that drives are scaled to beside those of full amplitude."""
_POPULATION = 10_000_000
"""Seeds of a calibration's devices, apart from those of chips (0 on)."""
AMPLITUDE = {"units": "1", "long_name": "share of J_max that the drive is scaled to"}


OF_POPULATION = {"trajectories": 128, "duration": 3e-9, "grades": (0.85, 0.7, 0.5), "per_grade": 32}
"""How a population is excited, where it is not said: shorter, but many devices, each of them twice."""
WIDER = 1.5
"""Devices that a population is fitted to are drawn with this many times its spread, those that judge as they are."""
JUDGES = 5
"""Every so many devices, one judges."""


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
        try:
            return cls.model_validate({"grades": (), **json_object(text, "stored protocol")})
        except ValidationError as error:
            raise SpinloomError(explain(error, "stored protocol")) from None

    @property
    def n_trajectories(self) -> int:
        """All runs: those of full amplitude, then those of each grade."""
        return self.trajectories + len(self.grades) * self.per_grade

    @classmethod
    def of_population(cls) -> Protocol:
        """The usual one for devices that differ.

        Examples
        --------
        >>> Protocol.of_population().devices
        112
        """
        return cls.model_validate(OF_POPULATION)

    @property
    def devices(self) -> int:
        """How many devices of a population are excited: each in two trajectories."""
        return -(-self.n_trajectories // 2)

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


class Design(NamedTuple):
    """Which devices of a population a calibration excites.

    Attributes
    ----------
    deviations : (devices, parameters) ndarray
        of each from the nominal one, by the columns of :data:`spinloom.device_models.spread.PARAMETERS`
    held_out : (devices,) bool ndarray
        which of them judge: these are drawn with the spread, the others wider
    """

    deviations: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, spread: Spread, protocol: Protocol) -> Design:
        """For a spread; the devices depend on the protocol's seed.

        Examples
        --------
        >>> design = Design.of(Spread.uniform(0.05), Protocol.of_population())
        >>> design.deviations.shape, int(design.held_out.sum())
        ((112, 9), 22)
        """
        drawn = spread.draw(protocol.devices, _POPULATION + protocol.seed)
        held_out = np.arange(len(drawn)) % JUDGES == JUDGES - 1
        return cls(drawn * np.where(held_out, 1.0, WIDER)[:, None], held_out)

    def cards(self, card: DeviceCard) -> list[DeviceCard]:
        """The nominal card, then those of its devices."""
        return [card, *(vary(card, row, f"{card.name}-{k}") for k, row in enumerate(self.deviations))]


def calibrate(
    card: DeviceCard,
    engine: Engine,
    protocol: Protocol,
    progress: Callable[[float], None] | None = None,
    design: Design | None = None,
    store: TrajectoryStore | None = None,
    elsewhere: Elsewhere | None = None,
) -> xr.Dataset:
    """Drive a batch of full micromagnetic devices by the protocol.

    Parameters
    ----------
    card : DeviceCard
    engine : Engine
        of this card, with the protocol's tick; of a population, of :meth:`Design.cards`
    protocol : Protocol
    progress : callable, optional
        called with the number of ticks just done
    design : Design, optional
        the devices of a population; without it, all are that of the card
    store : TrajectoryStore, optional
        where trajectories are looked for, and kept as they come
    elsewhere : callable, optional
        computes groups of trajectories in other processes, see :data:`spinloom.device_models.groups.Elsewhere`

    Returns
    -------
    dataset : xarray.Dataset
        ``u`` (trajectory, tick), ``m`` (trajectory, tick, component) at the END of each tick,
        ``m_start`` (component), and ``field_start``, the field relaxed at 0 K (x, y, z, component); coordinates
        ``drive_kind`` and ``amplitude`` of each trajectory. Of a population also ``deviation`` (trajectory,
        parameter), ``m_start_each`` (trajectory, component) and ``held_out`` (trajectory)
    """
    u = protocol.drives()
    began = time.perf_counter()
    relaxed = engine.equilibria[0]
    start = relaxed[card.geometry.mask()].mean(axis=0)
    device = None if design is None else np.arange(len(u)) % len(design.deviations)
    which = np.zeros(len(u), dtype=int) if device is None else 1 + device
    m = trajectories(engine, which, u, protocol.seed, store, progress, elsewhere)
    wall = time.perf_counter() - began
    dataset = xr.Dataset(
        {
            "u": (("trajectory", "tick"), u, {"units": "1", "long_name": "drive J / J_max, held for the tick"}),
            "m": (
                ("trajectory", "tick", "component"),
                m,
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
    if design is None or device is None:
        return dataset
    return dataset.assign(_of_each(engine, card, design, device))


def _of_each(engine: Engine, card: DeviceCard, design: Design, device: np.ndarray) -> dict[str, Any]:
    """What the trajectories of a population are of."""
    inside = engine.equilibria[1:, card.geometry.mask()]
    told = {"long_name": "how the device differs from the card's", "parameters": ",".join(PARAMETERS)}
    return {
        "deviation": (("trajectory", "parameter"), design.deviations[device], told),
        "m_start_each": (("trajectory", "component"), inside.mean(axis=1)[device], {"long_name": "<m> at equilibrium"}),
        "held_out": (("trajectory",), design.held_out[device].astype(np.int8), {"long_name": "whether it judges"}),
    }


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
    try:
        return _whole(dataset)
    except SpinloomError as error:
        raise SpinloomError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SpinloomError(f"{path}: not a whole calibration set ({error!r:.300}); calibrate again") from None


def _whole(dataset: xr.Dataset) -> xr.Dataset:
    """A calibration set whose parts belong together."""
    expect_finite(dataset, "u", "trajectory", "tick")
    expect_finite(dataset, "m", "trajectory", "tick", "component")
    expect_finite(dataset, "m_start", "component")
    for name, most in (("u", 1 + 1e-6), ("m", 2.0), ("m_start", 2.0)):
        largest = float(np.abs(dataset[name].values).max(initial=0))
        if largest > most:
            raise SpinloomError(f"{name}: expected values within {most:g}, got {largest:g}; calibrate again")
    if dataset.sizes["component"] != 3 or not dataset.sizes["tick"] or not dataset.sizes["trajectory"]:
        raise SpinloomError(f"expected trajectories of <m> with 3 components, got {dict(dataset.sizes)}")
    if "deviation" in dataset:
        dataset = _checked_population(dataset)
    if "signal" in dataset:
        _check_measured(dataset)
    for name in ("card", "tick_s", "engine", "protocol"):
        if name not in dataset.attrs:
            raise SpinloomError(f"expected an attribute {name}; calibrate again")
    tick = float(dataset.attrs["tick_s"])
    if not 1e-14 < tick < 1e-7:
        raise SpinloomError(f"tick_s: expected 1e-14 to 1e-7 s, got {tick:g}; calibrate again")
    card = DeviceCard.from_json(dataset.attrs["card"])
    json_object(dataset.attrs["protocol"], "protocol")
    if "field_start" in dataset:
        expect_finite(dataset, "field_start", "x", "y", "z", "component")
        if dataset["field_start"].shape[:3] != card.geometry.shape_cells:
            raise SpinloomError(f"field_start: expected the cells of {card.name}, got {dataset['field_start'].shape}")
    dataset = dataset.assign_coords(amplitude=("trajectory", amplitudes(dataset), AMPLITUDE))
    _check_amplitude(dataset["amplitude"])
    return dataset


def expect_finite(dataset: xr.Dataset, name: str, *dims: str) -> None:
    """A variable of numbers with certain dimensions.

    Raises
    ------
    SpinloomError
        for another, or one with values that are not finite
    """
    if name not in dataset or dataset[name].dims != dims:
        raise SpinloomError(f"expected a variable {name} with dimensions {dims}")
    values = dataset[name].values
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise SpinloomError(f"variable {name} has values that are not finite; make the file again")


def _check_measured(dataset: xr.Dataset) -> None:
    """Of measured traces: the signals, where each begins, and the read-out between."""
    expect_finite(dataset, "signal", "trajectory", "tick")
    expect_finite(dataset, "m_first", "trajectory", "component")
    told = json_object(dataset.attrs.get("measured", ""), "measured")
    try:
        whole = all(np.isfinite(float(told[name])) for name in ("gain", "offset", "delay_s"))
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise SpinloomError("expected an attribute measured with gain, offset and delay_s; measure again")


def _checked_population(dataset: xr.Dataset) -> xr.Dataset:
    """A population's set, its deviations by the columns of today."""
    expect_finite(dataset, "deviation", "trajectory", "parameter")
    expect_finite(dataset, "m_start_each", "trajectory", "component")
    expect_finite(dataset, "held_out", "trajectory")
    told = str(dataset["deviation"].attrs.get("parameters", "")).split(",")
    if set(told) != set(PARAMETERS) or len(told) != dataset.sizes["parameter"]:
        raise SpinloomError(f"deviation: expected {', '.join(PARAMETERS)}, got {', '.join(told)[:200]}")
    return dataset.isel(parameter=[told.index(name) for name in PARAMETERS])


def amplitudes(dataset: xr.Dataset) -> np.ndarray:
    """Share of J_max that the drive of each trajectory is scaled to, (trajectory,); 1 where a set does not say."""
    if "amplitude" not in dataset:
        return np.ones(dataset.sizes["trajectory"])
    return dataset["amplitude"].values


def _check_amplitude(amplitude: xr.DataArray) -> None:
    if amplitude.dims != ("trajectory",):
        raise SpinloomError(f"amplitude: expected one for each trajectory, got dimensions {amplitude.dims}")
    values = amplitude.values
    wrong = values[~((values > 0) & (values <= 1))]
    if len(wrong):
        raise SpinloomError(
            f"amplitude: expected shares of J_max above 0 and at most 1, got {wrong[0]:g}; calibrate again"
        )
