"""How the stages speak, to a terminal, to a pipe, and to the log of a folder."""

from __future__ import annotations

import re
import warnings

import pytest

from spinloom.device_models.errors import SpinloomError, SpinloomWarning
from spinloom.workflows import console, status


@pytest.fixture(autouse=True)
def loud():
    yield
    console.hush(False)


def test_all_that_is_said_goes_to_the_log(tmp_path, capsys):
    console.say("before")
    with status.told(tmp_path), console.told_warnings():
        console.say("two\nlines \x1b[2J")
        with console.progress("calibrate", 10) as advance:
            advance(10)
        warnings.warn("outside", SpinloomWarning, stacklevel=1)
    console.say("after")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ .+", line) for line in lines)
    said = [line.split(" ", 1)[1] for line in lines]
    assert re.fullmatch(r"Spinloom [\d.]+ begins", said[0])
    assert said[1:] == ["two", "lines \\x1b[2J", "calibrate ...", "calibrate: done", "warning: outside", "done"]
    assert "two" in capsys.readouterr().err


def test_an_error_and_a_second_run_are_in_the_log(tmp_path):
    with pytest.raises(SpinloomError), status.told(tmp_path):
        raise SpinloomError("no disk")
    with pytest.raises(KeyboardInterrupt), status.told(tmp_path):
        raise KeyboardInterrupt
    said = [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert said[1:3] == ["error: no disk", "stopped"]
    assert said[4:] == ["error: KeyboardInterrupt ", "stopped"]


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "log.txt").mkdir()
    with status.told(tmp_path):
        console.say("on")


def test_who_asked_for_quiet_hears_warnings_and_errors_alone(tmp_path, capsys):
    console.hush(True)
    with status.told(tmp_path), console.told_warnings():
        console.say("words")
        console.show("a table")
        console.emit({"nrmse": 0.1}, as_json=False)
        with console.progress("calibrate", 10) as advance:
            advance(10)
        warnings.warn("outside", SpinloomWarning, stacklevel=1)
    console.emit({"nrmse": 0.1}, as_json=True)
    said = capsys.readouterr()
    assert said.err == "warning: outside\n"
    assert said.out == '{"nrmse": 0.1}\n'
    assert "words" in (tmp_path / "log.txt").read_text()


def test_the_command_line_takes_it(spinloom, monkeypatch, tmp_path):
    monkeypatch.setenv("SPINLOOM_STORE", str(tmp_path / "store"))
    assert spinloom("--quiet", "calibrate", "no.toml", "--out", "x.nc").err.startswith("error: no.toml: no such file")
    assert spinloom("store", "list").err
    assert spinloom("-q", "store", "list").err == ""


def test_what_is_said_goes_to_a_file_for_a_while_and_then_where_it_went_before(tmp_path, capsys):
    console.say("before")
    with console.spoken_to(tmp_path / "said.log"):
        console.say("within")
    console.say("after")
    assert (tmp_path / "said.log").read_text() == "within\n"
    assert capsys.readouterr().err == "before\nafter\n"


def test_and_nobody_holds_the_file_of_then(capsys):
    console.say("later")
    assert capsys.readouterr().err == "later\n"
