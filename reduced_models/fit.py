"""The fit of a calibrated model, of one device or of a population, at 0 K or warm: which kind, how far, how good."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models.calibration import amplitudes
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.device_models.spread import vary
from spinloom.reduced_models.measured_fit import Signals
from spinloom.reduced_models.model import KINDS, POPULATIONS, WARM, WITHOUT_MEMORY, CalibratedModel, before_each
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.observation import Chain
from spinloom.reduced_models.population import Population
from spinloom.reduced_models.population_fit import fit_population, rest_of
from spinloom.reduced_models.reach import HOLD_OUT, Fitted, Trajectories, find_reach, held_out
from spinloom.reduced_models.region import Region
from spinloom.reduced_models.thermal_fit import fit_thermal


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
    if "deviation" in calibration:
        return _of_population(calibration, kind, share, progress)
    if kind not in ("auto", *KINDS):
        raise SpinloomError(f"kind: expected auto or one of {', '.join(KINDS)}, got {kind!r}")
    data = _trajectories(calibration)
    warm = data.card.conditions.temperature > 0
    cold = [name for name in KINDS if name not in (WARM, *POPULATIONS)]
    if warm != (kind == WARM) and kind != "auto":
        fits = WARM if warm else ", ".join(cold)
        raise SpinloomError(f"kind: expected auto or {fits} at {data.card.conditions.temperature:g} K, got {kind!r}")
    if warm:
        return _warm(calibration, data, share, progress)
    kinds = ["flow_map", *(name for name in cold if name not in WITHOUT_MEMORY)] if kind == "auto" else [kind]
    found = find_reach(data, kinds, share, progress)
    best = found.fit
    shown = data.shown(best.amplitude)
    region, rolled = _region(shown), before_each(best.rolled, best.first)
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
            **_measured(calibration, best),
        },
    )


def _measured(calibration: xr.Dataset, best: Fitted) -> dict[str, Any]:
    """What measured signals say of a fit, beside its error."""
    if best.measured is None:
        return {}
    judged = [error for error, counts in zip(best.measured, best.judged, strict=True) if counts]
    each = {"raw_nrmse_each": [error.raw for error in judged], "noise_each": [error.noise for error in judged]}
    return {"measured": {**json.loads(calibration.attrs["measured"]), **each, "limited_by_noise": best.limited}}


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


def _of_population(
    calibration: xr.Dataset, kind: str, share: float | None, progress: Callable[[float], None] | None
) -> CalibratedModel:
    """One map of all devices of a population; judged on devices that it was not shown."""
    data = population(calibration)
    expected = POPULATIONS[1] if data.warm else POPULATIONS[0]
    if kind not in ("auto", expected):
        raise SpinloomError(f"kind: expected auto or {expected} for devices that differ, got {kind!r}")
    if share is not None:
        data = data.of(data.amplitude <= min((a for a in data.grades if a >= share), default=1.0))
    fit = fit_population(data, progress=progress)
    one = Trajectories(data.nominal, data.tick, data.m, data.u, fit.m_start, data.amplitude)
    info: dict[str, Any] = {}
    error = fit.worst
    if fit.together is not None:
        error = max(fit.together.off, fit.median)
        info["noise"] = {**fit.together._asdict(), "off": error, "worst_device": fit.worst}
    curve = [{**point, "trajectories": len(fit.errors), "kind": expected} for point in fit.curve]
    return CalibratedModel(
        estimator=fit.estimator,
        card=data.nominal,
        tick=data.tick,
        m_start=rest_of(fit.estimator, data.nominal, fit.m_start, data.tick),
        region=_region(data.of(data.amplitude <= fit.amplitude)),
        holdout_nrmse=error,
        scale=_scale(fit.estimator, one, fit.amplitude, share),
        info={
            **_origin(calibration),
            "amplitude": fit.amplitude,
            "devices": data.devices,
            "holdout_nrmse_each": fit.errors.tolist(),
            "outside_share": 0.0,
            "reach_curve": curve,
            "search": {"candidates": fit.search},
            **info,
        },
    )


def population(calibration: xr.Dataset) -> Population:
    """What the devices of a population answered, from their calibration set."""
    card = DeviceCard.from_json(calibration.attrs["card"])
    return Population(
        nominal=card,
        tick=float(calibration.attrs["tick_s"]),
        cards=[vary(card, row, f"{card.name}-{k}") for k, row in enumerate(calibration["deviation"].values)],
        m=calibration["m"].values,
        u=calibration["u"].values,
        m_start=calibration["m_start_each"].values,
        amplitude=amplitudes(calibration),
        held_out=calibration["held_out"].values.astype(bool),
    )


def _region(shown: Trajectories | Population) -> Region:
    """Where a model was shown what happens."""
    start = shown.first if isinstance(shown, Trajectories) else np.broadcast_to(shown.m_start, (len(shown.m), 3))
    before = np.concatenate([start[:, None], shown.m[:, :-1]], axis=1)
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
        signals=_signals(calibration),
    )
    if len(data.m) < 2 * HOLD_OUT:
        raise SpinloomError(
            f"calibration: expected at least {2 * HOLD_OUT} trajectories to fit and test, got {len(data.m)}"
        )
    return data


def _signals(calibration: xr.Dataset) -> Signals | None:
    """What was measured, of a set that was."""
    if "signal" not in calibration:
        return None
    told = json.loads(calibration.attrs["measured"])
    tick, axis = float(calibration.attrs["tick_s"]), DeviceCard.from_json(calibration.attrs["card"]).readout.axis
    chain = Chain(told["gain"], told["offset"], told["delay_s"] / tick)
    shown = ~held_out(amplitudes(calibration))
    visited = calibration["m"].values[shown].reshape(-1, 3)
    return Signals(calibration["signal"].values, calibration["m_first"].values, visited, np.asarray(axis), chain)


def _scale(estimator: Any, data: Trajectories, amplitude: float, reach: float | None) -> Scale:
    """Mean and spread of the signal over the drives of the largest amplitude, and how the device rings at rest."""
    card, axis, shown = data.card, data.card.readout.axis, data.shown(amplitude)
    m = shown.m[shown.amplitude == shown.amplitude.max()]
    signal = m @ np.asarray(axis) + card.readout.offset
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
