"""Benchmarks as modules, and what they are run on."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spinloom.device_models.card import DeviceCard, load_card

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def benchmark_module() -> Callable[[str], ModuleType]:
    """A fresh module of one benchmark, by its name."""
    return load


@pytest.fixture(scope="session")
def coarse_card_path(coarse_card: DeviceCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("card") / "coarse.toml"
    path.write_text(toml(coarse_card.model_dump()))
    assert load_card(path) == coarse_card
    return path


def toml(values: dict[str, Any]) -> str:
    """A card's values; numbers, strings and lists are written alike in JSON and TOML."""
    lines = [f"name = {json.dumps(values.pop('name'))}"]
    for section, fields in values.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    return "\n".join(lines)
