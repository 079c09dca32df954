"""A calibrated model: a fitted estimator with its device, its tick, its units and its region. It gives a node."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from pydantic import ValidationError

from spinloom.device_models import files
from spinloom.device_models.calibration import amplitudes
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale, Scaled
from spinloom.reduced_models.basis import SPHERE, exponents
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.macrospin import MacrospinModel
from spinloom.reduced_models.memory_map import MemoryMap
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.reach import HOLD_OUT, Trajectories, find_reach, verdict
from spinloom.reduced_models.region import Region
from spinloom.reduced_models.rollout import simulate
from spinloom.reduced_models.thermal_fit import fit_thermal
from spinloom.reduced_models.thermal_map import ThermalMap

KIND, FORMAT = "reduced model", 2
KINDS = {"flow_map": FlowMap, "macrospin": MacrospinModel, "memory_map": MemoryMap, "thermal_map": ThermalMap}
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
        """One of :data:`KINDS`."""
        # The last that fits: a thermal map is a flow map too.
        return next(kind for kind, cls in reversed(KINDS.items()) if isinstance(self.estimator, cls))

    @property
    def temperature(self) -> float:
        """Of the free layer (K)."""
        return self.card.conditions.temperature

    @property
    def verdict(self) -> str:
        """``good`` where the worst held-out roll-out is at most 0.01, ``usable`` up to 0.05, else ``unfit``."""
        return verdict(self.holdout_nrmse)

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


def fit_model(
    calibration: xr.Dataset,
    kind: str = "auto",
    reach: float | str = "auto",
    progress: Callable[[float], None] | None = None,
) -> CalibratedModel:
    """Fit a reduced model to a calibration set.

    Degree and ridge are chosen by cross-validated roll-outs over the trajectories that are
    not held out; the hold-out error is measured on the others. It also says how far the model
    reaches: the largest amplitude of the calibration's drives up to which it is good. For a warm
    device they are chosen by the likelihood of single ticks instead, and the error is that of the noise.

    Parameters
    ----------
    calibration : xarray.Dataset
        from :func:`spinloom.device_models.calibration.load_calibration`
    kind : {"auto", "flow_map", "macrospin"} or another of :data:`KINDS`
        ``auto`` is a flow map, and where that does not reach J_max, whatever reaches farthest; a thermal map for
        a warm device
    reach : float or "auto"
        share of J_max that networks stay within: their drive of 1 is ``reach`` J_max. ``auto`` finds it
    progress : callable, optional
        called with the share of the work just done

    Returns
    -------
    model : CalibratedModel

    Raises
    ------
    SpinloomError
        for an unknown kind, one of another temperature, a reach outside (0, 1], fewer than ten
        trajectories, or a device whose signal does not move
    """
    share = _checked_reach(reach)
    if kind not in ("auto", *KINDS):
        raise SpinloomError(f"kind: expected auto or one of {', '.join(KINDS)}, got {kind!r}")
    data = _trajectories(calibration)
    warm = data.card.conditions.temperature > 0
    cold = [name for name in KINDS if name != WARM]
    if warm != (kind == WARM) and kind != "auto":
        fits = WARM if warm else ", ".join(cold)
        raise SpinloomError(f"kind: expected auto or {fits} at {data.card.conditions.temperature:g} K, got {kind!r}")
    if warm:
        return _warm(calibration, data, share, progress)
    kinds = ["flow_map", *(name for name in cold if name not in WITHOUT_MEMORY)] if kind == "auto" else [kind]
    found = find_reach(data, kinds, share, progress)
    best = found.fit
    shown = data.shown(best.amplitude)
    region, rolled = _region(shown), _before(best.rolled, data.m_start)
    return CalibratedModel(
        estimator=best.estimator,
        card=data.card,
        tick=data.tick,
        m_start=data.m_start,
        region=region,
        holdout_nrmse=best.worst,
        scale=_scale(best.estimator, data, best.amplitude, share),
        info={
            **_origin(calibration),
            "amplitude": best.amplitude,
            "holdout_nrmse_each": [float(error) for error in best.errors],
            "outside_share": region.outside(rolled[:, best.judged], best.unseen.u[best.judged].T),
            "reach_curve": found.curve,
            "search": best.search,
        },
    )


def _warm(
    calibration: xr.Dataset, data: Trajectories, share: float | None, progress: Callable[[float], None] | None
) -> CalibratedModel:
    """A thermal map; it reaches as far as it was calibrated, unless a reach is given."""
    largest = data.grades[0]
    amplitude = largest if share is None else min((a for a in data.grades if a >= share), default=largest)
    fit = fit_thermal(data, amplitude, progress)
    return CalibratedModel(
        estimator=fit.estimator,
        card=data.card,
        tick=data.tick,
        m_start=fit.m_start,
        region=_region(data.shown(amplitude)),
        holdout_nrmse=fit.judged.off,
        scale=_scale(fit.estimator, data, amplitude, share),
        info={
            **_origin(calibration),
            "amplitude": amplitude,
            "holdout_nrmse_each": [fit.judged.off],
            "outside_share": 0.0,
            "reach_curve": [fit.point(amplitude, WARM)],
            "noise": fit.judged._asdict(),
            "search": fit.search,
        },
    )


def _region(shown: Trajectories) -> Region:
    """Where a model was shown what happens."""
    before = np.concatenate([np.broadcast_to(shown.m_start, (len(shown.m), 1, 3)), shown.m[:, :-1]], axis=1)
    return Region.from_calibration(before, shown.u)


def _origin(calibration: xr.Dataset) -> dict[str, Any]:
    """What made a calibration set."""
    return {
        "engine": calibration.attrs["engine"],
        "engine_version": calibration.attrs.get("engine_version", ""),
        "protocol": json.loads(calibration.attrs["protocol"]),
    }


def _checked_reach(reach: float | str) -> float | None:
    """A given reach, or None if it is to be found."""
    if reach == "auto":
        return None
    if isinstance(reach, str) or not 0 < reach <= 1:
        got = f"{reach!r}" if isinstance(reach, str) else f"{reach:g}"
        raise SpinloomError(f"reach: expected a share of J_max above 0 and at most 1, got {got}")
    return float(reach)


def _trajectories(calibration: xr.Dataset) -> Trajectories:
    data = Trajectories(
        card=DeviceCard.from_json(calibration.attrs["card"]),
        tick=float(calibration.attrs["tick_s"]),
        m=calibration["m"].values,
        u=calibration["u"].values,
        m_start=calibration["m_start"].values,
        amplitude=amplitudes(calibration),
    )
    if len(data.m) < 2 * HOLD_OUT:
        raise SpinloomError(
            f"calibration: expected at least {2 * HOLD_OUT} trajectories to fit and test, got {len(data.m)}"
        )
    return data


def _scale(estimator: Any, data: Trajectories, amplitude: float, reach: float | None) -> Scale:
    """Mean and spread of the signal over the drives of the largest amplitude, and how the device rings at rest."""
    card, axis, shown = data.card, data.card.readout.axis, data.shown(amplitude)
    m = shown.m[shown.amplitude == shown.amplitude.max()]
    signal = m @ np.asarray(axis)
    if not signal.std() > 1e-9:
        raise SpinloomError(
            f"readout.axis: the signal m . e_read of {card.name} does not move ({signal.mean():g} throughout); "
            "choose another axis, or drive the device harder (torque.J_max)"
        )
    frequency, quality = ReducedNode.of(estimator.law(), data.m_start, axis, data.tick).ringing()
    return Scale(
        mean=float(signal.mean()),
        spread=float(signal.std()),
        reach=amplitude if reach is None else reach,
        resonance=frequency,
        quality=quality,
    )


_FITTED = {
    "flow_map": ("coef_", "intercept_", "powers_", "length_", "sphere_axis_", "n_features_in_", "one_dimensional_"),
    "memory_map": ("coef_", "intercept_", "powers_", "length_", "sphere_axis_", "n_features_in_", "one_dimensional_"),
    "macrospin": ("theta_", "readout_", "n_features_in_", "one_dimensional_"),
}
_FITTED["thermal_map"] = (
    *_FITTED["flow_map"],
    *("noise_coef_", "noise_intercept_", "noise_powers_", "noise_axis_", "length_noise_"),
)


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
            if name == "powers_" and "fitted_powers_" not in dataset:  # files that are older than this array
                axis = int(dataset["fitted_sphere_axis_"])
                estimator.powers_ = exponents(SPHERE + 1, params["degree"], axis)
                continue
            value = dataset[f"fitted_{name}"].values
            setattr(estimator, name, value if value.ndim else value.item())
        for name in ("sphere_axis_", "n_features_in_", "noise_axis_"):
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
