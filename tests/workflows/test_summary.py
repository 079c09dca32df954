"""What a run of several chips comes to: medians, and the figures of each."""

import json

import numpy as np
import pytest

from spinloom.workflows.summary import by_task, median_of, results_table


def test_several_chips_come_to_the_median_of_each_figure():
    chips = [
        {"nrmse": 0.1, "ok": True, "trials": 20, "task": "sine", "kick": None, "noise": {"a": 1.0, "b": None}},
        {"nrmse": 0.9, "ok": True, "trials": 20, "task": "sine", "kick": 1.0, "noise": {"a": 3.0, "b": 2.0}},
        {"nrmse": 0.3, "ok": False, "trials": 20, "task": "sine", "kick": 2.0, "noise": {"a": 2.0, "b": 4.0}},
    ]
    middle = {"nrmse": 0.3, "ok": False, "trials": 20, "task": "sine", "kick": None, "noise": {"a": 2.0, "b": None}}
    assert median_of(chips) == middle
    assert median_of(chips[::-1]) == middle
    assert isinstance(median_of(chips)["trials"], int)
    assert median_of(chips[:1]) == chips[0]


def test_a_figure_that_one_chip_lacks_is_none():
    """Whichever chip it is, and be it a table."""
    assert median_of([{"noise": None}, {"noise": {"a": 1.0}}]) == {"noise": None}
    assert median_of([{"noise": {"a": 1.0}}, {"noise": None}]) == {"noise": None}


def test_confusions_are_added_and_lists_of_settings_stay():
    one = {"confusion": [[1, 0], [0, 2]], "washouts": [5, 7]}
    other = {"confusion": [[0, 3], [1, 1]], "washouts": [5, 7]}
    found = median_of([one, other])
    assert found == {"confusion": [[1, 3], [1, 3]], "washouts": [5, 7]}
    assert json.loads(json.dumps(found)) == found


def test_results_are_told_apart_by_task_whatever_the_chip():
    results = [{"task": name} for name in ("sine, chip 0", "triangle, chip 0", "sine, chip 1", "/a/b/mine.csv")]
    found = by_task(results)
    assert {name: [one["task"] for one in chips] for name, chips in found.items()} == {
        "sine": ["sine, chip 0", "sine, chip 1"],
        "triangle": ["triangle, chip 0"],
        "mine": ["/a/b/mine.csv"],
    }


@pytest.fixture(scope="module")
def summary(wafer_run):
    return json.loads((wafer_run / "summary.json").read_text())


def stage(folder, name):
    """Its result; of a stage that has a part for each chip, those of all."""
    whole = folder / "stages" / f"{name}.json"
    if whole.exists():
        return json.loads(whole.read_text())["result"]
    parts = [json.loads(path.read_text())["result"] for path in sorted(whole.parent.glob(f"{name}-*.json"))]
    return [one for part in parts for one in (part if isinstance(part, list) else [part])]


@pytest.mark.slow
def test_figures_of_a_task_are_medians_over_its_chips(summary, wafer_run):
    assert (summary["chips"], summary["temperature"], summary["outcome"]) == (2, 300, "verified")
    assert set(summary["generate"]) == {"sine", "triangle"}
    trained, full = (by_task(stage(wafer_run, name)) for name in ("train-generate", "cosimulate-generate"))
    for name, figures in summary["generate"].items():
        reduced, verified = [one["nrmse"] for one in trained[name]], [one["nrmse_full"] for one in full[name]]
        assert figures["chips"] == {"nrmse_reduced": reduced, "nrmse_full": verified}
        assert figures["nrmse_reduced"] == pytest.approx(np.median(reduced))
        assert figures["nrmse_full"] == pytest.approx(np.median(verified))
        assert reduced[0] != reduced[1]
        means = [one["noise"]["amplitude_noise"]["full"]["mean"] for one in full[name]]
        assert figures["noise"]["amplitude_noise"]["full"]["mean"] == pytest.approx(np.median(means))
        assert (figures["seeds"], figures["seeds_reduced"], figures["periods_full"]) == (2, 16, 8)
        assert figures["verified"]
        assert not figures["stopped"]


@pytest.mark.slow
def test_accuracies_are_medians_and_confusions_are_of_all_chips(cold_run):
    recognised = json.loads((cold_run / "summary.json").read_text())["recognise"]
    trained, full = stage(cold_run, "train-recognise"), stage(cold_run, "cosimulate-recognise")
    for name, each in (
        ("reduced", [one["accuracy"] for one in trained]),
        ("full", [one["accuracy_full"] for one in full]),
    ):
        assert recognised["chips"][f"accuracy_{name}"] == each
        assert recognised[f"accuracy_{name}"] == pytest.approx(np.median(each))
    assert np.sum(recognised["confusion_reduced"]) == 2 * 8
    assert np.sum(recognised["confusion_full"]) == 2 * 4
    assert recognised["verified"]


@pytest.mark.slow
def test_a_run_of_chips_comes_to_a_table_and_a_page(summary, wafer_run):
    table = results_table(summary)
    assert list(table.columns[0].cells) == ["generate sine", "generate triangle", "recognise"]
    page = (wafer_run / "report.html").read_text()
    for told in ("2 chips", "300 K", "triangle"):
        assert told in page
