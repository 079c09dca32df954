"""Targets and input waveforms."""

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.tasks import (
    CLASSES,
    CLOCKS,
    GENERATE,
    INPUT_RMS,
    SERIES,
    clock,
    inputs,
    target,
    task_name,
    waveform,
)


@pytest.mark.parametrize("task", GENERATE)
def test_targets_span_one_period_within_the_unit_range(task):
    f = target(task, 60)
    assert f.shape == (60, 1)
    assert np.abs(f).max() <= 1 + 1e-12
    assert np.abs(f).max() > 0.95
    assert abs(f.mean()) < 0.02


def test_harmonics_is_the_sum_that_its_definition_says():
    phase = 2 * np.pi * (np.arange(200) + 1) / 200
    plain = np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.25 * np.sin(3 * phase + 2)
    f = target("harmonics", 200)[:, 0]
    np.testing.assert_allclose(f / f[10], plain / plain[10], rtol=1e-12)


def test_a_users_period_is_resampled_and_scaled(tmp_path):
    path = tmp_path / "mine.csv"
    phase = 2 * np.pi * np.arange(24) / 24
    path.write_text("f\n" + "\n".join(f"{5 + 3 * np.cos(p):.12f}" for p in phase))
    f = target(str(path), 60)
    assert f.shape == (60, 1)
    np.testing.assert_allclose(f[:, 0], np.cos(2 * np.pi * np.arange(60) / 60), atol=1e-9)


def test_several_outputs_are_scaled_each_on_its_own(tmp_path):
    path = tmp_path / "circle.csv"
    phase = 2 * np.pi * np.arange(24) / 24
    path.write_text("f1,f2\n" + "\n".join(f"{5 + 3 * np.cos(p):.12f},{0.01 * np.sin(p):.14f}" for p in phase))
    phase = 2 * np.pi * np.arange(60) / 60
    np.testing.assert_allclose(target(str(path), 60), np.column_stack([np.cos(phase), np.sin(phase)]), atol=1e-9)
    assert target(str(path), 24).shape == (24, 2)


@pytest.mark.parametrize("name", SERIES)
def test_the_shipped_series_go_by_their_names(name):
    f = target(name, 168)
    assert f.shape == (168, 1)
    assert (f.min(), f.max()) == (-1, 1)
    assert task_name(name) == name


@pytest.mark.parametrize("shape", CLOCKS)
@pytest.mark.parametrize("ticks", [4, 84, 101])
def test_a_clock_has_one_turn_in_a_period(shape, ticks):
    s = clock(shape, ticks)
    assert s.shape == (ticks,)
    assert np.abs(s).max() <= 1
    # One rise and one fall, wherever it is cut.
    assert np.count_nonzero(np.diff(np.sign(s - (s.max() + s.min()) / 2), append=s[0]) > 0) <= 2
    assert np.ptp(s) > 0.7


def test_a_clock_runs_ahead_by_a_share_of_the_period():
    for shape in CLOCKS:
        np.testing.assert_allclose(clock(shape, 40, 0.25), np.roll(clock(shape, 40), -10), atol=1e-12)
    assert clock("pulse", 40).sum() == 4
    assert clock("pulse", 5).sum() == 1
    np.testing.assert_allclose(np.diff(clock("ramp", 40)), 0.05)


def test_a_clock_of_an_unknown_shape_is_told():
    with pytest.raises(SpinloomError, match="clock_shape: expected one of sine, pulse, ramp, got 'saw'"):
        clock("saw", 40)


def test_a_task_that_is_a_file_goes_by_its_name():
    assert task_name("sine") == "sine"
    assert task_name("some/where/circle.csv") == task_name("circle.CSV") == "circle"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g\n1\n2\n", "no column 'f'"),
        ("f\n1\nx\n3\n4\n", "row 2: expected a finite number"),
        ("f\n1\nnan\n3\n4\n", "row 2: expected a finite number"),
        ("f\n1\n1\n1\n1\n", "not all equal"),
        ("f\n1\n2\n", "at least 4 values"),
        ("f1,f2\n1,5\n2,5\n3,5\n4,5\n", "column f2: .*not all equal"),
        ("f1,f2\n1,5\n2,x\n3,5\n4,5\n", "column f2, row 2: expected a finite number"),
        ("f2,f3\n1,5\n2,6\n3,5\n4,5\n", "no column 'f'; .* under f1,f2"),
        ("", "not a readable CSV"),
    ],
)
def test_a_bad_period_is_told_by_row_and_column(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(SpinloomError, match=message):
        target(str(path), 60)


def test_an_unknown_task_names_the_known_ones():
    with pytest.raises(SpinloomError, match="expected one of sine, triangle"):
        target("sinus", 60)
    with pytest.raises(SpinloomError, match="expected one of sine, triangle"):
        waveform("sinus", np.zeros(3))


def test_inputs_have_the_same_rms_whatever_their_class():
    classes = np.arange(4)
    s = inputs(classes, np.full(4, 0.3), 4000, 4000)
    np.testing.assert_allclose(np.sqrt((s**2).mean(axis=0)), INPUT_RMS, rtol=1e-3)
    np.testing.assert_allclose(
        s[:, 0] / INPUT_RMS * np.sqrt(0.5), waveform("sine", 0.3 + 2 * np.pi * np.arange(4000) / 4000)
    )
    assert len(CLASSES) == 4
