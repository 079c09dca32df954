"""Stage: a calibration set from measured traces, by way of the card that explains them in full micromagnetics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from spinloom.device_models import files
from spinloom.device_models.calibration import AMPLITUDE, GRADES, Protocol, calibrate, save_calibration
from spinloom.device_models.card import DeviceCard, expect_cold
from spinloom.device_models.engines import ENGINES, Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.measured import SHORTEST, Measurement, read_traces
from spinloom.device_models.spread import PARAMETERS
from spinloom.device_models.trajectory_store import open_store
from spinloom.device_models.ubermag import card_toml
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.identify import Identified, Tolerance, identify, played
from spinloom.reduced_models.observation import Chain, error_of, find_starts, lead_of, observe
from spinloom.reduced_models.reach import HOLD_OUT, held_out, verdict
from spinloom.reduced_models.rollout import single_ticks
from spinloom.workflows.console import progress, say, show

MOST_NS, PIECES_NS = 24.0, (0.75, 3.0)
"""What the card is found from: so much of the shown traces in all (ns), in pieces of at most so long, first short ones.

Short pieces, each with a start of its own, lead to the right device from a card that is far off; long ones tell more.
"""
FIRST: dict[str, Any] = {"trajectories": 8, "duration": 1.5e-9, "grades": ()}
"""A short calibration of the card as it is known, for the first guess of where traces begin."""
TOLD, FAR = 0.5, 2.0
"""A parameter is told by the signal where at most this share of its tolerance is left; far, beyond so many of them."""


def calibrate_measured(
    card: DeviceCard, measurement: Measurement, tolerance: Tolerance, choice: Choice
) -> tuple[xr.Dataset, Identified]:
    """A calibration set from measured signals.

    The card near the given one that answers as was measured is found in full micromagnetics, on traces that are not
    held out. Its <m> under the measured drives is what models are fitted to; what was measured stays beside it, and
    corrects and judges them.

    Parameters
    ----------
    card : DeviceCard
        as far as it is known, of 0 K
    measurement : Measurement
    tolerance : Tolerance
    choice : Choice
        of the engine

    Returns
    -------
    dataset : xarray.Dataset
        as of :func:`spinloom.device_models.calibration.calibrate`, with ``signal`` (trajectory, tick), what was
        measured, and ``m_first`` (trajectory, component), <m> before each first tick; ``card`` is the one found
    identified : Identified

    Raises
    ------
    SpinloomError
        for too few traces, a warm card, or traces that no device near the card explains
    """
    expect_cold(card, "measuring")
    if choice.recorded:
        raise SpinloomError(f"engine: measuring computes, expected one of {', '.join(ENGINES)}, got {choice.name}")
    amplitude = grades_of(measurement.u)
    out = held_out(amplitude)
    if len(out) < 2 * HOLD_OUT or not out.any():
        raise SpinloomError(
            f"traces: expected at least {2 * HOLD_OUT} pieces, some of which judge, got {len(out)} of "
            f"{measurement.u.shape[1]} ticks; bring more or longer traces, or cut them shorter (--piece)"
        )
    tick = measurement.tick
    found = _identified(card, measurement, ~out, tolerance, choice)
    with open_engine(choice, found.card, tick) as engine, progress("all traces", measurement.u.shape[1]) as advance:
        m = played(engine, measurement.u, _starts(found, measurement), progress=advance)
        field, version = engine.equilibria[0], engine.version
    axis = np.asarray(card.readout.axis)
    predicted = np.asarray(observe(found.chain, (m @ axis).T)).T
    lead = lead_of(predicted.shape[1])
    errors = [error_of(y[lead:], one[lead:]) for y, one in zip(measurement.r, predicted, strict=True)]
    dataset = _dataset(measurement, m, amplitude, field, found.card)
    told = {
        "gain": found.chain.gain,
        "offset": found.chain.offset,
        "delay_s": found.chain.delay * tick,
        "card_given": card.model_dump(mode="json"),
        "parameters": _parameters(found),
        "signal_nrmse": float(max(error.nrmse for error, judges in zip(errors, out, strict=True) if judges)),
        "noise": float(np.median([error.noise for error in errors])),
    }
    attrs = {
        "card": found.card.to_json(),
        "protocol": Protocol(
            tick=tick, trajectories=len(m), duration=tick * predicted.shape[1], grades=()
        ).model_dump_json(),
        "engine": choice.name,
        "engine_version": version,
        "tick_s": tick,
        "device_ns": measurement.u.size * tick * 1e9,
        "wall_s": 0.0,
        "measured": files.to_json(told),
    }
    return dataset.assign_attrs(attrs), found


def grades_of(u: np.ndarray) -> np.ndarray:
    """The smallest usual amplitude that covers each drive, as a share of J_max, (n,).

    Examples
    --------
    >>> grades_of(np.array([[0.1, -0.45], [0.0, 0.99]]))
    array([0.5, 1. ])
    """
    grades = np.array([*sorted(GRADES), 1.0])
    return grades[np.searchsorted(grades, np.clip(np.abs(u).max(axis=1) - 1e-9, 0, 1))]


def _identified(
    card: DeviceCard, measurement: Measurement, shown: np.ndarray, tolerance: Tolerance, choice: Choice
) -> Identified:
    tick = measurement.tick
    protocol = Protocol(tick=tick, **FIRST)
    with (
        open_engine(choice, card, tick) as engine,
        progress(f"{card.name} as it is known", protocol.n_ticks) as advance,
    ):
        first = calibrate(card, engine, protocol, advance, store=open_store())
    X, ends, _ = single_ticks(first["m"].values, first["u"].values, first["m_start"].values)
    law, chain, visited, found = FlowMap(4, 1e-8).fit(X, ends).law(), Chain(), ends, None
    for longest in PIECES_NS:
        u, y = _pieces(measurement.u[shown], measurement.r[shown], max(SHORTEST, round(longest * 1e-9 / tick)), tick)
        starts = find_starts(law, card.readout.axis, chain, visited, u, y)
        with progress(
            f"find the device that explains {len(u)} pieces of {u.shape[1] * tick * 1e9:.3g} ns", 1
        ) as advance:
            begin = None if found is None else found.values
            found = identify(
                card, tolerance, u, y, starts, tick, partial(open_engine, choice, tick=tick), advance, begin
            )
        law, chain, visited = _map_of(found).law(), found.chain, found.m.reshape(-1, 3)
    assert found is not None
    return found


def _pieces(u: np.ndarray, y: np.ndarray, longest: int, tick: float) -> tuple[np.ndarray, np.ndarray]:
    """Drives and signals of pieces that are spread over all traces, :data:`MOST_NS` together."""
    length = min(u.shape[1], longest)
    every = [(k, at) for at in range(0, u.shape[1] - length + 1, length) for k in range(len(u))]
    most = max(4, int(MOST_NS * 1e-9 / (length * tick)))
    which = np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int))
    cut = [(every[one][0], slice(every[one][1], every[one][1] + length)) for one in which]
    return np.stack([u[k, part] for k, part in cut]), np.stack([y[k, part] for k, part in cut])


def _map_of(found: Identified) -> FlowMap:
    """A flow map of the device that was found."""
    X, ends, _ = single_ticks(found.m[:, 1:], found.u, found.m[:, 0])
    return FlowMap(4, 1e-8).fit(X, ends)


def _starts(found: Identified, measurement: Measurement) -> np.ndarray:
    """Directions before the first tick of all traces, by a flow map of the device that was found."""
    law, visited = _map_of(found).law(), found.m.reshape(-1, 3)
    return find_starts(law, found.card.readout.axis, found.chain, visited, measurement.u, measurement.r)


def _dataset(
    measurement: Measurement, m: np.ndarray, amplitude: np.ndarray, field: np.ndarray, card: DeviceCard
) -> xr.Dataset:
    n_ticks = measurement.u.shape[1]
    start = field[card.geometry.mask()].mean(axis=0)
    told = {
        "u": (("trajectory", "tick"), measurement.u, "measured drive J / J_max, held for the tick"),
        "signal": (("trajectory", "tick"), measurement.r, "measured signal, average over the tick"),
        "m": (("trajectory", "tick", "component"), m[:, 1:], "<m> of the identified device at the end of the tick"),
        "m_first": (("trajectory", "component"), m[:, 0], "<m> of it before the first tick"),
        "m_start": (("component",), start, "<m> at equilibrium"),
        "field_start": (("x", "y", "z", "component"), field, "relaxed m"),
    }
    return xr.Dataset(
        {name: (dims, values, {"units": "1", "long_name": what}) for name, (dims, values, what) in told.items()},
        coords={
            "t": (("tick",), measurement.tick * np.arange(1, n_ticks + 1), {"units": "s"}),
            "component": ["x", "y", "z"],
            "drive_kind": (("trajectory",), ["measured"] * len(m)),
            "amplitude": (("trajectory",), amplitude, AMPLITUDE),
            "source": (("trajectory",), list(measurement.source)),
        },
    )


def _parameters(found: Identified) -> dict[str, dict[str, Any]]:
    """What was found, with its uncertainty before and after."""
    rows = zip(found.names, found.values.tolist(), found.known.tolist(), found.found.tolist(), strict=True)
    return {
        name: {"found": value, "uncertainty": left, "tolerance": known, "told": left <= TOLD * known}
        for name, value, known, left in rows
    }


def measure_stage(
    card: DeviceCard,
    traces: Sequence[Path],
    choice: Choice,
    tolerance: Tolerance,
    out: Path,
    tick: float,
    *,
    found_card: Path | None = None,
    **how: Any,
) -> dict[str, Any]:
    """Read traces, find the device that explains them, and write a calibration set.

    Parameters
    ----------
    card : DeviceCard
        as far as it is known
    traces : sequence of path
        CSV, see :func:`spinloom.device_models.measured.read_traces`
    choice : Choice
    tolerance : Tolerance
    out : path
        NetCDF
    tick : float
        (s)
    found_card : path, optional
        where the card that was found goes, as TOML
    **how
        of :func:`spinloom.device_models.measured.read_traces`: units, columns, length of a piece

    Returns
    -------
    result : dict
        ``card, pieces, ticks, parameters, gain, offset, delay_s, signal_nrmse, noise, words, out``
    """
    expect_cold(card, "measuring")
    for path in (out, found_card):
        if path is not None:
            files.check_writable(path)
    measurement = read_traces(traces, card, tick, **how)
    n, ticks = measurement.u.shape
    say(f"{len(traces)} traces, {n} pieces of {ticks} ticks ({ticks * tick * 1e9:.3g} ns)")
    say(choice.why)
    dataset, found = calibrate_measured(card, measurement, tolerance, choice)
    save_calibration(dataset, out)
    if found_card is not None:
        with files.written_whole(found_card) as temporary:
            temporary.write_text(card_toml(found.card), encoding="utf-8")
    told = json.loads(dataset.attrs["measured"])
    words = in_words(found, told["signal_nrmse"], told["noise"])
    show(_table(found))
    say(words)
    keys = ("parameters", "gain", "offset", "delay_s", "signal_nrmse", "noise")
    return {"card": found.card.name, "pieces": n, "ticks": ticks, **{key: told[key] for key in keys}, "words": words,
            "out": str(out)}  # fmt: skip


def in_words(found: Identified, error: float, noise: float) -> str:
    """What a measurement told of a device."""
    left = found.found / found.known
    untold = [name for name, share in zip(found.names, left, strict=True) if share > TOLD and name in PARAMETERS]
    far = [
        name for name, value, known in zip(found.names, found.values, found.known, strict=True)
        if abs(value) > FAR * known
    ]  # fmt: skip
    text = f"the device that was found explains held-out signals to {error:.2g} of their spread, noise is {noise:.2g}"
    if verdict(error) == "unfit":
        text += f"; this is no good: no device near {found.card.name} was found that does, do not trust models of it"
    if untold:
        text += f"; the signal does not tell {', '.join(untold)}: only what they do together is known"
    if far:
        text += f"; {', '.join(far)} is far from the card: check units and card, or widen the tolerance"
    return text


def _table(found: Identified) -> Table:
    table = Table(title="device and read-out that explain the traces", box=None, title_justify="left")
    for heading in ("", "found", "uncertainty", "known before"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in _parameters(found).items():
        unit = " s" if name == "delay" else ""
        table.add_row(name, f"{row['found']:+.3g}{unit}", f"{row['uncertainty']:.2g}", f"{row['tolerance']:.2g}")
    return table
