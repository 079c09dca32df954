"""One tick, and runs, on traceable nodes and on nodes that live elsewhere."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import jax
import numpy as np
import pytest

from spinloom.device_models import scan
from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.networks import loop
from spinloom.networks.loop import Record, joined, run, simulate
from spinloom.networks.topology import Topology, draw

TOPOLOGY = Topology(nodes=5, spectral_radius=0.9, feedback=1.5, input=0.7, bias=0.4, gain=1.3)
FIELDS = {"z": {"z"}, "r": {"z", "r"}, "all": {"z", "r", "u", "m"}}


def _weights(outputs=1):
    weights = draw(TOPOLOGY, [0, 1], outputs)
    return weights.with_readout(np.random.default_rng(0).normal(size=(2, outputs, 6)))


def _forced(ticks=17, outputs=1):
    rng = np.random.default_rng(1)
    return {
        "target": rng.normal(size=(ticks, 2, outputs)),
        "hold": rng.random(ticks) < 0.5,
        "s": rng.normal(size=(ticks, 2)),
    }


def _cut(forced, span):
    return {name: rows[span] for name, rows in forced.items()}


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loop_is_the_equation_that_the_documentation_states(low_pass, outputs):
    weights, forced = _weights(outputs), _forced(outputs=outputs)
    target, hold, s = forced.values()
    _, record = simulate(low_pass, weights, **forced)
    for k in range(2):
        r, z = np.zeros(5), np.zeros(outputs)
        for t in range(len(target)):
            v = weights.W[k] @ r + weights.w_fb[k] @ z + weights.W_in[k] * s[t, k] + weights.b[k]
            u = np.clip(weights.gain[k] * v, -1, 1)
            np.testing.assert_allclose(record.m[t, k, :, 0], r, atol=1e-12)
            r = r + 0.4 * (u - r)
            out = weights.w_out[k] @ np.append(r, 1)
            z = target[t, k] if hold[t] else out
            np.testing.assert_allclose(record.u[t, k], u, atol=1e-12)
            np.testing.assert_allclose(record.r[t, k], r, atol=1e-12)
            np.testing.assert_allclose(record.z[t, k], out, atol=1e-12)


def test_a_network_sees_and_drives_in_the_units_of_its_scale(low_pass):
    """The same loop by hand, with the drive times the reach and the signal centred and scaled."""
    scale, weights, forced = Scale(mean=0.1, spread=0.6, reach=0.5), _weights(), _forced()
    target, hold, s = forced.values()
    _, record = simulate(scale.of(low_pass), weights, **forced)
    x, z = np.zeros((2, 5)), np.zeros((2, 1))
    for t in range(len(target)):
        r = (x - 0.1) / 0.6
        v = np.einsum("sij,sj->si", weights.W, r) + weights.w_fb[..., 0] * z + weights.W_in * s[t][:, None] + weights.b
        u = np.clip(1.3 * v, -1, 1)
        np.testing.assert_allclose(record.u[t], u, atol=1e-12)
        np.testing.assert_allclose(record.m[t, ..., 0], x, atol=1e-12)
        x = x + 0.4 * (0.5 * u - x)
        np.testing.assert_allclose(record.r[t], (x - 0.1) / 0.6, atol=1e-12)
        z = target[t] if hold[t] else record.z[t]


def test_a_compiled_scan_and_a_plain_loop_agree(low_pass, plain_low_pass):
    weights, forced = _weights(), _forced()
    _, compiled = simulate(low_pass, weights, **forced, chunk=5)
    _, plain = simulate(plain_low_pass, weights, **forced, chunk=7)
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert len(plain_low_pass.inputs) == 17
    np.testing.assert_array_equal(np.stack(plain_low_pass.inputs), plain.u.reshape(17, 10, 1))


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("record", FIELDS)
def test_run_and_simulate_give_the_same_and_keep_what_they_are_asked_to(low_pass, record, outputs):
    weights, forced = _weights(outputs), _forced(outputs=outputs)
    pure_state, pure = run(low_pass, weights, **forced, record=record)
    state, kept = simulate(low_pass, weights, **forced, record=record, chunk=6)
    shapes = {"z": (17, 2, outputs), "r": (17, 2, 5), "u": (17, 2, 5), "m": (17, 2, 5, 3)}
    for name in Record._fields:
        if name not in FIELDS[record]:
            assert getattr(pure, name) is getattr(kept, name) is None
            continue
        assert getattr(kept, name).shape == getattr(pure, name).shape == shapes[name]
        np.testing.assert_allclose(getattr(kept, name), getattr(pure, name), rtol=0, atol=1e-12)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(pure_state), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_networks_that_share_their_recurrent_weights_run_as_if_each_had_its_own(low_pass):
    weights, rng = _weights().repeat(3), np.random.default_rng(6)
    assert weights.W.shape == (2, 5, 5)
    own = replace(weights, W=np.repeat(weights.W, 3, axis=0))
    forced = {"target": rng.normal(size=(17, 6, 1)), "hold": rng.random(17) < 0.5, "s": rng.normal(size=(17, 6))}
    for solve in (simulate, run):
        _, shared = solve(low_pass, weights, **forced, record="all")
        for a, b in zip(shared, solve(low_pass, own, **forced, record="all")[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    # All rows at once, as waveform relaxation asks for them.
    _, record = simulate(low_pass, own, **forced)
    v = [np.asarray(loop.drives(w, record.r, record.z, forced["s"])) for w in (weights, own)]
    np.testing.assert_allclose(v[0], v[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("record", FIELDS)
@pytest.mark.parametrize("plain", [False, True])
def test_a_watch_sees_everything_whatever_is_kept(low_pass, plain_low_pass, record, plain):
    node, weights, forced, pieces = plain_low_pass if plain else low_pass, _weights(), _forced(), []
    _, kept = simulate(node, weights, **forced, record=record, chunk=5, watch=pieces.append)
    _, everything = simulate(low_pass, weights, **forced)
    assert [len(piece.z) for piece in pieces] == ([1] * 17 if plain else [5, 5, 5, 2])
    for a, b in zip(joined(pieces), everything, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    assert {name for name in Record._fields if getattr(kept, name) is not None} == FIELDS[record]


@pytest.mark.parametrize("solve", [run, simulate])
def test_a_run_goes_on_where_it_stopped(low_pass, solve):
    weights, forced = _weights(), _forced()
    _, whole = solve(low_pass, weights, **forced, record="r")
    state, first = solve(low_pass, weights, **_cut(forced, slice(0, 6)), record="r")
    _, second = solve(low_pass, weights, **_cut(forced, slice(6, None)), state=state, record="r")
    np.testing.assert_allclose(np.concatenate([first.r, second.r]), whole.r, atol=1e-12)


def test_drives_never_pass_the_compliance_limit(low_pass):
    weights = draw(TOPOLOGY.model_copy(update={"gain": 50.0}), [0, 1])
    _, record = simulate(low_pass, weights, **_forced())
    assert np.abs(record.u).max() == 1.0


def test_progress_counts_every_tick(low_pass, plain_low_pass):
    seen, plain = [], []
    simulate(low_pass, _weights(), **_forced(), chunk=5, progress=seen.append)
    simulate(plain_low_pass, _weights(), **_forced(), chunk=5, progress=plain.append)
    assert seen == [5, 5, 5, 2]
    assert plain == [1] * 17


def test_a_large_run_is_recorded_in_smaller_chunks(low_pass, monkeypatch):
    """What one chunk records is bounded, so memory does not grow with the number of networks."""
    monkeypatch.setattr("spinloom.networks.loop._MOST_NUMBERS", 200)
    seen = []
    _, record = simulate(low_pass, _weights(), **_forced(), progress=seen.append)
    assert max(seen) <= 4
    assert len(record.z) == sum(seen) == 17


def test_a_network_without_input_and_with_flat_targets(low_pass):
    """One output needs no axis, and no input is an input of zero."""
    weights, forced = _weights(), _forced()
    _, expected = simulate(low_pass, weights, **{**forced, "s": np.zeros((17, 2))})
    flat = {"target": forced["target"][..., 0], "hold": forced["hold"]}
    np.testing.assert_array_equal(simulate(low_pass, weights, **flat)[1].r, expected.r)
    np.testing.assert_allclose(run(low_pass, weights, **flat, record="r")[1].r, expected.r, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solve", [run, simulate])
def test_what_does_not_fit_is_told(low_pass, solve):
    weights, forced = _weights(), _forced()
    with pytest.raises(SpinloomError, match="record: expected one of z, r, all, got 'everything'"):
        solve(low_pass, weights, **forced, record="everything")
    for shape in ((17, 3, 1), (17, 2, 2), (17, 3), (17,)):
        with pytest.raises(SpinloomError, match=r"target: expected .* 2 networks of 1 outputs, got shape \(17,"):
            solve(low_pass, weights, **{**forced, "target": np.zeros(shape)})
    with pytest.raises(SpinloomError, match="devices: expected numbers from 0 to 0, got 0 to 1"):
        solve(low_pass, weights.with_devices([[0, 0, 0, 0, 1]] * 2), **forced)


def _loss(node, weights, forced):
    """Some number that every weight has a part in; the read-out at the end is not fed back."""
    _, record = run(node, weights, **forced, record="r")
    return (record.z**2).sum() + record.r.sum()


@pytest.mark.parametrize("outputs", [1, 2])
def test_gradients_go_through_all_weights(low_pass, outputs):
    weights, forced = _weights(outputs), _forced(outputs=outputs)
    loss = jax.jit(lambda weights: _loss(low_pass, weights, forced))
    gradient = jax.jit(jax.grad(lambda weights: _loss(low_pass, weights, forced)))(weights)
    rng = np.random.default_rng(2)
    for name in ("W", "w_fb", "W_in", "b", "gain", "w_out"):
        array, found = getattr(weights, name), np.asarray(getattr(gradient, name))
        assert found.shape == array.shape
        way = rng.normal(size=array.shape)
        up, down = (loss(replace(weights, **{name: array + h * way})) for h in (1e-6, -1e-6))
        np.testing.assert_allclose((found * way).sum(), (up - down) / 2e-6, rtol=1e-6, err_msg=name)
        assert np.abs(found).max() > 1e-3


def test_gradients_go_through_the_devices_too(make_low_pass):
    """Which of two devices each node is, is fixed; what the devices are is not."""
    node, forced = make_low_pass(0.4, 0.7), _forced()
    weights = _weights().with_devices([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]])
    loss = jax.jit(lambda node: _loss(node, weights, forced))
    found = jax.grad(loss)(node).shares
    for at in range(2):
        h = 1e-6 * np.eye(2)[at]
        slope = (loss(replace(node, shares=node.shares + h)) - loss(replace(node, shares=node.shares - h))) / 2e-6
        np.testing.assert_allclose(found[at], slope, rtol=1e-6)


def test_the_gradient_of_a_readout_on_a_reduced_model(coarse_model):
    weights = draw(TOPOLOGY.model_copy(update={"gain": 0.3}), [0])
    weights = weights.with_readout(np.random.default_rng(3).normal(size=(1, 1, 6)))
    forced = {"target": np.ones((12, 1)), "hold": np.arange(12) < 3}

    @jax.jit
    def loss(w_out):
        return _loss(coarse_model.scaled, weights.with_readout(w_out), forced)

    found = np.asarray(jax.grad(loss)(weights.w_out))
    for at in range(6):
        h = 1e-5 * np.eye(6)[at]
        slope = (loss(weights.w_out + h) - loss(weights.w_out - h)) / 2e-5
        np.testing.assert_allclose(found[0, 0, at], slope, rtol=1e-5, atol=1e-8)


def test_vmap_over_targets_is_one_after_the_other(low_pass):
    weights, forced = _weights(), _forced()
    targets = np.random.default_rng(4).normal(size=(3, 17, 2, 1))

    def output(target):
        return run(low_pass, weights, **{**forced, "target": target})[1].z

    together = jax.vmap(output)(targets)
    assert together.shape == (3, 17, 2, 1)
    for target, z in zip(targets, together, strict=True):
        np.testing.assert_allclose(z, output(target), rtol=0, atol=1e-12)


def test_vmap_over_readouts_and_states(low_pass):
    weights, forced = _weights(), _forced()
    w_outs = np.random.default_rng(5).normal(size=(3, 2, 1, 6))
    start = loop.start(low_pass, weights)
    starts = jax.vmap(lambda z: start._replace(z=z))(np.arange(6.0).reshape(3, 2, 1))

    def output(w_out, state):
        return run(low_pass, weights.with_readout(w_out), **forced, state=state)[1].z

    together = jax.vmap(output)(w_outs, starts)
    for k in range(3):
        alone = output(w_outs[k], jax.tree.map(lambda leaf, k=k: leaf[k], starts))
        np.testing.assert_allclose(together[k], alone, rtol=0, atol=1e-12)


def test_jit_takes_node_and_weights_as_arguments(low_pass, make_low_pass):
    """Devices that each node is are part of the form; all numbers are arguments."""
    forced = _forced()
    traced = 0

    @jax.jit
    def output(node, weights):
        nonlocal traced
        traced += 1
        return run(node, weights, **forced)[1].z

    for node, weights in ((low_pass, _weights()), (make_low_pass(0.2), draw(TOPOLOGY, [5, 6]))):
        np.testing.assert_allclose(output(node, weights), run(node, weights, **forced)[1].z, rtol=0, atol=1e-12)
    assert traced == 1
    several = make_low_pass(0.4, 0.7)
    devices = _weights().with_devices([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]])
    expected = run(several, devices, **forced)[1].z
    np.testing.assert_allclose(output(several, devices), expected, rtol=0, atol=1e-12)
    assert np.abs(expected - output(several, _weights())).max() > 1e-3


def test_nothing_is_kept_and_another_network_is_not_compiled_again(make_low_pass):
    forced = _forced()

    def once(share, seeds):
        node, weights = make_low_pass(share), draw(TOPOLOGY, seeds)
        state, _ = simulate(Scale(reach=share).of(node), weights, **forced)
        return [weakref.ref(thing) for thing in (node, weights, weights.W, state.r)]

    used = once(0.4, [0, 1])
    gc.collect()
    assert [thing() for thing in used] == [None] * 4
    compiled = scan._compiled._cache_size()
    once(0.3, [2, 3])
    assert scan._compiled._cache_size() == compiled


def test_other_devices_of_the_same_number_are_not_compiled_again(make_low_pass):
    node, forced = make_low_pass(0.4, 0.7), _forced()
    simulate(node, _weights().with_devices([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]]), **forced)
    compiled = scan._compiled._cache_size()
    simulate(node, _weights().with_devices([[1, 1, 1, 0, 1], [0, 0, 0, 0, 0]]), **forced)
    assert scan._compiled._cache_size() == compiled


def test_a_network_of_different_devices(make_low_pass, as_plain):
    node, devices = make_low_pass(0.4, 0.1, 0.9), np.array([[0, 1, 2, 1, 0], [2, 2, 0, 1, 1]])
    weights, forced = _weights().with_devices(devices), _forced()
    _, record = simulate(node, weights, **forced)
    share, r = np.array([0.4, 0.1, 0.9])[devices], np.zeros((2, 5))
    for t in range(17):
        r = r + share * (record.u[t] - r)
        np.testing.assert_allclose(record.r[t], r, rtol=0, atol=1e-12)
    for solved in (run(node, weights, **forced, record="all")[1], simulate(as_plain(node), weights, **forced)[1]):
        for a, b in zip(solved, record, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_network_of_two_junctions_that_differ(two_junctions):
    """The closed loop is what the engine plays when it is given the loop's own drives."""
    scale, devices = Scale(mean=0.1, spread=0.6, reach=0.5), np.array([[0, 1, 1]])
    weights = draw(Topology(nodes=3, density=1.0, spectral_radius=1.1, feedback=1.0, bias=0.6, gain=0.9), [3])
    weights = weights.with_readout(np.random.default_rng(3).uniform(-1, 1, (1, 1, 4))).with_devices(devices)
    forced = {"target": np.ones((20, 1)), "hold": np.arange(20) < 5}
    _, record = simulate(scale.of(two_junctions.node), weights, **forced)
    _, m = two_junctions.play(np.full(20, 7.5e-12), 0.5 * record.u[:, 0], devices=devices[0])
    np.testing.assert_allclose(record.m[1:, 0], m[:-1], rtol=0, atol=1e-10)
    axes = np.array([card.readout.axis for card in two_junctions.cards])[devices[0]]
    np.testing.assert_allclose(record.r[:, 0], ((m * axes).sum(axis=-1) - 0.1) / 0.6, rtol=0, atol=1e-10)
    _, all_first = simulate(scale.of(two_junctions.node), replace(weights, devices=None), **forced)
    assert np.abs(all_first.r[:, 0, 1:] - record.r[:, 0, 1:]).max() > 0.01


def test_a_network_drives_the_first_channel_and_leaves_the_others_at_rest(low_pass, make_low_pass, as_plain):
    weights, forced = _weights(), _forced()
    node = make_low_pass(0.4, channels=("drive", "field"))
    expected = simulate(low_pass, weights, **forced)[1]
    for solved in (simulate(node, weights, **forced)[1], run(node, weights, **forced, record="all")[1]):
        for a, b in zip(solved, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    plain = as_plain(node)
    simulate(Scale(reach=0.5).of(plain), weights, **forced)
    inputs = np.stack(plain.inputs)
    assert inputs.shape == (17, 10, 2)
    assert not inputs[..., 1].any()
    assert 0 < np.abs(inputs[..., 0]).max() <= 0.5


def test_the_start_is_told_what_the_node_needs_to_know(low_pass):
    """How many devices, which, from which seed; and progress is heard."""
    asked, heard = [], []

    class Slow:
        devices, tick, channels, traceable = 2, 1e-11, ("drive",), False

        def start(self, n, seed=0, devices=None, progress=None):
            asked.append((n, seed, None if devices is None else devices.tolist()))
            progress(n)
            return np.zeros(n)

        def observe(self, state):
            return state

    state = loop.start(Slow(), _weights().with_devices([[0] * 5, [1] * 5]), 7, heard.append)
    assert asked == [(10, 7, [0] * 5 + [1] * 5)]
    assert heard == [10]
    assert state.r.shape == (2, 5)
    assert state.z.shape == (2, 1)


class Handle:
    """A node whose state is a handle, as that of live processes: after a step it shows what is then."""

    traceable, devices, channels, tick = False, 1, ("drive",), 7.5e-12

    def __init__(self, node):
        self.node = node

    def start(self, n, seed=0, devices=None, progress=None):
        return [self.node.start(n)]

    def step(self, handle, inputs):
        handle[0] = self.node.step(handle[0], inputs)
        return handle

    def observe(self, handle):
        return np.array(self.node.observe(handle[0]))

    def moment(self, handle):
        return np.array(self.node.moment(handle[0]))


def test_what_is_recorded_before_a_tick_is_so_of_live_nodes_too(low_pass):
    weights = draw(Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0, feedback=0.5), [0])
    target = np.sin(np.arange(12.0))[:, None]
    how = {"target": target, "hold": np.ones(12, bool), "record": "all"}
    _, traced = simulate(low_pass, weights, **how)
    _, live = simulate(Handle(low_pass), weights, **how)
    np.testing.assert_allclose(live.m, traced.m, atol=1e-12)
    assert np.abs(live.m[1:] - live.m[:-1]).max() > 1e-3


def test_a_network_that_leaves_the_finite_numbers_is_named_with_tick_and_node(low_pass, plain_low_pass):
    """What was computed before it has been shown, and nothing is computed after its chunk."""
    weights, forced = _weights(), _forced(40)
    forced["s"][23, 1] = np.nan
    node = plain_low_pass
    _, record = simulate(low_pass, weights, **forced)  # a figure of many: it goes on
    assert np.isnan(record.z[23:, 1]).any()
    assert np.isfinite(record.z[:, 0]).all()
    for one, chunk in ((low_pass, 10), (low_pass, None), (node, None)):
        seen = []
        with pytest.raises(DivergedError, match=r"two: node \d: its signal is not finite from tick 23 on") as caught:
            simulate(one, weights, **forced, chunk=chunk, watch=seen.append, names=["one", "two"])
        assert (caught.value.tick, caught.value.member) == (23, 1)
        kept = np.concatenate([piece.r for piece in seen])
        np.testing.assert_allclose(kept, record.r[:23], atol=1e-12)
    assert len(node.inputs) == 24


def test_an_output_that_runs_away_is_named(low_pass):
    weights = _weights()
    weights = weights.with_readout(np.where(np.arange(2)[:, None, None] == 1, 1e308, weights.w_out))
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergedError, match=r"two: (output 0 is|node \d: its signal is) not finite"),
    ):
        simulate(low_pass, weights, **_forced(40), record="z", names=["one", "two"])
