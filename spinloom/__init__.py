"""From the card of one magnetic tunnel junction to a trained network of them, verified in full micromagnetics.

    >>> import spinloom
    >>> card = spinloom.load_card("data/devices/disc60.toml")
    >>> data = spinloom.calibrate(card, engine="embedded", trajectories=12, grades=(), duration=0.75e-9)
    >>> model = spinloom.fit(data, kind="macrospin")
    >>> model.simulate([0.0, 0.5]).shape
    (2, 3)

All arithmetic is in 64-bit floating point: importing this package sets JAX to float64 for
the whole process.
"""

import importlib
import os
import sys
from typing import Any

_PUBLIC = {
    "DeviceCard": "device_models.card",
    "load_card": "device_models.card",
    "Spread": "device_models.spread",
    "load_calibration": "device_models.calibration",
    "save_calibration": "device_models.calibration",
    "SpinloomError": "device_models.errors",
    "SpinloomWarning": "device_models.errors",
    "CalibratedModel": "reduced_models.model",
    "load_model": "reduced_models.model",
    "save_model": "reduced_models.model",
    "TrainedNetwork": "networks.store",
    "load_network": "networks.store",
    "save_network": "networks.store",
    "card_of": "device_models.ubermag",
    "Probe": "device_models.probe",
    "probe": "device_models.probe",
    "Verdict": "workflows.api",
    "calibrate": "workflows.api",
    "fit": "workflows.api",
    "train": "workflows.api",
    "finish": "workflows.api",
    "cosimulate": "workflows.api",
    "replay": "workflows.api",
    "run": "workflows.api",
    "JunctionReservoir": "workflows.ways_in.estimators",
    "JunctionSeries": "workflows.ways_in.estimators",
    "JunctionRegressor": "workflows.ways_in.estimators",
    "JunctionClassifier": "workflows.ways_in.estimators",
    "JunctionNode": "workflows.ways_in.reservoirpy_node",
    "to_drive": "workflows.tables",
    "to_table": "workflows.tables",
    "to_onnx": "workflows.api",
    "to_spice": "workflows.api",
}
"""Where each public name lives; it is imported when it is first asked for, because JAX takes seconds."""

# Not the node of reservoirpy, which is an optional dependency: `from spinloom import *` has to work without it.
__all__ = [name for name in _PUBLIC if name != "JunctionNode"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'spinloom' has no attribute {name!r}; it has {', '.join(_PUBLIC)}")
    value = getattr(importlib.import_module(f"spinloom.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _float64() -> None:
    """Set JAX to float64, unless the user has asked for something else: then say so."""
    asked = os.environ.get("JAX_ENABLE_X64", "true")
    if asked.lower() not in ("1", "true", "t", "yes", "y", "on"):
        raise ImportError(
            f"JAX_ENABLE_X64: expected true, got {asked!r}; Spinloom computes in float64 and would change it for the "
            "whole process: unset it, or use Spinloom in a process of its own"
        )
    os.environ["JAX_ENABLE_X64"] = "true"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", True)


_float64()
