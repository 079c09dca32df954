"""full-FORCE: all recurrent weights learn what the target would have driven."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.networks.full_force import full_force
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training
from spinloom.networks.trials import generate

HOW = Training(
    teacher_periods=60,
    force_periods=30,
    noise=5e-3,
    ridge=1e-6,
    prior_ticks=500,
    trim_rounds=3,
    trim_periods=20,
    tries=1,
)


def test_the_network_generates_without_feedback(low_pass):
    f = target("sine", 30)
    drawn = draw(Topology(nodes=16, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9), [0])
    found = full_force(low_pass, drawn, f, HOW)
    assert not found.w_fb.any()
    np.testing.assert_array_equal(found.W_in, drawn.W_in)
    assert generate(low_pass, found, f, 20, 5).nrmse.max() < 0.1
    # Feedback is gone, so that what it learned is more than the old weights.
    assert np.abs(found.W - drawn.W).max() > 0.1


def test_with_a_clock(low_pass):
    f, clock = target("sine", 20), np.sin(2 * np.pi * np.arange(20) / 20)
    drawn = draw(Topology(nodes=12, spectral_radius=0.5, feedback=0.5, bias=0.6, gain=0.9, clock=1.0), [0])
    how = HOW.model_copy(update={"method": "ridge"})
    found = full_force(low_pass, drawn, f, how, clock=clock)
    assert generate(low_pass, found, f, 10, 5, clock=clock).nrmse[0] == pytest.approx(0, abs=0.1)
