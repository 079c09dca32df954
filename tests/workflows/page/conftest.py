"""Pages: what is in one, and records and tables small enough to make them of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from spinloom.networks.record import load_record, save_record
from spinloom.workflows.design_page import design_page
from spinloom.workflows.report import report_stage
from spinloom.workflows.tune_page import tune_page

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADS = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href"}
HOSTILE = "<script>alert(1)</script>"
EQUATION = "$$x$$"
RUNS = ("full", "reduced")


class Page(HTMLParser):
    """A page, read strictly: what is opened is closed, and no attribute or id comes twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, list[str]] = {}
        assert text.startswith("<!doctype html>\n")
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.wrong.append(f"<{tag}> has an attribute twice")
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        self.loads += [value for name, value in found.items() if name in LOADS]
        self.ids += [found["id"]] if "id" in found else []
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> closes {self.open[-1:]}, line {self.getpos()[0]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.inside.setdefault(self.open[-1], []).append(data)

    @property
    def words(self) -> str:
        """What is read: all text but that of scripts and styles."""
        return " ".join(" ".join(text) for tag, text in self.inside.items() if tag not in ("script", "style"))


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    """Read a page, and say what is wrong with it, whatever page it is."""

    def read(text: str) -> Page:
        page = Page(text)
        assert page.wrong == []
        assert [load for load in page.loads if not load.startswith(("#", "data:"))] == []
        style = " ".join(page.inside["style"])
        assert "@import" not in style
        assert "url(" not in style
        assert len(page.ids) == len(set(page.ids))
        assert dict(page.tags)["html"] == {"lang": "en"}
        assert page.headings[0] == 1
        assert page.headings.count(1) == 1
        assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
        assert all(found.get("aria-label") for tag, found in page.tags if tag in ("figure", "nav", "table"))
        assert [tag for tag, found in page.tags if any(name.startswith("on") for name in found)] == []
        return page

    return read


@pytest.fixture
def free_runs() -> xr.Dataset:
    """A record of two tasks of hostile names, two chips each, two noises in full and three reduced ones."""
    rng = np.random.default_rng(0)
    networks = [f"{task}, chip {chip}" for task in (HOSTILE, EQUATION) for chip in range(2)]
    tick, period, nodes = 48, 12, 3
    f = np.sin(2 * np.pi * np.arange(period) / period)[:, None, None] * np.ones((1, 4, 1))
    z = np.tile(f, (tick // period, 1, 1))
    noisy = {
        f"z_{run}_seeds": ((f"seed_{run}", "tick", "network", "output"), z + 0.01 * rng.normal(size=(n, *z.shape)))
        for run, n in (("full", 2), ("reduced", 3))
    }
    across = ("tick", "network", "node")
    return xr.Dataset(
        {
            "f": (("period_tick", "network", "output"), f),
            "u_full": (across, rng.uniform(-1, 1, (tick, 4, nodes))),
            **noisy,
            **{
                f"z_{run}": (("tick", "network", "output"), noisy[f"z_{run}_seeds"][1][0])
                for run in ("full", "reduced")
            },
            **{f"r_{run}": (across, rng.uniform(-1, 1, (tick, 4, nodes))) for run in RUNS},
            "outside_share": (("network",), np.zeros(4)),
        },
        coords={"network": networks, "t": (("tick",), 1e-11 * np.arange(1, tick + 1))},
        attrs={"engine": "embedded"},
    )


@pytest.fixture(scope="session")
def swept() -> pd.DataFrame:
    """A table with numbers over decades, words, hostile ones among them, and what is missing."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "nodes": [10, 20, 40] * 6,
            "alpha": 10 ** rng.uniform(-4, -1, 18),
            "device": ["disc60", HOSTILE, EQUATION] * 6,
            "nrmse": [*10 ** rng.uniform(-4, 0, 17), np.nan],
            "works": [True, False] * 9,
        }
    )


def renamed(told, names):
    """The same with other names wherever a dictionary has them."""
    if isinstance(told, dict):
        return {names.get(name, name): renamed(value, names) for name, value in told.items()}
    return told


@pytest.fixture(scope="session")
def renamed_run(small_run, tmp_path_factory):
    """A finished run of which one task has the name of a script, and the other that of an equation."""
    names = {"mine": HOSTILE, "sine": EQUATION}
    folder = tmp_path_factory.mktemp("renamed") / "run"
    shutil.copytree(small_run, folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(renamed(summary, names)))
    record = load_record(folder / "cosimulation.nc")
    networks = [names[str(name)] for name in record["network"].values]
    save_record(record.assign_coords(network=networks), folder / "cosimulation.nc")
    report_stage(folder)
    return folder


TUNED: dict[str, Any] = {
    "verdict": "partly", "device": HOSTILE, "device_verdict": "good", "probe": [HOSTILE], "reach": 1.0,
    "holdout_nrmse": 0.001, "period_s": 4e-10, "candidates": 6, "recognise": None, "advice": [{"words": HOSTILE}],
    "tasks": {"mine": {"median_nrmse": 0.01, "worst_nrmse": None, "median_shape_error": 0.01, "generates": 3,
                       "seeds": 4, "periods": 9}},
    "baselines": None, "wall_s": 12.0,
    "settings": {"clock": 0.0, "clock_shape": "sine", "radius": 0.5, "feedback": 1.0, "bias": 0.5},
}  # fmt: skip


@pytest.fixture
def tuned() -> dict[str, Any]:
    """What a tuning comes to."""
    return TUNED


@pytest.fixture(scope="session")
def tune_text(coarse_model):
    """The page of a tuning in which every state was met."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "candidate": k, "rung": k % 3, "score": float(k), "period_s": 1e-10 * (k + 1), "share": 0.5,
            "radius": 0.5 + k, "feedback": 1.0 + k, "bias": 0.5, "clock": 0.0, "taught_mine": float(rng.uniform()),
            "state_mine": state,
            **({"shape_mine": 1e-3} if state == "works" else {}),
        }
        for k, state in enumerate(("works", "unstable", "follows", "poor", "sings", "dead"))
    ]  # fmt: skip
    return tune_page(coarse_model.card, coarse_model, rows, ("mine.csv",), TUNED)


@pytest.fixture(scope="session")
def design_text(coarse_card):
    """The page of a design that found nothing, a third of it unstable."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "diameter": d, "thickness": 2e-9, "voltage": v, "field": 1.3, "period": 3e-10, "network": 0, "nodes": 20,
            "nrmse_mine": float(rng.uniform(0.1, 1)), "power": 1e-3, "energy": float(rng.uniform(1, 50)) * 1e-13,
            "stable": d > 5e-8, "score": float(rng.uniform(0.5, 20)),
        }
        for d in (4e-8, 6e-8, 8e-8) for v in (0.3, 0.6)
    ]  # fmt: skip
    chips = (None, 1.0, 0.05, None)
    judged = [{**row, "yield": share, "accuracy": None} for row, share in zip(rows[2:], chips, strict=True)]
    wish = {"tasks": ["mine.csv"], "nrmse": [0.15], "temperature": 300.0, "accuracy": 0.0, "least_yield": 0.9,
            "spread": {"diameter": 0.05}, "voltage": 0.6, "chips": 4}  # fmt: skip
    result = {"outcome": "nothing does it", "chosen": judged[0], "words": HOSTILE, "judged": judged, "points": 6,
              "wish": wish, "wall_s": 3.0, "full": None}  # fmt: skip
    return design_page(coarse_card, rows, result)
