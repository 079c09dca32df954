"""The finish, on a node whose answer is known and a guide that is a little off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinloom.networks import finish as module
from spinloom.networks.finish import Corrected, Plan, finish, replay, run_on
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
    each = trained.weights.with_devices(np.arange(40).reshape(2, 20))
    corrected = generate(Corrected(guide, lacks), each, f, **run)
    np.testing.assert_allclose(corrected.z, of_full.z, atol=1e-7)
    assert np.abs(generate(guide, trained.weights, f, **run).z - of_full.z).max() > 1e-3


@pytest.mark.usefixtures("quick")
def test_full_nodes_do_as_well_as_reduced_ones_in_periods_that_the_finish_has_not_seen(full, guide, trained, f):
    run = {"periods": 60, "washout": 5}
    reduced, before = (generate(node, trained.weights, f, **run) for node in (guide, full))
    done = finish(full, trained.weights, f, guide, HOW)
    after = generate(full, done.weights, f, **run)
    assert done.finished.all()
    assert np.abs(before.phase_drift).min() > 5e-3
    assert (np.abs(after.phase_drift) < 0.03 * np.abs(before.phase_drift)).all()
    assert (after.nrmse < 0.1 * before.nrmse).all()
    assert (after.nrmse < 2 * reduced.nrmse + 1e-3).all()


@pytest.mark.usefixtures("quick")
def test_it_tells_what_full_nodes_will_do(full, guide, trained, f):
    done = finish(full, trained.weights, f, guide, HOW)
    run = {"periods": 40, "washout": module.WASHOUT}
    np.testing.assert_allclose(done.before.nrmse, generate(full, trained.weights, f, **run).nrmse, rtol=0.3)
    np.testing.assert_allclose(done.after.nrmse, generate(full, done.weights, f, **run).nrmse, atol=2e-3)


@pytest.mark.usefixtures("quick")
def test_devices_that_differ_each_have_their_correction(make_low_pass, f):
    guide, full = make_low_pass(0.4, 0.35), make_low_pass(0.399, 0.352)
    weights = draw(TOPOLOGY, [0]).with_devices(np.arange(20)[None] % 2)
    trained = learn(guide, weights, f, HOW)
    done = finish(full, trained.weights, f, guide, HOW)
    run = {"periods": 40, "washout": 5}
    assert done.weights.devices == weights.devices
    assert (generate(full, done.weights, f, **run).nrmse < 0.2 * generate(full, trained.weights, f, **run).nrmse).all()


@pytest.mark.usefixtures("quick")
def test_with_a_clock_the_shape_is_finished(make_low_pass, guide, f):
    full = make_low_pass(0.38)
    topology = Topology(nodes=20, spectral_radius=0.5, feedback=0.0, bias=0.6, gain=0.9, clock=2.0)
    how, clock = Training(method="ridge", teacher_periods=20, noise=0.0, ridge=1e-10), topology.clock_period(TICKS)
    trained = learn(guide, draw(topology, [0]), f, how, clock=clock)
    done = finish(full, trained.weights, f, guide, how, Plan(rounds=1), clock=clock)
    run = {"periods": 5, "washout": 5, "clock": clock}
    reduced = generate(guide, trained.weights, f, **run).nrmse
    before, after = (generate(full, one, f, **run).nrmse for one in (trained.weights, done.weights))
    assert (before > 3 * reduced).all()
    assert (after < 1.2 * reduced).all()


@pytest.mark.usefixtures("quick")
def test_nodes_that_cannot_go_back_are_finished_alike_and_start_once(full, guide, trained, f, as_plain):
    plain, plan, told = as_plain(full), Plan(washout=2, longest=2, rounds=2, periods=1), []
    done = finish(plain, trained.weights, f, guide, HOW, plan, told.append)
    same = finish(full, trained.weights, f, guide, HOW, plan)
    np.testing.assert_allclose(done.weights.w_out, same.weights.w_out, rtol=1e-6, atol=1e-8)
    assert len(plain.inputs) == plan.total * TICKS
    assert sum(n for n in told if n >= 1) == plan.total * TICKS
    assert sum(told) == pytest.approx(plan.work(HOW, False) * TICKS, rel=0.01)


@pytest.mark.usefixtures("quick")
def test_the_target_is_fed_back_until_what_the_guide_lacks_repeats_itself(guide, trained, f):
    """A transient must not be taken for what the guide lacks."""
    fades = 0.1 * np.exp(-np.arange(3000)[:, None] / 50) * np.linspace(-1, 1, 20)
    one, told = trained.weights.one(0), []
    late = Corrected(guide, fades + 1e-3 * np.sin(np.arange(20)))
    done = finish(late, one, f, guide, HOW, progress=told.append)
    assert 8 < done.washout < 16
    assert sum(n for n in told if n >= 1) == Plan().total * TICKS
    hasty = finish(late, one, f, guide, HOW, Plan(longest=4))
    assert hasty.washout == 4
    run = {"periods": 60, "washout": 15}
    error, hurried = (generate(late, each.weights, f, **run).nrmse for each in (done, hasty))
    assert error < 0.2 * hurried


def test_a_plan_in_which_nothing_fits_is_refused():
    with pytest.raises(ValueError, match="longest: expected at least the 4 periods of the washout"):
        Plan(longest=3)


@pytest.mark.usefixtures("quick")
def test_a_network_that_cannot_generate_is_left_to_the_last_bit(full, guide, trained, f):
    deaf = replace(trained.weights, gain=trained.weights.gain * np.array([1.0, 0.0]))
    done = finish(full, deaf, f, guide, HOW, Plan(rounds=1))
    assert done.finished.tolist() == [True, False]
    np.testing.assert_array_equal(done.weights.w_out[1], deaf.w_out[1])
