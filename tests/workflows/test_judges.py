"""A search whose batches go to other processes."""

from contextlib import nullcontext

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.ubermag import card_toml
from spinloom.workflows import search as searching
from spinloom.workflows.journal import Journal
from spinloom.workflows.judges import Judges, spread
from spinloom.workflows.search import Candidate, Judge, Search
from spinloom.workflows.workers import Done, Here, Team


@pytest.fixture
def few(shortened_search):
    """A search of few candidates over few ticks, in this process."""
    shortened_search(batch=4, promoted=1, last=2)


class Two(Here):
    """This process, as if it were two."""

    count = 2


def searched(model, path=None, journal=None, rounds=1, at_once=2):
    search = Search(model, ("sine",), nodes=6, seed=3, journal=journal)
    search.at_once = at_once
    search.elsewhere = None if path is None else Judges(Two(), path)
    new = [search.round() for _ in range(rounds)]
    return [candidate.row(1e-12) for candidate in search.candidates], new


def test_batches_elsewhere_are_judged_as_here(few, coarse_model, coarse_model_path):
    """The model goes by its file, and what was found comes back as plain data."""
    here, there = searched(coarse_model)[0], searched(coarse_model, coarse_model_path)[0]
    assert len(here) == 8
    assert there == here
    assert sorted(row["rung"] for row in here) == [0] * 6 + [1] * 2


def test_a_round_that_was_cut_goes_on_with_the_batch_that_lacks(few, coarse_model, coarse_model_path, tmp_path):
    path = tmp_path / "search.jsonl"
    expected, new = searched(coarse_model, coarse_model_path, Journal(path, 1))
    assert new == [True]
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    path.write_text("".join(lines[:2]))
    assert searched(coarse_model, coarse_model_path, Journal(path, 1)) == (expected, [True])
    assert searched(coarse_model, coarse_model_path, Journal(path, 1)) == (expected, [False])


def test_a_search_has_as_many_batches_at_once_as_workers(coarse_model, tmp_path, monkeypatch):
    search = Search(coarse_model, ("sine",), nodes=6)
    with spread(search, Team(), tmp_path / "model.nc"):
        assert (search.at_once, search.elsewhere) == (1, None)
    assert not (tmp_path / "model.nc").exists()
    monkeypatch.setattr("spinloom.workflows.workers.open_workers", lambda *_: nullcontext(Two()))
    with spread(search, Team(2), tmp_path / "model.nc"):
        assert search.at_once == 2
        assert search.elsewhere is not None
        assert (tmp_path / "model.nc").is_file()
    assert (search.at_once, search.elsewhere) == (1, None)


def test_a_series_of_ones_own_keeps_its_name(coarse_model, coarse_model_path, tmp_path, monkeypatch):
    """A worker may stand in another folder."""
    monkeypatch.chdir(tmp_path)
    given = []

    class Watched(Here):
        def map(self, function, inputs):
            given.extend(inputs)
            path = str(tmp_path / "mine.csv")
            told = {"rung": 0, "errors": {path: {"taught": None}}, "states": {path: "unstable"}}
            yield Done(0, [told])

    candidate = Candidate(0, {"period_ticks": 20})
    judge = Judge((coarse_model,) * 3, ("mine.csv",), 6, 0)
    monkeypatch.setattr(searching, "scored", lambda *_: 1.0)
    Judges(Watched(), coarse_model_path)(judge, [[candidate]])
    assert given[0]["tasks"] == [str(tmp_path / "mine.csv")]
    assert candidate.errors == {"mine.csv": {"taught": np.inf}}
    assert candidate.states == {"mine.csv": "unstable"}


def test_a_batch_that_fails_is_told(coarse_model, tmp_path):
    judge = Judge((coarse_model,) * 3, ("sine",), 6, 0)
    with pytest.raises(SpinloomError, match="search: candidates 7 and on: .*no such file"):
        Judges(Here(), tmp_path / "none.nc")(judge, [[Candidate(7, {})]])


@pytest.mark.slow
@pytest.mark.usefixtures("parts")
def test_a_tuning_goes_over_two_processes(spinloom, coarse_model, coarse_model_path, tmp_path):
    card = tmp_path / "coarse.toml"
    card.write_text(card_toml(coarse_model.card))
    words = ("--task", "sine", "--budget", 1, "--nodes", 6, "--no-baselines", "--model", coarse_model_path)
    outcome = spinloom("tune", card, *words, "--workers", 2, "--out", tmp_path / "t.toml", "--json")
    assert outcome.code in (0, 3), outcome.err
    assert outcome.json["candidates"] == 2 * searching.BATCH
