"""Stage: what is installed, what is missing, and how to get it."""

from __future__ import annotations

from typing import Any

import jax
import psutil

from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines import ENGINES, Choice, try_engine
from spinloom.device_models.errors import NotUsableError, SpinloomError
from spinloom.device_models.machine import cores, free_memory
from spinloom.device_models.provenance import data_folder, versions
from spinloom.workflows.console import say
from spinloom.workflows.cost import measured_speed

READY = "ready; calibrate, replay, cosimulate and run take it with --engine"


def doctor_stage(oommf: str | None = None) -> dict[str, Any]:
    """Try every engine: a run of 1 ps, then its speed on the default card.

    Parameters
    ----------
    oommf : str, optional
        command that starts OOMMF

    Returns
    -------
    report : dict
        ``engines``: for each ``found, where, version, works, s_per_device_ns, advice``, of OOMMF also ``at_300_K``;
        ``machine``, with ``cores, memory_gb, free_gb`` and ``jax``, what it found to compute on: ``kind, platform,
        memory_gb`` of each; ``versions``
    """
    say("trying every engine on the default card ...")
    card = load_card(data_folder() / "devices" / "disc60.toml")
    engines = {name: _tried(name, oommf, card) for name in ENGINES}
    shipped = sorted(path.name for path in (data_folder() / "reference").glob("*_calibration.nc"))
    engines["oommf-reference"] = {
        "found": bool(shipped),
        "works": bool(shipped),
        "where": str(data_folder() / "reference"),
        "advice": f"what OOMMF computed, shipped: {', '.join(shipped)}",
    }
    return {"engines": engines, "machine": machine(), "versions": versions()}


def machine() -> dict[str, Any]:
    """What there is to compute with: cores, memory, and the devices that JAX found.

    Examples
    --------
    >>> found = machine()
    >>> found["cores"] >= 1, found["jax"][0]["platform"] in ("cpu", "gpu", "tpu")
    (True, True)
    """
    devices = [
        {
            "kind": device.device_kind,
            "platform": device.platform,
            "memory_gb": _gigabytes((device.memory_stats() or {}).get("bytes_limit")),
        }
        for device in jax.devices()
    ]
    total = _gigabytes(psutil.virtual_memory().total)
    return {"cores": cores(), "memory_gb": total, "free_gb": _gigabytes(free_memory()), "jax": devices}


def _gigabytes(number: int | None) -> float | None:
    return None if number is None else round(number / 1e9, 1)


def _tried(name: str, named: str | None, card: DeviceCard) -> dict[str, Any]:
    report: dict[str, Any] = {"found": False, "works": False}
    try:
        installation = ENGINES[name].find(named)
        choice = Choice(name, "to see whether it works", installation)
        where = "part of Spinloom, on JAX" if installation is None else installation.where
        report |= {"found": True, "where": where, "version": try_engine(choice)}
        report |= {"works": True, "s_per_device_ns": measured_speed(choice, card), "advice": f"{READY} {name}"}
        if choice.outside:
            report["advice"] += ". Messages about a missing display are harmless"
            report["at_300_K"] = _warm(choice)
    except SpinloomError as error:
        report["advice"] = str(error)
        report["found"] |= isinstance(error, NotUsableError) and error.found
    except Exception as error:  # a doctor reports what is broken, whatever it is
        report["advice"] = f"{type(error).__name__}: {error}; install again with 'make install'"
    return report


def _warm(choice: Choice) -> str:
    """Whether it computes a warm card: in OOMMF that is an extension, which not every build holds."""
    try:
        try_engine(choice, 300)
    except SpinloomError as error:
        return f"does not run: {error}; build OOMMF with its extension Xf_ThermSpinXferEvolve (app/oxs/local)"
    return "works"
