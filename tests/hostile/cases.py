"""A program that gives the loaders spoilt files, one after the other, and tells what came of each.

``cases.py FOLDER KIND:FIRST:LAST ...`` prints kind and seed of a case before it is tried, so that one that never ends
or takes the process with it is known by its seed, and a line of JSON for each that ends in anything else than a good
result or a :class:`SpinloomError`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from mutations import Random, pick, some_bytes, some_text, some_variables

from spinloom.device_models import files, strangers
from spinloom.device_models.calibration import Protocol, load_calibration
from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.drives import read_waveform
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.measured import read_drive, read_traces
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.system import checked_field, read_field
from spinloom.networks.record import judged, load_record
from spinloom.networks.store import load_network
from spinloom.networks.tasks import target
from spinloom.reduced_models.model import load_model
from spinloom.workflows.settings import load_experiment

LONG_S, MUCH = 5.0, 400_000_000
"""A case that takes longer, or so many more bytes of memory, has failed."""
LINES = 60
BY_BYTES = 0.7
DATA = data_folder()
DISC = load_card(DATA / "devices" / "disc60.toml")


class Form(NamedTuple):
    """A kind of file: good ones, how they are spoilt, and what reads them."""

    good: Callable[[Path], list[bytes]]
    spoil: Callable[[bytes, Random], bytes]
    suffix: str
    use: Callable[[Path], Any]


def _files(pattern: str) -> Callable[[Path], list[bytes]]:
    return lambda _: [path.read_bytes() for path in sorted(DATA.glob(pattern))]


def _table(header: str, columns: int, dt: float) -> bytes:
    rng = np.random.default_rng(0)
    held = np.repeat(rng.uniform(-1, 1, LINES), 4)
    values = np.column_stack([dt * np.arange(1, len(held) + 1), held, *rng.normal(size=(columns - 2, len(held)))])
    return (header + "\n" + "\n".join(",".join(f"{x:.5g}" for x in row) for row in values) + "\n").encode()


def _texts(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda _: [text.encode() for text in texts]


def _use_card(path: Path) -> None:
    card = load_card(path)
    assert DeviceCard.from_json(card.to_json()) == card
    assert card.geometry.mask().any()
    assert card.area > 0


def _use_experiment(path: Path) -> None:
    experiment, _ = load_experiment(path)
    for task in experiment.generate.tasks:
        if task.endswith(".csv"):
            assert Path(task).is_relative_to(path.parent)


def _use_drive(path: Path) -> None:
    durations, u = read_waveform(path, None if path.stat().st_size % 2 else 1e-11)
    assert (durations > 0).all()
    assert np.abs(u).max() <= 1


def _use_task(path: Path) -> None:
    f = target(str(path), 24)
    assert np.isfinite(f).all()
    assert np.abs(f).max() < 3


def _use_traces(path: Path) -> None:
    if path.stat().st_size % 2:
        _, u = read_drive(path, DISC, 1e-11)
    else:
        u = read_traces([path], DISC, 1e-11).u
    assert np.abs(u).max() <= 1


def _use_field(path: Path) -> None:
    m = read_field(path)
    assert np.isfinite(m).all()
    checked_field(DISC, m)


def _use_json(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    if text.lstrip().startswith('{"name"'):
        DeviceCard.from_json(text)
    else:
        Protocol.from_json(text)


def _use_record(path: Path) -> None:
    record = load_record(path)
    name = str(record["network"].values[0])
    if "outside_share" in record:
        judged(record, name)


def _small(name: str, **some: slice) -> Callable[[Path], list[bytes]]:
    """A shipped file with fewer values."""

    def make(folder: Path) -> list[bytes]:
        whole = xr.load_dataset(DATA / "reference" / name, engine="h5netcdf")
        kind, version = whole.attrs["spinloom_kind"], int(whole.attrs["spinloom_format"])
        path = folder / "small.nc"
        files.save(whole.isel(some), path, kind, version)
        return [path.read_bytes()]

    return make


def _use_network(path: Path) -> None:
    network, _ = load_network(path)
    assert network.alike(network, 0.0)
    _ = network.washouts if network.task == "generate" else network.listening


def _spoilt_netcdf(content: bytes, rng: Random) -> bytes:
    """Most of them by bytes, the others by what stands in them."""
    if rng.random() < BY_BYTES:
        return some_bytes(content, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bytes(some_variables(_dataset(content), rng).to_netcdf(engine="h5netcdf"))
        except (TypeError, ValueError, OSError, RuntimeError):
            return some_bytes(content, rng)  # nothing that xarray would write


@cache
def _dataset(content: bytes) -> xr.Dataset:
    path = Path(sys.argv[1]) / "before.nc"
    path.write_bytes(content)
    return xr.load_dataset(path, engine="h5netcdf")


SERIES = ("f\n0\n2\n3\n2\n0\n-1\n-2\n-1\n", "f1,f2\n0,1\n1,0\n0,-1\n-1,0\n")
CARD, PROTOCOL = DISC.to_json(), Protocol().model_dump_json()
FORMS = {
    "card": Form(_files("devices/*.toml"), some_text, ".toml", _use_card),
    "experiment": Form(_files("experiments/*.toml"), some_text, ".toml", _use_experiment),
    "json": Form(_texts(CARD, PROTOCOL), some_text, ".json", _use_json),
    "drive": Form(lambda _: [_table("t_s,u", 2, 1e-11)], some_text, ".csv", _use_drive),
    "task": Form(_texts(*SERIES), some_text, ".csv", _use_task),
    "traces": Form(lambda _: [_table("t (s),drive,r", 3, 2.5e-12)], some_text, ".csv", _use_traces),
    "field": Form(
        _files("reference/disc60_*.omf"),
        lambda content, rng: pick(rng, (some_bytes, some_text))(content, rng),
        ".omf",
        _use_field,
    ),
    "calibration": Form(
        _small("disc60_calibration.nc", trajectory=slice(0, 6), tick=slice(0, 12)),
        _spoilt_netcdf, ".nc", load_calibration,
    ),
    "model": Form(_small("networks/model.nc", point=slice(0, 20)), _spoilt_netcdf, ".nc", load_model),
    "network": Form(_small("networks/network-sine.nc"), _spoilt_netcdf, ".nc", _use_network),
    "cosimulation": Form(_small("networks/cosimulation.nc", tick=slice(0, 168)), _spoilt_netcdf, ".nc", _use_record),
}  # fmt: skip


def outcome(use: Callable[[Path], Any], path: Path) -> tuple[str, str]:
    """``good``, ``refused``, or what is wrong."""
    try:
        use(path)
    except SpinloomError as error:
        told = str(error)
        if not told.strip() or len(told) > 5000 or "Traceback" in told:
            return "failed", f"a message of {len(told)} letters: {told[:200]}"
        return "refused", told
    except BaseException:  # also RecursionError, MemoryError
        return "failed", traceback.format_exc()[-1500:]
    return "good", ""


def main(folder: Path, kind: str, first: int, last: int) -> None:
    form = FORMS[kind]
    good = form.good(folder)
    strangers.LIMIT_S = 1.0
    path = folder / f"case{form.suffix}"
    if kind == "network":  # a network names its model
        (folder / "model.nc").write_bytes((DATA / "reference" / "networks" / "model.nc").read_bytes())
    for content in good:
        path.write_bytes(content)
        assert outcome(form.use, path)[0] == "good", f"{kind}: {outcome(form.use, path)}"
    count = {"good": 0, "refused": 0, "failed": 0}
    for seed in range(first, last):
        rng = np.random.default_rng([seed, *kind.encode()])
        path.write_bytes(form.spoil(pick(rng, good), rng))
        print(kind, seed, flush=True)
        began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        word, told = outcome(form.use, path)
        took = time.process_time() - began  # the other one is long on a busy machine
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if word != "failed" and (took > LONG_S or grown > MUCH):
            word, told = "failed", f"{took:.3g} s, {grown / 1e6:.3g} MB more; {told[:300]}"
        count[word] += 1
        if word == "failed":
            print(json.dumps({"kind": kind, "seed": seed, "told": told}), flush=True)
    print(json.dumps({"kind": kind, "count": count}), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("error")
    for batch in sys.argv[2:]:
        kind, first, last = batch.split(":")
        main(Path(sys.argv[1]), kind, int(first), int(last))
