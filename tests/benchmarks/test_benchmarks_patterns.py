"""The benchmark of patterns that an input chooses: it prints a line for each kind of node, and draws."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
LINE = re.compile(
    r"(.+) at (\d+) K: worst switch ([\d.]+) \(worst seed ([\d.]+)\), median switch ([\d.]+) \(([\d.]+)\), "
    r"right ([\d.]+) \(([\d.]+)\), (\d) of (\d) seeds settle within 0.1 after every switch, in .+ periods at most; "
    r"each seed ([\d.]+) ([\d.]+)"
)


@pytest.mark.slow
def test_what_is_printed_and_drawn(benchmark_module, coarse_model_path, capsys, tmp_path, monkeypatch):
    module = benchmark_module("patterns")
    small = module.PatternSettings(period_ticks=12, tours=1, dwell=2)
    monkeypatch.setattr(module, "PatternSettings", lambda: small)
    picture = tmp_path / "plane.svg"
    sizes = ("--search", "2", "--tasks", "circle,eight", "--seeds", "2", "--nodes", "4", "--force-tours", "1")
    module.main([str(coarse_model_path), *sizes])
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == ["junctions, reduced", "memoryless", "leaky", "tanh"]
    for line in lines:
        each = [float(line[11]), float(line[12])]
        assert float(line[4]) == max(each)
        assert float(line[3]) == pytest.approx(sum(each) / 2, abs=1e-3)
    module.main([str(coarse_model_path), *sizes, "--full", "1", "--plot", str(picture)])
    assert picture.read_text().count("</svg>") == 1
    said = capsys.readouterr().out
    assert "junctions, full micromagnetics at 0 K" in said
