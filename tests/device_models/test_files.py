"""Files are written whole or not at all, and say what is wrong with them when they are read."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError


@pytest.fixture
def dataset():
    return xr.Dataset({"a": (("x",), np.arange(5.0))}, attrs={"note": "μ"})


@pytest.fixture
def below_a_file(tmp_path):
    """A path that no user can write, root included."""
    (tmp_path / "file").write_text("x")
    return tmp_path / "file" / "out.nc"


def test_round_trip(dataset, tmp_path):
    path = tmp_path / "new" / "folder" / "a.nc"
    files.save(dataset, path, "thing", 3)
    found = files.load(path, "thing", 3)
    np.testing.assert_array_equal(found["a"], dataset["a"])
    assert found.attrs["note"] == "μ"
    assert "jax" in json.loads(found.attrs["versions"])
    assert found.attrs["created"].endswith("+00:00")
    assert [p.name for p in path.parent.iterdir()] == ["a.nc"]


def test_written_whole_keeps_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with files.written_whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_written_whole_replaces_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.written_whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_unwritable_folder(dataset, below_a_file):
    with pytest.raises(SpinloomError, match="out.nc: cannot be written"):
        files.save(dataset, below_a_file, "thing", 1)
    with pytest.raises(SpinloomError, match="cannot be written; choose another output path"):
        files.check_writable(below_a_file)


def test_output_path_is_a_folder(dataset, tmp_path):
    with pytest.raises(SpinloomError, match="is a folder; choose a file name"):
        files.check_writable(tmp_path)
    with pytest.raises(SpinloomError, match="is a folder; choose a file name"):
        files.save(dataset, tmp_path, "thing", 1)
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))


def test_writable(tmp_path, monkeypatch):
    files.check_writable(tmp_path / "not" / "yet" / "a.nc")
    monkeypatch.chdir(tmp_path)
    files.check_writable("a.nc")


def test_missing(tmp_path):
    with pytest.raises(SpinloomError, match=r"none.nc: no such file; expected a thing file \(NetCDF\)"):
        files.load(tmp_path / "none.nc", "thing", 1)


def test_another_kind(dataset, tmp_path):
    path = tmp_path / "a.nc"
    files.save(dataset, path, "thing", 1)
    with pytest.raises(SpinloomError, match="expected a model file, got thing"):
        files.load(path, "model", 1)


def test_another_version(dataset, tmp_path):
    path = tmp_path / "a.nc"
    files.save(dataset, path, "thing", 2)
    with pytest.raises(SpinloomError, match="thing format 2, but this Spinloom reads format 1"):
        files.load(path, "thing", 1)


def test_not_ours(dataset, tmp_path):
    path = tmp_path / "a.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(SpinloomError, match="got a file that Spinloom did not write"):
        files.load(path, "thing", 1)


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_truncated(dataset, tmp_path, keep):
    path = tmp_path / "a.nc"
    files.save(dataset, path, "thing", 1)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SpinloomError, match="damaged or not NetCDF"):
        files.load(path, "thing", 1)


def test_digest_follows_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    (tmp_path / "c").write_bytes(b"2")
    a, b, c = (files.digest(tmp_path / name) for name in "abc")
    assert a == b != c
    assert len(a) == 64


def test_a_claimed_folder_is_refused_to_others(tmp_path):
    folder = tmp_path / "new" / "run"
    refused = pytest.raises(SpinloomError, match="run: another run is at work here; wait for it, or choose another")
    with files.claimed(folder) as claimed:
        assert claimed == folder
        (folder / "result").write_text("x")
        with refused, files.claimed(folder):
            pass
        with files.claimed(tmp_path / "new" / "other"):
            pass
    with files.claimed(folder):
        assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_claim_ends_with_its_process(tmp_path):
    """It is another process that has the folder, and it is killed."""
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        process.stdout.readline()
        with pytest.raises(SpinloomError, match="another run is at work here"), files.claimed(tmp_path):
            pass
        process.kill()
    with files.claimed(tmp_path):
        pass


def test_a_claim_ends_with_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.claimed(tmp_path):
        raise KeyboardInterrupt
    with files.claimed(tmp_path):
        pass


def test_a_file_cannot_be_claimed(tmp_path, below_a_file):
    for path in (tmp_path / "file", below_a_file):
        with pytest.raises(SpinloomError, match="cannot be written .*choose another folder"), files.claimed(path):
            pass


def test_a_folder_on_a_system_without_locks_is_used_unguarded(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError("no locks")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.claimed(tmp_path) as folder:
        assert folder == tmp_path


def test_a_full_disk_ends_with_a_message_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x.nc"
    files.save(xr.Dataset({"a": ("x", [1.0])}), path, "thing", 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SpinloomError, match=r"x\.nc: cannot be written \(no space left on device\)"):
        files.save(xr.Dataset({"a": ("x", [2.0])}), path, "thing", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x.nc"]
    assert files.load(path, "thing", 1)["a"].item() == 1.0


def test_json_is_valid_whatever_the_numbers_are():
    """Readers other than Python's know no NaN and no Infinity."""
    value = {"a": [1, float("nan"), {"b": (float("inf"), -float("inf"), 2.5)}], "c": None, "d": "NaN", "e": True}

    def refused(word):
        raise AssertionError(f"not JSON: {word}")

    expected = {"a": [1, None, {"b": [None, None, 2.5]}], "c": None, "d": "NaN", "e": True}
    for indent in (None, 2):
        assert json.loads(files.to_json(value, indent), parse_constant=refused) == expected


def test_json_of_numpys_numbers():
    assert files.to_json({"a": np.float64("nan"), "b": np.float64(0.1)}) == '{"a": null, "b": 0.1}'
