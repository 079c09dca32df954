"""Screening: many networks of any period in one batch, told apart by how they fail."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from spinloom.networks.loop import simulate
from spinloom.networks.screening import SEEN, SETTLE, SHAKEN, WASHOUT, screen
from spinloom.networks.seeds import stream
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, Weights, draw

GOOD = Topology(nodes=20, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)
DEAF = Topology(nodes=20, spectral_radius=0.0, feedback=0.0, bias=0.6, gain=0.9)
WILD = Topology(nodes=20, spectral_radius=8.0, feedback=0.3, bias=0.05, gain=0.9)
TICKS = {"taught_ticks": 600, "tested_ticks": 300, "force_ticks": 300, "free_ticks": 300}


def screened(node, topologies, targets, clocks=None, noise=1e-3, **ticks):
    S = len(topologies)
    weights = Weights.stack([draw(topology, [k]) for k, topology in enumerate(topologies)])
    how = {"noise": np.full(S, noise), "ridge": np.full(S, 1e-8), "seed": 0}
    return weights, screen(node, weights, targets, clocks or [None] * S, **how, **{**TICKS, **ticks})


def test_networks_with_periods_of_their_own_are_told_apart(low_pass):
    targets = [target("sine", 30), target("sine", 41), target("sine", 30), target("sine", 30)]
    _, result = screened(low_pass, [GOOD, GOOD, DEAF, WILD], targets)
    assert result.state.tolist() == ["works", "works", "dead", "sings"]
    assert result.shape[:2].max() < 0.05
    assert (result.free >= result.shape - 1e-9).all()
    assert result.taught[2] == pytest.approx(1.0, abs=0.01)


def test_a_network_does_not_depend_on_its_neighbours(low_pass):
    targets = [target("sine", 30), target("triangle", 41)]
    _, both = screened(low_pass, [GOOD, GOOD], targets)
    _, first = screened(low_pass, [GOOD], targets[:1])
    assert both.taught[0] == pytest.approx(first.taught[0], rel=1e-9)
    assert both.free[0] == pytest.approx(first.free[0], rel=1e-6)


def test_the_taught_error_is_that_of_a_ridge_regression_under_another_noise(low_pass):
    f = target("triangle", 30)
    weights, result = screened(low_pass, [GOOD], [f], noise=1e-2)
    random = stream(0, "screening")
    noise = np.concatenate([1e-2 * random.standard_normal((600, 1, 1)), SHAKEN * random.standard_normal((300, 1, 1))])[
        :, 0
    ]
    target_ = np.tile(f, (len(noise) // 30, 1))
    _, record = simulate(low_pass, weights, target=target_ + noise, hold=np.ones(len(noise), bool), record="r")
    keep, last = slice(WASHOUT * 30, 600), slice(600 + SETTLE * 30, 600 + (SETTLE + SEEN) * 30)
    fit = Ridge(alpha=1e-8 * (600 - WASHOUT * 30)).fit(record.r[keep, 0], target_[keep, 0])
    missed = target_[last, 0] - fit.predict(record.r[last, 0])
    assert result.taught[0] == pytest.approx(np.sqrt((missed**2).mean()) / f.std(), rel=1e-3)


def test_without_a_free_run_it_is_only_said_what_the_nodes_can_represent(low_pass):
    _, result = screened(low_pass, [GOOD, GOOD, DEAF, WILD], [target("sine", 30)] * 4, force_ticks=0, free_ticks=0)
    assert result.state.tolist() == ["follows", "follows", "dead", "sings"]
    assert np.isnan([result.free, result.shape]).all()
    assert np.isfinite(result.taught).all()


def test_force_tames_what_ridge_leaves_unstable(low_pass):
    """Without noise a ridge read-out of a lively network is lost at once."""
    lively = GOOD.model_copy(update={"spectral_radius": 1.4})
    targets = [target("triangle", 30)] * 4
    _, ridge = screened(low_pass, [lively] * 4, targets, noise=0.0, force_ticks=0)
    _, force = screened(low_pass, [lively] * 4, targets, noise=0.0, force_ticks=900)
    assert np.median(force.shape) < 0.5 * np.median(ridge.shape)


def test_a_clock_drives_a_network_that_cannot_hear_itself(low_pass):
    clocked = DEAF.model_copy(update={"clock": 1.0})
    f = target("sine", 30)
    _, result = screened(low_pass, [clocked, DEAF], [f, f], [clocked.clock_period(30), None])
    assert result.state.tolist() == ["works", "dead"]
