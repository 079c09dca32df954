"""The fixed weights."""

import jax
import numpy as np
import pytest
from pydantic import ValidationError

from spinloom.device_models.errors import SpinloomError
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
    "wrong",
    [
        *({"nodes": 0}, {"density": 0}, {"gain": -1}, {"spectral_radius": float("nan")}, {"x": 1}),
        *({"spectral_radius": 1001}, {"clock": -1}, {"clock": 101}, {"clock_shape": "saw"}, {"clock_ahead": 1.0}),
    ],
)
def test_impossible_topologies_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Topology(**{**TOPOLOGY.model_dump(), **wrong})


def test_a_clock_comes_in_by_the_input_weights():
    """And changes nothing else: W, w_fb and b of a seed are what they were."""
    plain = TOPOLOGY.model_copy(update={"input": 0.0})
    without, clocked = draw(plain, [3]), draw(plain.model_copy(update={"clock": 20.0}), [3])
    for name in ("W", "w_fb", "b", "gain"):
        np.testing.assert_array_equal(getattr(clocked, name), getattr(without, name))
    assert np.abs(without.W_in).max() == 0
    np.testing.assert_allclose(clocked.W_in, draw(TOPOLOGY, [3]).W_in * 20 / 1.5)
    assert 10 < np.abs(clocked.W_in).max() <= 20


def test_the_period_of_a_clock():
    plain = Topology(**{**TOPOLOGY.model_dump(), "input": 0.0})
    assert plain.clock_period(60) is None
    clocked = Topology(**{**plain.model_dump(), "clock": 2.0, "clock_shape": "ramp", "clock_ahead": 0.5})
    assert clocked.clock_period(60).shape == (60,)
    np.testing.assert_allclose(clocked.clock_period(60)[:2], [1 / 60, 3 / 60])


def test_a_clock_is_of_networks_that_generate():
    with pytest.raises(ValidationError, match="clock is of networks that generate, input of those that recognise"):
        Topology(**{**TOPOLOGY.model_dump(), "clock": 1.0})
    assert Topology(spectral_radius=1000, bias=1, gain=1).spectral_radius == 1000


def test_batches_are_taken_apart_and_put_together_again():
    weights = draw(TOPOLOGY, [1, 2, 3], outputs=2)
    assert (weights.networks, weights.nodes, weights.outputs) == (3, 30, 2)
    together = Weights.stack([weights.one(k) for k in range(3)])
    for ours, theirs in zip(together.arrays(), weights.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert together.devices is None
    np.testing.assert_array_equal(weights.repeat(2).b, np.repeat(weights.b, 2, axis=0))
    np.testing.assert_array_equal(weights.take(slice(1, 3)).w_fb, weights.w_fb[1:3])


def test_trials_of_a_network_share_its_recurrent_weights():
    weights = draw(TOPOLOGY, [1, 2])
    trials = weights.repeat(6)
    assert (trials.networks, trials.nodes, trials.W.shape) == (12, 30, (2, 30, 30))
    again = trials.repeat(2)
    assert (again.networks, len(again.W)) == (24, 2)
    np.testing.assert_array_equal(again.b, np.repeat(weights.b, 12, axis=0))


@pytest.mark.parametrize("span", [(0, 12), (0, 4), (4, 8), (3, 9), (5, 12), (7, 8)])
def test_any_trials_keep_the_weights_of_their_network(span):
    """Whatever is shared: a cut may fall between networks, or within one."""
    weights = draw(TOPOLOGY, [1, 2, 3])
    some = weights.repeat(4).take(slice(*span))
    owner = np.repeat(np.arange(3), 4)[slice(*span)]
    shared = np.repeat(some.W, some.networks // len(some.W), axis=0)
    np.testing.assert_array_equal(shared, weights.W[owner])
    np.testing.assert_array_equal(some.b, weights.b[owner])
    both = Weights.stack([some, weights])
    assert both.networks == some.networks + 3
    np.testing.assert_array_equal(both.W, np.concatenate([weights.W[owner], weights.W]))


def test_the_first_output_does_not_depend_on_how_many_follow():
    one, many = draw(TOPOLOGY, [1, 2]), draw(TOPOLOGY, [1, 2], outputs=4)
    assert one.w_fb.shape == (2, 30, 1)
    assert many.w_fb.shape == (2, 30, 4)
    assert many.w_out.shape == (2, 4, 31)
    np.testing.assert_array_equal(many.w_fb[..., 0], one.w_fb[..., 0])
    for name in ("W", "W_in", "b", "gain"):
        np.testing.assert_array_equal(getattr(many, name), getattr(one, name))
    assert np.abs(np.corrcoef(many.w_fb[0].T) - np.eye(4)).max() < 0.7


def test_the_kind_of_device_of_each_node_goes_with_its_network():
    weights = draw(TOPOLOGY.model_copy(update={"nodes": 3}), [1, 2])
    assert weights.which() is None
    mixed = weights.with_devices(np.array([[0, 1, 2], [2, 2, 0]]))
    assert mixed.which().tolist() == [0, 1, 2, 2, 2, 0]
    assert mixed.repeat(2).which().reshape(4, 3).tolist() == [[0, 1, 2], [0, 1, 2], [2, 2, 0], [2, 2, 0]]
    assert mixed.one(1).which().tolist() == [2, 2, 0]
    assert mixed.with_readout(np.ones((2, 1, 4))).devices == mixed.devices
    assert mixed.without_devices().which() is None
    # Networks of which nothing is said are of the first device.
    assert Weights.stack([weights, mixed.one(0)]).which().tolist() == [0] * 6 + [0, 1, 2]


@pytest.mark.parametrize("devices", [[0, 1, 2], [[0, 1, 2]], [[0, 1], [0, 1], [1, 1]], 0])
def test_a_device_for_each_node_of_each_network(devices):
    weights = draw(TOPOLOGY.model_copy(update={"nodes": 3}), [1, 2])
    with pytest.raises(SpinloomError, match=r"devices: expected \(networks, nodes\) = \(2, 3\), got shape"):
        weights.with_devices(devices)


def test_weights_are_a_tree_of_arrays():
    """So they are arguments of compiled functions; which devices the nodes are is a part of the form."""
    weights = draw(TOPOLOGY, [1, 2]).with_devices([[0] * 30, [1] * 30])
    leaves, form = jax.tree.flatten(weights)
    assert len(leaves) == 6
    doubled = jax.tree.unflatten(form, [2 * leaf for leaf in leaves])
    np.testing.assert_array_equal(doubled.W, 2 * weights.W)
    assert doubled.devices == weights.devices
    hash(form)
