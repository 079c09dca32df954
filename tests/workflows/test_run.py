"""All stages of a small experiment."""

import json
import re

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
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
            "phase_drift_per_period",
        }  # fmt: skip
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
    assert outcome.err.count("done before, kept") == 6
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


def test_the_report_is_one_file_that_needs_no_network(small_run, spinloom):
    assert spinloom("report", small_run, "--json").json == {"report": str(small_run / "report.html")}
    page = (small_run / "report.html").read_text()
    addresses = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    for word in ("NRMSE", "sine", "mine", "coarse", "Calibration", "Recognition"):
        assert word in page


def test_names_in_a_report_are_escaped(small_run, tmp_path):
    from spinloom.workflows.report import _environment

    template = _environment().from_string("{{ name }}")
    assert template.render(name="<script>") == "&lt;script&gt;"


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
        ('device = "nothing"', "expected one of disc60"),
        ('device = "../other.toml"', "outside its own folder"),
        ('device = "absent.toml"', "no such file"),
        ("colour = 1", "colour: unknown field"),
        ("[generate]\nperiod_ticks = 1", "generate.period_ticks"),
        ("[generate.topology]\nnodes = 0", "generate.topology"),
        ('[generate]\ntasks = ["../../x.csv"]', "outside its own folder"),
    ],
)
def test_a_bad_experiment_is_told_by_field(tmp_path, line, message):
    path = tmp_path / "e.toml"
    path.write_text('name = "x"\n' + line)
    with pytest.raises(SpinloomError, match=message):
        load_experiment(path)
