"""Laws of devices that lie side by side in memory, so that a processor advances several at a time."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


class ColumnLaw:
    """A law whose states are columns, (d, n); what :class:`spinloom.reduced_models.node.Law` asks for follows.

    Every fitted array may have a last axis more, of the devices: then each column has numbers of its own.
    """

    normals = 0

    def start_columns(self, m: Any) -> Any:
        """State (d, n) of devices that stand at ``<m>``, (3, n)."""
        raise NotImplementedError

    def advance_columns(self, x: Any, inputs: Any) -> Any:
        """State (d, n) after one tick of held inputs, (channels, n)."""
        raise NotImplementedError

    def moment_columns(self, x: Any) -> Any:
        """``<m>`` (3, n) of states (d, n)."""
        raise NotImplementedError

    def start(self, m: Any) -> Any:
        """State (n, d) of devices that stand at ``<m>``, (n, 3)."""
        return self.start_columns(m.T).T

    def advance(self, x: Any, inputs: Any) -> Any:
        """State (n, d) after one tick of held inputs, (n, channels)."""
        return self.advance_columns(x.T, inputs.T).T

    def moment(self, x: Any) -> Any:
        """``<m>`` (n, 3) of states (n, d)."""
        return self.moment_columns(x.T).T


def length_of_columns(m: Any) -> Any:
    """Lengths (n,) of vectors (3, n); of a zero vector, something to divide by and to differentiate."""
    return jnp.sqrt(m[0] ** 2 + m[1] ** 2 + m[2] ** 2 + 1e-300)
