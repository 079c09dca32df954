"""The one loop over ticks: compiled or plain it gives the same, and it keeps nothing."""

from __future__ import annotations

import gc
import weakref
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models import scan
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.device_models.scan import advance, drive, joined


def _filter(share, x, row):
    x = x + share * (row["u"] - x)
    return x, {"x": x, "twice": (2 * x, row["n"])}


def _rows(ticks=23):
    return {"u": np.random.default_rng(0).uniform(-1, 1, (ticks, 4)), "n": np.arange(ticks)}


def test_a_compiled_scan_and_a_plain_loop_agree():
    start = np.zeros(4)
    carry, record = advance(_filter, 0.3, start, _rows(), chunk=7)
    plain_carry, plain_record = advance(_filter, 0.3, start, _rows(), traceable=False)
    np.testing.assert_allclose(carry, plain_carry, rtol=0, atol=1e-15)
    assert jax.tree.structure(record) == jax.tree.structure(plain_record)
    for a, b in zip(jax.tree.leaves(record), jax.tree.leaves(plain_record), strict=True):
        assert type(a) is type(b) is np.ndarray
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-15)
    x = start
    for tick, u in enumerate(_rows()["u"]):
        x = x + 0.3 * (u - x)
        np.testing.assert_allclose(record["x"][tick], x, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(record["twice"][1], np.arange(23))


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_the_chunk_changes_nothing(chunk):
    _, whole = advance(_filter, 0.3, np.zeros(4), _rows(), chunk=23)
    _, record = advance(_filter, 0.3, np.zeros(4), _rows(), chunk=chunk)
    np.testing.assert_allclose(record["x"], whole["x"], rtol=0, atol=1e-15)


def test_progress_hears_of_every_tick():
    compiled, plain = [], []
    advance(_filter, 0.3, np.zeros(4), _rows(), chunk=10, progress=compiled.append)
    advance(_filter, 0.3, np.zeros(4), _rows(), chunk=10, traceable=False, progress=plain.append)
    assert compiled == [10, 10, 3]
    assert plain == [1] * 23


@pytest.mark.parametrize("traceable", [True, False])
def test_records_can_be_taken_as_they_come(traceable):
    """They come before the progress of their chunk is told, and none is kept."""
    pieces, heard = [], []
    carry, record = advance(
        _filter,
        0.3,
        np.zeros(4),
        _rows(),
        chunk=10,
        traceable=traceable,
        collect=pieces.append,
        progress=lambda n: heard.append((n, len(pieces))),
    )
    assert record is None
    whole_carry, whole = advance(_filter, 0.3, np.zeros(4), _rows(), chunk=10, traceable=traceable)
    np.testing.assert_array_equal(carry, whole_carry)
    np.testing.assert_array_equal(joined(pieces)["x"], whole["x"])
    assert heard == ([(10, 1), (10, 2), (3, 3)] if traceable else [(1, k + 1) for k in range(23)])


def test_a_record_may_hold_nothing():
    _, record = advance(lambda fixed, carry, row: (carry + row, None), 0.0, np.zeros(()), np.arange(5.0))
    assert record is None


def test_a_failure_in_a_tick_leaves_what_was_collected():
    """As when a process of a live node ends early."""
    pieces = []

    def breaks(fixed, carry, row):
        if row == 3:
            raise RuntimeError("gone")
        return carry, row

    with pytest.raises(RuntimeError, match="gone"):
        advance(breaks, None, None, np.arange(5), traceable=False, collect=pieces.append)
    assert joined(pieces).tolist() == [0, 1, 2]


def test_drive_follows_the_node_tick_by_tick(make_low_pass, as_plain):
    node = make_low_pass(0.4, 0.1, channels=("drive", "field"))
    inputs = np.random.default_rng(1).uniform(-0.4, 0.4, (120, 3, 2))
    state = node.start(3, devices=[1, 0, 1])
    _, m = drive(node, inputs, state)
    _, plain = drive(as_plain(node), inputs, state)
    assert m.shape == plain.shape == (120, 3, 3)
    np.testing.assert_allclose(m, plain, rtol=0, atol=1e-14)
    for tick in range(120):
        state = node.step(state, inputs[tick])
        np.testing.assert_allclose(m[tick], node.moment(state), rtol=0, atol=1e-14)


def test_drive_starts_in_equilibrium_and_goes_on_where_it_stopped(make_low_pass):
    node = make_low_pass(0.4, channels=("drive", "field"))
    u = np.random.default_rng(2).uniform(-1, 1, (60, 2))
    _, whole = drive(node, u)
    state, first = drive(node, u[:13])
    _, second = drive(node, u[13:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=0, atol=1e-15)
    _, with_field = drive(node, np.stack([u, 0 * u], axis=-1))
    np.testing.assert_array_equal(with_field, whole)


def test_drive_with_more_channels_than_the_node_has(low_pass):
    with pytest.raises(SpinloomError, match=r"inputs: .* at most 1 channels \(drive\), got shape \(5, 2, 2\)"):
        drive(low_pass, np.zeros((5, 2, 2)))


def test_a_node_is_freed_and_its_like_is_not_compiled_again(make_low_pass):
    u = np.zeros((100, 2))

    def run(share):
        node = make_low_pass(share)
        state, _ = drive(node, u)
        return [weakref.ref(thing) for thing in (node, node.shares, state.x)]

    used = run(0.4)
    gc.collect()
    assert [thing() for thing in used] == [None, None, None]
    compiled = scan._compiled._cache_size()
    run(0.2)
    run(0.1)
    assert scan._compiled._cache_size() == compiled
    drive(make_low_pass(0.4, 0.3), u)
    assert scan._compiled._cache_size() > compiled


def test_what_is_fixed_and_carried_may_be_of_any_form():
    fixed = (jnp.array(2.0), {"add": np.array([1.0, 2.0])}, None)

    def tick(fixed, carry, row):
        times, add, _ = fixed
        return {"x": times * carry["x"] + add["add"] + row}, None

    carry, _ = advance(tick, fixed, {"x": np.zeros(2)}, np.ones(3))
    np.testing.assert_array_equal(carry["x"], [14.0, 21.0])


class _Failing(NamedTuple):
    """A node that lives elsewhere and loses a device in some tick."""

    tick_of: int
    device: int

    traceable = False
    channels = ("drive",)

    def start(self, n):
        return 0, np.zeros((n, 3))

    def step(self, state, inputs):
        at, m = state
        m = m.copy()
        if at == self.tick_of:
            m[self.device] = np.nan
        return at + 1, m

    def moment(self, state):
        return state[1]


def test_a_device_that_leaves_the_finite_numbers_is_named_with_its_tick():
    node, u = _Failing(7, 2), np.zeros((20, 4))
    _, m = drive(node, u)
    assert np.isnan(m[7:, 2]).all()
    done = []
    with pytest.raises(DivergedError, match="device 2: its magnetisation is not finite from tick 7 on") as caught:
        drive(node, u, finite=True, progress=done.append)
    assert (caught.value.tick, caught.value.member) == (7, 2)
    assert sum(done) == 7  # and no more was computed
    finite = drive(node, u[:7], finite=True)[1]
    np.testing.assert_array_equal(finite, m[:7])


def test_the_embedded_engine_says_where_it_diverges(coarse_card):
    """It is a batch of known drives, one of which is none."""
    engine = EmbeddedEngine(coarse_card, 1e-11)
    u = np.zeros((6, 2))
    u[4, 1] = np.nan
    for durations in (np.full(6, 1e-11), np.linspace(1e-11, 2e-11, 6)):
        with pytest.raises(DivergedError, match="device 1: .* not finite from tick 4 on"):
            engine.play(durations, u)
