"""The benchmark of workers, shortened."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

LINE = re.compile(
    r"(\d+) workers: ready in (\S+) s, first part in (\S+) s, then (\S+) device-ns a second, ratio (\S+); a part that "
    r"does nothing: (\S+) ms"
)
SHORT = ("--parts", "2", "--devices", "2", "--ticks", "4")


def test_one_process_is_timed(benchmark_module, coarse_card_path, capsys):
    benchmark_module("workers").main([str(coarse_card_path), "--workers", "1", *SHORT])
    out = capsys.readouterr().out
    assert out.startswith("disc60: 2 parts of 2 devices and 4 ticks")
    count, ready, first, rate, ratio, nothing = LINE.search(out).groups()
    assert (count, float(ratio)) == ("1", 1)
    assert min(map(float, (ready, first, rate, nothing))) > 0


@pytest.mark.slow
def test_two_workers_are_timed(benchmark_module, coarse_card_path):
    script = benchmark_module("workers").__file__
    command = [sys.executable, script, str(coarse_card_path), "--workers", "1,2", *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert [match[0] for match in LINE.findall(done.stdout)] == ["1", "2"]


@pytest.mark.parametrize(
    ("option", "told"), [(("--parts", "0"), "expected at least 1"), (("--workers", "two"), "such as 1,2,4")]
)
def test_a_mistake_ends_with_one_message(benchmark_module, coarse_card_path, option, told, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark_module("workers").main([str(coarse_card_path), *option])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
