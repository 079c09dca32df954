"""What a series asks of the nodes, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.networks.series import Demand, demand, figures, warning
from spinloom.networks.tasks import target

TICK = 1e-11


def low_pass(corner):
    return lambda frequencies: 1 / (1 + 1j * np.asarray(frequencies) / corner)


def test_the_band_ends_where_the_response_has_fallen_to_a_tenth():
    asked = demand(target("sine", 100), TICK, low_pass(1e9))
    assert asked.band == pytest.approx(np.sqrt(99) * 1e9, rel=2e-3)
    # A resonance, and nothing below it: the band reaches beyond its top.
    asked = demand(target("sine", 100), TICK, lambda f: 1 / (1 - (f / 2e9) ** 2 + 1j * f / 2e9 / 5) - 1)
    assert asked.band > 2e9


@pytest.mark.parametrize("ticks", [100, 101])
def test_the_variance_beyond_the_band_is_that_of_the_harmonics_there(ticks):
    """Harmonics 1, 5 and the highest that the ticks can hold, each with a known share."""
    phase = 2 * np.pi * np.arange(ticks) / ticks
    highest = ticks // 2
    f = 2 * np.sin(phase) + np.cos(5 * phase) + np.cos(highest * phase)
    asked = demand(f[:, None], TICK, low_pass(1.9e9 / np.sqrt(99)))
    power = np.array([2.0, 0.5, 1.0 if ticks % 2 == 0 else 0.5])
    np.testing.assert_allclose(asked.harmonics[[0, 4, highest - 1]], power / power.sum(), rtol=1e-9)
    assert asked.harmonics.sum() == pytest.approx(1)
    # A period of 1 ns: the first harmonic is at 1 GHz, within the band of 1.9 GHz, the others are not.
    assert asked.beyond == pytest.approx(1 - power[0] / power.sum())
    assert figures(asked) == {"band_hz": asked.band, "variance_beyond": asked.beyond, "still_share": asked.still}


def test_a_period_as_long_as_advised_leaves_little_beyond():
    asked = demand(target("beat", 84), TICK, low_pass(5e8))
    assert asked.beyond > 0.5
    longer = demand(target("beat", asked.ticks), TICK, low_pass(5e8))
    assert longer.beyond <= 0.05
    assert demand(target("beat", int(0.9 * asked.ticks)), TICK, low_pass(5e8)).beyond > 0.05


@pytest.mark.parametrize(
    ("name", "least", "most"), [("sine", 0, 0.05), ("triangle", 0, 0.03), ("square", 0.9, 1), ("two_pulses", 0.5, 0.7)]
)
def test_how_long_a_series_stands_still(name, least, most):
    asked = demand(target(name, 200), TICK)
    assert least <= asked.still <= most
    assert (asked.band, asked.beyond, asked.ticks) == (None, None, None)


@pytest.mark.parametrize(("name", "beyond"), [("two_pulses", 0.16), ("beat", 0.66)])
def test_the_shipped_series_have_the_harmonics_that_are_told_of_them(name, beyond):
    asked = demand(target(name, 200), TICK)
    assert asked.harmonics[5:].sum() == pytest.approx(beyond, abs=0.005)


@pytest.mark.parametrize("response", [lambda f: np.full(len(f), np.nan), lambda f: np.zeros(len(f))])
def test_nodes_without_a_response_have_no_band(response):
    asked = demand(target("sine", 60), TICK, response)
    assert asked.band is None
    assert asked.beyond is None
    assert warning("sine", asked, 60, False) == ""


def test_what_stands_in_the_way_is_said_beforehand():
    much = Demand(np.ones(1), 7e9, 0.66, 0.6, 400)
    told = warning("beat", much, 84, False)
    assert told.startswith("beat: 66% of its variance lies beyond 7 GHz")
    assert "a period of 400 ticks instead of 84" in told
    assert "stands still for 60% of its period" in told
    assert "--clock" in told
    clocked = warning("beat", much, 84, True)
    assert "66%" in clocked
    assert "--clock" not in clocked
    assert warning("beat", much._replace(beyond=0.01), 400, True) == ""
    assert warning("sine", Demand(np.ones(1), 7e9, 0.0, 0.02, 20), 84, False) == ""
