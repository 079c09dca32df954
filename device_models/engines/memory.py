"""How many devices of a mesh fit into memory at a time."""

from __future__ import annotations

import jax

from spinloom.device_models.machine import free_memory

COPIES = 20
"""Of m that a batch takes while it is advanced, with all that is computed on the way: 17 were measured."""
SHARE = 0.5
"""Of the free memory that a batch may take."""


def bytes_per_device(cells: int, ticks: int = 0) -> int:
    """Memory of one member of a batch, about.

    Parameters
    ----------
    cells : int
        magnetic ones
    ticks : int
        of which ``<m>`` is kept

    Examples
    --------
    >>> bytes_per_device(177), bytes_per_device(177, ticks=800)
    (84960, 123360)
    """
    return 3 * 8 * (COPIES * cells + 2 * ticks)


def batch_size(devices: int, cells: int, ticks: int = 0, free: int | None = None) -> int:
    """How many of some devices are advanced at a time: all, or as many as fit, in groups of about the same size.

    Parameters
    ----------
    devices, cells, ticks : int
    free : int, optional
        bytes; what there is where JAX computes, if not given

    Examples
    --------
    >>> batch_size(1000, 177, 800), batch_size(1000, 177, 800, free=100_000_000)
    (1000, 334)
    """
    most = max(1, int(SHARE * (available() if free is None else free) / bytes_per_device(cells, ticks)))
    groups = -(-devices // most)
    return -(-devices // max(groups, 1))


def available() -> int:
    """Bytes that are free where JAX computes: on the GPU, else on this machine.

    Examples
    --------
    >>> available() > 0
    True
    """
    told = jax.devices()[0].memory_stats() or {}
    if jax.default_backend() != "cpu" and "bytes_limit" in told:
        return max(1, told["bytes_limit"] - told.get("bytes_in_use", 0))
    return free_memory()
