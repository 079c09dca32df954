"""The noise that the fluctuation-dissipation theorem gives a reduced model of 0 K."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.constants import Boltzmann

from spinloom.device_models.card import MU0, load_card
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.scan import drive
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.warmed import scatter_of_a_tick, warmed

TICK, H = 7.5e-12, 8e4


@pytest.fixture(scope="module")
def law():
    """A macrospin in nothing but a field along y."""
    theta = np.array([0.1, 0.0, 0.0, 5e3, 0.0, 0.0, H, 0.0])  # damping, stiffness (2), torques (2), field (3)
    return MacrospinLaw(theta, np.eye(4, 3), np.asarray(221276.0), np.array([0.0, 0.0, 1.0]), np.asarray(5e-13), 15)


@pytest.fixture
def disc60():
    return load_card(data_folder() / "devices" / "disc60.toml")


def test_a_spin_in_a_field_comes_to_the_scatter_of_equipartition(law, disc60):
    card = disc60.at(100)
    node = warmed(law, card, (0.0, 1.0, 0.0), TICK)
    _, m = drive(node, np.zeros((400, 3000)), node.start(3000, seed=1))
    thermal = Boltzmann * card.conditions.temperature / (MU0 * card.material.Ms * card.area * card.thickness * H)
    late = m[200:]
    assert (late[..., 0] ** 2).mean() == pytest.approx(thermal, rel=0.05)
    assert (late[..., 2] ** 2).mean() == pytest.approx(thermal, rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(late, axis=-1), 1, atol=1e-6)


def test_scatter_goes_with_the_root_of_temperature_damping_and_time(disc60):
    one = scatter_of_a_tick(disc60.at(100), TICK)
    assert scatter_of_a_tick(disc60.at(400), TICK) == pytest.approx(2 * one)
    assert scatter_of_a_tick(disc60.at(100), 4 * TICK) == pytest.approx(2 * one)
    assert scatter_of_a_tick(disc60, TICK) == 0


def test_without_temperature_it_moves_as_the_law_does(law, disc60):
    u = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    quiet = ReducedNode.of(law, (0.0, 1.0, 0.0), disc60.readout.axis, TICK)
    cold = warmed(law, disc60, (0.0, 1.0, 0.0), TICK)
    np.testing.assert_allclose(drive(cold, u)[1], drive(quiet, u)[1], atol=1e-12)


def test_seeds_give_different_noise_and_the_same_again(law, disc60):
    node = warmed(law, disc60.at(300), (0.0, 1.0, 0.0), TICK)
    runs = [drive(node, np.zeros((5, 2)), node.start(2, seed=seed))[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    assert np.abs(runs[0][:, 0] - runs[0][:, 1]).max() > 1e-3
    assert jnp.isfinite(runs[0]).all()
