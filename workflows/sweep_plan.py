"""What a sweep varies: the table ``[sweep]`` of an experiment, and the points that it stands for."""

from __future__ import annotations

import copy
import itertools
import json
import math
import shutil
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spinloom.device_models import files
from spinloom.device_models.card import explain, load_card, parse_card, read_toml
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.ubermag import card_toml
from spinloom.workflows.settings import device_path, inside, shipped_experiment, toml_text

TABLE = "sweep"
MOST = 100_000
"""Points of a sweep."""
LENGTHS = {"device.geometry.diameter": (0, 1), "device.geometry.thickness": (2,)}
"""Fields that a card does not have: the layer's size along these axes, its cells scaled with it."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(_Settings):
    """Numbers at equal distances, or at equal ratios.

    Examples
    --------
    >>> Range.model_validate({"from": 1, "to": 100, "steps": 3, "scale": "log"}).values()
    [1.0, 10.0, 100.0]
    >>> Range.model_validate({"from": 0, "to": 4, "steps": 3}).values()
    [0, 2, 4]
    """

    first: float = Field(alias="from")
    last: float = Field(alias="to")
    steps: int = Field(ge=2, le=MOST)
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ratios_need_a_sign(self) -> Self:
        if self.scale == "log" and not (self.first > 0 and self.last > 0):
            raise ValueError(f"scale log: expected from and to above zero, got {self.first:g} and {self.last:g}")
        return self

    def values(self) -> list[float]:
        """From the first to the last; whole numbers if all are."""
        if self.scale == "log":
            found = np.geomspace(self.first, self.last, self.steps).tolist()
            return [self.first, *found[1:-1], self.last]
        found = np.linspace(self.first, self.last, self.steps).tolist()
        return [int(one) for one in found] if all(one.is_integer() for one in found) else found


Two = tuple[float, float]


class Distribution(_Settings):
    """A random number: ``normal`` (mean, standard deviation); ``uniform``, ``loguniform``, ``integers`` (first, last).

    Examples
    --------
    >>> Distribution(integers=(0, 9)).draw(np.random.default_rng(0), 4)
    [8, 6, 5, 2]
    """

    normal: Two | None = None
    uniform: Two | None = None
    loguniform: Two | None = None
    integers: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _one_that_can_be(self) -> Self:
        given = {name: pair for name, pair in self.model_dump().items() if pair is not None}
        if len(given) != 1:
            expected = ", ".join(type(self).model_fields)
            raise ValueError(f"expected one of {expected}, got {', '.join(given) or 'none'}")
        ((name, (a, b)),) = given.items()
        if name == "normal" and b < 0:
            raise ValueError(f"normal: expected a standard deviation that is not negative, got {b:g}")
        if name != "normal" and not a < b:
            raise ValueError(f"{name}: expected the smaller number first, got {a:g} and {b:g}")
        if name == "loguniform" and a <= 0:
            raise ValueError(f"loguniform: expected numbers above zero, got {a:g}")
        return self

    def draw(self, rng: np.random.Generator, n: int) -> list[float]:
        """So many of them; the first do not depend on how many there are."""
        if self.normal:
            return rng.normal(*self.normal, n).tolist()
        if self.uniform:
            return rng.uniform(*self.uniform, n).tolist()
        if self.loguniform:
            low, high = map(math.log, self.loguniform)
            return np.exp(rng.uniform(low, high, n)).tolist()
        assert self.integers is not None
        return rng.integers(*self.integers, n, endpoint=True).tolist()


_OF_VALUES = {"from", "to", "steps", "scale", *Distribution.model_fields}


class Point(NamedTuple):
    """One run of a sweep: its number, and the value of each field that is varied."""

    number: int
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.number:04d}"

    @property
    def words(self) -> str:
        """Its input, for people."""
        return ", ".join(f"{field} = {_short(value)}" for field, value in self.values.items())


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


class Sweep(NamedTuple):
    """An experiment and what is varied in it.

    Attributes
    ----------
    path : path
        of the file
    experiment : dict
        what the file says, without the sweep
    grid : dict of str to list
        values of each field; every combination is a point
    draws : dict of str to Distribution
        fields that are drawn at random
    samples : int
        draws for each combination of the grid
    seed : int
    """

    path: Path
    experiment: dict[str, Any]
    grid: dict[str, list[Any]]
    draws: dict[str, Distribution]
    samples: int
    seed: int

    @property
    def fields(self) -> list[str]:
        """All that is varied."""
        return [*self.grid, *self.draws]

    def points(self) -> list[Point]:
        """All points, the last field of the grid and then the samples running fastest.

        Each field has a random stream of its own, and every combination of the grid has the same draws, so that they
        can be compared pair by pair.
        """
        drawn = {
            field: one.draw(np.random.default_rng([self.seed, zlib.crc32(field.encode())]), self.samples)
            for field, one in self.draws.items()
        }
        combinations = itertools.product(*self.grid.values(), range(self.samples))
        return [
            Point(number, {**dict(zip(self.grid, values, strict=True)), **{f: each[k] for f, each in drawn.items()}})
            for number, (*values, k) in enumerate(combinations)
        ]


def read_sweep(path: str | Path) -> Sweep:
    """Read an experiment with a table ``[sweep]``.

    Parameters
    ----------
    path : path
        TOML file, or the name of a shipped one

    Raises
    ------
    SpinloomError
        if there is no such table, or it cannot be understood
    """
    path = shipped_experiment(Path(path))
    experiment = read_toml(path)
    table = experiment.pop(TABLE, None)
    if not isinstance(table, dict):
        raise SpinloomError(f"{path}: expected a table [sweep] that says what is varied, got none")
    seed, samples = _whole(path, table.pop("seed", 0), "seed", 0), table.pop("samples", None)
    found = {field: _values(path, field, value) for field, value in _flat(table)}
    draws = {field: value for field, value in found.items() if isinstance(value, Distribution)}
    grid = {f: v.values() if isinstance(v, Range) else v for f, v in found.items() if f not in draws}
    if not found:
        raise SpinloomError(f'{path}: sweep: expected a field, such as "generate.seed" = [0, 1], got none')
    if bool(draws) != (samples is not None):
        what = "how many to draw" if draws else "nothing, as no field is drawn at random"
        raise SpinloomError(f"{path}: sweep.samples: expected {what}, got {samples or 'nothing'}")
    samples = 1 if samples is None else _whole(path, samples, "samples", 1)
    count = math.prod(map(len, grid.values())) * samples
    if count > MOST:
        raise SpinloomError(f"{path}: sweep: expected at most {MOST} points, got {count}; vary less at a time")
    return Sweep(path, experiment, grid, draws, samples, seed)


def _whole(path: Path, value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpinloomError(f"{path}: sweep.{name}: expected a whole number from {least} on, got {value!r}")
    return value


def _flat(table: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Fields by their whole names, whether these were written in quotes or as tables."""
    found = []
    for key, value in table.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and not _OF_VALUES & set(value):
            found += _flat(value, f"{name}.")
        else:
            found.append((name, value))
    return found


def _values(path: Path, field: str, given: Any) -> Any:
    if not isinstance(given, list | dict) or given == []:
        raise SpinloomError(
            f"{path}: sweep.{field}: expected values [a, b, ...], a range {{from = , to = , steps = }} or a "
            f"distribution such as {{normal = [mean, sd]}}, got {given!r}"
        )
    if isinstance(given, list):
        return given
    kind = Range if {"from", "to"} & set(given) else Distribution
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise SpinloomError(explain(error, f"{path}: sweep.{field}")) from None


def write_point(sweep: Sweep, point: Point, folder: Path) -> Path:
    """Write one point as an experiment of its own, with its card and its series beside it.

    Parameters
    ----------
    sweep : Sweep
    point : Point
    folder : path

    Returns
    -------
    path : path
        of the experiment, for ``spinloom run`` too

    Raises
    ------
    SpinloomError
        for a field that there is not, or a device that cannot be
    """
    given = copy.deepcopy(sweep.experiment)
    of_card = {}
    for field, value in sorted(point.values.items(), key=lambda pair: pair[0].count(".")):
        if field.startswith("device."):
            of_card[field] = value
        else:
            _put(given, field.split("."), value, field)
    source = device_path(sweep.path, str(given.get("device", "disc60")))
    card = load_card(source)
    values = card.model_dump(mode="json")
    for field, value in of_card.items():
        if field in LENGTHS:
            _stretch(values["geometry"], LENGTHS[field], value, field)
        else:
            _put(values, field.split(".")[1:], value, field)
    values["name"] = f"{card.name}-{point.name}"[-80:]
    card = parse_card(values, source=f"point {point.name}")
    given["device"] = f"{point.name}.card.toml"
    given["name"] = f"{given.get('name', 'sweep')}-{point.name}"
    generate = given.get("generate", {})
    for task in generate.get("tasks", ()) if isinstance(generate, dict) else ():
        if str(task).endswith(".csv"):
            there = folder / inside(folder / "_", str(task)).relative_to(folder.resolve())
            there.parent.mkdir(parents=True, exist_ok=True)
            _copy(inside(sweep.path, str(task)), there)
    _write(folder / given["device"], card_toml(card))
    _write(folder / f"{point.name}.toml", toml_text(given, f"Point {point.name} of a sweep: {point.words}"))
    return folder / f"{point.name}.toml"


def _copy(source: Path, there: Path) -> None:
    try:
        with files.written_whole(there) as temporary:
            shutil.copyfile(source, temporary)
    except FileNotFoundError:
        raise SpinloomError(f"{source}: no such file; expected a CSV with one period") from None


def _write(path: Path, text: str) -> None:
    with files.written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _put(values: Any, keys: list[str], value: Any, field: str) -> None:
    """Set a field of nested tables, or a component of a vector by its number."""
    *above, last = keys
    for key in above:
        values = values[int(key)] if isinstance(values, list) and key.isdecimal() else values.setdefault(key, {})
        if not isinstance(values, dict | list):
            raise SpinloomError(f"sweep.{field}: unknown field; check its spelling")
    if isinstance(values, dict):
        values[last] = value
    elif last.isdecimal() and int(last) < len(values):
        values[int(last)] = value
    else:
        raise SpinloomError(f"sweep.{field}: expected a component from 0 to {len(values) - 1}, got {last!r}")


def _stretch(geometry: dict[str, Any], axes: tuple[int, ...], length: Any, field: str) -> None:
    """Set the layer's size along the first of the axes; the others and the cells keep their ratio to it."""
    if isinstance(length, bool) or not isinstance(length, int | float) or not length > 0:
        raise SpinloomError(f"sweep.{field}: expected a length above zero (m), got {length!r}")
    by = length / geometry["size"][axes[0]]
    for axis in axes:
        geometry["size"][axis] *= by
        geometry["cell"][axis] *= by
