"""The benchmark of an experiment's seeds: what it prints is what training and verdict gave."""

from __future__ import annotations

import re

import pytest

from spinloom.workflows.settings import Experiment, GenerateSettings, experiment_toml

SHORT = {
    "tasks": ("sine",),
    "seed": 3,
    "period_ticks": 50,
    "free_periods": 6,
    "training": {"teacher_periods": 10, "force_periods": 8, "trim_rounds": 2, "trim_periods": 4, "tries": 2},
}
SPREAD = re.compile(r"sine (reduced|full): median ([\d.]+), worst ([\d.]+) of (\d+) seeds")


@pytest.fixture
def bench(benchmark_module, coarse_model_path, tmp_path):
    module = benchmark_module("experiment")
    path = tmp_path / "short.toml"
    experiment = Experiment(name="short", generate=GenerateSettings.model_validate(SHORT))
    path.write_text(experiment_toml(experiment, "shortened"))
    return lambda *options: module.main([str(path), "--model", str(coarse_model_path), *options])


@pytest.mark.slow
def test_every_network_and_what_they_come_to(bench, capsys):
    bench("--seeds", "2", "--full-periods", "2")
    lines = capsys.readouterr().out.splitlines()
    networks = [line for line in lines if line.startswith("sine seed ")]
    assert [line.split(":")[0] for line in networks] == ["sine seed 3", "sine seed 4"]
    told = {match[1]: match.groups()[1:] for match in map(SPREAD.fullmatch, lines) if match}
    for place, what in ((0, "reduced"), (1, "full")):
        errors = [float(line.split(": ")[1].split(", ")[place].split()[1]) for line in networks]
        median, worst, seeds = told[what]
        assert seeds == "2"
        assert float(worst) == max(errors)
        assert float(median) == pytest.approx(sum(errors) / 2, abs=1e-5)


@pytest.mark.parametrize("options", [("--seeds", "0"), ("--full-periods", "0"), ("--model", "nowhere.nc")])
def test_a_mistake_is_told_without_a_traceback(bench, options, capsys):
    with pytest.raises(SystemExit) as error:
        bench(*options)
    assert error.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_model_of_another_reach_than_the_experiments_is_refused(bench, tmp_path, capsys):
    path = tmp_path / "short.toml"
    path.write_text("reach = 0.3\n" + path.read_text())
    with pytest.raises(SystemExit):
        bench()
    assert "expected one of reach 0.3, as the experiment asks" in capsys.readouterr().err
