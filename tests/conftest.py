"""What several test files share: cards, OOMMF's answers, and one small calibration made once a session."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from device_models.calibration import Protocol, calibrate, save_calibration
from device_models.card import DeviceCard, load_card, parse_card, read_toml
from device_models.engines.embedded import EmbeddedEngine
from device_models.provenance import data_folder
from device_models.system import read_field
from reduced_models.model import fit_model, save_model

REFERENCES = ("disc60", "ellipse80x50", "pma50", "rect100x60")


@dataclass(frozen=True)
class Reference:
    """One run of OOMMF from ``data/reference``."""

    card: DeviceCard
    tick: float
    m_initial: np.ndarray
    u: np.ndarray
    m: np.ndarray
    initial: np.ndarray
    tick1: np.ndarray
    final: np.ndarray


def load_reference(name: str) -> Reference:
    """A missing file is a failure, not a skip."""
    folder = data_folder() / "reference"
    run = json.loads((folder / f"{name}.json").read_text())
    table = pd.read_csv(folder / f"{name}.csv")
    assert len(table) == run["n"]
    np.testing.assert_allclose(table["t_s"], run["tick"] * np.arange(1, run["n"] + 1), rtol=1e-9)
    return Reference(
        card=load_card(data_folder() / "devices" / run["card"]),
        tick=run["tick"],
        m_initial=np.array(run["m_initial"]),
        u=table["u"].to_numpy(),
        m=table[["mx", "my", "mz"]].to_numpy(),
        **{kind: read_field(folder / f"{name}_{kind}.omf") for kind in ("initial", "tick1", "final")},
    )


@pytest.fixture(scope="session", params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> Reference:
    return load_reference(request.param)


@pytest.fixture
def card_values() -> dict[str, Any]:
    """The default card as a nested dictionary that a test may change."""
    return read_toml(data_folder() / "devices" / "disc60.toml")


@pytest.fixture(scope="session")
def disc() -> DeviceCard:
    return load_card(data_folder() / "devices" / "disc60.toml")


def altered(card: DeviceCard, **sections: dict[str, Any]) -> DeviceCard:
    """The card with some fields of some sections replaced, checked again."""
    values = card.model_dump()
    for section, fields in sections.items():
        values[section] = {**values[section], **fields}
    return parse_card(values)


@pytest.fixture(scope="session")
def alter() -> Any:
    return altered


@pytest.fixture(scope="session")
def coarse_card(disc: DeviceCard) -> DeviceCard:
    """The 60 nm disc with 10 nm cells: wrong physics at the edge, but quick."""
    return altered(disc, geometry={"cell": (10e-9, 10e-9, 2e-9)})


@pytest.fixture(scope="session")
def coarse_calibration(coarse_card: DeviceCard) -> Any:
    """Twelve trajectories of 1.5 ns."""
    protocol = Protocol(trajectories=12, duration=1.5e-9, seed=1)
    return calibrate(coarse_card, EmbeddedEngine(coarse_card, protocol.tick), protocol)


@pytest.fixture(scope="session")
def coarse_calibration_path(coarse_calibration: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "coarse.nc"
    save_calibration(coarse_calibration, path)
    return path


@pytest.fixture(scope="session")
def coarse_model(coarse_calibration: Any) -> Any:
    return fit_model(coarse_calibration)


@pytest.fixture(scope="session")
def coarse_model_path(coarse_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "coarse.nc"
    save_model(coarse_model, path)
    return path
