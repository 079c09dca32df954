"""Tuning: an experiment that runs, figures of fresh seeds, advice where nothing works, and nothing lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.calibration import Protocol, load_calibration
from spinloom.device_models.card import load_card
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.ubermag import card_toml
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import load_model
from spinloom.workflows import advice, finalists, search, tune
from spinloom.workflows.settings import load_experiment
from spinloom.workflows.stages import Stages
from spinloom.workflows.tune import Wish, tune_stage

SMALL = {
    search: {
        "BATCH": 8,
        "PROMOTED": 4,
        "LAST": 4,
        "TAUGHT": (9, 800, 800),
        "FORCED": (4, 200, 300),
        "FREE": (9, 800, 800),
    },
    finalists: {"GLANCE": 1},
    tune: {
        "FINALISTS": 2,
        "CHOSEN_ON": 1,
        "JUDGED_ON": 2,
        "FREE_PERIODS": 5,
        "RECOGNISERS": 2,
        "TRIALS": 40,
        "TRIES": 1,
    },
    advice: {"BATCHES": 1, "QUICK": Protocol(trajectories=10, duration=0.5e-9, grades=(0.3,), per_grade=4)},
}


@pytest.fixture
def small(monkeypatch):
    """Everything shortened: the way through it is the same."""
    for module, values in SMALL.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    short = tune.Training(teacher_periods=20, force_periods=10, trim_rounds=2, trim_periods=8)
    monkeypatch.setattr(tune, "Training", lambda **given: short.model_copy(update=given))


@pytest.fixture
def card_path(coarse_card, tmp_path):
    """The card of the coarse model, as a file of its own."""
    (tmp_path / "cards").mkdir()
    path = tmp_path / "cards" / "coarse.toml"
    path.write_text(card_toml(coarse_card))
    return path


@pytest.fixture
def tuned(small, card_path, coarse_model_path, tmp_path, spinloom):
    def call(*options):
        out = tmp_path / "tuned.toml"
        given = ("--model", coarse_model_path, "--task", "sine", "--nodes", 12, "--longest", 4e-10, "--budget", 0.1)
        given = (*given, *(() if "--baselines" in options else ("--no-baselines",)))
        return out, spinloom("tune", card_path, *given, "--out", out, "--json", *options)

    return call


def test_tune_writes_an_experiment_its_record_and_its_page(tuned, coarse_card):
    out, outcome = tuned()
    result = outcome.json
    assert outcome.code == 0, outcome.err
    assert result["verdict"] == "works"
    assert result.keys() >= {"reach", "period_s", "candidates", "wall_s", "tasks", "advice"}
    assert result["tasks"]["sine"].keys() >= {"median_nrmse", "worst_nrmse", "seeds"}
    assert result["tasks"]["sine"]["seeds"] == 2
    assert result["tasks"]["sine"]["median_nrmse"] <= result["tasks"]["sine"]["worst_nrmse"]
    assert result["advice"] == []
    rows = pd.read_csv(out.with_name("tuned.search.csv"))
    assert len(rows) == result["candidates"] == 8
    assert set(rows["state_sine"]) <= {"works", "sings", "unstable", "dead", "poor", "follows"}
    page = out.with_name("tuned.html").read_text()
    assert "it works" in page
    assert "8 operating points" in page
    assert "state, sine" in page
    assert json.loads(out.with_name("tuned.tune.json").read_text())["verdict"] == "works"
    written, card = load_experiment(out)
    assert card == coarse_card
    assert written.generate.period_ticks * 7.5e-12 == pytest.approx(result["period_s"])
    assert written.generate.topology.nodes == written.recognise.topology.nodes == 12
    assert written.reach == pytest.approx(result["reach"])


def test_what_was_chosen_stands_beside_networks_without_magnets(tuned, monkeypatch):
    asked = []
    kinds = {"leaky": {"nrmse": 0.0123, "worst": 0.02, "periods": 5, "generates": True, "accuracy": 0.875, "trials": 8}}

    def beside(model, calibration, generate, recognise, seeds):
        asked.append((generate.seed, seeds, recognise.topology.nodes))
        found = {
            "generate": {"sine": kinds},
            "recognise": kinds,
            "kinds": {"leaky": "integrators"},
            "seeds": len(seeds),
        }
        return found

    monkeypatch.setattr(tune, "baseline_results", beside)
    out, outcome = tuned("--baselines")
    ((seed, seeds, nodes),) = asked
    assert seeds[0] == seed  # the fresh ones
    assert nodes == 12
    assert outcome.json["baselines"]["generate"]["sine"]["leaky"]["nrmse"] == 0.0123
    page = out.with_name("tuned.html").read_text()
    assert "Without magnets" in page
    assert "0.0123" in page
    assert "87.5 %" in page


def test_the_model_beside_an_experiment_is_the_one_that_it_asks_for(
    tuned, coarse_model, coarse_calibration_path, monkeypatch
):
    monkeypatch.setattr(tune, "SHARES", (0.5,))
    monkeypatch.setattr(tune, "_model", lambda *_: tune.Start(coarse_model, "", coarse_calibration_path))
    out, outcome = tuned()
    assert outcome.code in (0, 3), outcome.err
    assert load_experiment(out)[0].reach == load_model(out.with_name("tuned.model.nc")).scale.reach == 0.5


def test_what_is_reported_is_of_seeds_that_nothing_else_has_seen(small, coarse_model):
    tuning = tune.Tuning(None, None, coarse_model, Wish(seed=3), None, None, None, "", None)
    searched = {3 * 1000 + 100_000 + 100 * rung + k for rung in range(3) for k in range(search.SEEDS[rung])}
    chosen, judged = set(tuning.seeds("choose")), set(tuning.seeds("judge"))
    assert not searched & chosen and not (searched | chosen) & judged  # noqa: PT018


def test_a_smaller_reach_that_the_same_drives_cover_is_the_same_fit(coarse_model, coarse_calibration_path, monkeypatch):
    """Every drive of the calibration has full amplitude, so that 'spinloom run' would fit the same again."""
    again = fit_model(load_calibration(coarse_calibration_path), coarse_model.kind, 0.5)
    monkeypatch.delattr(tune, "fit_model")
    tuning = tune.Tuning(None, None, coarse_model, Wish(), None, None, None, "", coarse_calibration_path)
    found = tuning.model_at(search.Candidate(0, {"share": 0.5}))
    assert found.scale == again.scale
    np.testing.assert_array_equal(found.estimator.coef_, again.estimator.coef_)


def test_networks_stay_below_where_twins_part(coarse_model):
    def shares(chaotic, reach=1.0):
        scale = coarse_model.scale.model_copy(update={"reach": reach})
        return tune._shares(replace(coarse_model, scale=scale), type("Probed", (), {"chaotic": chaotic}))

    assert tune._shares(coarse_model, None) == shares(None) == tune.SHARES
    assert shares(0.5) == tuple(0.4 * share for share in tune.SHARES)
    assert shares(0.5, reach=0.5) == tuple(0.8 * share for share in tune.SHARES)
    assert shares(0.5, reach=0.4) == tune.SHARES


def test_a_finalist_whose_nodes_part_from_full_micromagnetics_is_not_trained(
    small, coarse_model, monkeypatch, tmp_path
):
    trained = []
    wish, never = Wish(("sine",), 0.1, nodes=12), SimpleNamespace(walls=[1.0])
    tuning = tune.Tuning(None, None, coarse_model, wish, None, never, Stages(tmp_path / "0"), "", None)
    row = {"task": "sine", "nrmse": 0.01, "outside_share": 0.0}
    monkeypatch.setattr(tune.Tuning, "_trained", lambda self, one, seeds: trained.append(one.number) or [row])
    monkeypatch.setattr(tune.Tuning, "settings", lambda self, one: one)
    monkeypatch.setattr(tune, "glance", lambda model, one, tasks, seed: one.params["apart"])
    points = [(40, 0.3), (60, 0.01), (80, 0.3), (100, 0.05), (120, 0.0)]
    candidates = [
        search.Candidate(k, {"period_ticks": ticks, "share": 1.0, "clock": 0.0, "apart": apart})
        for k, (ticks, apart) in enumerate(points)
    ]
    assert tuning._chosen(candidates).number == 1
    assert trained == [1, 3]  # as many as there are finalists: no time is left
    trained.clear()
    tuning._chosen(candidates)
    assert trained == []  # they are kept
    patient = replace(tuning, wish=replace(tuning.wish, budget=1e9), stages=Stages(tmp_path / "1"))
    patient._chosen(candidates)
    assert trained == [1, 3, 4]  # none of them is good enough
    trained.clear()
    row["nrmse"] = 0.001
    patient = replace(patient, stages=Stages(tmp_path / "2"))
    patient._chosen(candidates)
    assert trained == [1, 3]
    trained.clear()
    assert tuning._chosen(candidates[:3:2]).number == 2
    assert trained == [2]  # one is taken in any case


def test_an_interrupted_search_keeps_what_it_found(small, card_path, coarse_model_path, tmp_path, monkeypatch):
    def stop(search):
        if len(search.candidates) > 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(tune.Tuning, "told", lambda self, search, deadline: stop(search))
    card, out = card_path, tmp_path / "tuned.toml"
    with pytest.raises(KeyboardInterrupt):
        tune_stage(
            load_card(card), card, choose_engine("embedded"), out, Wish(("sine",), 1e6, nodes=12), coarse_model_path
        )
    assert len(pd.read_csv(tmp_path / "tuned.search.csv")) == 16
    assert "not judged" in out.read_text()
    assert load_experiment(out)[0].generate.tasks == ("sine",)


def numbers(out):
    """What a tuning found, without when and where."""
    found = json.loads(out.with_name(f"{out.stem}.tune.json").read_text())
    left_out = ("made", "wall_s", "out")
    return {key: value for key, value in found.items() if key not in left_out}, pd.read_csv(
        out.with_name(f"{out.stem}.search.csv")
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
def test_a_tuning_that_is_interrupted_again_and_again_ends_with_the_same_numbers(
    small, card_path, coarse_model_path, tmp_path, monkeypatch
):
    """Every piece of work is interrupted once, before it begins."""
    pieces = {search: "evaluate", tune: ("glance", "train_generate", "train_recognise")}
    done, interrupts = [], []

    def watched(name, work):
        def call(*arguments, **named):
            if interrupts and len(done) >= interrupts[0]:
                interrupts.pop(0)
                raise KeyboardInterrupt
            done.append(name)
            return work(*arguments, **named)

        return call

    for module, names in pieces.items():
        for name in [names] if isinstance(names, str) else names:
            monkeypatch.setattr(module, name, watched(name, getattr(module, name)))

    def go(out):
        wish = Wish(("sine",), 0.1, nodes=12, longest_s=4e-10, baselines=False)
        return tune_stage(load_card(card_path), card_path, choose_engine("embedded"), out, wish, coarse_model_path)

    go(tmp_path / "left.toml")
    expected, alone = numbers(tmp_path / "left.toml"), len(done)
    done.clear()
    go(tmp_path / "left.toml")
    assert done == []  # all of it is kept
    interrupts += [2, 6, 9, 10, 11]
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "hit.toml")
    go(tmp_path / "hit.toml")
    assert interrupts == []
    assert len(done) == alone + 2 + 1  # what was done of a batch, and of the last rung
    found = numbers(tmp_path / "hit.toml")
    assert found[0] == expected[0]
    pd.testing.assert_frame_equal(found[1], expected[1], check_exact=True)
    text = (tmp_path / "hit.toml").read_text()
    assert text == (tmp_path / "left.toml").read_text().replace('"left"', '"hit"')


@pytest.mark.slow
def test_where_nothing_works_changes_of_the_card_are_tried(tuned, monkeypatch):
    unfit = lambda path: replace(load_model(path), holdout_nrmse=0.7)  # noqa: E731
    monkeypatch.setattr(tune, "load_model", unfit)
    out, outcome = tuned()
    result = outcome.json
    assert outcome.code == 3
    assert result["verdict"] == "unfit"
    assert result["candidates"] == 0
    assert not out.exists()
    assert len(result["advice"]) >= 3
    for one in result["advice"]:
        assert one["toml"].split(" = ")[0] in ("torque.J_max", "bias.H", "readout.axis")
        assert one["toml"] in one["words"]
    page = out.with_name("tuned.html").read_text()
    assert "nothing works yet" in page
    assert "What to change in the card" in page


def test_a_device_that_is_read_along_its_rest_is_to_be_read_across_it(
    coarse_card, coarse_model, coarse_calibration_path
):
    along = coarse_card.model_copy(update={"readout": coarse_card.readout.model_copy(update={"axis": (0.0, 1.0, 0.0)})})
    changes = list(advice.changes_of(along, replace(coarse_model, card=along), coarse_calibration_path))
    words, _, changed = changes[0]
    assert words == "read along another axis"
    np.testing.assert_allclose(changed.readout.axis, (1, 0, 0), atol=0.05)
    assert changes[1][1].startswith("bias.H")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", 0), "budget: expected seconds above zero"),
        (("--task", "sinus"), "task: expected one of"),
        (("--out", "tuned.json"), "out: expected the name of an experiment file"),
        (("--longest", -1), "longest period: expected seconds above zero"),
        (("--nodes", 0), "nodes"),
        (("--model", "no.nc"), "no such file"),
    ],
)
def test_bad_wishes_end_with_a_message_and_code_2(tuned, options, message):
    _, outcome = tuned(*options)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
