"""What an instrument wrote: read, checked, averaged over ticks."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models import measured
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.measured import averages, drive_of, read_drive, read_table, read_traces, signal_of
from spinloom.device_models.readout import conductance

TICK = 1e-11


@pytest.fixture
def write(tmp_path):
    def make(content, name="trace.csv"):
        path = tmp_path / name
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        return path

    return make


def held(ticks=60, samples=4, seed=0):
    """Times, a drive that is held for ticks, and a smooth signal."""
    t = np.arange(ticks * samples) * TICK / samples
    levels = np.random.default_rng(seed).uniform(-1, 1, ticks)
    return t, levels, np.repeat(levels, samples), 0.5 * np.sin(2 * np.pi * 2e9 * t)


def text(t, *columns, header="TIME,CH1,CH2\n", separator=","):
    rows = "\n".join(separator.join(f"{x:.12g}" for x in row) for row in zip(t, *columns, strict=True))
    return f"{header}{rows}\n"


def test_steps_that_are_held_over_samples_come_back_as_they_are(write, disc):
    t, levels, u, y = held()
    found = read_traces([write(text(t, u, y))], disc, TICK)
    np.testing.assert_allclose(found.u, levels[None], atol=1e-12)


@pytest.mark.parametrize("late", [1, 2, 3])
def test_ticks_begin_where_the_drive_is_held(write, disc, late):
    """An instrument starts anywhere within a hold: the part before the first whole one is left out."""
    t, levels, u, y = held()
    found = read_traces([write(text(t[late:], u[late:], y[late:]))], disc, TICK)
    np.testing.assert_allclose(found.u, levels[None, 1:], atol=1e-12)


def test_uneven_samples_of_a_line_have_its_exact_averages():
    rng = np.random.default_rng(0)
    t = np.sort(np.concatenate([[0.0, 10.0], rng.uniform(0, 10, 200)]))
    edges = np.linspace(0.3, 9.7, 12)
    np.testing.assert_allclose(averages(t, 3 * t - 1, edges, held=False), 3 * (edges[1:] + edges[:-1]) / 2 - 1)


def test_uneven_samples_of_a_step_have_its_exact_averages():
    t = np.array([0.0, 0.4, 1.0, 1.7, 2.0, 3.1])
    x = np.array([1.0, 1.0, 5.0, 5.0, -1.0, -1.0])
    np.testing.assert_allclose(averages(t, x, np.array([0.0, 1.0, 2.0, 3.0]), held=True), [1, 5, -1])
    np.testing.assert_allclose(averages(t, x, np.array([0.5, 1.5]), held=True), [3])


def test_averages_leave_no_alias():
    """A tone that is far above the ticks, and would fold back between them, is averaged away."""
    t = np.arange(0, 1000, 0.05)
    edges = np.arange(0, 990.0, 1.0)
    tone = np.sin(2 * np.pi * 3.02 * t)
    assert np.abs(averages(t, tone, edges, held=False)).max() < 0.01 < 0.9 < np.abs(tone[:: round(1 / 0.05)]).max()


def test_a_signal_is_averaged_over_its_ticks(write, disc):
    t, _, u, y = held(samples=64)
    found = read_traces([write(text(t, u, y))], disc, TICK)
    edges = np.arange(61) * TICK
    exact = -0.5 * np.diff(np.cos(2 * np.pi * 2e9 * edges)) / (2 * np.pi * 2e9 * TICK)
    np.testing.assert_allclose(found.r[0, :-1], exact[:-1], atol=2e-5)


def test_long_traces_are_cut_into_pieces_of_one_length(write, disc):
    long, short = held(ticks=130), held(ticks=50, seed=1)
    paths = [write(text(one[0], one[2], one[3]), f"{len(one[1])}.csv") for one in (long, short)]
    found = read_traces(paths, disc, TICK, piece=1e-9)
    assert found.u.shape == found.r.shape == (3, 50)
    np.testing.assert_allclose(found.u, [long[1][:50], long[1][50:100], short[1]], atol=1e-12)
    assert found.source == ("130.csv at 0 s", "130.csv at 5e-10 s", "50.csv at 0 s")


@pytest.mark.parametrize("unit", ["u", "A/m2", "A", "V"])
def test_every_unit_of_a_drive(disc, unit):
    area = disc.area
    one = {"u": 1.0, "A/m2": disc.torque.J_max, "A": disc.torque.J_max * area, "V": disc.torque.J_max * disc.readout.RA}
    np.testing.assert_allclose(drive_of(disc, [one[unit], -one[unit] / 2], unit), [1, -0.5])


def test_every_unit_of_a_signal(disc, alter):
    card = alter(disc, readout={"offset": 0.1, "TMR": 1.7})
    r = np.array([-0.9, 0.0, 0.4])
    ohm = 1 / conductance(card, r + card.readout.offset)
    np.testing.assert_allclose(signal_of(card, r, "r"), r)
    np.testing.assert_allclose(signal_of(card, ohm, "ohm"), r, atol=1e-12)
    np.testing.assert_allclose(signal_of(card, -2e-6 * ohm, "V", -2e-6), r, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "unit", "current", "told"),
    [
        ([1.0], "mV", None, "signal unit: expected one of r, ohm, V, got 'mV'"),
        ([1.0], "V", None, "current: a signal in V needs the current"),
        ([1.0], "V", 0.0, "current: a signal in V needs the current"),
        ([1.0], "V", -1e-6, "expected resistances above 0 ohm, got -1e\\+06"),
        ([2.0, 0.0], "ohm", None, "expected resistances above 0 ohm, got 0"),
    ],
)
def test_a_signal_that_is_none(disc, values, unit, current, told):
    with pytest.raises(SpinloomError, match=told):
        signal_of(disc, np.array(values), unit, current)


def test_another_unit_of_a_drive(disc):
    with pytest.raises(SpinloomError, match="drive unit: expected one of u, A/m2, A, V, got 'mA'"):
        drive_of(disc, np.ones(1), "mA")


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("", ","),
        ("TIME,CH1,CH2\n", ","),
        ("Model,DPO\nSample Interval,2.5e-12\n\nLabels,,\nTIME,CH1,CH2\n", ","),
        ("x-axis,1,2\nsecond,Volt,Volt\n", ","),
        ("# made by hand\n# t_s,u,r\n", ","),
        ("t\tu\tr\n", "\t"),
    ],
)
def test_whatever_an_instrument_writes_above_its_numbers(write, disc, header, separator):
    t, levels, u, y = held()
    path = write(text(t, u, y, header=header, separator=separator))
    np.testing.assert_allclose(read_traces([path], disc, TICK).u, levels[None], atol=1e-12)


def test_decimal_commas(write):
    path = write("Zeit;Kanal 1;Kanal 2\n0,0;1,5;-2\n1e-3;2,5;3\n")
    table = read_table(path, 3)
    assert (table.names, table.first) == (("Zeit", "Kanal 1", "Kanal 2"), 2)
    np.testing.assert_allclose(table.values, [[0, 1.5, -2], [1e-3, 2.5, 3]])


def test_columns_by_name_and_number(write):
    path = write('"t","a","b"\n1,2,3\n4,5,6\n')
    np.testing.assert_allclose(read_table(path, ["t", "b", "2"]).values, [[1, 3, 2], [4, 6, 5]])
    with pytest.raises(SpinloomError, match="no column 'c'; expected one of t, a, b, or a number from 1"):
        read_table(path, ["t", "c"])
    with pytest.raises(SpinloomError, match="columns: expected 3 names or numbers, got 2"):
        read_traces([path], None, TICK, columns=["t", "a"])


def spoilt(change):
    t, _, u, y = held()
    return change(t.copy(), u.copy(), y.copy())


def put(column, at, value):
    def change(*columns):
        columns[column][at] = value
        return columns

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put(0, 7, 1e-12), r"row 8: expected increasing times \(s\), at least two, got 1e-12"),
        (put(2, 5, np.nan), r"column CH2, row 6 \(line 7\): expected a finite number, got 'nan'"),
        (put(1, 5, np.inf), r"column CH1, row 6 \(line 7\): expected a finite number, got 'inf'"),
        (put(1, slice(8, 12), 1.5), "a drive of 1.5 J_max, expected at most 1; check its unit"),
        (put(1, slice(None), 0.3), "the drive stays at 0.3"),
        (put(2, slice(None), 0.3), "the signal stays at 0.3"),
        (
            lambda t, u, y: (t, u, np.clip(y, -2, 0.2)),
            "samples are at the largest value of the signal, 0.2: it is clip",
        ),
        (
            lambda t, u, y: (t, u, np.clip(y, -0.2, 2)),
            "samples are at the smallest value of the signal, -0.2: it is cl",
        ),
        (lambda t, u, y: (np.where(t < 2e-10, t, t + 5e-11), u, y), "a gap of 5.25e-11 s after row 8[01]"),
        (lambda t, u, y: (t * 8, u, y), r"samples 2e-11 s apart, ticks of 1e-11 s; .*--tick 2e-11 or more"),
        (lambda t, u, y: (t[:40], u[:40], y[:40]), "10 ticks of 1e-11 s in 1e-10 s, expected at least 40"),
        (lambda t, u, y: (t * 1.3, u, y), "within ticks of 1e-11 s the drive changes by .* of its spread"),
    ],
)
def test_each_way_to_be_no_good_is_told(write, disc, change, told):
    path = write(text(*spoilt(change)))
    with pytest.raises(SpinloomError, match=f"trace.csv: .*{told}"):
        read_traces([path], disc, TICK)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        (b"\x89HDF\r\n\x00\x00\x01\x02" * 20, "not text; export the traces as CSV"),
        ("t,u\n0,1\n1,2\n", "no line with 3 numbers among the first"),
        ("a,b,c\n" * 500, "no line with 3 numbers among the first 200"),
        ("t,u,r\n0,0,0\n1,=HYPERLINK(1),0\n", r"row 2 \(line 3\): expected a finite number, got '=HYPERLINK\(1\)'"),
        ("t,u,r\n0,0,0\n1,__import__('os'),0\n", 'got "__import__'),
        ("t,u,r\n0,0,0\n1,2,3,4,5\n", "not a readable CSV"),
        ("t,u,r\n0,0,0\n1,2\n", "row 2 .*: expected a finite number, got 'nan'"),
        ("9" * 2_000_000, "no line with 3 numbers"),
    ],
)
def test_hostile_files(write, disc, content, told):
    with pytest.raises(SpinloomError, match=told):
        read_traces([write(content)], disc, TICK)


def test_huge_files_are_not_read(write, disc, monkeypatch):
    monkeypatch.setattr(measured, "MOST_BYTES", 1000)
    t, _, u, y = held()
    with pytest.raises(SpinloomError, match="expected at most 0 MB; cut it"):
        read_traces([write(text(t, u, y))], disc, TICK)


def test_no_file_and_no_trace(disc, tmp_path):
    with pytest.raises(SpinloomError, match=r"none.csv: no such file"):
        read_traces([tmp_path / "none.csv"], disc, TICK)
    with pytest.raises(SpinloomError, match="cannot be read"):
        read_traces([tmp_path], disc, TICK)
    with pytest.raises(SpinloomError, match="traces: expected at least one"):
        read_traces([], disc, TICK)
    with pytest.raises(SpinloomError, match="tick: expected seconds between 1e-14 and 1e-7, got 1"):
        read_traces([tmp_path / "none.csv"], disc, 1.0)
    with pytest.raises(SpinloomError, match="piece: expected seconds above 0"):
        read_traces([tmp_path / "none.csv"], disc, TICK, piece=float("nan"))


def test_a_drive_alone_in_volts(write, disc):
    t, levels, u, _ = held()
    volts = u * disc.torque.J_max * disc.readout.RA
    durations, found = read_drive(write(text(t, volts, header="TIME,CH1\n")), disc, TICK, "V")
    np.testing.assert_allclose(found, levels, atol=1e-9)
    np.testing.assert_allclose(durations, TICK)


def test_a_drive_that_is_just_beyond_the_limit_is_clipped(write, disc):
    t, _, u, _ = held()
    assert read_drive(write(text(t, u / np.abs(u).max() * 1.01)), disc, TICK)[1].max() <= 1
