"""FORCE, ridge and the classifier, on a node whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models import scan
from spinloom.device_models.errors import DivergedError
from spinloom.device_models.scale import Scale
from spinloom.networks import training
from spinloom.networks.loop import simulate, start
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import (
    Training,
    force,
    learn,
    taught_error,
    teacher_forced_ridge,
    train,
    train_classifier,
    trim_phase,
)
from spinloom.networks.trials import classify, generate

TOPOLOGY = Topology(nodes=20, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)
HOW = Training(teacher_periods=30, force_periods=60, noise=1e-3, ridge=1e-8, prior_ticks=500)


def _circle(ticks=30):
    phase = 2 * np.pi * np.arange(1, ticks + 1) / ticks
    return np.column_stack([np.sin(phase), np.cos(phase)])


@pytest.mark.parametrize("method", ["force", "ridge"])
def test_a_trained_network_generates_a_sine_in_free_run(low_pass, method):
    f = target("sine", 30)
    weights = train(low_pass, draw(TOPOLOGY, [0, 1]), f, HOW.model_copy(update={"method": method}))
    result = generate(low_pass, weights, f, periods=10, washout=3)
    assert result.nrmse.shape == (2,)
    assert result.nrmse.max() < 0.05


@pytest.mark.parametrize("method", ["force", "ridge"])
def test_a_trained_network_draws_a_circle_with_two_outputs(low_pass, method):
    f = _circle()
    weights = train(low_pass, draw(TOPOLOGY, [0, 1], outputs=2), f, HOW.model_copy(update={"method": method}))
    assert weights.w_out.shape == (2, 2, 21)
    result = generate(low_pass, weights, f, periods=10, washout=3)
    assert result.z.shape == (300, 2, 2)
    assert result.nrmse.max() < 0.05
    assert result.shape_error.max() < 0.05
    np.testing.assert_allclose((result.z**2).sum(axis=2), 1, atol=0.2)


def test_a_network_is_trained_in_the_units_of_its_scale(low_pass):
    node, f = Scale(mean=0.1, spread=0.6, reach=0.8).of(low_pass), target("sine", 30)
    weights = train(node, draw(TOPOLOGY, [0]), f, HOW)
    assert generate(node, weights, f, periods=10, washout=3).nrmse[0] < 0.05
    assert generate(low_pass, weights, f, periods=10, washout=3).nrmse[0] > 0.2


def test_a_network_of_different_devices_is_trained(make_low_pass):
    node, f = make_low_pass(0.4, 0.7), target("sine", 30)
    weights = draw(TOPOLOGY, [0]).with_devices([[0, 1] * 10])
    trained = train(node, weights, f, HOW)
    assert trained.devices == weights.devices
    assert generate(node, trained, f, periods=10, washout=3).nrmse[0] < 0.05
    assert generate(node, trained.without_devices(), f, periods=10, washout=3).nrmse[0] > 0.2


def test_every_other_try_stays_nearer_to_the_ridge_solution(low_pass, monkeypatch):
    precisions = []

    def seen(node, weights, f, periods, precision, *others, **more):
        precisions.append(precision)
        return force(node, weights, f, periods, precision, *others, **more)

    monkeypatch.setattr(training, "force", seen)
    train(low_pass, draw(TOPOLOGY, [0, 1]), target("sine", 30), QUICK.model_copy(update={"noise": 0, "tries": 3}))
    scale = precisions[0][:, 0, 0].reshape(2, 3)
    np.testing.assert_allclose(scale / scale[:, :1], np.tile([1, 10, 1], (2, 1)))


def test_an_untrained_network_does_not(low_pass):
    result = generate(low_pass, draw(TOPOLOGY, [0]), target("sine", 30), periods=10, washout=3)
    assert result.nrmse[0] > 0.9


@pytest.mark.parametrize("outputs", [1, 3])
def test_recursive_least_squares_gives_the_batch_solution(plain_low_pass, monkeypatch, outputs):
    """With the target fed back, RLS from P = I / ridge and w = 0 ends at the ridge solution of every output."""
    weights = draw(TOPOLOGY, [0], outputs)
    f = np.random.default_rng(0).normal(size=(40, 1, outputs))
    rows = []

    def forced(fixed, carry, value):
        carry, out = original(fixed, carry, value)
        state, w, P = carry
        rows.append(np.asarray(state.r[0]))
        return (state._replace(z=value[0]), w, P), out

    original = training.force_tick
    monkeypatch.setattr(training, "force_tick", forced)
    trained = force(plain_low_pass, weights, f, 5, precision=0.1 * np.eye(21)[None])
    X, y = np.column_stack([np.stack(rows), np.ones(200)]), np.tile(f[:, 0], (5, 1))
    expected = np.linalg.solve(X.T @ X + 0.1 * np.eye(21), X.T @ y)
    assert trained.w_out.shape == (1, outputs, 21)
    np.testing.assert_allclose(trained.w_out[0], expected.T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_tick_of_force_is_that_of_the_textbook(low_pass, outputs):
    """P and w updated one after the other, and the outputs as a product of the new w."""
    weights, rng = draw(TOPOLOGY, [0, 1], outputs), np.random.default_rng(0)
    state, w, P = start(low_pass, weights), weights.w_out, np.tile(np.eye(21), (2, 1, 1))
    carry = (state, w, P)
    for wanted in rng.normal(size=(30, 2, outputs)):
        carry, _ = training.force_tick((low_pass, weights), carry, (wanted, None))
        for s, r in enumerate(np.asarray(carry[0].r)):
            x = np.append(r, 1)
            k, error = P[s] @ x, w[s] @ x - wanted[s]
            c = 1 / (1 + x @ k)
            P[s] = P[s] - c * np.outer(k, k)
            w[s] = w[s] - c * np.outer(error, k)
            np.testing.assert_allclose(carry[0].z[s], w[s] @ x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(carry[1], w, rtol=0, atol=1e-12)
        np.testing.assert_allclose(carry[2], P, rtol=0, atol=1e-12)


def test_progress_is_told_in_pieces():
    told = []
    tell = training.in_pieces(told.append, 30)
    for ticks in (50, 20, 10, 70):
        tell(ticks)
    assert told == [30] * 5
    assert training.in_pieces(None, 30) is None


def test_force_is_the_same_compiled_and_plain(low_pass, plain_low_pass):
    weights, f, done = draw(TOPOLOGY, [0, 1], 2), np.repeat(_circle()[:, None], 2, axis=1), []
    compiled = force(low_pass, weights, f, 4, progress=done.append)
    plain = force(plain_low_pass, weights, f, 4)
    np.testing.assert_allclose(compiled.w_out, plain.w_out, rtol=1e-6, atol=1e-9)
    assert done == [30] * 4


def test_the_covariance_is_that_of_the_noisy_states(low_pass):
    weights, f = draw(TOPOLOGY, [0]), target("sine", 30)[:, None]
    quiet = teacher_forced_ridge(low_pass, weights, f, HOW.model_copy(update={"noise": 0.0})).covariance
    noisy = teacher_forced_ridge(low_pass, weights, f, HOW.model_copy(update={"noise": 0.1})).covariance
    assert np.linalg.eigvalsh(noisy[0])[2] > 10 * np.linalg.eigvalsh(quiet[0])[2]


def test_networks_with_targets_of_their_own_train_side_by_side(low_pass):
    f = np.stack([target("sine", 30), target("harmonics", 30)], axis=1)
    both = train(low_pass, draw(TOPOLOGY, [0, 0]), f, HOW)
    alone = train(low_pass, draw(TOPOLOGY, [0]), f[:, 1], HOW)
    assert both.w_out.shape == (2, 1, 21)
    assert np.abs(both.w_out[0] - both.w_out[1]).max() > 1e-3
    np.testing.assert_allclose(both.w_out[1], alone.w_out[0], rtol=1e-5, atol=1e-6)


def test_each_try_feels_its_own_noise_and_the_best_is_kept(low_pass):
    f = np.broadcast_to(target("sine", 30)[:, None], (30, 4, 1))
    how = HOW.model_copy(update={"noise": 0.05, "tries": 2})
    taught = teacher_forced_ridge(low_pass, draw(TOPOLOGY, [0]).repeat(4), f, how)
    w = taught.weights.w_out
    np.testing.assert_allclose(w[:2], w[2:], rtol=1e-9, atol=1e-12)
    assert np.abs(w[0] - w[1]).max() > 1e-4
    other = teacher_forced_ridge(low_pass, draw(TOPOLOGY, [0]), f[:, :1], how.model_copy(update={"seed": 1}))
    assert np.abs(other.weights.w_out[0] - w[0]).max() > 1e-4


def test_the_noise_of_training_is_not_that_of_the_weights(low_pass, monkeypatch):
    """Equal seeds, and yet W and the noise are not made of the same numbers."""
    targets = []

    def watched(node, weights, **options):
        targets.append(options["target"])
        return simulate(node, weights, **options)

    monkeypatch.setattr(training, "simulate", watched)
    f, weights = target("sine", 30)[:, None], draw(TOPOLOGY, [0])
    teacher_forced_ridge(low_pass, weights, f, HOW.model_copy(update={"tries": 1, "seed": 0}))
    noise = (targets[0] - np.tile(f, (30, 1, 1))).ravel() / HOW.noise
    assert noise.std() == pytest.approx(1, abs=0.1)
    own = np.random.default_rng(0).standard_normal((20, 20))
    kept = weights.W[0].ravel() != 0
    assert np.corrcoef(own.ravel()[kept], weights.W[0].ravel()[kept])[0, 1] == pytest.approx(1)
    assert abs(np.corrcoef(own.ravel(), noise[:400])[0, 1]) < 0.15


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_lead_makes_the_output_run_ahead_and_the_trim_takes_it_out(low_pass, outputs):
    """A read-out that is spoilt by a share of the lead runs ahead; the trim finds the share again."""
    f = _circle()[:, None, :outputs]
    weights = draw(TOPOLOGY, [0], outputs)
    taught = teacher_forced_ridge(low_pass, weights, f, HOW.model_copy(update={"tries": 1}))
    assert taught.lead.shape == taught.weights.w_out.shape
    ahead, behind = (taught.weights.with_readout(taught.weights.w_out + share * taught.lead) for share in (0.1, -0.1))
    run = {"periods": 40, "washout": 4}
    assert generate(low_pass, ahead, f, **run).phase_drift[0] > 0.005
    assert generate(low_pass, behind, f, **run).phase_drift[0] < -0.005
    for spoilt in (ahead, behind):
        trimmed, error = trim_phase(low_pass, spoilt, f, taught.lead, rounds=6, periods=40)
        result = generate(low_pass, trimmed, f, **run)
        assert error == pytest.approx(result.nrmse)
        assert result.nrmse[0] < 0.2 * generate(low_pass, spoilt, f, **run).nrmse[0]
        assert abs(result.phase_drift[0]) < 5e-4


def test_the_lead_is_the_readout_of_the_slope(low_pass):
    """A share e of it on top of the read-out gives f(t + e)."""
    f = _circle()[:, None]
    taught = teacher_forced_ridge(low_pass, draw(TOPOLOGY, [0], 2), f, HOW.model_copy(update={"tries": 1}))
    _, record = simulate(low_pass, taught.weights, target=np.tile(f, (4, 1, 1)), hold=np.ones(120, bool), record="r")
    x = np.column_stack([record.r[-30:, 0], np.ones(30)])
    slope = 2 * np.pi / 30 * np.column_stack([f[:, 0, 1], -f[:, 0, 0]])
    np.testing.assert_allclose(x @ taught.lead[0].T, slope, atol=0.01)
    np.testing.assert_allclose(x @ taught.weights.w_out[0].T, f[:, 0], atol=0.01)


def test_a_network_that_cannot_be_trimmed_is_left_as_it_is(low_pass):
    f = target("sine", 30)[:, None]
    weights = draw(TOPOLOGY, [0]).with_readout(np.full((1, 1, 21), np.nan))
    trimmed, error = trim_phase(low_pass, weights, f, np.ones((1, 1, 21)), rounds=2, periods=4)
    assert error.tolist() == [np.inf]
    np.testing.assert_array_equal(trimmed.w_out, weights.w_out)


@pytest.mark.parametrize("method", ["force", "ridge"])
def test_progress_counts_every_tick_of_the_training(low_pass, method):
    done = []
    how = Training(
        method=method, teacher_periods=5, force_periods=3, trim_rounds=2, trim_periods=4, tries=1, prior_ticks=10
    )
    train(low_pass, draw(TOPOLOGY, [0]), target("sine", 30), how, done.append)
    assert sum(done) == how.periods * 30 == how.lasts(False) * 30
    done.clear()
    train(low_pass, draw(CLOCKED, [0]), target("sine", 30), how, done.append, clock=CLOCKED.clock_period(30))
    assert sum(done) == how.lasts(True) * 30


QUICK = HOW.model_copy(
    update={"teacher_periods": 10, "force_periods": 5, "trim_rounds": 2, "trim_periods": 6, "tries": 2}
)
CLOCKED = Topology(nodes=20, spectral_radius=0.3, bias=3.0, gain=0.9, clock=6.0, clock_shape="ramp")


@pytest.mark.parametrize("method", ["force", "ridge"])
def test_a_clock_keeps_the_time_without_any_feedback(low_pass, method):
    """A pulse that stands still for most of its period: the network shapes, the clock keeps time."""
    f = np.exp(-((np.arange(30) - 12.0) ** 2) / 18)
    how, clock = QUICK.model_copy(update={"method": method}), CLOCKED.clock_period(30)
    weights = train(low_pass, draw(CLOCKED, [0, 1]), f, how, clock=clock)
    result = generate(low_pass, weights, f, periods=6, washout=3, clock=clock)
    assert result.nrmse.max() < 0.1
    assert np.abs(result.phase_drift).max() < 1e-9
    without = generate(low_pass, weights, f, periods=6, washout=3)
    assert without.nrmse.min() > 0.5
    assert np.isnan(without.phase_drift).all()
    # The clock keeps its phase: half a period later it is another one.
    late = generate(low_pass, weights, f, periods=6, washout=3, clock=np.roll(clock, 15))
    assert late.nrmse.min() > 0.5


def test_each_network_may_have_a_clock_of_its_own(low_pass):
    f, how = np.sin(2 * np.pi * np.arange(30) / 30), QUICK.model_copy(update={"method": "ridge"})
    clocks = np.stack([CLOCKED.clock_period(30), np.roll(CLOCKED.clock_period(30), 7)], axis=1)
    both = train(low_pass, draw(CLOCKED, [0, 0]), f, how, clock=clocks)
    alone = train(low_pass, draw(CLOCKED, [0]), f, how, clock=clocks[:, 1])
    np.testing.assert_allclose(both.w_out[1], alone.w_out[0], rtol=1e-5, atol=1e-6)
    assert np.abs(both.w_out[0] - both.w_out[1]).max() > 1e-3


def test_with_a_clock_the_phase_is_not_trimmed(low_pass, monkeypatch):
    trims = []

    def watched(node, weights, *arguments, **options):
        trimmed, error = trim_phase(node, weights, *arguments, **options)
        trims.append((weights, trimmed, error))
        return trimmed, error

    monkeypatch.setattr(training, "trim_phase", watched)
    how, f = QUICK.model_copy(update={"tries": 3, "noise": 0.02}), np.sin(2 * np.pi * np.arange(30) / 30)
    topology = CLOCKED.model_copy(update={"feedback": 0.5})
    trained = learn(low_pass, draw(topology, [0]), f, how, clock=topology.clock_period(30))
    ((before, after, error),) = trims
    np.testing.assert_array_equal(before.w_out, after.w_out)
    np.testing.assert_array_equal(trained.weights.w_out[0], after.w_out[error.argmin()])


@pytest.mark.parametrize("method", ["force", "ridge"])
def test_what_is_learnt_beside_the_readout_is_of_the_network_that_was_kept(low_pass, method):
    f, how = target("sine", 30), QUICK.model_copy(update={"method": method})
    weights = draw(TOPOLOGY, [0, 1])
    trained = learn(low_pass, weights, f, how)
    np.testing.assert_array_equal(trained.weights.w_out, train(low_pass, weights, f, how).w_out)
    assert trained.lead.shape == trained.ridge.shape == (2, 1, 21)
    assert (np.abs(trained.ridge - trained.weights.w_out).max() < 1e-12) == (method == "ridge")
    # The lead is the read-out of the slope.
    fed_back = {"target": np.tile(f[:, None], (4, 2, 1)), "hold": np.ones(120, bool)}
    _, record = simulate(low_pass, weights, record="r", **fed_back)
    x = np.concatenate([record.r[-30:], np.ones((30, 2, 1))], axis=2)
    slope = (np.roll(f, -1, axis=0) - np.roll(f, 1, axis=0)) / 2
    for k in range(2):
        np.testing.assert_allclose(x[:, k] @ trained.lead[k, 0], slope[:, 0], atol=0.01)


def test_what_cannot_be_represented_is_told_from_what_is_unstable(low_pass):
    """A step within a tick is beyond a low-pass filter; a sine is not, whatever its free run does."""
    how = HOW.model_copy(update={"method": "ridge"})
    f = np.stack([target("sine", 30), target("square", 30)], axis=1)
    trained = learn(low_pass, draw(TOPOLOGY, [0, 0]), f, how)
    forced = taught_error(low_pass, trained.weights.with_readout(trained.ridge), f)
    assert forced.nrmse[0] < 0.02
    assert forced.nrmse[1] > 0.1
    assert forced.restless.max() < 1e-3
    # The read-out of the free run is not looked at: the target itself feeds back.
    spoilt = trained.weights.with_readout(1.2 * trained.ridge)
    assert taught_error(low_pass, spoilt, f).nrmse[0] == pytest.approx(0.2, abs=0.01)


def test_a_network_that_sings_is_restless(low_pass):
    """Pairs of nodes that turn each other round, whatever feeds back."""
    weights = draw(TOPOLOGY.model_copy(update={"feedback": 0.1, "bias": 0.1}), [0])
    loud = replace(weights, W=np.kron(np.eye(10), [[0.0, -3.0], [3.0, 0.0]])[None])
    assert taught_error(low_pass, loud, target("sine", 30)).restless.min() > 0.1


def test_another_network_is_not_compiled_again(make_low_pass):
    how = Training(teacher_periods=5, force_periods=3, trim_rounds=1, trim_periods=4, tries=1, prior_ticks=10)
    f = target("sine", 30)
    train(make_low_pass(0.4), draw(TOPOLOGY, [0]), f, how)
    compiled = scan._compiled._cache_size()
    train(make_low_pass(0.5), draw(TOPOLOGY, [1]), f, how)
    assert scan._compiled._cache_size() == compiled


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
    weights = train(low_pass, draw(TOPOLOGY, [0]), f, HOW)
    washout = np.tile(f, (2, 1))[:, None]
    hold = np.arange(60) < 59
    state, record = simulate(low_pass, weights, target=washout, hold=hold, record="z")
    assert float(state.z[0, 0]) == pytest.approx(record.z[-1, 0, 0])


class Counted(NamedTuple):
    """State of nodes that count their ticks."""

    x: Any
    ticks: Any


@partial(jax.tree_util.register_dataclass, data_fields=["spared"], meta_fields=[])
@dataclass(frozen=True)
class Failing:
    """Low-pass filters, of which every fourth is lost in tick 50, the first ``spared`` of all left out."""

    spared: Any

    traceable = True
    channels = ("drive",)
    tick = 1e-11
    devices = 1

    def start(self, n, seed=0, devices=None, progress=None):
        return Counted(jnp.zeros(n), jnp.zeros(n))

    def step(self, state, inputs):
        x = state.x + 0.4 * (inputs[:, 0] - state.x)
        place = jnp.arange(len(x))
        lost = (state.ticks == 50) & (place % 4 == 2) & (place >= self.spared)
        return Counted(jnp.where(lost, jnp.nan, x), state.ticks + 1)

    def observe(self, state):
        return state.x

    def moment(self, state):
        return jnp.stack([state.x] * 3, axis=1)


def test_a_network_that_leaves_the_finite_numbers_in_training_is_named_or_is_never_the_best():
    weights = draw(Topology(nodes=4, spectral_radius=0.6, feedback=1.0, bias=0.5, gain=1.0), [0])
    f = np.sin(2 * np.pi * np.arange(24) / 24)
    how = Training(teacher_periods=8, force_periods=4, trim_rounds=1, trim_periods=8, tries=2)
    with pytest.raises(DivergedError, match="training: node 2 of network 0 is not finite from tick 50 on"):
        learn(Failing(0), weights, f, how)
    trained = learn(Failing(4), weights, f, how)  # of two tries, the second is lost
    assert np.isfinite(trained.weights.w_out).all()
    assert np.abs(trained.weights.w_out).max() > 0.1


def test_features_that_are_not_finite_are_named():
    features = np.zeros((6, 3))
    features[4, 1] = np.nan
    with pytest.raises(DivergedError, match="feature 1 of trial 4 is not finite"):
        train_classifier(features, np.arange(6) % 3, 3, 1e-3)
