"""Whether a model that was read from a file can be run: its numbers, and a tick that is traced but not computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.reduced_models.node import ReducedNode

MOST_POWER, MOST_MONOMIALS = 20, 5000
"""Of a polynomial: a tick of a larger one would not be compiled in any useful time."""
SHORTEST_TICK, LONGEST_TICK = 1e-14, 1e-7
"""(s), as in a calibration."""


def expect_numbers(name: str, value: np.ndarray) -> np.ndarray:
    """A fitted array that is finite; exponents are whole and not too many.

    Raises
    ------
    ValueError
        for another

    Examples
    --------
    >>> expect_numbers("powers_", np.array([[0.0, 2.0]]))
    array([[0, 2]])
    """
    if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise ValueError(f"{name}: expected finite numbers")
    if not name.endswith("powers_"):
        return value
    if value.ndim != 2 or len(value) > MOST_MONOMIALS or value.shape[1] > MOST_MONOMIALS:
        raise ValueError(f"{name}: expected at most {MOST_MONOMIALS} monomials, got shape {value.shape}")
    if value.size and not (value.min() >= 0 and value.max() <= MOST_POWER and (value == value.round()).all()):
        raise ValueError(f"{name}: expected whole exponents from 0 to {MOST_POWER}")
    return value.astype(int)


def expect_tick(name: str, tick: Any) -> float:
    """A duration of a tick (s) that a calibration may have.

    Raises
    ------
    ValueError
        for another
    """
    if not SHORTEST_TICK < float(tick) < LONGEST_TICK:
        raise ValueError(f"{name}: expected {SHORTEST_TICK:g} to {LONGEST_TICK:g} s, got {tick}")
    return float(tick)


def _tick(node: ReducedNode) -> Any:
    state = node.start(1)
    after = node.step(state, jnp.zeros((1, len(node.channels))))
    return state, after, node.observe(after), node.moment(after)


def expect_node(node: ReducedNode) -> None:
    """Trace a tick of one device: numbers that do not belong together say so here.

    Raises
    ------
    ValueError
        if there is no tick, or it changes the form of the state
    """
    try:
        # Not a function of this call: JAX knows one that it has traced by its identity.
        before, after, signal, moment = jax.eval_shape(_tick, node)
    except (TypeError, ValueError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ValueError(f"its numbers do not belong together: {str(error).splitlines()[0][:200]}") from None
    forms = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) for state in (before, after)]
    if forms[0] != forms[1] or signal.shape != (1,) or moment.shape != (1, 3):
        raise ValueError("its numbers do not belong together: a tick does not end in a state of the same form")
