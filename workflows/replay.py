"""Stage: play a waveform of the user's into one device."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.drives import read_waveform
from spinloom.device_models.engines import ENGINES, Choice, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.measured import read_drive
from spinloom.device_models.provenance import stamp
from spinloom.device_models.system import read_field
from spinloom.workflows.console import progress, say


def replay_stage(
    card: DeviceCard,
    waveform: Path,
    choice: Choice,
    tick: float | None,
    initial: Path | None,
    out: Path,
    seed: int = 0,
    sampled: tuple[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Drive one device with held values and write ``t_s,u,mx,my,mz`` at the end of each.

    What made the file (card, waveform, engine, versions) goes beside it, as JSON.

    Parameters
    ----------
    card : DeviceCard
    waveform : path
        CSV, see :func:`spinloom.device_models.drives.read_waveform`
    choice : Choice
    tick : float, optional
        duration of a row (s), for files without ``t_s``
    initial : path, optional
        OVF field to start from; the card's start is relaxed if not given
    out : path
        CSV
    seed : int
        of the thermal field, where the card has a temperature
    sampled : (str, list of str), optional
        the waveform is samples of an instrument: unit, and columns of time and drive; see
        :func:`spinloom.device_models.measured.read_drive`

    Returns
    -------
    result : dict
        ``engine, engine_version, temperature, seed, ticks, device_ns, wall_s, out``
    """
    if choice.recorded:
        raise SpinloomError(f"engine: replay computes, expected one of {', '.join(ENGINES)}, got {choice.name}")
    durations, u = read_waveform(waveform, tick) if sampled is None else _sampled(waveform, card, tick, *sampled)
    field = None if initial is None else read_field(initial)
    files.check_writable(out)
    say(choice.why)
    began = time.perf_counter()
    with (
        open_engine(choice, card, float(durations[0]), field) as engine,
        progress(f"replay {waveform.name} on {card.name}", len(u)) as advance,
    ):
        _, m = engine.play(durations, u[:, None], progress=advance, seed=seed)
    mx, my, mz = m[:, 0].T
    table = pd.DataFrame({"t_s": np.cumsum(durations), "u": u, "mx": mx, "my": my, "mz": mz})
    with files.written_whole(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.12g")
    result = {
        "engine": choice.name,
        "engine_version": engine.version,
        "temperature": card.conditions.temperature,
        "seed": seed,
        "ticks": len(u),
        "device_ns": float(durations.sum() * 1e9),
        "wall_s": time.perf_counter() - began,
        "out": str(out),
    }
    made_by = {"device": card.model_dump(mode="json"), "waveform": files.digest(waveform), **result, **stamp()}
    with files.written_whole(out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(made_by, indent=1), encoding="utf-8")
    return result


def _sampled(
    waveform: Path, card: DeviceCard, tick: float | None, unit: str, columns: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    if tick is None:
        raise SpinloomError(
            "tick: samples of an instrument are averaged over ticks; give their duration (--tick SECONDS)"
        )
    durations, u = read_drive(waveform, card, tick, unit, columns)
    say(f"{waveform.name}: {len(u)} ticks of {tick:.3g} s, drive from {u.min():.3g} to {u.max():.3g} of J_max")
    return durations, u
