"""Vector fields as three arrays of shape (cells, n): kept apart, XLA fuses what is done to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Components = tuple[Any, Any, Any]
"""Three components, either of a field, (cells, n) each, or of one vector for each of a batch, (n,) each."""
FieldMap = Callable[[Components], Components]


def cross(a: Components, b: Components) -> Components:
    """Vector product."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def dot(a: Components, b: Components) -> Any:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def combine(*terms: tuple[Any, Components]) -> Components:
    """Sum of vector fields, each with its factor."""
    x, y, z = (sum(factor * vector[axis] for factor, vector in terms) for axis in range(3))
    return (jnp.asarray(x), jnp.asarray(y), jnp.asarray(z))


def components(vectors: Sequence[Any]) -> Components:
    """Three arrays (devices,) of one vector for each device."""
    x, y, z = np.array(vectors, dtype=float).T
    return (jnp.asarray(x), jnp.asarray(y), jnp.asarray(z))


def pick(values: Any, which: Any) -> Any:
    """Values of the members of a batch, ``which`` (n,) int, from arrays whose last axis is the number of devices."""
    return jax.tree.map(lambda array: array[..., which], values)
