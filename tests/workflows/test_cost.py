"""What a run costs is told before it begins, and is what it then takes."""

import json

import pytest

from spinloom.workflows import cost, sweep
from spinloom.workflows.cost import stage_costs, words_of_what_follows
from spinloom.workflows.settings import load_experiment


@pytest.fixture
def known_speed(monkeypatch):
    """Half a second for a device-ns."""
    for module in (cost, sweep):
        monkeypatch.setattr(module, "measured_speed", lambda *_: 0.5)


def test_device_ns_are_those_of_the_run(small_run, experiment):
    costs = {one.stage: one for one in stage_costs(load_experiment(experiment)[0])}
    summary = json.loads((small_run / "summary.json").read_text())
    assert costs["calibrate"].device_ns == pytest.approx(summary["calibration"]["device_ns"])
    ns = 7.5e-3
    assert costs["cosimulate-recognise"].device_ns == pytest.approx(4 * 40 * 2 * 40 * ns)
    assert costs["cosimulate-generate"].device_ns == pytest.approx(2 * 40 * 48 * (5 + 3 + 6) * ns)
    assert set(costs) >= {"finish", "train-generate", "train-recognise"}


def test_a_warm_run_has_its_seeds_and_no_finish(wafer):
    experiment, card = load_experiment(wafer)
    costs = {one.stage: one for one in stage_costs(experiment, card.conditions.temperature)}
    assert "finish" not in costs
    assert costs["cosimulate-generate"].device_ns == pytest.approx(2 * 2 * 4 * 48 * (3 + 8) * 2 * 7.5e-3)


def test_a_dry_run_tells_each_stage_and_runs_nothing(experiment, tmp_path, spinloom, known_speed):
    outcome = spinloom("run", experiment, "--out", tmp_path / "out", "--dry-run", "--json")
    assert outcome.code == 0
    stages = {one["stage"]: one for one in outcome.json["stages"]}
    assert stages["calibrate"]["seconds"] == pytest.approx(cost.START_S + 18 * 0.5)
    assert outcome.json["seconds"] == pytest.approx(sum(one["seconds"] for one in stages.values()))
    assert not (tmp_path / "out").exists()
    told = spinloom("run", experiment, "--out", tmp_path / "out", "--dry-run", "--finish", "none").err
    assert "cosimulate-generate" in told
    assert "finish" not in told


def test_a_dry_sweep_tells_each_point_and_what_is_wrong_with_it(experiment, tmp_path, spinloom, known_speed):
    path = experiment.with_name("sweep.toml")
    path.write_text(experiment.read_text() + '[sweep]\n"generate.topology.nodes" = [8, 16, 0]\n')
    outcome = spinloom("sweep", path, "--out", tmp_path / "out", "--dry-run", "--json")
    first, second, third = outcome.json["points"]
    assert first["values"] == {"generate.topology.nodes": 8}
    assert second["seconds"] > first["seconds"] > 0
    assert "generate.topology.nodes" in third["error"]
    assert not (tmp_path / "out").exists()
    assert "generate.topology.nodes = 16" in spinloom("sweep", path, "--out", tmp_path, "--dry-run").err


def test_after_the_calibration_the_rest_is_told_at_its_speed(experiment):
    settings, card = load_experiment(experiment)
    full = [one.device_ns for one in stage_costs(settings) if one.full and one.stage != "calibrate"]
    told = words_of_what_follows(settings, card, {"wall_s": 36.0, "device_ns": 18.0})
    assert f"{sum(full):.0f} device-ns" in told
    assert "(2 s each)" in told
