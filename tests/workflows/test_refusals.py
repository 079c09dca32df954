"""From the command line: whatever file is spoilt, one message and exit code 2."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "data"
NETWORKS = DATA / "reference" / "networks"


def _spoilt(source: Path, to: Path) -> Path:
    content = bytearray(source.read_bytes())
    content[len(content) // 3 :] = b"\xff" * 100
    to.write_bytes(content)
    return to


@pytest.mark.parametrize(
    ("source", "name", "command", "told"),
    [
        (DATA / "devices" / "disc60.toml", "a.toml", ["calibrate", "{}", "--out", "x.nc"], "not valid TOML"),
        (DATA / "devices" / "disc60.toml", "a.toml", ["probe", "{}"], "not valid TOML"),
        (DATA / "experiments" / "demo.toml", "a.toml", ["run", "{}", "--out", "run"], "not valid TOML"),
        (DATA / "reference" / "disc60_calibration.nc", "a.nc", ["fit", "{}", "--out", "x.nc"], "damaged or not NetCDF"),
        (
            NETWORKS / "model.nc", "a.nc",
            ["train", "generate", "--model", "{}", "--task", "sine", "--out", "x.nc"], "damaged or not NetCDF",
        ),
        (NETWORKS / "network-sine.nc", "a.nc", ["cosimulate", "{}"], "damaged or not NetCDF"),
        (NETWORKS / "network-sine.nc", "a.nc", ["export", "{}", "--out", "x.onnx"], "damaged or not NetCDF"),
        (
            DATA / "waveforms" / "step.csv",
            "a.csv",
            ["replay", str(DATA / "devices" / "disc60.toml"), "{}", "--out", "x.csv"],
            "a.csv",
        ),
    ],
)  # fmt: skip
def test_a_spoilt_file(refused, tmp_path, monkeypatch, source, name, command, told):
    monkeypatch.chdir(tmp_path)
    if source.parent == NETWORKS:
        shutil.copy(NETWORKS / "model.nc", tmp_path / "model.nc")
    path = _spoilt(source, tmp_path / name)
    refused(*[word.replace("{}", str(path)) for word in command], told=told)
    assert not (tmp_path / "x.nc").exists()
