"""The demagnetisation tensor against closed forms, quadrature-free high precision, and its own symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp, mpf

from spinloom.device_models.card import Geometry
from spinloom.device_models.engines.demag import demag_factors, demag_tensor

CELLS = [(1, 1, 1), (4e-9, 4e-9, 2e-9), (2.5e-9, 2.5e-9, 1.2e-9), (5e-9, 3e-9, 2e-9), (10e-9, 10e-9, 1e-9)]


def at(tensor, offset):
    """The six components for an offset in cells."""
    centre = (np.array(tensor.shape[1:]) - 1) // 2
    return tensor[(slice(None), *(centre + np.array(offset)))]


def aharoni(a, b, c):
    """N_zz of a prism with edges 2a, 2b, 2c: Aharoni, J. Appl. Phys. 83, 3432 (1998), eq. (1)."""
    r = math.sqrt(a * a + b * b + c * c)
    ab, bc, ac = math.hypot(a, b), math.hypot(b, c), math.hypot(a, c)
    return (
        (b * b - c * c) / (2 * b * c) * math.log((r - a) / (r + a))
        + (a * a - c * c) / (2 * a * c) * math.log((r - b) / (r + b))
        + b / (2 * c) * math.log((ab + a) / (ab - a))
        + a / (2 * c) * math.log((ab + b) / (ab - b))
        + c / (2 * a) * math.log((bc - b) / (bc + b))
        + c / (2 * b) * math.log((ac - a) / (ac + a))
        + 2 * math.atan(a * b / (c * r))
        + (a**3 + b**3 - 2 * c**3) / (3 * a * b * c)
        + (a * a + b * b - 2 * c * c) / (3 * a * b * c) * r
        + c / (a * b) * (ac + bc)
        - (ab**3 + bc**3 + ac**3) / (3 * a * b * c)
    ) / math.pi


def newell(offset, cell):
    """N_xx, N_zz and N_xy with 60 digits: Newell, Williams and Dunlop (1993), written out again from the paper."""
    with mp.workdps(60):
        d = [mpf(edge) for edge in cell]
        at = [mpf(int(n)) * edge for n, edge in zip(offset, d, strict=True)]

        def f(x, y, z):
            r = mp.sqrt(x * x + y * y + z * z)
            total = (2 * x * x - y * y - z * z) * r / 6
            if x or z:
                total += y / 2 * (z * z - x * x) * mp.asinh(y / mp.sqrt(x * x + z * z))
            if x or y:
                total += z / 2 * (y * y - x * x) * mp.asinh(z / mp.sqrt(x * x + y * y))
            if x and y and z:
                total -= x * y * z * mp.atan(y * z / (x * r))
            return total

        def g(x, y, z):
            r = mp.sqrt(x * x + y * y + z * z)
            total = -x * y * r / 3
            if x and y and z:
                total += x * y * z * mp.asinh(z / mp.sqrt(x * x + y * y))
            if y and z:
                total += -(z * y * y) / 2 * mp.atan(x * z / (y * r))
            if x and z:
                total += -(z * x * x) / 2 * mp.atan(y * z / (x * r))
            if z:
                total += -(z**3) / 6 * mp.atan(x * y / (z * r))
            if y or z:
                total += y / 6 * (3 * z * z - y * y) * mp.asinh(x / mp.sqrt(y * y + z * z))
            if x or z:
                total += x / 6 * (3 * z * z - x * x) * mp.asinh(y / mp.sqrt(x * x + z * z))
            return total

        def average(function, axes):
            total = mpf(0)
            for i, wi in ((-1, 1), (0, -2), (1, 1)):
                for j, wj in ((-1, 1), (0, -2), (1, 1)):
                    for k, wk in ((-1, 1), (0, -2), (1, 1)):
                        moved = [at[0] + i * d[0], at[1] + j * d[1], at[2] + k * d[2]]
                        total += wi * wj * wk * function(*(moved[axis] for axis in axes))
            return -total / (4 * mp.pi * d[0] * d[1] * d[2])

        return [float(average(f, (0, 1, 2))), float(average(f, (2, 1, 0))), float(average(g, (0, 1, 2)))]


def test_cube():
    tensor = at(demag_tensor((1, 1, 1), (3e-9, 3e-9, 3e-9)), (0, 0, 0))
    np.testing.assert_allclose(tensor, [1 / 3] * 3 + [0] * 3, atol=1e-14)


@pytest.mark.parametrize(
    "cell", [(1, 1, 1), (4, 4, 2), (4, 4, 1), (1, 1, 10), (10, 1, 1), (50, 50, 1), (100, 20, 1), (1, 2, 3)]
)
def test_self_term_is_that_of_a_prism(cell):
    a, b, c = cell
    expected = [aharoni(b, c, a), aharoni(c, a, b), aharoni(a, b, c)]
    np.testing.assert_allclose(at(demag_tensor((1, 1, 1), cell), (0, 0, 0))[:3], expected, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_trace(cell):
    """The trace is 1 inside the source and 0 elsewhere."""
    tensor = demag_tensor((9, 8, 3), cell)
    trace = tensor[:3].sum(axis=0)
    assert trace[8, 7, 2] == pytest.approx(1, abs=1e-13)
    trace[8, 7, 2] = 0
    assert np.abs(trace).max() < 1e-13


@pytest.mark.parametrize("cell", CELLS[1:3])
def test_symmetry(cell):
    tensor = demag_tensor((5, 6, 3), cell)
    np.testing.assert_allclose(tensor, tensor[:, ::-1, ::-1, ::-1], atol=1e-16)
    np.testing.assert_allclose(tensor[:4], tensor[:4, :, :, ::-1], atol=1e-16)
    np.testing.assert_allclose(tensor[3:5], -tensor[3:5, ::-1], atol=1e-16)
    square = demag_tensor((5, 5, 3), cell)
    np.testing.assert_allclose(square[0], square[1].swapaxes(0, 1), atol=1e-14)
    np.testing.assert_allclose(square[3], square[3].swapaxes(0, 1), atol=1e-14)


@pytest.mark.parametrize(
    ("cell", "offset"),
    [
        ((4, 4, 2), (0, 0, 0)),
        ((4, 4, 2), (1, 0, 0)),
        ((4, 4, 2), (1, 1, 0)),
        ((4, 4, 2), (3, 2, 0)),
        ((4, 4, 2), (4, 3, 0)),
        ((4, 4, 2), (5, 0, 0)),
        ((4, 4, 2), (14, 11, 0)),
        ((4, 4, 2), (60, 20, 0)),
        ((4, 4, 2), (2, 1, 3)),
        ((10, 10, 1), (4, 2, 0)),
        ((10, 10, 1), (6, 1, 0)),
        ((5, 3, 1), (1, 9, 2)),
    ],
)
def test_against_sixty_digits(cell, offset):
    """Both branches, and the seam between them, keep 8 digits relative to the tensor at that distance."""
    shape = tuple(max(n, 0) + 1 for n in offset)
    expected = newell(offset, cell)
    found = at(demag_tensor(shape, cell), offset)[[0, 2, 3]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * max(np.abs(expected)))


def test_near_and_far_branches_meet():
    """r^3 N along a line is smooth where the closed form hands over to quadrature."""
    tensor = demag_tensor((16, 1, 1), (1.0, 1.0, 0.5))
    n = np.arange(2, 16)
    scaled = at(tensor, (0, 0, 0))[0] * 0 + tensor[0, 15 + n, 0, 0] * n**3
    third = np.diff(np.log(-scaled), 3)
    assert (np.abs(third[1:]) < np.abs(third[:-1])).all()


@pytest.mark.parametrize("offset", [(40, 0, 0), (0, 40, 0), (25, 31, 0), (20, 10, 30)])
def test_far_field_is_a_dipole(offset):
    cell = np.array([4.0, 4.0, 3.0])
    shape = tuple(n + 1 for n in offset)
    r = np.array(offset) * cell
    distance = np.linalg.norm(r)
    kernel = cell.prod() / (4 * np.pi * distance**3) * (np.eye(3) - 3 * np.outer(r, r) / distance**2)
    expected = kernel[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(at(demag_tensor(shape, tuple(cell)), offset), expected, atol=2e-3 * np.abs(kernel).max())


@pytest.mark.parametrize("cell", CELLS)
def test_odd_terms_vanish_exactly(cell):
    """A layer of one cell couples x and y with each other but never with z."""
    tensor = demag_tensor((20, 12, 1), cell)
    assert not tensor[4:].any()
    assert not tensor[3, 19].any()
    assert not tensor[3, :, 11].any()


def test_only_ratios_matter():
    np.testing.assert_allclose(
        demag_tensor((6, 5, 2), (4e-9, 3e-9, 2e-9)), demag_tensor((6, 5, 2), (4, 3, 2)), atol=1e-15
    )


def test_cells_add_up_to_the_whole():
    """The self term of a body is the average of its cells' tensors over all pairs."""
    n, cell = (4, 3, 2), (1.0, 1.5, 0.7)
    tensor = demag_tensor(n, cell)
    weights = [np.concatenate([np.arange(1, k), [k], np.arange(k - 1, 0, -1)]) for k in n]
    pairs = np.einsum("i,j,k->ijk", *weights) / math.prod(n)
    whole = at(demag_tensor((1, 1, 1), tuple(k * c for k, c in zip(n, cell, strict=True))), (0, 0, 0))
    np.testing.assert_allclose((tensor * pairs).sum(axis=(1, 2, 3)), whole, atol=1e-13)


def layer(shape, size, cell):
    return Geometry(shape=shape, size=size, cell=cell)


@pytest.mark.parametrize("edges", [(40, 40, 40), (60, 40, 20), (100, 30, 4)])
def test_the_factors_of_a_box_are_those_of_aharoni(edges):
    """However many cells it has."""
    x, y, z = np.array(edges) * 1e-9
    for cells in ((1, 1, 1), (5, 2, 2)):
        found = demag_factors(layer("box", (x, y, z), (x / cells[0], y / cells[1], z / cells[2])))
        expected = aharoni(y, z, x), aharoni(x, z, y), aharoni(x, y, z)
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_cube_has_no_axis():
    np.testing.assert_allclose(demag_factors(layer("box", (3e-8,) * 3, (1e-8,) * 3)), 1 / 3, atol=1e-12)


def test_a_thin_disc_is_a_film():
    """To first order in thickness over diameter, N_z of a cylinder is 1 - 2 t (ln(4 d / t) - 1/2) / (pi d)."""
    d, t = 200e-9, 2e-9
    x, y, z = np.transpose([demag_factors(layer("ellipse", (d, d, t), (d / n, d / n, t))) for n in (20, 80)])
    np.testing.assert_allclose(x, y, atol=1e-12)
    np.testing.assert_allclose(x + y + z, 1, atol=1e-10)
    # The edge of a mesh is a staircase, longer than the circle, so it has more charge than the circle.
    coarse, fine = (1 - z) / (2 * t * (math.log(4 * d / t) - 0.5) / (math.pi * d))
    assert 1 < fine < 1.03 < coarse < 1.1


@pytest.mark.parametrize("shape", ["ellipse", "box"])
def test_the_factors_add_up_to_one_and_are_those_of_the_form_alone(shape):
    small = demag_factors(layer(shape, (80e-9, 50e-9, 3e-9), (10e-9, 10e-9, 1.5e-9)))
    assert sum(small) == pytest.approx(1, abs=1e-10)
    assert 0 < small[0] < small[1] < small[2] < 1
    large = demag_factors(layer(shape, (240e-9, 150e-9, 9e-9), (30e-9, 30e-9, 4.5e-9)))
    np.testing.assert_allclose(large, small, rtol=1e-10)
    turned = demag_factors(layer(shape, (50e-9, 80e-9, 3e-9), (10e-9, 10e-9, 1.5e-9)))
    np.testing.assert_allclose(turned, np.array(small)[[1, 0, 2]], rtol=1e-10)
