"""Values, text and bytes that no file has had yet: a good result or one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinloom.device_models.calibration import Protocol
from spinloom.device_models.card import DeviceCard, load_card, parse_card, read_toml
from spinloom.device_models.drives import read_waveform
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.measured import read_traces
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.system import read_field
from spinloom.networks.tasks import target
from spinloom.workflows.settings import load_experiment

many = settings(settings.get_profile("hostile"))
DISC = load_card(data_folder() / "devices" / "disc60.toml")
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=20), st.just("off")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
CELLS = st.one_of(st.floats().map(repr), st.text(max_size=6), st.integers(-(10**30), 10**30).map(str))
TABLE = st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=8).map("\n".join)


def attempt(read: Any, *arguments: Any) -> Any:
    """What comes of it; a refusal says something."""
    try:
        return read(*arguments)
    except SpinloomError as error:
        told = str(error)
    assert told.strip()
    assert len(told) < 5000
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


PLACES = [(name,) for name in DeviceCard.model_fields] + [
    (section, field)
    for section, value in DISC.model_dump().items()
    if isinstance(value, dict)
    for field in (*value, "more")
]


@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
@many
def test_cards(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    values: dict[str, Any] = json.loads(DISC.to_json())
    for place, value in changes:
        inner = values if len(place) == 1 or not isinstance(values.get(place[0]), dict) else values[place[0]]
        inner[place[-1]] = value
    card = attempt(parse_card, values)
    if card is not None:
        assert DeviceCard.from_json(card.to_json()) == card
        assert card.geometry.mask().any()


@given(text=st.text(max_size=200) | VALUES.map(lambda value: json.dumps(value, allow_nan=True)))
@many
def test_text_in_place_of_json(text: str) -> None:
    attempt(DeviceCard.from_json, text)
    attempt(Protocol.from_json, text)


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
@many
def test_bytes_in_place_of_toml(folder: Path, content: bytes) -> None:
    path = folder / "a.toml"
    path.write_bytes(content)
    attempt(read_toml, path)
    attempt(load_experiment, path)


@given(header=st.sampled_from(["t_s,u", "u", "f", "f1,f2", "t,drive,r", "", "u,u"]), rows=TABLE | st.text(max_size=200))
@many
def test_tables(folder: Path, header: str, rows: str) -> None:
    path = folder / "a.csv"
    path.write_bytes(f"{header}\n{rows}\n".encode("utf-8", "replace"))
    found = attempt(read_waveform, path, 1e-11)
    assert found is None or (found[0] > 0).all()
    f = attempt(target, str(path), 8)
    assert f is None or np.isfinite(f).all()
    attempt(read_traces, [path], DISC, 1e-11)


@given(content=st.binary(max_size=300), at=st.integers(0, 6000))
@many
def test_bytes_in_a_field(folder: Path, content: bytes, at: int) -> None:
    good = (data_folder() / "reference" / "disc60_initial.omf").read_bytes()
    path = folder / "a.omf"
    path.write_bytes(good[:at] + content + good[at + len(content) :])
    m = attempt(read_field, path)
    assert m is None or np.isfinite(m).all()
