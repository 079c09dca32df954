"""On a GPU the same code gives the same answers: full micromagnetics as OOMMF's, and a network of reduced nodes."""

import jax
import numpy as np
import pytest

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.provenance import data_folder
from spinloom.networks.loop import run
from spinloom.networks.store import load_network
from spinloom.reduced_models.model import load_model

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    """The GPU that JAX computes on."""
    if jax.default_backend() != "gpu":
        pytest.skip(f"JAX computes on {jax.default_backend()} here: no GPU, or no JAX for it")
    return jax.devices("gpu")[0]


def test_full_micromagnetics_on_a_gpu_are_as_oommf(gpu, reference):
    engine = EmbeddedEngine(reference.card, reference.tick, initial=reference.initial)
    assert engine.node.equilibria[0].devices() == {gpu}
    _, m = engine.play(np.full(len(reference.u), reference.tick), reference.u[:, None])
    assert np.abs(m[:, 0] - reference.m).max() <= 1e-5


def test_a_reduced_network_on_a_gpu_is_as_on_the_processor(gpu):
    folder = data_folder() / "reference" / "networks"
    model = load_model(folder / "model.nc")
    network, *_ = load_network(folder / "network-sine.nc")
    target = np.tile(network.f[:, None], (2, 1, 1))
    found = [on(device, model.scaled, network.weights, target) for device in (gpu, jax.devices("cpu")[0])]
    np.testing.assert_allclose(*found, rtol=0, atol=1e-9)


def on(device, node, weights, target):
    """Signals of the nodes, teacher-forced, where the device computes them."""
    with jax.default_device(device):
        _, record = run(
            jax.device_put(node, device), weights, target=target, hold=np.ones(len(target), bool), record="r"
        )
    assert record.r.devices() == {device}
    return np.asarray(record.r)
