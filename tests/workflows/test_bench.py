"""The command that benchmarks, on tiny sizes; and the kinds that it compares."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.engines import choose_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive as drive_node
from spinloom.networks.benchmarks.listening import Listening, Vowels
from spinloom.networks.benchmarks.reservoir import Reading, Ridge, drive, read
from spinloom.networks.benchmarks.tasks import FREE_RUNS, TASKS, WASHOUT
from spinloom.networks.topology import Topology, draw
from spinloom.workflows import bench as stage
from spinloom.workflows.bench import NAMES, Plan, rows_of
from spinloom.workflows.bench_full import FullRun, unit
from spinloom.workflows.bench_kinds import (
    RANGES,
    SELECTION,
    Settings,
    best,
    candidates,
    figures,
    kinds_of,
    network,
    without_nodes,
)
from spinloom.workflows.bench_tables import markdown, picture

TINY = ("--nodes", "4", "--seeds", "2", "--budget", "2")


@pytest.fixture(scope="module")
def kinds(coarse_model):
    return kinds_of(coarse_model)


@pytest.fixture(scope="module")
def short():
    """All series cut to a tenth, and few trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spinloom.networks.benchmarks.tasks.Task.samples", property(lambda task: 500))
        for task in TASKS.values():
            patch.setitem(task.__dict__, "train", 150)
        yield


def test_every_kind_answers_a_small_held_drive_alike(kinds):
    assert list(kinds) == ["junctions", "memoryless", "leaky", "tanh"]
    for kind in kinds.values():
        u = np.tile(0.02 * np.array([[1.0, -1.0]]), (500, 1)) * kind.gain
        state, _ = drive_node(kind.node, u)
        up, down = np.asarray(kind.node.observe(state))
        assert abs(up - down) / 0.04 == pytest.approx(1, rel=0.05)


def test_every_kind_gets_the_same_candidates_but_for_its_time_scale(kinds):
    drawn = {name: candidates(kind, 40, 0) for name, kind in kinds.items()}
    for k in range(40):
        assert len({(many[k].spectral_radius, many[k].input, many[k].bias) for many in drawn.values()}) == 1
    assert {one.hold for one in drawn["junctions"]} == {1, 2, 4, 8}
    assert {one.hold for one in drawn["tanh"]} == {1}
    assert {one.leak for one in drawn["memoryless"]} == {1.0}
    leaks = [one.leak for one in drawn["leaky"]]
    assert RANGES["leak"][0] <= min(leaks) < max(leaks) == 1.0
    assert leaks.count(1.0) > 3


def test_networks_of_candidates_are_those_of_their_topology(kinds):
    kind = kinds["leaky"]
    settings = [Settings(0.7, 0.2, 0.1, leak=0.5), Settings(1.2, 0.4, 0.3, leak=1.0)]
    weights = network(kind, 6, settings, [0, 1], channels=2)
    assert weights.devices == ((0,) * 6, (0,) * 6, (1,) * 6, (1,) * 6)
    for k, one in enumerate(settings):
        topology = {"spectral_radius": one.spectral_radius, "feedback": one.input, "bias": one.bias}
        expected = draw(Topology(nodes=6, gain=kind.gain, **topology), [0, 1], 2)
        mine = weights.take(slice(2 * k, 2 * k + 2))
        for a, b in zip(mine.arrays(), expected.arrays(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-14)


def test_a_figure_does_not_depend_on_the_batch_that_it_is_in(kinds, short):
    kind, task = kinds["tanh"], TASKS["narma10"]
    many = candidates(kind, 3, 0)
    together = figures(task, kind, 5, many, [0, 1], (1e-6, 1e-2))
    assert together.shape == (3, 2, 2)
    alone = figures(task, kind, 5, many[2:], [1], (1e-2,))
    np.testing.assert_allclose(alone.item(), together[2, 1, 1], rtol=1e-9)


def test_a_figure_is_what_a_read_out_of_the_states_gives(kinds, short):
    kind, task, one = kinds["junctions"], TASKS["narma10"], Settings(0.8, 0.3, 0.2, hold=2)
    series = task.series(5, 0)
    x = drive(kind.node, network(kind, 5, [one], [0], 1), series.u, Reading(hold=2))[0][:, 0]
    split = WASHOUT + task.train
    w = Ridge(x[WASHOUT:split], series.target[WASHOUT:split]).readout(1e-4)
    expected = task.judge(read(w, x[split:]), series.target[split:])
    assert figures(task, kind, 5, [one], [0], (1e-4,)).item() == pytest.approx(expected, rel=1e-9)


def test_more_taps_tell_more_and_a_window_tells_no_shape(short):
    few, many = (np.mean(without_nodes(TASKS["narma10"], taps, 5, [0, 1])) for taps in (1, 12))
    assert many < few
    assert without_nodes(Listening(noise=None, trials=40), 1, 5, [0])[0] > 0.5


def test_virtual_nodes_give_more_states_of_the_same_junctions(kinds, short):
    kind, task = kinds["junctions"], TASKS["narma10"]
    (one,) = candidates(kind, 1, 0)
    (many,) = candidates(kind, 1, 0, virtual=3, levels=2)
    assert many == replace(one, virtual=3, levels=2)
    assert many.reading == Reading(hold=3 * one.hold, virtual=3, levels=2)
    plain, more = (figures(task, kind, 4, [each], [0, 1], (1e-6,)) for each in (one, many))
    assert (plain != more).all()


def test_the_best_setting_has_the_best_mean_over_seeds():
    found = np.array([[[3.0, 2.0], [3.0, 4.0]], [[1.0, 9.0], [np.inf, 9.0]], [[2.0, 2.5], [2.0, 2.5]]])
    assert best(TASKS["narma10"], found) == (2, 0)
    assert best(TASKS["memory"], np.nan_to_num(found, posinf=0.0)) == (1, 1)


def test_selection_and_report_share_no_seed():
    assert not set(SELECTION) & set(range(Plan().seeds))


def test_cells_are_those_that_make_sense():
    rows = [(getattr(task, "name", task), kind, nodes) for task, _, kind, nodes in rows_of(Plan(nodes=(40, 200)))]
    assert ("narma10", "register", 200) in rows
    assert ("lorenz-free", "register", 40) not in rows
    assert ("shape-4-10dB", "junctions", 40) in rows
    assert ("shape-4-10dB", "junctions", 200) not in rows
    assert {name.split("-")[0] for name, *_ in rows} == {name.split("-")[0] for name in NAMES}


def test_a_run_makes_tables_and_a_figure_and_goes_on_where_it_was(
    spinloom, coarse_model_path, tmp_path, short, monkeypatch
):
    words = ("bench", coarse_model_path, *TINY, "--tasks", "narma10,memory", "--out", tmp_path / "bench")
    first = spinloom(*words, "--json")
    assert first.code == 0, first.err
    assert {row["kind"] for row in first.json["rows"]} == set(stage.KINDS)
    table = pd.read_csv(tmp_path / "bench" / "bench.csv")
    assert len(table) == 12
    assert (table["seeds"] == 2).all()
    assert (table["low"] <= table["mean"]).all()
    assert json.loads((tmp_path / "bench" / "bench.json").read_text())["plan"]["budget"] == 2
    assert (tmp_path / "bench" / "bench.svg").read_text().lstrip().startswith("<?xml")
    memory = table[(table.task == "memory") & (table.kind == "register")]
    assert memory["mean"].item() == pytest.approx(4, abs=0.2)
    monkeypatch.setattr(stage, "tune", None)
    monkeypatch.setattr(stage, "figures", None)
    again = spinloom(*words)
    assert again.code == 0, again.err
    assert "| narma10 (NRMSE) | 4 |" in again.err


def test_a_damaged_cell_is_told_and_made_again(spinloom, coarse_model_path, tmp_path, short):
    words = ("bench", coarse_model_path, *TINY, "--tasks", "narma10", "--out", tmp_path)
    spinloom(*words)
    cell = tmp_path / "cells" / "narma10.input.4.json"
    before = cell.read_text()
    cell.write_text("{")
    again = spinloom(*words)
    assert again.code == 0
    assert "damaged; made again" in " ".join(again.err.split())
    assert cell.read_text() == before


def test_every_task_runs(coarse_model, kinds, short):
    one = Settings(0.5, 0.3, 0.2, hold=2, leak=0.5)
    for task in (*TASKS.values(), Listening(trials=8)):
        found = figures(task, kinds["junctions"], 4, [one], [0], (1e-4,))
        assert np.isfinite(found).all(), task.name
    assert 0 <= figures(Vowels(), kinds["memoryless"], 4, [Settings(0.5, 0.3, 0.2)], [0], (1e-4,)).item() <= 1


def test_a_free_run_of_a_good_network_is_valid_for_longer(kinds, monkeypatch):
    task = FREE_RUNS["mackey-glass-free"]
    for name, value in (("train", 400), ("free", 60)):
        monkeypatch.setitem(task.__dict__, name, value)
    found = figures(task, kinds["tanh"], 30, [Settings(0.8, 0.5, 0.2)], [0], (1e-7, 1e2))
    assert found[0, 0, 0] > 1.5 * found[0, 0, 1]


def test_a_sample_runs_in_full_micromagnetics_too(coarse_model, coarse_model_path, tmp_path, short):
    plan = Plan(tasks=("narma10",), nodes=(3,), seeds=1, budget=1, full=5)
    result = stage.bench_stage(coarse_model, coarse_model_path, plan, tmp_path, choose_engine("embedded", None))
    (row,) = result["full"]
    assert row["samples"] == 5
    assert row["expects_apart"] < 0.3
    assert row["penalties"][1] >= coarse_model.holdout_nrmse**2
    assert row["temperature"] == 0
    assert "narma10 (NRMSE), 0 K | 3 | 5 samples |" in (tmp_path / "bench.md").read_text()


@pytest.mark.parametrize(("name", "sample"), [("frequency", "20 trials"), ("japanese-vowels", "20 utterances")])
def test_what_is_recognised_is_so_in_full_too(coarse_model, kinds, name, sample):
    ((task, _),) = stage.in_full((name,))
    settings = Settings(0.5, 1.0, 0.2, hold=4, ridge=1e-3)
    told = FullRun(coarse_model, None, kinds["junctions"], 10, settings, 40, choose_engine("embedded")).run(task)
    assert told["expects_apart"] <= 0.25
    assert told["expects_reduced"] < 0.8
    row = {**stage.about(task), "nodes": 10, "unit": unit(task), **told}
    assert f"(wrong), 0 K | 10 | {sample} |" in markdown({"rows": [], "full": [row]}).splitlines()[-1]


def test_a_free_run_and_its_network_in_full_agree_for_as_long_as_is_told(coarse_model, kinds, monkeypatch):
    task = FREE_RUNS["mackey-glass-free"]
    for name, value in (("train", 300), ("free", 40)):
        monkeypatch.setitem(task.__dict__, name, value)
    one = FullRun(
        coarse_model, None, kinds["junctions"], 10, Settings(0.5, 0.3, 0.2, ridge=1e-9), 40, choose_engine("embedded")
    )
    told = one.run(task)
    assert told["samples"] == 2
    assert told["expects_together"] >= 3
    assert told["expects_together"] >= told["together"]
    row = {**stage.about(task), "nodes": 10, "unit": unit(task), **told}
    line = markdown({"rows": [], "full": [row]}).splitlines()[-1]
    assert (
        f"0 K | 10 | 2 starts | {told['reduced']:.3g} / {told['full']:.3g} / together {told['together']:.3g} |" in line
    )


def test_capacity_is_of_the_states_of_both(coarse_model, kinds):
    one = FullRun(
        coarse_model, None, kinds["junctions"], 3, Settings(0.5, 0.3, 0.2, hold=2), 20, choose_engine("embedded")
    )
    told = one.run("ipc")
    assert told["samples"] == 400
    assert told["apart"] < 0.1
    assert told["full"] == pytest.approx(told["reduced"], abs=0.2)
    row = {**stage.about("ipc"), "nodes": 3, "unit": unit("ipc"), **told}
    assert markdown({"rows": [], "full": [row]}).splitlines()[-1].endswith("| - |")


def test_a_sample_that_is_larger_than_the_test_is_refused(coarse_model, kinds):
    settings, engine = Settings(0.5, 0.3, 0.2), choose_engine("embedded")
    narma = TASKS["narma10"]
    for task, most in ((narma, narma.samples - WASHOUT - narma.train), (Listening(trials=8), 16)):
        one = FullRun(coarse_model, None, kinds["junctions"], 3, settings, 4001, engine)
        with pytest.raises(SpinloomError, match=f"full: expected at most {most}.*got 4001"):
            one.run(task)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tasks", "narma30"), "expected some of narma10, memory"),
        (("--nodes", "0"), "expected numbers from 1 to 2000, got 0"),
        (("--nodes", "forty"), "nodes"),
        (("--seeds", "0"), "seeds"),
        (("--budget", "0"), "budget"),
    ],
)
def test_mistakes_are_told(refused, coarse_model_path, tmp_path, words, told):
    refused("bench", coarse_model_path, *words, "--out", tmp_path, told=told)


def test_a_model_that_is_none_is_told(refused, tmp_path):
    refused("bench", tmp_path / "none.nc", "--out", tmp_path / "out", told="no such file")


def test_cells_without_a_figure_and_figures_that_diverge_are_told():
    row = {"task": "a", "figure": "NRMSE", "higher": False, "nodes": 4}
    cell = {"low": None, "high": None, "worst": 2.0, "seeds": 1}
    rows = [
        {**row, "kind": "junctions", "mean": None, **cell},
        {**row, "kind": "leaky", "mean": 0.5, **cell},
        {**row, "kind": "tanh"},
    ]
    lines = markdown({"rows": rows, "full": []}).splitlines()
    assert lines[-1] == "| a (NRMSE) | 4 | diverges | **0.5** (2) | - |"
    assert picture({"rows": rows}).lstrip().startswith("<?xml")


def test_what_lies_within_the_interval_of_the_best_is_as_good():
    row = {"task": "a", "figure": "NRMSE", "higher": False, "nodes": 4, "worst": 0.6, "seeds": 3}
    means = {"junctions": (0.5, 0.4, 0.6), "leaky": (0.55, 0.5, 0.6), "tanh": (0.7, 0.6, 0.8)}
    rows = [{**row, "kind": kind, "mean": mean, "low": low, "high": high} for kind, (mean, low, high) in means.items()]
    line = markdown({"rows": rows, "full": []}).splitlines()[-1]
    assert line == "| a (NRMSE) | 4 | **0.5** ± 0.1 (0.6) | **0.55** ± 0.05 (0.6) | 0.7 ± 0.1 (0.6) |"
    line = markdown({"rows": [{**one, "higher": True} for one in rows], "full": []}).splitlines()[-1]
    assert line.count("**") == 2
    assert "**0.7**" in line
