"""OOMMF itself, where it is found: the stored answers, the embedded engine, live nodes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.live import NodeError
from spinloom.device_models.node import drive
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.system import read_field

TICK = 7.5e-12
pytestmark = pytest.mark.oommf


@pytest.fixture
def of_card(oommf):
    """An engine of OOMMF itself; not yet closed."""
    return lambda card, initial=None: OommfEngine(card, TICK, initial, installation=oommf)


def test_it_repeats_the_stored_run(of_card, disc, oommf):
    stored = pd.read_csv(data_folder() / "reference" / "disc60.csv")
    initial = read_field(data_folder() / "reference" / "disc60_initial.omf")
    with of_card(disc, initial) as engine:
        fields, m = engine.play(np.full(len(stored), TICK), stored[["u"]].to_numpy())
    same_version = oommf.version == "2.1a0"
    difference = np.abs(m[:, 0] - stored[["mx", "my", "mz"]]).to_numpy().max()
    assert difference <= (1e-9 if same_version else 1e-5), f"OOMMF {oommf.version}: {difference:.2g}"
    mask = disc.geometry.mask()
    np.testing.assert_allclose(fields[0][mask].mean(axis=0), m[-1, 0], atol=1e-9)


def test_it_relaxes_to_the_embedded_engines_field(of_card, disc):
    with of_card(disc) as engine:
        np.testing.assert_allclose(engine.equilibrium, EmbeddedEngine(disc, TICK).equilibrium, atol=1e-5)


def test_live_nodes_follow_a_batch(of_card, coarse_card):
    u = np.random.default_rng(5).uniform(-1, 1, (12, 3))
    with of_card(coarse_card) as engine:
        state, _ = engine.start(3)
        _, live = drive(engine, u, state)
        _, batch = engine.play(np.full(12, TICK), u)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-6)


def test_uneven_holds_follow_the_embedded_engine(of_card, coarse_card, start_field):
    durations, u = np.array([7.5e-12, 3e-12, 2e-11]), np.array([[0.5], [-1.0], [0.2]])
    with of_card(coarse_card, start_field) as engine:
        _, m = engine.play(durations, u)
    _, embedded = EmbeddedEngine(coarse_card, TICK, start_field).play(durations, u)
    np.testing.assert_allclose(m, embedded, rtol=0, atol=1e-5)


def test_a_killed_solver_ends_the_run_with_its_number(of_card, coarse_card, start_field, processes):
    with of_card(coarse_card, start_field) as engine:
        state, _ = engine.start(2)
        (solver,) = (p for p in processes() if p.info["name"].startswith("oxs") and p.info["cwd"].endswith("live-1"))
        solver.kill()
        with pytest.raises(NodeError, match="node 1: OOMMF was killed by a signal"):
            drive(engine, np.zeros((3, 2)), state)
    assert processes() == []
