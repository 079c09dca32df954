"""Waveforms: those that are drawn, and those that users bring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinloom.device_models.drives import KINDS, calibration_drive, read_period, read_waveform
from spinloom.device_models.errors import SpinloomError


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "drive.csv"
        path.write_text(text)
        return path

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_drives_are_bounded_seeded_and_reproducible(kind):
    first, again, other = (
        calibration_drive(kind, 800, 7.5e-12, np.random.default_rng([seed, 3])) for seed in (5, 5, 6)
    )
    assert first.shape == (800,)
    assert np.abs(first).max() <= 1
    assert np.ptp(first) > 0.1
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@given(
    kind=st.sampled_from(KINDS),
    n_ticks=st.integers(1, 60),
    tick=st.floats(1e-13, 1e-8),
    seed=st.integers(0, 2**32),
)
def test_any_length_and_tick(kind, n_ticks, tick, seed):
    u = calibration_drive(kind, n_ticks, tick, np.random.default_rng(seed))
    assert u.shape == (n_ticks,)
    assert np.isfinite(u).all()
    assert np.abs(u).max() <= 1


def test_noise_is_band_limited():
    """There is nothing above 20 GHz but what the clip adds."""
    for seed in range(5):
        u = calibration_drive("noise", 4000, 7.5e-12, np.random.default_rng(seed))
        power = np.abs(np.fft.rfft(u - u.mean())) ** 2
        frequency = np.fft.rfftfreq(4000, 7.5e-12)
        assert power[frequency > 30e9].sum() < 0.1 * power.sum()


@pytest.mark.parametrize("tick", [7.5e-12, 27e-12, 30e-12, 56e-12, 1e-10, 1e-9])
def test_tones_end_below_half_the_nyquist_frequency(tick):
    """Also the third harmonic, whatever the tick; the clip alone goes beyond, so drives that it cuts are left out."""
    window, frequency = np.hanning(2000), np.fft.rfftfreq(2000, tick)
    whole = 0
    for seed in range(60):
        u = calibration_drive("tones", 2000, tick, np.random.default_rng(seed))
        if np.abs(u).max() < 1:
            whole += 1
            power = np.abs(np.fft.rfft(window * (u - u.mean()))) ** 2
            assert power[frequency > 0.51 * 0.5 / tick].sum() < 1e-6 * power.sum()
    assert whole > 5


@pytest.mark.parametrize("tick", [1e-12, 7.5e-12, 27.7e-12])
def test_tones_of_short_ticks_are_as_they_were(tick):
    """The drives of the calibration sets that are shipped, drawn from 0.4 to 3 GHz."""
    rng = np.random.default_rng(4)
    amplitude, offset = np.exp(rng.uniform(np.log(0.4), np.log(4.0))), rng.uniform(-0.8, 0.8)
    base = np.exp(rng.uniform(np.log(0.4e9), np.log(3e9)))
    t = np.arange(300) * tick
    u = np.zeros(300)
    for harmonic in (1, 2, 3):
        u += rng.normal() / harmonic * np.sin(2 * np.pi * harmonic * base * t + rng.uniform(0, 2 * np.pi))
    expected = np.clip(offset + amplitude * u / np.abs(u).max(), -1, 1)
    np.testing.assert_array_equal(calibration_drive("tones", 300, tick, np.random.default_rng(4)), expected)


@pytest.mark.parametrize(("kind", "least"), [("holds", 2), ("steps", 50)])
def test_holds_are_held(kind, least):
    u = calibration_drive(kind, 2000, 7.5e-12, np.random.default_rng(2))
    edges = np.flatnonzero(np.diff(u))
    assert len(edges) > 3
    assert np.diff(edges).min() >= least


def test_unknown_kind():
    with pytest.raises(SpinloomError, match="drive kind: expected one of noise, .*got 'sine'"):
        calibration_drive("sine", 10, 1e-11, np.random.default_rng(0))


def test_times_at_the_end_of_the_hold(write):
    durations, u = read_waveform(write("t_s,u\n1e-11,0.5\n3e-11,-0.5\n4e-11,1\n"))
    np.testing.assert_allclose(durations, [1e-11, 2e-11, 1e-11])
    np.testing.assert_array_equal(u, [0.5, -0.5, 1])


def test_times_at_the_beginning_of_the_hold(write):
    durations, u = read_waveform(write("t_s,u\n0,0.5\n1e-11,-0.5\n3e-11,1\n"))
    np.testing.assert_allclose(durations, [1e-11, 2e-11, 2e-11])
    assert len(u) == 3


def test_comments_spaces_and_other_columns(write):
    durations, u = read_waveform(write("# from the oscilloscope\nt_s, u, note\n1e-11, 0.5, a\n2e-11, 0.1, b\n"))
    np.testing.assert_allclose(durations, 1e-11)
    np.testing.assert_array_equal(u, [0.5, 0.1])


def test_drive_alone_needs_a_tick(write):
    durations, u = read_waveform(write("u\n0.5\n-0.5\n"), tick=2e-11)
    np.testing.assert_array_equal(durations, [2e-11, 2e-11])
    np.testing.assert_array_equal(u, [0.5, -0.5])
    with pytest.raises(SpinloomError, match="no column 't_s'; add it, or give the duration of a row with --tick"):
        read_waveform(write("u\n0.5\n"))


def test_tick_beside_times_has_to_agree(write):
    path = write("t_s,u\n1e-11,0.5\n2e-11,-0.5\n")
    np.testing.assert_allclose(read_waveform(path, tick=1e-11)[0], 1e-11)
    with pytest.raises(SpinloomError, match="--tick 2e-11 s, but its column t_s has holds of 1e-11 to 1e-11 s"):
        read_waveform(path, tick=2e-11)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t_s,u\n", "no rows; expected at least one drive"),
        ("", "not a readable CSV"),
        ("t_s,v\n1e-11,0.5\n", "no column 'u'; expected t_s,u or u alone, got t_s, v"),
        ("t_s,u\n1e-11,\n", "column u, row 1: expected a finite number, got 'nan'"),
        ("t_s,u\n1e-11,0.1\n2e-11,high\n", "column u, row 2: expected a finite number, got 'high'"),
        ("t_s,u\n1e-11,inf\n", "column u, row 1: expected a finite number"),
        ("t_s,u\nnan,0.1\n", "column t_s, row 1: expected a finite number"),
        ("t_s,u\n1e-11,0.1\n2e-11,-1.2\n", r"column u, row 2: expected a drive within \[-1, 1\] .* got -1.2"),
        ("t_s,u\n1e-11,0.1\n3e-11,0.2\n2e-11,0.3\n", "column t_s, row 3: expected increasing times"),
        ("t_s,u\n1e-11,0.1\n1e-11,0.2\n", "column t_s, row 2: expected increasing times"),
        ("t_s,u\n-1e-11,0.1\n1e-11,0.2\n", "column t_s, row 1: expected increasing times"),
        ("t_s,u\n0,0.1\n", "column t_s, row 1: expected increasing times"),
        ("t_s,u\n1,2,3,4\n5\n6,7,8,9,10\n", r"drive\.csv"),
    ],
)
def test_bad_waveforms(write, text, message):
    with pytest.raises(SpinloomError, match=message):
        read_waveform(write(text))


def test_no_such_waveform(tmp_path):
    with pytest.raises(SpinloomError, match="none.csv: no such file; expected a CSV with columns t_s,u"):
        read_waveform(tmp_path / "none.csv")
    with pytest.raises(SpinloomError, match=r"cannot be read \(is a folder\); expected a CSV"):
        read_waveform(tmp_path)


def test_binary_waveform(tmp_path):
    path = tmp_path / "drive.csv"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(SpinloomError, match=r"drive\.csv"):
        read_waveform(path)


def test_one_period(write):
    np.testing.assert_array_equal(read_period(write("f\n0\n1\n0\n-1\n")), [[0], [1], [0], [-1]])


def test_one_period_of_several_outputs(write):
    f = read_period(write("f1,f2\n0,1\n1,0\n0,-1\n-1,0\n"))
    np.testing.assert_array_equal(f, [[0, 1], [1, 0], [0, -1], [-1, 0]])
    with pytest.raises(SpinloomError, match="column f2: expected at least 4 values that are not all equal"):
        read_period(write("f1,f2\n0,1\n1,1\n0,1\n-1,1\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g\n1\n2\n3\n4\n", "no column 'f'"),
        ("f\n1\n2\n3\n", "expected at least 4 values"),
        ("f\n1\n1\n1\n1\n", "not all equal"),
        ("f\n1\n2\nx\n4\n", "column f, row 3: expected a finite number"),
        ("f\n", "expected at least 4 values"),
    ],
)
def test_bad_periods(write, text, message):
    with pytest.raises(SpinloomError, match=message):
        read_period(write(text))
