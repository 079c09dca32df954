"""Two junctions that differ, in full micromagnetics."""

from __future__ import annotations

from typing import Any

import pytest

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines.embedded import EmbeddedEngine


@pytest.fixture(scope="session")
def other_card(coarse_card: DeviceCard, alter: Any) -> DeviceCard:
    """The coarse disc with another damping, bias and read-out axis."""
    return alter(coarse_card, material={"alpha": 0.15}, bias={"H": (500.0, 9e3, 0.0)}, readout={"axis": (1, 1, 0)})


@pytest.fixture(scope="session")
def two_junctions(coarse_card: DeviceCard, other_card: DeviceCard) -> EmbeddedEngine:
    return EmbeddedEngine([coarse_card, other_card], 7.5e-12)
