"""The search: seeded, within its limits, and few candidates survive."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from spinloom.workflows import search as searching
from spinloom.workflows.search import Candidate, Search, scored


@pytest.fixture
def small(monkeypatch):
    """A search of a few small networks over few ticks."""
    for name, value in {
        "BATCH": 8,
        "SEEDS": 2,
        "LEAST_TICKS": ((800, 800), (800, 800)),
        "PERIODS": ((9, 9), (9, 9)),
    }.items():
        monkeypatch.setattr(searching, name, value)


def searched(model, seed, **options):
    found = Search(model, ("sine",), nodes=6, seed=seed, **options)
    for _ in range(3):
        found.batch()
    return found


def test_a_search_is_seeded_and_few_survive(small, coarse_model):
    first, again, other = (searched(coarse_model, seed) for seed in (3, 3, 4))
    assert [c.row(1e-12) for c in first.candidates] == [c.row(1e-12) for c in again.candidates]
    assert [c.params for c in first.candidates] != [c.params for c in other.candidates]
    assert len(first.candidates) == 24
    survived = [c for c in first.candidates if c.rung == 1]
    assert 0 < len(survived) < 24
    assert first.best[0].rung == 1
    assert first.best[0].score == min(c.score for c in survived)
    assert {c.params["clock"] for c in first.candidates} == {0.0}


def test_the_second_rung_may_have_a_model_of_its_own(small, coarse_model, monkeypatch):
    better, evaluate, seen = replace(coarse_model), searching.evaluate, set()

    def watched(model, group, tasks, nodes, seeds, ticks):
        seen.add((len(seeds) > 1, model is better))
        evaluate(model, group, tasks, nodes, seeds, ticks)

    monkeypatch.setattr(searching, "evaluate", watched)
    searched(coarse_model, 3, second=better)
    assert seen == {(False, False), (True, True)}


def test_periods_stay_within_what_was_asked_for(small, coarse_model):
    found = searched(coarse_model, 0, longest_s=60 * coarse_model.tick, clock=None, shares=(1.0,))
    assert max(c.params["period_ticks"] for c in found.candidates) <= 60
    assert {c.params["share"] for c in found.candidates} == {1.0}
    clocks = {c.params["clock"] > 0 for c in found.candidates}
    assert clocks == {True, False}


def test_a_search_ends_with_its_time_after_one_batch_at_least(small, coarse_model):
    found, told = Search(coarse_model, ("sine",), nodes=6), []
    found.until(time.perf_counter() - 1.0, told.append)
    assert len(found.candidates) == 8
    assert told == [found, found]
    # The best goes on to the second rung, although there are too few for a batch of it.
    assert found.best[0].rung == 1


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
