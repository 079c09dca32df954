"""Text from strangers: no larger than need be, and no parser beside itself."""

from __future__ import annotations

import os
import time

import pytest

from spinloom.device_models import texts
from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.texts import json_object, numbers, parse_json, read_bytes, read_csv, read_toml, shown


@pytest.fixture
def write(tmp_path):
    def make(content, name="a.toml"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, told in [
        (tmp_path / "none", "no such file; expected text"),
        (tmp_path, r"cannot be read \(is a folder\)"),
        (tmp_path / "pipe", r"cannot be read \(is no file on a disk\)"),
        ("/dev/zero", r"cannot be read \(is no file on a disk\)"),
        (tmp_path / "loop", "cannot be read .Too many levels"),
        (tmp_path / ("x" * 5000), "cannot be read .File name too long"),
        (tmp_path / "a\0b", "cannot be read .embedded null"),
    ]:
        with pytest.raises(SpinloomError, match=told):
            read_bytes(path, "text", 10)


def test_a_size_limit_comes_before_reading(write):
    with pytest.raises(SpinloomError, match="1e-05 MB, expected text of at most 9e-06 MB"):
        read_bytes(write("x" * 10), "text", 9)
    path = write(b"")
    os.truncate(path, 10**12)  # takes no space
    with pytest.raises(SpinloomError, match=r"1e\+06 MB, expected a TOML file of at most 1 MB"):
        load_card(path)


@pytest.mark.parametrize(
    "content",
    [
        "a = " + "[" * 50_000,
        "a = " + "{a=" * 50_000,
        "a = " + "9" * 5000,
        "." .join("a" * 20_000) + " = 1",
        "[" + ".".join("a" * 20_000) + "]",
        " . ".join(["'a'"] * 2000) + " = 1",
        b"\xff\xfe",
        b"a = 1\x00",
    ],
)  # fmt: skip
def test_toml_that_no_parser_should_meet(write, content):
    began = time.monotonic()
    with pytest.raises(SpinloomError, match=r"a\.toml: not valid TOML"):
        read_toml(write(content))
    assert time.monotonic() - began < 20


def test_numbers_and_text_are_no_long_keys(write):
    content = "a = [" + "1.5, " * 100 + "2.5]\nb.c.d = 'x.y.z'\n# " + "." * 100
    assert len(read_toml(write(content))["a"]) == 101


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "", "{", None, 5])
def test_json_that_no_parser_should_meet(text):
    with pytest.raises(SpinloomError, match="source: not valid JSON"):
        parse_json(text, "source")


def test_json_of_another_form():
    for text, told in [(5.0, "expected JSON, got 5.0"), ("[1]", r"expected names and values, got \[1\]")]:
        with pytest.raises(SpinloomError, match=f"source: {told}"):
            json_object(text, "source")


def test_numbers_of_a_card_that_cannot_be_written_in_digits(write, card_values):
    """TOML's hexadecimal numbers may be as long as they like."""
    text = DeviceCard.model_validate(card_values).to_json().replace('"alpha":0.1', '"alpha":' + "1" * 4000)
    with pytest.raises(SpinloomError, match="material.alpha"):
        DeviceCard.from_json(text)
    with pytest.raises(SpinloomError, match=r"name: .*got a whole number of 80000 bits"):
        load_card(write("name = 0x" + "f" * 20_000))


def test_a_thousand_mistakes_are_not_all_told(write):
    with pytest.raises(SpinloomError, match=r"and \d+ more$") as caught:
        load_card(write("\n".join(f"key{k} = 1" for k in range(1000))))
    assert len(str(caught.value)) < 5000


def test_csv_of_too_many_columns_and_of_rows_longer_than_their_names(write, monkeypatch):
    with pytest.raises(SpinloomError, match="2001 columns"):
        read_csv(write("a," * 2000 + "b\n", "a.csv"), "columns")
    with pytest.raises(SpinloomError, match="rows with more values than names"):
        read_csv(write("u\n0.1,0.2\n", "a.csv"), "columns")
    monkeypatch.setattr(texts, "MOST_ROWS", 3)
    with pytest.raises(SpinloomError, match="expected a CSV with columns of at most"):
        read_csv(write("u\n0.1\n", "a.csv"), "columns")


def test_whole_numbers_of_hundreds_of_digits(write):
    """Found by a spoilt file: pandas keeps them as they are, and then cannot make floats of them."""
    path = write("f\n0\n1\n" + "9" * 400 + "\n2\n", "a.csv")
    with pytest.raises(SpinloomError, match="column f, row 3: expected a finite number, got '9{70,}"):
        numbers(path, read_csv(path, "f"), "f")


def test_a_packed_file_is_no_csv(write):
    import gzip

    path = write(gzip.compress(b"u\n0.1\n" * 1000), "a.csv.gz")
    with pytest.raises(SpinloomError):
        numbers(path, read_csv(path, "u"), "u")


def test_not_enough_memory(write, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(texts.pd, "read_csv", full)
    with pytest.raises(SpinloomError, match="not enough memory to read it"):
        read_csv(write("u\n0.1\n", "a.csv"), "columns")


def test_what_cannot_be_written_is_shown_by_its_kind():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a list"
    assert shown([9**5000]) == "a list"
