"""The stand-in for OOMMF as an installation, and a watch over what an engine leaves behind."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.installation import Installation, find_oommf

TICK = 7.5e-12
STAND_IN = Path(__file__).resolve().parents[2] / "stand_in_oommf.py"
COMMAND = shlex.join([sys.executable, "-I", "-S", str(STAND_IN)])


@pytest.fixture(scope="session")
def command() -> str:
    """What starts the stand-in."""
    return COMMAND


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a shell script on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, script: str, mode: int = 0o755) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)
        return path

    return put


@pytest.fixture
def docker(program: Callable[..., Path]) -> Path:
    """A docker that has OOMMF's image, and runs the stand-in for it."""
    return program(
        "docker",
        f"""case "$1" in
image) echo sha256:0 ;;
run) cd "${{6%:/io}}"; shift 11; STAND_IN_ALONE=1 exec {COMMAND} "$@" ;;
esac""",
    )


@pytest.fixture(scope="session")
def installation() -> Installation:
    return find_oommf(COMMAND)


def living(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder or below it, with what is known of them in ``info``."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd", "name", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and Path(process.info["cwd"] or "/").is_relative_to(folder)
    ]


@pytest.fixture
def processes(temporary: Path) -> Callable[[], list[psutil.Process]]:
    """All that OOMMF has running."""
    return lambda: living(temporary)


@pytest.fixture
def solvers(temporary: Path) -> Callable[[], list[psutil.Process]]:
    """Solvers of the stand-in that are running."""
    return lambda: [process for process in living(temporary) if "boxsi" in (process.info["cmdline"] or ())]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder for the engine, which has to be as empty in the end as nothing may be running."""
    # Root's OOMMF is another user, who has to get there.
    with tempfile.TemporaryDirectory(prefix="spinloom tests ü ") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder
        assert living(folder) == []
        assert list(folder.iterdir()) == []


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[dict[str, Any]]]:
    """How the stand-in was called since, application by application."""
    log = tmp_path / "calls.jsonl"
    monkeypatch.setenv("STAND_IN_LOG", str(log))

    def read(application: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [call for call in found if call["arguments"][0] == application]

    return read


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Ask the stand-in to fail; see there."""
    return lambda asked: monkeypatch.setenv("STAND_IN_FAULT", asked)


@pytest.fixture(scope="session")
def start_field(coarse_card: DeviceCard) -> np.ndarray:
    """All along y: the stand-in's equilibrium."""
    return coarse_card.geometry.mask()[..., None] * np.array([0.0, 1.0, 0.0])


@pytest.fixture
def engine_of(
    coarse_card: DeviceCard, installation: Installation, start_field: np.ndarray, calls: Any
) -> Callable[..., OommfEngine]:
    """An engine on the stand-in that needs no relaxation; not yet closed."""

    def make(cards: Any = coarse_card, initial: Any = start_field, **options: Any) -> OommfEngine:
        return OommfEngine(cards, TICK, initial, **{"installation": installation, **options})

    return make


@pytest.fixture
def engine(engine_of: Callable[..., OommfEngine]) -> Iterator[OommfEngine]:
    with engine_of() as engine:
        yield engine
