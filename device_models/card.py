"""The device card: one magnetic tunnel junction as a frozen, checked value in SI units."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.texts import json_object, read_toml, shown

MU0 = 4e-7 * math.pi
"""Vacuum permeability (T m/A), the value that OOMMF uses."""

MOST_CELLS = 200_000
"""Cells of a mesh."""
MOST_LINES = 40
"""Mistakes that a message names, and letters of a field's name."""

Vector = tuple[float, float, float]


def _unit(vector: Vector) -> Vector:
    norm = math.hypot(*vector)
    if norm < 1e-300:  # below that, numbers have too few digits left to tell a direction
        raise ValueError("expected a direction, got the zero vector")
    if abs(norm - 1) < 1e-15:
        # Dividing again would change last digits, and a card read back would not equal the one written.
        return vector
    x, y, z = (component / norm for component in vector)
    return (x, y, z)


Direction = Annotated[Vector, AfterValidator(_unit)]
Length = Annotated[float, Field(ge=5e-11, le=2e-5)]
FieldComponent = Annotated[float, Field(ge=-1e7, le=1e7)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Geometry(_Section):
    """Shape and mesh of the free layer, centred on the origin in x and y, from z = 0."""

    shape: Literal["ellipse", "box"]
    size: tuple[Length, Length, Length]
    cell: tuple[Length, Length, Length]

    @model_validator(mode="after")
    def _cells_fill_the_layer(self) -> Geometry:
        for axis, size, cell in zip("xyz", self.size, self.cell, strict=True):
            if cell > size * (1 + 1e-9):
                raise ValueError(
                    f"cell along {axis} is {cell:g} m, larger than the layer's {size:g} m; "
                    "choose a cell that divides the size"
                )
            count = size / cell
            if abs(count - round(count)) > 1e-6 * count:
                raise ValueError(
                    f"size along {axis} ({size:g} m) is {count:g} cells of {cell:g} m; expected a whole number of cells"
                )
        if math.prod(self.shape_cells) > MOST_CELLS:
            raise ValueError(
                f"the mesh has {math.prod(self.shape_cells)} cells; at most {MOST_CELLS} are supported: enlarge the "
                "cell"
            )
        return self

    @property
    def shape_cells(self) -> tuple[int, int, int]:
        """Number of cells along x, y and z."""
        nx, ny, nz = (round(s / c) for s, c in zip(self.size, self.cell, strict=True))
        return (nx, ny, nz)

    def mask(self) -> np.ndarray:
        """Which cells are magnetic: those whose centre is inside the shape.

        Returns
        -------
        mask : (nx, ny, nz) bool ndarray

        Examples
        --------
        >>> Geometry(shape="ellipse", size=(60e-9, 60e-9, 2e-9), cell=(4e-9, 4e-9, 2e-9)).mask().sum()
        np.int64(177)
        """
        nx, ny, nz = self.shape_cells
        if self.shape == "box":
            return np.ones((nx, ny, nz), dtype=bool)
        x = (np.arange(nx) + 0.5) / nx * 2 - 1
        y = (np.arange(ny) + 0.5) / ny * 2 - 1
        inside = x[:, None] ** 2 + y[None, :] ** 2 <= 1 + 1e-12
        return np.repeat(inside[:, :, None], nz, axis=2)


class Material(_Section):
    """Free-layer material."""

    Ms: float = Field(ge=1e3, le=3e6, description="saturation magnetisation (A/m)")
    A: float = Field(ge=1e-14, le=1e-10, description="exchange stiffness (J/m)")
    Ku: float = Field(default=0.0, ge=-1e8, le=1e8, description="uniaxial anisotropy (J/m3)")
    Ku_axis: Direction = (0.0, 0.0, 1.0)
    alpha: float = Field(gt=0, le=1, description="Gilbert damping")
    gamma0: float = Field(
        default=221276.14872118403, ge=1e5, le=4e5, description="gyromagnetic ratio, Gilbert form (m/(A s))"
    )


class Bias(_Section):
    """Uniform static field."""

    H: tuple[FieldComponent, FieldComponent, FieldComponent] = (0.0, 0.0, 0.0)


class Torque(_Section):
    """Slonczewski spin-transfer torque of the polariser, and the drive that u = 1 stands for."""

    polariser: Direction
    P: float = Field(gt=0, le=1, description="spin polarisation")
    Lambda: float = Field(default=1.0, ge=1e-2, le=1e2, description="asymmetry")
    eps_prime: float = Field(default=0.0, ge=-10, le=10, description="field-like term")
    J_max: float = Field(ge=1e6, le=1e14, description="current density at u = 1, the compliance limit (A/m2)")
    oersted: Literal["off", "up", "down"] = Field(
        default="off",
        description="Oersted field of the current, off or with the charge current of u > 0 along +z (up) or -z (down)",
    )


class Readout(_Section):
    """Junction read-out: the reference layer's axis, TMR ratio, resistance-area product, and the amplifier's offset."""

    axis: Direction
    TMR: float = Field(default=1.0, gt=0, le=20, description="tunnel magnetoresistance ratio, (R_AP - R_P) / R_P")
    RA: float = Field(default=5e-12, ge=1e-14, le=1e-7, description="resistance-area product, parallel (ohm m2)")
    offset: float = Field(
        default=0.0, ge=-1, le=1, description="read-out offset: what the amplifier adds to m . e_read"
    )


class Conditions(_Section):
    """Under which the junction works."""

    temperature: float = Field(default=0.0, ge=0, le=1500, description="of the free layer (K)")


class Start(_Section):
    """Uniform magnetisation before relaxation."""

    m: Direction


class DeviceCard(_Section):
    """One MTJ, all in SI units, checked when it is made and never changed afterwards.

    The TOML files in ``data/devices`` are its form on disk; see :func:`load_card`.
    """

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$")
    geometry: Geometry
    material: Material
    bias: Bias = Bias()
    torque: Torque
    readout: Readout
    start: Start
    conditions: Conditions = Conditions()

    @property
    def thickness(self) -> float:
        """Thickness of the free layer (m), over which the interface torque is spread."""
        return self.geometry.size[2]

    @property
    def area(self) -> float:
        """Area of the junction (m2), counted over its magnetic cells."""
        dx, dy, _ = self.geometry.cell
        return float(self.geometry.mask()[:, :, 0].sum()) * dx * dy

    def at(self, temperature: float) -> DeviceCard:
        """The same junction at another temperature (K).

        Examples
        --------
        >>> load_card("data/devices/disc60.toml").at(300).conditions.temperature
        300.0
        """
        return parse_card({**self.model_dump(), "conditions": {"temperature": temperature}}, source=self.name)

    def to_json(self) -> str:
        """The card as JSON, for the attributes of the files that are made from it."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> DeviceCard:
        """The inverse of :meth:`to_json`."""
        return parse_card(json_object(text, "stored device card"), source="stored device card")


_UNITS = {
    "geometry.size": "m, e.g. 60e-9 for 60 nm",
    "geometry.cell": "m, e.g. 4e-9 for 4 nm",
    "material.Ms": "A/m, e.g. 8e5",
    "material.A": "J/m, e.g. 13e-12",
    "material.Ku": "J/m3, e.g. 8e5",
    "material.gamma0": "m/(A s), e.g. 2.2128e5",
    "bias.H": "A/m, e.g. 7725 for 9.7 mT",
    "torque.J_max": "A/m2, e.g. 1e11",
    "readout.RA": "ohm m2, e.g. 5e-12 for 5 ohm um2",
    "conditions.temperature": "K, e.g. 300",
}


def explain(error: ValidationError, source: str) -> str:
    """One readable line for each thing that pydantic found wrong.

    Parameters
    ----------
    error : pydantic.ValidationError
    source : str
        what was read, for the head of the message

    Returns
    -------
    text : str
    """
    lines = []
    errors = error.errors()
    for item in errors[:MOST_LINES]:
        field = ".".join(str(part)[:MOST_LINES] for part in item["loc"])
        if item["type"] == "missing":
            line = f"{field}: missing; add it"
        elif item["type"] == "extra_forbidden":
            line = f"{field}: unknown field; check its spelling"
        else:
            line = f"{field}: {item['msg']}".removeprefix(": ")
            if not isinstance(item["input"], dict):
                line += f"; got {shown(item['input'])}"
            unit = next((text for key, text in _UNITS.items() if field.startswith(key)), None)
            line += f" ({unit})" if unit else ""
        lines.append(line)
    if len(errors) > MOST_LINES:
        lines.append(f"and {len(errors) - MOST_LINES} more")
    return f"{source}: " + "\n  ".join(lines)


def parse_card(values: dict[str, Any], source: str = "device card") -> DeviceCard:
    """Check a nested dictionary and make a card of it.

    Raises
    ------
    SpinloomError
        naming each field, what was expected and what came
    """
    try:
        return DeviceCard.model_validate(values)
    except ValidationError as error:
        raise SpinloomError(explain(error, source)) from None


def expect_cold(card: DeviceCard, what: str) -> None:
    """Refuse a warm card where temperature would go unheard.

    Raises
    ------
    SpinloomError
        for a card above 0 K
    """
    if card.conditions.temperature > 0:
        raise SpinloomError(
            f"conditions.temperature: {what} works at 0 K, got {card.conditions.temperature:g} K for {card.name}; take "
            "a card, or a model, of 0 K. At a temperature, 'design' chooses, 'run' does the rest, and 'cosimulate' "
            "takes networks of 0 K too (--temperature)"
        )


def load_card(path: str | Path, temperature: float | None = None) -> DeviceCard:
    """Read and check a device card.

    Parameters
    ----------
    path : path
        TOML file, all values in SI units
    temperature : float, optional
        of the free layer (K), instead of the card's own

    Returns
    -------
    card : DeviceCard

    Raises
    ------
    SpinloomError
        if the file cannot be read or any field is missing, unknown or out of range

    Examples
    --------
    >>> card = load_card("data/devices/disc60.toml")
    >>> card.geometry.shape_cells
    (15, 15, 1)
    """
    card = parse_card(read_toml(path), source=str(path))
    return card if temperature is None else card.at(temperature)
