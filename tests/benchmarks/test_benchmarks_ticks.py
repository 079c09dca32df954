"""The benchmark of ticks, shortened: every run is timed, alone and beside another folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("beside", [False, True])
def test_every_run_is_timed(benchmark_module, coarse_model_path, coarse_card_path, capsys, beside):
    short = ["--ticks", "10", "--repeats", "1", "--largest", "100"]
    short += ["--full", str(coarse_card_path), "--cell", "15e-9"]
    other = ["--beside", str(Path(__file__).resolve().parents[2])] if beside else []
    benchmark_module("ticks").main([str(coarse_model_path), *short, *other])
    lines = capsys.readouterr().out.splitlines()
    form = r"\d+\.\d{3} us on the clock, +\d+\.\d{3} us of processor time"
    form += r"; the other's are \d+\.\d\d and \d+\.\d\d times as many" if beside else ""
    assert len(lines) == 7
    assert all(re.search(form + "$", line) for line in lines)


def test_mistakes(benchmark_module, coarse_model_path, capsys):
    with pytest.raises(SystemExit):
        benchmark_module("ticks").main([str(coarse_model_path), "--repeats", "0"])
    assert "expected at least 1 of each" in capsys.readouterr().err
