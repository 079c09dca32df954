"""What every node checks of what it is given."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node, as_cards, which_devices, with_channels


def test_inputs_without_an_axis_of_channels_are_drives():
    u = np.random.default_rng(0).uniform(-1, 1, (7, 3))
    inputs = with_channels(u, ("drive", "field"))
    assert inputs.shape == (7, 3, 2)
    np.testing.assert_array_equal(inputs[..., 0], u)
    assert not inputs[..., 1].any()
    np.testing.assert_array_equal(with_channels(inputs, ("drive", "field")), inputs)


@pytest.mark.parametrize("shape", [(7,), (7, 3, 3), (7, 3, 0), (7, 3, 1, 1)])
def test_inputs_of_another_form_are_told(shape):
    with pytest.raises(SpinloomError, match=r"inputs: expected .* at most 2 channels \(drive, field\), got shape \(7,"):
        with_channels(np.zeros(shape), ("drive", "field"))


def test_all_are_the_first_device_if_nothing_is_said():
    assert which_devices(3, None, 2).tolist() == [0, 0, 0]
    assert which_devices(3, [1, 0, 1], 2).tolist() == [1, 0, 1]
    assert which_devices(0, [], 2).tolist() == []


@pytest.mark.parametrize("devices", [[0, 1], [[0, 1, 0]], 1])
def test_a_device_for_each_node(devices):
    with pytest.raises(SpinloomError, match="devices: expected one for each of 3 nodes, got shape"):
        which_devices(3, devices, 2)


@pytest.mark.parametrize("devices", [[0, 2, 1], [-1, 0, 1]])
def test_devices_that_the_node_does_not_know(devices):
    with pytest.raises(SpinloomError, match=f"from 0 to 1, got {min(devices)} to {max(devices)}; .*as many devices"):
        which_devices(3, devices, 2)


def test_cards_are_one_or_several(disc):
    assert as_cards(disc) == as_cards([disc]) == (disc,)
    assert as_cards(iter([disc, disc])) == (disc, disc)
    with pytest.raises(SpinloomError, match="cards: expected at least one device"):
        as_cards([])


def test_what_a_network_asks_for_is_a_protocol(low_pass, plain_low_pass):
    assert isinstance(low_pass, Node)
    assert isinstance(plain_low_pass, Node)
    assert not isinstance(object(), Node)
