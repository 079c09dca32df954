"""What a probe finds: poles of known signals, and a small disc whose answer follows from its card."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.constants import elementary_charge, hbar, mu_0

from spinloom.device_models import probe as probing
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import DivergedError
from spinloom.device_models.probe import LEVELS, PAST, TWINS, probe, ringing
from spinloom.device_models.scan import expect_finite

T = 1e-11 * np.arange(400)


@pytest.fixture(scope="module")
def found(coarse_card):
    done = []
    result = probe(coarse_card, progress=done.append)
    assert sum(done) == pytest.approx(1)
    return result


@pytest.mark.parametrize(("frequency", "quality"), [(2e9, 0.8), (4.4e9, 7.0), (9e9, 40.0)])
def test_poles_of_a_decaying_oscillation(frequency, quality):
    """Also where another, weaker one and a constant are beside it."""
    omega, decay = 2 * np.pi * frequency, np.pi * frequency / quality
    swing = np.sqrt(omega**2 - decay**2)
    main = np.exp(-decay * T) * np.cos(swing * T + 0.3)
    other = 0.2 * np.exp(-1.5e9 * T) * np.cos(7e10 * T)
    f, q = ringing(np.stack([1 - main, 0.5 * main + other], axis=1), 1e-11)
    assert (f, q) == (pytest.approx(frequency, rel=1e-3), pytest.approx(quality, rel=1e-2))


def test_what_does_not_ring_has_no_resonance():
    assert ringing(np.exp(-3e9 * T)[:, None], 1e-11) == (None, None)
    assert ringing(np.zeros((400, 3)), 1e-11) == (None, None)


def test_the_static_answer_is_that_of_the_card(coarse_card, alter):
    """A torque along the polariser acts as a field a_J in the plane: tan(phi) = a_J / H, where the bias is strong."""
    bias = 8e4
    strong, torque = alter(coarse_card, bias={"H": (0.0, bias, 0.0)}), coarse_card.torque
    area = coarse_card.material.Ms * coarse_card.geometry.size[2]
    a_J = hbar * torque.P * torque.J_max / (2 * elementary_charge * mu_0 * area)
    answer = probing._ring(EmbeddedEngine(strong, probing.TICK))[-1]
    np.testing.assert_allclose(np.abs(answer), [a_J / bias, 0, 0], atol=0.1 * a_J / bias)


def test_the_static_answer_of_the_levels_is_the_slope_at_rest(found):
    rows = {row["u"]: row for row in found.levels}
    assert sorted(rows) == [*sorted(-level for level in LEVELS), *LEVELS]
    assert (rows[0.1]["signal"] - rows[-0.1]["signal"]) / 0.2 == pytest.approx(found.slope, rel=0.1)
    assert found.slope == found.slope_m[0] == max(found.slope_m, key=abs)


def test_the_default_disc_is_quiet_and_together(found):
    assert (found.safe, found.switches, found.precesses, found.chaotic) == (1.0, None, None, None)
    assert found.hysteresis < 1e-2
    assert [row["u"] for row in found.past] == list(PAST)
    assert [(row["amplitude"], row["kind"]) for row in found.twins] == list(TWINS)
    assert all(row["separation"] < 1e-5 for row in found.twins)
    assert 1e9 < found.resonance < 4e9
    assert 0.5 < found.quality < 2
    assert found.tick <= 0.1 / found.resonance
    assert found.period[0] < found.period[1]
    assert 0.2 < found.spread < 0.9
    assert any("Quiet at full drive" in sentence for sentence in found.advice)
    assert any("Twins stay together" in sentence for sentence in found.advice)


def test_it_is_numbers_and_words(found):
    assert json.loads(json.dumps(found.to_dict()))["name"] == found.name
    peak = found.spectrum["f"][int(np.argmax(found.spectrum["m"]))]
    assert peak < 2 * found.resonance


def advice(card, found, **changes):
    return " ".join(probing._advice(card, replace(found, **changes).to_dict()))


def test_advice(found, coarse_card):
    text = advice(coarse_card, found, safe=0.4, switches=0.75, precesses=0.5, J_max=4e10)
    assert "Quiet up to 0.4 of J_max (it switches at 0.75 of J_max; it precesses at 0.5 of J_max)" in text
    assert "set torque.J_max = 4e+10" in text
    text = advice(coarse_card, found, safe=0.0, precesses=0.1, J_max=1e10)
    assert "Nothing is quiet: it precesses at 0.1 of J_max" in text
    twins = [{**row, "separation": 0.01 if row["amplitude"] == 0.75 else 1e-9} for row in found.twins]
    text = advice(coarse_card, found, chaotic=0.75, safe=0.5, twins=twins)
    assert "Twins part under drives of 0.75 of J_max: it is chaotic there, and no model can follow" in text
    text = advice(coarse_card, found, slope=-0.006, slope_m=(0.1, 0.3, -0.006))
    assert "readout.axis = [0, 1, 0] (dr/du = 0.3" in text
    assert "tilt the bias" in advice(coarse_card, found, slope=0.0, slope_m=(0.0, 0.0, 0.0))
    text = advice(coarse_card, found, spread_m=(0.1, 0.05, 0.01), J_max=1e11)
    assert f"try torque.J_max = {3 * coarse_card.torque.J_max:.3g}" in text


def test_twins_that_part_and_layers_that_switch_are_seen(found, coarse_card, monkeypatch):
    """By an engine that gives the same, but for what is asked: the verdict follows the data."""

    class Other:
        equilibria = np.where(coarse_card.geometry.mask()[..., None], [0.0, 1.0, 0.0], 0.0)[None]

        def play(self, durations, inputs, fields=None, progress=None, **_):
            """A layer at rest up to 0.3, which precesses from 0.4 to 0.5 and is left upside down beyond."""
            u, t = np.asarray(inputs), np.cumsum(durations)
            largest = np.abs(u).max(axis=0)
            angle = np.where(np.isin(np.round(largest, 6), (0.4, 0.5)), 1.0, 0.0) * (np.abs(u) > 0)
            swing = 0.3 * angle * np.sin(2 * np.pi * 3e9 * t)[:, None]
            over = np.maximum.accumulate(np.abs(u) > 0.6, axis=0)
            return None, np.stack([0.1 * u + swing, np.where(over, -1.0, 1.0), 0 * u], axis=-1)

    result = probe(coarse_card, Other())
    assert (result.precesses, result.switches, result.safe) == (0.4, 0.75, 0.3)
    assert result.J_max == pytest.approx(0.3 * coarse_card.torque.J_max)
    assert result.resonance is None
    assert result.period is None


@pytest.mark.parametrize(
    ("batch", "device", "told"),
    [
        (0, 1, "step of the drive to -0.02 of J_max"),
        (1, 4, "level 0.3 of J_max"),
        (1, 5, "burst at resonance, then level 0.3 of J_max"),
        (1, 28, "level -0.75 of J_max, entered from [+]1"),
        (1, 41, "level 0.75 of J_max, entered from -1"),
        (1, 42, "random drive of at most 1 of J_max"),
    ],
)
@pytest.mark.parametrize("raises", [False, True])
def test_a_drive_under_which_a_device_is_lost_is_named(coarse_card, monkeypatch, batch, device, told, raises):
    """Whether the engine looks itself or not."""
    engine = EmbeddedEngine(coarse_card, probing.TICK)
    played = []

    def play(durations, inputs, fields=None, progress=None):
        m = np.tile([0.0, 1.0, 0.0], (*inputs.shape, 1))
        if len(played) == batch:
            m[7:, device] = np.nan
            if raises:
                expect_finite(m)
        played.append(len(m))
        return None, m

    monkeypatch.setattr(engine, "play", play)
    with pytest.raises(DivergedError, match=f"^{told}: its magnetisation is not finite from tick 7 on; ") as caught:
        probe(coarse_card, engine)
    assert (caught.value.tick, caught.value.member) == (7, device)
