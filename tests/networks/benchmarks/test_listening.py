"""Trials of recognition: what they hold, and what tells them apart."""

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.benchmarks.listening import (
    PERIODS,
    SHAPES,
    WINDOW,
    Listening,
    Trials,
    Vowels,
    conditions,
    features,
    heard_alone,
    shape,
    wrong,
    wrong_each,
)
from spinloom.networks.benchmarks.reservoir import drive
from spinloom.networks.topology import Topology, draw

WEIGHTS = draw(Topology(nodes=4, spectral_radius=0.5, feedback=1.0, bias=0.5, gain=0.8), [0, 1])


def test_all_waveforms_have_the_same_power_and_no_mean():
    share = (np.arange(4000) + 0.5) / 4000
    for name in SHAPES:
        f = shape(name, share)
        assert f.mean() == pytest.approx(0, abs=1e-3)
        assert f.std() == pytest.approx(1, rel=1e-3)


def test_a_trial_is_silent_before_its_onset_which_is_anywhere_in_the_first_half():
    trials = Listening(noise=None, trials=100).make(0)
    begins = (np.abs(trials.u[..., 0]) > 0).argmax(axis=0)
    assert begins.max() < WINDOW // 2 + 4
    assert len(set(begins)) > 20
    assert np.bincount(trials.labels[: trials.train]).tolist() == [25] * 4


@pytest.mark.parametrize("noise", [20.0, 5.0])
def test_noise_has_the_power_that_its_decibels_say(noise):
    clean, noisy = (Listening(noise=n, trials=60).make(3).u for n in (None, noise))
    added = noisy - clean
    assert 10 * np.log10(1 / added.var()) == pytest.approx(noise, abs=0.3)


def test_frequencies_reach_from_the_shortest_to_the_longest_period():
    trials = Listening("frequency", 8, None, trials=400).make(0)
    lengths = []
    for label in (0, 7):
        u = trials.u[:, trials.labels == label, 0]
        late = u[WINDOW // 2 :]
        crossings = (np.diff(np.sign(late), axis=0) != 0).sum(axis=0).mean()
        lengths.append(2 * (len(late) - 1) / crossings)
    assert lengths == pytest.approx(PERIODS, rel=0.08)


def test_a_seed_is_a_set_of_trials():
    a, b, other = (Listening(trials=5).make(seed).u for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != other).any()


def test_all_conditions_have_names_of_their_own():
    names = [one.name for one in conditions("shape")]
    assert len(set(names)) == 12
    assert "shape-4-10dB" in names
    assert "shape-8-clean" in names


def test_features_are_means_and_mean_squares_of_what_was_heard(low_pass):
    u = np.random.default_rng(0).uniform(-1, 1, (6, 3, 1))
    heard = np.arange(6)[:, None] < [6, 4, 2]
    trials = Trials(u, heard, np.array([0, 1, 0]), 2)
    x = features(low_pass, WEIGHTS, [trials, trials])
    assert x.shape == (2, 3, 8)
    for network in range(2):
        for trial, n in enumerate((6, 4, 2)):
            r = drive(low_pass, WEIGHTS.one(network), u[:, trial])[0][:n, 0]
            np.testing.assert_allclose(x[network, trial], [*r.mean(axis=0), *(r**2).mean(axis=0)], atol=1e-12)


def test_a_linear_classifier_of_the_window_cannot_tell_shapes_apart():
    trials = Listening(noise=None).make(0)
    assert wrong(heard_alone(trials), trials, 1e-3) > 0.5


def test_features_that_tell_nothing_are_wrong_as_often_as_chance():
    trials = Listening(trials=400).make(0)
    x = np.random.default_rng(0).standard_normal((800, 5))
    assert wrong(x, trials, 1e-3) == pytest.approx(0.75, abs=0.06)
    assert wrong_each(np.full((800, 2), np.nan), trials, (1e-3, 1.0)) == [1.0, 1.0]


def test_vowels_have_the_canonical_split():
    trials = Vowels().make(0)
    assert np.bincount(trials.labels[: trials.train]).tolist() == [30] * 9
    assert np.bincount(trials.labels[trials.train :]).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert trials.heard.sum(axis=0).min() == 7
    assert trials.heard.sum(axis=0).max() == 29
    known = trials.u[:, :270][trials.heard[:, :270]]
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(known.std(axis=0), 1, atol=1e-9)
    assert not trials.u[~trials.heard].any()


def test_what_is_not_offered_is_refused():
    with pytest.raises(SpinloomError, match="by: expected shape or frequency, got 'colour'"):
        Listening("colour")
    with pytest.raises(SpinloomError, match="classes: expected 2, 4 or 8, got 3"):
        Listening(classes=3)
