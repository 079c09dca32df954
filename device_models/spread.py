"""Devices of a population: junctions of one wafer, which differ."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from spinloom.device_models.card import DeviceCard, explain
from spinloom.device_models.errors import SpinloomError

PARAMETERS = ("diameter", "thickness", "Ms", "Ku", "alpha", "RA", "P", "bias", "offset")
"""What the devices of a population may differ in, in the order of the columns of every array of deviations."""

Sigma = Annotated[float, Field(ge=0, le=0.5)]
_FIELDS = {
    ("geometry", "size", 2): "thickness",
    ("geometry", "cell", 2): "thickness",
    ("geometry",): "diameter",
    ("material", "Ms"): "Ms",
    ("material", "Ku"): "Ku",
    ("material", "alpha"): "alpha",
    ("readout", "RA"): "RA",
    ("torque", "J_max"): "RA",
    ("torque", "P"): "P",
    ("bias",): "bias",
    ("readout", "offset"): "offset",
}
"""Which parameter a field of the card follows from: the first that its place begins with."""


class Spread(BaseModel):
    r"""How much the devices of a population differ, each number the standard deviation of a normal distribution.

    Attributes
    ----------
    diameter, thickness, Ms, Ku, alpha, RA, P, bias : float
        relative to the card's value: the free layer's size along x and y, and along z, its material, the
        resistance-area product, the spin polarisation and the bias field
    offset : float
        of the read-out, in units of m . e_read, which spans -1 to 1
    correlations : dict
        coefficient from -1 to 1 of two parameters, by their names, such as ``{"diameter,RA": -0.3}``

    Examples
    --------
    >>> spread = Spread(diameter=0.03, RA=0.05, correlations={"diameter,RA": -0.3})
    >>> deviations = spread.draw(1000, seed=0)
    >>> deviations.shape, bool(np.isclose(deviations[:, 5].std(), 0.05, rtol=0.1))
    ((1000, 9), True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    diameter: Sigma = 0.0
    thickness: Sigma = 0.0
    Ms: Sigma = 0.0
    Ku: Sigma = 0.0
    alpha: Sigma = 0.0
    RA: Sigma = 0.0
    P: Sigma = 0.0
    bias: Sigma = 0.0
    offset: Sigma = 0.0
    correlations: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(default_factory=dict)

    @field_validator("correlations")
    @classmethod
    def _of_one_distribution(cls, correlations: dict[str, float]) -> dict[str, float]:
        pairs = [_pair(key) for key in correlations]
        twice = next((pair for pair in pairs if pairs.count(pair) > 1 or pair[::-1] in pairs), None)
        if twice:
            raise ValueError(f"expected each pair of parameters once, got {','.join(twice)} twice; leave one out")
        least = np.linalg.eigvalsh(_correlation(correlations)).min()
        if least < -1e-9:
            raise ValueError(
                f"these coefficients contradict each other: their matrix has the eigenvalue {least:.3g}, expected none "
                "below 0; bring the coefficients nearer to 0"
            )
        return correlations

    @classmethod
    def uniform(cls, sigma: float) -> Spread:
        """The same for every parameter.

        Of the offset, which is absolute, 0.05 means that amplifiers add a constant of a standard deviation of 5 % of
        the signal m . e_read of a junction that is saturated along its reference layer.

        Examples
        --------
        >>> Spread.uniform(0.05).bias
        0.05
        """
        return cls.model_validate(dict.fromkeys(PARAMETERS, sigma))

    @classmethod
    def typical(cls) -> Spread:
        """What studies of memories assume of a good wafer, as far as they say so.

        The distribution is normal, as of resistance-area product and anisotropy in Imamura, Arai and Matsumoto,
        arXiv:2209.13828 (2022). Studies of circuits take 5 % on the resistance, the TMR ratio and the interface
        anisotropy; of the free layer's volume 6.3 %, of Ms 2 %. So the diameter has 3 % and the thickness 2 %, which
        makes 6.3 % of volume; RA and Ku have 5 %; P has 2 %, which makes 5 % of TMR at P = 0.4 by Julliere's
        TMR = 2 P^2 / (1 - P^2). That of alpha (5 %), of the bias (2 %) and of the offset (0.01) are assumptions of
        ours, without a source, and so is the independence of all. None of this was published of a recurrent network of
        junctions.

        Examples
        --------
        >>> spread = Spread.typical()
        >>> round(float(np.hypot(2 * spread.diameter, spread.thickness)), 3)
        0.063
        """
        return cls(diameter=0.03, thickness=0.02, Ms=0.02, Ku=0.05, alpha=0.05, RA=0.05, P=0.02, bias=0.02, offset=0.01)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Deviations of some devices, those of device k the same for every ``n``.

        Parameters
        ----------
        n : int
            devices
        seed : int
            device k draws from ``numpy.random.default_rng([seed, k])``

        Returns
        -------
        deviations : (n, len(PARAMETERS)) ndarray
            relative, but for the offset; columns as :data:`PARAMETERS`

        Raises
        ------
        SpinloomError
            for a negative number of devices or seed
        """
        for name, value in (("n", n), ("seed", seed)):
            if value < 0:
                raise SpinloomError(f"{name}: expected a whole number that is not negative, got {value}")
        values, vectors = np.linalg.eigh(_correlation(self.correlations))
        root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
        sigmas = np.array([getattr(self, name) for name in PARAMETERS])
        # One by one: the last digits of a product of matrices depend on how many rows it has.
        rows = [root @ np.random.default_rng([seed, k]).standard_normal(len(PARAMETERS)) for k in range(n)]
        return np.reshape(rows, (n, len(PARAMETERS))) * sigmas


def _pair(key: str) -> tuple[str, str]:
    names = tuple(part.strip() for part in key.split(","))
    if len(names) != 2 or names[0] == names[1] or not set(names) <= set(PARAMETERS):
        raise ValueError(
            f"expected two different ones of {', '.join(PARAMETERS)}, such as 'diameter,RA', got {key!r}; "
            "check the spelling"
        )
    return (names[0], names[1])


def _correlation(correlations: dict[str, float]) -> np.ndarray:
    """The matrix of coefficients, (parameters, parameters)."""
    matrix = np.eye(len(PARAMETERS))
    for key, value in correlations.items():
        i, j = (PARAMETERS.index(name) for name in _pair(key))
        matrix[i, j] = matrix[j, i] = value
    return matrix


def vary(card: DeviceCard, deviation: Any, name: str | None = None) -> DeviceCard:
    """A device that differs from a card.

    The cells of the mesh scale with the layer, so the staircase of its edge stays. The drive of a junction is a
    voltage: u = 1 stands for J_max RA, so J_max goes with 1 / RA.

    Parameters
    ----------
    card : DeviceCard
    deviation : (len(PARAMETERS),) array_like
        relative, but for the offset, which is added; columns as :data:`PARAMETERS`
    name : str, optional
        of the device; that of the card if not given

    Returns
    -------
    card : DeviceCard

    Raises
    ------
    SpinloomError
        for a deviation that no device can have, named by its parameter

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card = vary(load_card("data/devices/disc60.toml"), [0.1, 0, 0, 0, 0, 0.25, 0, 0, 0.02], "wide")
    >>> f"{card.geometry.size[0]:.3g} {card.geometry.cell[0]:.3g} {card.torque.J_max:.3g} {card.readout.offset}"
    '6.6e-08 4.4e-09 8.4e+10 0.02'
    """
    name = card.name if name is None else name
    by = _checked(deviation, name)
    scale = dict(zip(PARAMETERS, (1 + by).tolist(), strict=True))
    along = (scale["diameter"], scale["diameter"], scale["thickness"])
    values = card.model_dump()
    values["name"] = name
    for field in ("size", "cell"):
        values["geometry"][field] = tuple(k * d for k, d in zip(along, values["geometry"][field], strict=True))
    for field in ("Ms", "Ku", "alpha"):
        values["material"][field] *= scale[field]
    values["bias"]["H"] = tuple(scale["bias"] * h for h in card.bias.H)
    values["torque"]["P"] *= scale["P"]
    values["torque"]["J_max"] /= scale["RA"]
    values["readout"]["RA"] *= scale["RA"]
    values["readout"]["offset"] += float(by[PARAMETERS.index("offset")])
    try:
        return DeviceCard.model_validate(values)
    except ValidationError as error:
        raise SpinloomError(_told(error, name)) from None


def _checked(deviation: Any, name: str) -> np.ndarray:
    by = np.asarray(deviation, dtype=float)
    if by.shape != (len(PARAMETERS),) or not np.isfinite(by).all():
        got = f"shape {by.shape}" if by.shape != (len(PARAMETERS),) else f"{by.tolist()}"
        raise SpinloomError(
            f"deviation: expected {len(PARAMETERS)} finite numbers ({', '.join(PARAMETERS)}), got {got}"
        )
    for parameter, value in zip(PARAMETERS[:-1], by[:-1], strict=True):
        if value <= -1:
            raise SpinloomError(
                f"{parameter}: {name} would have {1 + value:.3g} times the card's, expected more than 0; "
                f"lower the spread of {parameter}"
            )
    return by


def _told(error: ValidationError, name: str) -> str:
    """Which spread is too large, or, of what is no parameter, all that is wrong."""
    first = error.errors()[0]
    loc, got = first["loc"], first["input"]
    parameter = next((of for place, of in _FIELDS.items() if loc[: len(place)] == place), None)
    if parameter is None:
        return explain(error, name)
    got = f"; it would be {got:.3g}" if isinstance(got, float) and math.isfinite(got) else ""
    field = ".".join(map(str, loc))
    return f"{parameter}: {name} is no device: {field}: {first['msg']}{got}; lower the spread of {parameter}"


def chip(card: DeviceCard, spread: Spread, nodes: int, seed: int) -> tuple[DeviceCard, ...]:
    """The devices of the nodes of a chip, named by their numbers.

    Parameters
    ----------
    card : DeviceCard
        that they differ from
    spread : Spread
    nodes : int
    seed : int
        of the chip

    Returns
    -------
    cards : tuple of DeviceCard

    Raises
    ------
    SpinloomError
        for a spread so wide that some device is none

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card = load_card("data/devices/disc60.toml")
    >>> [device.name for device in chip(card, Spread.uniform(0.05), nodes=2, seed=0)]
    ['disc60-0', 'disc60-1']
    """
    return tuple(vary(card, row, f"{card.name}-{k}") for k, row in enumerate(spread.draw(nodes, seed)))
