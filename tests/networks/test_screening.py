"""Screening: many networks of any period in one batch, told apart by how they fail."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from spinloom.networks.loop import simulate
from spinloom.networks.screening import WASHOUT, screen
from spinloom.networks.seeds import stream
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, Weights, draw

GOOD = Topology(nodes=20, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)
DEAF = Topology(nodes=20, spectral_radius=0.0, feedback=0.0, bias=0.6, gain=0.9)
WILD = Topology(nodes=20, spectral_radius=8.0, feedback=0.3, bias=0.05, gain=0.9)
TICKS = {"forced_ticks": 600, "free_ticks": 300}


def screened(node, topologies, targets, clocks=None, noise=1e-3):
    S = len(topologies)
    weights = Weights.stack([draw(topology, [k]) for k, topology in enumerate(topologies)])
    how = {"noise": np.full(S, noise), "ridge": np.full(S, 1e-8), "seed": 0}
    return weights, screen(node, weights, targets, clocks or [None] * S, **how, **TICKS)


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


def test_the_taught_error_is_that_of_a_ridge_regression(low_pass):
    f = target("triangle", 30)
    weights, result = screened(low_pass, [GOOD], [f], noise=1e-2)
    fed = np.tile(f, (20, 1))
    noisy = fed + 1e-2 * stream(0, "screening").standard_normal((600, 1, 1))[:, 0]
    _, record = simulate(low_pass, weights, target=noisy, hold=np.ones(600, bool), record="r")
    keep = slice(WASHOUT * 30, None)
    r, wanted = record.r[keep, 0], fed[keep, 0]
    missed = wanted - Ridge(alpha=1e-8 * len(r)).fit(r, wanted).predict(r)
    assert result.taught[0] == pytest.approx(np.sqrt((missed**2).mean()) / f.std(), rel=1e-3)


def test_a_clock_drives_a_network_that_cannot_hear_itself(low_pass):
    clocked = DEAF.model_copy(update={"clock": 1.0})
    f = target("sine", 30)
    _, result = screened(low_pass, [clocked, DEAF], [f, f], [clocked.clock_period(30), None])
    assert result.state.tolist() == ["works", "dead"]
