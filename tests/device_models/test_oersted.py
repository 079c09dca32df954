"""The Oersted field: analytic fields of long conductors, and what it does to a layer."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.fields import linear_field
from spinloom.device_models.engines.llg import Motion, llg, longest_step
from spinloom.device_models.engines.mirrors import in_order
from spinloom.device_models.oersted import oersted_pattern


def centres(card):
    nx, ny, _ = card.geometry.shape_cells
    dx, dy, _ = card.geometry.cell
    x = (np.arange(nx) + 0.5 - nx / 2) * dx
    y = (np.arange(ny) + 0.5 - ny / 2) * dy
    return np.meshgrid(x, y, indexing="ij")


@pytest.fixture
def with_field(disc, alter):
    def make(direction="up", **geometry):
        return alter(disc, geometry=geometry, torque={"oersted": direction})

    return make


def test_there_is_none_unless_it_is_asked_for(disc, with_field):
    assert disc.torque.oersted == "off"
    assert not oersted_pattern(disc).any()
    np.testing.assert_array_equal(oersted_pattern(with_field("down")), -oersted_pattern(with_field("up")))


@pytest.mark.parametrize("size", [(60e-9, 60e-9, 2e-9), (80e-9, 50e-9, 2e-9)])
def test_inside_an_ellipse_it_grows_evenly_from_the_axis(with_field, size):
    """H = J (-a y, b x) / (a + b) for half axes b along x and a along y; J r / 2 in a disc."""
    card = with_field(size=size, cell=(size[0] / 80, size[1] / 80, 2e-9))
    x, y = centres(card)
    b, a = size[0] / 2, size[1] / 2
    inside = (x / b) ** 2 + (y / a) ** 2 < 0.8**2
    H = oersted_pattern(card)[:, :, 0]
    expected = card.torque.J_max / (a + b) * np.stack([-b * y, a * x, 0 * x], axis=-1)
    error = np.linalg.norm((H - expected)[inside], axis=-1)
    assert error.max() < 0.005 * np.linalg.norm(expected[inside], axis=-1).max()


def test_its_curl_is_the_current_and_its_divergence_none(with_field):
    card = with_field(size=(60e-9, 60e-9, 2e-9), cell=(0.75e-9, 0.75e-9, 2e-9))
    H, d, J = oersted_pattern(card)[:, :, 0], 0.75e-9, card.torque.J_max
    x, y = centres(card)
    inside = np.hypot(x, y) < 20e-9
    curl = np.gradient(H[..., 1], d, axis=0) - np.gradient(H[..., 0], d, axis=1)
    divergence = np.gradient(H[..., 0], d, axis=0) + np.gradient(H[..., 1], d, axis=1)
    np.testing.assert_allclose(curl[inside], J, rtol=1e-3)
    np.testing.assert_allclose(divergence[inside], 0, atol=1e-3 * J)


def test_around_any_outline_it_circulates_by_the_current(with_field):
    """Ampere's law along the cell centres outside a box whose cells are not square, and next to its edge."""
    size, cell = (40e-9, 30e-9, 2e-9), (0.5e-9, 1e-9, 2e-9)
    card = with_field(shape="box", size=size, cell=cell)
    H = oersted_pattern(card)[:, :, 0]
    dx, dy, _ = cell
    along_x = np.trapezoid(H[:, 0, 0] - H[:, -1, 0], dx=dx)
    along_y = np.trapezoid(H[-1, :, 1] - H[0, :, 1], dx=dy)
    enclosed = card.torque.J_max * (size[0] - dx) * (size[1] - dy)
    assert along_x + along_y == pytest.approx(enclosed, rel=2e-3)


def test_one_cell_against_quadrature(with_field):
    """The rectangle's closed form, at the centre of its neighbours: Gauss-Legendre over the source cell."""
    cell = (3e-9, 2e-9, 2e-9)
    wide = with_field(shape="box", size=(9e-9, 4e-9, 2e-9), cell=cell)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    expected = np.zeros((3, 2, 2))
    x, y = centres(wide)
    for x0, y0 in zip(x.ravel(), y.ravel(), strict=True):
        X = x[..., None, None] - (x0 + nodes[:, None] * cell[0] / 2)
        Y = y[..., None, None] - (y0 + nodes[None, :] * cell[1] / 2)
        w = weights[:, None] * weights[None, :] * cell[0] * cell[1] / 4 / (X**2 + Y**2)
        own = (x == x0) & (y == y0)
        expected += np.where(own[..., None], 0, np.stack([-(w * Y).sum((-2, -1)), (w * X).sum((-2, -1))], axis=-1))
    expected *= wide.torque.J_max / (2 * np.pi)
    np.testing.assert_allclose(oersted_pattern(wide)[:, :, 0, :2], expected, rtol=1e-10, atol=1e-6)


def test_of_the_default_device(with_field):
    """1.5 kA/m in the outermost cells, J R / 2 = 1.6 kA/m at the rim, and the same in every layer of cells."""
    card = with_field()
    H = oersted_pattern(card)
    assert np.linalg.norm(H[card.geometry.mask()], axis=-1).max() == pytest.approx(1492, abs=1)
    x, y = centres(card)
    rightmost = H[(x > 27e-9) & (np.abs(y) < 1e-9)][0, 0]
    assert rightmost[1] > 1400
    assert not H[..., 2].any()
    layers = oersted_pattern(with_field(cell=(4e-9, 4e-9, 1e-9)))
    np.testing.assert_array_equal(layers, np.repeat(H, 2, axis=2))


@pytest.mark.parametrize("u", [1.0, -0.4])
def test_it_turns_m_as_a_field_does(disc, with_field, u):
    """First order in time: -gamma (m x H + alpha m x (m x H)) / (1 + alpha^2), on top of all else."""
    rng = np.random.default_rng(3)
    mask = disc.geometry.mask()
    m = rng.standard_normal((3, mask.sum(), 1))
    m = m / np.linalg.norm(m, axis=0)
    which = np.zeros(1, dtype=int)

    def rate(card):
        rhs = llg(Motion.of([card]).at(which), linear_field([card], mask).at(which))
        return np.stack(rhs(tuple(m), jnp.array([u]), None))[..., 0].T

    H, rows, alpha = u * oersted_pattern(with_field())[in_order(mask)[0]], m[..., 0].T, disc.material.alpha
    precession = -disc.material.gamma0 * np.cross(rows, H)
    expected = (precession + alpha * np.cross(rows, precession)) / (1 + alpha**2)
    found = rate(with_field()) - rate(disc)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_devices_with_and_without_it_share_a_batch(coarse_card, alter):
    """One without moves as it does alone; reversed, the field of m is turned about the axis, and <m> is the same."""
    up, down = (alter(coarse_card, torque={"oersted": way}) for way in ("up", "down"))
    assert longest_step(up) < longest_step(coarse_card)
    u = np.full((40, 3), 0.8)
    initial = coarse_card.geometry.mask()[..., None] * np.array([0.0, 1.0, 0.0])
    durations = np.full(40, 7.5e-12)
    fields, m = EmbeddedEngine([coarse_card, up, down], 7.5e-12, initial).play(durations, u, devices=np.arange(3))
    alone, m_alone = EmbeddedEngine(coarse_card, 7.5e-12, initial).play(durations, u)
    np.testing.assert_allclose(fields[0], alone[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(m[:, 0], m_alone[:, 0], rtol=0, atol=1e-13)
    assert np.abs(fields[1] - fields[0]).max() > 0.005 < np.abs(fields[2] - fields[1]).max()
    np.testing.assert_allclose(fields[1], fields[2, ::-1, ::-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(m[:, 1], m[:, 2], rtol=0, atol=1e-12)


def test_without_it_nothing_is_added(coarse_card, alter):
    """Not even zeros: the compiled program of a card without it has no such term."""
    assert Motion.of([coarse_card]).oersted is None
    assert Motion.of([coarse_card, alter(coarse_card, torque={"oersted": "up"})]).oersted[0].shape == (32, 2)
