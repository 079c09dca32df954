"""Whether a warm layer stays where it rests: rigid layers, whose fluctuations equipartition gives."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.constants import Boltzmann

from spinloom.device_models import stability as module
from spinloom.device_models.card import MU0
from spinloom.device_models.engines.demag import demag_factors
from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.device_models.stability import DEVICES, DURATION, TICK, expect_stable, stability


def test_a_layer_fluctuates_as_equipartition_says(large_card, rigid_engine, monkeypatch):
    """In a well of the fields Hx and Hz, <m_i^2> is k T / (mu0 Ms V H_i)."""
    monkeypatch.setattr(module, "DEVICES", 300)
    card = large_card.at(100)
    found = stability(card, rigid_engine(card, TICK), seed=2)
    x, y, z = demag_factors(card.geometry)
    fields = card.bias.H[1] + np.array([x - y, z - y]) * card.material.Ms
    square = Boltzmann * 100 / (MU0 * card.material.Ms * card.area * card.thickness * fields)
    assert found.signal == pytest.approx(square[0] ** 0.5, rel=0.03)
    assert 1 - found.along == pytest.approx(square.sum() / 2, rel=0.06)
    assert (found.temperature, found.turned, found.stable) == (100, 0, True)
    expect_stable(found, card)


def test_a_small_layer_in_a_weak_field_has_no_direction(large_card, alter, rigid_engine):
    """Its energy in the field is a tenth of k T."""
    small = {"size": (20e-9, 20e-9, 2e-9), "cell": (20e-9, 20e-9, 2e-9)}
    card = alter(large_card, geometry=small, bias={"H": (0, 400.0, 0)}).at(300)
    assert MU0 * card.material.Ms * card.area * card.thickness * 400 < 0.1 * Boltzmann * 300
    done = []
    found = stability(card, rigid_engine(card, TICK), done.append, seed=1)
    assert sum(done) == round(DURATION / TICK)
    assert abs(found.along) < 0.5
    assert found.turned > 0
    with pytest.raises(SpinloomError, match=r"conditions.temperature: disc60 is not stable at 300 K: .*raise the bias"):
        expect_stable(found, card)


@pytest.mark.parametrize(("tick", "turned"), [(-1, 1), (3, 0)], ids=["late", "while it becomes warm"])
def test_one_device_that_turns_over_is_seen(large_card, tick, turned):
    m = np.tile([0.0, 0.9, 0.0], (round(DURATION / TICK), DEVICES, 1))
    m[tick, 2] *= -1
    rest = np.tile([0.0, 1.0, 0.0], (1, 2, 2, 1, 1))
    found = stability(large_card.at(300), SimpleNamespace(equilibria=rest, play=lambda *_, **__: (None, m)))
    assert (found.turned, found.stable) == (turned, not turned)
    assert found.along == pytest.approx(0.9, abs=0.01)


def test_a_layer_is_measured_by_its_length_at_rest(large_card):
    """A vortex or a leaf has a shorter <m> than one; what is left of it counts."""
    rest = np.zeros((1, 2, 2, 1, 3))
    rest[..., 1] = 0.5
    m = np.tile([0.0, 0.3, 0.0], (round(DURATION / TICK), DEVICES, 1))
    found = stability(large_card.at(300), SimpleNamespace(equilibria=rest, play=lambda *_, **__: (None, m)))
    assert found.along == pytest.approx(0.6)
    assert found.signal == pytest.approx(0)
    assert found.stable


def test_a_device_that_is_lost_is_named_and_is_not_called_unstable(large_card):
    m = np.tile([0.0, 0.9, 0.0], (round(DURATION / TICK), DEVICES, 1))
    m[4:, 3] = np.nan
    rest = np.tile([0.0, 1.0, 0.0], (1, 2, 2, 1, 1))
    engine = SimpleNamespace(equilibria=rest, play=lambda *_, **__: (None, m))
    with pytest.raises(
        DivergedError, match="^device 3 at rest at 300 K: its magnetisation is not finite from tick 4 on"
    ):
        stability(large_card.at(300), engine)
