"""Random streams: one for each purpose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spinloom.networks.seeds import stream
from spinloom.networks.topology import Topology, draw

PURPOSES = ("topology", "noise", "training trials", "test trials", "full trials")


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_same_seed_gives_the_same_stream_again(purpose):
    np.testing.assert_array_equal(stream(3, purpose).random(5), stream(3, purpose).random(5))
    assert np.abs(stream(3, purpose).random(5) - stream(4, purpose).random(5)).max() > 0.01


def test_what_is_drawn_for_one_purpose_says_nothing_about_another():
    for seed in (0, 1, 12345):
        drawn = [stream(seed, purpose).standard_normal(20_000) for purpose in PURPOSES]
        for a, b in itertools.combinations(drawn, 2):
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_the_weights_take_the_seeds_own_stream():
    """So networks that were drawn before there were other streams are drawn again."""
    np.testing.assert_array_equal(stream(7, "topology").random(9), np.random.default_rng(7).random(9))
    topology = Topology(nodes=4, spectral_radius=0.5, density=1.0, bias=0.5, gain=1.0)
    W = np.random.default_rng(7).standard_normal((4, 4))
    np.testing.assert_allclose(draw(topology, [7]).W[0], 0.5 * W / np.abs(np.linalg.eigvals(W)).max(), rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 5])
def test_equal_seeds_of_weights_and_noise_are_not_correlated(seed):
    W, noise = (stream(seed, purpose).standard_normal(40_000) for purpose in ("topology", "noise"))
    for lag in (0, 1, 7):
        assert abs(np.corrcoef(W[: 40_000 - lag], noise[lag:])[0, 1]) < 0.02


def test_an_unknown_purpose_is_told():
    with pytest.raises(ValueError, match="coffee|not in"):
        stream(0, "coffee")
