"""The search: seeded, within its limits, and few candidates survive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinloom.workflows import search as searching
from spinloom.workflows.journal import Journal
from spinloom.workflows.search import Candidate, Search, may_need_clock, scored, unlike


@pytest.fixture
def small(shortened_search):
    """A search of a few small networks over few ticks."""
    shortened_search(batch=8, promoted=2, last=4)


def searched(model, seed, **options):
    found = Search(model, ("sine",), nodes=6, seed=seed, **options)
    for _ in range(3):
        found.round()
    return found


@pytest.mark.slow
def test_a_search_is_seeded_and_few_survive(small, coarse_model):
    first, again, other = (searched(coarse_model, seed) for seed in (3, 3, 4))
    assert [c.row(1e-12) for c in first.candidates] == [c.row(1e-12) for c in again.candidates]
    assert [c.params for c in first.candidates] != [c.params for c in other.candidates]
    assert len(first.candidates) == 24
    survived = [c for c in first.candidates if c.rung == 1]
    assert len(survived) == 6
    assert first.best[0].score == min(c.score for c in survived)
    assert all(c.errors["sine"].keys() == {"taught", "free", "shape"} for c in survived)
    assert {tuple(c.errors["sine"]) for c in first.candidates if c.rung == 0} == {("taught",)}
    assert {c.params["clock"] for c in first.candidates} == {0.0}


def test_the_last_rung_may_have_a_model_of_its_own(small, coarse_model, monkeypatch):
    better, evaluate, seen = replace(coarse_model), searching.evaluate, set()

    def watched(model, group, tasks, nodes, seeds, freely):
        seen.add((len(seeds), freely, model is better))
        evaluate(model, group, tasks, nodes, seeds, freely)

    monkeypatch.setattr(searching, "evaluate", watched)
    found = Search(coarse_model, ("sine",), nodes=6, seed=3, last=better)
    found.until(0.0)
    assert seen == {(1, False, False), (2, True, False), (4, True, True)}
    assert [c.rung for c in found.best[:5]] == [2, 2, 2, 2, 0]


def test_periods_stay_within_what_was_asked_for(small, coarse_model):
    found = searched(coarse_model, 0, longest_s=60 * coarse_model.tick, clock=None, shares=(1.0,))
    assert max(c.params["period_ticks"] for c in found.candidates) <= 60
    assert {c.params["share"] for c in found.candidates} == {1.0}
    clocks = {c.params["clock"] > 0 for c in found.candidates}
    assert clocks == {True, False}


def test_clocks_are_tried_where_a_device_rings_or_a_series_may_stand_still(coarse_model):
    def at(quality):
        return replace(coarse_model, scale=coarse_model.scale.model_copy(update={"quality": quality}))

    assert may_need_clock(("sine", "harmonics"), at(1.0)) is False
    assert may_need_clock(("sine",), at(None)) is False
    assert may_need_clock(("sine",), at(7.0)) is None
    assert may_need_clock(("sine", "square"), at(1.0)) is None
    assert may_need_clock(("mine.csv",), at(1.0)) is None


def test_a_search_ends_with_its_time_after_one_batch_at_least(small, coarse_model):
    found, told = Search(coarse_model, ("sine",), nodes=6), []
    found.until(0.0, told.append)
    assert len(found.candidates) == 8
    assert told == [found, found]
    assert found.best[0].rung == 2


def candidate(error, period_ticks=50, clock=0.0):
    one = Candidate(0, {"period_ticks": period_ticks, "clock": clock})
    one.errors["sine"] = {"shape": error, "free": error, "taught": error}
    return one


def test_what_is_missing_counts_first_then_speed_then_a_clock(coarse_model):
    def score(*arguments, **options):
        return scored(candidate(*arguments, **options), ("sine",), coarse_model)

    assert score(0.001) < score(0.003) < score(0.1) < score(1.0)
    assert score(1.0) == score(np.inf)
    assert score(0.003) < score(0.003, period_ticks=100) < score(0.3)
    assert score(0.003, clock=1.0) > score(0.003)


def test_one_that_never_ran_freely_counts_as_failing_for_a_pessimist(coarse_model):
    def score(**options):
        return scored(one, ("sine",), coarse_model, **options)

    one = candidate(0.001)
    assert score(pessimistic=True) == score()
    one.errors["sine"] = {"taught": 0.001}
    hopeful, pessimist = score(), score(pessimistic=True)
    one.errors["sine"] |= {"shape": np.inf, "free": np.inf}
    assert hopeful < pessimist == score()


def test_unlike_candidates_differ_in_period_or_reach():
    points = [(40, 1.0), (41, 1.0), (43, 0.5), (60, 1.0), (20, 1.0)]
    candidates = [Candidate(k, {"period_ticks": period, "share": share}) for k, (period, share) in enumerate(points)]
    assert [candidate.number for candidate in unlike(candidates, 3)] == [0, 2, 3]


def test_what_a_journal_holds_is_not_computed_again(small, coarse_model, tmp_path, monkeypatch):
    path, evaluate, calls = tmp_path / "search.jsonl", searching.evaluate, []

    def watched(*arguments):
        calls.append(arguments)
        evaluate(*arguments)

    monkeypatch.setattr(searching, "evaluate", watched)

    def search(made_from="same", seed=3, batches=3):
        calls.clear()
        found = Search(coarse_model, ("sine",), nodes=6, seed=seed, journal=Journal(path, made_from))
        new = [found.round() for _ in range(batches)]
        return [c.row(1e-12) for c in found.candidates], found.walls, new

    expected, walls, new = search()
    assert new == [True] * 3
    assert search() == (expected, walls, [False] * 3)
    assert calls == []
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:100])  # killed while it wrote
    assert search()[0] == expected
    assert len(calls) == 3
    assert len(path.read_text().splitlines()) == 4
    path.write_text("".join([lines[0], lines[1], lines[3]]))  # another batch than the one that is asked for
    assert search()[::2] == (expected, [False, True, True])
    assert search(batches=4)[2] == [False, False, False, True]
    assert search("other")[2] == [True] * 3
    assert search()[2] == [True] * 3


def test_a_longer_search_goes_on_from_a_shorter_one(small, coarse_model, tmp_path):
    def search(seconds):
        found = Search(coarse_model, ("sine",), nodes=6, journal=Journal(tmp_path / "j", 1))
        found.until(seconds, most=16)
        return found

    short = search(0.0)
    assert [c.rung for c in short.best[:5]] == [2, 2, 2, 2, 0]
    long = search(1e6)
    assert long.walls[0] == short.walls[0]
    assert len(long.candidates) == 16
    again = search(1e6)
    assert again.walls == long.walls
    assert [c.row(1.0) for c in again.candidates] == [c.row(1.0) for c in long.candidates]


def test_errors_without_end_survive_a_journal(small, coarse_model, tmp_path, monkeypatch):
    def lost(model, group, tasks, nodes, seeds, freely):
        for candidate in group:
            candidate.errors, candidate.states = {"sine": {"taught": np.inf}}, {"sine": "unstable"}
            candidate.score = scored(candidate, tasks, model)

    monkeypatch.setattr(searching, "evaluate", lost)
    for _ in range(2):
        found = Search(coarse_model, ("sine",), nodes=6, journal=Journal(tmp_path / "j", 1))
        found.round()
        assert all(c.errors == {"sine": {"taught": np.inf}} for c in found.candidates)
