"""A finalist that leans on the model where it is wrong is not taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spinloom.workflows import finalists
from spinloom.workflows.finalists import Finalist, glance
from spinloom.workflows.search import Candidate
from spinloom.workflows.settings import GenerateSettings, override


def score(error=(0.001, 0.002), outside=0.0, apart=0.0, period_s=1e-9, clock=0.0):
    candidate, errors = Candidate(0, {"clock": clock}), {"sine": list(error), "triangle": [0.03] * 2}
    one = Finalist(candidate, period_s, errors, outside, apart, 0.5)
    assert "sine" in one.words
    assert ("clock" in one.words) == (clock > 0)
    return one.score


def test_errors_count_first_then_how_far_nodes_are_from_full_micromagnetics():
    assert score(error=(0.003, 0.003)) == 0
    # Below the goal errors count a little, down to a floor.
    assert score(error=(1e-5, 1e-5)) == score() < 0
    assert score(error=(0.001, 0.1)) > score()
    assert score(error=(np.inf, np.inf)) < np.inf
    assert score() < score(apart=0.01) < score(apart=0.1) < score(apart=0.3)
    assert score(outside=0.05) > score()
    assert score(period_s=2e-9) > score()
    assert score(clock=1.0) > score()
    # Nodes that differ by a fifth stop a run: no error on reduced nodes makes up for that.
    assert score(apart=0.3) > score(error=(0.5, 0.5))


def test_a_glance_tells_how_far_nodes_are_from_full_micromagnetics(coarse_model, monkeypatch):
    monkeypatch.setattr(finalists, "GLANCE", 1)
    settings = override(
        GenerateSettings(), topology=override(GenerateSettings().topology, nodes=3).model_dump(), period_ticks=60
    )
    right = glance(coarse_model, settings, ("sine", "triangle"), 0)
    bias = coarse_model.card.bias.model_copy(update={"H": tuple(2 * h for h in coarse_model.card.bias.H)})
    other = replace(coarse_model, card=coarse_model.card.model_copy(update={"bias": bias}))
    wrong = glance(other, settings, ("sine", "triangle"), 0)
    assert 0 < right < 0.05
    assert wrong > 2 * right
