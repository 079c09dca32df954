"""FORCE, ridge and the classifier, on a node whose answer is known."""

import jax
import numpy as np
import pytest

from spinloom.networks import training
from spinloom.networks.loop import run
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training, force, teacher_forced_ridge, train, train_classifier
from spinloom.networks.trials import classify, generate

AXIS = (1.0, 0.0, 0.0)
TOPOLOGY = Topology(nodes=20, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)
HOW = Training(teacher_periods=30, force_periods=60, noise=1e-3, ridge=1e-8, prior_ticks=500)


@pytest.mark.parametrize("method", ["force", "ridge"])
def test_a_trained_network_generates_a_sine_in_free_run(low_pass, method):
    f = target("sine", 30)
    weights = train(low_pass, draw(TOPOLOGY, [0, 1]), AXIS, f, HOW.model_copy(update={"method": method}))
    result = generate(low_pass, weights, AXIS, f, periods=10, washout=3)
    assert result.nrmse.shape == (2,)
    assert result.nrmse.max() < 0.05


def test_an_untrained_network_does_not(low_pass):
    result = generate(low_pass, draw(TOPOLOGY, [0]), AXIS, target("sine", 30), periods=10, washout=3)
    assert result.nrmse[0] > 0.9


def test_recursive_least_squares_gives_the_batch_solution(low_pass, monkeypatch):
    """With the target fed back, RLS from P = I / ridge and w = 0 ends at the ridge solution."""
    weights = draw(TOPOLOGY, [0])
    f = np.random.default_rng(0).normal(size=(40, 1))
    rows = []

    def forced(node, a, carry, value):
        carry, out = original(node, a, carry, value)
        state, w, P = carry
        rows.append(np.asarray(state.m[:, 0]))
        return (state._replace(z=value), w, P), out

    original = training._force_tick
    monkeypatch.setattr(training, "_force_tick", forced)
    low_pass.traceable = False
    with jax.disable_jit():
        trained = force(low_pass, weights, AXIS, f, 5, precision=0.1 * np.eye(21)[None])
    X, y = np.column_stack([np.stack(rows), np.ones(200)]), np.tile(f[:, 0], 5)
    expected = np.linalg.solve(X.T @ X + 0.1 * np.eye(21), X.T @ y)
    np.testing.assert_allclose(trained.w_out[0, 0], expected, rtol=1e-6, atol=1e-9)


def test_the_covariance_is_that_of_the_noisy_states(low_pass):
    weights, f = draw(TOPOLOGY, [0]), target("sine", 30)[:, None]
    quiet = teacher_forced_ridge(low_pass, weights, AXIS, f, HOW.model_copy(update={"noise": 0.0})).covariance
    noisy = teacher_forced_ridge(low_pass, weights, AXIS, f, HOW.model_copy(update={"noise": 0.1})).covariance
    assert np.linalg.eigvalsh(noisy[0])[2] > 10 * np.linalg.eigvalsh(quiet[0])[2]


def test_networks_with_targets_of_their_own_train_side_by_side(low_pass):
    f = np.stack([target("sine", 30), target("harmonics", 30)], axis=1)
    both = train(low_pass, draw(TOPOLOGY, [0, 0]), AXIS, f, HOW)
    alone = train(low_pass, draw(TOPOLOGY, [0]), AXIS, f[:, 1], HOW)
    assert both.w_out.shape == (2, 1, 21)
    assert np.abs(both.w_out[0] - both.w_out[1]).max() > 1e-3
    np.testing.assert_allclose(both.w_out[1], alone.w_out[0], rtol=1e-5, atol=1e-6)


def test_the_classifier_separates_what_can_be_separated():
    rng = np.random.default_rng(0)
    classes = np.arange(120) % 4
    centres = rng.normal(size=(4, 6))
    features = centres[classes] + 0.01 * rng.normal(size=(120, 6))
    w_out = train_classifier(features, classes, 4, 1e-4)
    assert w_out.shape == (4, 7)
    answers = classify(np.repeat(w_out[None], 120, axis=0), features)
    np.testing.assert_array_equal(answers, classes)


def test_a_class_without_trials_is_told():
    with pytest.raises(ValueError, match="every one of 4"):
        train_classifier(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 3, 4, 1e-4)


def test_the_free_run_begins_on_the_networks_own_output(low_pass):
    f = target("sine", 30)
    weights = train(low_pass, draw(TOPOLOGY, [0]), AXIS, f, HOW)
    washout = np.tile(f, 2)[:, None]
    hold = np.arange(60) < 59
    state, record = run(low_pass, weights, AXIS, target=washout, hold=hold)
    assert float(state.z[0]) == pytest.approx(record.z[-1, 0])
