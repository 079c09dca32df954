"""Networks whose input chooses what they generate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import Record
from spinloom.networks.patterns import Choosing, Chosen, choose, learn_patterns, levels, programme, tour
from spinloom.networks.tasks import PLANE, target
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.baselines import Leaky, in_units

TICKS = 24
PHASE = 2 * np.pi * (np.arange(TICKS) + 1) / TICKS
WAVES = np.sin(np.stack([PHASE, 2 * PHASE]))[..., None]


@pytest.mark.parametrize("patterns", [2, 3, 4, 7])
def test_a_tour_makes_every_switch_once(patterns):
    order = tour(patterns)
    switches = list(itertools.pairwise([*order, order[0]]))
    assert sorted(switches) == sorted(itertools.permutations(range(patterns), 2))


def test_a_programme_holds_the_level_of_what_it_asks_for():
    asked = programme(WAVES, 2, 3)
    assert asked.which.tolist() == 2 * [0, 0, 0, 1, 1, 1]
    for period, k in enumerate(asked.which):
        ticks = slice(period * TICKS, (period + 1) * TICKS)
        np.testing.assert_array_equal(asked.target[ticks], WAVES[k])
        np.testing.assert_array_equal(asked.s[ticks], levels(2)[k])


def test_one_pattern_is_nothing_to_choose_from():
    with pytest.raises(SpinloomError, match="two or more to choose from, got 1"):
        programme(WAVES[:1], 1, 2)


@pytest.mark.parametrize("name", PLANE)
def test_patterns_of_the_plane_close_at_the_same_point(name):
    f = target(name, 60)
    np.testing.assert_allclose(f[-1], [1, 0], atol=1e-12)
    assert np.abs(f).max() <= 1
    assert target("circle", 8)[1].tolist() == pytest.approx([0, 1])


@pytest.fixture(scope="module")
def learned():
    """Leaky integrators of two seeds, which learn a tone and its octave."""
    node = in_units(Leaky.of(0.3, 1e-11))
    topology = Topology(nodes=24, spectral_radius=0.9, feedback=1.0, bias=0.6, gain=0.8, input=0.5)
    how = Choosing(dwell=4, teacher_tours=6, force_tours=12, tries=2)
    weights = draw(topology, [3, 4])
    done = []
    trained = learn_patterns(node, weights, WAVES, how, done.append)
    return node, trained, how, done


def test_progress_adds_up(learned):
    _, _, how, done = learned
    assert sum(done) == how.lasts(2) * TICKS


def test_the_figures_are_those_of_the_output(learned):
    node, weights, _, _ = learned
    chosen = choose(node, weights, WAVES, 2, 6)
    assert chosen.z.shape == (2 * 2 * 6 * TICKS, 2, 1)
    assert chosen.visits.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    z = chosen.z.reshape(4, 6, TICKS, 2)
    for visit, period, network in itertools.product(range(4), range(6), range(2)):
        one = z[visit, period, :, network]
        shifts = np.linspace(0, 2 * np.pi, 400)[:, None]
        apart = [np.sqrt(2 * ((one - np.sin(k * PHASE + shifts)) ** 2).mean(axis=1)).min() for k in (1, 2)]
        assert chosen.error[visit, period, network] == pytest.approx(apart[chosen.visits[visit, 1]], abs=0.02)
        assert chosen.nearest[visit, period, network] == np.argmin(apart)
    late = np.sqrt((chosen.error[:, 3:] ** 2).mean(axis=1))
    np.testing.assert_allclose(chosen.late, late)


def test_the_input_chooses(learned):
    node, weights, _, _ = learned
    chosen = choose(node, weights, WAVES, 3, 8)
    assert chosen.late.max() < 0.3
    assert chosen.right.tolist() == [1, 1]
    # Asked for the other pattern at each level, none is right: it is the input that tells.
    swapped = choose(node, weights, WAVES[::-1], 3, 8)
    assert swapped.right.tolist() == [0, 0]


def test_a_read_out_does_not_depend_on_its_neighbours(learned):
    node, weights, how, _ = learned
    topology = Topology(nodes=24, spectral_radius=0.9, feedback=1.0, bias=0.6, gain=0.8, input=0.5)
    alone = learn_patterns(node, draw(topology, [4]), WAVES, how)
    np.testing.assert_allclose(alone.w_out[0], weights.w_out[1], rtol=1e-4, atol=1e-6)


def test_settling_is_counted_from_the_last_period_that_is_wrong():
    error = np.array([[0.5, 0.05, 0.2, 0.05], [0.05, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, np.inf]])[..., None]
    visits = np.array([[1, 0], [0, 1], [1, 0]])
    nearest = np.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])[..., None]
    chosen = Chosen(np.zeros((0, 1, 1)), visits, error, nearest, Record())
    np.testing.assert_array_equal(chosen.settled(0.1)[:, 0], [3, 0, np.nan])
    assert chosen.right[0] == pytest.approx(5 / 6)
