"""The operating point and the experiment file: every choice that a run makes, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spinloom.device_models.calibration import Protocol
from spinloom.device_models.card import DeviceCard, explain, load_card, read_toml
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.networks.topology import Topology
from spinloom.networks.training import Training


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GenerateSettings(_Settings):
    """How networks are made and trained to generate.

    Attributes
    ----------
    tasks : tuple of str
        names of :data:`spinloom.networks.tasks.GENERATE`, or CSV files beside the experiment
    seed : int
        of the topology
    period_ticks : int
        ticks in a period of the target
    washout : int
        periods with the target fed back before every free run
    free_periods, full_periods : int
        of the free run with the reduced model, and in full micromagnetics
    """

    tasks: tuple[str, ...] = ("sine", "triangle", "harmonics")
    seed: int = Field(default=0, ge=0)
    period_ticks: int = Field(default=84, ge=4, le=100_000)
    washout: int = Field(default=4, ge=1, le=10_000)
    free_periods: int = Field(default=100, ge=1, le=1_000_000)
    full_periods: int = Field(default=20, ge=1, le=1_000_000)
    topology: Topology = Topology(spectral_radius=1.1, feedback=1.84, bias=0.59, gain=0.85)
    training: Training = Training()


class RecogniseSettings(_Settings):
    """How networks are made and trained to recognise.

    Attributes
    ----------
    seed : int
        of the topology and of the trials' phases
    period_ticks : int
        ticks in a period of the waveform
    periods : int
        after onset; the states of the last one are read
    train_trials, test_trials, full_trials : int
        trials to train on, to test on, and to check in full micromagnetics
    ridge : float
        penalty of the classifier
    """

    seed: int = Field(default=0, ge=0)
    period_ticks: int = Field(default=60, ge=4, le=100_000)
    periods: int = Field(default=2, ge=1, le=1000)
    train_trials: int = Field(default=400, ge=8, le=100_000)
    test_trials: int = Field(default=400, ge=4, le=100_000)
    full_trials: int = Field(default=20, ge=4, le=100_000)
    ridge: float = Field(default=1e-3, gt=0, le=1e6)
    topology: Topology = Topology(spectral_radius=0.3, input=1.7, bias=0.8, gain=0.8)


class Experiment(_Settings):
    """All stages of a run; the form of ``data/experiments/*.toml``.

    Attributes
    ----------
    name : str
    device : str
        name of a card in ``data/devices``, or a card's file beside the experiment
    engine : str
        full engine for calibration and verdict; ``auto`` is OOMMF where it is found and works
    """

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$")
    device: str = "disc60"
    engine: str = "auto"
    calibration: Protocol = Protocol()
    model: str = "flow_map"
    generate: GenerateSettings = GenerateSettings()
    recognise: RecogniseSettings = RecogniseSettings()


def load_experiment(path: str | Path) -> tuple[Experiment, DeviceCard]:
    """Read an experiment and the card of its device.

    Raises
    ------
    SpinloomError
        for a bad field, an unknown device, or a path that leaves the experiment's folder
    """
    path = Path(path)
    try:
        experiment = Experiment.model_validate(_over(Experiment(name="defaults").model_dump(), read_toml(path)))
    except ValidationError as error:
        raise SpinloomError(explain(error, str(path))) from None
    generate = experiment.generate
    tasks = tuple(str(_inside(path, task)) if task.endswith(".csv") else task for task in generate.tasks)
    experiment = experiment.model_copy(update={"generate": generate.model_copy(update={"tasks": tasks})})
    return experiment, load_card(_device_path(path, experiment.device))


def _over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Given values over defaults, table by table."""
    merged = {**defaults, **given}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            merged[key] = _over(defaults[key], value)
    return merged


def _device_path(path: Path, device: str) -> Path:
    if device.endswith(".toml"):
        return _inside(path, device)
    shipped = {card.stem: card for card in sorted((data_folder() / "devices").glob("*.toml"))}
    if device not in shipped:
        raise SpinloomError(
            f"{path}: device: expected one of {', '.join(shipped)} or a .toml file beside it, got {device!r}"
        )
    return shipped[device]


def _inside(path: Path, name: str) -> Path:
    """A file that a file names: it has to be in the same folder or below."""
    folder = path.resolve().parent
    found = (folder / name).resolve()
    if not found.is_relative_to(folder):
        raise SpinloomError(f"{path}: names {name!r}, outside its own folder; copy that file beside the experiment")
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
