"""Stage: try a device before anything is computed with it, and say what it is good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.probe import TICK, Probe, probe
from spinloom.device_models.stability import DURATION, Stability, expect_stable, stability
from spinloom.device_models.stability import TICK as REST_TICK
from spinloom.workflows import figures
from spinloom.workflows.console import progress, say


def probe_stage(card: DeviceCard, choice: Choice, out: Path | None = None, plot: Path | None = None) -> dict[str, Any]:
    """Probe a device, say what was found, and keep it.

    Parameters
    ----------
    card : DeviceCard
    choice : Choice
        of the engine
    out : path, optional
        of the whole result (JSON)
    plot : path, optional
        of a picture (SVG)

    Returns
    -------
    result : dict
        as :class:`spinloom.device_models.probe.Probe`, of 0 K, without the spectrum; of a warm card also
        ``at_rest``, a :class:`spinloom.device_models.stability.Stability`

    Raises
    ------
    SpinloomError
        for an engine that only holds what was recorded, or a file that cannot be written
    """
    if choice.recorded:
        raise SpinloomError(f"engine: {choice.name} holds calibrations, not probes; use --engine embedded or oommf")
    for path in (out, plot):
        if path is not None:
            files.check_writable(path)
    found = advised(card.at(0), choice)
    result = found.to_dict()
    if card.conditions.temperature:
        result["at_rest"] = stays(card, choice)._asdict()
    if out is not None:
        with files.written_whole(out) as temporary:
            temporary.write_text(files.to_json(result, indent=1), encoding="utf-8")
    if plot is not None:
        with files.written_whole(plot) as temporary:
            temporary.write_text(figures.probe(found), encoding="utf-8")
    return {key: value for key, value in result.items() if key != "spectrum"}


def stays(card: DeviceCard, choice: Choice | None = None) -> Stability:
    """Watch a warm device at rest, in the embedded engine if not said otherwise, and say how it fluctuates.

    Raises
    ------
    SpinloomError
        if it has no direction of its own at its temperature
    """
    choice = choose_engine("embedded") if choice is None else choice
    temperature, ticks = card.conditions.temperature, round(DURATION / REST_TICK)
    with (
        open_engine(choice, card, REST_TICK) as engine,
        progress(f"{card.name} at rest at {temperature:g} K", ticks) as advance,
    ):
        found = stability(card, engine, advance)
    say(
        f"At {temperature:g} K {card.name} fluctuates by {found.signal:.2g} in m . e_read at rest (rms); "
        f"{found.along:.0%} of its <m> is left."
    )
    expect_stable(found, card)
    return found


def advised(card: DeviceCard, choice: Choice | None = None) -> Probe:
    """Probe a device, in the embedded engine if not said otherwise, and say what it is good for."""
    choice = choose_engine("embedded") if choice is None else choice
    with open_engine(choice, card, TICK) as engine, progress(f"probe {card.name}", 1) as advance:
        found = probe(card, engine, advance)
    for sentence in found.advice:
        say(sentence)
    return found
