"""Where networks leave the finite numbers in runs that go on."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.errors import DivergedError
from spinloom.networks.floquet import examine
from spinloom.networks.loop import Record, simulate
from spinloom.networks.lost import FirstLost, Lost
from spinloom.networks.topology import Topology, draw
from spinloom.networks.trials import generate, recognise

NODES, TICKS = 5, 10
TOPOLOGY = Topology(nodes=NODES, spectral_radius=0.5, feedback=1.0, input=1.0, bias=0.4, gain=1.0)


@pytest.fixture
def node(make_low_pass):
    """Two devices; the second one grows by 1e20 in every tick: 1e308 is passed in the sixteenth."""
    return make_low_pass(0.4, 1e20)


@pytest.fixture
def weights():
    """Three networks of the first device; node 2 of the last but one is the second."""
    devices = np.zeros((3, NODES), int)
    devices[1, 2] = 1
    weights = draw(TOPOLOGY, [0, 1, 2]).with_devices(devices)
    return weights.with_readout(0.1 * np.random.default_rng(0).normal(size=(3, 1, NODES + 1)))


def forced(ticks):
    return {"target": np.zeros((ticks, 3)), "hold": np.ones(ticks, bool)}


def test_network_node_and_tick_are_those_that_end_a_run_with_names(node, weights):
    with pytest.raises(DivergedError, match="one: node 2: its signal is not finite") as caught:
        simulate(node, weights, **forced(40), names=["zero", "one", "two"])
    run = generate(node, weights, np.zeros(TICKS), periods=3, washout=1, record="r")
    assert run.lost == (None, Lost(caught.value.tick, 2), None)
    assert TICKS < caught.value.tick < 20


@pytest.mark.parametrize("washout", [0, 3])
def test_ticks_are_counted_from_the_start_of_the_washout(node, weights, washout):
    first = generate(node, weights, np.zeros(TICKS), periods=4, washout=washout).lost[1]
    assert first == Lost(15, None)  # signals are not kept, and nothing more is recorded to have them


def test_a_run_that_is_watched_tells_the_node_and_records_no_more(node, weights):
    seen = []
    run = generate(node, weights, np.zeros(TICKS), periods=3, washout=1, watch=seen.append)
    assert run.lost[1] == Lost(15, 2)
    assert run.record.r is None
    assert sum(len(piece.z) for piece in seen) == 4 * TICKS
    assert FirstLost().beside(None) is None


def test_an_output_that_runs_away_is_told_from_a_node(low_pass, weights):
    weights = weights.without_devices()
    weights = weights.with_readout(np.where(np.arange(3)[:, None, None] == 2, 1e308, 0.0) * np.ones((3, 1, NODES + 1)))
    with np.errstate(all="ignore"):
        run = generate(low_pass, weights, np.zeros(TICKS), periods=2, washout=0, record="r")
    assert run.lost[:2] == (None, None)
    assert run.lost[2] is not None
    assert run.lost[2].node is None or not np.isfinite(run.record.r).all()


def test_the_first_tick_counts_wherever_pieces_end(node, weights):
    _, record = simulate(node, weights, **forced(40))
    for span in (1, 7, 15, 16, 40):
        lost = FirstLost()
        for at in range(0, 40, span):
            lost(Record(*(x[at : at + span] for x in record)))
        assert lost.of_each == [None, Lost(15, 2), None]


def test_a_trial_that_is_not_finite_has_no_answer(node, weights):
    lost = FirstLost()
    one = weights.take(slice(1, 2)).with_readout(np.random.default_rng(0).normal(size=(1, 3, NODES + 1)))
    one = type(one)(one.W, np.zeros((1, NODES, 3)), one.W_in, one.b, one.gain, one.w_out, one.devices)
    options = {"trials": 6, "period_ticks": TICKS, "periods": 2, "rng": np.random.default_rng(1)}
    test = recognise(node, one, **options, watch=lost.beside(lambda _: None))
    assert (test.answers == -1).all()
    assert test.accuracy.tolist() == [0.0]
    assert test.confusion().sum() == 0
    assert lost.of_each == [Lost(15, 2)] * 6


def test_an_orbit_that_is_not_finite_has_no_multipliers(node, weights):
    with pytest.raises(DivergedError, match=r"floquet: node 2 is not finite from tick 15 on with the target fed back"):
        examine(node, weights.take(slice(1, 2)), np.zeros(TICKS))
