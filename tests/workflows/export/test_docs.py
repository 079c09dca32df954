"""What docs/export.md tells to do, done."""

import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinloom.networks.store import save_network
from spinloom.reduced_models.model import save_model

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(lines, spinloom):
    for line in lines.splitlines():
        outcome = spinloom(*shlex.split(line)[1:])
        assert outcome.code == 0, outcome.err


def test_onnx_as_the_page_says(folder, spinloom):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    run(blocks("sh")[0], spinloom)
    generates, recognises = blocks("python")
    names: dict = {}
    exec(compile(generates, "export.md", "exec"), names)
    assert names["z"].shape == (20 * 84, 1, 1)
    exec(compile(recognises, "export.md", "exec"), names)
    assert names["name"] == "sine"


def test_spice_as_the_page_says(folder, spinloom, macrospin, clocked):
    """With a macrospin and a network that need no fit and no training: the first two lines are told of elsewhere."""
    lines = blocks("sh")[1].splitlines()
    assert [line.split()[1] for line in lines] == ["fit", "train", "export", "export"]
    save_model(macrospin(), folder / "macrospin.nc")
    save_network(replace(clocked, name="sine"), folder / "sine.nc", folder / "macrospin.nc")
    run("\n".join(lines[2:]), spinloom)
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not installed (Debian, Ubuntu: package ngspice)")
    (folder / "pulse.cir").write_text(blocks("spice")[0])
    done = subprocess.run(["ngspice", "-b", "-r", "pulse.raw", "pulse.cir"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    time, _, mx = np.frombuffer((folder / "pulse.raw").read_bytes().partition(b"Binary:\n")[2]).reshape(-1, 3).T
    during, after = mx[(time > 1.0e-9) & (time < 1.1e-9)], mx[time > 1.9e-9]
    assert during.mean() > 0.2
    assert abs(after.mean()) < during.mean() / 2
