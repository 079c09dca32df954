"""OOMMF itself, where it is found: the stored answers, the embedded engine, live nodes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.equilibria import Saddle
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.engines.oommf.live import NodeError
from spinloom.device_models.oersted import oersted_pattern
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.scan import drive
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
        np.testing.assert_allclose(engine.equilibria, EmbeddedEngine(disc, TICK).equilibria, atol=1e-5)


def test_a_start_against_the_bias_is_told_and_relaxed_from_the_state_beside_it(of_card, coarse_card, alter):
    with (
        pytest.warns(Saddle, match="disc60 relaxes from"),
        of_card(alter(coarse_card, start={"m": (0.0, -1.0, 0.0)})) as engine,
    ):
        np.testing.assert_allclose(engine.equilibria, EmbeddedEngine(coarse_card, TICK).equilibria, atol=1e-5)


def test_live_nodes_follow_a_batch(of_card, coarse_card):
    u = np.random.default_rng(5).uniform(-1, 1, (12, 3))
    with of_card(coarse_card) as engine:
        _, live = drive(engine.node, u)
        _, batch = engine.play(np.full(12, TICK), u)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-8)


def test_live_nodes_start_from_the_very_field_that_was_given(of_card, coarse_card):
    """From far off equilibrium, where any time that passes before the first tick would show."""
    m = np.random.default_rng(1).normal((0.6, 0.5, 0.4), 0.3, (*coarse_card.geometry.mask().shape, 3))
    field = coarse_card.geometry.mask()[..., None] * m / np.linalg.norm(m, axis=-1, keepdims=True)
    u = np.random.default_rng(6).uniform(-1, 1, (8, 3))
    with of_card(coarse_card, field) as engine:
        state = engine.node.start(3)
        mean = field[coarse_card.geometry.mask()].mean(axis=0)
        np.testing.assert_allclose(engine.node.moment(state), [mean] * 3, rtol=0, atol=1e-12)
        _, live = drive(engine.node, u, state)
        _, again = drive(engine.node, u)
        _, batch = engine.play(np.full(8, TICK), u)
    np.testing.assert_array_equal(live, again)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-8)


def test_a_row_of_different_devices_follows_the_embedded_engine(of_card, coarse_card, alter, start_field):
    cards = [coarse_card, alter(coarse_card, material={"Ms": 7e5, "alpha": 0.05}, readout={"axis": (0.0, 0.6, 0.8)})]
    u, which = np.random.default_rng(7).uniform(-1, 1, (10, 3)), np.array([1, 0, 1])
    with of_card(cards, start_field) as engine:
        state, live = drive(engine.node, u, engine.node.start(3, devices=which))
        signal = engine.node.observe(state)
    embedded = EmbeddedEngine(cards, TICK, start_field)
    _, m = embedded.play(np.full(10, TICK), u, devices=which)
    np.testing.assert_allclose(live, m, rtol=0, atol=1e-5)
    np.testing.assert_allclose(signal, [m[-1, 0] @ (0, 0.6, 0.8), m[-1, 1, 0], m[-1, 2] @ (0, 0.6, 0.8)], atol=1e-5)


def test_with_the_oersted_field_it_follows_the_embedded_engine(of_card, disc, alter):
    """In ``<m>``, and in how far m goes round with the field, of which little is left in the mean."""
    card = alter(disc, torque={"oersted": "down"})
    pattern = oersted_pattern(card) * disc.geometry.mask()[..., None]

    def round_about(fields):
        return (fields * pattern).sum(axis=(1, 2, 3, 4)) / np.linalg.norm(pattern, axis=-1).sum()

    u = np.random.default_rng(8).uniform(-1, 1, (60, 2))
    embedded = EmbeddedEngine(card, TICK)
    start = embedded.equilibria[0]
    expected, m = embedded.play(np.full(60, TICK), u)
    with of_card(card, start) as engine:
        fields, batch = engine.play(np.full(60, TICK), u)
        _, live = drive(engine.node, u)
    np.testing.assert_allclose(batch, m, rtol=0, atol=1e-5)
    np.testing.assert_allclose(round_about(fields), round_about(expected), rtol=0, atol=1e-5)
    np.testing.assert_allclose(live, batch, rtol=0, atol=1e-8)
    without, _ = EmbeddedEngine(disc, TICK, start).play(np.full(60, TICK), u)
    assert np.abs(round_about(without) - round_about(expected)).max() > 1e-3, "it would not show"


def test_uneven_holds_follow_the_embedded_engine(of_card, coarse_card, start_field):
    durations, u = np.array([7.5e-12, 3e-12, 2e-11]), np.array([[0.5], [-1.0], [0.2]])
    with of_card(coarse_card, start_field) as engine:
        _, m = engine.play(durations, u)
    _, embedded = EmbeddedEngine(coarse_card, TICK, start_field).play(durations, u)
    np.testing.assert_allclose(m, embedded, rtol=0, atol=1e-5)


def test_a_killed_solver_ends_the_run_with_its_number(of_card, coarse_card, start_field, processes):
    with of_card(coarse_card, start_field) as engine:
        state = engine.node.start(2)
        (solver,) = (p for p in processes() if p.info["name"].startswith("oxs") and p.info["cwd"].endswith("live-1"))
        solver.kill()
        with pytest.raises(NodeError, match="node 1: OOMMF was killed by a signal"):
            drive(engine.node, np.zeros((3, 2)), state)
    assert processes() == []


@pytest.mark.slow
def test_at_300_k_both_engines_have_the_same_statistics(of_card, coarse_card):
    """Mean and variance of <m>, each device an experiment of its own, held at 0 and at half of J_max."""
    warm, n_ticks = coarse_card.at(300), 400
    for level in (0.0, 0.5):
        with of_card(warm) as engine:
            _, oommf = engine.play(np.full(n_ticks, TICK), np.full((n_ticks, 8), level), seed=1)
        _, embedded = EmbeddedEngine(warm, TICK).play(np.full(n_ticks, TICK), np.full((n_ticks, 64), level), seed=1)
        moments = [np.stack([m[100:].mean(axis=0), m[100:].var(axis=0)]) for m in (oommf, embedded)]
        assert (stats.ttest_ind(*moments, axis=1, equal_var=False).pvalue > 0.001).all()


def test_warm_live_nodes_have_streams_of_their_own(of_card, coarse_card):
    with of_card(coarse_card.at(300)) as engine:
        runs = [drive(engine.node, np.zeros((4, 2)), engine.node.start(2, seed))[1] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    assert np.abs(runs[0][:, 0] - runs[0][:, 1]).max() > 1e-3
