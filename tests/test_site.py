"""The documentation site and its notebooks: built strictly, complete, and readable without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

import spinloom

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A notebook cell by cell, in this process, which has imported and compiled already what a kernel would again."""
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")

    def call(name: str) -> dict:
        notebook = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
        names: dict = {}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, cell.id, "exec"), names)
        return names

    yield call
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_valid_and_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_there_is_a_test_of_every_notebook():
    text = Path(__file__).read_text(encoding="utf-8")
    assert {path.stem for path in NOTEBOOKS} == set(re.findall(r'run\("([\w-]+)"\)', text))


def test_the_notebook_on_calibration_follows_oommf(run):
    names = run("calibrate")
    assert names["apart"] < 1e-5
    assert dict(names["calibration"]["m"].sizes) == {"trajectory": 12, "tick": 100, "component": 3}
    assert names["signal"].max() > names["signal"][-1] > 0.05  # it overshoots


def test_the_notebook_on_fitting_foretells_what_was_held_out(run):
    names = run("fit")
    worst = [errors.max() for errors in names["rollouts"]]
    assert worst == sorted(worst, reverse=True)
    assert worst[-1] < 0.003
    assert worst[-1] > 10 * names["ticks"][-1]  # one tick is not enough


def test_the_notebook_on_training_generates(run):
    names = run("train")
    assert names["reached"]["periods"] == 50
    assert names["reached"]["nrmse"] < 0.1
    assert names["error"] < 0.01  # of the last network of the record, in OOMMF


def test_the_notebook_on_junctions_tells_good_from_unfit(run, capsys):
    names = run("good-enough")
    said = capsys.readouterr().out
    assert re.findall(r"(\w+): held-out .*: (\w+) at J_max", said) == [
        ("disc60", "good"),
        ("pma50", "good"),
        ("ellipse80x50", "unfit"),
    ]
    assert np.argmax(names["memory"]) == 0
    assert 2 < names["memory"].clip(0).sum() < 8
    assert names["products"][0] > 0.8


class Page(HTMLParser):
    """What a page holds, leads to, and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif "src" in found:
            self.loads.append(found["src"])
        elif tag == "link" and found.get("rel") != "canonical":
            self.loads.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site without the outputs of the notebooks, which ``make docs`` computes."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    given = {**os.environ, "SPINLOOM_DOCS_EXECUTE": "false", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_of_the_documentation_is_there(site, pages):
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    documents |= {path.relative_to(ROOT / "docs").with_suffix(".html") for path in NOTEBOOKS}
    documents |= {Path("index.html"), Path("CHANGELOG.html")}
    assert documents <= {path.relative_to(site) for path in pages}


def test_links_lead_somewhere(site, pages):
    """Files, pages and places on pages, also those that mkdocs does not look at."""
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file() or (parts.fragment and there in pages and _place(parts.fragment, pages[there])):
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert not wrong


def _place(fragment: str, page: Page) -> bool:
    return unquote(fragment) not in page.anchors


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert [f"{path}: {load}" for path, page in pages.items() for load in page.loads if urlsplit(load).netloc] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?https?://[^\"')]*", styles) == []


def test_every_public_name_is_documented(pages):
    anchors = set().union(*(page.anchors for page in pages.values()))
    places = {f"spinloom.{module}.{name}" for name, module in spinloom._PUBLIC.items()}
    assert places <= anchors


def test_equations_and_references_are_what_a_browser_shows(site):
    networks = (site / "api" / "networks.html").read_text(encoding="utf-8")
    assert "<math" in networks
    assert "<math" in (site / "physics.html").read_text(encoding="utf-8")
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r":(?:class|func|data|meth|attr|mod|math):", text) == [], path
        assert re.findall(r"\\[(\[]|\$\$", text) == [], path
    assert re.search(r'href="#spinloom\.networks\.loop\.run"', networks)
