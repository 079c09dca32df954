"""Networks without feedback that have the same nodes and the same input differ in their read-outs alone: run once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Weights


@dataclass(frozen=True)
class Together:
    """S trained networks as fewer, each with the outputs of several.

    Attributes
    ----------
    weights : Weights
        G networks of n K outputs
    f : (period_ticks, G, n K) ndarray
        targets
    clock : (period_ticks, G) ndarray or None
    place : (S, 2) int ndarray
        group of each network, and which of its group's it is
    """

    weights: Weights
    f: np.ndarray
    clock: np.ndarray | None
    place: np.ndarray

    @classmethod
    def of(cls, networks: list[TrainedNetwork]) -> Together:
        """Networks of the same size, period and number of outputs.

        Examples
        --------
        >>> from spinloom.networks.topology import Topology, draw
        >>> weights = draw(Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0, clock=2.0), [0])
        >>> clock, f = np.ones(8), np.zeros((8, 1))
        >>> pair = [TrainedNetwork("generate", name, weights, 8, f, clock=clock) for name in "ab"]
        >>> Together.of(pair).weights.w_out.shape
        (1, 2, 4)
        """
        groups: dict[Any, list[int]] = {}
        for k, network in enumerate(networks):
            groups.setdefault(_same(network) or k, []).append(k)
        if len({len(group) for group in groups.values()}) != 1:
            groups = {k: [k] for k in range(len(networks))}
        members = list(groups.values())
        place = np.zeros((len(networks), 2), dtype=int)
        for g, group in enumerate(members):
            place[group] = [(g, j) for j in range(len(group))]
        clock = None
        if any(network.clock is not None for network in networks):
            firsts = [networks[group[0]] for group in members]
            clock = np.stack([np.zeros(n.period_ticks) if n.clock is None else n.clock for n in firsts], axis=1)
        return cls(
            weights=Weights.stack([_joined([networks[k].weights for k in group]) for group in members]),
            f=np.stack([np.concatenate([networks[k].f for k in group], axis=1) for group in members], axis=1),
            clock=clock,
            place=place,
        )

    @property
    def outputs(self) -> int:
        """Of each of the networks."""
        return self.weights.outputs // (1 + int(self.place[:, 1].max()))

    def repeated(self, times: int) -> Together:
        """All of them ``times`` times over, one after the other."""
        many = [self.weights] * times
        clock = None if self.clock is None else np.tile(self.clock, (1, times))
        return Together(Weights.stack(many), np.tile(self.f, (1, times, 1)), clock, self.place)

    def outputs_of_each(self, z: np.ndarray) -> np.ndarray:
        """Outputs (n_ticks, times G, n K) -> (times, n_ticks, S, K)."""
        ticks, groups = len(z), int(self.place[:, 0].max()) + 1
        parts = z.reshape(ticks, -1, groups, 1 + int(self.place[:, 1].max()), self.outputs)
        return parts[:, :, self.place[:, 0], self.place[:, 1]].swapaxes(0, 1)

    def of_each(self, values: np.ndarray, axis: int = 1) -> np.ndarray:
        """Something of the G groups, along an axis, for each of the S networks."""
        return np.take(values, self.place[:, 0], axis=axis)


def _same(network: TrainedNetwork) -> Any:
    """What networks that may run as one have in common; None for a network whose output feeds back."""
    w = network.weights
    if np.any(w.w_fb):
        return None
    clock = b"" if network.clock is None else np.asarray(network.clock).tobytes()
    return (*(np.asarray(array).tobytes() for array in jax.tree.leaves((w.W, w.W_in, w.b, w.gain))), clock, w.devices)


def _joined(weights: list[Weights]) -> Weights:
    """One network with the outputs of all."""
    first = weights[0]
    if len(weights) == 1:
        return first
    w_fb = np.concatenate([w.w_fb for w in weights], axis=2)
    w_out = np.concatenate([w.w_out for w in weights], axis=1)
    return Weights(first.W, w_fb, first.W_in, first.b, first.gain, w_out, first.devices)
