"""What HDF5 files may ask for, and what becomes of those that HDF5 does not survive."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files, hdf5_reader, strangers
from spinloom.device_models.errors import SpinloomError


@pytest.fixture
def stranger(tmp_path):
    """A file that says it is ours, with whatever is added to it."""

    def make(add):
        path = tmp_path / "stranger.nc"
        with h5py.File(path, "w") as file:
            file.attrs["spinloom_kind"], file.attrs["spinloom_format"] = "thing", 1
            add(file)
        return path

    return make


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.nc"
    words = {"note": "x" * 100, "other": "y" * 50}
    files.save(xr.Dataset({"a": (("x",), np.arange(5.0))}, attrs=words), path, "thing", 1)
    return path


def refused(path, told):
    with pytest.raises(SpinloomError, match=told) as caught:
        files.load(path, "thing", 1)
    assert str(path) in str(caught.value)


def test_a_header_that_asks_for_a_million_million_values(stranger):
    path = stranger(lambda file: file.create_dataset("u", shape=(10**12,), dtype="f8"))
    assert path.stat().st_size < 10_000
    refused(path, r"asks for 8e\+03 GB of memory, expected at most 2 GB")


def test_more_than_the_file_can_hold(stranger):
    """What was never written takes no place in a file, but in memory."""
    path = stranger(lambda file: file.create_dataset("u", shape=(10**8,), dtype="f8", chunks=(1000,)))
    refused(path, r"asks for 800 MB of memory, which \S+ kB of file cannot hold")


def test_a_bomb_of_zeros(stranger, monkeypatch):
    monkeypatch.setattr(strangers, "MOST_BYTES", 10_000_000)
    path = stranger(lambda file: file.create_dataset("u", data=np.zeros(2_000_000), compression="gzip"))
    assert path.stat().st_size < 100_000
    refused(path, "asks for 16 MB of memory, expected at most 10 MB")


def test_one_piece_that_unpacks_to_much(stranger):
    path = stranger(lambda file: file.create_dataset("u", shape=(0,), maxshape=(None,), dtype="f8", chunks=(10**8,)))
    refused(path, "'u' comes in pieces of 800 MB")


def test_text_counts_by_its_length(stranger):
    """No header tells it, and many values may share one text."""
    path = stranger(
        lambda file: file.create_dataset("u", data=["x" * 10_000] * 20, dtype=h5py.string_dtype()).make_scale()
    )
    assert hdf5_reader.survey(str(path), 300_000) == 20 * 8
    with pytest.raises(hdf5_reader.Refused, match="'/u' asks for more memory than there may be"):
        hdf5_reader.survey(str(path), 100_000)


def test_a_file_that_is_too_large(saved, monkeypatch):
    monkeypatch.setattr(strangers, "MOST_BYTES", 1000)
    refused(saved, r"expected at most 1e-06 GB \(SPINLOOM_MOST_BYTES sets another\)")
    monkeypatch.setenv("SPINLOOM_MOST_BYTES", "1e6")
    assert files.load(saved, "thing", 1)["a"].size == 5
    monkeypatch.setenv("SPINLOOM_MOST_BYTES", "much")
    with pytest.raises(SpinloomError, match="SPINLOOM_MOST_BYTES: expected a number of bytes such as 8e9, got 'much'"):
        files.load(saved, "thing", 1)


@pytest.mark.parametrize(
    ("add", "told"),
    [
        (lambda file: file.update({"u": h5py.ExternalLink("other.h5", "/secret")}), "'u' leads elsewhere"),
        (lambda file: file.update({"u": h5py.SoftLink("/u")}), "'u' leads elsewhere"),
        (lambda file: file.create_group("u"), "'u' is a group; expected variables only"),
        (lambda file: file.update({"u": np.dtype("f8")}), "'u' is a datatype; expected variables only"),
        (
            lambda file: file.create_dataset("u", (5,), "u1", external=[("secret", 0, 5)]),
            "'u' lies in another file; expected data in the file itself",
        ),
        (
            lambda file: file.create_dataset("u", data=np.array([(1, 2.0)], dtype="i4,f8")),
            "'u' holds .*; expected numbers or text",
        ),
    ],
)
def test_only_data_in_the_file_itself(stranger, tmp_path, add, told):
    (tmp_path / "secret").write_bytes(b"12345")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(5.0)
    refused(stranger(add), told)


def test_a_variable_that_is_put_together_from_other_files(stranger, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(5.0)
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (5,))
    refused(stranger(lambda file: file.create_virtual_dataset("u", layout)), "'u' lies in another file")


def test_a_file_that_hdf5_never_comes_back_from(saved, monkeypatch):
    """An object of no size in a heap of text: the library steps over it for ever."""
    monkeypatch.setattr(strangers, "LIMIT_S", 0.5)
    content = bytearray(saved.read_bytes())
    at = content.index(b"GCOL") + 16
    content[at : at + 16] = bytes(16)
    saved.write_bytes(content)
    refused(saved, r"damaged or not NetCDF \(HDF5 is not done with it after 0\.5 s\); make it again")
    saved.write_bytes(b"")
    refused(saved, "damaged or not NetCDF")  # another reader is at work


def test_a_reader_that_crashes_is_told_and_replaced(saved, monkeypatch):
    strangers._known.clear()
    reader = strangers._started()
    reader.kill()
    reader.wait()
    asked = strangers._started()
    assert asked is not reader
    asked.kill()
    with monkeypatch.context() as patch:
        patch.setattr(strangers, "_started", lambda: asked)
        refused(saved, r"HDF5 crashes with it, exit code -9")
    assert files.load(saved, "thing", 1)["a"].size == 5


def test_what_this_process_wrote_or_knows_is_not_asked_about_again(saved, monkeypatch):
    def never(question):
        raise AssertionError("asked")

    monkeypatch.setattr(strangers, "_asked", never)
    assert files.load(saved, "thing", 1)["a"].size == 5
    strangers._known.clear()
    with pytest.raises(AssertionError, match="asked"):
        files.load(saved, "thing", 1)


def test_a_question_that_is_interrupted_leaves_no_answer_behind(saved, monkeypatch):
    strangers._known.clear()
    reader = strangers._started()
    with monkeypatch.context() as patch:
        patch.setattr("spinloom.device_models.strangers.json.dumps", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            files.load(saved, "thing", 1)
    assert reader.wait(timeout=10) is not None
    assert files.load(saved, "thing", 1)["a"].size == 5


def _interrupted(*_):
    raise KeyboardInterrupt


def test_no_process_can_be_started(saved, monkeypatch):
    def never(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    strangers._known.clear()
    strangers.close()
    monkeypatch.setattr(strangers.subprocess, "Popen", never)
    with pytest.raises(SpinloomError, match="no process could be started that reads files"):
        files.load(saved, "thing", 1)
