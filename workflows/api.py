"""The stages as functions of Python: values in, values out, no file unless you save one.

``import spinloom`` gives these, and what reads and writes the files of the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models import calibration
from spinloom.device_models.calibration import Design, Protocol
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import choose_engine, open_engine
from spinloom.device_models.spread import Spread
from spinloom.networks.store import PATTERNS, TrainedNetwork
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.chips import on_their_chips
from spinloom.workflows.console import progress
from spinloom.workflows.cosimulate import compare, verdict_recognise
from spinloom.workflows.export.onnx import network_onnx, node_onnx
from spinloom.workflows.export.spice import network_netlist, node_netlist
from spinloom.workflows.finish import finish_stage
from spinloom.workflows.full_runs import How
from spinloom.workflows.patterns import train_patterns, verdict_patterns
from spinloom.workflows.run import run_experiment
from spinloom.workflows.settings import RECOGNISE, GenerateSettings, PatternSettings, RecogniseSettings, override
from spinloom.workflows.train import generators, recogniser
from spinloom.workflows.warm_verdict import SEEDS


@dataclass(frozen=True)
class Verdict:
    """What a trained network does with every junction in full micromagnetics.

    Attributes
    ----------
    figures : dict
        as ``spinloom cosimulate --json`` prints them
    record : xarray.Dataset, optional
        outputs, signals and drives of every tick; none of a network that recognises
    """

    figures: dict[str, Any]
    record: xr.Dataset | None = field(default=None, repr=False)


def calibrate(
    card: DeviceCard,
    *,
    engine: str = "auto",
    oommf: str | None = None,
    spread: Spread | None = None,
    **protocol: Any,
) -> xr.Dataset:
    """Drive a device, or a population of them, in full micromagnetics, and keep how it answered.

    Parameters
    ----------
    card : DeviceCard
    engine : str
        ``embedded``, ``oommf``, or ``auto``
    oommf : str, optional
        command that starts OOMMF
    spread : Spread, optional
        how the devices of a population differ; without it there is the one of the card
    **protocol
        fields of :class:`spinloom.device_models.calibration.Protocol`: ``tick`` (s),
        ``trajectories``, ``duration`` (s), ``seed``, ``grades``, ``per_grade``

    Returns
    -------
    dataset : xarray.Dataset
        drives ``u`` and answers ``m`` of all trajectories

    Examples
    --------
    >>> import spinloom
    >>> card = spinloom.load_card("data/devices/disc60.toml")
    >>> data = spinloom.calibrate(card, engine="embedded", trajectories=4, grades=(), duration=75e-12)
    >>> dict(data["m"].sizes)
    {'trajectory': 4, 'tick': 10, 'component': 3}
    """
    how = override(Protocol() if spread is None else Protocol.of_population(), **protocol)
    design = None if spread is None else Design.of(spread, how)
    cards = [card] if design is None else design.cards(card)
    with (
        open_engine(choose_engine(engine, oommf), cards, how.tick) as opened,
        progress(f"calibrate, {how.n_trajectories} devices", how.n_ticks) as advance,
    ):
        return calibration.calibrate(card, opened, how, advance, design)


def fit(dataset: xr.Dataset, kind: str = "auto", reach: float | str = "auto") -> CalibratedModel:
    """Fit a reduced model to a calibration set, judged by roll-outs on held-out trajectories.

    Parameters
    ----------
    dataset : xarray.Dataset
        from :func:`calibrate`
    kind : {"auto", "flow_map", "macrospin"} or another kind
        ``auto`` takes what reaches farthest
    reach : float or "auto"
        share of J_max that networks stay within; ``auto`` goes as far as the model is good

    Returns
    -------
    model : CalibratedModel
        ``model.estimator`` is the scikit-learn estimator, ``model.node`` what networks are made of
    """
    return fit_model(dataset, kind, reach)


def train(model: CalibratedModel, task: str, **settings: Any) -> TrainedNetwork:
    """Train a network of reduced nodes.

    Parameters
    ----------
    model : CalibratedModel
    task : str
        ``sine``, ``triangle``, ``harmonics``, ``square``, of two outputs ``circle``, ``eight``, ``two_tones``, or the
        path of a CSV with one period, to be generated; ``recognise``, to tell waveforms apart; ``patterns``, to
        generate the one of several that the input chooses
    **settings
        fields of :class:`spinloom.workflows.settings.GenerateSettings`, ``RecogniseSettings`` or ``PatternSettings``;
        ``topology`` and ``training`` are dictionaries of the fields to change

    Returns
    -------
    network : TrainedNetwork
        what it reached is in ``network.settings["reached"]``
    """
    base: Any = {RECOGNISE: RecogniseSettings, PATTERNS: PatternSettings}.get(task, GenerateSettings)()
    for part in ("topology", "training"):
        if part in settings:
            settings[part] = override(getattr(base, part), **settings[part]).model_dump()
    if task == RECOGNISE:
        return recogniser(model, override(base, **settings))
    if task == PATTERNS:
        return train_patterns(model, override(base, **settings), beside=False)[0]
    return generators(model, override(base, tasks=(task,), **settings), [task])[0]


def finish(
    network: TrainedNetwork, model: CalibratedModel, *, engine: str = "embedded", oommf: str | None = None
) -> TrainedNetwork:
    """Train a network that generates again, for nodes in full micromagnetics.

    Parameters
    ----------
    network : TrainedNetwork
    model : CalibratedModel
        that it was trained on
    engine : str
        ``embedded``, ``oommf``, or ``auto``
    oommf : str, optional
        command that starts OOMMF

    Returns
    -------
    network : TrainedNetwork
        ``settings["finish"]`` holds what was done; one that does not generate is as it was
    """
    (finished,), _ = finish_stage([network], model, choose_engine(engine, oommf))
    return finished


def cosimulate(
    network: TrainedNetwork,
    model: CalibratedModel,
    *,
    engine: str = "embedded",
    oommf: str | None = None,
    periods: int = 20,
    trials: int = 20,
    method: str = "",
    anyway: bool = False,
    kick: bool = False,
    temperature: float | None = None,
    seeds: int = SEEDS,
) -> Verdict:
    """Run a trained network with every node in full micromagnetics.

    Parameters
    ----------
    network : TrainedNetwork
    model : CalibratedModel
        that it was trained on
    engine : str
        ``embedded``, ``oommf``, ``auto``, or ``oommf-reference``
    oommf : str, optional
        command that starts OOMMF
    periods : int
        in free run, of a network that generates
    trials : int
        of a network that recognises
    method : str
        ``lock-step`` or ``relaxation``; what the engine can do if not given
    anyway : bool
        run on where the reduced model turns out to be wrong after a few periods
    kick : bool
        turn every node by 0.1 at the end, and see whether the output returns
    temperature : float, optional
        of all nodes (K); the model's if not given. Above 0 K statistics over several noises are compared
    seeds : int
        how many noises, of a network that generates

    Returns
    -------
    verdict : Verdict
    """
    choice, how = choose_engine(engine, oommf), How(method, anyway=anyway, kick=kick)
    (network,), model = on_their_chips([network], model)
    if network.task == RECOGNISE:
        return Verdict(verdict_recognise(network, model, choice, trials, how, temperature))
    if network.task == PATTERNS:
        return Verdict(verdict_patterns(network, model, choice, temperature=temperature))
    record, (figures,) = compare([network], model, choice, periods, how, temperature=temperature, seeds=seeds)
    return Verdict(figures, record)


def replay(
    card: DeviceCard | Sequence[DeviceCard],
    u: Any,
    durations: Any,
    *,
    engine: str = "embedded",
    oommf: str | None = None,
    initial: np.ndarray | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Drive devices with waveforms of yours, each held drive for its own time.

    Parameters
    ----------
    card : DeviceCard, or a sequence of one for each column of ``u``
    u : (n,) or (n, devices) array_like
        drives J / J_max, within [-1, 1]
    durations : float or (n,) array_like
        of each hold (s)
    engine : str
        ``embedded``, ``oommf``, or ``auto``
    oommf : str, optional
        command that starts OOMMF
    initial : (nx, ny, nz, 3) ndarray, optional
        field to start from; the card's start is relaxed if not given
    seed : int
        of the thermal field of cards that have a temperature, such as ``card.at(300)``

    Returns
    -------
    dataset : xarray.Dataset
        ``u`` (tick, device), ``m`` (tick, device, component) at the end of each hold, the final
        ``field`` (device, x, y, z, component) and the one that it started from, ``field_start``, time ``t`` (s)

    Examples
    --------
    >>> import spinloom
    >>> card = spinloom.load_card("data/devices/disc60.toml")
    >>> answer = spinloom.replay(card, [0.0, 0.5, 0.5], 7.5e-12)
    >>> bool(answer["m"].sel(component="x")[-1, 0] > 0)
    True
    """
    drives = np.asarray(u, dtype=float)
    drives = drives[:, None] if drives.ndim == 1 else drives
    holds = np.broadcast_to(np.asarray(durations, dtype=float), len(drives))
    cards = [card] if isinstance(card, DeviceCard) else list(card)
    devices = np.arange(len(cards)) if len(cards) > 1 else None
    with (
        open_engine(choose_engine(engine, oommf), cards, float(holds[0]), initial) as opened,
        progress(f"replay on {', '.join(dict.fromkeys(one.name for one in cards))}", len(drives)) as advance,
    ):
        fields, m = opened.play(holds, drives, progress=advance, devices=devices, seed=seed)
        started = np.broadcast_to(opened.equilibria[0 if devices is None else devices], fields.shape)
        made_by = {"engine": opened.name, "engine_version": opened.version, "seed": seed}
    return xr.Dataset(
        {
            "u": (("tick", "device"), drives, {"units": "1", "long_name": "drive J / J_max, held for the tick"}),
            "m": (("tick", "device", "component"), m, {"units": "1", "long_name": "<m> at the end of the tick"}),
            "field": (("device", "x", "y", "z", "component"), fields, {"units": "1", "long_name": "m at the end"}),
            "field_start": (("device", "x", "y", "z", "component"), started, {"units": "1", "long_name": "m before"}),
        },
        coords={"t": (("tick",), np.cumsum(holds), {"units": "s"}), "component": ["x", "y", "z"]},
        attrs={**made_by, "cards": "[" + ", ".join(one.to_json() for one in cards) + "]"},
    )


def run(experiment: str | Path, out: str | Path, engine: str | None = None) -> dict[str, Any]:
    """All stages of an experiment into a folder, with its page; what is done is not done again.

    Parameters
    ----------
    experiment : path
        TOML file, or the name of a shipped one, such as ``demo``
    out : path
        folder of the results
    engine : str, optional
        instead of the experiment's

    Returns
    -------
    summary : dict
        what ``summary.json`` holds
    """
    return run_experiment(Path(experiment), Path(out), engine)


def to_onnx(model: CalibratedModel, network: TrainedNetwork | None = None, part: str = "run") -> Any:
    """A junction, or a trained network of it, as an ONNX graph of float64.

    Parameters
    ----------
    model : CalibratedModel
    network : TrainedNetwork, optional
        that was trained on the model; one junction if not given
    part : {"run", "tick"}
        see :func:`spinloom.workflows.export.onnx.network_onnx`

    Returns
    -------
    onnx : onnx.ModelProto
    """
    return node_onnx(model, part) if network is None else network_onnx(network, model, part)


def to_spice(model: CalibratedModel, network: TrainedNetwork | None = None, bench: bool = True) -> str:
    """A macrospin junction, or a trained network of it, as a netlist of ngspice.

    Parameters
    ----------
    model : CalibratedModel
        a macrospin
    network : TrainedNetwork, optional
        that was trained on the model; one junction if not given
    bench : bool
        with an analysis; else the sub-circuits alone

    Returns
    -------
    text : str
    """
    return node_netlist(model, bench=bench) if network is None else network_netlist(network, model, bench=bench)
