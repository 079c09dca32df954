import re
from pathlib import Path

import pandas as pd
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.page.explorer import Start, explorer
from spinloom.workflows.page.sweep import sweep_page

PARAMETERS, FIGURES = ["nodes", "alpha", "device"], ["nrmse", "works"]


def test_a_sweep_is_a_page_of_its_own(swept, read_page):
    text = sweep_page(swept, PARAMETERS, FIGURES, "Nodes & damping", ["What <b>came</b> out"])
    page = read_page(text)
    assert "Nodes & damping" in page.words
    assert "What <b>came</b> out" in page.words
    assert "18 points of nodes, alpha, device" in page.words
    assert all(f'"{name}"' in text for name in (*PARAMETERS, *FIGURES))
    assert len(text) < 2.2e6  # most of it is the library


def test_hostile_words_are_words(swept, read_page):
    table = swept.rename(columns={"alpha": "</script><script>alert(2)"})
    page = read_page(sweep_page(table, ["nodes", "</script><script>alert(2)", "device"], FIGURES, "<script>alert(3)"))
    scripts = [found for tag, found in page.tags if tag == "script"]
    assert len(scripts) == len([found for tag, found in read_page(sweep_page(swept, PARAMETERS, FIGURES, "x")).tags
                                if tag == "script"])  # fmt: skip
    assert re.findall(r"<script>alert", page.text) == []


@pytest.mark.parametrize(
    ("table", "parameters", "figures", "told"),
    [
        ({"a": [1], "b": [2]}, ["a", "c"], ["b"], "points: expected columns a, c, b, got none called c"),
        ({"a": [], "b": []}, ["a"], ["b"], "points: expected at least one row"),
        ({"a": [1], "b": ["x"]}, ["a"], ["b"], "figures: expected at least one column of numbers, got b"),
        ({"a": [1], "b": [True]}, ["a"], [], "figures: expected at least one column of numbers, got none"),
    ],
)
def test_what_no_page_can_be_made_of_is_told(table, parameters, figures, told):
    with pytest.raises(SpinloomError, match=re.escape(told)):
        sweep_page(pd.DataFrame(table), parameters, figures, "x")


def test_a_sweep_of_words_alone_has_its_figures_along_the_axes(read_page):
    read_page(sweep_page(pd.DataFrame({"device": ["a", "b"], "nrmse": [0.1, 0.2]}), ["device"], ["nrmse"], "x"))


def test_axes_over_decades_are_logarithmic_and_words_have_colours(swept):
    found = explorer(swept, ["nodes", "alpha"], ["nrmse"], Start("alpha", "nrmse", "device"))
    seen = [plot.visible for plot in found.plots["scatter"].children]
    assert seen == [False, False, False, True]
    assert set(found.keys) == {"device", "works"}
    assert len(set(found.keys["device"].values())) == 3
    source = found.plots["table"].source
    assert source.data["works"][:2] == ["yes", "no"]
    assert {len(column) for column in source.data.values()} == {18}


def test_a_column_without_numbers_does_not_stop_a_page(read_page):
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [float("nan")] * 2, "c": [float("inf"), 1.0]})
    read_page(sweep_page(table, ["a"], ["b", "c"], "x"))


def test_the_point_that_was_chosen_is_marked(swept):
    found = explorer(
        swept, ["alpha"], ["nrmse"], Start("alpha", "nrmse", "device"), marked={"alpha": swept["alpha"][4]}
    )
    assert list(found.plots["table"].source.data["ring"] > 0) == [k == 4 for k in range(18)]


def test_the_example_of_the_documentation_makes_a_page(tmp_path, monkeypatch, read_page):
    text = (Path(__file__).parents[3] / "docs" / "page.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "page.md", "exec"), {})
    assert "4 points of alpha, device" in read_page(Path("damping.html").read_text(encoding="utf-8")).words
