"""A calibrated model: a fitted estimator with its device, its tick, its units and its region. It gives a node."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from pydantic import ValidationError

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale, Scaled
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.macrospin import MacrospinModel
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.region import Region
from spinloom.reduced_models.rollout import nrmse, search, simulate

KIND, FORMAT = "reduced model", 2
KINDS = {"flow_map": FlowMap, "macrospin": MacrospinModel}
DEGREES = [3, 4, 5, 6]
RIDGES = [1e-10, 1e-8, 1e-6]
HOLD_OUT = 5
"""Every fifth trajectory is held out: it is used neither to fit nor to choose."""


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """A reduced model of one device, with all that is needed to use and to judge it.

    Attributes
    ----------
    estimator : FlowMap or MacrospinModel
    card : DeviceCard
    tick : float
        duration of a tick (s)
    m_start : (3,) ndarray
        <m> at equilibrium
    region : Region
    holdout_nrmse : float
        the worst over held-out trajectories, free roll-out from the first tick
    scale : Scale
        what one unit of a network means for this device
    info : dict
        calibration's engine, protocol and figures, JSON-able
    """

    estimator: Any
    card: DeviceCard
    tick: float
    m_start: np.ndarray
    region: Region
    holdout_nrmse: float
    scale: Scale
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``flow_map`` or ``macrospin``."""
        return next(kind for kind, cls in KINDS.items() if isinstance(self.estimator, cls))

    @cached_property
    def node(self) -> ReducedNode:
        """The device as a node, in its own units: drive J / J_max, signal m . e_read."""
        # It is kept, and so must not be made of what JAX is tracing when it is first asked for.
        with jax.ensure_compile_time_eval():
            return ReducedNode.of(self.estimator.law(), self.m_start, self.card.readout.axis, self.tick)

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
        self.region.warn(self.region.outside(_before(m, m0), np.asarray(u)), "roll-out")
        return m


def _before(m: np.ndarray, m0: np.ndarray) -> np.ndarray:
    """<m> before each tick from <m> after it; ticks come first."""
    return np.concatenate([np.broadcast_to(m0, (1, *m.shape[1:])), m[:-1]])


def held_out(n_trajectories: int) -> np.ndarray:
    """Which trajectories of a calibration set are held out."""
    return np.arange(n_trajectories) % HOLD_OUT == HOLD_OUT - 1


def fit_model(calibration: xr.Dataset, kind: str = "flow_map", reach: float = 1.0) -> CalibratedModel:
    """Fit a reduced model to a calibration set.

    Degree and ridge are chosen by cross-validated roll-outs over the trajectories that are
    not held out; the hold-out error is measured once, on the others.

    Parameters
    ----------
    calibration : xarray.Dataset
        from :func:`spinloom.device_models.calibration.load_calibration`
    kind : {"flow_map", "macrospin"}
    reach : float
        share of J_max that networks stay within: their drive of 1 is ``reach`` J_max

    Returns
    -------
    model : CalibratedModel

    Raises
    ------
    SpinloomError
        for an unknown kind, a reach outside (0, 1], fewer than ten trajectories, or a device
        whose signal does not move
    """
    if kind not in KINDS:
        raise SpinloomError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if not 0 < reach <= 1:
        raise SpinloomError(f"reach: expected a share of J_max above 0 and at most 1, got {reach:g}")
    card, tick = DeviceCard.from_json(calibration.attrs["card"]), float(calibration.attrs["tick_s"])
    m, u, m_start = calibration["m"].values, calibration["u"].values, calibration["m_start"].values
    if len(m) < 2 * HOLD_OUT:
        raise SpinloomError(f"calibration: expected at least {2 * HOLD_OUT} trajectories to fit and test, got {len(m)}")
    out = held_out(len(m))
    if kind == "flow_map":
        found = search(FlowMap(), {"degree": DEGREES, "ridge": RIDGES}, m[~out], u[~out], m_start)
    else:
        found = search(MacrospinModel.from_card(card, tick), {}, m[~out], u[~out], m_start)
    estimator = found.best_estimator_
    rolled = simulate(estimator, u[out].T, m_start)
    errors = nrmse(rolled, m[out].swapaxes(0, 1))
    region = Region.from_calibration(_before(m.swapaxes(0, 1), m_start).swapaxes(0, 1)[~out], u[~out])
    return CalibratedModel(
        estimator=estimator,
        card=card,
        tick=tick,
        m_start=m_start,
        region=region,
        holdout_nrmse=float(errors.max()),
        scale=_scale(estimator, card, tick, m_start, m[~out], reach),
        info={
            "engine": calibration.attrs["engine"],
            "engine_version": calibration.attrs.get("engine_version", ""),
            "protocol": json.loads(calibration.attrs["protocol"]),
            "holdout_nrmse_each": [float(error) for error in errors],
            "outside_share": region.outside(_before(rolled, m_start), u[out].T),
            "search": _scores(found),
        },
    )


def _scale(estimator: Any, card: DeviceCard, tick: float, m_start: np.ndarray, m: np.ndarray, reach: float) -> Scale:
    """Mean and spread of the signal over the calibration, and how the device rings at rest."""
    axis = card.readout.axis
    signal = m @ np.asarray(axis)
    if not signal.std() > 1e-9:
        raise SpinloomError(
            f"readout.axis: the signal m . e_read of {card.name} does not move ({signal.mean():g} throughout); "
            "choose another axis, or drive the device harder (torque.J_max)"
        )
    frequency, quality = ReducedNode.of(estimator.law(), m_start, axis, tick).ringing()
    return Scale(
        mean=float(signal.mean()), spread=float(signal.std()), reach=reach, resonance=frequency, quality=quality
    )


def _scores(found: Any) -> list[dict[str, Any]]:
    results = found.cv_results_
    return [
        {**params, "rollout_nrmse": -float(score)}
        for params, score in zip(results["params"], results["mean_test_score"], strict=True)
    ]


_FITTED = {
    "flow_map": ("coef_", "intercept_", "length_", "sphere_axis_", "n_features_in_", "one_dimensional_"),
    "macrospin": ("theta_", "readout_", "n_features_in_", "one_dimensional_"),
}


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
        kind = dataset.attrs["model"]
        params = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(dataset.attrs["params"]).items()}
        estimator = KINDS[kind](**params)
        for name in _FITTED[kind]:
            value = dataset[f"fitted_{name}"].values
            setattr(estimator, name, value if value.ndim else value.item())
        for name in ("sphere_axis_", "n_features_in_"):
            if hasattr(estimator, name):
                setattr(estimator, name, int(getattr(estimator, name)))
        return CalibratedModel(
            estimator=estimator,
            card=DeviceCard.from_json(dataset.attrs["card"]),
            tick=float(dataset.attrs["tick_s"]),
            m_start=dataset["m_start"].values,
            region=Region(dataset["region_points"].values.astype(float), float(dataset.attrs["region_threshold"])),
            holdout_nrmse=float(dataset.attrs["holdout_nrmse"]),
            scale=Scale.model_validate_json(dataset.attrs["scale"]),
            info=json.loads(dataset.attrs["info"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise SpinloomError(f"{path}: not a whole model file ({error!r}); fit it again") from None
