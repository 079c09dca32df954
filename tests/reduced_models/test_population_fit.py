"""One model of a population, judged on devices that it has not seen; the truth is a macrospin of each device."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from spinloom.device_models.calibration import Protocol
from spinloom.device_models.card import load_card, parse_card
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import advance, drive
from spinloom.device_models.spread import PARAMETERS, vary
from spinloom.reduced_models import population_fit
from spinloom.reduced_models.macrospin import MacrospinLaw, MacrospinModel
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.population import Population
from spinloom.reduced_models.population_fit import fit_population, fit_up_to
from spinloom.reduced_models.rollout import nrmse

TICK, TICKS = 7.5e-12, 100
DEVIATION = 0.05
CANDIDATES = [{"degree": [3], "coordinate_degree": [1, 2]}]
WARM = [{"degree": [3], "coordinate_degree": [1], "ridge": [1e-6, 1e-4]}]


def member(nominal, **by):
    """A device by its relative deviations."""
    return vary(nominal, [by.get(name, 0.0) for name in PARAMETERS])


def draw(nominal, n, width, seed):
    deviations = width * DEVIATION * np.random.default_rng(seed).standard_normal((n, len(PARAMETERS)))
    return [vary(nominal, row) for row in deviations]


def macrospins(cards):
    """What the truth is: macrospins whose shape has a say in their stiffness, at rest."""
    laws = []
    for card in cards:
        start = MacrospinModel.from_card(card, TICK)
        proportions = (card.thickness / card.geometry.size[0] * 30) ** -0.1
        torques = [start.damping_like, start.field_like]
        theta = np.array([start.alpha, 0.0, start.stiffness * proportions, *torques, *start.H])
        p = np.array(start.polariser)
        laws.append(MacrospinLaw(theta, np.eye(4, 3), np.asarray(start.gamma0), p, np.asarray(TICK / 5), 5))
    node = ReducedNode.stack([ReducedNode.of(law, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), TICK) for law in laws])
    _, m = drive(node, np.zeros((1500, len(cards))), node.start(len(cards), devices=np.arange(len(cards))))
    return replace(node, m_start=m[-1])


@jax.jit
def _hot(fixed, m, row):
    node, which, size = fixed
    u, normals = row
    m = node.moment(node.step(node.at(m, which), u[:, None])) + size[:, None] * normals
    m = m / (m**2).sum(axis=1, keepdims=True) ** 0.5
    return m, m


def played(nominal, cards, held_out, each=2, seed=0, amplitude=None):
    """Trajectories of some devices; warm ones are shaken as Brown's field would."""
    n = each * len(cards)
    amplitude = np.ones(n) if amplitude is None else amplitude
    u = amplitude[:, None] * Protocol(trajectories=n, duration=TICKS * TICK, grades=(), seed=seed).drives()
    node, which = macrospins(cards), np.repeat(np.arange(len(cards)), each)
    kelvin = nominal.conditions.temperature
    volume = np.array([np.prod(np.array(card.geometry.size) / 60e-9) * card.material.Ms / 8e5 for card in cards])
    size = np.sqrt([kelvin / 300 * card.material.alpha for card in cards] / volume)[which] * 2e-3
    normals = np.random.default_rng(seed).standard_normal((TICKS, n, 3))
    _, m = advance(_hot, (node, which, size), np.asarray(node.m_start)[which], (u.T, normals), chunk=TICKS)
    return Population(
        nominal=nominal,
        tick=TICK,
        cards=[cards[i] for i in which],
        m=m.swapaxes(0, 1),
        u=u,
        m_start=np.asarray(node.m_start)[which],
        amplitude=amplitude,
        held_out=np.asarray(held_out)[which],
    )


@pytest.fixture(scope="module")
def nominal():
    """A disc whose bias is tilted, so that devices rest in different places; it does not switch at J_max."""
    values = load_card("data/devices/disc60.toml").model_dump()
    values["bias"]["H"] = (0.0, 2e4, 5e4)
    return parse_card(values)


@pytest.fixture(scope="module")
def data(nominal):
    cards = [*draw(nominal, 60, 1.5, 0), *draw(nominal, 10, 1.0, 1)]
    return played(nominal, cards, np.arange(70) >= 60)


@pytest.fixture(scope="module")
def fit(data):
    return fit_population(data, CANDIDATES)


def test_devices_that_were_not_shown_are_good(fit):
    assert len(fit.errors) == 10
    assert fit.worst < 0.01
    assert fit.median < 0.003
    assert fit.curve == [{"amplitude": 1.0, "worst": fit.worst, "median": fit.median}]
    assert fit.estimator.coordinate_degree == 2
    assert {"degree", "coordinate_degree"} <= set(fit.search[0]["params"])


def test_the_nominal_model_would_not_do(fit, data):
    unseen = data.of(data.unseen)
    nominal = fit.node([data.nominal])
    _, m = drive(nominal, unseen.u.T)
    assert np.median(nrmse(m, unseen.m.swapaxes(0, 1))) > 0.1


def test_a_node_of_devices_rests_and_moves_as_they_do(fit, nominal):
    cards = draw(nominal, 5, 1.0, 7)
    truth, node = macrospins(cards), fit.node(cards)
    assert np.ptp(np.asarray(truth.m_start), axis=0).max() > 0.01
    np.testing.assert_allclose(node.m_start, truth.m_start, atol=1e-3)
    u = np.random.default_rng(2).uniform(-1, 1, (20, 5)).repeat(10, axis=0)
    rolled, full = (drive(one, u, one.start(5, devices=np.arange(5)))[1] for one in (node, truth))
    assert nrmse(np.asarray(rolled), np.asarray(full)).max() < 0.01


def test_rows_are_scaled_drives_and_coordinates(data):
    X, y, groups = data.rows(first=3)
    assert X.shape == (140 * (TICKS - 3), 9)
    np.testing.assert_array_equal(y[0], data.m[0, 3])
    np.testing.assert_array_equal(X[0, :3], data.m[0, 2])
    assert X[0, 3] == data.scale[0] * data.u[0, 3]
    np.testing.assert_array_equal(groups, np.arange(70).repeat(2 * (TICKS - 3)))
    np.testing.assert_array_equal(data.rows()[0][:: 2 * TICKS, :3], data.m_start[::2])


def test_every_fifth_device_is_held_out_unless_said(data):
    unseen = replace(data, held_out=None).unseen
    np.testing.assert_array_equal(np.unique(data.device[unseen]), np.arange(4, 70, 5))
    np.testing.assert_array_equal(data.of(unseen).device, np.arange(14).repeat(2))


def test_devices_that_differ_in_resistance_alone_are_two(nominal):
    one, other = (played(nominal, [member(nominal), member(nominal, RA=by)], [False, True]) for by in (0.1, 0.0))
    assert (one.devices, other.devices) == (2, 1)


def test_the_reach_is_where_all_unseen_devices_are_good(data):
    amplitude = np.tile([1.0, 0.5], len(data.u) // 2)
    m = data.m.copy()
    rough = np.flatnonzero(amplitude == 1)
    m[rough] += 0.02 * np.random.default_rng(0).standard_normal(m[rough].shape)
    graded = fit_population(replace(data, m=m, amplitude=amplitude), CANDIDATES)
    assert graded.amplitude == 0.5
    assert graded.worst <= 0.01 < graded.curve[-1]["worst"]
    assert [point["amplitude"] for point in graded.curve] == [0.5, 1.0]


@pytest.mark.slow
def test_a_warm_population_is_judged_by_its_noise(nominal):
    hot = nominal.at(300)
    cards = [*draw(hot, 40, 1.5, 0), *draw(hot, 4, 1.0, 1), member(hot, diameter=0.1, thickness=0.1, alpha=-0.2)]
    data = played(hot, cards, np.arange(45) >= 40, each=12)
    fit = fit_population(data, WARM)
    assert len(fit.judged) == len(fit.errors) == 5
    assert fit.worst < 0.08
    assert max(abs(one.rms - 1) for one in fit.judged) < 0.05
    # What was fitted to the nominal noise would be off on the last of them.
    last = data.of(data.device == 44)
    assert abs(population_fit.judge(fit.estimator.device(last.where[0] * 0), last.m, last.u).rms - 1) > 0.1
    node = fit.node(cards[:3])
    assert node.start(3, devices=[0, 1, 2]).noise is not None


def test_too_few_devices_are_told(nominal):
    few = played(nominal, draw(nominal, 11, 1.0, 0), np.arange(11) >= 9)
    with pytest.raises(SpinloomError, match="expected at least 10 devices to fit to and one .* got 9 and 2"):
        fit_population(few)


def test_shapes_that_do_not_fit_are_told(data):
    with pytest.raises(SpinloomError, match=r"m_start: expected the shape \(140, 3\) .* got \(3,\)"):
        replace(data, m_start=data.m_start[0])
    with pytest.raises(SpinloomError, match=r"cards: expected the shape \(140,\)"):
        replace(data, cards=data.cards[:5])


def test_a_device_that_does_not_rest_is_told(fit, nominal, monkeypatch):
    monkeypatch.setattr(population_fit, "_settled", lambda node: (np.zeros((2, 3)), np.array([True, False])))
    with pytest.raises(SpinloomError, match="<m> of disc60 does not come to rest without a drive"):
        fit.node([nominal, nominal])


def test_a_card_of_another_kind_is_refused(fit, nominal):
    with pytest.raises(SpinloomError, match=r"conditions.temperature: expected 0.0"):
        fit.node([nominal.at(300)])


def test_progress_is_told(data):
    told = []
    fit_population(data.of(data.device % 3 > 0), CANDIDATES, told.append)
    assert sum(told) == pytest.approx(1)


def test_a_fit_to_less_is_of_less(data):
    amplitude = np.tile([1.0, 0.5], len(data.u) // 2)
    assert fit_up_to(replace(data, amplitude=amplitude), 0.5, CANDIDATES).amplitude == 0.5
