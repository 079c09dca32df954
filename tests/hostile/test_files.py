"""Thousands of spoilt files, in processes of their own: a good result or one message, never anything else."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BINARY = {"calibration": 0.02, "model": 0.02, "network": 0.02, "cosimulation": 0.02}
"""Shares of all cases; one of these costs as much as twenty of the others."""
TEXT = {"card": 0.2, "experiment": 0.2, "json": 0.12, "drive": 0.12, "task": 0.12, "traces": 0.08, "field": 0.08}
SILENT_S = 120.0
"""A case that takes longer is taken to hang."""
PROGRAM = Path(__file__).with_name("cases.py")
ROOT = Path(__file__).resolve().parents[2]
SHOWN = 5


Counts = dict[str, dict[str, int]]


def run(cases: dict[str, int], folder: Path) -> tuple[Counts, list[dict[str, Any]]]:
    """What came of the cases of some kinds; a process that does not survive one is followed by another."""
    folder.mkdir()
    counts: Counts = {kind: {"good": 0, "refused": 0, "failed": 0} for kind in cases}
    failed: list[dict[str, Any]] = []
    left = {kind: (0, last) for kind, last in cases.items()}
    while left:
        died = _process(left, counts, failed, folder)
        if died is None:
            break
        kind, seed, told = died
        failed.append({"kind": kind, "seed": seed, "told": told})
        counts[kind]["failed"] += 1
        counts[kind]["refused"] += seed - left[kind][0]  # those before it, of which no count was told
        kinds = list(left)
        left = {name: left[name] for name in kinds[kinds.index(kind) :]}
        left[kind] = (seed + 1, cases[kind])
    return counts, failed


def _process(
    left: dict[str, tuple[int, int]], counts: Counts, failed: list[dict[str, Any]], folder: Path
) -> tuple[str, int, str] | None:
    """Try all that is left; the case that a process died of, if it did."""
    batches = [f"{kind}:{first}:{last}" for kind, (first, last) in left.items()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    lines: queue.Queue[str | None] = queue.Queue()
    at = next(iter(left)), left[next(iter(left))][0]
    with (folder / "errors.txt").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), *batches],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        with process:
            threading.Thread(target=_passed_on, args=(process.stdout, lines), daemon=True).start()
            while True:
                try:
                    line = lines.get(timeout=SILENT_S)
                except queue.Empty:
                    process.kill()
                    return *at, f"hangs for {SILENT_S:g} s"
                if line is None:
                    break
                if not line.startswith("{"):
                    kind, seed = line.split()
                    at = kind, int(seed)
                    continue
                told = json.loads(line)
                if "count" in told:
                    for word, count in told["count"].items():
                        counts[told["kind"]][word] += count
                else:
                    failed.append(told)
        if process.returncode == 0:
            return None
        errors.seek(0)
        return *at, f"exit code {process.returncode}: {errors.read()[-1000:]}"


def _passed_on(lines: Any, to: queue.Queue[str | None]) -> None:
    for line in lines:
        to.put(line)
    to.put(None)


def test_spoilt_files_are_read_or_refused(cases, tmp_path, capsys):
    """Where one fails, ``python tests/hostile/cases.py FOLDER KIND:SEED:SEED+1`` tries it alone."""
    counts: Counts = {}
    failed: list[dict[str, Any]] = []
    with ThreadPoolExecutor(2) as both:
        groups = [{kind: max(1, round(share * cases)) for kind, share in shares.items()} for shares in (BINARY, TEXT)]
        started = [both.submit(run, group, tmp_path / str(k)) for k, group in enumerate(groups)]
        for done in started:
            found, wrong = done.result()
            counts |= found
            failed += wrong
    everything = {word: sum(count[word] for count in counts.values()) for word in ("good", "refused", "failed")}
    with capsys.disabled():
        print(f"\nspoilt files: {sum(everything.values())} tried, {everything}")
        for kind in sorted(counts):
            print(f"  {kind:<13} {counts[kind]}")
    assert sum(everything.values()) >= cases
    assert not failed, json.dumps(failed[:SHOWN], indent=1)
