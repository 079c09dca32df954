"""The embedded engine against OOMMF's own answers, and its behaviour as a node."""

from __future__ import annotations

import gc
import weakref

import jax
import numpy as np
import pytest

from spinloom.device_models import scan
from spinloom.device_models.engines import ENGINES, choose_engine, open_engine
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.device_models.spread import Spread, chip


@pytest.fixture(scope="session")
def coarse_engine(coarse_card):
    return EmbeddedEngine(coarse_card, 7.5e-12)


@pytest.fixture(scope="session")
def replayed(reference):
    """<m> after each tick, and the fields after the first and the last."""
    engine = EmbeddedEngine(reference.card, reference.tick, reference.initial)
    state, first = drive(engine.node, reference.u[:1, None])
    early = engine.field(state)
    state, rest = drive(engine.node, reference.u[1:, None], state)
    return np.concatenate([first, rest])[:, 0], early, engine.field(state)


def test_follows_oommf_over_the_whole_run(reference, replayed):
    difference = np.abs(replayed[0] - reference.m).max()
    assert difference <= 1e-5, f"{reference.card.name}: max |<m> - OOMMF's <m>| is {difference:.2g}"


def test_field_after_the_first_tick_is_oommfs(reference, replayed):
    assert np.abs(replayed[1] - reference.tick1).max() <= 1e-4


def test_field_after_the_last_tick_is_oommfs(reference, replayed):
    assert np.abs(replayed[2] - reference.final).max() <= 1e-5


def test_the_stored_fields_belong_to_the_stored_averages(reference):
    mask = reference.card.geometry.mask()
    for field, m in ((reference.initial, reference.m_initial), (reference.tick1, reference.m[0])):
        np.testing.assert_allclose(field[mask].mean(axis=0), m, atol=1e-11)
    # The last field was computed with shorter steps than the averages; see data/reference/README.md.
    np.testing.assert_allclose(reference.final[mask].mean(axis=0), reference.m[-1], atol=1e-5)


def test_relaxation_finds_oommfs_equilibrium(reference):
    engine = EmbeddedEngine(reference.card, reference.tick)
    m = engine.node.moment(engine.node.start(1))
    np.testing.assert_allclose(m[0], reference.m_initial, atol=1e-4)
    assert np.abs(engine.equilibria[0] - reference.initial).max() < 1e-3


def test_is_a_node(coarse_engine, coarse_card):
    node = coarse_engine.node
    assert isinstance(node, Node)
    assert (node.tick, node.channels, node.devices, node.traceable) == (7.5e-12, ("drive",), 1, True)
    assert coarse_engine.version
    assert (coarse_engine.live, coarse_engine.batched) == (True, True)
    assert coarse_engine.cards == (coarse_card,)
    assert coarse_engine.costs(None, 1.0, 10) == {}
    state = node.start(3)
    inputs = np.array([[0.5], [0.0], [-0.5]])
    m = node.moment(state)
    assert np.shape(m) == (3, 3)
    after = node.step(state, inputs)
    m1 = node.moment(after)
    assert np.shape(m1) == (3, 3)
    np.testing.assert_array_equal(node.observe(after), m1 @ np.array(coarse_card.readout.axis))
    np.testing.assert_allclose(m1[1], m[1], atol=1e-6)
    assert m1[0, 0] > m1[1, 0] > m1[2, 0]
    for a, b in zip(after, node.step(state, inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    field = coarse_engine.field(after, 2)
    assert field.shape == (*coarse_card.geometry.shape_cells, 3)
    mask = coarse_card.geometry.mask()
    np.testing.assert_allclose(np.linalg.norm(field[mask], axis=1), 1, atol=1e-12)
    assert not field[~mask].any()
    np.testing.assert_allclose(field[mask].mean(axis=0), m1[2], atol=1e-14)


def test_devices_of_a_batch_do_not_know_of_each_other(coarse_engine):
    u = np.random.default_rng(7).uniform(-1, 1, (40, 5))
    _, together = drive(coarse_engine.node, u)
    for device in (0, 4):
        _, alone = drive(coarse_engine.node, u[:, [device]])
        np.testing.assert_allclose(together[:, device], alone[:, 0], rtol=0, atol=1e-12)


def test_drive_goes_on_where_it_stopped(coarse_engine):
    u = np.random.default_rng(8).uniform(-1, 1, (130, 2))
    done = []
    _, whole = drive(coarse_engine.node, u, progress=done.append)
    state, first = drive(coarse_engine.node, u[:60])
    _, second = drive(coarse_engine.node, u[60:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=0, atol=1e-13)
    assert sum(done) == 130


def test_convolution_gives_the_same_motion(coarse_card, coarse_engine, monkeypatch):
    monkeypatch.setattr("spinloom.device_models.engines.fields.DENSE_LIMIT", 0)
    u = np.random.default_rng(9).uniform(-1, 1, (30, 2))
    _, convolved = drive(EmbeddedEngine(coarse_card, 7.5e-12).node, u)
    _, dense = drive(coarse_engine.node, u)
    np.testing.assert_allclose(convolved, dense, rtol=0, atol=1e-9)


def test_play_with_even_holds_is_step(coarse_engine):
    u = np.random.default_rng(10).uniform(-1, 1, (60, 2))
    done = []
    fields, played = coarse_engine.play(np.full(60, 7.5e-12), u, progress=done.append)
    end, driven = drive(coarse_engine.node, u)
    np.testing.assert_allclose(played, driven, rtol=0, atol=1e-12)
    for device in (0, 1):
        np.testing.assert_allclose(fields[device], coarse_engine.field(end, device), rtol=0, atol=1e-12)
    assert sum(done) == 60


def test_play_goes_on_from_the_fields_it_gave(coarse_engine):
    u = np.random.default_rng(11).uniform(-1, 1, (40, 2))
    _, whole = coarse_engine.play(np.full(40, 7.5e-12), u)
    fields, first = coarse_engine.play(np.full(15, 7.5e-12), u[:15])
    _, second = coarse_engine.play(np.full(25, 7.5e-12), u[15:], fields)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=0, atol=1e-12)


def test_play_with_uneven_holds_is_step_at_their_common_divisor(coarse_engine):
    ticks = np.array([3, 1, 7, 2, 12, 1])
    u = np.array([0.9, -0.3, 0.1, 1.0, -1.0, 0.4])
    _, played = coarse_engine.play(ticks * 7.5e-12, u[:, None])
    _, driven = drive(coarse_engine.node, np.repeat(u, ticks)[:, None])
    np.testing.assert_allclose(played, driven[np.cumsum(ticks) - 1], rtol=0, atol=1e-6)


def test_the_tick_does_not_change_the_motion(coarse_card, coarse_engine):
    u = np.array([0.9, -0.3, 0.5])
    _, fine = drive(coarse_engine.node, np.repeat(u, 8)[:, None])
    _, coarse = drive(EmbeddedEngine(coarse_card, 60e-12).node, u[:, None])
    np.testing.assert_allclose(fine[7::8], coarse, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tick", [0.0, -1e-12, 1.0, float("nan")])
def test_bad_tick(coarse_card, tick):
    with pytest.raises(SpinloomError, match="tick: expected seconds"):
        EmbeddedEngine(coarse_card, tick)


def test_initial_field_of_another_shape(coarse_card):
    with pytest.raises(SpinloomError, match=r"initial field: expected shape \(6, 6, 1, 3\) for device disc60"):
        EmbeddedEngine(coarse_card, 1e-11, np.ones((6, 5, 1, 3)))


def test_empty_initial_field(coarse_card):
    with pytest.raises(SpinloomError, match="initial field: no magnetic cell"):
        EmbeddedEngine(coarse_card, 1e-11, np.zeros((6, 6, 1, 3)))


def test_initial_field_of_another_outline(coarse_card):
    with pytest.raises(SpinloomError, match="initial field: 36 magnetic cells, but disc60 has 32"):
        EmbeddedEngine(coarse_card, 1e-11, np.ones((6, 6, 1, 3)))


def test_initial_field_is_taken_as_it_is(coarse_card):
    mask = coarse_card.geometry.mask()
    initial = mask[..., None] * np.array([0.0, 3.0, 4.0])
    engine = EmbeddedEngine(coarse_card, 1e-11, initial)
    np.testing.assert_allclose(engine.node.moment(engine.node.start(2)), [[0, 0.6, 0.8]] * 2, atol=1e-15)
    np.testing.assert_allclose(engine.equilibria[0], initial / 5, atol=1e-15)


def test_engines_by_name(coarse_card):
    assert "embedded" in ENGINES
    with open_engine(choose_engine("embedded"), coarse_card, 1e-11) as engine:
        assert isinstance(engine, EmbeddedEngine)
        assert engine.input() == ""
        np.testing.assert_array_equal(engine.equilibria[0], engine.field(engine.node.start(1)))
    with pytest.raises(SpinloomError, match="engine: expected one of embedded"):
        choose_engine("mumax")


def test_a_batch_of_different_devices_is_each_on_its_own(coarse_card, alter):
    """Material, bias, torque and axis differ, and one mesh is 3 % larger."""
    geometry = {"size": (61.8e-9, 61.8e-9, 2.06e-9), "cell": (10.3e-9, 10.3e-9, 2.06e-9)}
    cards = [
        coarse_card,
        alter(
            coarse_card,
            material={"Ms": 1e6, "A": 1e-11, "Ku": 1e5, "Ku_axis": (1, 0, 1), "alpha": 0.03},
            bias={"H": (0, 9e3, 1e3)},
            torque={"Lambda": 1.5, "eps_prime": 0.1, "P": 0.5, "polariser": (0, 1, 1)},
            readout={"axis": (1, 1, 0)},
        ),
        alter(coarse_card, geometry=geometry),
    ]
    mask = coarse_card.geometry.mask()
    initial = mask[..., None] * np.array([0.3, 1.0, 0.2])
    together = EmbeddedEngine(cards, 7.5e-12, initial)
    which = np.array([1, 0, 2, 1])
    u = np.random.default_rng(12).uniform(-1, 1, (50, 4))
    uneven = np.random.default_rng(13).uniform(1e-12, 2e-11, 50)
    fields, m = together.play(uneven, u, devices=which)
    _, m_even = together.play(np.full(50, 7.5e-12), u, devices=which)
    signals = together.node.observe(together.node.start(4, devices=which))
    for at in range(3):
        alone = EmbeddedEngine(cards[which[at]], 7.5e-12, initial)
        alone_fields, alone_m = alone.play(uneven, u[:, [at]])
        np.testing.assert_allclose(m[:, at], alone_m[:, 0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(fields[at], alone_fields[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(signals[at], alone.node.observe(alone.node.start(1))[0], rtol=0, atol=1e-14)
    _, m_alone = alone.play(np.full(50, 7.5e-12), u[:, [2]])
    np.testing.assert_allclose(m_even[:, 2], m_alone[:, 0], rtol=0, atol=1e-12)
    assert np.abs(m[:, 1] - m[:, 0]).max() > 0.01 < np.abs(m[:, 1] - m[:, 2]).max()


@pytest.mark.parametrize("limit", [1000, 0], ids=["dense", "convolution"])
@pytest.mark.parametrize("layers", [1, 2])
def test_each_device_of_a_chip_moves_as_it_does_alone(coarse_card, alter, monkeypatch, limit, layers):
    """Everything differs by 5 %; over 0.3 ns, from their own equilibria."""
    monkeypatch.setattr("spinloom.device_models.engines.fields.DENSE_LIMIT", limit)
    card = alter(coarse_card, geometry={"cell": (10e-9, 10e-9, 2e-9 / layers)})
    cards = chip(card, Spread.uniform(0.05), nodes=6, seed=3)
    together, which = EmbeddedEngine(cards, 7.5e-12), np.arange(6)
    u = np.random.default_rng(14).uniform(-1, 1, (40, 6))
    start = together.node.start(6, devices=which)
    _, m = drive(together.node, u, start)
    for device in (0, 4, 5):
        alone = EmbeddedEngine(cards[device], 7.5e-12)
        _, expected = drive(alone.node, u[:, [device]])
        np.testing.assert_allclose(m[:, device], expected[:, 0], rtol=0, atol=2e-7)
        signal = alone.node.observe(alone.node.start(1))[0]
        np.testing.assert_allclose(together.node.observe(start)[device], signal, rtol=0, atol=2e-7)
    assert np.abs(m[-1, 0] - m[-1, 4]).max() > 0.01


def test_what_is_read_has_the_offset_of_its_device(coarse_card, alter):
    cards = [alter(coarse_card, readout={"offset": offset}) for offset in (0.0, 0.25, -0.5)]
    node = EmbeddedEngine(cards, 7.5e-12).node
    state = node.start(4, devices=[1, 0, 2, 1])
    along = node.moment(state) @ np.array(coarse_card.readout.axis)
    np.testing.assert_allclose(node.observe(state) - along, [0.25, 0, -0.5, 0.25], rtol=0, atol=1e-15)


def test_each_device_has_its_own_equilibrium(coarse_card, alter):
    cards = [coarse_card, alter(coarse_card, bias={"H": (3e3, 6e3, 0)}), alter(coarse_card, material={"alpha": 0.5})]
    found = EmbeddedEngine(cards, 7.5e-12).equilibria
    assert found.shape == (3, 6, 6, 1, 3)
    np.testing.assert_array_equal(found[0], found[2])
    for card, field in zip(cards, found, strict=True):
        np.testing.assert_allclose(field, EmbeddedEngine(card, 7.5e-12).equilibria[0], rtol=0, atol=1e-7)
    assert np.abs(found[0] - found[1]).max() > 0.1


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"size": (70e-9, 60e-9, 2e-9)}, r"disc60 has .* on a mesh of \(7, 6, 1\).* scale the cell with the size"),
        ({"shape": "box"}, "disc60 has 36 magnetic cells"),
        (
            {"size": (60e-9, 72e-9, 2e-9), "cell": (10e-9, 12e-9, 2e-9)},
            "10 x 12 x 2 nm, .* 10 x 10 x 2 nm; .*proportion.* along x and y by the same factor",
        ),
        ({"size": (60e-9, 60e-9, 60e-9), "cell": (10e-9, 10e-9, 60e-9)}, "height of a cell .* from 0.2 to 6; .*spread"),
    ],
)
def test_devices_on_meshes_that_share_nothing_are_refused(coarse_card, alter, geometry, message):
    with pytest.raises(SpinloomError, match=message):
        EmbeddedEngine([coarse_card, alter(coarse_card, geometry=geometry)], 7.5e-12)


def test_an_engine_is_freed_and_its_like_is_not_compiled_again(coarse_card, alter):
    mask = coarse_card.geometry.mask()
    initial = mask[..., None] * np.array([0.0, 1.0, 0.0])
    u = np.zeros((5, 3))
    uneven = np.linspace(5e-12, 9e-12, 5)

    def run(card):
        engine = EmbeddedEngine(card, 7.5e-12, initial)
        drive(engine.node, u)
        engine.play(uneven, u)
        return [weakref.ref(thing) for thing in (engine, engine.node, engine.node.field.blocks[0].matrix)]

    used = run(coarse_card)
    gc.collect()
    assert [thing() for thing in used] == [None, None, None]
    compiled = scan._compiled._cache_size()
    run(alter(coarse_card, material={"Ms": 7e5}, bias={"H": (0, 9e3, 0)}))
    assert scan._compiled._cache_size() == compiled


def test_the_drive_can_be_found_by_its_gradient(coarse_engine):
    node = coarse_engine.node
    state = node.start(2)

    @jax.jit
    def signal(u):
        return node.observe(node.step(state, u[:, None])).sum()

    u, h = np.array([0.2, -0.4]), 1e-5
    found = jax.jit(jax.grad(signal))(u)
    for at in range(2):
        e = h * np.eye(2)[at]
        np.testing.assert_allclose(found[at], (signal(u + e) - signal(u - e)) / (2 * h), rtol=1e-6)
