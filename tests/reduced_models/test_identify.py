"""A device is found from its signals in full micromagnetics."""

from __future__ import annotations

from contextlib import nullcontext

import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import PARAMETERS, Spread, vary
from spinloom.reduced_models.identify import Tolerance, free_parameters, identify, played, rotation
from spinloom.reduced_models.observation import Chain, observe

TICK = 1e-11


@pytest.fixture(scope="module")
def card(alter, coarse_card):
    """Rigid: of one cell."""
    return alter(coarse_card, geometry={"cell": (60e-9, 60e-9, 2e-9)})


@pytest.fixture(scope="module")
def opened(rigid_engine):
    return lambda cards: nullcontext(rigid_engine(cards, TICK))


@pytest.fixture(scope="module")
def drives():
    return np.stack([calibration_drive("holds", 160, TICK, np.random.default_rng(k)) for k in range(4)])


def answer(opened, card, u, chain, ticks):
    with opened([card]) as engine:
        _, m = engine.play(np.full(u.shape[1], TICK), u.T)
    y = np.asarray(observe(chain, jnp.asarray(m[-ticks - 1 :] @ np.array([1.0, 0, 0])))).T
    return m[-ticks - 1], y


def test_a_device_and_its_read_out_are_found(card, drives, opened):
    by = np.zeros(len(PARAMETERS))
    by[PARAMETERS.index("alpha")], by[PARAMETERS.index("bias")] = 0.08, -0.06
    true, chain = vary(card, by), Chain(1.06, -0.03, 0.5)
    starts, y = answer(opened, true, drives, chain, 80)
    tolerance = Tolerance(Spread(alpha=0.1, bias=0.1, offset=0.1), gain=0.1, delay=1e-11)
    noisy = y + np.random.default_rng(0).normal(0, 0.01, y.shape)
    found = identify(card, tolerance, drives[:, -80:], noisy, starts + 0.02, TICK, opened)
    assert found.names == ("alpha", "bias", "gain", "offset", "delay")
    expected = np.array([0.08, -0.06, 0.06, -0.03, 5e-12])
    assert (np.abs(found.values - expected) < 4 * found.found).all()
    assert (found.found < 0.3 * found.known).all()
    assert found.miss == pytest.approx(0.01, rel=0.15)
    assert found.card.material.alpha == pytest.approx(true.material.alpha, rel=0.03)
    assert found.card.name == "disc60-measured"


def test_what_a_signal_does_not_tell_stays_uncertain(card, drives, opened):
    """Polarisation and thickness say nearly the same in a torque: together they are known, each alone is not."""
    starts, y = answer(opened, card, drives, Chain(), 80)
    noisy = y + np.random.default_rng(0).normal(0, 0.05, y.shape)
    tolerance = Tolerance(Spread(P=0.1, thickness=0.1), 0, 0)
    found = identify(card, tolerance, drives[:, -80:], noisy, starts, TICK, opened)
    assert found.names == ("thickness", "P")
    assert found.found.min() > 0.03
    assert abs(found.values[0] - found.values[1]) < 0.02


def test_devices_begin_where_they_are_told(card, drives, opened):
    starts = np.array([[1.0, 0.2, 0.0], [0.0, -1.0, 0.1]])
    with opened([card]) as engine:
        m = played(engine, drives[:2, :2], starts)
    assert m.shape == (2, 3, 3)
    along = (m[:, 0] / np.linalg.norm(m[:, 0], axis=1)[:, None] * starts / np.linalg.norm(starts, axis=1)[:, None]).sum(
        1
    )
    np.testing.assert_allclose(along, 1)


@pytest.mark.parametrize("b", [(1, 0, 0), (0, 1, 0), (0, -1, 0), (0.3, -0.9, 0.1)])
def test_rotations(b):
    a, b = np.array([0, 2.0, 0]), np.array(b, dtype=float)
    R = rotation(a, b)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    np.testing.assert_allclose(R @ a / 2, b / np.linalg.norm(b), atol=1e-12)


def test_only_what_a_card_has_is_free(disc, alter):
    assert free_parameters(disc, Tolerance(Spread.uniform(0.1))) == (
        "diameter", "thickness", "Ms", "alpha", "P", "bias"
    )  # fmt: skip
    pma = alter(disc, material={"Ku": 1e5}, bias={"H": (0, 0, 0)})
    assert free_parameters(pma, Tolerance(Spread(Ku=0.1, bias=0.1))) == ("Ku",)


def test_signals_that_are_no_numbers_are_told(card, drives, opened):
    y, starts = np.full((4, 20), np.nan), np.tile([0, 1.0, 0], (4, 1))
    with pytest.raises(SpinloomError, match="traces: no device near disc60 explains them"):
        identify(card, Tolerance(Spread(alpha=0.1), 0, 0), drives[:, :20], y, starts, TICK, opened)
