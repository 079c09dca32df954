"""Stage: drive full micromagnetic devices and keep how they answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_models import files
from device_models.calibration import Protocol, calibrate, save_calibration
from device_models.card import DeviceCard
from device_models.engines import check_engine, open_engine
from workflows.console import progress, say


def calibrate_stage(card: DeviceCard, engine_name: str, protocol: Protocol, out: Path) -> dict[str, Any]:
    """Calibrate a device and write the set.

    Returns
    -------
    result : dict
        ``engine, engine_version, device_ns, wall_s, trajectories, tick_s``
    """
    check_engine(engine_name)
    files.check_writable(out)
    say(f"{card.name}: relaxing {card.geometry.mask().sum()} cells in the {engine_name} engine")
    engine = open_engine(engine_name, card, protocol.tick)
    with progress(f"calibrate, {protocol.trajectories} devices", protocol.n_ticks) as advance:
        dataset = calibrate(card, engine, protocol, advance)
    save_calibration(dataset, out)
    keys = ("engine", "engine_version", "device_ns", "wall_s")
    return {
        **{key: dataset.attrs[key] for key in keys},
        "trajectories": protocol.trajectories,
        "tick_s": protocol.tick,
        "out": str(out),
    }
