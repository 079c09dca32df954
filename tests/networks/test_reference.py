"""OOMMF's record of networks is given for those very networks, and for no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.networks import reference
from spinloom.networks.record import make_record, save_record
from spinloom.networks.reference import recorded
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.networks.trials import generate

TOPOLOGY = Topology(nodes=4, spectral_radius=0.9, feedback=1.0, bias=0.4, gain=1.3)


@pytest.fixture
def networks(tmp_path, low_pass, monkeypatch):
    """Two networks, shipped with a record of four periods."""
    weights, f = draw(TOPOLOGY, [0, 1]), np.random.default_rng(0).normal(size=(20, 1))
    shipped = [TrainedNetwork("generate", f"n{k}", weights.one(k), 20, f) for k in range(2)]
    (tmp_path / "model.nc").write_bytes(b"a model")
    for network in shipped:
        save_network(network, tmp_path / f"network-{network.name}.nc", tmp_path / "model.nc")
    run = generate(low_pass, Weights.stack([network.weights for network in shipped]), f, 4, 1, record="all")
    record = make_record(shipped, Scale(), 1e-11, {"full": run, "reduced": run})
    save_record(record.assign_attrs(engine="oommf"), tmp_path / "cosimulation.nc")
    monkeypatch.setattr(reference, "reference_networks", lambda: tmp_path)
    return shipped


def test_the_record_of_some_networks_and_periods(networks):
    record = recorded([networks[1]], 3)
    assert record["network"].values.tolist() == ["n1"]
    assert record.sizes["tick"] == 60
    assert record.attrs["engine"] == "oommf"
    assert recorded(networks[::-1], 100)["network"].values.tolist() == ["n1", "n0"]
    assert recorded(networks, 100).sizes["tick"] == 80


def test_weights_may_differ_in_the_last_digits(networks):
    weights = networks[0].weights
    close = replace(networks[0], weights=weights.with_readout(weights.w_out + 1e-7))
    assert recorded([close], 1).sizes["tick"] == 20


def test_other_networks_are_refused(networks):
    weights = networks[0].weights
    other = replace(networks[0], weights=weights.with_readout(weights.w_out + 1e-3))
    with pytest.raises(SpinloomError, match="n0 is not the network that OOMMF's record is of"):
        recorded([other], 1)
    with pytest.raises(SpinloomError, match="OOMMF's record holds n0, n1, not square"):
        recorded([replace(networks[0], name="square")], 1)


def test_the_shipped_networks_are_in_the_form_that_is_read():
    record = reference.load_record(reference.reference_networks() / "cosimulation.nc")
    assert {"z_full", "r_full", "u_full", "z_reduced", "r_reduced", "f", "outside_share"} <= set(record.data_vars)
    for name in record["network"].values:
        network, _ = reference.load_network(reference.reference_networks() / f"network-{name}.nc")
        assert network.alike(network, 0.0)
