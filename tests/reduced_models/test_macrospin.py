"""The calibrated macrospin: an estimator that finds the constants of a macrospin again."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from spinloom.device_models.calibration import Protocol, calibrate
from spinloom.device_models.card import MU0
from spinloom.device_models.engines.demag import demag_factors, demag_tensor
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.llg import spin_torque_field
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.macrospin import MacrospinLaw, MacrospinModel
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.rollout import RolloutScore, simulate, single_ticks

TICK = 7.5e-12


@parametrize_with_checks([MacrospinModel()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def macrospin_card(disc, alter):
    """One flat cell: the engine itself is then a macrospin, with the demagnetising factors of the cell."""
    size = (20e-9, 20e-9, 2e-9)
    return alter(
        disc,
        geometry={"shape": "box", "size": size, "cell": size},
        material={"alpha": 0.07},
        bias={"H": (1500.0, 6000.0, -2500.0)},
        torque={"eps_prime": 0.05},
    )


@pytest.fixture(scope="module")
def trajectories(macrospin_card):
    protocol = Protocol(trajectories=12, duration=1e-9, seed=4, grades=())
    return calibrate(macrospin_card, EmbeddedEngine(macrospin_card, TICK), protocol)


def test_recovers_the_constants_of_a_macrospin(trajectories, macrospin_card):
    X, y, _ = single_ticks(*(trajectories[name].values for name in ("m", "u", "m_start")))
    model = MacrospinModel(tick=TICK, alpha=0.2, stiffness=4e5, damping_like=3e3).fit(X, y)
    assert model.alpha_ == pytest.approx(0.07, rel=1e-3)
    np.testing.assert_allclose(model.H_, macrospin_card.bias.H, rtol=2e-3)
    factors = demag_tensor((1, 1, 1), macrospin_card.geometry.cell)[:3, 0, 0, 0]
    assert model.stiffness_[2] == pytest.approx(8e5 * (factors[2] - factors[1]), rel=1e-3)
    assert abs(model.stiffness_[0]) < 1e-3 * model.stiffness_[2]
    beta = spin_torque_field(macrospin_card)
    assert model.damping_like_ == pytest.approx(beta * 0.4 / 2, rel=1e-3)
    assert model.field_like_ == pytest.approx(beta * 0.05, rel=1e-2)
    np.testing.assert_allclose(model.readout_, np.eye(4, 3), atol=1e-3)


@pytest.fixture(scope="module")
def fitted(trajectories):
    return fit_model(trajectories, "macrospin")


def test_roll_out_follows_a_macrospin(fitted, trajectories):
    assert fitted.holdout_nrmse < 1e-2
    u = trajectories["u"].values[0]
    np.testing.assert_allclose(fitted.simulate(u), trajectories["m"].values[0], atol=1e-2)


def kittel(m, alpha, stiffness, H):
    """Natural frequency (Hz) and quality at an equilibrium in any direction.

    Across m0 the field turns m like a spring of matrix P K P + (m0 . h): omega_0^2 = gamma^2 det / (1 + alpha^2)
    and kappa = alpha gamma trace / (2 (1 + alpha^2)).
    """
    gamma, m = MacrospinModel().gamma0, m / np.linalg.norm(m)
    across = np.linalg.svd(m[None])[2][1:]
    spring = across @ np.diag(stiffness) @ across.T + (m @ (H - stiffness * m)) * np.eye(2)
    omega = gamma * np.sqrt(np.linalg.det(spring) / (1 + alpha**2))
    kappa = alpha * gamma * np.trace(spring) / (2 * (1 + alpha**2))
    return omega / (2 * np.pi), omega / (2 * kappa)


def test_it_rings_as_kittel_says(fitted, macrospin_card):
    """By the constants that were fitted, and by those of the card."""
    scale, estimator = fitted.scale, fitted.estimator
    frequency, quality = kittel(fitted.m_start, estimator.alpha_, estimator.stiffness_, estimator.H_)
    assert scale.resonance == pytest.approx(frequency, rel=1e-3)
    assert scale.quality == pytest.approx(quality, rel=1e-3)
    factors = demag_tensor((1, 1, 1), macrospin_card.geometry.cell)[:3, 0, 0, 0]
    frequency, quality = kittel(
        fitted.m_start, 0.07, macrospin_card.material.Ms * (factors - factors[1]), macrospin_card.bias.H
    )
    assert scale.resonance == pytest.approx(frequency, rel=3e-3)
    assert scale.quality == pytest.approx(quality, rel=3e-3)


def test_before_calibration_the_card_speaks(macrospin_card):
    model = MacrospinModel.from_card(macrospin_card, TICK)
    assert model.alpha == 0.07
    assert model.H == macrospin_card.bias.H
    assert model.polariser == (0, 0, 1)
    assert model.damping_like > model.field_like > 0
    assert clone(model).get_params() == model.get_params()


def test_not_fitted():
    with pytest.raises(NotFittedError):
        MacrospinModel().predict(np.ones((2, 4)))


def test_grid_search_by_roll_out(trajectories):
    m, u = (trajectories[name].values[:4] for name in ("m", "u"))
    X, y, groups = single_ticks(m, u, trajectories["m_start"].values)
    found = GridSearchCV(
        MacrospinModel(tick=TICK),
        {"stiffness": [4e5, 7e5]},
        scoring=RolloutScore(m.shape[1]),
        cv=GroupKFold(2),
        error_score="raise",
    ).fit(X, y, groups=groups)
    assert found.best_score_ > -0.05


def test_simulate_is_predict_tick_by_tick(trajectories):
    X, y, _ = single_ticks(*(trajectories[name].values for name in ("m", "u", "m_start")))
    model = MacrospinModel(tick=TICK).fit(X[:500], y[:500])
    u = np.random.default_rng(6).uniform(-1, 1, (7, 2))
    rolled = simulate(model, u, trajectories["m_start"].values)
    m = np.broadcast_to(trajectories["m_start"].values, (2, 3))
    for tick in range(7):
        m = model.predict(np.column_stack([m, u[tick]]))
        np.testing.assert_allclose(rolled[tick], m, atol=1e-12)


def ringing(card):
    tick = 1e-12
    law = MacrospinLaw.of_card(card, tick, 2)
    return ReducedNode.of(law, card.start.m, card.readout.axis, tick).ringing()


@pytest.mark.parametrize("Ku", [0.0, 1e5])
def test_an_uncalibrated_layer_rings_as_kittel_says(disc, alter, Ku):
    """In plane: gamma0 / (2 pi) sqrt(H (H + (Nz - Ny) Ms - 2 Ku / (mu0 Ms))), whatever calibration would say."""
    card = alter(disc, geometry={"cell": (10e-9, 10e-9, 2e-9)}, material={"Ku": Ku, "alpha": 0.02})
    H, Ms = card.bias.H[1], card.material.Ms
    _, y, z = demag_factors(card.geometry)
    out_of_plane = H + (z - y) * Ms - 2 * Ku / (MU0 * Ms)
    expected = card.material.gamma0 / (2 * np.pi) * np.sqrt(H * out_of_plane)
    frequency, quality = ringing(card)
    assert frequency == pytest.approx(expected, rel=1e-3)  # damping takes alpha^2 / 2 of it
    assert quality == pytest.approx(np.sqrt(H * out_of_plane) / (0.02 * (H + out_of_plane)), rel=1e-3)


def test_an_elliptic_layer_is_stiffer_along_its_short_axis(disc, alter):
    card = alter(disc, geometry={"size": (40e-9, 80e-9, 2e-9), "cell": (10e-9, 10e-9, 2e-9)})
    x, y, z = np.array(demag_factors(card.geometry)) * card.material.Ms
    H = card.bias.H[1]
    expected = card.material.gamma0 / (2 * np.pi) * np.sqrt((H + x - y) * (H + z - y) / (1 + card.material.alpha**2))
    assert ringing(card)[0] == pytest.approx(expected, rel=1e-4)


def test_without_calibration_one_cell_moves_as_the_engine_says(trajectories, macrospin_card):
    law = MacrospinLaw.of_card(macrospin_card, TICK)
    node = ReducedNode.of(law, trajectories["m_start"].values, (1, 0, 0), TICK)
    _, m = drive(node, trajectories["u"].values.T)
    np.testing.assert_allclose(m.swapaxes(0, 1), trajectories["m"].values, atol=2e-4)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"material": {"Ku": 1e5, "Ku_axis": (0, 1, 1)}}, "material.Ku_axis: expected x, y or z for a macrospin, got"),
        ({"torque": {"Lambda": 2.0}}, "torque: expected Lambda = 1 and no Oersted field .*, got Lambda = 2, "),
        (
            {"torque": {"oersted": "up"}},
            "torque: expected Lambda = 1 and no Oersted field .*oersted = 'up'",
        ),
    ],
)
def test_what_one_spin_cannot_stand_for_is_refused(disc, alter, parts, message):
    with pytest.raises(SpinloomError, match=message):
        MacrospinLaw.of_card(alter(disc, **parts), TICK)
