"""The benchmark against other programs: what it does where one is there, fails or is missing. None is installed."""

from __future__ import annotations

import json
import re
import sys

import pytest

STAND_IN = """
def once():
    return {"tick": 2 * nodes * 1e-3, "tick with RLS": 1.0}
"""
SHORT = ["--ticks", "10", "--full-ticks", "1", "--repeats", "1"]


@pytest.fixture
def peers(benchmark_module, monkeypatch):
    module = benchmark_module("peers")
    monkeypatch.setattr(module, "environment", lambda name, cache: sys.executable)
    monkeypatch.setitem(module.WORKERS, "reservoirpy", STAND_IN)
    return module


def test_ratios_are_of_theirs_to_ours(peers, coarse_card_path, coarse_model_path, tmp_path, capsys):
    told = tmp_path / "figures.json"
    arguments = [str(coarse_card_path), "--model", str(coarse_model_path), "--peers", "reservoirpy,cmtj"]
    peers.WORKERS["cmtj"] = "raise ImportError('no such peer')"
    peers.main([*arguments, *SHORT, "--json", str(told)])
    out, found = capsys.readouterr().out, json.loads(told.read_text())
    assert "cmtj: left out, ImportError: no such peer" in out
    assert found["left_out"] == {"cmtj": "ImportError: no such peer"}
    assert [row["ours"] for row in found["rows"]] == [ours for _, ours in peers.PAIRS["reservoirpy"]]
    for row in found["rows"]:
        assert row["theirs_s"] == (1.0 if row["what"] == "tick with RLS" else 0.08)
        assert row["ratio"] == pytest.approx(row["theirs_s"] / row["ours_s"])
    assert len(re.findall(r"^reservoirpy .* ratio \d+\.\d\d$", out, flags=re.MULTILINE)) == 3


def test_a_peer_that_cannot_be_installed(benchmark_module, monkeypatch, tmp_path):
    module = benchmark_module("peers")
    monkeypatch.setitem(module.PACKAGES, "cmtj", ["--no-index", "no-such-package-of-ours==1.0"])
    with pytest.raises(module.MissingError, match=r"cannot be installed: .*no-such-package-of-ours"):
        module.environment("cmtj", tmp_path)
    assert not (tmp_path / "cmtj" / "installed.txt").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(["--peers", "mumax"], "expected some of cmtj"), (["--repeats", "0"], "expected at least 1")],
)
def test_mistakes(peers, coarse_card_path, coarse_model_path, capsys, wrong, message):
    with pytest.raises(SystemExit):
        peers.main([str(coarse_card_path), "--model", str(coarse_model_path), *wrong])
    assert message in capsys.readouterr().err
