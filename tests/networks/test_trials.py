"""Free runs and recognition trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import Record, joined, simulate
from spinloom.networks.measures import free_run_error
from spinloom.networks.tasks import inputs
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import train_classifier
from spinloom.networks.trials import classify, generate, per_network, recognise

TOPOLOGY = Topology(nodes=15, spectral_radius=0.3, input=1.7, bias=0.8, gain=0.8)
OPTIONS = {"trials": 12, "period_ticks": 20, "periods": 2}


def _rng(seed=1):
    return np.random.default_rng(seed)


def _generating(outputs=1):
    weights = draw(TOPOLOGY.model_copy(update={"feedback": 1.0}), [0, 1], outputs)
    return weights.with_readout(0.1 * _rng().normal(size=(2, outputs, 16)))


def test_targets_of_one_network_are_those_of_all():
    weights = draw(TOPOLOGY, [0, 1, 2], outputs=2)
    f = _rng().normal(size=(10, 2))
    everywhere = per_network(f, weights)
    assert everywhere.shape == (10, 3, 2)
    for network in range(3):
        np.testing.assert_array_equal(everywhere[:, network], f)
    each = _rng().normal(size=(10, 3, 2))
    np.testing.assert_array_equal(per_network(each, weights), each)
    flat = per_network(f[:, 0], draw(TOPOLOGY, [0, 1]))
    np.testing.assert_array_equal(flat, np.broadcast_to(f[:, :1, None], (10, 2, 1)))


@pytest.mark.parametrize("shape", [(10, 3), (10, 2, 3), (10, 4, 2), (10, 3, 2, 1)])
def test_a_target_that_does_not_fit_the_network_is_told(low_pass, shape):
    weights = draw(TOPOLOGY, [0, 1, 2], outputs=2)
    with pytest.raises(SpinloomError, match=r"target: expected one period of 2 outputs, of all 3 networks .* \(10, "):
        generate(low_pass, weights, np.zeros(shape), periods=2, washout=1)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_free_run_is_what_the_loop_does_after_the_washout(low_pass, outputs):
    weights, f = _generating(outputs), _rng().normal(size=(20, outputs))
    result = generate(low_pass, weights, f, periods=3, washout=2, record="all")
    target, hold = np.tile(f[:, None], (5, 2, 1)), np.arange(100) < 39
    state, record = simulate(low_pass, weights, target=target, hold=hold)
    for kept, whole in zip(result.record, record, strict=True):
        np.testing.assert_array_equal(kept, whole[40:])
    np.testing.assert_array_equal(result.z, record.z[40:])
    np.testing.assert_array_equal(result.state.r, state.r)
    assert result.f.shape == (20, 2, outputs)
    np.testing.assert_array_equal(result.nrmse, free_run_error(result.z, result.f))
    assert result.shape_error.shape == result.phase_drift.shape == (2,)


def test_a_free_run_keeps_the_output_alone_unless_it_is_asked_for_more(low_pass):
    weights, f, pieces = _generating(), _rng().normal(size=20), []
    result = generate(low_pass, weights, f, periods=3, washout=2, watch=pieces.append)
    assert [name for name in Record._fields if getattr(result.record, name) is not None] == ["z"]
    watched = joined(pieces)
    assert watched.m.shape == (100, 2, 15, 3)
    np.testing.assert_array_equal(watched.z[40:], result.z)
    signals = generate(low_pass, weights, f, periods=3, washout=2, record="r").record
    np.testing.assert_array_equal(signals.r, watched.r[40:])
    assert signals.u is None


def test_a_free_run_can_be_solved_in_another_way(low_pass):
    """As by waveform relaxation."""
    asked = []

    def solve(node, weights, **options):
        asked.append((node, {name: options[name] for name in ("record", "progress", "watch")}))
        return simulate(node, weights, **options)

    weights, f = _generating(), _rng().normal(size=20)
    result = generate(low_pass, weights, f, 3, 2, record="r", solve=solve)
    assert asked == [(low_pass, {"record": "r", "progress": None, "watch": None})]
    np.testing.assert_array_equal(result.z, generate(low_pass, weights, f, 3, 2).z)


@pytest.mark.parametrize("each", [False, True])
def test_a_clock_is_fed_in_before_and_in_the_free_run(low_pass, each):
    weights, f = _generating(), _rng().normal(size=20)
    weights = replace(weights, W_in=_rng(2).normal(size=weights.b.shape))
    clock = _rng(3).normal(size=(20, 2) if each else 20)
    result = generate(low_pass, weights, f, periods=3, washout=2, clock=clock)
    s = np.tile(clock if each else np.repeat(clock[:, None], 2, axis=1), (5, 1))
    fed = {"target": np.tile(f[:, None, None], (5, 2, 1)), "hold": np.arange(100) < 39}
    np.testing.assert_array_equal(result.z, simulate(low_pass, weights, s=s, **fed)[1].z[40:])
    assert np.abs(result.z - generate(low_pass, weights, f, periods=3, washout=2).z).max() > 1e-3


@pytest.mark.parametrize("shape", [(19,), (20, 3), (20, 2, 1), ()])
def test_a_clock_that_does_not_fit_is_told(low_pass, shape):
    message = "clock: expected one period of 20 ticks, of all 2 networks or of each, got shape"
    with pytest.raises(SpinloomError, match=message):
        generate(low_pass, _generating(), np.ones(20), periods=1, washout=1, clock=np.ones(shape))


def test_recognition_trials_are_balanced_and_seeded(low_pass):
    weights = draw(TOPOLOGY, [0, 1])
    first = recognise(low_pass, weights, rng=_rng(1), **OPTIONS)
    again = recognise(low_pass, weights, rng=_rng(1), **OPTIONS)
    other = recognise(low_pass, weights, rng=_rng(2), **OPTIONS)
    assert first.features.shape == (2, 12, 15)
    np.testing.assert_array_equal(np.bincount(first.classes[0]), [3, 3, 3, 3])
    np.testing.assert_array_equal(first.features, again.features)
    assert np.abs(first.features - other.features).max() > 1e-3


@pytest.mark.parametrize("periods", [1, 3])
def test_features_are_the_mean_over_the_last_period(low_pass, periods):
    weights, pieces = draw(TOPOLOGY, [0]), []
    options = {"trials": 4, "period_ticks": 20, "periods": periods}
    result = recognise(low_pass, weights, rng=_rng(), watch=pieces.append, **options)
    record = joined(pieces)
    assert record.r.shape == (20 * periods, 4, 15)
    np.testing.assert_allclose(result.features[0], record.r[-20:].mean(axis=0), rtol=0, atol=1e-14)
    s = inputs(np.arange(4), _rng().uniform(0, 2 * np.pi, 4), 20 * periods, 20)
    target, hold = np.zeros((20 * periods, 4, 1)), np.ones(20 * periods, bool)
    _, expected = simulate(low_pass, weights.repeat(4), target=target, hold=hold, s=s)
    np.testing.assert_allclose(record.r, expected.r, rtol=0, atol=1e-13)


@pytest.mark.parametrize("averaged", [1, 2, 3])
def test_features_may_be_averaged_over_more_periods_and_squared(low_pass, averaged):
    weights, pieces = draw(TOPOLOGY, [0], 4), []
    options = {"trials": 4, "period_ticks": 20, "periods": 3, "averaged": averaged}
    result = recognise(low_pass, weights, rng=_rng(), watch=pieces.append, power=True, **options)
    late = joined(pieces).r[-20 * averaged :]
    assert result.features.shape == (1, 4, 30)
    np.testing.assert_allclose(result.features[0, :, :15], late.mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.features[0, :, 15:], (late**2).mean(axis=0), rtol=0, atol=1e-14)
    means = recognise(low_pass, weights, rng=_rng(), **options).features
    np.testing.assert_array_equal(means, result.features[..., :15])


def test_a_classifier_of_means_and_squares_answers(low_pass):
    weights = draw(TOPOLOGY, [0], 4)
    options = {"trials": 40, "period_ticks": 20, "periods": 4, "averaged": 2, "power": True}
    seen = recognise(low_pass, weights, rng=_rng(1), **options)
    trained = weights.with_readout(train_classifier(seen.features[0], seen.classes[0], 4, 1e-6)[None])
    assert trained.w_out.shape == (1, 4, 31)
    assert recognise(low_pass, trained, rng=_rng(2), **options).accuracy[0] == 1
    with pytest.raises(SpinloomError, match="trained on 30 features, got 15"):
        recognise(low_pass, trained, rng=_rng(2), **{**options, "power": False})


@pytest.mark.parametrize("together", [1, 5, 24, 100])
def test_trials_may_run_in_groups(low_pass, together):
    weights, done = draw(TOPOLOGY, [0, 1], outputs=4), []
    weights = weights.with_readout(_rng().normal(size=(2, 4, 16)))
    whole = recognise(low_pass, weights, rng=_rng(), **OPTIONS)
    grouped = recognise(low_pass, weights, rng=_rng(), **OPTIONS, together=together, progress=done.append)
    np.testing.assert_allclose(grouped.features, whole.features, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(grouped.answers, whole.answers)
    np.testing.assert_array_equal(grouped.classes, whole.classes)
    assert sum(done) == 40 * -(-24 // together)


def test_the_confusion_table_counts_every_trial(low_pass):
    result = recognise(low_pass, draw(TOPOLOGY, [0]), rng=_rng(0), trials=8, period_ticks=20, periods=2)
    assert result.confusion().sum() == 8
    # An untrained read-out gives the same answer to all.
    assert result.accuracy[0] == 0.25


def test_the_largest_output_names_the_class():
    w_out = np.zeros((3, 4, 3))
    w_out[0, 2, 0] = w_out[1, 1, 1] = w_out[2, 3, 2] = 1.0
    assert classify(w_out, np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist() == [2, 1, 3]


def test_some_of_the_trials_are_those_among_all_of_them(low_pass):
    weights = draw(TOPOLOGY, [0])
    options = {**OPTIONS, "trials": 10}
    whole = recognise(low_pass, weights, rng=_rng(), **options)
    for only, together in ((slice(0, 4), None), (slice(4, 9), 2), (slice(8, 20), 5)):
        some = recognise(low_pass, weights, rng=_rng(), **options, only=only, together=together)
        np.testing.assert_allclose(some.features, whole.features[:, only], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(some.classes, whole.classes[:, only])
        assert some.answers.shape == some.classes.shape


def test_a_plain_node_recognises_alike(low_pass, plain_low_pass):
    weights = draw(TOPOLOGY, [0])
    compiled = recognise(low_pass, weights, rng=_rng(), **OPTIONS)
    plain = recognise(plain_low_pass, weights, rng=_rng(), **OPTIONS)
    np.testing.assert_allclose(plain.features, compiled.features, rtol=0, atol=1e-12)
