"""Where OOMMF is, found as oommfc finds it, and what to do where it is not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from spinloom.device_models.errors import NotUsableError

OLDEST = (2, 0)
"""Oldest version of OOMMF that is used: the tables and scripts of 1.x are not those of 2.x."""
CONDA = "conda install -c conda-forge oommf"
HOW = f"install it with '{CONDA}', set OOMMFTCL to the path of oommf.tcl, or name the command with --oommf"
AS_USER = (
    "start Spinloom as an ordinary user, or name a wrapper that changes the user, "
    "such as --oommf 'setpriv --reuid=NAME --regid=NAME --clear-groups oommf'"
)
ANSWER_S = 60.0


@dataclass(frozen=True)
class Installation:
    """One OOMMF that answers.

    Attributes
    ----------
    command : tuple of str
        starts it; the application and its arguments follow
    where : str
        how it was found, for people
    version : str
        as OOMMF says it
    image : str
        docker image that it lives in; empty for one of this machine
    """

    command: tuple[str, ...]
    where: str
    version: str
    image: str = ""


class NoOommfError(NotUsableError):
    """No OOMMF can be used."""


class _RefusalError(Exception):
    """Why one place is of no use, and whether there is something in it."""

    def __init__(self, reason: str, found: bool = False) -> None:
        super().__init__(reason)
        self.found = found


def find_oommf(named: str | None = None) -> Installation:
    """The OOMMF that a user named, or the first that answers, in the order of oommfc.

    That order is ``oommf.tcl`` in the environment variable OOMMFTCL, an ``oommf`` on PATH, docker.

    Parameters
    ----------
    named : str, optional
        a command line that starts OOMMF, or the path of ``oommf.tcl``; nothing else is tried

    Returns
    -------
    installation : Installation

    Raises
    ------
    NoOommfError
        naming each place that was tried, what it answered, and what to do
    """
    tries = [partial(_named, named)] if named else [*_candidates(), _docker]
    refusals = []
    for attempt in tries:
        try:
            return attempt()
        except _RefusalError as refusal:
            refusals.append(refusal)
    reasons = "; ".join(map(str, refusals))
    advice = AS_USER if "as root" in reasons else HOW
    raise NoOommfError(f"oommf: {reasons}; {advice}", any(refusal.found for refusal in refusals))


def _candidates() -> list[Callable[[], Installation]]:
    # oommfc lets a program rename both; honour that.
    from oommfc import runner

    found: list[Callable[[], Installation]] = []
    script = os.environ.get(runner.envvar)
    if script:
        found.append(partial(_ask, ("tclsh", script), f"{runner.envvar}={script}"))
    path = shutil.which(runner.oommf_exe)
    if path:
        found.append(partial(_ask, (path,), f"{path}, on PATH"))
    return found


def _named(named: str) -> Installation:
    if os.path.exists(named):
        words: tuple[str, ...] = (named,)
    else:
        try:
            words = tuple(shlex.split(named))
        except ValueError as error:
            raise _RefusalError(f"expected a command, got {named!r} ({error})") from None
    if not words:
        raise _RefusalError("expected a command or the path of oommf.tcl, got an empty one")
    return _ask(("tclsh", *words) if words[0].endswith(".tcl") else words, f"{named}, named by you")


def _ask(command: tuple[str, ...], where: str) -> Installation:
    """Ask for the version, which already meets most of what can be wrong."""
    answer = _answer([*command, "+version"], where)
    said = f"{answer.stdout}\n{answer.stderr}"
    if "OOMMF as root" in said:
        raise _RefusalError(f"{where}: OOMMF refuses to run as root", found=True)
    version = re.search(r"OOMMF (\d+)\.(\d+)(\S*)", said)
    if answer.returncode or version is None:
        tail = " ".join(said.split())[-300:] or "nothing"
        raise _RefusalError(f"{where}: expected its version, got exit code {answer.returncode} and {tail!r}")
    number = version[0].removeprefix("OOMMF ")
    if (int(version[1]), int(version[2])) < OLDEST:
        raise _RefusalError(f"{where}: is version {number}, expected {OLDEST[0]}.{OLDEST[1]} or newer", found=True)
    return Installation(command, where, number)


def _answer(command: list[str], where: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=ANSWER_S
        )
    except FileNotFoundError as error:
        raise _RefusalError(f"{where}: {error.filename} is not there") from None
    except PermissionError as error:
        raise _RefusalError(
            f"{where}: {error.filename} may not be executed; 'chmod +x' it if it should be", True
        ) from None
    except OSError as error:
        raise _RefusalError(f"{where}: cannot be started ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise _RefusalError(f"{where}: no answer within {ANSWER_S:g} s") from None


def _docker() -> Installation:
    from oommfc import oommf, runner

    docker = shutil.which(runner.docker_exe)
    if docker is None:
        raise _RefusalError("not installed (no OOMMFTCL, no oommf on PATH, no docker)")
    image = oommf.DockerOOMMFRunner(docker_exe=docker).image
    where = f"docker image {image}"
    answer = _answer([docker, "image", "inspect", "--format", "{{.Id}}", image], where)
    if answer.returncode == 0:
        return Installation((docker,), where, image.rpartition(":")[2], image)
    said = " ".join(answer.stderr.split())
    if "permission denied" in said.lower():
        raise _RefusalError("not installed, and this user may not use docker (ask for membership in the group docker)")
    if "no such image" in said.lower():
        raise _RefusalError(f"not installed, and docker has no image of it ('docker pull {image}')")
    raise _RefusalError(f"not installed, and docker does not answer ({said[:200]})")
