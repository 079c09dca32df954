"""Networks that share nodes and input run as one, and do what each does alone."""

from dataclasses import replace

import numpy as np
import pytest

from spinloom.networks.store import TrainedNetwork
from spinloom.networks.together import Together
from spinloom.networks.topology import Topology, draw
from spinloom.networks.trials import generate

TICKS = 12


def trained(seed, name, feedback=0.0, clock=2.0, devices=None):
    topology = Topology(nodes=5, spectral_radius=0.6, feedback=feedback, bias=0.5, gain=0.8, clock=clock)
    weights = draw(topology, [seed])
    rng = np.random.default_rng([seed, *name.encode()])
    weights = weights.with_readout(rng.standard_normal(weights.w_out.shape))
    if devices is not None:
        weights = weights.with_devices([devices])
    f = rng.standard_normal((TICKS, 1))
    return TrainedNetwork("generate", name, weights, TICKS, f, clock=topology.clock_period(TICKS))


@pytest.mark.parametrize(
    ("networks", "groups"),
    [
        ([trained(0, "a"), trained(0, "b"), trained(0, "c")], 1),
        ([trained(0, "a"), trained(1, "a"), trained(0, "b"), trained(1, "b")], 2),
        ([trained(0, "a"), trained(0, "b"), trained(1, "a")], 3),
        ([trained(0, "a", feedback=0.3), trained(0, "b", feedback=0.3)], 2),
        ([trained(0, "a"), trained(0, "b", clock=0.0)], 2),
        ([trained(0, "a", devices=[0] * 5), trained(0, "b", devices=[0, 1, 0, 0, 0])], 2),
    ],
    ids=["one chip", "two chips", "uneven", "feedback", "clock", "devices"],
)
def test_only_networks_that_differ_in_their_read_out_alone_are_joined(networks, groups):
    assert Together.of(networks).weights.networks == groups


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1, 0, 1)])
def test_outputs_are_those_of_each_alone(low_pass, seeds):
    networks = [trained(seed, name) for seed, name in zip(seeds, "abcd", strict=False)]
    group = Together.of(networks).repeated(3)
    joint = generate(low_pass, group.weights, group.f, 3, 2, clock=group.clock, record="r")
    z, r = group.outputs_of_each(joint.z), group.of_each(joint.record.r)
    assert z.shape == (3, 3 * TICKS, len(networks), 1)
    for k, network in enumerate(networks):
        alone = generate(low_pass, network.weights, network.f, 3, 2, clock=network.clock, record="r")
        for again in z:
            np.testing.assert_allclose(again[:, k], alone.z[:, 0], atol=1e-12)
        np.testing.assert_allclose(r[:, k], alone.record.r[:, 0], atol=1e-12)
        np.testing.assert_array_equal(group.outputs_of_each(group.f)[0, :, k], network.f)


def test_networks_without_any_clock_stay_without():
    networks = [replace(trained(0, name, clock=0.0), clock=None) for name in "ab"]
    assert Together.of(networks).clock is None
