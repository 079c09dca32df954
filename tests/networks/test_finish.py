"""The finish, on a node whose answer is known and a guide that is a little off."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.networks import finish as module
from spinloom.networks.finish import Corrected, Plan, as_trained, finish, replay, run_on
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.tasks import target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training, learn
from spinloom.networks.trials import generate

TOPOLOGY = Topology(nodes=20, spectral_radius=0.8, feedback=1.5, bias=0.6, gain=0.9)
HOW = Training(teacher_periods=60, force_periods=60, noise=1e-2, ridge=1e-6, prior_ticks=500, trim_periods=40)
TICKS = 30


@pytest.fixture(scope="module")
def f():
    return target("sine", TICKS)


@pytest.fixture
def guide(make_low_pass):
    return make_low_pass(0.4)


@pytest.fixture
def full(make_low_pass):
    """What the guide is a model of: it is slower by a part in a thousand."""
    return make_low_pass(0.3996)


@pytest.fixture
def trained(guide, f):
    return learn(guide, draw(TOPOLOGY, [0, 1]), f, HOW)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "TRIM_PERIODS", 40)


def test_a_corrected_guide_goes_where_the_full_network_goes(full, guide, trained, f):
    """With what its signals lack, tick by tick, it does the same in closed loop, from the same start."""
    run = {"periods": 6, "washout": 2}
    of_full = generate(full, trained.weights, f, **run, record="all")
    target_, washout = np.broadcast_to(f[:, None], (TICKS, 2, 1)), 2
    state, forced = run_on(full, trained.weights, target_, washout, forced=True)
    state, free = run_on(full, trained.weights, target_, 6, state)
    np.testing.assert_array_equal(free.z, of_full.z)
    u, r = (np.concatenate([getattr(part, name) for part in (forced, free)]) for name in ("u", "r"))
    _, guessed = replay(guide, guide.start(40), u)
    lacks = (r - guessed).reshape(len(r), -1)
    assert np.abs(lacks).max() > 1e-4
    corrected = generate(Corrected(guide, lacks), trained.weights, f, **run)
    np.testing.assert_allclose(corrected.z, of_full.z, atol=1e-7)
    assert np.abs(generate(guide, trained.weights, f, **run).z - of_full.z).max() > 1e-3


@pytest.mark.usefixtures("quick")
def test_the_drift_is_gone_in_periods_that_the_finish_has_not_seen(full, guide, trained, f):
    run = {"periods": 60, "washout": 5}
    before = generate(full, trained.weights, f, **run)
    done = finish(full, trained.weights, f, trained.lead, guide)
    after = generate(full, done.weights, f, **run)
    assert done.finished.all()
    assert np.abs(before.phase_drift).min() > 5e-3
    np.testing.assert_allclose(done.before, before.phase_drift, rtol=0.3)
    assert (np.abs(after.phase_drift) < 0.03 * np.abs(before.phase_drift)).all()
    assert (after.nrmse < 0.1 * before.nrmse).all()
    # Only the share of the lead is new.
    shifted = trained.weights.w_out + done.share[:, None, None] * trained.lead
    np.testing.assert_allclose(done.weights.w_out, shifted, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("quick")
def test_nodes_that_cannot_go_back_are_finished_alike_and_start_once(full, guide, trained, f, as_plain):
    plain, plan, told = as_plain(full), Plan(washout=2, rounds=2, periods=1), []
    done = finish(plain, trained.weights, f, trained.lead, guide, plan, told.append)
    same = finish(full, trained.weights, f, trained.lead, guide, plan)
    np.testing.assert_allclose(done.share, same.share, rtol=1e-6, atol=1e-9)
    assert len(plain.inputs) == plan.total * TICKS
    assert sum(n for n in told if n >= 1) == plan.total * TICKS


@pytest.mark.usefixtures("quick")
def test_a_network_that_does_not_generate_is_left_to_the_last_bit(full, guide, trained, f):
    dead = trained.weights.with_readout(trained.weights.w_out * np.array([1.0, 0.0])[:, None, None])
    done = finish(full, dead, f, trained.lead, guide, Plan(rounds=1))
    assert done.finished.tolist() == [True, False]
    np.testing.assert_array_equal(done.weights.w_out[1], dead.w_out[1])
    assert done.share[1] == 0


def test_a_lead_of_another_form_is_told(full, guide, trained, f):
    with pytest.raises(SpinloomError, match="lead: expected the form of the read-outs"):
        finish(full, trained.weights, f, trained.lead[:, :, :-1], guide)


def test_the_readout_before_the_finish_is_found_again(trained, f):
    lead = trained.lead[:1]
    new = trained.weights.one(0).with_readout(trained.weights.w_out[:1] + 0.25 * lead)
    network = TrainedNetwork("generate", "sine", new, TICKS, f, {"finish": {"share": 0.25}}, lead=lead)
    np.testing.assert_allclose(as_trained(network).weights.w_out, trained.weights.w_out[:1], rtol=1e-12, atol=1e-15)
    plain = TrainedNetwork("generate", "sine", new, TICKS, f, {}, lead=lead)
    assert as_trained(plain) is plain
