"""Compiled scans over ticks, for nodes that JAX can trace."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np


@partial(jax.jit, static_argnums=0)
def _scan(node: Any, state: Any, u: Any) -> tuple[Any, Any]:
    return jax.lax.scan(node.step, state, u)


def scan_ticks(node: Any, state: Any, u: np.ndarray) -> tuple[Any, Any]:
    """Advance a traceable node over all rows of ``u`` in one compiled scan.

    The node is a static argument: it is compiled once for each node and shape of ``u``.
    """
    return _scan(node, state, u)
