"""A network under a series: against a plain loop, held, masked, in parts, and by itself."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import Ridge as Reference

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.benchmarks.reservoir import Reading, Ridge, drive, follow, nrmse, read
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.baselines import LeakyTanh, Memoryless

TOPOLOGY = Topology(nodes=5, spectral_radius=0.9, feedback=0.7, bias=0.4, gain=0.8)


def by_hand(weights, u, reading, share=0.4):
    """Low-pass filters, one tick after the other."""
    found = []
    for k in range(weights.networks):
        W, w_in, b, gain = weights.W[k], weights.w_fb[k], weights.b[k], weights.gain[k]
        r, rows = np.zeros(weights.nodes), []
        for sample in u:
            seen = []
            for part in range(reading.virtual):
                for _ in range(reading.hold // reading.virtual):
                    v = W @ r + w_in @ (sample * reading.mask[part]) + b
                    r = r + share * (np.clip(gain * v, -1, 1) - r)
                seen.append(r)
            rows.append(np.concatenate(seen))
        found.append(rows)
    return np.array(found).swapaxes(0, 1)


@pytest.mark.parametrize(
    "reading",
    [Reading(), Reading(hold=3), Reading(hold=6, virtual=3, levels=2, seed=1), Reading(hold=12, virtual=2, levels=5)],
    ids=["tick", "hold", "mask", "long parts"],
)
def test_states_are_those_of_a_plain_loop(low_pass, reading):
    weights = draw(TOPOLOGY, [0, 1], outputs=2)
    u = np.random.default_rng(0).uniform(-1, 1, (7, 2))
    x, seen = drive(low_pass, weights, u, reading)
    np.testing.assert_allclose(x, by_hand(weights, u, reading), atol=1e-13)
    np.testing.assert_array_equal(seen, np.broadcast_to(u[:, None], (7, 2, 2)))


def test_nodes_that_live_elsewhere_give_the_same_states(low_pass, plain_low_pass):
    weights, u = draw(TOPOLOGY, [0]), np.random.default_rng(0).uniform(-1, 1, 4)
    reading = Reading(hold=6)
    np.testing.assert_allclose(
        drive(plain_low_pass, weights, u, reading)[0], drive(low_pass, weights, u, reading)[0], atol=1e-13
    )


def test_each_network_may_have_a_series_of_its_own(low_pass):
    weights = draw(TOPOLOGY, [0, 1])
    u = np.random.default_rng(0).uniform(-1, 1, (6, 2, 1))
    both = drive(low_pass, weights, u)[0]
    for k in range(2):
        np.testing.assert_allclose(both[:, k], drive(low_pass, weights.one(k), u[:, k])[0][:, 0], atol=1e-14)


def test_what_is_collected_is_what_would_be_returned(low_pass):
    weights, u = draw(TOPOLOGY, [0]), np.random.default_rng(0).uniform(-1, 1, 9)
    pieces = []
    follow(low_pass, weights, u, lambda x, seen: pieces.append(x))
    np.testing.assert_array_equal(np.concatenate(pieces), drive(low_pass, weights, u)[0])


def test_a_network_that_was_taught_the_next_sample_goes_on_by_itself():
    node = LeakyTanh.of(1.0, 1e-11)
    weights = draw(TOPOLOGY.model_copy(update={"nodes": 20, "bias": 0.1, "spectral_radius": 0.2}), [0])
    wave = np.sin(2 * np.pi * np.arange(400) / 23)
    x, _ = drive(node, weights, wave[:300])
    w_out = Ridge(x[50:299, 0], wave[51:300, None]).readout(1e-9)[None]
    x, seen = drive(node, weights, wave, w_out=w_out, taught=300)
    np.testing.assert_array_equal(seen[:300, 0, 0], wave[:300])
    np.testing.assert_allclose(seen[300:, 0], read(w_out[0], x[299:-1, 0]), atol=1e-12)
    np.testing.assert_allclose(seen[300:310, 0, 0], wave[300:310], atol=0.02)


def test_uncoupled_nodes_of_no_memory_remember_nothing():
    node = Memoryless.like(1e-11)
    weights = draw(TOPOLOGY.model_copy(update={"spectral_radius": 0.0}), [0])
    u = np.random.default_rng(0).uniform(-1, 1, 50)
    other = np.where(np.arange(50) < 40, -u, u)
    same = drive(node, weights, u)[0] == drive(node, weights, other)[0]
    assert same[40:].all()
    assert not same[:40].all()


def test_a_ridge_regression_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((60, 4)), rng.standard_normal((60, 2))
    for ridge in (1e-8, 1e-2, 1.0):
        expected = Reference(alpha=60 * ridge, solver="svd").fit(x, target)
        w = Ridge(x, target).readout(ridge)
        np.testing.assert_allclose(w[:, :-1], expected.coef_, atol=1e-12)
        np.testing.assert_allclose(read(w, x), expected.predict(x), atol=1e-12)


def test_an_error_that_is_not_finite_is_infinite():
    assert nrmse(np.array([[np.nan], [0.0]]), np.array([[1.0], [0.0]])) == np.inf


def test_bad_inputs_are_told(low_pass):
    weights = draw(TOPOLOGY, [0, 1])
    with pytest.raises(SpinloomError, match=r"u: expected \(samples, networks, channels\) with 2 networks of 1"):
        drive(low_pass, weights, np.zeros((5, 3)))
    with pytest.raises(SpinloomError, match="taught: expected from 1 to 5 samples, got 6"):
        drive(low_pass, weights, np.zeros(5), taught=6)
    with pytest.raises(ValidationError, match="expected a hold that is a multiple of the 3 virtual nodes, got 4"):
        Reading(hold=4, virtual=3)
