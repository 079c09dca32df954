"""Free runs and recognition trials."""

import numpy as np

from spinloom.networks.topology import Topology, draw
from spinloom.networks.trials import phase_drift, recognise

AXIS = (1.0, 0.0, 0.0)
TOPOLOGY = Topology(nodes=15, spectral_radius=0.3, input=1.7, bias=0.8, gain=0.8)


def test_phase_drift_is_the_slope_and_its_sign_says_who_leads():
    t = np.arange(40 * 50) / 50
    f = np.stack([np.sin(2 * np.pi * t[:50]), np.cos(2 * np.pi * t[:50])], axis=1)
    z = np.stack([np.sin(2 * np.pi * 1.0005 * t), np.cos(2 * np.pi * 0.999 * t)], axis=1)
    np.testing.assert_allclose(phase_drift(z, f), [2 * np.pi * 5e-4, -2 * np.pi * 1e-3], rtol=1e-2)


def test_recognition_trials_are_balanced_and_seeded(low_pass):
    options = {"trials": 12, "period_ticks": 20, "periods": 2}
    weights = draw(TOPOLOGY, [0, 1])
    first = recognise(low_pass, weights, AXIS, seed=1, **options)
    again = recognise(low_pass, weights, AXIS, seed=1, **options)
    other = recognise(low_pass, weights, AXIS, seed=2, **options)
    assert first.features.shape == (2, 12, 15)
    np.testing.assert_array_equal(np.bincount(first.classes[0]), [3, 3, 3, 3])
    np.testing.assert_array_equal(first.features, again.features)
    assert np.abs(first.features - other.features).max() > 1e-3


def test_features_are_the_mean_over_the_last_period(low_pass):
    result = recognise(low_pass, draw(TOPOLOGY, [0]), AXIS, trials=4, period_ticks=20, periods=3, seed=0)
    np.testing.assert_allclose(result.features[0], result.record.r[40:].mean(axis=0))


def test_the_confusion_table_counts_every_trial(low_pass):
    result = recognise(low_pass, draw(TOPOLOGY, [0]), AXIS, trials=8, period_ticks=20, periods=2, seed=0)
    assert result.confusion().sum() == 8
    # An untrained read-out gives the same answer to all.
    assert result.accuracy[0] == 0.25
