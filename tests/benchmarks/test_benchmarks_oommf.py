"""The benchmark of OOMMF, shortened: it runs, and prints every figure that it promises."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path

import psutil
import pytest

from spinloom.device_models.provenance import data_folder

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "oommf.py"


@pytest.fixture
def temporary(monkeypatch):
    """A temporary folder that root's OOMMF, who is another user, gets to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.mark.oommf
def test_it_prints_every_figure_and_leaves_nothing(oommf, capsys, temporary):
    spec = importlib.util.spec_from_file_location("benchmarks_oommf", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    card = data_folder() / "devices" / "disc60.toml"
    module.main([str(card), "--ns", "0.06", "--nodes", "2", "--ticks", "4", "--repeats", "1"])
    said = capsys.readouterr().out
    assert said.startswith(f"OOMMF {oommf.version} (")
    assert "177 cells" in said
    assert "2 live nodes started in" in said
    assert "a network tick of 2 live nodes" in said
    ratios = [float(ratio) for ratio in re.findall(r"ratio ([\d.]+)", said)]
    assert len(ratios) == 4
    assert min(ratios) > 0
    at_work = [process.info["cwd"] or "/" for process in psutil.process_iter(["cwd"])]
    assert [cwd for cwd in at_work if Path(cwd).is_relative_to(temporary)] == []
    assert list(temporary.iterdir()) == []
