"""Large networks of which every node hears few: the same as their matrix, in less time and memory."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks import sparse
from spinloom.networks.loop import drives, run, simulate
from spinloom.networks.sparse import Sparse, hears, radius
from spinloom.networks.store import TrainedNetwork, load_network, save_network
from spinloom.networks.topology import Topology, Weights, draw

TOPOLOGY = Topology(nodes=600, spectral_radius=0.9, density=0.01, feedback=1.0, bias=0.3, gain=0.8)
FORCED = {"target": np.zeros((12, 2)), "hold": np.zeros(12, bool)}


@pytest.fixture(scope="module")
def weights():
    return draw(TOPOLOGY, [0, 1]).with_readout(np.random.default_rng(1).normal(size=(2, 1, 601)) / 600)


def as_matrix(weights):
    return replace(weights, W=weights.W.dense())


def test_every_node_hears_as_many_others_as_the_density_says(weights):
    assert isinstance(weights.W, Sparse)
    assert (weights.W.shape, weights.nodes, weights.networks) == ((2, 600, 600), 600, 2)
    assert ((weights.W.dense() != 0).sum(axis=2) == 6).all()
    np.testing.assert_array_equal(draw(TOPOLOGY, [1]).W.dense()[0], weights.W.dense()[1])


def test_the_spectral_radius_is_that_of_the_matrix(weights):
    for W in weights.W.dense():
        assert np.abs(np.linalg.eigvals(W)).max() == pytest.approx(0.9, rel=1e-4)


def test_a_spectral_radius_that_is_not_found(weights, monkeypatch):
    monkeypatch.setattr(sparse, "eigs", lambda matrix, **how: _lost())
    with pytest.raises(SpinloomError, match="600 nodes that hear 6 others each was not found"):
        radius(weights.W)


def _lost():
    raise sparse.ArpackNoConvergence("no", np.zeros(0), np.zeros(0))


@pytest.mark.parametrize(("nodes", "density"), [(499, 0.01), (600, 0.2), (40, 0.05)])
def test_smaller_and_denser_networks_have_a_matrix(nodes, density):
    assert hears(nodes, density) is None


def test_a_network_runs_as_its_matrix_does(low_pass, weights):
    for some in (weights, weights.one(1).repeat(2), weights.repeat(2).take(slice(1, 3))):
        (_, lists), (_, matrix) = (simulate(low_pass, w, **FORCED, record="r") for w in (some, as_matrix(some)))
        np.testing.assert_allclose(lists.r, matrix.r, rtol=0, atol=1e-12)
        np.testing.assert_allclose(lists.z, matrix.z, rtol=0, atol=1e-12)


def test_drives_of_many_ticks_at_once(weights):
    rng = np.random.default_rng(2)
    r, z, s = rng.normal(size=(3, 2, 600)), rng.normal(size=(3, 2, 1)), rng.normal(size=(3, 2))
    np.testing.assert_allclose(drives(weights, r, z, s), drives(as_matrix(weights), r, z, s), rtol=0, atol=1e-12)


def test_networks_side_by_side(weights):
    few = draw(TOPOLOGY.model_copy(update={"density": 0.005}), [3])
    both = Weights.stack([weights, few])
    assert isinstance(both.W, Sparse)
    np.testing.assert_array_equal(both.W.dense(), np.concatenate([weights.W.dense(), few.W.dense()]))
    mixed = Weights.stack([weights, as_matrix(few)])
    np.testing.assert_array_equal(mixed.W, both.W.dense())


def test_a_derivative_goes_through(low_pass, weights):
    def last(weight, W):
        one = replace(weights.one(0), W=Sparse(W.source, weight))
        free = {"target": np.zeros((4, 1)), "hold": np.zeros(4, bool)}
        return run(low_pass, one, **free)[1].z[-1].sum()

    W = weights.one(0).W
    by = np.random.default_rng(4).normal(size=W.weight.shape)
    slope = (last(W.weight + 1e-5 * by, W) - last(W.weight - 1e-5 * by, W)) / 2e-5
    np.testing.assert_allclose((jax.grad(last)(W.weight, W) * by).sum(), slope, rtol=1e-6)


def test_a_file_holds_the_lists(weights, coarse_model_path, tmp_path):
    network = TrainedNetwork("generate", "sine", weights.one(0), 8, np.zeros((8, 1)))
    save_network(network, tmp_path / "network.nc", coarse_model_path)
    found, _ = load_network(tmp_path / "network.nc")
    np.testing.assert_array_equal(found.weights.W.source, weights.W.source[:1])
    np.testing.assert_array_equal(found.weights.W.weight, weights.W.weight[:1])
    assert (tmp_path / "network.nc").stat().st_size < 600 * 600 * 8 / 4
    assert found.alike(network, 0)
    assert not found.alike(replace(network, weights=as_matrix(network.weights)), 1.0)


def test_a_file_that_names_no_such_node_is_refused(weights, coarse_model_path, tmp_path):
    W = weights.one(0).W
    spoilt = replace(weights.one(0), W=Sparse(np.where(W.source == 5, 600, W.source), W.weight))
    save_network(TrainedNetwork("generate", "sine", spoilt, 8, np.zeros((8, 1))), tmp_path / "n.nc", coarse_model_path)
    with pytest.raises(SpinloomError, match="expected nodes 0 to 599"):
        load_network(tmp_path / "n.nc")
