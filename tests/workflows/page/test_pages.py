"""The pages of runs, tunings and designs: whole, of one piece, and with all that there is."""

import json

from spinloom.networks.record import load_record
from spinloom.workflows.page.sweep import sweep_page
from spinloom.workflows.tune_page import tune_page

HOSTILE = "<script>alert(1)</script>"


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


def test_the_page_of_a_tuning_is_whole(tune_text, read_page):
    page = read_page(tune_text)
    assert "it works in part" in page.words
    assert HOSTILE in page.words
    assert "diverged" in page.words
    assert '"error, mine"' in tune_text
    assert HOSTILE not in tune_text


def test_a_tuning_that_tried_nothing_has_a_page(coarse_model, tuned, read_page):
    nothing = {**tuned, "verdict": "unfit", "tasks": {}, "settings": None, "candidates": 0}
    page = read_page(tune_page(coarse_model.card, coarse_model, [], ("sine",), nothing))
    assert "nothing works yet" in page.words
    assert "The map" not in page.words


def test_the_page_of_a_design_is_whole(design_text, read_page):
    page = read_page(design_text)
    assert "Nothing on this map does it at 300 K" in page.words
    assert HOSTILE in page.words
    assert HOSTILE not in design_text
    assert '"unstable"' in design_text
    assert '"error, mine"' in design_text


def test_who_reads_without_scripts_is_told_where_the_numbers_are(small_run, tune_text, design_text, swept, read_page):
    texts = {
        (small_run / "report.html").read_text(): ("cosimulation.nc", "calibration.nc", "model.nc", "summary.json"),
        tune_text: (".search.csv", ".tune.json"),
        design_text: ("map.csv", "design.json"),
        sweep_page(swept, ["nodes"], ["nrmse"], "Nodes", kept=["sweep.csv", "sweep.nc"]): ("sweep.csv", "sweep.nc"),
    }
    for text, files in texts.items():
        note = text[text.index("<noscript>") : text.index("</noscript>")]
        assert "Scripts are switched off" in note
        for file in files:
            assert f"<code>{file}</code>" in note
        read_page(text)
    picture = [found for tag, found in read_page(next(iter(texts))).tags if tag == "img"]
    assert [one["src"].split(",")[0] for one in picture] == ["data:image/svg+xml;base64"]
    assert "sine" in picture[0]["alt"] or "mine" in picture[0]["alt"]
    assert len(picture[0]["src"]) < 1e5
    assert "beside this page" not in sweep_page(swept, ["nodes"], ["nrmse"], "A table of one's own")
