"""The one loop over ticks: compiled where JAX can trace it, plain where nodes live elsewhere.

Roll-outs, calibrations, networks and FORCE are each a tick function, handed to :func:`advance`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.errors import DivergedError
from spinloom.device_models.node import Node, State, with_channels

Tick = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(fixed, carry, row) -> (carry, what to record): a function without memory, hashable by its value."""
CHUNK = 50
"""Ticks that a report of progress is of, at most."""
MOST, OFTEN = 500, 0.2
"""Ticks of a compiled scan at most, and about how often its progress is told (s): every call costs as much as some
hundred ticks of a small network, so a quick node is called less often."""


@partial(jax.jit, static_argnums=0)
def _compiled(tick: Tick, fixed: Any, carry: Any, rows: Any, count: Any) -> tuple[Any, Any]:
    """The first ``count`` of the rows; a last chunk that is shorter is not compiled again."""
    first = jax.tree.map(lambda x: x[0], rows)
    form = jax.eval_shape(partial(tick, fixed), carry, first)[1]
    length = len(jax.tree.leaves(rows)[0])

    def one(i: Any, at: tuple[Any, Any]) -> tuple[Any, Any]:
        # Without the bounds checks of an index, which cost as much as a product of a small network.
        row = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), rows)
        carry, record = tick(fixed, at[0], row)
        kept = jax.tree.map(lambda all_, row: jax.lax.dynamic_update_index_in_dim(all_, row, i, 0), at[1], record)
        return carry, kept

    empty = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), form)
    return jax.lax.fori_loop(0, count, one, (carry, empty))


def advance(
    tick: Tick,
    fixed: Any,
    carry: Any,
    rows: Any,
    *,
    traceable: bool = True,
    chunk: int | None = None,
    progress: Callable[[int], None] | None = None,
    collect: Callable[[Any], None] | None = None,
) -> tuple[Any, Any]:
    """Advance over all rows, a chunk at a time.

    Parameters
    ----------
    tick : callable
        one tick; it is compiled once for each form of its arguments, and what they hold is not
        kept
    fixed : pytree
        what every tick needs and none changes, such as a node and weights
    carry : pytree
        what goes from tick to tick
    rows : pytree of (n_ticks, ...) arrays
    traceable : bool
        whether JAX may trace the tick; if not, every tick is a chunk
    chunk : int, optional
        ticks in one compiled scan, and of one report; if not given, so many that a scan takes a moment, and their
        reports come together
    progress : callable, optional
        called with the number of ticks just done
    collect : callable, optional
        takes the record of each chunk as soon as it is done, so that not all of it need be kept

    Returns
    -------
    carry : pytree
    record : pytree of (n_ticks, ...) ndarrays
        None if ``collect`` takes it

    Examples
    --------
    >>> def add(fixed, carry, row):
    ...     return carry + fixed * row, carry
    >>> carry, record = advance(add, 2.0, np.zeros(()), np.arange(4.0))
    >>> float(carry), record.tolist()
    (12.0, [0.0, 0.0, 2.0, 6.0])
    """
    pieces: list[Any] = []
    keep = pieces.append if collect is None else collect
    n_ticks = len(jax.tree.leaves(rows)[0])
    length, span, told = (MOST, CHUNK, CHUNK) if chunk is None else (chunk, chunk, chunk)
    if traceable:  # once, not with every chunk
        fixed, carry = jax.device_put((fixed, carry))
    at = 0
    while at < n_ticks:
        began, count = time.perf_counter(), min(span if traceable else 1, n_ticks - at)
        some = jax.tree.map(lambda x, at=at, end=at + count: np.asarray(x[at:end]), rows)
        if traceable:
            filled = jax.tree.map(lambda x, short=length - count: _lengthened(x, short), some)
            carry, record = _compiled(tick, fixed, carry, filled, count)
        else:
            carry, record = tick(fixed, carry, jax.tree.map(lambda x: x[0], some))
            record = jax.tree.map(lambda x: np.asarray(x)[None], record)
        record = jax.tree.map(lambda x, count=count: _first(np.asarray(x), count), record)
        # In pieces that do not depend on the clock: what sums them up must come to the same every time.
        for start in range(0, count, told if collect is not None else count):
            end = min(start + told, count) if collect is not None else count
            keep(jax.tree.map(lambda x, start=start, end=end: x[start:end], record))
        if progress is not None:
            for done in range(0, count, told):
                progress(min(told, count - done))
        at += count
        if chunk is None:
            jax.block_until_ready(carry)
            took = (time.perf_counter() - began) / count
            span = CHUNK * int(np.clip(OFTEN / took / CHUNK, 1, MOST // CHUNK))
    return carry, joined(pieces) if collect is None else None


def _lengthened(x: np.ndarray, by: int) -> np.ndarray:
    """Rows that nobody will use, at the end."""
    return np.concatenate([x, x[:1].repeat(by, axis=0)])


def _first(x: np.ndarray, count: int) -> np.ndarray:
    """The first rows, without keeping the others in memory."""
    return x if count == len(x) else x[:count].copy()


def joined(pieces: list[Any]) -> Any:
    """Records that follow each other as one."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def first_not_finite(values: np.ndarray) -> tuple[int, ...] | None:
    """Where the first tick is at which something is not finite; None if all is.

    Parameters
    ----------
    values : (n_ticks, ...) ndarray

    Returns
    -------
    place : tuple of int
        tick, then the place in its values

    Examples
    --------
    >>> first_not_finite(np.array([[0.0, 1.0], [0.0, np.nan], [np.inf, np.nan]]))
    (1, 1)
    """
    finite = np.isfinite(values)
    if finite.all():
        return None
    return tuple(int(k) for k in np.unravel_index(int(np.argmin(finite)), values.shape))


def _driven(node: Node, state: State, inputs: Any) -> tuple[State, Any]:
    state = node.step(state, inputs)
    return state, node.moment(state)


def drive(
    node: Node,
    inputs: np.ndarray,
    state: State | None = None,
    progress: Callable[[int], None] | None = None,
    chunk: int | None = None,
    finite: bool = False,
) -> tuple[State, np.ndarray]:
    """Play given inputs into a batch of devices.

    Parameters
    ----------
    node : Node
    inputs : (n_ticks, n) or (n_ticks, n, channels) ndarray
        drive of each device, held for each tick, or all its channels
    state : object, optional
        where to go on from; equilibrium if not given
    progress : callable, optional
        called with the number of ticks just done
    chunk : int, optional
        ticks between two reports
    finite : bool
        whether it ends where something is not finite

    Returns
    -------
    state : object
        at the end of the last tick
    m : (n_ticks, n, 3) ndarray
        ``<m>`` at the end of each tick

    Raises
    ------
    DivergedError
        if asked for, naming the tick and the device, as soon as a chunk with values that are not finite is done
    """
    inputs = with_channels(inputs, node.channels)
    state = node.start(inputs.shape[1]) if state is None else state
    how: dict[str, Any] = {"traceable": node.traceable, "chunk": chunk, "progress": progress}
    if not finite:
        return advance(_driven, node, state, inputs, **how)
    pieces: list[np.ndarray] = []
    state, _ = advance(_driven, node, state, inputs, collect=finite_only(pieces), **how)
    return state, joined(pieces)


def part_of(progress: Callable[[float], None], share: float, done: float) -> None:
    """Progress of a part of a batch, as that of the whole."""
    progress(share * done)


def finite_only(pieces: list[np.ndarray]) -> Callable[[np.ndarray], None]:
    """What takes <m> (ticks, devices, 3) of chunk after chunk, for :func:`advance`.

    Raises
    ------
    DivergedError
        naming the tick and the device
    """

    def collect(m: np.ndarray) -> None:
        expect_finite(m, sum(map(len, pieces)))
        pieces.append(m)

    return collect


def expect_finite(m: np.ndarray, before: int = 0) -> None:
    """Refuse <m> (ticks, devices, 3) that is not finite; ``before`` are the ticks that were done before.

    Raises
    ------
    DivergedError
        naming the tick and the device
    """
    place = first_not_finite(m)
    if place is not None:
        raise _diverged(f"device {place[1]}", before + place[0], place[1])


@contextmanager
def naming(name: Callable[[int], str]) -> Iterator[None]:
    """Call the devices of a batch by what they are there for, where one of them leaves the finite numbers."""
    try:
        yield
    except DivergedError as error:
        raise _diverged(name(error.member), error.tick, error.member) from None


def _diverged(what: str, tick: int, device: int) -> DivergedError:
    return DivergedError(
        f"{what}: its magnetisation is not finite from tick {tick} on; check the largest drive and the material in its "
        "card, or take a shorter tick",
        tick,
        device,
    )
