"""The ubermag way: a ``micromagneticmodel.System`` in, an ``ubermagtable.Table`` out."""

from __future__ import annotations

import json
import numbers
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from spinloom.device_models.card import DeviceCard, Geometry, explain, parse_card
from spinloom.device_models.errors import SpinloomError

if TYPE_CHECKING:
    import discretisedfield as df
    import micromagneticmodel as mm
    import ubermagtable as ut

ENERGY = ("Exchange", "Demag", "Zeeman", "UniaxialAnisotropy")
DYNAMICS = ("Precession", "Damping", "Slonczewski")
"""The terms that a card can hold."""
IN_TIME = {"wave", "func", "f", "t0", "dt", "tcl_strings"}
ALIGNED = 0.5
"""A field with a shorter ``<m>`` is not near any uniform start."""


def card_of(
    system: mm.System,
    *,
    J_max: float,
    axis: Sequence[float],
    TMR: float = 1.0,
    RA: float = 5e-12,
    name: str | None = None,
) -> DeviceCard:
    """The card of a system: the inverse of :func:`spinloom.device_models.system.card_system`.

    What ubermag has no word for is given beside the system: the limit of the drive and the
    read-out. The system's own J is not used, because a card is driven by u J_max. The card is
    centred on the origin, wherever the system is, and starts from the mean direction of
    ``system.m``.

    Parameters
    ----------
    system : micromagneticmodel.System
        Exchange, Demag, and if wanted one static Zeeman and one UniaxialAnisotropy; Precession,
        Damping and Slonczewski; every parameter the same in all cells
    J_max : float
        current density that u = 1 stands for (A/m2), through the whole layer, however many
        cells it is thick
    axis : (3,) sequence
        of the reference layer that the junction is read by
    TMR : float
        tunnel magnetoresistance ratio
    RA : float
        resistance-area product, parallel (ohm m2)
    name : str, optional
        of the card; the system's if not given

    Returns
    -------
    card : DeviceCard

    Raises
    ------
    SpinloomError
        naming the term or the field that a card cannot hold, and what to do

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> from spinloom.device_models.system import card_system
    >>> card = load_card("data/devices/rect100x60.toml")
    >>> card_of(card_system(card), J_max=1.5e11, axis=(1, 0, 0)) == card
    True
    """
    energy = _terms(system.energy, "energy", ENERGY, required=("Exchange", "Demag"))
    dynamics = _terms(system.dynamics, "dynamics", DYNAMICS, required=DYNAMICS)
    directions, Ms = _magnetisation(system.m)
    torque = dynamics["Slonczewski"]
    torque.pop("J", None)
    material = {
        "Ms": Ms,
        **energy["Exchange"],
        **dynamics["Precession"],
        **dynamics["Damping"],
        **_anisotropy(energy.get("UniaxialAnisotropy", {})),
    }
    values = {
        "name": system.name if name is None else name,
        "geometry": _geometry(system.m.mesh, np.any(directions != 0, axis=-1)),
        "material": material,
        "bias": energy.get("Zeeman", {}),
        "torque": {**({"polariser": torque.pop("mp")} if "mp" in torque else {}), **torque, "J_max": J_max},
        "readout": {"axis": tuple(axis), "TMR": TMR, "RA": RA},
        "start": {"m": _start(directions)},
        "conditions": {"temperature": system.T},
    }
    return parse_card(values, source=f"system {system.name}")


def card_toml(card: DeviceCard) -> str:
    """A card as the text of a file that :func:`spinloom.device_models.card.load_card` reads.

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card_toml(load_card("data/devices/disc60.toml")).splitlines()[:4]
    ['name = "disc60"', '', '[geometry]', 'shape = "ellipse"']
    """
    values = card.model_dump(mode="json", exclude_none=True)
    lines = [_line(key, value) for key, value in values.items() if not isinstance(value, dict)]
    for section, fields in values.items():
        if isinstance(fields, dict):
            lines += ["", f"[{section}]", *(_line(key, value) for key, value in fields.items())]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    # TOML writes numbers, lists and plain strings as JSON does.
    return f"{key} = {json.dumps(value)}"


def table(durations: float | np.ndarray, u: np.ndarray, m: np.ndarray) -> ut.Table:
    """What a device did under a drive, in the form that OOMMF's tables have in ubermag.

    Parameters
    ----------
    durations : float or (n_ticks,) ndarray
        of each hold (s)
    u : (n_ticks,) ndarray
        drives
    m : (n_ticks, 3) ndarray
        ``<m>`` at the end of each hold, of one device

    Returns
    -------
    table : ubermagtable.Table
        columns ``t`` (s, at the end of each hold), ``u``, ``mx``, ``my``, ``mz``

    Raises
    ------
    SpinloomError
        if the shapes do not belong together

    Examples
    --------
    >>> found = table(7.5e-12, np.array([0.0, 0.5]), np.array([[0, 1, 0], [0.1, 0.9, 0]]))
    >>> found.x, found.y, found.units["t"]
    ('t', ['u', 'mx', 'my', 'mz'], 's')
    """
    import ubermagtable as ut

    u, m = np.asarray(u, dtype=float), np.asarray(m, dtype=float)
    if u.ndim != 1 or m.shape != (len(u), 3) or np.shape(durations) not in ((), u.shape):
        raise SpinloomError(
            "table: expected durations (n_ticks,) or one for all, u (n_ticks,) and m (n_ticks, 3), got shapes "
            f"{np.shape(durations)}, {u.shape} and {m.shape}; take one device at a time, as m[:, 0]"
        )
    mx, my, mz = m.T
    t = np.cumsum(np.broadcast_to(durations, u.shape))
    data = pd.DataFrame({"t": t, "u": u, "mx": mx, "my": my, "mz": mz})
    return ut.Table(data=data, units={"t": "s", "u": "", "mx": "", "my": "", "mz": ""}, x="t")


def _terms(container: Iterable[Any], what: str, known: Collection[str], required: Collection[str]) -> dict[str, dict]:
    """Parameters of each term, by the term's class."""
    from ubermagutil.typesystem import Descriptor

    found: dict[str, dict] = {}
    for term in container:
        kind = type(term).__name__
        if kind not in known:
            raise SpinloomError(f"{what}: a card cannot hold {kind}; expected {', '.join(known)}")
        if kind in found:
            raise SpinloomError(f"{what}: two terms {kind}; add them up to one")
        # A parameter that was not given is its own descriptor.
        given = {key: value for key, value in term if not isinstance(value, Descriptor)}
        found[kind] = {key: _parameter(kind, key, value) for key, value in given.items()}
    missing = [kind for kind in required if kind not in found]
    if missing:
        raise SpinloomError(f"{what}: no {missing[0]}, which every card has; add it to system.{what}")
    return found


def _parameter(kind: str, key: str, value: Any) -> Any:
    """A number or a vector that holds for all cells at all times."""
    name = f"{kind}.{key}"
    if key in IN_TIME:
        raise SpinloomError(f"{name}: a card's parameters do not change in time; leave it out, and drive the card by u")
    if key == "asymptotic_radius":
        raise SpinloomError(f"{name}: a card's demagnetisation is never approximated by dipoles; leave it out")
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, (tuple, list, np.ndarray)):
        return tuple(float(component) for component in value)
    raise SpinloomError(f"{name}: expected one value for all cells, got a {type(value).__name__}; a card is uniform")


def _anisotropy(term: dict[str, Any]) -> dict[str, Any]:
    if term.get("K2", 0.0) != 0:
        raise SpinloomError(
            f"UniaxialAnisotropy.K2: expected 0, got {term['K2']:g} J/m3; a card has the first order only"
        )
    names = {"K": "Ku", "K1": "Ku", "u": "Ku_axis"}
    return {names[key]: value for key, value in term.items() if key in names}


def _magnetisation(m: df.Field | None) -> tuple[np.ndarray, float]:
    """Directions, zero where nothing is magnetic, and Ms."""
    if m is None or m.nvdim != 3 or m.mesh.region.ndim != 3:
        got = "nothing" if m is None else f"{m.nvdim} components in {m.mesh.region.ndim} dimensions"
        raise SpinloomError(f"system.m: expected a field of 3 components in 3 dimensions, got {got}")
    norm = np.linalg.norm(m.array, axis=-1)
    magnetic = norm > 0
    if not magnetic.any():
        raise SpinloomError("system.m: no magnetic cell; every vector is zero")
    low, high = norm[magnetic].min(), norm[magnetic].max()
    if high - low > 1e-9 * high:
        raise SpinloomError(f"system.m: expected one Ms for all cells, got {low:g} to {high:g} A/m; a card is uniform")
    directions = np.divide(m.array, norm[..., None], out=np.zeros(m.array.shape), where=magnetic[..., None])
    return directions, _plain(norm[magnetic].mean())


def _geometry(mesh: df.Mesh, magnetic: np.ndarray) -> dict[str, Any]:
    """Shape, size and cell of the layer."""
    if any(axis in mesh.bc for axis in mesh.region.dims) and mesh.bc not in ("neumann", "dirichlet"):
        raise SpinloomError(f"system.m.mesh.bc: expected none, got {mesh.bc!r}; a junction does not repeat itself")
    if set(mesh.region.units) != {"m"}:
        raise SpinloomError(f"system.m.mesh.region.units: expected m, got {', '.join(mesh.region.units)}")
    size = tuple(_plain(edge) for edge in mesh.region.edges)
    cell = tuple(_plain(edge / n) for edge, n in zip(mesh.region.edges, mesh.n, strict=True))
    for shape in ("box", "ellipse"):
        values = {"shape": shape, "size": size, "cell": cell}
        try:
            if (Geometry.model_validate(values).mask() == magnetic).all():
                return values
        except ValidationError as error:
            raise SpinloomError(explain(error, "system.m.mesh")) from None
    raise SpinloomError(
        f"system.m: {magnetic.sum()} of {magnetic.size} cells are magnetic, which is neither the whole mesh nor the "
        "ellipse that touches its edges; a card is one of the two: cut the mesh to the layer"
    )


def _start(directions: np.ndarray) -> tuple[float, ...]:
    """The uniform direction that is nearest to the field."""
    mean = directions[np.any(directions != 0, axis=-1)].mean(axis=0)
    length = np.linalg.norm(mean)
    if length < ALIGNED:
        raise SpinloomError(
            f"system.m: |<m>| is {length:.2g}, expected at least {ALIGNED:g}: a card starts uniform; set system.m to a "
            "uniform field, and give the engine this one as 'initial'"
        )
    return tuple(float(component) for component in mean / length)


def _plain(value: float) -> float:
    """Without the rounding of the arithmetic that it went through, so that 60e-9 / 15 is 4e-9 again."""
    return float(f"{value:.12g}")
