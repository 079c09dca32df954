"""A network of junctions under given inputs, its loop left open: what all ways in have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from pydantic import ValidationError

from spinloom.device_models.card import explain
from spinloom.device_models.engines import choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.provenance import data_folder
from spinloom.networks.loop import LoopState, simulate, start
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import progress

Model = CalibratedModel | str | Path | None


@lru_cache(maxsize=1)
def shipped_model() -> CalibratedModel:
    """The reduced model of ``disc60`` that is shipped, fitted to what OOMMF computed.

    Examples
    --------
    >>> shipped_model().card.name
    'disc60'
    """
    return load_model(data_folder() / "reference" / "networks" / "model.nc")


def known_model(model: Model) -> CalibratedModel:
    """A model as it is, or read from its file; the shipped one of ``disc60`` if None.

    Raises
    ------
    SpinloomError
        for anything else
    """
    if model is None:
        return shipped_model()
    if isinstance(model, CalibratedModel):
        return model
    if isinstance(model, str | Path):
        return load_model(model)
    raise SpinloomError(
        f"model: expected a CalibratedModel, the path of one, or None for that of disc60, got {type(model).__name__}"
    )


def whole(name: str, value: Any, least: int) -> int:
    """A parameter that counts something.

    Raises
    ------
    SpinloomError
        if it is no whole number, or too small
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise SpinloomError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    return int(value)


def draw_driven(deviations: np.ndarray | None, seed: int, channels: int, **fields: Any) -> Weights:
    """One network of several inputs, drawn from a seed.

    The inputs are what is fed back in a network that generates, K outputs of it held by a teacher, so that
    one loop serves all. What is drawn for the first input does not depend on how many follow, and is what
    :func:`spinloom.networks.topology.draw` gives for ``W_in``.

    Parameters
    ----------
    deviations : (devices, parameters) ndarray or None
        of the model, if it knows devices that differ: they take turns
    seed : int
    channels : int
        C, how many inputs there are
    **fields
        of :class:`spinloom.networks.topology.Topology`, but for ``feedback``

    Returns
    -------
    weights : Weights
        of one network, the weights of its inputs in ``w_fb``, (1, N, C)

    Raises
    ------
    SpinloomError
        naming the field
    """
    try:
        topology = Topology(**fields)
    except ValidationError as error:
        raise SpinloomError(explain(error, "network")) from None
    weights = draw(topology.model_copy(update={"feedback": topology.input}), [whole("seed", seed, 0)], channels)
    inputs = np.concatenate([weights.W_in[..., None], weights.w_fb[..., 1:]], axis=-1)
    weights = replace(weights, w_fb=inputs, W_in=np.zeros_like(weights.W_in))
    if deviations is None:
        return weights
    return weights.with_devices(np.arange(topology.nodes)[None] % len(deviations))


class Opened(NamedTuple):
    """What a network is made of.

    Attributes
    ----------
    node : Node
        as a network takes it
    together : int
        how many trials run at once
    even : bool
        whether fewer trials are filled up to as many, so that nothing is compiled again
    """

    node: Node
    together: int
    even: bool


TOGETHER = 64
"""Trials of reduced nodes that run at once."""
_LONG = 10_000_000
"""Ticks of single reduced nodes that take a few seconds."""


@contextmanager
def opened(model: CalibratedModel, engine: str | None) -> Iterator[Opened]:
    """The nodes of a network: the reduced model, or full micromagnetics where an engine is named.

    Parameters
    ----------
    model : CalibratedModel
    engine : str or None
        ``embedded``, ``oommf`` or ``auto``; None for the reduced model

    Yields
    ------
    opened : Opened

    Raises
    ------
    SpinloomError
        for an engine that is unknown or has no live nodes
    """
    if engine is None:
        yield Opened(model.scaled, TOGETHER, even=True)
        return
    with open_engine(choose_engine(engine), model.cards, model.tick) as full:
        if not full.live:
            raise SpinloomError(f"engine: {full.name} has no live nodes here, and a network needs them; use embedded")
        yield Opened(model.scale.of(full.node), TOGETHER if full.batched else 1, even=False)


def telling(what: str, ticks: int, nodes: int, engine: str | None) -> AbstractContextManager[Callable[[float], None]]:
    """Progress of what takes long: full micromagnetics, and many ticks of reduced nodes. A search runs many short ones.

    Parameters
    ----------
    what : str
        is done
    ticks : int
        of all trials together
    nodes : int
        of each network
    engine : str or None
        as of :func:`opened`
    """
    if engine is None and ticks * nodes < _LONG:
        return nullcontext(lambda done: None)
    return progress(f"{what} on {nodes} junctions" + (f" ({engine})" if engine else ""), ticks)


def drive(
    node: Node,
    weights: Weights,
    x: np.ndarray,
    *,
    hold: int = 1,
    state: LoopState | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[LoopState, np.ndarray]:
    """Feed inputs to S networks.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
        of :func:`draw_driven`, S networks
    x : (n_samples, S, C) ndarray
        inputs
    hold : int
        ticks that each sample lasts
    state : LoopState, optional
        where to go on from; equilibrium if not given
    seed : int
        of the nodes' own noise, where they are warm and start from equilibrium
    progress : callable, optional
        called with the number of ticks just done

    Returns
    -------
    state : LoopState
    r : (n_samples hold, S, N) ndarray
        signals at the end of each tick, in units of the spread
    """
    ticks = np.repeat(x, hold, axis=0)
    state = start(node, weights, seed) if state is None else state
    # What is held in one tick drives the next.
    held: dict[str, Any] = {"target": np.concatenate([ticks[1:], ticks[-1:]]), "hold": np.ones(len(ticks), bool)}
    state, record = simulate(
        node, weights, **held, state=state._replace(z=jnp.asarray(ticks[0])), record="r", progress=progress
    )
    return state, record.r
