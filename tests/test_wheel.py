"""What is installed: the wheel holds the whole package and its data, under one name, and works from any folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("pip", reason="needs pip, to build a wheel")

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
PARTS = ("data", "device_models", "networks", "reduced_models", "workflows")
SOURCES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "spinloom", "tests", *PARTS)
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc")
SDIST = "from setuptools.build_meta import build_sdist; build_sdist('dist')"


def python(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run Python without the caches, paths and settings of whoever runs the tests."""
    left_out = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV"}
    inherited = {key: value for key, value in os.environ.items() if key not in left_out}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True
    )


def build(source: str, folder: Path, out: str) -> Path:
    """Build a wheel with what is installed: nothing is fetched."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--wheel-dir", out)
    done = python("-m", "pip", "wheel", source, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = (folder / out).glob("*.whl")
    return found


def package_files() -> dict[str, bytes]:
    """Every file of the package in this checkout, through its links."""
    package = ROOT / "spinloom"
    walk = (Path(folder) / name for folder, _, names in os.walk(package, followlinks=True) for name in names)
    files = [file for file in walk if "__pycache__" not in file.parts]
    return {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in files}


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but for what pip writes about it."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a clone has it, links as links."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=CACHES)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    return build(".", sources, "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed, far from the checkout."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target", target)
    done = python("-m", "pip", "install", wheel, *options, cwd=target)
    assert done.returncode == 0, done.stderr
    return target


def test_the_links_are_links_in_every_clone() -> None:
    for name in PARTS:
        assert (ROOT / "spinloom" / name).is_symlink(), f"spinloom/{name} is no link: clone with symbolic links"
        assert os.readlink(ROOT / "spinloom" / name) == f"../{name}"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    found, expected = wheel_files(wheel), package_files()
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    for name in (
        "py.typed",
        "data/experiments/demo.toml",
        "device_models/engines/oommf/live.py",
        "workflows/report.html",
    ):
        assert f"spinloom/{name}" in found


def test_one_name_and_one_command_are_installed(wheel: Path, installed: Path) -> None:
    assert wheel.name == f"spinloom-{VERSION}-py3-none-any.whl"
    about = f"spinloom-{VERSION}.dist-info"
    assert sorted(path.name for path in installed.iterdir() if path.name != "bin") == ["spinloom", about]
    assert (installed / about / "top_level.txt").read_text().split() == ["spinloom"]
    assert [path.name for path in (installed / "bin").iterdir()] == ["spinloom"]


def test_the_source_archive_makes_the_same_wheel(sources: Path, wheel: Path) -> None:
    done = python("-c", SDIST, cwd=sources)
    assert done.returncode == 0, done.stderr
    with tarfile.open(sources / "dist" / f"spinloom-{VERSION}.tar.gz") as archive:
        names = [member.name for member in archive if member.isfile()]
    parts = {name.split("/")[1] for name in names}
    assert parts == set(SOURCES) - {"tests", *PARTS} | {"PKG-INFO", "setup.cfg", "spinloom.egg-info"}
    again = build(f"dist/spinloom-{VERSION}.tar.gz", sources, "again")
    assert wheel_files(again) == wheel_files(wheel)


def run_installed(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    return python(*words, cwd=folder, PYTHONPATH=str(installed))


def test_the_version_is_told_from_any_folder(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "-m", "spinloom", "--version")
    assert done.returncode == 0, done.stderr
    assert VERSION in done.stdout


SHIPPED = """
import json
import spinloom
from spinloom.device_models.provenance import data_folder
from spinloom.workflows.settings import load_experiment

experiment, card, *_ = load_experiment("demo")
data = [path for path in data_folder().rglob("*") if path.is_file()]
print(json.dumps([spinloom.__file__, experiment.name, card.name, len(data)]))
"""


def test_the_shipped_experiment_and_its_card_are_found_by_name(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "-c", SHIPPED)
    assert done.returncode == 0, done.stderr
    ours = [name for name in package_files() if name.startswith("spinloom/data/")]
    assert json.loads(done.stdout) == [str(installed / "spinloom" / "__init__.py"), "demo", "disc60", len(ours)]


def test_run_by_name_gets_as_far_as_its_folder(installed: Path, tmp_path: Path) -> None:
    """The experiment is found; the folder, which is not empty, is left alone, so nothing is computed."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    done = run_installed(installed, tmp_path, "-m", "spinloom", "run", "demo", "--out", "out", "--engine", "embedded")
    assert done.returncode == 2, done.stderr
    assert "holds other files" in " ".join(done.stderr.split())
