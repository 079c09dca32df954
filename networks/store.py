"""A trained network on disk: NetCDF, with the name and the digest of the model it was trained on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import xarray as xr
from pydantic import BaseModel, Field

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import PARAMETERS
from spinloom.device_models.texts import json_object, shown
from spinloom.networks.sparse import Sparse
from spinloom.networks.topology import Weights

KIND, FORMAT = "network", 3
PATTERNS = "patterns"
"""Task of a network whose input chooses what it generates."""
TASKS = ("generate", "recognise", PATTERNS)
_MOST_DEVICES = 10_000_000
_WITHOUT_CLOCK = 2
"""An older form: no clock, else the same."""
LONGEST_NAME = 255
"""Of a file, in bytes: what file systems take."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """One trained network and how it is run.

    Attributes
    ----------
    task : {"generate", "recognise", "patterns"}
    name : str
        the target's name, or ``recognise``, or the names of all patterns
    weights : Weights
        of a single network (S = 1), in the units of its model's scale
    period_ticks : int
    f : (period_ticks, K) ndarray
        one period of the target; zeros for recognition
    settings : dict
        topology, training, seed, washout or periods, and the figures reached; JSON-able
    clock : (period_ticks,) ndarray, optional
        one period of the input that keeps its time; None without one
    reduced : (1, K, N + 1) ndarray, optional
        read-out that was trained on the reduced model, where the finish made another; None without one
    deviations : (N, parameters) ndarray, optional
        how the junction at each node differs from the model's, by the columns of
        :data:`spinloom.device_models.spread.PARAMETERS`; None if none does
    patterns : (P, period_ticks, K) ndarray, optional
        one period of each pattern that the input chooses from; None of a network that knows one
    """

    task: str
    name: str
    weights: Weights
    period_ticks: int
    f: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)
    clock: np.ndarray | None = None
    reduced: np.ndarray | None = None
    deviations: np.ndarray | None = None
    patterns: np.ndarray | None = None

    def expect(self, *tasks: str) -> None:
        """Refuse what a stage cannot take.

        Raises
        ------
        SpinloomError
            if the network's task is none of these
        """
        if self.task not in tasks:
            what = {"generate": "one that generates", "recognise": "one that recognises"}
            known = " or ".join(what.get(task, "one whose input chooses a pattern") for task in tasks)
            told = what.get(self.task, "one whose input chooses a pattern")
            raise SpinloomError(f"network {self.name}: expected {known}, got {told}")

    @property
    def as_trained(self) -> TrainedNetwork:
        """The network with the read-out that it had before its finish: that of the reduced model."""
        return self if self.reduced is None else replace(self, weights=self.weights.with_readout(self.reduced))

    @property
    def washouts(self) -> list[int]:
        """Periods with the target fed back, before the free runs that it was judged by.

        Raises
        ------
        SpinloomError
            for a network that does not say
        """
        return list(self._told("washouts"))

    def _told(self, what: str) -> Any:
        if what not in self.settings:
            raise SpinloomError(f"{self.name}: its settings do not tell {what}; train it again")
        return self.settings[what]

    @property
    def listening(self) -> dict[str, Any]:
        """How the trials of a network that recognises run: arguments of :func:`spinloom.networks.trials.recognise`."""
        return {
            "period_ticks": self.period_ticks,
            "periods": self._told("periods"),
            "averaged": self.settings.get("averaged", 1),
            "power": self.settings.get("power", False),
        }

    def alike(self, other: TrainedNetwork, tolerance: float) -> bool:
        """Whether another network is the same one, no weight differing by more than ``tolerance``."""
        mine, theirs = (
            (n.task, n.period_ticks, n.weights.devices, n.clock is None, n.deviations is None) for n in (self, other)
        )
        if mine != theirs:
            return False
        own, others = (jax.tree.leaves(network.weights.arrays()) for network in (self, other))
        if len(own) != len(others):
            return False
        pairs = [(self.f, other.f), *zip(own, others, strict=True)]
        if self.clock is not None:
            pairs.append((self.clock, np.asarray(other.clock)))
        if self.deviations is not None:
            pairs.append((self.deviations, np.asarray(other.deviations)))
        return all(a.shape == b.shape and np.abs(a - b).max() <= tolerance for a, b in pairs)


def save_network(network: TrainedNetwork, path: str | Path, model_path: str | Path) -> None:
    """Write a network; its model is copied beside it if it is not there already.

    Parameters
    ----------
    network : TrainedNetwork
    path : path
    model_path : path
        the reduced model's file
    """
    path, model_path = Path(path), Path(model_path)
    beside = path.parent / model_path.name
    if path.resolve() == model_path.resolve():
        raise SpinloomError(f"{path}: is the model itself; choose another output for the network")
    w, digest = network.weights, files.digest(model_path)
    optional: dict[str, Any] = {}
    if w.devices is not None:
        optional["device"] = (("to",), w.which(), {"long_name": "which device of the model each node is"})
    if network.clock is not None:
        optional["clock"] = (("tick",), network.clock, {"long_name": "one period of the input", "units": "1"})
    if network.reduced is not None:
        told = {"long_name": "read-out of [r, 1] before the finish"}
        optional["w_reduced"] = (("output", "state"), network.reduced[0], told)
    if network.deviations is not None:
        told = {"long_name": "how each junction differs from the model's", "parameters": ",".join(PARAMETERS)}
        optional["deviation"] = (("to", "parameter"), network.deviations, told)
    if network.patterns is not None:
        told = {"long_name": "one period of each pattern that the input chooses", "units": "1"}
        optional["patterns"] = (("pattern", "tick", "output"), network.patterns, told)
    dataset = xr.Dataset(
        {
            **_of_matrix(w.W),
            "w_fb": (("to", "output"), w.w_fb[0]),
            "W_in": (("to",), w.W_in[0]),
            "b": (("to",), w.b[0]),
            "w_out": (("output", "state"), w.w_out[0], {"long_name": "read-out of [r, 1]"}),
            "f": (("tick", "output"), network.f, {"long_name": "one period of the target", "units": "1"}),
            **optional,
        },
        attrs={
            "task": network.task,
            "name": network.name,
            "gain": float(w.gain[0]),
            "period_ticks": network.period_ticks,
            "settings": files.to_json(network.settings),
            "model_file": beside.name,
            "model_sha256": digest,
        },
    )
    if beside.resolve() != model_path.resolve():
        if beside.exists() and files.digest(beside) != digest:
            beside = path.parent / f"{model_path.stem}-{digest[:8]}{model_path.suffix}"
            dataset.attrs["model_file"] = beside.name
        with files.written_whole(beside) as temporary:
            shutil.copyfile(model_path, temporary)
    files.save(dataset, path, KIND, FORMAT)


def _of_matrix(W: Any) -> dict[str, Any]:
    """The variables that W is in a file."""
    if not isinstance(W, Sparse):
        return {"W": (("to", "from"), W[0])}
    return {
        "W_source": (("heard", "to"), W.source[0], {"long_name": "whom each node hears"}),
        "W_weight": (("heard", "to"), W.weight[0], {"long_name": "by how much: all of W that is not zero"}),
    }


def _matrix(dataset: xr.Dataset, nodes: int) -> Any:
    """W of one network, from its variables."""
    if "W_source" not in dataset:
        return _numbers(dataset, "W", nodes, nodes)[None]
    weight = _numbers(dataset, "W_weight", None, nodes)[None]
    source = _numbers(dataset, "W_source", weight.shape[1], nodes, whole=True)[None]
    if source.size and not (source.min() >= 0 and source.max() < nodes):
        raise ValueError(f"W_source: expected nodes 0 to {nodes - 1}, got {source.min()} to {source.max()}")
    return Sparse(source, weight)


def _numbers(dataset: xr.Dataset, name: str, *shape: int | None, whole: bool = False) -> np.ndarray:
    """A variable of finite numbers of a certain shape; None is any length."""
    value = dataset[name].values
    if value.ndim != len(shape) or any(m not in (None, n) for n, m in zip(value.shape, shape, strict=True)):
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")
    if value.dtype.kind not in ("iu" if whole else "iuf") or not np.isfinite(value).all():
        raise ValueError(f"{name}: expected {'whole' if whole else 'finite'} numbers")
    return value


def _deviations(dataset: xr.Dataset, nodes: int) -> np.ndarray | None:
    """How the junctions differ, by the columns of today."""
    if "deviation" not in dataset:
        return None
    names = str(dataset["deviation"].attrs["parameters"]).split(",")
    return _numbers(dataset, "deviation", nodes, len(names))[:, [names.index(name) for name in PARAMETERS]]


def _network(dataset: xr.Dataset) -> TrainedNetwork:
    """A network whose parts belong together."""
    attrs = dataset.attrs
    b = _numbers(dataset, "b", None)
    nodes = len(b)
    if not nodes:
        raise ValueError("b: expected at least one node")
    w_fb = _numbers(dataset, "w_fb", nodes, None)
    outputs = w_fb.shape[1]
    w_out = _numbers(dataset, "w_out", outputs, None)
    task, gain, ticks = str(attrs["task"]), float(attrs["gain"]), int(attrs["period_ticks"])
    # The classifier of a network that recognises may read the squares of its signals too.
    features = [nodes + 1, 2 * nodes + 1] if task == TASKS[1] else [nodes + 1]
    if task not in TASKS or not outputs or w_out.shape[1] not in features or not np.isfinite(gain):
        raise ValueError(
            f"expected one of {', '.join(TASKS)} by {nodes + 1} features of each output, got {shown(task)}, {outputs} "
            f"outputs of {w_out.shape[1]} features and a gain of {gain:g}"
        )
    f = _numbers(dataset, "f", None, outputs)
    if not 1 <= ticks == len(f):
        raise ValueError(f"period_ticks: expected the {len(f)} ticks of the target, got {ticks}")
    W_in = _numbers(dataset, "W_in", nodes)
    weights = Weights(_matrix(dataset, nodes), w_fb[None], W_in[None], b[None], np.array([gain]), w_out[None])
    if "device" in dataset:
        devices = _numbers(dataset, "device", nodes, whole=True)
        if not 0 <= devices.min() <= devices.max() <= _MOST_DEVICES:
            raise ValueError(f"device: expected numbers from 0 on, got {devices.min()} to {devices.max()}")
        weights = weights.with_devices(devices[None])
    return TrainedNetwork(
        task=task,
        name=_name(attrs["name"]),
        weights=weights,
        period_ticks=ticks,
        f=f,
        settings=_settings(json_object(attrs["settings"], "settings"), task),
        clock=_numbers(dataset, "clock", ticks) if "clock" in dataset else None,
        reduced=_numbers(dataset, "w_reduced", *w_out.shape)[None] if "w_reduced" in dataset else None,
        deviations=_deviations(dataset, nodes),
        patterns=_patterns(dataset, task, ticks, outputs),
    )


def _patterns(dataset: xr.Dataset, task: str, ticks: int, outputs: int) -> np.ndarray | None:
    """The patterns of a network that chooses, two or more."""
    if task != PATTERNS:
        return None
    patterns = _numbers(dataset, "patterns", None, ticks, outputs)
    if len(patterns) < 2:
        raise ValueError(f"patterns: expected two or more to choose from, got {len(patterns)}")
    return patterns


def _name(name: Any) -> str:
    """A name that files and tables can bear."""
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable() or "/" in name:
        raise ValueError(f"name: expected a word, got {shown(name)}")
    return name


class _Run(BaseModel):
    """What runs take from the settings of any network, where it is there."""

    seed: int = Field(default=0, ge=0)
    washouts: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(default=(1,), min_length=1)
    periods: int = Field(default=1, ge=1, le=1000)
    averaged: int = Field(default=1, ge=1, le=1000)
    power: bool = False
    dwell: int = Field(default=2, ge=2, le=10_000)


def _settings(settings: dict[str, Any], task: str) -> dict[str, Any]:
    """Settings that a run can go by."""
    run = _Run.model_validate(settings, strict=False)
    if run.averaged > run.periods and "periods" in settings:
        raise ValueError(f"averaged: expected at most the {run.periods} periods that are fed in, got {run.averaged}")
    return settings


def load_network(path: str | Path) -> tuple[TrainedNetwork, Path]:
    """Read a network and find its model.

    Returns
    -------
    network : TrainedNetwork
    model_path : path
        beside the network; its digest has been checked

    Raises
    ------
    SpinloomError
        if the file is damaged, or its model is missing or not the one it was trained on
    """
    path = Path(path)
    dataset = files.load(path, KIND, FORMAT, _WITHOUT_CLOCK)
    try:
        network = _network(dataset)
        name, digest = str(dataset.attrs["model_file"]), str(dataset.attrs["model_sha256"])
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        told = str(error) if isinstance(error, ValueError) else repr(error)
        raise SpinloomError(f"{path}: not a whole network file ({told[:500]}); train it again") from None
    if Path(name).name != name or name in {"", ".", ".."} or len(name.encode(errors="replace")) > LONGEST_NAME:
        raise SpinloomError(f"{path}: names the model {shown(name)}; expected a file in its own folder")
    model_path = path.parent / name
    if not model_path.is_file():
        raise SpinloomError(f"{path}: its model {name} is missing from {path.parent}; put it back beside the network")
    if files.digest(model_path) != digest:
        raise SpinloomError(
            f"{model_path}: not the model that {path.name} was trained on (its SHA-256 differs); train again"
        )
    return network, model_path
