"""The fixed weights."""

import numpy as np
import pytest
from pydantic import ValidationError

from spinloom.networks.topology import Topology, Weights, draw

TOPOLOGY = Topology(nodes=30, spectral_radius=0.7, density=0.2, feedback=2.0, input=1.5, bias=0.5, gain=0.8)


def test_the_same_seed_draws_the_same_network_and_another_does_not():
    first, again, other = draw(TOPOLOGY, [3]), draw(TOPOLOGY, [3]), draw(TOPOLOGY, [4])
    np.testing.assert_array_equal(first.W, again.W)
    assert np.abs(first.W - other.W).max() > 0.1


def test_a_network_does_not_depend_on_its_neighbours_in_the_batch():
    np.testing.assert_array_equal(draw(TOPOLOGY, [1, 2]).W[1], draw(TOPOLOGY, [2]).W[0])


def test_weights_have_the_stated_spread():
    weights = draw(TOPOLOGY, list(range(50)))
    for matrix in weights.W:
        assert np.abs(np.linalg.eigvals(matrix)).max() == pytest.approx(0.7)
    assert (weights.W != 0).mean() == pytest.approx(0.2, abs=0.02)
    for array, scale in ((weights.w_fb, 2.0), (weights.W_in, 1.5), (weights.b, 0.5)):
        assert np.abs(array).max() <= scale
        assert array.std() == pytest.approx(scale / np.sqrt(3), rel=0.05)


def test_a_single_node_and_a_network_without_loops_are_drawn():
    assert draw(TOPOLOGY.model_copy(update={"nodes": 1, "density": 1.0}), [0]).W.shape == (1, 1, 1)
    assert np.isfinite(draw(TOPOLOGY.model_copy(update={"nodes": 3, "density": 0.05}), list(range(20))).W).all()


@pytest.mark.parametrize(
    "wrong", [{"nodes": 0}, {"density": 0}, {"gain": -1}, {"spectral_radius": float("nan")}, {"x": 1}]
)
def test_impossible_topologies_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Topology(**{**TOPOLOGY.model_dump(), **wrong})


def test_batches_are_taken_apart_and_put_together_again():
    weights = draw(TOPOLOGY, [1, 2, 3])
    together = Weights.stack([weights.one(k) for k in range(3)])
    np.testing.assert_array_equal(together.W, weights.W)
    np.testing.assert_array_equal(weights.repeat(2).b, np.repeat(weights.b, 2, axis=0))
