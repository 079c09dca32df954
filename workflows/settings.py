"""The operating point and the experiment file: every choice that a run makes, in one place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from spinloom.device_models.calibration import Protocol
from spinloom.device_models.card import DeviceCard, explain, load_card
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.spread import Spread
from spinloom.device_models.texts import read_toml, shown
from spinloom.networks.patterns import Choosing
from spinloom.networks.tasks import task_name
from spinloom.networks.topology import Topology
from spinloom.networks.training import WASHOUT, Training
from spinloom.reduced_models.model import CalibratedModel

RECOGNISE = "recognise"
"""Name of the network that recognises."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Periodic(_Settings):
    """How long a period is: in ticks, or in periods of the device's own resonance."""

    usual_ticks: ClassVar[int]

    period_ticks: int | None = Field(default=None, ge=4, le=100_000)
    period_resonances: float | None = Field(default=None, gt=0, le=1000)

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if self.period_ticks is not None and self.period_resonances is not None:
            raise ValueError("period_ticks and period_resonances: expected one of them, got both")
        return self

    def ticks(self, model: CalibratedModel) -> int:
        """Ticks in a period, for a device.

        Raises
        ------
        SpinloomError
            if the period is given in resonances and the device does not ring, or comes out too short
        """
        if self.period_resonances is None:
            return self.period_ticks or self.usual_ticks
        ticks = model.scale.ticks(self.period_resonances, model.tick)
        if ticks < 4:
            raise SpinloomError(
                f"period_resonances: {self.period_resonances:g} periods of the resonance are {ticks} ticks of "
                f"{model.tick:g} s, expected at least 4; calibrate with a shorter tick, or lengthen the period"
            )
        return ticks


class GenerateSettings(_Periodic):
    """How networks are made and trained to generate.

    Attributes
    ----------
    tasks : tuple of str
        names of :data:`spinloom.networks.tasks.GENERATE` or ``SERIES``, or CSV files beside the experiment
    seed : int
        of the topology
    period_ticks : int, optional
        ticks in a period of the target; 84 if neither this nor ``period_resonances`` is given
    period_resonances : float, optional
        instead: how many periods of the device's resonance a period of the target lasts
    washouts : tuple of int
        periods with the target fed back before a free run: the reduced network is judged after
        each of them, by the worst; full micromagnetics runs after the first
    free_periods, full_periods : int
        of each free run with the reduced model, and in full micromagnetics
    full_seeds : int
        noises in full micromagnetics, above 0 K
    """

    tasks: tuple[str, ...] = ("sine", "triangle", "harmonics")
    usual_ticks: ClassVar[int] = 84

    seed: int = Field(default=0, ge=0)
    washouts: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(default=(5, 7, 10), min_length=1)
    free_periods: int = Field(default=1000, ge=1, le=1_000_000)
    full_periods: int = Field(default=20, ge=1, le=1_000_000)
    full_seeds: int = Field(default=4, ge=1, le=1000)
    topology: Topology = Topology(spectral_radius=0.616, feedback=1.84, bias=0.59, gain=0.85)
    training: Training = Training()

    @field_validator("tasks")
    @classmethod
    def _names_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        names = [task_name(task) for task in tasks]
        for name in names:
            if names.count(name) > 1 or name == RECOGNISE:
                raise ValueError(f"more than one network would be called {name}; name each task once, rename a CSV")
        return tasks

    @field_validator("washouts")
    @classmethod
    def _judged_on_other_washouts(cls, washouts: tuple[int, ...]) -> tuple[int, ...]:
        if WASHOUT in washouts:
            raise ValueError(f"{WASHOUT} is the washout that read-outs are chosen on; judge them on others")
        return washouts


class RecogniseSettings(_Periodic):
    """How networks are made and trained to recognise.

    Attributes
    ----------
    seed : int
        of the topology and of the trials' phases
    period_ticks : int, optional
        ticks in a period of the waveform; 60 if neither this nor ``period_resonances`` is given
    period_resonances : float, optional
        instead: how many periods of the device's resonance a period of the waveform lasts
    periods : int
        after onset
    averaged : int
        last of them over which signals are averaged, 1 to ``periods``: where junctions are noisy, more are better
    power : bool
        whether the classifier reads mean squares beside the means, what a power detector at each junction shows
    train_trials, test_trials, full_trials : int
        trials to train on, to test on, and to check in full micromagnetics
    ridge : float
        penalty of the classifier, of signals in units of their spread
    """

    usual_ticks: ClassVar[int] = 60

    seed: int = Field(default=0, ge=0)
    periods: int = Field(default=2, ge=1, le=1000)
    averaged: int = Field(default=1, ge=1, le=1000)
    power: bool = False
    train_trials: int = Field(default=400, ge=8, le=100_000)
    test_trials: int = Field(default=400, ge=4, le=100_000)
    full_trials: int = Field(default=20, ge=4, le=100_000)
    ridge: float = Field(default=3e-3, gt=0, le=1e6)
    topology: Topology = Topology(spectral_radius=0.168, input=1.7, bias=0.8, gain=0.8)

    @model_validator(mode="after")
    def _averages_what_there_is(self) -> Self:
        if self.averaged > self.periods:
            raise ValueError(
                f"averaged: expected at most the {self.periods} periods that are fed in, got {self.averaged}"
            )
        return self


class PatternSettings(_Periodic):
    """How a network is made and trained to generate the pattern that its input chooses.

    Attributes
    ----------
    patterns : tuple of str
        two or more tasks with the same number of outputs, as in :class:`GenerateSettings`
    seed : int
        of the topology
    period_ticks, period_resonances
        as in :class:`GenerateSettings`
    tours, dwell : int
        how often every switch is made in the free run that judges, and periods between two of them
    """

    usual_ticks: ClassVar[int] = 84

    patterns: tuple[str, ...] = Field(default=("sine", "triangle", "harmonics"), min_length=2, max_length=20)
    seed: int = Field(default=0, ge=0)
    tours: int = Field(default=5, ge=1, le=10_000)
    dwell: int = Field(default=12, ge=2, le=10_000)
    topology: Topology = Topology(spectral_radius=0.57, feedback=3.2, bias=0.6, gain=0.75, input=0.7)
    training: Choosing = Choosing()

    @field_validator("patterns")
    @classmethod
    def _names_differ(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        names = [task_name(task) for task in patterns]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each pattern once, got {', '.join(names)}")
        return patterns


class Experiment(_Settings):
    """All stages of a run; the form of ``data/experiments/*.toml``.

    Attributes
    ----------
    name : str
    device : str
        name of a card in ``data/devices``, or a card's file beside the experiment
    engine : str
        full engine for calibration and verdict; ``auto`` is OOMMF where it is found and works
    temperature : float, optional
        of the junctions (K); the card's if not given
    chips : int
        how many chips are trained and verified; figures are medians over them
    spread : Spread
        how the junctions of a chip differ
    finish : {"embedded", "oommf", "none"}
        where generators are finished before the verdict, at 0 K
    model : str
        kind of the reduced model; ``auto`` is what reaches farthest
    reach : float or "auto"
        share of J_max that networks stay within; ``auto`` is as far as the reduced model is good
    baselines : bool
        whether the same networks are trained without magnets too
    """

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$")
    device: str = "disc60"
    engine: str = "auto"
    temperature: float | None = Field(default=None, ge=0, le=1500)
    chips: int = Field(default=1, ge=1, le=1000)
    spread: Spread = Spread()
    finish: Literal["embedded", "oommf", "none"] = "embedded"
    calibration: Protocol = Protocol()
    model: str = "auto"
    reach: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = "auto"
    baselines: bool = True
    generate: GenerateSettings = GenerateSettings()
    recognise: RecogniseSettings = RecogniseSettings()

    @property
    def chips_differ(self) -> bool:
        """Whether there is any spread."""
        return self.spread != Spread()

    @model_validator(mode="after")
    def _chips_need_a_spread(self) -> Self:
        if self.chips > 1 and not self.chips_differ:
            raise ValueError(f"chips: expected 1 without a [spread], got {self.chips}; say how junctions differ")
        return self


def experiment_toml(experiment: Experiment, words: str) -> str:
    """An experiment as the text of its file: what differs from the defaults, under a comment.

    Parameters
    ----------
    experiment : Experiment
    words : str
        a line of comment
    """
    differs = _differing(experiment.model_dump(mode="json"), Experiment(name="defaults").model_dump(mode="json"))
    return toml_text(differs, words)


def toml_text(values: dict[str, Any], words: str) -> str:
    """Nested tables as TOML, under a line of comment.

    Examples
    --------
    >>> print(toml_text({"name": "mine", "generate": {"seed": 1}}, "mine"), end="")
    # mine
    <BLANKLINE>
    name = "mine"
    <BLANKLINE>
    [generate]
    seed = 1
    """
    lines = [f"# {words}"]
    for name, table in _tables(values):
        lines += ["", *([f"[{name}]"] if name else []), *(f"{_key(key)} = {json.dumps(table[key])}" for key in table)]
    return "\n".join(lines) + "\n"


def _tables(values: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """A nested dictionary as TOML has it: each table by its whole name, with its plain values."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    if plain:
        yield name, plain
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _tables(value, f"{name}.{_key(key)}" if name else _key(key))


def _key(name: str) -> str:
    """A key as TOML has it: in quotes where it is more than a word."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _differing(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What is given and not the default, table by table."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            value = _differing(value, defaults[key])
            if value:
                found[key] = value
        elif value is not None and (key not in defaults or value != defaults[key]):
            found[key] = value
    return found


def load_experiment(path: str | Path) -> tuple[Experiment, DeviceCard]:
    """Read an experiment and the card of its device.

    Parameters
    ----------
    path : path
        TOML file, or the name of one of ``data/experiments`` where there is no file of that name

    Raises
    ------
    SpinloomError
        for a bad field, an unknown device, or a path that leaves the experiment's folder
    """
    path = shipped_experiment(Path(path))
    try:
        given = read_toml(path)
        given.pop("sweep", None)  # the experiment as it stands; 'spinloom sweep' varies it
        defaults = Experiment(name="defaults").model_dump()
        if given.get("spread"):
            defaults["calibration"] = Protocol.of_population().model_dump()
        experiment = Experiment.model_validate(_over(defaults, given))
    except ValidationError as error:
        raise SpinloomError(explain(error, str(path))) from None
    generate = experiment.generate
    tasks = tuple(str(inside(path, task)) if task.endswith(".csv") else task for task in generate.tasks)
    experiment = experiment.model_copy(update={"generate": generate.model_copy(update={"tasks": tasks})})
    return experiment, load_card(device_path(path, experiment.device), experiment.temperature)


def shipped_experiment(path: Path) -> Path:
    """The file itself, or the shipped one that goes by this name."""
    shipped = {file.stem: file for file in sorted((data_folder() / "experiments").glob("*.toml"))}
    if not path.exists() and not path.suffix:
        if str(path) not in shipped:
            raise SpinloomError(f"{path}: no such file, and not the name of a shipped one ({', '.join(shipped)})")
        return shipped[str(path)]
    return path


def _over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Given values over defaults, table by table."""
    merged = {**defaults, **given}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            merged[key] = _over(defaults[key], value)
    return merged


def device_path(path: Path, device: str) -> Path:
    """The card that an experiment names: one beside it, or a shipped one."""
    if device.endswith(".toml"):
        return inside(path, device)
    shipped = {card.stem: card for card in sorted((data_folder() / "devices").glob("*.toml"))}
    if device not in shipped:
        raise SpinloomError(
            f"{path}: device: expected one of {', '.join(shipped)} or a .toml file beside it, got {shown(device)}"
        )
    return shipped[device]


def inside(path: Path, name: str) -> Path:
    """A file that a file names: it has to be in the same folder or below."""
    try:
        folder = path.resolve().parent
        found = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null
        raise SpinloomError(f"{path}: names {shown(name)}, which is no file ({error})") from None
    if not found.is_relative_to(folder):
        raise SpinloomError(
            f"{path}: names {shown(name)}, outside its own folder; copy that file beside the experiment"
        )
    return found


def override(settings: Any, **values: Any) -> Any:
    """Settings with some fields replaced, checked again; ``None`` leaves a field as it is.

    Raises
    ------
    SpinloomError
        naming the field
    """
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return type(settings).model_validate({**settings.model_dump(), **given})
    except ValidationError as error:
        raise SpinloomError(explain(error, "options")) from None
