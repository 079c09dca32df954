"""The pages of runs, tunings and designs: whole, of one piece, and with all that there is."""

import json
import shutil

import numpy as np
import pytest

from spinloom.networks.record import load_record, save_record
from spinloom.workflows.design_page import design_page
from spinloom.workflows.report import report_stage
from spinloom.workflows.tune_page import tune_page

HOSTILE = "<script>alert(1)</script>"


def renamed(told, before, after):
    """The same with another name wherever a dictionary has one."""
    if isinstance(told, dict):
        return {after if name == before else name: renamed(value, before, after) for name, value in told.items()}
    return told


@pytest.fixture(scope="module")
def renamed_run(small_run, tmp_path_factory):
    """A finished run of which one task has the name of a script."""
    folder = tmp_path_factory.mktemp("renamed") / "run"
    shutil.copytree(small_run, folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(renamed(summary, "mine", HOSTILE)))
    record = load_record(folder / "cosimulation.nc")
    names = [HOSTILE if name == "mine" else str(name) for name in record["network"].values]
    save_record(record.assign_coords(network=names), folder / "cosimulation.nc")
    report_stage(folder)
    return folder


def test_the_page_of_a_run_is_whole_and_loads_nothing(small_run, read_page):
    text = (small_run / "report.html").read_text()
    page = read_page(text)
    summary = json.loads((small_run / "summary.json").read_text())
    assert set(load_record(small_run / "cosimulation.nc")["network"].values) == {"sine", "mine"}
    assert "networks: sine; mine" in page.words
    for task in summary["generate"]:
        assert f"generate {task}, seed" in page.words
        assert f"{task}: NRMSE" in text
    nodes = [str(node) for node in range(summary["experiment"]["generate"]["topology"]["nodes"])]
    assert json.dumps(nodes, separators=(",", ":")) in text.replace('", "', '","')
    assert "12 of 12 trajectories" in page.words
    assert len(text) < 4e6


def test_the_name_of_a_task_is_never_a_script(renamed_run, small_run, read_page):
    page = read_page((renamed_run / "report.html").read_text())
    plain = read_page((small_run / "report.html").read_text())
    assert HOSTILE not in page.text
    assert [tag for tag, _ in page.tags if tag == "script"] == [tag for tag, _ in plain.tags if tag == "script"]
    assert f"generate {HOSTILE}, seed" in page.words


def test_chips_and_noises_can_be_chosen(wafer_run, read_page):
    text = (wafer_run / "report.html").read_text()
    page = read_page(text)
    assert "Chip by chip" in page.words
    assert "networks: sine, chip 0; sine, chip 1; triangle, chip 0; triangle, chip 1" in page.words
    assert "Of 16 noises the first 8 can be chosen." in page.words
    for label in ("Task", "Chip", "Junction", "Noise, full", "Noise, reduced", "Trajectory", "Sort by"):
        assert f'"title":"{label}"' in text


RESULT = {
    "verdict": "partly", "device": HOSTILE, "device_verdict": "good", "probe": [HOSTILE], "reach": 1.0,
    "holdout_nrmse": 0.001, "period_s": 4e-10, "candidates": 6, "recognise": None, "advice": [{"words": HOSTILE}],
    "tasks": {"mine": {"median_nrmse": 0.01, "worst_nrmse": None, "median_shape_error": 0.01, "generates": 3,
                       "seeds": 4, "periods": 9}},
    "baselines": None, "wall_s": 12.0,
    "settings": {"clock": 0.0, "clock_shape": "sine", "radius": 0.5, "feedback": 1.0, "bias": 0.5},
}  # fmt: skip


@pytest.fixture
def tune_text(coarse_model):
    rng = np.random.default_rng(0)
    rows = [
        {
            "candidate": k, "rung": k % 3, "score": float(k), "period_s": 1e-10 * (k + 1), "share": 0.5,
            "radius": 0.5 + k, "feedback": 1.0 + k, "bias": 0.5, "clock": 0.0, "taught_mine": float(rng.uniform()),
            "state_mine": state,
            **({"shape_mine": 1e-3} if state == "works" else {}),
        }
        for k, state in enumerate(("works", "unstable", "follows", "poor", "sings", "dead"))
    ]  # fmt: skip
    return tune_page(coarse_model.card, coarse_model, rows, ("mine.csv",), RESULT)


def test_the_page_of_a_tuning_is_whole(tune_text, read_page):
    page = read_page(tune_text)
    assert "it works in part" in page.words
    assert HOSTILE in page.words
    assert "diverged" in page.words
    assert '"error, mine"' in tune_text
    assert HOSTILE not in tune_text


def test_a_tuning_that_tried_nothing_has_a_page(coarse_model, read_page):
    nothing = {**RESULT, "verdict": "unfit", "tasks": {}, "settings": None, "candidates": 0}
    page = read_page(tune_page(coarse_model.card, coarse_model, [], ("sine",), nothing))
    assert "nothing works yet" in page.words
    assert "The map" not in page.words


@pytest.fixture
def design_text(coarse_card):
    rng = np.random.default_rng(0)
    rows = [
        {
            "diameter": d, "thickness": 2e-9, "voltage": v, "field": 1.3, "period": 3e-10, "network": 0, "nodes": 20,
            "nrmse_mine": float(rng.uniform(0.1, 1)), "power": 1e-3, "energy": float(rng.uniform(1, 50)) * 1e-13,
            "stable": d > 5e-8, "score": float(rng.uniform(0.5, 20)),
        }
        for d in (4e-8, 6e-8, 8e-8) for v in (0.3, 0.6)
    ]  # fmt: skip
    judged = [{**row, "yield": None, "accuracy": None} for row in rows[2:4]]
    wish = {"tasks": ["mine.csv"], "nrmse": [0.15], "temperature": 300.0, "accuracy": 0.0, "least_yield": 0.9,
            "spread": {"diameter": 0.05}, "voltage": 0.6, "chips": 4}  # fmt: skip
    result = {"outcome": "nothing does it", "chosen": judged[0], "words": HOSTILE, "judged": judged, "points": 6,
              "wish": wish, "wall_s": 3.0, "full": None}  # fmt: skip
    return design_page(coarse_card, rows, result)


def test_the_page_of_a_design_is_whole(design_text, read_page):
    page = read_page(design_text)
    assert "Nothing on this map does it at 300 K" in page.words
    assert HOSTILE in page.words
    assert HOSTILE not in design_text
    assert '"unstable"' in design_text
    assert '"error, mine"' in design_text
