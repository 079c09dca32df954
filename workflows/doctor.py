"""Stage: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

import numpy as np

from device_models.card import load_card
from device_models.engines import open_engine
from device_models.node import drive
from device_models.provenance import data_folder, versions


def doctor_stage() -> dict[str, Any]:
    """Try every engine.

    Returns
    -------
    report : dict
        ``engines``: for each ``found, version, works, s_per_device_ns, advice``; ``versions``
    """
    return {"engines": {"embedded": _embedded(), "oommf": _oommf()}, "versions": versions()}


def _embedded() -> dict[str, Any]:
    try:
        import jax

        card = load_card(data_folder() / "devices" / "disc60.toml")
        engine = open_engine("embedded", card, 7.5e-12)
        u = np.zeros((50, 8))
        drive(engine, u)
        began = time.perf_counter()
        drive(engine, u)
        cost = (time.perf_counter() - began) / (u.size * engine.tick * 1e9)
    except Exception as error:  # a doctor reports what is broken, whatever it is
        return {
            "found": False,
            "works": False,
            "advice": f"{type(error).__name__}: {error}; install again with 'make install'",
        }
    return {
        "found": True,
        "version": engine.version,
        "works": True,
        "device": str(jax.devices()[0]),
        "s_per_device_ns": cost,
        "advice": "ready",
    }


def _oommf() -> dict[str, Any]:
    where = os.environ.get("OOMMFTCL") or shutil.which("oommf")
    advice = "install it with 'conda install -c conda-forge oommf', or set OOMMFTCL to the path of oommf.tcl"
    if where:
        advice = "found, for use through ubermag's oommfc; this version computes with the embedded engine"
    return {"found": bool(where), "where": where, "works": False, "advice": advice}
