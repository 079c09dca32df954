"""Stages that are kept, one by one, and what another terminal sees of them."""

from __future__ import annotations

import json

import pytest

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.workflows import status
from spinloom.workflows.console import progress
from spinloom.workflows.stages import Part, Stages, at_work
from spinloom.workflows.status import read_status


def test_parts_of_a_stage_are_kept_one_by_one(tmp_path):
    done = []

    def part(k, fails=False):
        def work():
            if fails:
                raise KeyboardInterrupt
            done.append(k)
            return k

        return Part(f"chip{k}", [k], [], work)

    stages = Stages(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stages.each("train", [part(0), part(1), part(2, fails=True)])
    assert Stages(tmp_path).each("train", [part(0), part(1), part(2)]) == [0, 1, 2]
    assert done == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == [f"train-chip{k}.json" for k in range(3)]
    alone = Stages(tmp_path)
    assert alone.each("train", [part(7)]) == alone.results["train"] == [7]
    assert (tmp_path / "stages" / "train.json").exists()
    assert alone.wall_s["train"] >= 0


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"made_from": 1', '{"made_from": "x", "files": {}}'])
def test_a_damaged_result_is_computed_again(tmp_path, content):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "one.json").write_text(content)
    assert Stages(tmp_path).do("one", 1, [], lambda: 5) == 5
    assert Stages(tmp_path).do("one", 1, [], lambda: 6) == 5
    assert Stages(tmp_path).do("one", 2, [], lambda: 6) == 6


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / "stages").mkdir()
    left = [tmp_path / ".model.nc.k2x81_9a", tmp_path / "stages" / ".fit.json.abcdefgh"]
    others = [tmp_path / ".gitignore", tmp_path / ".notes.txt.abcdefgh", tmp_path / "model.nc"]
    for path in (*left, *others):
        path.touch()
    with at_work(tmp_path):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in others)


def test_others_see_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "EVERY_S", 0.0)
    with at_work(tmp_path) as stages:
        stages.do("fit", 1, [], lambda: None)

        def train():
            with progress("train sine", 200) as advance:
                advance(50)
                return read_status(tmp_path)

        seen = stages.do("train", 1, [], train)
        with pytest.raises(SpinloomError, match="another run is at work here"), at_work(tmp_path):
            pass
        assert read_status(tmp_path)["state"] == "working"
    assert (seen["state"], seen["stage"], seen["what"]) == ("working", "train", "train sine")
    assert (seen["done"], seen["total"]) == (50, 200)
    assert seen["left_s"] == pytest.approx(150 / seen["per_s"])
    assert [one["stage"] for one in seen["finished"]] == ["fit"]
    assert seen["ago_s"] < 60
    after = read_status(tmp_path)
    assert (after["state"], [one["stage"] for one in after["finished"]]) == ("done", ["fit", "train"])
    assert "what" not in after


def test_an_end_before_its_time_is_told(tmp_path):
    with pytest.raises(SpinloomError), at_work(tmp_path) as stages:
        stages.do("fit", 1, [], lambda: (_ for _ in ()).throw(SpinloomError("no disk")))
    found = read_status(tmp_path)
    assert (found["state"], found["stage"], found["why"]) == ("stopped", "fit", "no disk")
    (tmp_path / "status.json").write_text(json.dumps({"state": "working", "stage": "fit", "at": 0}))
    assert read_status(tmp_path)["state"] == "stopped"  # killed: it had no time to say so
    with files.claimed(tmp_path / "stages"):
        assert read_status(tmp_path)["state"] == "working"
    (tmp_path / "status.json").write_text("junk")
    assert read_status(tmp_path)["state"] == "unknown"


def test_the_command(tmp_path, spinloom, refused):
    refused(
        "status", tmp_path, told="no stages in it; expected the folder of 'spinloom run' or 'sweep', or the file of"
    )
    with at_work(tmp_path / "mine.tuning") as stages:
        stages.do("fit", 1, [], lambda: None)
    outcome = spinloom("status", tmp_path / "mine.toml")
    assert outcome.code == 0
    assert "fit: done in" in outcome.err
    assert spinloom("status", tmp_path / "mine.tuning", "--json").json["state"] == "done"
    (tmp_path / "mine.tuning" / "stages" / "fit.json").write_text("junk")
    assert "fit: done\n" in spinloom("status", tmp_path / "mine.toml").err


def test_points_of_a_sweep_are_seen(tmp_path, spinloom):
    """As :mod:`spinloom.workflows.sweep` leaves them."""
    points = tmp_path / "points"
    (points / "0001" / "stages").mkdir(parents=True)
    (points / "0000.json").write_text(json.dumps({"made_from": "", "figures": {"wall_s": 12.5}}))
    with files.claimed(points), status.told(tmp_path):
        advance = status.follow("3 points", 3)
        advance(1)
        with at_work(points / "0001"):
            status.stage("train-generate")
            seen = read_status(tmp_path)
    assert (seen["state"], seen["what"], seen["total"]) == ("working", "3 points", 3)
    assert seen["finished"] == [{"stage": "0000", "wall_s": 12.5}]
    assert seen["at_work"] == {"0001": "train-generate"}
    outcome = spinloom("status", tmp_path)
    assert "0000: done in 12.5 s" in outcome.err
    assert read_status(tmp_path)["at_work"] == {}


def test_a_status_that_cannot_be_written_stops_nobody(tmp_path):
    with at_work(tmp_path) as stages:
        (tmp_path / "status.json").unlink()
        (tmp_path / "status.json").mkdir()
        assert stages.do("fit", 1, [], lambda: 3) == 3
