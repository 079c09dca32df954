"""Random streams of devices: each has its own, which does not depend on the batch that it is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Stream(NamedTuple):
    """Where the random numbers of n devices stand.

    Attributes
    ----------
    keys : (n, 2) uint32 array
        of each device
    count : int array
        how often numbers were drawn
    """

    keys: Any
    count: Any

    def draw(self, numbers: int) -> tuple[Stream, Any]:
        """The stream further on, and standard normal numbers, (n, numbers), of single precision."""

        def of_device(key: Any) -> Any:
            return jax.random.normal(jax.random.fold_in(key, self.count), (numbers,), jnp.float32)

        return self._replace(count=self.count + 1), jax.vmap(of_device)(self.keys)


def streams(seed: int, n: int) -> Any:
    """A random stream for each member of a batch, (n, 2) uint32; that of a member does not depend on n."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.PRNGKey(seed), jnp.arange(n))


def stream(seed: int, n: int) -> Stream:
    """The same, at its start.

    Examples
    --------
    >>> few, many = (stream(0, n).draw(3)[1] for n in (2, 5))
    >>> bool((few == many[:2]).all())
    True
    """
    return Stream(streams(seed, n), jnp.zeros((), jnp.uint32))
