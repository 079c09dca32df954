"""A trained network on disk: NetCDF, with the name and the digest of the model it was trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import PARAMETERS
from spinloom.networks.sparse import Sparse
from spinloom.networks.topology import Weights

KIND, FORMAT = "network", 3
PATTERNS = "patterns"
"""Task of a network whose input chooses what it generates."""
_WITHOUT_CLOCK = 2
"""An older form: no clock, else the same."""


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
    def listening(self) -> dict[str, Any]:
        """How the trials of a network that recognises run: arguments of :func:`spinloom.networks.trials.recognise`."""
        return {
            "period_ticks": self.period_ticks,
            "periods": self.settings["periods"],
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


def _matrix(dataset: xr.Dataset) -> Any:
    """W of one network, from its variables."""
    if "W_source" not in dataset:
        return dataset["W"].values[None]
    source, weight = (dataset[f"W_{name}"].values[None] for name in ("source", "weight"))
    if source.size and not (source.min() >= 0 and source.max() < source.shape[2]):
        raise ValueError(f"W_source: expected nodes 0 to {source.shape[2] - 1}, got {source.min()} to {source.max()}")
    return Sparse(source, weight)


def _deviations(dataset: xr.Dataset) -> np.ndarray | None:
    """How the junctions differ, by the columns of today."""
    if "deviation" not in dataset:
        return None
    names = str(dataset["deviation"].attrs["parameters"]).split(",")
    return dataset["deviation"].values[:, [names.index(name) for name in PARAMETERS]]


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
        attrs = dataset.attrs
        w_fb, W_in, b, w_out = (dataset[name].values[None] for name in ("w_fb", "W_in", "b", "w_out"))
        weights = Weights(_matrix(dataset), w_fb, W_in, b, np.array([float(attrs["gain"])]), w_out)
        if "device" in dataset:
            weights = weights.with_devices(dataset["device"].values[None])
        network = TrainedNetwork(
            task=attrs["task"],
            name=attrs["name"],
            weights=weights,
            period_ticks=int(attrs["period_ticks"]),
            f=dataset["f"].values,
            settings=json.loads(attrs["settings"]),
            clock=dataset["clock"].values if "clock" in dataset else None,
            reduced=dataset["w_reduced"].values[None] if "w_reduced" in dataset else None,
            deviations=_deviations(dataset),
            patterns=dataset["patterns"].values if "patterns" in dataset else None,
        )
        name, digest = str(attrs["model_file"]), str(attrs["model_sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise SpinloomError(f"{path}: not a whole network file ({error!r}); train it again") from None
    if Path(name).name != name or name in {"", ".", ".."}:
        raise SpinloomError(f"{path}: names the model {name!r}; expected a file in its own folder")
    model_path = path.parent / name
    if not model_path.is_file():
        raise SpinloomError(f"{path}: its model {name} is missing from {path.parent}; put it back beside the network")
    if files.digest(model_path) != digest:
        raise SpinloomError(
            f"{model_path}: not the model that {path.name} was trained on (its SHA-256 differs); train again"
        )
    return network, model_path
