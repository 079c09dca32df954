"""The region of calibration: what is inside, what is outside, and what is said about it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomWarning
from spinloom.reduced_models.region import OutsideCalibration, Region


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
