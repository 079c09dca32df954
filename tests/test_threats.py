"""What docs/threats.md claims is shown by tests that exist, and what is claimed of all modules is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| threat ")
]
MODULES = [
    path
    for folder in ("device_models", "reduced_models", "networks", "workflows", "spinloom")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
RUNS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
"""Modules that run what they load."""


def _calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def test_every_threat_has_a_guard_and_a_test() -> None:
    assert len(ROWS) > 25
    assert all(len(row) == 3 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2].split("::")[-1].strip("`"))
def test_the_named_test_exists(row: list[str]) -> None:
    path, name = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2]).groups()  # type: ignore[union-attr]
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_is_read_is_run(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & RUNS
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in RUNS
    for call in _calls(path):
        called = ast.unparse(call.func)
        assert called not in ("eval", "exec", "compile", "__import__"), f"{called} in line {call.lineno}"
        assert "allow_pickle=True" not in ast.unparse(call)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_shell(path: Path) -> None:
    for call in _calls(path):
        called = ast.unparse(call.func)
        assert called not in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")
        for keyword in call.keywords:
            assert keyword.arg != "shell" or ast.unparse(keyword.value) == "False"
