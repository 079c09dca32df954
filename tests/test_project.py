"""The project watches over itself: imports, dependencies, documents."""

import ast
import contextlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spinloom.device_models.card import load_card
from spinloom.device_models.system import card_system, read_field
from spinloom.workflows.cli import app

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAY_IMPORT = {
    "device_models": set(),
    "reduced_models": {"device_models"},
    "networks": {"device_models"},
    "workflows": {"device_models", "reduced_models", "networks"},
}
STAGES = [
    "calibrate",
    "fit",
    "train generate",
    "train recognise",
    "finish",
    "cosimulate",
    "cosimulate",
    "replay",
    "doctor",
]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fenced(path: Path, language: str) -> list[str]:
    """Code blocks whose language, the first word after the fence, is the given one."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def shell_lines(path: Path, *programs: str) -> list[list[str]]:
    """Words of every line of the document's sh blocks that starts one of the programs."""
    lines = "\n".join(fenced(path, "sh")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line and Path(line[0]).name in programs]


def resolve(words: list[str]) -> tuple[Any, list[str], str]:
    """The command that the words name, what is left for it to parse, and its full name."""
    command, names = typer.main.get_command(app), []
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {' '.join([*names, words[0]])}"
        names.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    return command, words, " ".join(names)


SPINLOOM_LINES = [
    pytest.param(words, id=f"{relative(path)}: {' '.join(words)}")
    for path in DOCUMENTS
    for words in shell_lines(path, "spinloom")
]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_never_run_backwards(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        found = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{relative(file)}: relative import"
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        ours = {name.split(".")[1] for name in found if name.startswith("spinloom.")}
        wrong = (ours & set(MAY_IMPORT)) - MAY_IMPORT[package] - {package}
        assert not wrong, f"{relative(file)} imports {wrong}"


def test_conda_environment_is_in_step_with_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = split_requirements([entry for entry in environment["dependencies"] if isinstance(entry, str)])
    # On conda-forge, matplotlib is matplotlib-base with a graphical toolkit that nothing here needs.
    conda["matplotlib"] = conda.pop("matplotlib-base")
    assert conda.pop("python") == PROJECT["requires-python"]
    assert "oommf" in conda
    conda = {name: bound for name, bound in conda.items() if name not in ("pip", "oommf")}
    assert conda == split_requirements(PROJECT["dependencies"])
    assert environment["dependencies"][-1] == {"pip": ["-e ."]}


def test_constraints_pin_every_dependency_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.match(r"^[\w.-]+==[\w.+!]+(; \w+ .+)?$", pin)] == []
    pinned = split_requirements([pin.split(";")[0] for pin in pins])
    extra = PROJECT["optional-dependencies"]["dev"]
    assert set(split_requirements([*PROJECT["dependencies"], *extra])) <= set(pinned)
    assert "spinloom" not in pinned


@pytest.mark.skipif(sys.platform != "linux", reason="constraints.txt is for Linux")
def test_constraints_pin_all_that_is_installed() -> None:
    """What the dependencies depend on, too: an install is the same every time."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(Requirement(line).name) for line in lines if not line.startswith("#")}
    todo = [Requirement(entry) for entry in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]
    seen: set[tuple[str, str]] = set()
    while todo:
        wanted = todo.pop()
        for extra in ["", *wanted.extras]:
            name = canonicalize_name(wanted.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            with contextlib.suppress(PackageNotFoundError):  # conda has other names for some
                needs = [Requirement(entry) for entry in distribution(name).requires or []]
                todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    assert {name for name, _ in seen} <= pinned


def split_requirements(entries: list[str]) -> dict[str, str]:
    """Name in pip's canonical form -> version specifier."""
    split = (re.match(r"([\w.-]+?)((?:[<>=!~].*)?)$", entry) for entry in entries)
    return {re.sub(r"[-_.]+", "-", found[1]).lower(): found[2] for found in split if found}


def test_changelog_and_citation_have_the_version() -> None:
    version = PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## \[(.+?)\] - (\d{4}-\d\d-\d\d)$", changelog, flags=re.MULTILINE)
    assert heading, "no heading '## [version] - date'"
    assert heading[1] == version
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == version
    assert citation["license"] == PROJECT["license"]


def test_citation_is_a_whole_cff_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"])


def project_files() -> list[Path]:
    """Files under version control, and those that would be if they were added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone of the repository, to know its files")
    files = [ROOT / name for name in listed.split("\0") if name]
    return [file for file in files if file.is_file()]


def test_no_file_names_a_registry_or_a_place_on_one_machine() -> None:
    name = r"(?:pypi|pythonhosted|anaconda|npmjs|debian|ubuntu|crates)"
    registry = re.compile(rf"\b{name}\b[\w.-]*\.(?:org|com|io|net|dev)\b")
    place = re.compile(r"(?<![\w.}~)])/(?:home|root|Users|work|mnt)/\w")
    wrong = []
    for file in project_files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{relative(file)}: {found[0]}" for rule in (registry, place) for found in rule.finditer(text)]
    assert not wrong


def test_ci_script_can_be_executed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("words", SPINLOOM_LINES)
def test_documented_commands_parse(words: list[str]) -> None:
    command, rest, name = resolve(words[1:])
    with contextlib.suppress(typer.Exit):  # --help and --version print and leave
        command.make_context(f"spinloom {name}", list(rest))
    for word in rest:
        if word.startswith("data/"):
            assert (ROOT / word).is_file(), f"no file {word}"


def test_a_wrong_option_does_not_parse() -> None:
    command, rest, name = resolve(["fit", "cal.nc", "--out", "model.nc", "--no-such-option"])
    with pytest.raises(Exception, match=r"(?i)no such option"):
        command.make_context(name, rest)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_documented_make_targets_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    words = [word for line in shell_lines(document, "make") for word in line[1:] if "=" not in word]
    words += re.findall(r"`make ([a-z]+)`", document.read_text(encoding="utf-8"))
    assert set(words) <= targets


def test_readme_has_the_stages_in_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh stages\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    lines = [shlex.split(line) for line in blocks[0].splitlines()]
    assert all(words[0] == "spinloom" for words in lines)
    assert [resolve(words[1:])[2] for words in lines] == STAGES


def test_readme_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCUMENTS[1:] if f"](docs/{path.name})" not in text] == []


def test_readme_has_all_its_figures() -> None:
    assert re.findall(r"@@\w*@@", (ROOT / "README.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=relative)
def test_links_point_to_files(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)", text)
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Python blocks of a document, to be run in a folder of their own beside ``data``."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return lambda name: [compile(block, name, "exec") for block in fenced(ROOT / "docs" / name, "python")]


def test_examples_in_own_waveform_run(blocks: Any) -> None:
    replay, make = blocks("own-waveform.md")
    names: dict = {}
    exec(replay, names)
    assert names["m"].shape == (40, 1, 3)
    exec(make, {})
    durations, u = names["read_waveform"]("my_drive.csv")
    assert len(u) == 800
    assert durations == pytest.approx(7.5e-12)


def test_examples_in_ubermag_run(blocks: Any, tmp_path: Path) -> None:
    """All but the last, which needs OOMMF."""
    plt.switch_backend("Agg")
    names: dict = {}
    for block in blocks("ubermag.md")[:-1]:
        exec(block, names)
    plt.close("all")
    card, system = names["card"], names["system"]
    assert load_card(tmp_path / "ellipse.toml") == card
    assert card_system(card).energy == system.energy
    assert names["data"].data[["mx", "my", "mz"]].to_numpy() == pytest.approx(names["m"][:, 0])
    assert names["spectrum"].units["f"] == "Hz"
    mask = card.geometry.mask()
    assert names["final"].array[mask].mean(axis=0) / card.material.Ms == pytest.approx(names["m"][-1, 0])
    assert read_field("final.omf") == pytest.approx(names["fields"][0])
    assert len(names["trajectories"]) == 40
    assert names["drive"][-1].array[mask] == pytest.approx(names["final"].array[mask])
    assert names["third"].data.to_numpy() == pytest.approx(names["trajectories"][3].data.to_numpy(), rel=1e-12)
    assert {"f", "z_full", "r_reduced_39"} <= set(names["outputs"].data)
