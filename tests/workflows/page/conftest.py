"""Pages: what is in one, and records and tables small enough to make them of."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr

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


@pytest.fixture
def swept() -> pd.DataFrame:
    """A table with numbers over decades, words, hostile ones among them, and what is missing."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "nodes": [10, 20, 40] * 6,
            "alpha": 10 ** rng.uniform(-3, -1, 18),
            "device": ["disc60", HOSTILE, EQUATION] * 6,
            "nrmse": [*10 ** rng.uniform(-4, 0, 17), np.nan],
            "works": [True, False] * 9,
        }
    )
