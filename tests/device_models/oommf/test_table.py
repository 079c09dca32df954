"""The table is read while OOMMF writes it, and nothing that cannot be <m> gets through."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinloom.device_models.engines.oommf.table import Table
from spinloom.device_models.errors import SpinloomError

HEADER = (
    "# ODT 1.0\n# Table Start\n# Title: mmArchive Data Table\n"
    "# Columns: {Oxs_SpinXferEvolve:evolver:Total energy} Oxs_TimeDriver::Stage Oxs_TimeDriver::mx   "
    "Oxs_TimeDriver::my   Oxs_TimeDriver::mz   {Oxs_TimeDriver::Simulation time}\n"
    "# Units: J {} {} {} {} s\n"
)


def row(stage, m):
    return f"   1.5e-19   {stage}   {m[0]!r}   {m[1]!r}   {m[2]!r}   7.5e-12   \n"


@pytest.fixture
def table(tmp_path):
    table = Table(tmp_path / "node.odt")
    yield table
    table.close()


def grow(table, text):
    with table.path.open("a", encoding="utf-8") as file:
        file.write(text)
    return table.read()


def test_not_there_yet(table):
    assert table.read() == 0
    assert grow(table, HEADER) == 0
    assert grow(table, row(0, (0.0, 1.0, 0.0))) == 1


def test_any_way_of_cutting_it_gives_the_same_rows(table):
    random = np.random.default_rng(1)
    m = random.uniform(-0.5, 0.5, (20, 3))
    text = HEADER + "".join(row(stage, values) for stage, values in enumerate(m.tolist())) + "# Table End\n"
    cuts = [0, *sorted(random.integers(0, len(text), 40)), len(text)]
    rows = [grow(table, text[a:b]) for a, b in itertools.pairwise(cuts)]
    assert rows == sorted(rows)
    assert rows[-1] == 20
    np.testing.assert_array_equal(table.m, m)


def test_half_a_line_is_not_a_row(table):
    assert grow(table, HEADER + row(0, (0.0, 1.0, 0.0)) + "   1.5e-19   1   0.25   0.5   0.12") == 1
    assert grow(table, "5   1.5e-11   \n") == 2
    np.testing.assert_array_equal(table.m[1], [0.25, 0.5, 0.125])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(1, (0.0, 1.0, 0.0)), "bad row: expected stage 0, got 1"),
        (row(0, (float("nan"), 1.0, 0.0)), r"bad row for stage 0: expected \|<m>\| <= 1"),
        (row(0, (float("inf"), 1.0, 0.0)), r"bad row for stage 0: expected \|<m>\| <= 1"),
        (row(0, (0.9, 0.9, 0.0)), r"bad row for stage 0: expected \|<m>\| <= 1"),
        ("   1.5e-19   0   0.1\n", "bad row for stage 0: '   1.5e-19   0   0.1'"),
        ("\x00\x00\n", "bad row for stage 0"),
    ],
)
def test_bad_rows(table, line, message):
    with pytest.raises(SpinloomError, match=message):
        grow(table, HEADER + line)


def test_a_row_without_columns(table):
    with pytest.raises(SpinloomError, match="bad row for stage 0"):
        grow(table, row(0, (0.0, 1.0, 0.0)))


def test_another_table(table):
    with pytest.raises(SpinloomError, match=r"without a column of <m>: 'Oxs_TimeDriver::Stage'.*writes other tables"):
        grow(table, "# Columns: {Oxs_MinDriver::Stage} Oxs_MinDriver::mx\n")


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(["0", "1", "-1", "0.5", "nan", "1e999", "{}", "x", "0,5"]), max_size=8).map(
            lambda words: " ".join(words).encode()
        ),
    )
)
def test_junk_is_refused_or_is_a_row(tmp_path_factory, junk):
    path = tmp_path_factory.mktemp("junk") / "node.odt"
    path.write_bytes(HEADER.encode() + junk + b"\n")
    table = Table(path)
    try:
        table.read()
    except SpinloomError:
        pass
    finally:
        table.close()
    for m in table.m:
        assert np.linalg.norm(m) <= 1 + 1e-6
