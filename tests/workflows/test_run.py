"""All stages of a small experiment."""

import json
import shutil

import numpy as np
import pytest

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.record import load_record
from spinloom.networks.store import load_network
from spinloom.workflows.run import run_experiment
from spinloom.workflows.settings import load_experiment


def test_the_summary_holds_what_scripts_rely_on(small_run):
    summary = json.loads((small_run / "summary.json").read_text())
    assert summary["device"]["name"] == "coarse"
    assert summary["engine"].keys() >= {"name", "version"}
    assert summary["calibration"]["device_ns"] == pytest.approx(18.0)
    assert summary["calibration"]["wall_s"] > 0
    assert summary["reduced_model"].keys() >= {"kind", "holdout_nrmse", "us_per_device_tick", "outside_share"}
    assert set(summary["generate"]) == {"sine", "mine"}
    for result in summary["generate"].values():
        assert result.keys() >= {
            "seed", "period_s", "nrmse_reduced", "periods_reduced", "nrmse_full", "periods_full",
            "phase_drift_per_period", "shape_error_reduced", "shape_error_full", "phase_drift_per_period_reduced",
        }  # fmt: skip
        assert result["washouts_reduced"] == [5, 7, 10]
        assert result["period_s"] == pytest.approx(48 * 7.5e-12)
        assert (result["periods_reduced"], result["periods_full"]) == (6, 3)
    assert summary["recognise"].keys() >= {
        "classes", "accuracy_reduced", "trials_reduced", "accuracy_full", "trials_full",
    }  # fmt: skip
    assert summary["wall_s"].keys() >= {"calibrate", "fit", "train-generate", "cosimulate-generate"}
    assert summary["versions"]["jax"]


def test_the_full_network_is_not_the_reduced_one_but_close(small_run):
    sine = json.loads((small_run / "summary.json").read_text())["generate"]["sine"]
    assert sine["nrmse_full"] != sine["nrmse_reduced"]
    assert sine["nrmse_full"] < 0.2
    assert 0 < sine["max_node_difference"] < 0.2


def test_a_second_call_does_nothing_again(small_run, experiment, spinloom):
    before = {path: path.stat().st_mtime_ns for path in (small_run / "stages").iterdir()}
    outcome = spinloom("run", experiment, "--out", small_run, "--json")
    assert outcome.code == 0
    assert outcome.err.count("done before, kept") == 8
    assert {path: path.stat().st_mtime_ns for path in (small_run / "stages").iterdir()} == before
    assert outcome.json["generate"]["sine"]["nrmse_full"] > 0


def test_only_what_depends_on_a_lost_file_is_done_again(small_run, experiment, spinloom):
    trained = load_network(small_run / "network-sine.nc")[0].weights.w_out
    (small_run / "network-sine.nc").unlink()
    outcome = spinloom("run", experiment, "--out", small_run)
    assert outcome.code == 0
    assert "calibrate: done before" in outcome.err
    assert "train-generate: done before" not in outcome.err
    np.testing.assert_array_equal(load_network(small_run / "network-sine.nc")[0].weights.w_out, trained)


def test_the_report_is_drawn_again(small_run, spinloom):
    """What is in it is looked at in ``page/test_pages.py``."""
    assert spinloom("report", small_run, "--json").json == {"report": str(small_run / "report.html")}
    page = (small_run / "report.html").read_text()
    for word in ("NRMSE", "sine", "mine", "coarse", "Calibration", "Recognition"):
        assert word in page


DEAF = """
[generate.topology]
spectral_radius = 0
feedback = 0
[recognise.topology]
input = 0
"""


@pytest.fixture
def deaf_run(small_run, experiment, tmp_path, spinloom):
    """The same device and model, with networks that hear nothing."""
    shutil.copytree(small_run, tmp_path / "run")
    for left in ("cosimulation.nc", "summary.json", "report.html"):
        (tmp_path / "run" / left).unlink()
    deaf = experiment.with_name("deaf.toml")
    deaf.write_text(experiment.read_text() + DEAF)
    return tmp_path / "run", spinloom("run", deaf, "--out", tmp_path / "run", "--json")


def test_where_nothing_works_a_run_stops_before_full_micromagnetics(deaf_run):
    folder, outcome = deaf_run
    assert outcome.code == 3
    assert outcome.err.count("done before, kept") == 2
    assert "cosimulate" not in outcome.json["wall_s"]
    assert not (folder / "cosimulation.nc").exists()
    assert outcome.json["outcome"] == "nothing to verify"
    assert not any(result["verified"] for result in outcome.json["generate"].values())
    assert not outcome.json["recognise"]["verified"]
    assert "spinloom tune" in outcome.err
    page = (folder / "report.html").read_text()
    assert "Nothing to verify in full micromagnetics" in page
    assert "No network ran in full micromagnetics." in page


def test_the_finish_stands_between_training_and_verdict(small_run):
    summary = json.loads((small_run / "summary.json").read_text())
    assert summary["outcome"] == "verified"
    for name, result in summary["generate"].items():
        assert result["verified"] == result["generates"]
        if result["verified"]:
            assert (small_run / f"finished-{name}.nc").is_file()
            assert result["kick"].keys() >= {"returns"}


def test_a_folder_with_other_files_is_left_alone(experiment, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SpinloomError, match="holds other files"):
        run_experiment(experiment, tmp_path)


def test_a_report_of_nothing_says_what_to_do(tmp_path, spinloom):
    outcome = spinloom("report", tmp_path)
    assert outcome.code == 2
    assert "use 'spinloom run' first" in outcome.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('device = "nothing"', "expected one of disc100, disc60, disc60_low_damping"),
        ('device = "../other.toml"', "outside its own folder"),
        ('device = "absent.toml"', "no such file"),
        ("colour = 1", "colour: unknown field"),
        ("[generate]\nperiod_ticks = 1", "generate.period_ticks"),
        ("[generate.topology]\nnodes = 0", "generate.topology"),
        ('[generate]\ntasks = ["../../x.csv"]', "outside its own folder"),
        ('[generate]\ntasks = ["sine", "sine.csv"]', "more than one network would be called sine"),
        ('[generate]\ntasks = ["recognise.csv"]', "more than one network would be called recognise"),
        ("[generate]\nwashouts = [4, 5]", "4 is the washout that read-outs are chosen on"),
        ("[generate]\nwashouts = []", "generate.washouts"),
        ("[generate]\nperiod_ticks = 50\nperiod_resonances = 1.5", "expected one of them, got both"),
        ("[recognise]\nperiod_resonances = -1", "recognise.period_resonances"),
        ("reach = 0", "reach"),
    ],
)
def test_a_bad_experiment_is_told_by_field(tmp_path, line, message):
    path = tmp_path / "e.toml"
    path.write_text('name = "x"\n' + line)
    with pytest.raises(SpinloomError, match=message):
        load_experiment(path)


def test_an_experiment_goes_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_experiment("demo")[0].name == "demo"
    with pytest.raises(
        SpinloomError, match="no such file, and not the name of a shipped one .anchor, beat, demo, plane, pulses"
    ):
        load_experiment("demon")


FEW = """
name = "few"
device = "coarse.toml"
engine = "embedded"
model = "flow_map"
reach = 0.9
[calibration]
trajectories = 12
grades = []
duration = 1.5e-9
[generate]
tasks = ["circle.csv"]
period_resonances = 1.0
free_periods = 4
full_periods = 2
[generate.topology]
nodes = 3
[generate.training]
method = "ridge"
teacher_periods = 10
[recognise]
period_ticks = 12
train_trials = 16
test_trials = 8
full_trials = 4
[recognise.topology]
nodes = 2
"""


@pytest.mark.slow
def test_a_few_junctions_with_two_outputs_come_to_a_report(experiment, tmp_path, spinloom):
    """Three nodes, a circle, the period in units of the resonance, brackets in the folder's name."""
    folder = tmp_path / "[red] run"
    folder.mkdir()
    (folder / "coarse.toml").write_text((experiment.parent / "coarse.toml").read_text())
    phase = 2 * np.pi * np.arange(24) / 24
    rows = [f"{np.cos(p)},{np.sin(p)}" for p in phase]
    (folder / "circle.csv").write_text("f1,f2\n" + "\n".join(rows))
    (folder / "few.toml").write_text(FEW)
    outcome = spinloom("run", folder / "few.toml", "--out", folder / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert f"report: {folder / 'out' / 'report.html'}" in outcome.err
    summary = outcome.json
    scale, circle = summary["reduced_model"]["scale"], summary["generate"]["circle"]
    assert scale["reach"] == 0.9
    assert circle["period_s"] == pytest.approx(1 / scale["resonance"], abs=4e-12)
    network, _ = load_network(folder / "out" / "network-circle.nc")
    assert network.weights.w_out.shape == (1, 2, 4)
    record = load_record(folder / "out" / "cosimulation.nc")
    assert record["z_full"].shape == (2 * network.period_ticks, 1, 2)
    assert np.abs(record["u_full"]).max() <= 0.9 + 1e-6
    assert (folder / "out" / "report.html").stat().st_size > 10_000


def test_what_diverges_is_null_in_json_and_said_on_the_page(small_run, tmp_path, spinloom):
    """JSON has no infinity, and no reader should meet 1.8e308."""
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary["generate"]["sine"]["nrmse_reduced"] = float("inf")
    text = files.to_json(summary)
    assert json.loads(text)["generate"]["sine"]["nrmse_reduced"] is None
    assert "Infinity" not in text
    (folder / "summary.json").write_text(text)
    assert spinloom("report", folder).code == 0
    assert "diverged" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("generate"), "not what a run wrote (KeyError: 'generate')"),
        (lambda s: s.update(recognise=[1, 2]), "not what a run wrote (TypeError"),
        (lambda s: s["reduced_model"].pop("outside_share"), "not what a run wrote (KeyError: 'outside_share')"),
    ],
)
def test_a_summary_that_no_run_wrote_is_told(small_run, tmp_path, refused, change, told):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    summary = json.loads((folder / "summary.json").read_text())
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    refused("report", folder, told=told)
    (folder / "summary.json").write_text("[" * 100_000)
    refused("report", folder, told="use 'spinloom run' again")
