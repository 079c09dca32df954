"""Devices of a population: what is drawn, what it makes of a card, and every spread that makes none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.readout import conductance
from spinloom.device_models.spread import PARAMETERS, Spread, chip, vary

DISC = load_card(data_folder() / "devices" / "disc60.toml")


def only(parameter, value):
    return value * np.eye(len(PARAMETERS))[PARAMETERS.index(parameter)]


def test_draws_have_the_spread_and_the_correlations_that_were_asked_for():
    spread = Spread(diameter=0.03, Ms=0.1, RA=0.05, offset=0.2, correlations={"diameter,RA": -0.6, "Ms, offset": 1.0})
    drawn = spread.draw(4000, seed=1)
    assert drawn.shape == (4000, len(PARAMETERS))
    np.testing.assert_allclose(drawn.std(axis=0), [0.03, 0, 0.1, 0, 0, 0.05, 0, 0, 0.2], rtol=0.05)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.01)
    diameter, Ms, RA, offset = (drawn[:, PARAMETERS.index(name)] for name in ("diameter", "Ms", "RA", "offset"))
    assert np.corrcoef(diameter, RA)[0, 1] == pytest.approx(-0.6, abs=0.03)
    assert np.corrcoef(diameter, Ms)[0, 1] == pytest.approx(0, abs=0.05)
    np.testing.assert_allclose(offset, 2 * Ms, atol=1e-12)


def test_a_device_does_not_depend_on_how_many_are_drawn():
    spread = Spread(diameter=0.03, RA=0.05, P=0.02, correlations={"diameter,RA": -0.3, "P,RA": 0.4})
    many = spread.draw(30, seed=4)
    for n in (0, 1, 7):
        np.testing.assert_array_equal(spread.draw(n, seed=4), many[:n])
    assert np.abs(spread.draw(30, seed=5) - many).max() > 0.01
    assert len(np.unique(many[:, 0])) == 30


def test_uncorrelated_parameters_are_the_streams_own_numbers():
    expected = 0.05 * np.random.default_rng([9, 2]).standard_normal(len(PARAMETERS))
    np.testing.assert_allclose(Spread.uniform(0.05).draw(3, seed=9)[2], expected, rtol=1e-15)


def test_no_spread_draws_the_card_itself():
    assert not Spread().draw(5, seed=0).any()
    assert chip(DISC, Spread(), nodes=2, seed=0)[1].model_copy(update={"name": DISC.name}) == DISC


@pytest.mark.parametrize("n", [-1])
def test_negative_numbers_and_seeds(n):
    with pytest.raises(SpinloomError, match="n: expected a whole number that is not negative, got -1"):
        Spread().draw(n, seed=0)
    with pytest.raises(SpinloomError, match="seed: expected a whole number that is not negative, got -1"):
        Spread().draw(3, seed=n)


def test_uniform_and_typical():
    uniform = Spread.uniform(0.05)
    assert [getattr(uniform, name) for name in PARAMETERS] == [0.05] * len(PARAMETERS)
    typical = Spread.typical()
    assert all(0 < getattr(typical, name) <= 0.05 for name in PARAMETERS)
    assert Spread.model_validate_json(typical.model_dump_json()) == typical


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"diameter": -0.01}, "diameter"),
        ({"alpha": 0.51}, "alpha"),
        ({"RA": float("nan")}, "RA"),
        ({"TMR": 0.1}, "TMR"),
        ({"correlations": {"diameter,width": 0.1}}, "two different ones of diameter, .* 'diameter,width'; check"),
        ({"correlations": {"RA,RA": 0.1}}, "two different ones of .*'RA,RA'"),
        ({"correlations": {"RA": 0.1}}, "two different ones of .*'RA'"),
        ({"correlations": {"RA,P,Ms": 0.1}}, "two different ones of .*'RA,P,Ms'"),
        ({"correlations": {"RA,P": 1.5}}, "correlations"),
        ({"correlations": {"RA,P": 0.1, "P,RA": 0.1}}, "each pair of parameters once, got .* twice; leave one out"),
        (
            {"correlations": {"RA,P": 0.9, "P,Ms": 0.9, "Ms,RA": -0.9}},
            "contradict each other: .*eigenvalue -0.8, expected none below 0; bring",
        ),
    ],
)
def test_a_spread_that_is_none(values, message):
    with pytest.raises(ValidationError, match=message):
        Spread(**values)


def test_a_spread_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Spread().Ms = 0.1


def test_what_a_deviation_does_to_a_card():
    base = load_card(data_folder() / "devices" / "pma50.toml")
    by = np.array([0.1, -0.05, 0.02, -0.03, 0.2, 0.25, 0.04, -0.1, 0.07])
    card = vary(base, by, "device")
    assert card.name == "device"
    np.testing.assert_allclose(card.geometry.size, np.multiply(base.geometry.size, (1.1, 1.1, 0.95)))
    np.testing.assert_allclose(card.geometry.cell, np.multiply(base.geometry.cell, (1.1, 1.1, 0.95)))
    material = card.material
    found = (material.Ms, material.Ku, material.alpha, card.readout.RA, card.torque.J_max, card.torque.P)
    was = base.material
    expected = (1.02 * was.Ms, 0.97 * was.Ku, 1.2 * was.alpha, 1.25 * base.readout.RA, base.torque.J_max / 1.25)
    np.testing.assert_allclose(found, (*expected, 1.04 * base.torque.P))
    np.testing.assert_allclose(card.bias.H, 0.9 * np.array(base.bias.H))
    assert card.readout.offset == 0.07
    kept = {"A", "Ku_axis", "gamma0"}
    assert card.material.model_dump(include=kept) == base.material.model_dump(include=kept)
    assert (card.readout.axis, card.readout.TMR, card.start) == (base.readout.axis, base.readout.TMR, base.start)
    assert DeviceCard.from_json(card.to_json()) == card
    assert vary(card, only("offset", -0.02)).readout.offset == pytest.approx(0.05)


def test_one_volt_is_one_volt():
    """At full drive, parallel, the voltage over the junction is the same whatever its RA and its diameter."""
    for by in (only("RA", 0.3), only("diameter", -0.1)):
        card = vary(DISC, by)
        volts = [c.torque.J_max * c.area / conductance(c, np.array(1.0)) for c in (DISC, card)]
        assert volts[0] == pytest.approx(volts[1])


def test_the_amplifiers_offset_conducts_nothing():
    card = vary(DISC, only("offset", 0.1))
    np.testing.assert_allclose(conductance(card, np.array([0.6, 1.1])), conductance(DISC, np.array([0.5, 1.0])))


@given(diameter=st.floats(-0.3, 0.3), thickness=st.floats(-0.3, 0.3))
def test_the_edge_stays_as_it_is(diameter, thickness):
    for name in ("disc60", "disc100", "ellipse80x50", "rect100x60"):
        card = load_card(data_folder() / "devices" / f"{name}.toml")
        varied = vary(card, only("diameter", diameter) + only("thickness", thickness))
        assert varied.geometry.shape_cells == card.geometry.shape_cells
        np.testing.assert_array_equal(varied.geometry.mask(), card.geometry.mask())


@pytest.mark.parametrize(
    ("parameter", "by", "message"),
    [
        (
            "thickness",
            -1.2,
            "thickness: d7 would have -0.2 times the card's, expected more than 0; lower the spread of",
        ),
        ("diameter", -1.0, "diameter: d7 would have 0 times the card's"),
        ("thickness", -0.99, "thickness: d7 is no device: geometry.size.2: .*would be 2e-11; lower .* of thickness"),
        ("alpha", 11.0, "alpha: d7 is no device: material.alpha: .*1; it would be 1.2; lower the spread of alpha"),
        ("P", 2.0, "P: d7 is no device: torque.P: .*would be 1.2; lower the spread of P"),
        ("RA", 1e5, "RA: d7 is no device: readout.RA: .*; lower the spread of RA"),
        ("Ms", 3.0, "Ms: d7 is no device: material.Ms"),
        ("bias", 2e3, "bias: d7 is no device: bias.H.1"),
        ("offset", -1.5, "offset: d7 is no device: readout.offset: .*would be -1.5; lower the spread of offset"),
    ],
)
def test_deviations_that_no_device_has(parameter, by, message):
    with pytest.raises(SpinloomError, match=message):
        vary(DISC, only(parameter, by), "d7")


@pytest.mark.parametrize("by", [np.zeros(8), np.zeros((1, 9)), np.full(9, np.nan), 0.0])
def test_deviations_of_another_form(by):
    with pytest.raises(SpinloomError, match=r"deviation: expected 9 finite numbers \(diameter, thickness, .*got"):
        vary(DISC, by)


@given(st.lists(st.floats(-3, 3), min_size=9, max_size=9))
def test_odd_deviations_give_a_device_or_name_their_parameter(by):
    message = ""
    try:
        card = vary(DISC, by)
    except SpinloomError as error:
        message = str(error)
    if message:
        parameter = message.split(":")[0]
        assert parameter in PARAMETERS
        assert by[PARAMETERS.index(parameter)] != 0
        assert message.endswith(f"lower the spread of {parameter}")
    else:
        assert DeviceCard.from_json(card.to_json()) == card


def test_a_chip_names_its_devices():
    spread = Spread.uniform(0.05)
    cards = chip(DISC, spread, nodes=4, seed=2)
    assert [card.name for card in cards] == [f"disc60-{k}" for k in range(4)]
    assert cards == tuple(vary(DISC, row, f"disc60-{k}") for k, row in enumerate(spread.draw(4, 2)))
    assert chip(DISC, spread, nodes=6, seed=2)[:4] == cards


def test_a_chip_that_is_spread_too_far():
    with pytest.raises(SpinloomError, match=r"P: disc60-\d+ .*lower the spread of P"):
        chip(DISC, Spread(P=0.5), nodes=500, seed=0)
