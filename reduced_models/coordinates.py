"""Coordinates of a device in a population: what it differs by from the nominal one, as its motion sees it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError

IGNORED = ("name", "readout.RA", "readout.TMR", "readout.offset")
"""Fields that <m> does not feel: under a given voltage, RA acts through J_max alone."""
_SAME = 1e-9


def names(nominal: DeviceCard) -> tuple[str, ...]:
    """What the coordinates of devices around a nominal one are.

    Parameters
    ----------
    nominal : DeviceCard

    Returns
    -------
    names : tuple of str
        ``Ku`` is left out where there is no anisotropy, ``bias`` where there is no field, and ``P`` where the torque
        that it scales is all that the current does: then it is in the scale

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> names(load_card("data/devices/disc60.toml"))
    ('diameter', 'thickness', 'Ms', 'alpha', 'bias')
    """
    return tuple(_values(nominal))


def coordinates(card: DeviceCard, nominal: DeviceCard) -> tuple[float, np.ndarray]:
    r"""Where a device is in the population around a nominal one.

    Divided by :math:`\gamma_0`, the equation of motion at :math:`\epsilon' = 0` and without an Oersted field knows
    the current only as :math:`a_J u\; m\times p`, with :math:`a_J \propto P J_\mathrm{max} / (M_s t)` (see
    :func:`spinloom.device_models.engines.llg.llg`). So a device under u moves as one with the nominal :math:`a_J` under
    s u, exactly; P and RA are gone. All else is a coordinate, as the logarithm of its ratio to the nominal value. A
    field-like torque or an Oersted field does not scale with P, which then is a coordinate too; s stays as it is,
    because :math:`J_\mathrm{max}` follows from it and the coordinates.

    Parameters
    ----------
    card, nominal : DeviceCard

    Returns
    -------
    scale : float
        s
    coordinates : (n_coordinates,) ndarray
        in the order of :func:`names`

    Raises
    ------
    SpinloomError
        if the devices differ in anything else

    Examples
    --------
    >>> from spinloom.device_models.card import load_card, parse_card
    >>> nominal = load_card("data/devices/disc60.toml")
    >>> values = nominal.model_dump()
    >>> values["material"]["Ms"] *= 1.1
    >>> scale, where = coordinates(parse_card(values), nominal)
    >>> print(f"{scale:.4f}", where.round(4))
    0.9091 [0.     0.     0.0953 0.     0.    ]
    """
    _expect_alike(card, nominal)
    ours, reference = _values(card), _values(nominal)
    where = np.log([ours[name] / reference[name] for name in reference])
    return _torque(card) / _torque(nominal), where


def _torque(card: DeviceCard) -> float:
    """Spin-torque field of u = 1, up to a factor that all devices share."""
    return card.torque.P * card.torque.J_max / (card.material.Ms * card.thickness)


def _values(card: DeviceCard) -> dict[str, float]:
    """What coordinates are ratios of."""
    material, torque, field = card.material, card.torque, math.hypot(*card.bias.H)
    values = {"diameter": card.geometry.size[0], "thickness": card.thickness, "Ms": material.Ms}
    if material.Ku:
        values["Ku"] = material.Ku
    values["alpha"] = material.alpha
    if field:
        values["bias"] = field
    if torque.eps_prime or torque.oersted != "off":
        values["P"] = torque.P
    return values


def _expect_alike(card: DeviceCard, nominal: DeviceCard) -> None:
    """Refuse a device that is no member of the population."""
    ours, reference = _rest_of(card), _rest_of(nominal)
    for field, expected in reference.items():
        got = ours[field]
        # Relative to the largest component, because fields range from 1e-11 to 1e12.
        same = got == expected or (
            not isinstance(expected, str)
            and bool(np.abs(np.subtract(got, expected)).max() <= _SAME * np.abs(expected).max())
        )
        if not same:
            raise SpinloomError(
                f"{field}: expected {expected!r} as for {nominal.name}, got {got!r} for {card.name}; the devices of a "
                "population differ in diameter, thickness, Ms, Ku, alpha, bias, RA, J_max and P alone"
            )


def _rest_of(card: DeviceCard) -> dict[str, Any]:
    """All of a card that its scale and its coordinates do not say, by field."""
    size, field = card.geometry.size, np.asarray(card.bias.H)
    rest: dict[str, Any] = {
        "geometry.shape": card.geometry.shape,
        "geometry.cell": card.geometry.shape_cells,
        "geometry.size": size[1] / size[0],
        "material.Ku": float(np.sign(card.material.Ku)),
        "bias.H": tuple((field / (np.linalg.norm(field) or 1.0)).tolist()),
    }
    told = (*IGNORED, *rest, "material.Ms", "material.alpha", "torque.P", "torque.J_max")
    for section, values in card.model_dump().items():
        fields = values.items() if isinstance(values, dict) else [(None, values)]
        rest |= {
            name: value for key, value in fields if (name := section if key is None else f"{section}.{key}") not in told
        }
    return rest
