"""A calibrated model: a fitted estimator with its device, its tick, its units and its region. It gives a node."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale, Scaled
from spinloom.device_models.spread import vary
from spinloom.device_models.texts import json_object, shown
from spinloom.reduced_models.basis import SPHERE, exponents
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.macrospin import MacrospinModel
from spinloom.reduced_models.memory_map import MemoryMap
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.population_fit import devices_of
from spinloom.reduced_models.population_map import PopulationMap
from spinloom.reduced_models.reach import verdict
from spinloom.reduced_models.region import Region
from spinloom.reduced_models.rollout import simulate
from spinloom.reduced_models.soundness import MOST_POWER, expect_node, expect_numbers, expect_tick
from spinloom.reduced_models.thermal_map import ThermalMap
from spinloom.reduced_models.thermal_population_map import ThermalPopulationMap

KIND, FORMAT = "reduced model", 2
KINDS = {
    "flow_map": FlowMap,
    "macrospin": MacrospinModel,
    "memory_map": MemoryMap,
    "thermal_map": ThermalMap,
    "population_map": PopulationMap,
    "thermal_population_map": ThermalPopulationMap,
}
POPULATIONS = ("population_map", "thermal_population_map")
"""Kinds that know devices which differ."""
WITHOUT_MEMORY = ("flow_map", "macrospin")
"""Kinds whose state is ``<m>`` alone."""
WARM = "thermal_map"
"""The kind for devices above 0 K; all others are for devices at 0 K."""


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """A reduced model of one device, with all that is needed to use and to judge it.

    Attributes
    ----------
    estimator : FlowMap or another of :data:`KINDS`
    card : DeviceCard
    tick : float
        duration of a tick (s)
    m_start : (3,) ndarray
        <m> at equilibrium
    region : Region
    holdout_nrmse : float
        the worst over held-out trajectories within the reach, free roll-out from the first tick; of a warm device,
        which no roll-out follows, by how much its noise is off (:class:`spinloom.reduced_models.thermal_fit.Judged`)
    scale : Scale
        what one unit of a network means for this device
    info : dict
        calibration's engine, protocol and figures, JSON-able. ``amplitude`` is that of the largest drives
        that it was fitted to; ``reach_curve`` holds ``amplitude, worst, median``, the number of held-out
        ``trajectories`` and the ``kind``, for models fitted up to each amplitude
    deviations : (devices, parameters) ndarray, optional
        how its devices differ from that of the card, by the columns of
        :data:`spinloom.device_models.spread.PARAMETERS`; one device, that of the card, if not given
    """

    estimator: Any
    card: DeviceCard
    tick: float
    m_start: np.ndarray
    region: Region
    holdout_nrmse: float
    scale: Scale
    info: dict[str, Any] = field(default_factory=dict)
    deviations: np.ndarray | None = None

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        # The last that fits: a thermal map is a flow map too.
        return next(kind for kind, cls in reversed(KINDS.items()) if isinstance(self.estimator, cls))

    @property
    def temperature(self) -> float:
        """Of the free layer (K)."""
        return self.card.conditions.temperature

    @property
    def cards(self) -> tuple[DeviceCard, ...]:
        """Its devices, in the order in which they are numbered."""
        if self.deviations is None:
            return (self.card,)
        return tuple(vary(self.card, row, f"{self.card.name}-{k}") for k, row in enumerate(self.deviations))

    def on(self, deviations: np.ndarray) -> CalibratedModel:
        """The same model of devices that differ, (devices, parameters).

        Raises
        ------
        SpinloomError
            if it was fitted to one device alone
        """
        if self.kind not in POPULATIONS:
            raise SpinloomError(
                f"model: a {self.kind.replace('_', ' ')} knows {self.card.name} alone, not devices that differ from "
                "it; calibrate a population ('spinloom calibrate --spread')"
            )
        return replace(self, deviations=np.asarray(deviations, dtype=float))

    @property
    def verdict(self) -> str:
        """``good`` where the worst held-out roll-out is at most 0.01, ``usable`` up to 0.05, else ``unfit``."""
        return verdict(self.holdout_nrmse)

    @cached_property
    def node(self) -> ReducedNode:
        """Its devices as a node, in their own units: drive J / J_max, signal m . e_read."""
        # It is kept, and so must not be made of what JAX is tracing when it is first asked for.
        with jax.ensure_compile_time_eval():
            if self.deviations is not None:
                return devices_of(self.estimator, self.card, self.m_start, self.tick, self.cards)
            read = self.card.readout
            return ReducedNode.of(self.estimator.law(), self.m_start, read.axis, self.tick, read.offset)

    @property
    def scaled(self) -> Scaled:
        """The device as a network takes it."""
        return self.scale.of(self.node)

    def simulate(self, u: np.ndarray, m0: np.ndarray | None = None) -> np.ndarray:
        """Free roll-out; warns when it leaves the region of calibration.

        Parameters
        ----------
        u : (n_ticks,) or (n_ticks, n) array_like
            drives within [-1, 1], held for each tick
        m0 : (3,) ndarray, optional
            equilibrium if not given

        Returns
        -------
        m : (n_ticks, 3) or (n_ticks, n, 3) ndarray
            at the end of each tick
        """
        m0 = self.m_start if m0 is None else np.asarray(m0, dtype=float)
        m = simulate(self.estimator, u, m0)
        self.region.warn(self.region.outside(before_each(m, m0), np.asarray(u)), "roll-out")
        return m


def before_each(m: np.ndarray, m0: np.ndarray) -> np.ndarray:
    """<m> before each tick from <m> after it; ticks come first."""
    return np.concatenate([np.broadcast_to(m0, (1, *m.shape[1:])), m[:-1]])


_FITTED = {
    "flow_map": ("coef_", "intercept_", "powers_", "length_", "sphere_axis_", "n_features_in_", "one_dimensional_"),
    "memory_map": ("coef_", "intercept_", "powers_", "length_", "sphere_axis_", "n_features_in_", "one_dimensional_"),
    "macrospin": ("theta_", "readout_", "n_features_in_", "one_dimensional_"),
}
_NOISE = ("noise_coef_", "noise_intercept_", "noise_powers_", "noise_axis_", "length_noise_")
_FITTED["thermal_map"] = (*_FITTED["flow_map"], *_NOISE)
_FITTED["population_map"] = (*_FITTED["flow_map"], "coordinate_powers_")
_FITTED["thermal_population_map"] = (*_FITTED["population_map"], *_NOISE, "length_noise_coef_")


def save_model(model: CalibratedModel, path: str | Path) -> None:
    """Write a model as NetCDF: numbers and JSON, nothing that runs."""
    fitted = {}
    for name in _FITTED[model.kind]:
        value = np.asarray(getattr(model.estimator, name), dtype=float)
        fitted[f"fitted_{name}"] = (tuple(f"{name}_{axis}" for axis in range(value.ndim)), value)
    dataset = xr.Dataset(
        {
            **fitted,
            "m_start": (("component",), model.m_start, {"units": "1"}),
            "region_points": (("point", "coordinate"), model.region.points.astype(np.float32), {"units": "1"}),
        },
        coords={"component": ["x", "y", "z"], "coordinate": ["m_x", "m_y", "m_z", "u"]},
        attrs={
            "model": model.kind,
            "params": json.dumps(model.estimator.get_params()),
            "card": model.card.to_json(),
            "tick_s": model.tick,
            "region_threshold": model.region.threshold,
            "holdout_nrmse": model.holdout_nrmse,
            "scale": model.scale.model_dump_json(),
            "info": files.to_json(model.info),
        },
    )
    files.save(dataset, path, KIND, FORMAT)


def load_model(path: str | Path) -> CalibratedModel:
    """Read a model that :func:`save_model` wrote; nothing in the file is run.

    Raises
    ------
    SpinloomError
        if it is missing, damaged, of another kind or version, or not whole
    """
    dataset = files.load(path, KIND, FORMAT)
    try:
        model = CalibratedModel(
            estimator=_estimator(dataset),
            card=DeviceCard.from_json(dataset.attrs["card"]),
            tick=expect_tick("tick_s", dataset.attrs["tick_s"]),
            m_start=_of_shape(dataset["m_start"].values, 3),
            region=Region(
                _of_shape(dataset["region_points"].values.astype(float), None, 4),
                _positive("region_threshold", dataset.attrs["region_threshold"]),
            ),
            holdout_nrmse=float(dataset.attrs["holdout_nrmse"]),
            scale=Scale.model_validate_json(dataset.attrs["scale"]),
            info=json_object(dataset.attrs["info"], "info"),
        )
        expect_node(model.node)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
        # What is wrong with a part says so without the file's name, errors of the card among them.
        told = str(error) if isinstance(error, ValueError) else repr(error)
        raise SpinloomError(f"{path}: not a whole model file ({told[:500]}); fit it again") from None
    return model


def _estimator(dataset: xr.Dataset) -> Any:
    kind = str(dataset.attrs["model"])
    if kind not in KINDS:
        raise ValueError(f"model: expected one of {', '.join(KINDS)}, got {shown(kind)}")
    params = json_object(dataset.attrs["params"], "params")
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    estimator = KINDS[kind](**params)
    if "tick" in params:
        expect_tick("params.tick", params["tick"])
    for name in _FITTED[kind]:
        if name == "powers_" and "fitted_powers_" not in dataset:  # files that are older than this array
            degree, axis = int(params["degree"]), int(dataset["fitted_sphere_axis_"])
            if not (1 <= degree <= MOST_POWER and -1 <= axis < SPHERE):
                raise ValueError(f"degree: expected 1 to {MOST_POWER}, got {degree}")
            estimator.powers_ = exponents(SPHERE + 1, degree, axis)
            continue
        value = expect_numbers(name, dataset[f"fitted_{name}"].values)
        setattr(estimator, name, value if value.ndim else value.item())
    for name in ("sphere_axis_", "n_features_in_", "noise_axis_"):
        if hasattr(estimator, name):
            setattr(estimator, name, int(getattr(estimator, name)))
    return estimator


def _of_shape(value: np.ndarray, *shape: int | None) -> np.ndarray:
    """Finite numbers of a certain shape; None is any length but zero."""
    fits = value.ndim == len(shape) and all(
        n == m or (m is None and n) for n, m in zip(value.shape, shape, strict=True)
    )
    if not fits or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise ValueError(f"expected finite numbers of shape {shape}, got {value.dtype} of shape {value.shape}")
    return value


def _positive(name: str, value: Any) -> float:
    if not 0 <= float(value) < np.inf:
        raise ValueError(f"{name}: expected a number of at least 0, got {value}")
    return float(value)
