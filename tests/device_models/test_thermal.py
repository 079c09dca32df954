"""The embedded engine at T > 0: what statistical mechanics says of it, and that it is reproducible."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.constants import Boltzmann

from spinloom.device_models.card import MU0
from spinloom.device_models.engines import llg
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.vectors import cross, dot
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import advance, drive

TICK = 7.5e-12
ONE = np.zeros(1, int)


def cube(disc, alter, edge, **sections):
    """One cubic cell: its demagnetising field is parallel to m and drops out."""
    return alter(disc, geometry={"shape": "box", "size": (edge,) * 3, "cell": (edge,) * 3}, **sections)


def moved(engine, n, n_ticks, seed=0, u=0.0):
    """State at the end, and <m> after every tick."""
    return drive(engine.node, np.full((n_ticks, n), u), engine.node.start(n, seed))


def matrix(engine):
    """The linear part of the effective field, (3, cells, 3, cells)."""
    cells = engine.mask.sum()

    def field(m):
        return jnp.stack(engine.node.field.at(ONE)(tuple(m.reshape(3, cells, 1)))).ravel()

    return np.array(jax.jacfwd(field)(jnp.zeros(3 * cells))).reshape(3, cells, 3, cells)


def test_a_macrospin_is_distributed_as_boltzmann_says(disc, alter):
    """exp(xi cos theta) about a field, with xi = mu0 Ms V H / kT."""
    H, edge = 1e5, 5e-9
    card = cube(disc, alter, edge, material={"alpha": 0.5}, bias={"H": (0, 0, H)}, start={"m": (0, 0, 1)}).at(300)
    _, m = moved(EmbeddedEngine(card, TICK), 4000, 130)
    xi = MU0 * card.material.Ms * edge**3 * H / (Boltzmann * 300)

    def share_below(c):
        return np.expm1(xi * (c + 1)) / np.expm1(2 * xi)

    assert 2 < xi < 4
    assert stats.kstest(m[-1, :, 2], share_below).pvalue > 0.01
    azimuth = np.arctan2(m[-1, :, 1], m[-1, :, 0]) / (2 * np.pi) + 0.5
    assert stats.kstest(azimuth, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_cells_on_their_own_leave_their_axis_as_fast_as_in_mumax3(disc, alter):
    """mumax3's test rk4temperature: 5 ns at 100 K bring uncoupled cells of 10 nm from m_z = 1 to 0.8366."""
    material = {"Ms": 1e6, "alpha": 0.1, "Ku": 2.5e3, "Ku_axis": (0, 0, 1)}
    card = cube(disc, alter, 10e-9, material=material, bias={"H": (0, 0, 0)}, start={"m": (0, 0, 1)}).at(100)
    _, m = moved(EmbeddedEngine(card, 1e-11), 8192, 500)
    error = m[-1, :, 2].std() / np.sqrt(8192)
    assert m[-1, :, 2].mean() == pytest.approx(0.8366, abs=1e-3 + 3 * error)


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_a_thermometer_in_the_cells_shows_the_temperature(coarse_card, alter, alpha):
    r"""kT = mu0 Ms V <sum |m x h|^2> / <sum of the Laplacian of E on the sphere>.

    Of E = -m.(A m / 2 + H) that is 2 m.h + m.A_ii m - tr A_ii in every cell (Ma, Dudarev, Semenov and Woo, Phys. Rev.
    E 82, 031111 (2010), for fields that a cell exerts on itself too).
    """
    card = alter(coarse_card, material={"alpha": alpha}).at(300)
    engine = EmbeddedEngine(card, TICK)
    own = np.einsum("acbc->abc", matrix(engine))
    trace = np.einsum("aac->c", own)[:, None]

    def tick(node, state, row):
        state = node.step(state, row)
        m = state[:3]
        h = tuple(a + b for a, b in zip(node.field.at(state.which)(m), card.bias.H, strict=True))
        torque = cross(m, h)
        inner = jnp.einsum("acn,abc,bcn->cn", jnp.stack(m), own, jnp.stack(m))
        return state, (dot(torque, torque).sum(), (2 * dot(m, h) + inner - trace).sum())

    _, (squares, curvature) = advance(tick, engine.node, engine.node.start(32, 1), np.zeros((500, 32, 1)))
    energy = MU0 * card.material.Ms * np.prod(card.geometry.cell)
    assert energy * squares[100:].sum() / curvature[100:].sum() / Boltzmann == pytest.approx(300, rel=0.02)


@pytest.fixture(scope="module")
def cool(coarse_card):
    """A disc at 10 K, where its energy is as good as quadratic: engine, and <m> of 64 devices over 6 ns."""
    engine = EmbeddedEngine(coarse_card.at(10), TICK)
    _, m = moved(engine, 64, 900, seed=2)
    return engine, m[100:]


def test_equipartition_of_the_moment(cool):
    """The covariance of small angles is kT over the energy's Hessian in the tangent planes."""
    engine, m = cool
    A, rest = matrix(engine), engine.equilibria[0][engine._cells]
    cells = len(rest)
    along = np.einsum("ca,ca->c", np.einsum("acbd,db->ca", A, rest) + engine.cards[0].bias.H, rest)
    hessian = -A.transpose(1, 0, 3, 2) + np.einsum("cd,ab,c->cadb", np.eye(cells), np.eye(3), along)
    planes = np.stack([np.linalg.svd(one[None])[2][1:] for one in rest])  # two unit vectors across each m
    inner = np.einsum("cia,cadb,djb->cidj", planes, hessian, planes).reshape(2 * cells, 2 * cells)
    card = engine.cards[0]
    unit = Boltzmann * 10 / (MU0 * card.material.Ms * np.prod(card.geometry.cell))
    spread = unit * np.linalg.inv(inner).reshape(cells, 2, cells, 2)
    expected = np.einsum("cidj,cia,djb->ab", spread, planes, planes) / cells**2
    found = np.cov((m - m.mean(axis=(0, 1))).reshape(-1, 3).T)
    assert found[0, 0] == pytest.approx(expected[0, 0], rel=0.06)
    assert found[2, 2] == pytest.approx(expected[2, 2], rel=0.06)
    assert abs(found[0, 2]) < 0.05 * np.sqrt(found[0, 0] * found[2, 2])


def test_fluctuations_decay_as_answers_do(cool, coarse_card, alter):
    """Their correlation is the free decay from a small field across, at T = 0 (Onsager's regression)."""
    _, m = cool
    x = m[:, :, 0] - m[:, :, 0].mean()
    found = np.array([(x[: len(x) - lag] * x[lag:]).mean() for lag in range(40)])
    tilted = alter(coarse_card, bias={"H": (20.0, coarse_card.bias.H[1], 0.0)})
    start, level = (EmbeddedEngine(card, TICK).equilibria[0] for card in (tilted, coarse_card))
    _, decay = drive(EmbeddedEngine(coarse_card, TICK, start).node, np.zeros((39, 1)))
    mask = coarse_card.geometry.mask()
    decay = np.concatenate([[start[mask][:, 0].mean()], decay[:, 0, 0]]) - level[mask][:, 0].mean()
    np.testing.assert_allclose(found / found[0], decay / decay[0], atol=0.06)


def test_the_step_changes_no_statistics(coarse_card, monkeypatch):
    """Mean and variance of each component, each device an experiment of its own."""
    found = []
    for longest in (llg.FOLLOWED, llg.FOLLOWED / 2):
        monkeypatch.setattr(llg, "FOLLOWED", longest)
        _, m = moved(EmbeddedEngine(coarse_card.at(100), TICK), 64, 400, seed=3)
        found.append(np.stack([m[100:].mean(axis=0), m[100:].var(axis=0)]))
    assert (stats.ttest_ind(*found, axis=1).pvalue > 0.01).all()


def test_a_seed_gives_the_same_numbers_whatever_the_batch(coarse_card):
    engine = EmbeddedEngine(coarse_card.at(300), TICK)
    _, m = moved(engine, 5, 20, seed=7)
    np.testing.assert_array_equal(moved(engine, 5, 20, seed=7)[1], m)
    np.testing.assert_allclose(moved(engine, 2, 20, seed=7)[1], m[:, :2], rtol=0, atol=1e-9)
    assert np.abs(moved(engine, 5, 20, seed=8)[1] - m).max() > 0.01
    assert np.abs(m[:, 0] - m[:, 1]).max() > 0.01
    durations, inputs = np.full(20, TICK), np.zeros((20, 5))
    np.testing.assert_array_equal(engine.play(durations, inputs, seed=7)[1], m)
    durations[0] *= 1.5
    assert np.abs(engine.play(durations, inputs, seed=7)[1] - engine.play(durations, inputs, seed=8)[1]).max() > 0.01


def test_at_zero_nothing_changes_and_near_zero_next_to_nothing(coarse_card):
    _, m = moved(EmbeddedEngine(coarse_card, TICK), 2, 30, u=0.5)
    np.testing.assert_array_equal(moved(EmbeddedEngine(coarse_card.at(0), TICK), 2, 30, u=0.5)[1], m)
    np.testing.assert_allclose(moved(EmbeddedEngine(coarse_card.at(1e-9), TICK), 2, 30, u=0.5)[1], m, atol=1e-5)


def test_devices_at_two_temperatures_in_one_batch(coarse_card):
    engine = EmbeddedEngine([coarse_card, coarse_card.at(300)], TICK)
    u = np.full((30, 3), 0.5)
    _, m = drive(engine.node, u, engine.node.start(3, 4, [0, 1, 0]))
    _, cold = moved(EmbeddedEngine(coarse_card, TICK), 1, 30, u=0.5)
    np.testing.assert_allclose(m[:, [0, 2]], cold.repeat(2, axis=1), atol=1e-9)
    assert np.abs(m[:, 1] - cold[:, 0]).max() > 0.05


@pytest.mark.parametrize("temperature", [-1.0, np.nan, 1e5])
def test_a_temperature_that_cannot_be(disc, temperature):
    with pytest.raises(SpinloomError, match=r"temperature.*K, e\.g\. 300"):
        disc.at(temperature)
