"""The benchmark of engines, shortened: it times what it says, in the unit that it says."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

SHORT = "--devices 3 --ticks 4"
COMPARED = re.compile(r"(.+): ([\d.e+-]+) and ([\d.e+-]+) s per device-ns, ratio ([\d.e+-]+)")
PAIRS = [
    "dense, and FFT",
    "3 devices, and 1 device",
    r"identical devices, and different ones (\d steps)",
    "reduced model, and full",
    "roll-out, first call and second",
]


def told(out: str) -> dict[str, tuple[float, float, float]]:
    """What each comparison printed, by its number of steps left out."""
    rows = [match.groups() for match in map(COMPARED.fullmatch, out.splitlines()) if match]
    return {re.sub(r"\(\d+", r"(\\d", what): tuple(map(float, numbers)) for what, *numbers in rows}


@pytest.mark.slow
def test_every_pair_is_timed(benchmark_module, coarse_card_path, coarse_model_path, capsys):
    engines = benchmark_module("engines")
    # A length that no other test has: the first call has to compile.
    short = [*SHORT.split(), "--rollout-ticks", "13", "--repeats", "1"]
    engines.main([str(coarse_card_path), "--model", str(coarse_model_path), *short])
    out = capsys.readouterr().out
    assert out.startswith("disc60: 32 cells, 3 devices, ")
    figures = told(out)
    assert list(figures) == PAIRS
    assert min(min(numbers) for numbers in figures.values()) > 0
    first, second, _ = figures["roll-out, first call and second"]
    assert second < first / 3  # compiling takes longer than 13 ticks of three devices do


def test_figures_are_seconds_per_device_ns_and_ratios_of_the_second(
    benchmark_module, coarse_card_path, coarse_model_path, capsys, monkeypatch
):
    """With a clock by which every run takes two seconds."""
    engines = benchmark_module("engines")
    readings = iter(range(0, 10_000, 2))
    monkeypatch.setattr(engines, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    short = [*SHORT.split(), "--rollout-ticks", "7", "--repeats", "3"]
    engines.main([str(coarse_card_path), "--model", str(coarse_model_path), *short])
    figures = told(capsys.readouterr().out)
    batch, one, reduced, rolled = (2 / (ticks * 7.5e-3) for ticks in (3 * 4, 4, 3 * 7, 3 * 8))
    expected = [(batch, batch), (batch, one), (batch, batch), (reduced, batch), (rolled, rolled)]
    for what, (first, second) in zip(PAIRS, expected, strict=True):
        assert figures[what] == pytest.approx((first, second, second / first), rel=5e-3)


def test_every_run_has_the_devices_that_it_names(benchmark_module, coarse_card_path, monkeypatch):
    engines, batches = benchmark_module("engines"), []

    def drive(node, u, state):
        batches.append((type(node.field).__name__, node.devices, state.which.tolist()))

    monkeypatch.setattr(engines, "drive", drive)
    engines.main([str(coarse_card_path), *SHORT.split(), "--repeats", "1"])
    dense, convolved = (("Dense", 1, [0, 0, 0]), ("Convolved", 1, [0, 0, 0]))
    one, different = ("Dense", 1, [0]), ("Blended", 3, [0, 1, 2])
    # Each is compiled before it is timed; the batch of identical devices is compared twice.
    assert batches == [dense, convolved] * 2 + [dense, one] * 2 + [different, dense, different]


def test_a_large_mesh_has_no_matrix(benchmark_module, coarse_card_path, capsys, monkeypatch):
    engines = benchmark_module("engines")
    monkeypatch.setattr(engines, "MOST_DENSE", 31)
    engines.main([str(coarse_card_path), *SHORT.split(), "--repeats", "1"])
    assert list(told(capsys.readouterr().out)) == PAIRS[1:3]


@pytest.mark.parametrize("option", ["--devices", "--ticks", "--rollout-ticks", "--repeats"])
def test_a_mistake_ends_with_one_message(benchmark_module, coarse_card_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark_module("engines").main([str(coarse_card_path), option, "0"])
    assert stop.value.code == 2
    assert "expected at least 1" in capsys.readouterr().err
