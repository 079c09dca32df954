"""The effective field: matrix and convolution agree, and each term has its analytic value."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.card import MU0
from spinloom.device_models.engines.convolution import Convolved
from spinloom.device_models.engines.fields import DENSE_LIMIT, Blended, Dense, Shared, linear_field
from spinloom.device_models.engines.flatness import TOLERANCE, blend
from spinloom.device_models.engines.mirrors import Mirrors, NoMirrors, in_order
from spinloom.device_models.errors import SpinloomError

SHAPES = {
    "one layer": {"size": (40e-9, 32e-9, 2e-9), "cell": (4e-9, 4e-9, 2e-9)},
    "three layers": {"size": (40e-9, 32e-9, 6e-9), "cell": (4e-9, 4e-9, 2e-9)},
    "one column": {"size": (4e-9, 4e-9, 20e-9), "cell": (4e-9, 4e-9, 4e-9)},
    "uneven cells": {"size": (40e-9, 30e-9, 4e-9), "cell": (5e-9, 3e-9, 1e-9)},
}


def dense_field(card, mask):
    return Dense.of(card, mask).at(np.zeros(1, dtype=int))


def fft_field(card, mask):
    return Convolved.of([card], mask).at(np.zeros(1, dtype=int))


def field_of(card):
    return linear_field([card], card.geometry.mask()).at(np.zeros(1, dtype=int))


def random_directions(cells, devices, seed):
    m = np.random.default_rng(seed).standard_normal((3, cells, devices))
    return tuple(m / np.linalg.norm(m, axis=0))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("Ku", "axis"), [(0.0, (0, 0, 1)), (5e5, (0, 0, 1)), (-3e5, (1, 2, 3))])
def test_matrix_and_convolution_agree(disc, alter, shape, Ku, axis):
    card = alter(disc, geometry=shape, material={"Ku": Ku, "Ku_axis": axis})
    mask = card.geometry.mask()
    m = random_directions(mask.sum(), 3, 1)
    dense, convolved = dense_field(card, mask)(m), fft_field(card, mask)(m)
    scale = np.abs(np.stack(dense)).max()
    np.testing.assert_allclose(np.stack(dense), np.stack(convolved), rtol=0, atol=1e-12 * scale)


def test_the_field_is_linear_and_symmetric(disc, alter):
    """Reciprocity: the energy's second derivative is symmetric, so a . H(b) = b . H(a)."""
    card = alter(disc, geometry=SHAPES["three layers"], material={"Ku": 4e5, "Ku_axis": (1, 0, 1)})
    field = field_of(card)
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3, card.geometry.mask().sum(), 1))
    ha, hb = (np.stack(field(tuple(v))) for v in (a, b))
    assert np.vdot(a, hb) == pytest.approx(np.vdot(b, ha), rel=1e-12)
    np.testing.assert_allclose(np.stack(field(tuple(a + 2 * b))), ha + 2 * hb, atol=1e-12 * np.abs(ha).max())


def exchange_and_anisotropy(card, mask, m):
    """The field without demagnetisation: what is left at the limit of a tiny Ms is taken off exactly."""
    from spinloom.device_models.engines.demag import demag_tensor

    index = np.transpose(in_order(mask)[0])
    tensor = demag_tensor(mask.shape, card.geometry.cell)
    offset = index[:, None] - index[None] + np.array(mask.shape) - 1
    pair = tensor[(slice(None), *np.moveaxis(offset, -1, 0))]
    full = pair[[[0, 3, 4], [3, 1, 5], [4, 5, 2]]]
    demag = -card.material.Ms * np.einsum("abij,bjd->aid", full, np.stack(m))
    return np.stack(field_of(card)(m)) - demag


def test_exchange_of_a_spin_spiral(disc, alter):
    """The six-neighbour Laplacian of a spiral of wave number k is -(2 - 2 cos k d) / d^2 m in the bulk."""
    card = alter(disc, geometry={"shape": "box", "size": (80e-9, 8e-9, 4e-9), "cell": (2e-9, 4e-9, 2e-9)})
    mask = card.geometry.mask()
    x = in_order(mask)[0][0] * 2e-9
    k = 2 * np.pi / 37e-9
    m = (np.cos(k * x)[:, None], np.sin(k * x)[:, None], 0 * x[:, None])
    prefactor = 2 * card.material.A / (MU0 * card.material.Ms)
    expected = -prefactor * (2 - 2 * np.cos(k * 2e-9)) / 4e-18 * np.stack(m)
    bulk = (x > 0) & (x < 78e-9)
    found = exchange_and_anisotropy(card, mask, m)
    np.testing.assert_allclose(found[:, bulk], expected[:, bulk], rtol=0, atol=1e-9 * np.abs(expected).max())
    # A free boundary: the first cell has one neighbour only.
    first = prefactor * (np.stack(m)[:, x == 2e-9] - np.stack(m)[:, x == 0]) / 4e-18
    np.testing.assert_allclose(found[:, x == 0], first, rtol=0, atol=1e-9 * np.abs(first).max())


def test_uniform_magnetisation_has_no_exchange_field(disc, alter):
    axis = np.array([1.0, 2.0, 2.0]) / 3
    card = alter(disc, material={"Ku": 5e5, "Ku_axis": tuple(axis)})
    mask = card.geometry.mask()
    n = np.array([0.6, 0.0, 0.8])
    m = tuple(np.full((mask.sum(), 1), c) for c in n)
    expected = 2 * card.material.Ku / (MU0 * card.material.Ms) * (n @ axis) * axis
    found = exchange_and_anisotropy(card, mask, m)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], found.shape), atol=1e-8)


def test_demagnetisation_of_one_cell(disc, alter):
    """A single cube has H = -Ms m / 3."""
    card = alter(disc, geometry={"shape": "box", "size": (3e-9,) * 3, "cell": (3e-9,) * 3})
    m = random_directions(1, 4, 3)
    for make in (dense_field, fft_field):
        found = np.stack(make(card, card.geometry.mask())(m))
        np.testing.assert_allclose(found, -card.material.Ms / 3 * np.stack(m), rtol=1e-12)


def test_choice_by_size(disc, alter):
    """Both sides of the limit give a field, and the same one."""
    small = alter(disc, geometry={"shape": "box", "size": (96e-9, 40e-9, 2e-9), "cell": (4e-9, 4e-9, 2e-9)})
    assert small.geometry.mask().sum() < DENSE_LIMIT
    large = alter(disc, geometry={"shape": "box", "size": (192e-9, 96e-9, 2e-9), "cell": (4e-9, 4e-9, 2e-9)})
    assert large.geometry.mask().sum() > DENSE_LIMIT
    for card in (small, large):
        mask = card.geometry.mask()
        m = random_directions(mask.sum(), 1, 4)
        np.testing.assert_allclose(np.stack(field_of(card)(m)), np.stack(fft_field(card, mask)(m)), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", [Shared, Convolved])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_devices_that_differ_have_their_own_field(disc, alter, shape, kind):
    """Other materials, and a mesh 3 % larger: each member of the batch feels what its card alone says."""
    larger = {name: tuple(1.03 * d for d in edges) for name, edges in shape.items()}
    cards = [
        alter(disc, geometry=shape),
        alter(disc, geometry=shape, material={"Ms": 1.1e6, "A": 9e-12, "Ku": 3e5, "Ku_axis": (1, 2, 3)}),
        alter(disc, geometry=larger, material={"Ku": -1e5}),
    ]
    mask = cards[0].geometry.mask()
    which = np.array([2, 0, 1, 2])
    m = random_directions(mask.sum(), 4, 5)
    found = np.stack(kind.of(cards, mask).at(which)(m))
    for at, device in enumerate(which):
        alone = np.stack(dense_field(cards[device], mask)(tuple(c[:, [at]] for c in m)))[..., 0]
        np.testing.assert_allclose(found[..., at], alone, rtol=0, atol=1e-12 * np.abs(alone).max())


def test_devices_with_the_same_field_share_one_matrix(disc, alter):
    mask = disc.geometry.mask()
    assert isinstance(linear_field([disc, alter(disc, material={"alpha": 0.02})], mask), Dense)
    assert isinstance(linear_field([disc, alter(disc, material={"A": 1e-11})], mask), Shared)
    thicker = {"size": (60e-9, 60e-9, 2.1e-9), "cell": (4e-9, 4e-9, 2.1e-9)}
    assert isinstance(linear_field([disc, alter(disc, geometry=thicker)], mask), Blended)


FLAT = {**SHAPES, "layers of uneven cells": {"size": (30e-9, 20e-9, 4e-9), "cell": (5e-9, 2.5e-9, 2e-9)}}


def population(disc, alter, shape, heights):
    """Devices of other widths, heights and materials."""
    cards = []
    for k, height in enumerate(heights):
        by = (1 + 0.02 * k, 1 + 0.02 * k, height)
        geometry = {name: tuple(f * d for f, d in zip(by, edges, strict=True)) for name, edges in shape.items()}
        material = {"Ms": 8e5 * (1 + 0.1 * k), "A": 13e-12 * (1 - 0.05 * k), "Ku": 1e5 * k, "Ku_axis": (1, 2, 3)}
        cards.append(alter(disc, geometry=geometry, material=material))
    return cards


@pytest.mark.parametrize("kind", [Blended, Convolved])
@pytest.mark.parametrize("shape", FLAT.values(), ids=FLAT)
def test_devices_of_other_heights_have_their_own_field(disc, alter, shape, kind):
    """Up to 15 % thinner and thicker: off by less than 1e-7 of the demagnetising field, exchange to the last digits."""
    cards = population(disc, alter, shape, (1.0, 0.87, 1.15, 1.05))
    mask = cards[0].geometry.mask()
    which = np.array([2, 0, 1, 2, 3])
    m = random_directions(mask.sum(), 5, 5)
    found = np.stack(kind.of(cards, mask).at(which)(m))
    for at, device in enumerate(which):
        one = tuple(c[:, [at]] for c in m)
        alone = np.stack(dense_field(cards[device], mask)(one))[..., 0]
        least = 0.1 * cards[device].material.Ms
        np.testing.assert_allclose(found[..., at], alone, rtol=1e-12, atol=1e-7 * least)


def test_heights_that_are_far_apart_take_more_matrices(disc, alter):
    counts = []
    for most in (1.0201, 1.07, 1.22, 1.43):
        cards = population(disc, alter, SHAPES["one layer"], (1.0, most))
        counts.append(len(blend(cards)[0]))
    assert counts[0] == 2
    assert counts[-1] <= 5
    assert counts == sorted(counts)
    assert TOLERANCE == 1e-7
    far = population(disc, alter, SHAPES["three layers"], (1.0, 5.0))
    with pytest.raises(SpinloomError, match="height of a cell .* from 0.5 to 2.45; .*lower the spread of diameter"):
        blend(far)


def test_single_precision_where_it_costs_nothing(disc, alter):
    cards = population(disc, alter, SHAPES["one layer"], (0.87, 1.0, 1.15))
    mask = cards[0].geometry.mask()
    m, which = random_directions(mask.sum(), 3, 6), np.arange(3)
    exact = Blended.of(cards, mask)
    found, quick = (np.stack(field.at(which)(m)) for field in (exact, exact.quick()))
    assert 0 < np.abs(quick - found).max() < 1e-8 * cards[0].material.Ms
    assert quick.dtype == np.float64


@pytest.mark.parametrize("cells", [(6, 5, 1), (5, 5, 2), (1, 4, 1), (4, 1, 1)])
@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_mirrors_change_nothing(disc, alter, cells, shape):
    """Four small matrices give the field of one large one, thin or thick, on odd and even meshes."""
    size = tuple(n * 4e-9 for n in cells)
    card = alter(disc, geometry={"shape": shape, "size": size, "cell": (4e-9,) * 3}, material={"Ku": 3e5})
    mask = card.geometry.mask()
    m = tuple(np.random.default_rng(5).standard_normal((3, mask.sum(), 2)))
    split = Dense.of(card, mask)
    assert isinstance(split.mirrors, Mirrors)
    matrix = _one_matrix(card, mask)
    expected = np.einsum("aibj,bjn->ain", matrix, np.stack(m))
    found = np.stack(split.at(None)(m))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(matrix).sum(axis=(2, 3)).max())


def _one_matrix(card, mask):
    """The field of every unit vector, cell by cell, by FFT."""
    convolved = Convolved.of([card], mask).at(np.zeros(3 * mask.sum(), dtype=int))
    units = np.eye(3 * mask.sum()).reshape(3, mask.sum(), -1)
    return np.stack(convolved(tuple(units))).reshape(3, mask.sum(), 3, mask.sum())


def test_what_mirrors_do_not_leave_alone_stays_one_matrix(disc, alter):
    """An oblique easy axis couples x and y in the same cell: even with even."""
    card = alter(disc, geometry={"size": (24e-9, 24e-9, 2e-9)}, material={"Ku": 3e5, "Ku_axis": (0.6, 0.8, 0)})
    assert isinstance(Dense.of(card, card.geometry.mask()).mirrors, NoMirrors)
    lopsided = np.ones((3, 3, 1), dtype=bool)
    lopsided[0, 0] = False
    cells, mirrors = in_order(lopsided)
    assert isinstance(mirrors, NoMirrors)
    np.testing.assert_array_equal(np.transpose(cells), np.argwhere(lopsided))


def test_cells_in_order_are_all_cells_and_images_lie_together(disc):
    mask = disc.geometry.mask()
    cells, mirrors = in_order(mask)
    grid = np.zeros(mask.shape, dtype=int)
    grid[cells] += 1
    np.testing.assert_array_equal(grid, mask)
    x = cells[0] - (mask.shape[0] - 1) / 2
    both, odd_y, odd_x, odd = mirrors.parts(x[:, None])
    assert np.abs(odd_x).max() > 1
    np.testing.assert_allclose(np.concatenate([both, odd_y, odd]), 0, atol=1e-12)
