"""Where devices rest: a state that a small push leaves is not taken for one."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from scipy.constants import mu_0

from spinloom.device_models.engines import equilibria
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.equilibria import Saddle, lower_states

TICK = 7.5e-12


def rest(card):
    engine = EmbeddedEngine(card, TICK)
    return engine.equilibria[0][engine.mask]


def test_a_start_against_the_bias_is_told_and_the_minimum_taken(coarse_card, alter):
    against = alter(coarse_card, start={"m": (0.0, -1.0, 0.0)})
    with pytest.warns(
        Saddle, match=r"start\.m: disc60 relaxes from \[0, -1, 0\] to a saddle.* start\.m = \[0, 1, 0\]"
    ) as told:
        found = rest(against)
    np.testing.assert_allclose(found, rest(coarse_card), atol=1e-5)
    # Turned by half a turn, the disc has lost twice its energy in the bias field, and nothing else.
    geometry, bias = coarse_card.geometry, coarse_card.bias.H[1]
    along = found[:, 1].sum() * np.prod(geometry.cell)
    expected = 2 * mu_0 * coarse_card.material.Ms * bias * along
    (message,) = [str(warning.message) for warning in told]
    assert float(re.search(r"falls by (\S+) J", message)[1]) == pytest.approx(expected, rel=0.01)


def test_a_minimum_is_left_as_it_is(coarse_card, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pushed = rest(coarse_card)
    monkeypatch.setattr(equilibria, "PUSHES", 0)
    np.testing.assert_array_equal(pushed, rest(coarse_card))


def test_a_shallower_minimum_is_a_minimum(coarse_card, alter):
    """Perpendicular anisotropy holds a layer up or down; a small tilt of the bias makes one of them shallower."""
    up = alter(
        coarse_card,
        material={"Ku": 1e6},
        bias={"H": (0.0, 0.0, -5e3)},
        start={"m": (0.0, 0.1, 1.0)},
        torque={"polariser": (1.0, 0.0, 0.0)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rest(up)[:, 2].mean() > 0.9


def test_of_several_devices_only_those_on_a_saddle_are_moved(coarse_card, alter):
    against = alter(coarse_card, start={"m": (0.0, -1.0, 0.0)})
    with pytest.warns(Saddle):
        both = EmbeddedEngine([coarse_card, against], TICK).equilibria
    mask = coarse_card.geometry.mask()
    assert both[1][mask][:, 1].mean() > 0.99
    np.testing.assert_allclose(both[0][mask], rest(coarse_card), rtol=0, atol=1e-9)


def test_a_saddle_that_another_solver_found_is_told(coarse_card, alter, monkeypatch):
    against = alter(coarse_card, start={"m": (0.0, -1.0, 0.0)})
    monkeypatch.setattr(equilibria, "PUSHES", 0)
    fields = [EmbeddedEngine(card, TICK).equilibria[0] for card in (coarse_card, against)]
    monkeypatch.undo()
    with pytest.warns(Saddle, match="disc60 relaxes from"):
        found = lower_states([coarse_card, against, coarse_card], [*fields, fields[0]])
    assert found[0] is found[2] is None
    np.testing.assert_allclose(found[1], rest(coarse_card).mean(axis=0), atol=1e-6)


def test_what_does_not_rest_here_is_not_tried(coarse_card):
    uniform = coarse_card.geometry.mask()[..., None] * np.array([0.0, 0.0, 1.0])
    assert lower_states([coarse_card], [uniform]) == [None]
