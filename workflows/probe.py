"""Stage: try a device before anything is computed with it, and say what it is good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spinloom.device_models import files
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.probe import TICK, Probe, probe
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
        as :class:`spinloom.device_models.probe.Probe` without the spectrum

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
    found = advised(card, choice)
    result = found.to_dict()
    if out is not None:
        with files.written_whole(out) as temporary:
            temporary.write_text(files.to_json(result, indent=1), encoding="utf-8")
    if plot is not None:
        with files.written_whole(plot) as temporary:
            temporary.write_text(figures.probe(found), encoding="utf-8")
    return {key: value for key, value in result.items() if key != "spectrum"}


def advised(card: DeviceCard, choice: Choice | None = None) -> Probe:
    """Probe a device, in the embedded engine if not said otherwise, and say what it is good for."""
    choice = choose_engine("embedded") if choice is None else choice
    with open_engine(choice, card, TICK) as engine, progress(f"probe {card.name}", 1) as advance:
        found = probe(card, engine, advance)
    for sentence in found.advice:
        say(sentence)
    return found
