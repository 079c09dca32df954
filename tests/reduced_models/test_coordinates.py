"""Coordinates of devices: exact where the equation of motion says so, and refused for devices of another kind."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.card import load_card, parse_card
from spinloom.device_models.engines.llg import Motion, llg
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import PARAMETERS, vary
from spinloom.reduced_models.coordinates import coordinates, names


@pytest.fixture(scope="module")
def nominal():
    return load_card("data/devices/disc60.toml")


def changed(card, **by):
    """The card with numbers multiplied by something, where they are not zero, and other fields put in their place."""
    values = card.model_dump()
    for path, factor in by.items():
        *sections, field = path.split("__")
        at = values[sections[0]] if sections else values
        old = at[field]
        at[field] = old * factor if isinstance(factor, float) and isinstance(old, float) and old else factor
    return parse_card(values)


def deviating(card, **by):
    """A device by its relative deviations."""
    return vary(card, [by.get(name, 0.0) for name in PARAMETERS])


def test_the_nominal_device_is_the_origin(nominal):
    scale, where = coordinates(nominal, nominal)
    assert scale == 1
    np.testing.assert_array_equal(where, np.zeros(5))


def test_coordinates_are_logarithms_of_ratios_in_the_order_of_their_names(nominal):
    card = deviating(nominal, diameter=0.03, thickness=-0.05, Ms=0.05, alpha=-0.1, bias=0.02)
    _, where = coordinates(card, nominal)
    assert names(nominal) == ("diameter", "thickness", "Ms", "alpha", "bias")
    np.testing.assert_allclose(where, np.log([1.03, 0.95, 1.05, 0.9, 1.02]), rtol=1e-12)


def test_the_scale_is_that_of_the_spin_torque(nominal):
    """A voltage is given, so the current goes with 1 / RA; RA itself is not felt."""
    card = deviating(nominal, P=0.1, RA=0.2, Ms=-0.03, thickness=0.04)
    scale, _ = coordinates(card, nominal)
    assert scale == pytest.approx(1.1 / (1.2 * 0.97 * 1.04), rel=1e-12)


def motion(card, m, u):
    """dm/dt where there is no other field than those of bias and torque."""
    rhs = llg(Motion.of([card]).at(np.zeros(1, int)), lambda m: tuple(0 * v for v in m))
    return np.array(rhs(tuple(m[:, :, None]), np.array([u]), None))


@pytest.mark.parametrize("asymmetry", [1.0, 1.6])
def test_a_device_moves_as_the_nominal_one_under_the_scaled_drive(nominal, asymmetry):
    reference = changed(nominal, torque__Lambda=asymmetry)
    card = changed(reference, torque__P=1.15, torque__J_max=0.9)
    scale, where = coordinates(card, reference)
    assert scale == pytest.approx(1.15 * 0.9)
    np.testing.assert_allclose(where, 0, atol=1e-12)
    m = np.random.default_rng(0).standard_normal((3, 7))
    m /= np.linalg.norm(m, axis=0)
    np.testing.assert_allclose(motion(card, m, 0.7), motion(reference, m, scale * 0.7), rtol=1e-9)
    assert np.abs(motion(card, m, 0.7) - motion(reference, m, 0.7)).max() > 1e7


def test_other_torques_of_the_current_make_the_polarisation_a_coordinate(nominal):
    for reference in (changed(nominal, torque__eps_prime=0.1), changed(nominal, torque__oersted="up")):
        assert names(reference) == ("diameter", "thickness", "Ms", "alpha", "bias", "P")
        scale, where = coordinates(changed(reference, torque__P=1.1), reference)
        assert (scale, where[-1]) == pytest.approx((1.1, np.log(1.1)))


def test_what_is_zero_is_no_coordinate(nominal):
    assert names(changed(nominal, bias__H=(0.0, 0.0, 0.0))) == ("diameter", "thickness", "Ms", "alpha")
    anisotropic = load_card("data/devices/pma50.toml")
    assert "Ku" in names(anisotropic)
    where = coordinates(changed(anisotropic, material__Ku=1.01), anisotropic)[1]
    assert where[names(anisotropic).index("Ku")] == pytest.approx(np.log(1.01))


def test_names_and_the_read_out_are_not_felt(nominal):
    card = changed(deviating(nominal, offset=0.1), name="other", readout__RA=2.0, readout__TMR=1.5)
    scale, where = coordinates(card, nominal)
    assert scale == 1
    np.testing.assert_array_equal(where, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"material__A": 1.01}, "material.A: expected 1.3e-11 as for disc60, got 1.313e-11"),
        ({"bias__H": (100.0, 7725.0, 0.0)}, "bias.H: expected"),
        ({"bias__H": (0.0, -7725.0, 0.0)}, "bias.H: expected"),
        ({"conditions": {"temperature": 300.0}}, "conditions.temperature: expected 0.0 as for disc60, got 300.0"),
        ({"geometry__cell": (6e-9, 6e-9, 2e-9)}, r"geometry.cell: expected \(15, 15, 1\)"),
        ({"geometry__size": (64e-9, 60e-9, 2e-9)}, "geometry"),
        ({"geometry__shape": "box"}, "geometry.shape: expected 'ellipse' as for disc60, got 'box'"),
        ({"material__Ku": 1e5}, "material.Ku: expected 0.0"),
        ({"torque__polariser": (1.0, 0.0, 0.0)}, "torque.polariser: expected"),
        ({"torque__Lambda": 1.2}, "torque.Lambda: expected 1.0"),
        ({"readout__axis": (0.0, 1.0, 0.0)}, "readout.axis: expected"),
    ],
)
def test_devices_of_another_kind_are_refused(nominal, change, message):
    card = changed(nominal, **change)
    with pytest.raises(SpinloomError, match=message):
        coordinates(card, nominal)
