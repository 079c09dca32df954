"""The benchmark of many seeds, shortened: what it prints is what training and verdict gave."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest

SHORT = (
    "--period-ticks 50 --teacher-periods 10 --force-periods 8 --trim-rounds 2 --trim-periods 4 --tries 2 "
    "--free-periods 6 --full-periods 2 --train-trials 12 --test-trials 16 --full-trials 4"
)
JOBS = [(task, seed) for task in ("sine", "triangle", "harmonics") for seed in (3, 4)]
GENERATED = re.compile(
    r"(reduced|full) (\w+) seed (\d+): NRMSE ([\d.]+|inf), shape ([\d.]+|inf), "
    r"drift ([+-][\d.]+) mrad/period, outside ([\d.]+)%(?:, nodes apart ([\d.]+))?"
)
COUNTED = re.compile(
    r"(reduced|full) (\w+): (\d+) of (\d+) at or below ([\d.]+), worst ([\d.]+|inf) \(seed (\d+)\), "
    r"worst shape ([\d.]+|inf), largest drift ([\d.]+) mrad/period"
)
RECOGNISED = re.compile(r"(recognise|recognise full) seed (\d+): ([\d.]+)% of (\d+), outside ([\d.]+)%")
TALLIED = re.compile(r"(recognise|recognise full): (\d+) of (\d+) at 99% or above, worst ([\d.]+)% \(seed (\d+)\)")
FIGURES = {
    "reduced": ("nrmse", "shape_error", "phase_drift_per_period", "outside_share"),
    "full": ("nrmse_full", "shape_error_full", "phase_drift_per_period", "outside_share"),
}


def found(pattern: re.Pattern[str], lines: list[str]) -> list[tuple[str, ...]]:
    return [match.groups() for match in map(pattern.fullmatch, lines) if match]


class Run(NamedTuple):
    """What one run of the benchmark printed, and what it called: arguments and answers, by name."""

    module: ModuleType
    lines: list[str]
    calls: dict[str, list[tuple[tuple, Any]]]


def noted(function: Callable[..., Any], calls: list[tuple[tuple, Any]]) -> Callable[..., Any]:
    def call(*arguments):
        answer = function(*arguments)
        calls.append((arguments, answer))
        return answer

    return call


@pytest.fixture(scope="module")
def run(benchmark_module, coarse_model_path) -> Run:
    """Seeds 3 and 4, both in full micromagnetics."""
    module, out = benchmark_module("targets"), io.StringIO()
    calls = {name: [] for name in ("train_generate", "verdict_generate", "train_recognise", "verdict_recognise")}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        for name, kept in calls.items():
            patch.setattr(module, name, noted(getattr(module, name), kept))
        module.main([str(coarse_model_path), "--first", "3", "--seeds", "2", "--full", "2", *SHORT.split()])
    return Run(module, out.getvalue().splitlines(), calls)


@pytest.fixture(scope="module")
def generated(run) -> dict[str, list[dict[str, Any]]]:
    """What training and verdict gave of six networks."""
    return {"reduced": run.calls["train_generate"][0][1][2], "full": run.calls["verdict_generate"][0][1]}


def test_options_shorten_what_they_name(run):
    _, settings, jobs = run.calls["train_generate"][0][0]
    training = settings.training
    assert jobs == JOBS
    assert (training.teacher_periods, training.force_periods, training.tries) == (10, 8, 2)
    assert (training.trim_rounds, training.trim_periods) == (2, 4)
    assert (settings.period_ticks, settings.free_periods, settings.full_periods) == (50, 6, 2)
    _, settings, seeds = run.calls["train_recognise"][0][0]
    assert seeds == [3, 4]
    assert (settings.period_ticks, settings.train_trials, settings.test_trials, settings.full_trials) == (50, 12, 16, 4)


def test_what_is_judged_is_told(run):
    assert run.lines[0] == "seeds 3 to 4; the usual settings were chosen on seeds 100 to 119 alone, none of these"
    assert "reduced: the worst of 6 periods after each of the washouts 5, 7, 10 periods" in run.lines
    assert "full: 2 periods after a washout of 5 periods" in run.lines


def test_every_generator_has_a_line(run, generated):
    assert [(result["task"], result["seed"]) for result in generated["reduced"]] == JOBS
    assert [(result["engine"], result["periods"]) for result in generated["full"]] == [("embedded", 2)] * len(JOBS)
    rows = found(GENERATED, run.lines)
    assert [row[:3] for row in rows] == [(kind, task, str(seed)) for kind in generated for task, seed in JOBS]
    for row, result in zip(rows, [*generated["reduced"], *generated["full"]], strict=True):
        nrmse, shape, drift, outside = (result[name] for name in FIGURES[row[0]])
        assert float(row[3]) == pytest.approx(nrmse, abs=1e-5)
        assert float(row[4]) == pytest.approx(shape, abs=1e-5)
        assert float(row[5]) == pytest.approx(1e3 * drift, abs=1e-4)
        assert float(row[6]) == pytest.approx(100 * outside, abs=1e-2)
        if row[0] == "full":
            assert float(row[7]) == pytest.approx(result["max_node_difference"], abs=1e-4)


@pytest.mark.parametrize("kind", ["reduced", "full"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_task_is_counted(run, generated, kind, number):
    limits = {"reduced": run.module.REDUCED, "full": run.module.FULL}[kind]
    task, limit = list(limits.items())[number]
    both = generated[kind][2 * number : 2 * number + 2]
    nrmse, shape, drift = ([result[name] for result in both] for name in FIGURES[kind][:3])
    ((*_, met, of, told, worst, seed, worst_shape, largest_drift),) = (
        row for row in found(COUNTED, run.lines) if row[:2] == (kind, task)
    )
    assert (int(met), int(of), float(told)) == (sum(error <= limit for error in nrmse), 2, limit)
    assert float(worst) == pytest.approx(max(nrmse), abs=1e-5)
    assert int(seed) == 3 + nrmse.index(max(nrmse))
    assert float(worst_shape) == pytest.approx(max(shape), abs=1e-5)
    assert float(largest_drift) == pytest.approx(1e3 * max(map(abs, drift)), abs=1e-4)


def test_recognition_is_told_and_counted(run):
    reduced, full = run.calls["train_recognise"][0][1][2], run.calls["verdict_recognise"]
    assert [arguments[0].settings["seed"] for arguments, _ in full] == [3, 4]
    shares = [*(result["accuracy"] for result in reduced), *(result["accuracy_full"] for _, result in full)]
    rows = found(RECOGNISED, run.lines)
    assert [row[:2] for row in rows] == [(what, seed) for what in ("recognise", "recognise full") for seed in "34"]
    assert [float(row[2]) for row in rows] == pytest.approx([100 * share for share in shares], abs=1e-2)
    assert [int(row[3]) for row in rows] == [16, 16, 4, 4]
    for (_, met, of, worst, seed), both in zip(found(TALLIED, run.lines), (shares[:2], shares[2:]), strict=True):
        assert (int(met), int(of)) == (sum(share >= 0.99 for share in both), 2)
        assert float(worst) == pytest.approx(100 * min(both), abs=1e-2)
        assert int(seed) == 3 + both.index(min(both))


def test_a_count_names_the_worst_seed_and_tells_a_run_that_burst(benchmark_module, capsys):
    targets = benchmark_module("targets")
    rows = [
        targets.Row("sine", 7, 0.001, 0.0009, -2e-6, 0.0),
        targets.Row("sine", 8, float("inf"), float("inf"), 0.0, 1.0),
        targets.Row("sine", 9, 0.005, 0.004, 1e-6, 0.25),
    ]
    targets.count("reduced", rows, {"sine": 0.005})
    assert capsys.readouterr().out.splitlines() == [
        "reduced sine seed 7: NRMSE 0.00100, shape 0.00090, drift -0.0020 mrad/period, outside 0.00%",
        "reduced sine seed 8: NRMSE inf, shape inf, drift +0.0000 mrad/period, outside 100.00%",
        "reduced sine seed 9: NRMSE 0.00500, shape 0.00400, drift +0.0010 mrad/period, outside 25.00%",
        "reduced sine: 2 of 3 at or below 0.005, worst inf (seed 8), worst shape inf, largest drift 0.0020 mrad/period",
    ]


def test_seeds_that_the_settings_were_chosen_on_are_told(benchmark_module):
    told = benchmark_module("targets").chosen_on(range(118, 122))
    assert told == "seeds 118 to 121; the usual settings were chosen on seeds 100 to 119 alone, 2 of these"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seeds 0", "--seeds: expected at least 1, got 0"),
        ("--tries 0", "tries: Input should be greater than or equal to 1; got 0"),
        ("--test-trials 2", "test_trials: Input should be greater than or equal to 4; got 2"),
    ],
)
def test_a_mistake_ends_with_one_message(benchmark_module, coarse_model_path, options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark_module("targets").main([str(coarse_model_path), *options.split()])
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_a_missing_model_is_named(benchmark_module, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark_module("targets").main([str(tmp_path / "none.nc")])
    assert stop.value.code == 2
    assert "none.nc" in capsys.readouterr().err
