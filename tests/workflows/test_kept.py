"""The commands of the store."""

from __future__ import annotations

import numpy as np
import pytest

QUICK = ("--engine", "rigid", "--trajectories", 4, "--duration", 3e-10, "--grades", "none", "--no-probe")


@pytest.fixture
def card_path(experiment):
    return experiment.parent / "coarse.toml"


@pytest.mark.usefixtures("rigid_layers")
def test_what_is_kept_is_listed_verified_and_pruned(spinloom, card_path, tmp_path, store):
    empty = spinloom("store", "list", "--json").json
    assert (empty["entries"], empty["cards"], empty["folder"]) == (0, [], str(store.folder))
    first = spinloom("calibrate", card_path, *QUICK, "--out", tmp_path / "a.nc")
    again = spinloom("calibrate", card_path, *QUICK, "--out", tmp_path / "b.nc")
    assert (first.code, again.code) == (0, 0), again.err
    assert "in the store" not in first.err
    assert f"4 of 4 trajectories were in the store, {store.folder}" in again.err
    found = spinloom("store", "list", "--json").json
    (row,) = found["cards"]
    assert (row["card"], row["engine"], row["entries"], found["entries"]) == ("coarse", "rigid", 4, 4)
    assert row["size"] == found["size"] > 0
    shown = spinloom("store", "list").err
    assert "coarse" in shown
    assert "now" in shown
    assert spinloom("store", "verify", "--json").json == {"entries": 4, "damaged": []}
    path = next(store.entries()).path
    path.write_bytes(path.read_bytes()[:-50])
    outcome = spinloom("store", "verify", "--json")
    assert (outcome.code, outcome.json) == (3, {"entries": 4, "damaged": [str(path)]})
    assert spinloom("store", "list", "--json").json["damaged"] == 1
    mended = spinloom("calibrate", card_path, *QUICK, "--out", tmp_path / "c.nc")
    assert f"warning: store: {path}: damaged; computed again" in mended.err
    assert spinloom("store", "verify", "--json").json["damaged"] == []
    path.write_bytes(b"junk")
    assert spinloom("store", "prune", "--damaged", "--json").json == {"removed": 1, "freed": 4, "left": 3}
    assert spinloom("store", "prune", "--json").json["removed"] == 0
    assert spinloom("store", "prune", "--older", "1 d", "--json").json["left"] == 3
    assert spinloom("store", "prune", "--limit", "0 GB", "--json").json["left"] == 0


def test_mistakes_are_told(refused, monkeypatch, store):
    refused("store", "prune", "--limit", "much", told="size: expected a number")
    refused("store", "prune", "--older", "old", told="age: expected a number")
    monkeypatch.setenv("SPINLOOM_STORE", "off")
    refused("store", "list", told="store: switched off by SPINLOOM_STORE=off")


@pytest.mark.usefixtures("rigid_layers")
def test_an_interrupted_calibration_says_what_is_kept(spinloom, card_path, tmp_path, store, monkeypatch):
    from spinloom.device_models.trajectory_store import TrajectoryStore

    put = TrajectoryStore.put

    def full(self, *arguments):
        if self.kept == 3:
            raise MemoryError
        return put(self, *arguments)

    monkeypatch.setattr(TrajectoryStore, "put", full)
    outcome = spinloom("calibrate", card_path, *QUICK, "--out", tmp_path / "a.nc")
    assert outcome.code == 2
    assert "not enough memory" in outcome.err
    monkeypatch.undo()
    assert len(list(store.entries())) == 3
    assert np.isfinite(store.limit)
