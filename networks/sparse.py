"""Recurrent weights of large networks in which every node hears few others: lists instead of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from spinloom.device_models.errors import SpinloomError

SMALLEST, MOST_HEARD = 500, 64
"""From how many nodes on, and up to how many that each hears, lists take less time than a matrix."""
ACCURACY = 1e-4
"""Of a spectral radius."""


@partial(jax.tree_util.register_dataclass, data_fields=["source", "weight"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class Sparse:
    """W of G networks, (G, N, N), of which each row has k numbers.

    Attributes
    ----------
    source : (G, k, N) int array
        whom each node hears
    weight : (G, k, N) array
        by how much

    Examples
    --------
    >>> W = Sparse(np.array([[[1, 0]]]), np.array([[[2.0, 3.0]]]))
    >>> W.shape, W.dense().tolist(), W.times(np.array([[1.0, 10.0]])).tolist()
    ((1, 2, 2), [[[0.0, 2.0], [3.0, 0.0]]], [[20.0, 3.0]])
    """

    source: Any
    weight: Any

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the matrix."""
        networks, _, nodes = self.source.shape
        return networks, nodes, nodes

    def __len__(self) -> int:
        return self.source.shape[0]

    def __getitem__(self, networks: Any) -> Sparse:
        """Some of the networks: a slice, or their numbers."""
        return Sparse(self.source[networks], self.weight[networks])

    def scaled(self, by: Any) -> Sparse:
        """Each network's weights times a number, (G,)."""
        return Sparse(self.source, by[:, None, None] * self.weight)

    def times(self, r: Any) -> Any:
        """W r: (..., S, N) -> (..., S, N); each S / G networks that follow each other share a W."""
        columns = jnp.reshape(jnp.asarray(r), (*r.shape[:-2], len(self), -1, r.shape[-1]))

        def heard(j: int) -> Any:
            if len(self) == 1:
                return columns.at[..., self.source[0, j]].get(mode="promise_in_bounds")
            place = jnp.broadcast_to(self.source[:, j, None], columns.shape)
            return jnp.take_along_axis(columns, place, axis=-1, mode="promise_in_bounds")

        # One sum after the other, so that the compiler makes one loop over nodes of it.
        found = sum(self.weight[:, j, None] * heard(j) for j in range(self.source.shape[1]))
        return jnp.reshape(jnp.asarray(found), r.shape)

    def dense(self) -> np.ndarray:
        """The matrices, (G, N, N)."""
        W = np.zeros(self.shape)
        for network, (source, weight) in enumerate(zip(self.source, self.weight, strict=True)):
            np.add.at(W[network], (np.arange(W.shape[1])[None], source), weight)
        return W

    @staticmethod
    def joined(batch: list[Sparse]) -> Sparse:
        """Networks side by side; rows that are shorter are filled up with weights of zero."""
        most = max(W.source.shape[1] for W in batch)
        fill = [((0, 0), (0, most - W.source.shape[1]), (0, 0)) for W in batch]
        source = np.concatenate([np.pad(W.source, by) for W, by in zip(batch, fill, strict=True)])
        return Sparse(source, np.concatenate([np.pad(W.weight, by) for W, by in zip(batch, fill, strict=True)]))


def hears(nodes: int, density: float) -> int | None:
    """How many others each node of a sparse network hears; None where a matrix is as good.

    Examples
    --------
    >>> hears(10_000, 1e-3), hears(10_000, 0.3), hears(40, 0.1)
    (10, None, None)
    """
    heard = max(1, round(density * nodes))
    return heard if nodes >= SMALLEST and heard <= MOST_HEARD else None


def draw_sparse(rng: np.random.Generator, nodes: int, heard: int, spectral_radius: float) -> Sparse:
    """Standard normal weights of ``heard`` others for each node, scaled to a spectral radius.

    Raises
    ------
    SpinloomError
        where the spectral radius cannot be found
    """
    source = np.stack([rng.choice(nodes, heard, replace=False, shuffle=False) for _ in range(nodes)], axis=1)
    W = Sparse(source[None].astype(np.int32), rng.standard_normal((1, heard, nodes)))
    return W.scaled(np.array([spectral_radius / radius(W)]))


def radius(W: Sparse) -> float:
    """Largest modulus of an eigenvalue of the first network's W, by Arnoldi iteration, to 1e-4 of itself."""
    nodes = W.shape[1]
    rows = np.broadcast_to(np.arange(nodes), W.source[0].shape)
    matrix = csr_matrix((W.weight[0].ravel(), (rows.ravel(), W.source[0].ravel())), shape=(nodes, nodes))
    start = np.random.default_rng(0).standard_normal(nodes)  # else ARPACK takes one of its own, new in every call
    try:
        found = eigs(matrix, k=2, ncv=60, v0=start, tol=ACCURACY, maxiter=3000, return_eigenvectors=False)
    except ArpackNoConvergence:
        raise SpinloomError(
            f"density: the spectral radius of {nodes} nodes that hear {W.source.shape[1]} others each was not found; "
            "draw a denser network, or another seed"
        ) from None
    return float(np.abs(found).max())
