"""The fixed part of a network: who is coupled to whom, drawn once from a seed."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Topology(BaseModel):
    """How the fixed weights of a network are drawn.

    One tick of the network is v = W r + w_fb z + W_in s + b, u = clip(gain v, +-1).

    Attributes
    ----------
    nodes : int
        number of junctions, N
    spectral_radius : float
        largest modulus of an eigenvalue of W
    density : float
        share of W that is not zero
    feedback, input, bias : float
        w_fb, W_in and b are uniform between minus and plus this
    gain : float
        drive (in units of J_max) for v = 1
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nodes: int = Field(default=40, ge=1, le=10_000)
    spectral_radius: float = Field(ge=0, le=10)
    density: float = Field(default=0.3, gt=0, le=1)
    feedback: float = Field(default=0.0, ge=0, le=100)
    input: float = Field(default=0.0, ge=0, le=100)
    bias: float = Field(ge=0, le=100)
    gain: float = Field(gt=0, le=100)


class Weights:
    """The weights of S networks of the same size; the first axis of every array is S.

    Attributes
    ----------
    W : (S, N, N) ndarray
        recurrent weights
    w_fb, b : (S, N) ndarray
        feedback weights and biases
    W_in : (S, N) ndarray
        input weights
    w_out : (S, K, N + 1) ndarray
        read-out of K channels from [r, 1]; zeros before training
    gain : (S,) ndarray
        drive for v = 1, in units of J_max
    """

    def __init__(
        self,
        W: np.ndarray,
        w_fb: np.ndarray,
        W_in: np.ndarray,
        b: np.ndarray,
        gain: np.ndarray,
        w_out: np.ndarray | None = None,
    ) -> None:
        self.W, self.w_fb, self.W_in, self.b, self.gain = W, w_fb, W_in, b, gain
        self.w_out = np.zeros((len(W), 1, W.shape[1] + 1)) if w_out is None else w_out

    @property
    def networks(self) -> int:
        """S, how many networks."""
        return len(self.W)

    @property
    def nodes(self) -> int:
        """N, how many nodes in each."""
        return self.W.shape[1]

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays, in the order in which they are given."""
        return (self.W, self.w_fb, self.W_in, self.b, self.gain, self.w_out)

    def with_readout(self, w_out: np.ndarray) -> Weights:
        """The same networks with trained read-outs, (S, K, N + 1)."""
        return Weights(self.W, self.w_fb, self.W_in, self.b, self.gain, np.asarray(w_out))

    def repeat(self, times: int) -> Weights:
        """Each network ``times`` times over, for many trials at once."""
        return Weights(*(np.repeat(array, times, axis=0) for array in self.arrays()))

    def one(self, network: int) -> Weights:
        """A single network of the batch, S = 1."""
        return self.take(slice(network, network + 1))

    def take(self, networks: slice) -> Weights:
        """Some networks of the batch."""
        return Weights(*(array[networks] for array in self.arrays()))

    @classmethod
    def stack(cls, batch: list[Weights]) -> Weights:
        """Networks of the same size side by side."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*(weights.arrays() for weights in batch), strict=True)))


def draw(topology: Topology, seeds: list[int]) -> Weights:
    """Draw networks, one for each seed.

    Parameters
    ----------
    topology : Topology
    seeds : list of int

    Returns
    -------
    weights : Weights

    Examples
    --------
    >>> weights = draw(Topology(spectral_radius=0.8, feedback=1.0, bias=0.5, gain=1.0), [0, 1])
    >>> weights.W.shape, round(float(np.abs(np.linalg.eigvals(weights.W[0])).max()), 6)
    ((2, 40, 40), 0.8)
    """
    drawn = [_draw_one(topology, np.random.default_rng(seed)) for seed in seeds]
    W, w_fb, W_in, b = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    return Weights(W, w_fb, W_in, b, np.full(len(seeds), topology.gain))


def _draw_one(topology: Topology, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    n = topology.nodes
    W = rng.standard_normal((n, n)) * (rng.random((n, n)) < topology.density)
    radius = np.abs(np.linalg.eigvals(W)).max()
    # A sparse small W may have no cycle, hence no eigenvalue to scale by.
    W *= topology.spectral_radius / radius if radius > 1e-12 else 0.0
    w_fb, W_in, b = (rng.uniform(-1, 1, n) * scale for scale in (topology.feedback, topology.input, topology.bias))
    return W, w_fb, W_in, b
