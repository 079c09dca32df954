"""The device card: good ones load, and every bad one is told by the name of its field."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spinloom.device_models.card import DeviceCard, load_card, parse_card, read_toml
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder

CARDS = sorted((data_folder() / "devices").glob("*.toml"))
VALUES = read_toml(data_folder() / "devices" / "disc60.toml")


def put(values, field, value):
    section, _, name = field.rpartition(".")
    target = values[section] if section else values
    target[name] = value
    return values


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_cards_load_and_survive_json(path):
    card = load_card(path)
    assert card.name == path.stem
    assert DeviceCard.from_json(card.to_json()) == card
    for direction in (card.material.Ku_axis, card.torque.polariser, card.readout.axis, card.start.m):
        assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-15)
    assert hash(card) == hash(load_card(path))


def test_a_card_is_frozen(disc):
    with pytest.raises(ValidationError, match="frozen"):
        disc.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        disc.material.alpha = 0.2


def test_defaults(card_values):
    for field in ("Ku", "Ku_axis", "gamma0"):
        del card_values["material"][field]
    for field in ("Lambda", "eps_prime"):
        del card_values["torque"][field]
    del card_values["bias"]
    card = parse_card(card_values)
    assert card.bias.H == (0, 0, 0)
    assert (card.material.Ku, card.torque.Lambda, card.torque.eps_prime) == (0, 1, 0)
    assert card.torque.oersted == "off"


def test_the_oersted_field_is_off_or_has_a_direction(card_values):
    assert parse_card(put(card_values, "torque.oersted", "down")).torque.oersted == "down"
    with pytest.raises(SpinloomError, match=r"torque\.oersted: .*'off', 'up' or 'down'; got 'left'"):
        parse_card(put(card_values, "torque.oersted", "left"))


def test_cards_stored_before_the_oersted_field_was_an_option_are_equal(disc):
    text = disc.to_json().replace(',"oersted":"off"', "")
    assert "oersted" not in text
    assert DeviceCard.from_json(text) == disc


def test_cards_stored_before_read_outs_had_an_offset_are_equal(disc):
    text = disc.to_json().replace(',"offset":0.0', "")
    assert "offset" not in text
    assert DeviceCard.from_json(text) == disc


def test_area_and_thickness(disc):
    assert disc.thickness == 2e-9
    assert disc.area == pytest.approx(177 * 16e-18)


@pytest.mark.parametrize(
    "field",
    [
        "geometry",
        "geometry.shape",
        "geometry.size",
        "geometry.cell",
        "material.Ms",
        "material.A",
        "material.alpha",
        "torque.polariser",
        "torque.P",
        "torque.J_max",
        "readout.axis",
        "start.m",
        "name",
    ],
)
def test_missing_field(card_values, field):
    section, _, name = field.rpartition(".")
    del (card_values[section] if section else card_values)[name]
    with pytest.raises(SpinloomError, match=rf"{re.escape(field)}: missing"):
        parse_card(card_values)


@pytest.mark.parametrize("field", ["material.Aex", "geometry.sise", "torque.lambda", "biass", "bias.h"])
def test_misspelt_field(card_values, field):
    with pytest.raises(SpinloomError, match=rf"{re.escape(field)}: unknown field; check its spelling"):
        parse_card(put(card_values, field, 1.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("geometry.size", [60, 60, 2]),
        ("geometry.cell", [4e-18, 4e-18, 2e-18]),
        ("material.Ms", 8e-4),
        ("material.Ms", 8e14),
        ("material.A", 13e-3),
        ("material.A", 13e-21),
        ("material.gamma0", 2.2e14),
        ("material.gamma0", 1.76e11),
        ("torque.J_max", 1.05e20),
        ("torque.J_max", 1.05e2),
        ("bias.H", [0, 7.7e12, 0]),
        ("readout.RA", 5e-3),
    ],
)
def test_value_wrong_by_its_unit(card_values, field, value):
    with pytest.raises(SpinloomError, match=re.escape(field)) as caught:
        parse_card(put(card_values, field, value))
    assert "e.g." in str(caught.value)


def test_cell_larger_than_the_layer(card_values):
    with pytest.raises(SpinloomError, match="geometry: .*cell along z is 4e-09 m, larger than the layer's 2e-09 m"):
        parse_card(put(card_values, "geometry.cell", [4e-9, 4e-9, 4e-9]))


def test_cells_must_fill_the_layer(card_values):
    with pytest.raises(SpinloomError, match=r"geometry: .*size along x \(6e-08 m\) is 8\.57\d* cells of 7e-09 m"):
        parse_card(put(card_values, "geometry.cell", [7e-9, 4e-9, 2e-9]))


def test_too_many_cells(card_values):
    with pytest.raises(SpinloomError, match="geometry: .*at most 200000"):
        parse_card(put(card_values, "geometry.cell", [1e-10, 1e-10, 2e-9]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("material.alpha", 0.0),
        ("material.alpha", -0.1),
        ("material.alpha", float("nan")),
        ("material.Ms", float("inf")),
        ("material.Ms", "8e5 A/m"),
        ("bias.H", [0, float("nan"), 0]),
        ("bias.H", [0, 0]),
        ("torque.polariser", [0, 0, 0]),
        ("torque.P", 0.0),
        ("torque.P", 1.5),
        ("torque.Lambda", 0.0),
        ("readout.axis", [0.0, 0.0, 0.0]),
        ("readout.axis", "x"),
        ("readout.offset", 1.5),
        ("readout.offset", float("nan")),
        ("start.m", [0, 0, 0]),
        ("start.m", [float("nan"), 0, 1]),
        ("geometry.shape", "circle"),
        ("geometry.size", 60e-9),
        ("name", ""),
        ("name", "../disc"),
        ("material", 3),
    ],
)
def test_bad_value_names_its_field(card_values, field, value):
    with pytest.raises(SpinloomError, match=re.escape(field)):
        parse_card(put(card_values, field, value))


def test_every_mistake_is_told_at_once(card_values):
    put(card_values, "material.alpha", 0)
    put(card_values, "torque.P", 2)
    with pytest.raises(SpinloomError, match=r"(?s)material\.alpha.*torque\.P"):
        parse_card(card_values)


@given(
    field=st.sampled_from(["material.Ms", "material.alpha", "torque.P", "bias.H", "geometry.size", "start.m", "name"]),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.floats(allow_nan=True, allow_infinity=True),
        st.integers(),
        st.text(max_size=5),
        st.lists(st.floats(allow_nan=True), max_size=4),
        st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    ),
)
def test_odd_values_give_a_card_or_a_message(field, value):
    values = {key: dict(part) if isinstance(part, dict) else part for key, part in VALUES.items()}
    message = ""
    try:
        card = parse_card(put(values, field, value))
    except SpinloomError as error:
        message = str(error)
    if message:
        assert field.split(".")[0] in message
    else:
        assert DeviceCard.from_json(card.to_json()) == card


@given(st.lists(st.floats(-1e150, 1e150), min_size=3, max_size=3))
def test_directions_become_unit_vectors(vector):
    values = {**VALUES, "start": {"m": vector}}
    if math.hypot(*vector) < 1e-300:
        with pytest.raises(SpinloomError, match="start.m"):
            parse_card(values)
    else:
        card = parse_card(values)
        assert np.linalg.norm(card.start.m) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("text", "message"), [("name = ", "not valid TOML"), ("\xff", "not valid TOML")])
def test_unreadable_file(tmp_path, text, message):
    path = tmp_path / "card.toml"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(SpinloomError, match=message):
        load_card(path)


def test_no_such_file(tmp_path):
    with pytest.raises(SpinloomError, match="none.toml: no such file"):
        load_card(tmp_path / "none.toml")
    with pytest.raises(SpinloomError, match="cannot be read"):
        load_card(tmp_path)


def test_odd_cell_is_inside_when_its_centre_is(disc, alter):
    mask = alter(disc, geometry={"size": (12e-9, 12e-9, 2e-9)}).geometry.mask()[:, :, 0]
    assert mask.tolist() == [[True] * 3] * 3
    mask = alter(disc, geometry={"size": (20e-9, 20e-9, 2e-9)}).geometry.mask()[:, :, 0]
    assert mask.sum() == 21
    assert not mask[0, 0]
