"""One magnetic tunnel junction: its card, its engines, its calibration. Everything computes in float64."""

import os
import sys

os.environ["JAX_ENABLE_X64"] = "true"
if "jax" in sys.modules:
    sys.modules["jax"].config.update("jax_enable_x64", True)
