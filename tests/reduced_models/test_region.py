"""The region of calibration: what is inside, what is outside, and what is said about it."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomWarning
from spinloom.reduced_models.region import OutsideCalibration, Region, Watch


@pytest.fixture(scope="module")
def data():
    """Random walks on the upper half of the sphere, the drive within +-0.5."""
    rng = np.random.default_rng(0)
    m = np.cumsum(rng.standard_normal((16, 400, 3)) * 0.05, axis=1)
    m[..., 2] = 1 + np.abs(m[..., 2])
    m /= np.linalg.norm(m, axis=-1, keepdims=True)
    return m, rng.uniform(-0.5, 0.5, (16, 400))


@pytest.fixture(scope="module")
def region(data):
    return Region.from_calibration(*data)


def test_calibration_points_are_inside(region, data):
    assert region.outside(*data) == 0


def test_new_points_like_them_are_inside(region, data):
    m, u = data
    rng = np.random.default_rng(1)
    near = m + rng.uniform(-1, 1, m.shape) * region.threshold / 10
    assert region.outside(near, u) < 0.01


def test_other_points_are_outside(region, data):
    m, u = data
    assert region.outside(m * [1, 1, -1], u) > 0.9
    assert region.outside(m, u + 3) == 1


def test_share(region, data):
    m, u = data
    mixed = u.copy()
    mixed[:4] += 3
    assert region.outside(m, mixed) == pytest.approx(0.25)


def test_threshold_is_that_of_unseen_trajectories(data):
    """One that is drawn from the same law leaves the region seldom."""
    m, u = data
    region = Region.from_calibration(m[:12], u[:12])
    assert 0 < region.threshold < 0.5
    assert region.outside(m[12:], u[12:]) < 0.2


def test_points_are_thinned():
    rng = np.random.default_rng(2)
    region = Region.from_calibration(rng.uniform(-1, 1, (8, 9000, 3)), rng.uniform(-1, 1, (8, 9000)))
    assert 8000 <= len(region.points) < 9000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_outside(region, data, value):
    m, u = (part.copy() for part in data)
    m[2, 3, 1] = value
    assert region.outside(m, u) > 0
    u[:] = value
    assert region.outside(m, u) == 1


def test_warning(region):
    with pytest.warns(OutsideCalibration, match=r"training: 12\.0% of the node-ticks were outside .* calibrate again"):
        region.warn(0.12, "training")
    assert issubclass(OutsideCalibration, SpinloomWarning)


def test_no_warning_for_a_small_share(region):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        region.warn(0.009, "training")


@pytest.fixture(scope="module")
def run(data):
    """A run of three networks of two nodes: the first stays inside, the others leave, one for longer."""
    m, u = data
    m = np.moveaxis(m[:6], 0, 1).reshape(400, 3, 2, 3)
    u = np.moveaxis(u[:6], 0, 1).reshape(400, 3, 2).copy()
    u[100:140, 1, 0] += 3
    u[300:, 2] += 3
    return m, u


def pieces(run, size):
    m, u = run
    return [SimpleNamespace(m=m[at : at + size], u=u[at : at + size]) for at in range(0, len(u), size)]


@pytest.mark.parametrize("size", [1, 7, 50, 400])
def test_a_watch_sees_what_the_region_says_of_the_whole(region, run, size):
    m, u = run
    watch = Watch(region, 1.0, u.size)
    for piece in pieces(run, size):
        watch(piece)
    expected = [region.outside(m[:, network], u[:, network]) for network in range(3)]
    assert expected == pytest.approx([0, 0.05, 0.25])
    assert watch.outside == pytest.approx(expected)
    assert watch.outside_of_all == pytest.approx(region.outside(m, u))


def test_a_watch_counts_in_units_of_the_device(region, run):
    m, u = run
    watch = Watch(region, 0.5, u.size)
    watch(SimpleNamespace(m=m, u=2 * u))
    assert watch.outside_of_all == pytest.approx(region.outside(m, u))
    np.testing.assert_array_equal(run[1], u)


def test_a_watch_over_a_long_run_looks_at_the_same_sample_however_it_is_cut(region, run, monkeypatch):
    monkeypatch.setattr("spinloom.reduced_models.region._MOST_QUERIES", 300)
    found = []
    for size in (1, 3, 7, 64, 400):
        watch = Watch(region, 1.0, run[1].size)
        assert watch.every == 8
        for piece in pieces(run, size):
            watch(piece)
        assert sum(ticks for ticks, _ in watch.seen) == 50
        found.append([*watch.outside, watch.outside_of_all])
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (5, 4)), rtol=1e-12)
    assert found[0] == pytest.approx([0, 0.05, 0.25, 0.1], abs=0.02)


def test_a_watch_over_groups_of_networks_knows_the_share_of_all(region, run):
    """As in recognition, where trials go by in groups that need not be of the same size."""
    m, u = run
    watch = Watch(region, 1.0, u.size)
    for group in (slice(0, 2), slice(2, 3)):
        for piece in pieces((m[:, group], u[:, group]), 150):
            watch(piece)
    assert watch.outside_of_all == pytest.approx(region.outside(m, u))


def test_a_watch_takes_what_is_not_finite_as_outside(region, run):
    m, u = (part.copy() for part in run)
    m[200:, 0] = np.nan
    watch = Watch(region, 1.0, u.size)
    watch(SimpleNamespace(m=m, u=u))
    assert watch.outside == pytest.approx([0.5, 0.05, 0.25])
