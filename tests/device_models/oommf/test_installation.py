"""OOMMF is found where oommfc finds it; where it is not, the message says what to do."""

from __future__ import annotations

import pytest

from spinloom.device_models.engines.oommf import installation as module
from spinloom.device_models.engines.oommf.installation import find_oommf
from spinloom.device_models.errors import SpinloomError


def refusal(named=None):
    with pytest.raises(SpinloomError) as caught:
        find_oommf(named)
    return str(caught.value)


def test_a_named_command(command):
    found = find_oommf(command)
    assert found.version == "2.1a0"
    assert found.where == f"{command}, named by you"
    assert found.image == ""


def test_a_named_path_with_spaces(tmp_path, program, command):
    path = program("my oommf", f'exec {command} "$@"')
    assert find_oommf(str(path)).command == (str(path),)


def test_the_path_of_a_script_is_given_to_tclsh(tmp_path, program, command):
    program("tclsh", f'[ "$1" = "{tmp_path}/my oommf.tcl" ] && shift && exec {command} "$@"')
    script = tmp_path / "my oommf.tcl"
    script.touch()
    assert find_oommf(str(script)).command == ("tclsh", str(script))


def test_on_path(program, command):
    path = program("oommf", f'exec {command} "$@"')
    found = find_oommf()
    assert found.command == (str(path),)
    assert found.where == f"{path}, on PATH"


def test_the_environment_variable_comes_before_path(program, command, monkeypatch):
    program("oommf", f'exec {command} "$@"')
    program("tclsh", f'shift; exec {command} "$@"')
    monkeypatch.setenv("OOMMFTCL", "/somewhere/oommf.tcl")
    found = find_oommf()
    assert found.command == ("tclsh", "/somewhere/oommf.tcl")
    assert found.where == "OOMMFTCL=/somewhere/oommf.tcl"


def test_path_is_tried_after_a_wrong_environment_variable(program, command, monkeypatch):
    program("tclsh", 'echo "couldn\'t read file \\"$1\\"" >&2; exit 1')
    monkeypatch.setenv("OOMMFTCL", "/nowhere/oommf.tcl")
    said = refusal()
    assert "OOMMFTCL=/nowhere/oommf.tcl: expected its version, got exit code 1" in said
    assert 'read file "/nowhere/oommf.tcl"' in said
    program("oommf", f'exec {command} "$@"')
    assert find_oommf().where.endswith("on PATH")


def test_nothing_anywhere():
    said = refusal()
    assert "not installed (no OOMMFTCL, no oommf on PATH, no docker)" in said
    assert "conda install -c conda-forge oommf" in said
    assert "--oommf" in said


def test_a_named_command_is_the_only_one_tried(program, command, tmp_path):
    program("oommf", f'exec {command} "$@"')
    missing = tmp_path / "oommf"
    assert f"{missing}, named by you: {missing} is not there" in refusal(str(missing))


def test_not_executable(program):
    path = program("oommf", "exit 0", mode=0o644)
    assert f"{path} may not be executed; 'chmod +x' it" in refusal(str(path))


@pytest.mark.parametrize(("named", "message"), [("  ", "got an empty one"), ("oommf 'half", "No closing quotation")])
def test_not_a_command(named, message):
    assert message in refusal(named)


@pytest.mark.parametrize("version", ["1.2b4", "1.0"])
def test_too_old(command, version, monkeypatch):
    monkeypatch.setenv("STAND_IN_VERSION", version)
    assert f"is version {version}, expected 2.0 or newer" in refusal(command)


@pytest.mark.parametrize("version", ["2.0", "2.0b0", "2.1a2", "3.0"])
def test_new_enough(command, version, monkeypatch):
    monkeypatch.setenv("STAND_IN_VERSION", version)
    assert find_oommf(command).version == version


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "got exit code 0 and 'nothing'"),
        ("echo hello; exit 3", "got exit code 3 and 'hello'"),
        ("echo OOMMF 2.1a0; exit 3", "got exit code 3 and 'OOMMF 2.1a0'"),
    ],
)
def test_answers_something_else(program, script, message):
    assert message in refusal(str(program("oommf", script)))


def test_no_answer(program, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_S", 0.1)
    assert "no answer within 0.1 s" in refusal(str(program("oommf", "exec sleep 10")))


def test_refuses_root(program):
    program("oommf", 'echo "*** ERROR: Don\'t run OOMMF as root." >&2; exit 154')
    said = refusal()
    assert "refuses to run as root" in said
    assert "start Spinloom as an ordinary user" in said
    assert "conda" not in said


def test_docker_with_the_image(docker):
    found = find_oommf()
    assert found.command == (str(docker),)
    assert found.image.startswith("oommf/oommf:")
    assert found.version == found.image.removeprefix("oommf/oommf:")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket",
            "not installed, and this user may not use docker (ask for membership in the group docker)",
        ),
        (
            "Error: No such image: oommf/oommf",
            "not installed, and docker has no image of it ('docker pull oommf/oommf",
        ),
        (
            "Cannot connect to the Docker daemon",
            "not installed, and docker does not answer (Cannot connect to the Docker daemon)",
        ),
    ],
)
def test_docker_of_no_use(program, said, message):
    program("docker", f'echo "{said}" >&2; exit 1')
    assert message in refusal()
