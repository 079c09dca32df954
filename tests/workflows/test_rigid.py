"""Networks of rigid layers: equal ones do the same, what they cost follows from their conductance, noise adds error."""

import numpy as np
import pytest

from spinloom.device_models.engines.demag import demag_factors
from spinloom.device_models.readout import junction_power
from spinloom.device_models.spread import PARAMETERS, Spread, chip, vary
from spinloom.networks.topology import Topology
from spinloom.workflows import rigid as module
from spinloom.workflows.rigid import TICKS, factors_of, generated, networks, power, recognised, rigid, targets

TOPOLOGY = Topology(nodes=5, spectral_radius=0.9, bias=1.0, gain=1.2, clock=3.2)
PERIOD = 0.45e-9
TASKS = ["sine", "triangle"]


@pytest.fixture(scope="module", autouse=True)
def short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HOW", module.HOW.model_copy(update={"teacher_periods": 12}))
        patch.setattr(module, "JUDGED", 10)
        yield


@pytest.fixture(scope="module")
def three(large_card):
    """Three devices: two are equal, the last is at 300 K."""
    cards = [large_card, large_card, large_card.at(300)]
    return rigid(cards, [PERIOD] * 3), cards


@pytest.fixture(scope="module")
def outcome(three):
    devices, cards = three
    return generated(devices, cards, networks(TOPOLOGY, [3], len(TASKS), [0, 1, 2]), TASKS)


def test_equal_devices_have_equal_units(three):
    devices, _ = three
    np.testing.assert_allclose(devices.node.m_start, np.tile([0, 1, 0], (3, 1)), atol=1e-9)
    assert devices.stable.tolist() == [True, True, True]
    assert devices.spread[0] == pytest.approx(devices.spread[1], rel=1e-12)
    assert devices.mean[0] == pytest.approx(devices.mean[1], rel=1e-12)
    assert devices.spread[2] > devices.spread[0] > 0.05


def test_networks_of_equal_devices_do_the_same(outcome):
    np.testing.assert_allclose(outcome.nrmse[1], outcome.nrmse[0], rtol=1e-9)
    assert outcome.power[1] == pytest.approx(outcome.power[0], rel=1e-9)
    assert outcome.nrmse.shape == (3, 2)
    assert (outcome.nrmse < 0.6).all()


def test_noise_costs_error_and_no_power(outcome):
    assert (outcome.nrmse[2] > 1.3 * outcome.nrmse[0]).all()
    assert outcome.power[2] == pytest.approx(outcome.power[0], rel=0.05)


def test_a_device_that_does_not_stay_is_not_stable(large_card, alter):
    small = {"size": (20e-9, 20e-9, 2e-9), "cell": (20e-9, 20e-9, 2e-9)}
    free = alter(large_card, geometry=small, bias={"H": (0, 400.0, 0)})
    assert rigid([free.at(300), large_card.at(300), free], [PERIOD] * 3).stable.tolist() == [False, True, True]


def test_the_power_is_that_of_all_junctions(large_card, three):
    devices, _ = three
    wide = vary(large_card, 0.2 * np.eye(len(PARAMETERS))[0] + 0.3 * np.eye(len(PARAMETERS))[5])
    cards, rng = [large_card, wide, large_card], np.random.default_rng(0)
    weights = networks(TOPOLOGY, [0], 1, [0, 1])
    u, r = rng.uniform(-1, 1, (7, 2, 5)), rng.uniform(-2, 2, (7, 2, 5))
    signal = devices.mean[:2, None] + devices.spread[:2, None] * r
    expected = [junction_power(card, u[:, k], signal[:, k]).mean(axis=0).sum() for k, card in enumerate(cards[:2])]
    np.testing.assert_allclose(power(cards, u, devices, r, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_demagnetisation_of_a_chip_is_that_of_each_mesh(large_card, alter, spread):
    card = alter(large_card, geometry={"cell": (10e-9, 10e-9, 2e-9)})
    cards = chip(card, Spread.uniform(spread), 30, 1)
    found = factors_of(list(cards))
    np.testing.assert_allclose(found, [demag_factors(one.geometry) for one in cards], atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-8)


def test_demagnetisation_of_layers_of_several_forms_keeps_their_order(large_card, alter):
    flat = alter(large_card, geometry={"size": (100e-9, 100e-9, 1e-9), "cell": (50e-9, 50e-9, 1e-9)})
    box = alter(large_card, geometry={"shape": "box", "size": (100e-9, 50e-9, 2e-9), "cell": (50e-9, 25e-9, 2e-9)})
    cards = [large_card, box, flat, *(chip(large_card, Spread(thickness=0.05), 8, 0)), box]
    np.testing.assert_allclose(factors_of(cards), [demag_factors(one.geometry) for one in cards], atol=1e-8)


def test_one_period_of_all_tasks_side_by_side():
    f = targets(["sine", "square"])
    assert f.shape == (TICKS, 2)
    np.testing.assert_allclose(f[:, 0], np.sin(2 * np.pi * np.arange(1, TICKS + 1) / TICKS), atol=1e-12)
    assert set(f[:, 1]) == {-1.0, 1.0}


def test_quiet_devices_hear_what_noisy_ones_do_not(three):
    devices, _ = three
    topology = Topology(nodes=5, spectral_radius=0.31, input=2.0, bias=1.0, gain=0.5)
    found = recognised(devices, networks(topology, [1], 4, [0, 2]), periods=2, trials=40)
    assert found.shape == (2,)
    assert found[0] > 0.9
    assert 0.25 < found[1] < found[0]
