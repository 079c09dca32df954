"""The fixed part of a network: who is coupled to whom, drawn once from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import jax
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.seeds import stream
from spinloom.networks.sparse import Sparse, draw_sparse, hears
from spinloom.networks.tasks import clock


class Topology(BaseModel):
    """How the fixed weights of a network are drawn.

    One tick of the network is v = W r + w_fb z + W_in s + b, u = clip(gain v, +-1), with r the
    signal in units of its spread and u the drive in units of the reach, so that a setting means
    the same for every device (:class:`spinloom.device_models.scale.Scale`).

    Attributes
    ----------
    nodes : int
        number of junctions, N
    spectral_radius : float
        largest modulus of an eigenvalue of W
    density : float
        share of W that is not zero; in a network of 500 nodes and more, of which each hears 64 others or less, each
        hears exactly round(density nodes) of them, and W is :class:`spinloom.networks.sparse.Sparse`
    feedback, input, bias : float
        w_fb, W_in and b are uniform between minus and plus this
    gain : float
        drive (in units of the reach) for v = 1
    clock : float
        strength of an input at the target's period, for networks that generate: W_in is then
        uniform between minus and plus this; 0 is none
    clock_shape : {"sine", "pulse", "ramp"}
        see :func:`spinloom.networks.tasks.clock`
    clock_ahead : float
        share of a period by which the clock runs ahead of the target: where in the clock's
        period the sharp features of a series fall makes a difference
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nodes: int = Field(default=40, ge=1, le=10_000)
    spectral_radius: float = Field(ge=0, le=1000)
    density: float = Field(default=0.3, gt=0, le=1)
    feedback: float = Field(default=0.0, ge=0, le=100)
    input: float = Field(default=0.0, ge=0, le=100)
    bias: float = Field(ge=0, le=100)
    gain: float = Field(gt=0, le=100)
    clock: float = Field(default=0.0, ge=0, le=100)
    clock_shape: Literal["sine", "pulse", "ramp"] = "sine"
    clock_ahead: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if self.clock and self.input:
            raise ValueError(
                "clock is of networks that generate, input of those that recognise: expected one, got both"
            )
        return self

    def clock_period(self, period_ticks: int) -> np.ndarray | None:
        """One period of the clock, (period_ticks,); None without one."""
        return clock(self.clock_shape, period_ticks, self.clock_ahead) if self.clock else None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["W", "w_fb", "W_in", "b", "gain", "w_out"],
    meta_fields=["devices"],
)
@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of S networks of the same size; the first axis of every array is S.

    A frozen pytree: its arrays may be ndarrays, JAX arrays or what JAX traces, so gradients
    and ``vmap`` go through it; ``dataclasses.replace`` changes some of them.

    Attributes
    ----------
    W : (S, N, N) array, or Sparse
        recurrent weights; (G, N, N) where each S / G networks that follow each other share them,
        as trials of one network do
    w_fb : (S, N, K) array
        feedback weights of K outputs
    W_in, b : (S, N) array
        input weights and biases
    gain : (S,) array
        drive for v = 1, in units of the reach
    w_out : (S, K, N + 1) array
        read-out of K outputs from [r, 1]; zeros before training. That of a classifier may have more features
    devices : tuple of S tuples of N int, optional
        which device of the node each node of a network is; all are the first if not given
    """

    W: Any
    w_fb: Any
    W_in: Any
    b: Any
    gain: Any
    w_out: Any
    devices: tuple[tuple[int, ...], ...] | None = None

    @property
    def networks(self) -> int:
        """S, how many networks."""
        return len(self.b)

    @property
    def nodes(self) -> int:
        """N, how many nodes in each."""
        return self.W.shape[1]

    @property
    def outputs(self) -> int:
        """K, how many outputs each has."""
        return self.w_out.shape[1]

    def arrays(self) -> tuple[Any, ...]:
        """All arrays, in the order in which they are given."""
        return (self.W, self.w_fb, self.W_in, self.b, self.gain, self.w_out)

    def with_readout(self, w_out: Any) -> Weights:
        """The same networks with trained read-outs, (S, K, N + 1)."""
        return replace(self, w_out=w_out)

    def with_devices(self, devices: Any) -> Weights:
        """The same networks with each node a certain device, (S, N) int.

        Raises
        ------
        SpinloomError
            if there is not one device for each node
        """
        if np.shape(devices) != self.b.shape:
            raise SpinloomError(f"devices: expected (networks, nodes) = {self.b.shape}, got shape {np.shape(devices)}")
        return replace(self, devices=tuple(tuple(int(device) for device in row) for row in devices))

    def without_devices(self) -> Weights:
        """The same arrays: once devices have started, their state knows which they are."""
        return replace(self, devices=None)

    def which(self) -> np.ndarray | None:
        """Device of each node of all networks one after the other, (S N,) int; None if all are the first."""
        return None if self.devices is None else np.array(self.devices, dtype=int).ravel()

    def repeat(self, times: int) -> Weights:
        """Each network ``times`` times over, for many trials at once; its W is shared, not copied."""
        devices = None if self.devices is None else tuple(row for row in self.devices for _ in range(times))
        return self._with(self.W, lambda array: np.repeat(array, times, axis=0), devices)

    def one(self, network: int) -> Weights:
        """A single network of the batch, S = 1."""
        return self.take(slice(network, network + 1))

    def take(self, networks: slice) -> Weights:
        """Some networks of the batch."""
        devices = None if self.devices is None else self.devices[networks]
        of_each = np.repeat(np.arange(len(self.W)), self.networks // len(self.W))[networks]
        groups, sizes = np.unique(of_each, return_counts=True)
        shared = groups if len(set(sizes)) <= 1 else of_each
        return self._with(self.W[shared], lambda array: array[networks], devices)

    @classmethod
    def stack(cls, batch: list[Weights]) -> Weights:
        """Networks of the same size side by side."""
        devices = None
        if any(weights.devices is not None for weights in batch):
            first = tuple((0,) * weights.nodes for weights in batch[:1])
            devices = tuple(row for weights in batch for row in weights.devices or first * weights.networks)
        own = [w.W[np.repeat(np.arange(len(w.W)), w.networks // len(w.W))] for w in batch]
        if len({isinstance(W, Sparse) for W in own}) > 1:
            own = [W.dense() if isinstance(W, Sparse) else W for W in own]
        W = Sparse.joined(own) if isinstance(own[0], Sparse) else np.concatenate(own)
        w_fb, W_in, b, gain, w_out = (
            np.concatenate(arrays) for arrays in zip(*(weights.arrays()[1:] for weights in batch), strict=True)
        )
        return cls(W, w_fb, W_in, b, gain, w_out, devices)

    def _with(self, W: Any, change: Callable[[Any], Any], devices: tuple[tuple[int, ...], ...] | None) -> Weights:
        """Other recurrent weights, and every other array changed in the same way."""
        w_fb, W_in, b, gain, w_out = (change(array) for array in self.arrays()[1:])
        return Weights(W, w_fb, W_in, b, gain, w_out, devices)


def draw(topology: Topology, seeds: list[int], outputs: int = 1) -> Weights:
    """Draw networks, one for each seed.

    Parameters
    ----------
    topology : Topology
    seeds : list of int
    outputs : int
        K; what is drawn for the first output does not depend on how many follow

    Returns
    -------
    weights : Weights

    Examples
    --------
    >>> weights = draw(Topology(spectral_radius=0.8, feedback=1.0, bias=0.5, gain=1.0), [0, 1])
    >>> weights.W.shape, round(float(np.abs(np.linalg.eigvals(weights.W[0])).max()), 6)
    ((2, 40, 40), 0.8)
    """
    drawn = [_draw_one(topology, stream(seed, "topology"), outputs) for seed in seeds]
    of_each, *others = zip(*drawn, strict=True)
    W = Sparse.joined(list(of_each)) if isinstance(of_each[0], Sparse) else np.stack(of_each)
    w_fb, W_in, b = map(np.stack, others)
    w_out = np.zeros((len(seeds), outputs, topology.nodes + 1))
    return Weights(W, w_fb, W_in, b, np.full(len(seeds), topology.gain), w_out)


def _draw_one(topology: Topology, rng: np.random.Generator, outputs: int) -> tuple[Any, ...]:
    n = topology.nodes
    heard = hears(n, topology.density)
    W = _draw_matrix(topology, rng) if heard is None else draw_sparse(rng, n, heard, topology.spectral_radius)
    first, W_in, b = (rng.uniform(-1, 1, n) for _ in range(3))
    w_fb = np.column_stack([first, rng.uniform(-1, 1, (n, outputs - 1))])
    return W, w_fb * topology.feedback, W_in * (topology.clock or topology.input), b * topology.bias


def _draw_matrix(topology: Topology, rng: np.random.Generator) -> np.ndarray:
    n = topology.nodes
    W = rng.standard_normal((n, n)) * (rng.random((n, n)) < topology.density)
    radius = np.abs(np.linalg.eigvals(W)).max()
    # A sparse small W may have no cycle, hence no eigenvalue to scale by.
    return W * (topology.spectral_radius / radius if radius > 1e-12 else 0.0)
