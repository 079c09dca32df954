"""The card as ubermag sees it: mesh, initial field and micromagneticmodel.System."""

from __future__ import annotations

import keyword
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spinloom.device_models.card import MOST_CELLS, DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.oersted import oersted_pattern
from spinloom.device_models.texts import read_bytes

if TYPE_CHECKING:
    import discretisedfield as df
    import micromagneticmodel as mm


OERSTED = "oersted"
"""Name of the energy term of the current's own field."""
OVF = (".omf", ".ovf", ".ohf")
"""Endings of what is read as a field: by others, discretisedfield reads other forms."""
MOST_OVF, MOST_COMPONENTS, _HEAD = 50_000_000, 20, 100_000
"""Bytes of a file, components of a field, bytes in which a header has to end."""


def card_mesh(card: DeviceCard) -> df.Mesh:
    """The finite-difference mesh, centred on the origin in x and y, from z = 0."""
    import discretisedfield as df

    x, y, z = card.geometry.size
    region = df.Region(p1=(-x / 2, -y / 2, 0), p2=(x / 2, y / 2, z))
    return df.Mesh(region=region, n=card.geometry.shape_cells)


def card_field(card: DeviceCard, m: np.ndarray | None = None) -> df.Field:
    """A magnetisation field of the card (A/m), zero outside the magnetic cells.

    Parameters
    ----------
    card : DeviceCard
    m : (nx, ny, nz, 3) ndarray, optional
        directions; the card's uniform start if not given
    """
    import discretisedfield as df

    values = np.broadcast_to(card.start.m, (*card.geometry.shape_cells, 3)) if m is None else m
    norm = card.geometry.mask() * card.material.Ms
    return df.Field(card_mesh(card), nvdim=3, value=values, norm=norm[..., None], valid="norm")


def card_system(card: DeviceCard, m: np.ndarray | None = None, u: float = 0.0) -> mm.System:
    """The free layer as a ``micromagneticmodel.System``: this is what OOMMF gets.

    OOMMF spreads the interface torque over one cell's thickness. For a layer of several
    cells J is therefore scaled by cell / thickness, so that the layer as a whole feels J.

    The Oersted field of the current, where the card has one, is a Zeeman term named ``oersted``;
    without a current there is none.

    Parameters
    ----------
    card : DeviceCard
    m : (nx, ny, nz, 3) ndarray, optional
        directions to start from
    u : float
        held drive, J = u J_max

    Returns
    -------
    system : micromagneticmodel.System

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> system = card_system(load_card("data/devices/disc60.toml"), u=0.5)
    >>> system.name
    'disc60'
    >>> [type(term).__name__ for term in system.energy]
    ['Exchange', 'Demag', 'Zeeman']
    """
    import discretisedfield as df
    import micromagneticmodel as mm

    material, torque = card.material, card.torque
    energy = mm.Exchange(A=material.A) + mm.Demag()
    if any(card.bias.H):
        energy += mm.Zeeman(H=card.bias.H)
    if material.Ku != 0:
        energy += mm.UniaxialAnisotropy(K=material.Ku, u=material.Ku_axis)
    if u != 0 and torque.oersted != "off":
        pattern = df.Field(card_mesh(card), nvdim=3, value=u * oersted_pattern(card))
        energy += mm.Zeeman(H=pattern, name=OERSTED)
    share = card.geometry.cell[2] / card.thickness
    dynamics = (
        mm.Precession(gamma0=material.gamma0)
        + mm.Damping(alpha=material.alpha)
        + mm.Slonczewski(
            J=u * torque.J_max * share,
            mp=torque.polariser,
            P=torque.P,
            Lambda=torque.Lambda,
            eps_prime=torque.eps_prime,
        )
    )
    return mm.System(
        name=_identifier(card.name),
        energy=energy,
        dynamics=dynamics,
        m=card_field(card, m),
        T=card.conditions.temperature,
    )


def _identifier(name: str) -> str:
    """A card's name as ubermag allows it."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if word.isidentifier() and not keyword.iskeyword(word) else f"device_{word}"


def read_field(path: str | Path) -> np.ndarray:
    """Directions from an OVF file (``.omf``, ``.ovf``) of ubermag, OOMMF or mumax3.

    Returns
    -------
    m : (nx, ny, nz, 3) ndarray
        unit vectors; zero where the file's vectors are zero

    Raises
    ------
    SpinloomError
        if there is no such file or it is not a three-component OVF field
    """
    import discretisedfield as df

    path = Path(path)
    if path.suffix.lower() not in OVF:
        raise SpinloomError(f"{path}: expected an OVF field (.omf or .ovf), got a file that ends otherwise")
    _expect_small(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units, which directions have none of
            field = df.Field.from_file(str(path))
        values = np.asarray(field.array, dtype=float)
    except Exception as error:
        # discretisedfield meets a damaged file with whatever its parser trips over.
        raise SpinloomError(f"{path}: not a readable OVF field ({str(error)[:200]})") from None
    if values.shape[-1] != 3 or not np.isfinite(values).all():
        raise SpinloomError(f"{path}: expected finite vectors of 3 components, got {values.shape[-1]}")
    # By the largest component first: squares of very large and very small ones are out of range.
    largest = np.abs(values).max(axis=-1, keepdims=True)
    values = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)


def _expect_small(path: Path) -> None:
    """Whether the header of an OVF file asks for no more cells than a card may have, before anything does."""
    head = read_bytes(path, "an OVF field (.omf or .ovf)", MOST_OVF)[:_HEAD].split(b"Begin: Data", 1)[0]
    asked = 1
    for axis in (b"xnodes", b"ynodes", b"znodes"):
        found = re.findall(rb"(?mi)^#\s*" + axis + rb"\s*:\s*(\d{1,18})\s*$", head)
        if not found:
            raise SpinloomError(f"{path}: not a readable OVF field (its header has no {axis.decode()})")
        asked *= max(map(int, found))
    dimension = max(map(int, re.findall(rb"(?mi)^#\s*valuedim\s*:\s*(\d{1,18})\s*$", head)), default=3)
    if asked > MOST_CELLS or dimension > MOST_COMPONENTS:
        raise SpinloomError(
            f"{path}: its header asks for {asked:.3g} cells of {dimension} components; at most {MOST_CELLS} cells of 3 "
            "are supported"
        )


def checked_field(card: DeviceCard, m: np.ndarray) -> np.ndarray:
    """A field that a device may start from, (nx, ny, nz, 3), as it is.

    Raises
    ------
    SpinloomError
        if it is not on the card's mesh, or not magnetic where the card is
    """
    expected = (*card.geometry.shape_cells, 3)
    if m.shape != expected:
        raise SpinloomError(f"initial field: expected shape {expected} for device {card.name}, got {m.shape}")
    mask = np.linalg.norm(m, axis=-1) > 0
    if not mask.any():
        raise SpinloomError("initial field: no magnetic cell; every vector is zero")
    if (mask != card.geometry.mask()).any():
        raise SpinloomError(
            f"initial field: {mask.sum()} magnetic cells, but {card.name} has {card.geometry.mask().sum()} "
            "or has them elsewhere; make the field on the card's own mesh"
        )
    return m
