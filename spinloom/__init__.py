"""From the card of one magnetic tunnel junction to a trained network of them, verified in full micromagnetics.

All arithmetic is in 64-bit floating point: importing this package sets JAX to float64 for
the whole process.
"""

import os
import sys


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
