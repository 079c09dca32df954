"""Stage: the verdict. The same trained network, every node in full micromagnetics."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.engines import REFERENCE, SILENT_S, Choice, choose_engine, open_engine
from spinloom.device_models.engines.oommf.processes import cores
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.networks.loop import LoopState, Record, joined, run
from spinloom.networks.relaxation import WINDOW, relax
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.tasks import CLASSES
from spinloom.networks.topology import Weights
from spinloom.networks.trials import FreeRun, free_run_error, generate, phase_drift, recognise
from spinloom.reduced_models.model import CalibratedModel, load_model
from spinloom.workflows.console import progress, say
from spinloom.workflows.train import full_trial_seed, outside_shares

KIND, FORMAT = "cosimulation", 2
TOGETHER = 120
"""OOMMF processes that live at once at most, over several trials."""
COMPARED_PERIODS = 5
"""Embedded and OOMMF are compared at the output over the first periods: later on, any drift adds up."""
EMBEDDED_AND_OOMMF = (
    "nrmse_embedded",
    "output_apart_first_periods",
    "output_apart",
    "max_node_apart",
    "worst_node_apart",
)
"""Figures that a verdict has where both engines ran the network."""
SAME_WEIGHTS = 1e-6
"""A network is the recorded one if no weight differs by more."""


@dataclass(frozen=True)
class How:
    """How live nodes are advanced.

    Attributes
    ----------
    method : str
        ``lock-step``, all nodes tick by tick, or ``relaxation``, whole waveforms until they
        agree; lock-step if not given, but for an OOMMF in docker, which has no live nodes
    window : int
        ticks that relaxation iterates together
    limit_s : float
        a live OOMMF node that is silent for longer is taken to hang (s)
    """

    method: str = ""
    window: int = WINDOW
    limit_s: float = SILENT_S

    def __post_init__(self) -> None:
        if self.method not in ("", "lock-step", "relaxation"):
            raise SpinloomError(f"method: expected lock-step or relaxation, got {self.method!r}")
        if self.window < 1:
            raise SpinloomError(f"window: expected at least one tick, got {self.window}")
        if not self.limit_s > 0:
            raise SpinloomError(f"node limit: expected seconds above zero, got {self.limit_s:g}")


def load_networks(paths: list[Path]) -> tuple[list[TrainedNetwork], CalibratedModel]:
    """Networks that share one model.

    Raises
    ------
    SpinloomError
        if their models differ
    """
    loaded = [load_network(path) for path in paths]
    if len({files.digest(model_path) for _, model_path in loaded}) != 1:
        raise SpinloomError("networks: expected all to be trained on the same model; run them one by one")
    return [network for network, _ in loaded], load_model(loaded[0][1])


def verdict_generate(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    out: Path | None = None,
    how: How | None = None,
    salvage: Path | None = None,
) -> list[dict[str, Any]]:
    """Run trained generators in closed loop, reduced and full, from the same start.

    In the embedded engine all networks run side by side as one batch of devices. In OOMMF
    they run one after the other, and the embedded engine runs them too, to be compared.

    Parameters
    ----------
    networks : list of TrainedNetwork
        of the same size and period
    model : CalibratedModel
    choice : Choice
        of the engine
    periods : int
        in free run
    out : path, optional
        where the record goes (NetCDF)
    how : How, optional
    salvage : path, optional
        where what was computed goes if the run ends early; beside ``out`` if not given

    Returns
    -------
    results : list of dict
        of each network: ``task, engine, nrmse_reduced, nrmse_full, periods,
        phase_drift_per_period, max_node_difference, worst_node, outside_share, wall_s``; with
        OOMMF also ``nrmse_embedded``, and its difference from the embedded engine at the
        output over the first periods and at the worst node
    """
    if len({(n.period_ticks, n.weights.nodes, n.settings["washout"]) for n in networks}) != 1:
        raise SpinloomError("networks: expected the same size, period and washout; run them one by one")
    if out is not None:
        files.check_writable(out)
        salvage = salvage or out.with_name(f"{out.stem}.partial.nc")
    say(choice.why)
    f = np.stack([network.f for network in networks], axis=1)
    began = time.perf_counter()
    recorded = None
    costs: list[dict[str, Any]] = [{} for _ in networks]
    if choice.name == REFERENCE:
        try:
            recorded = _recorded(networks, periods)
            if recorded.sizes["tick"] < periods * len(f):
                periods = recorded.sizes["tick"] // len(f)
                say(f"OOMMF's record is of {periods} periods: these are judged")
        except SpinloomError as reason:
            say(f"engine: embedded, because {reason}")
            choice = choose_engine("embedded")
    weights = Weights.stack([network.weights for network in networks])
    reduced = generate(model, weights, networks[0].axis, f, periods, networks[0].settings["washout"])
    if recorded is not None:
        record = recorded.assign(_of_run("reduced", reduced))
    else:
        full = _full(networks, model, choice, periods, how or How(), salvage)
        runs = {"reduced": reduced, "full": full.run}
        if choice.name == "oommf":
            runs["embedded"] = _full(networks, model, choose_engine("embedded"), periods, How(), None).run
        record, costs = _record(networks, model, runs).assign_attrs(full.attributes), full.costs
        if full.given:
            record["oommf_input"] = ((), full.given, {"long_name": "MIF of a live node"})
    wall = time.perf_counter() - began
    if out is not None:
        files.save(record, out, KIND, FORMAT)
    results = []
    for network, cost in zip(networks, costs, strict=True):
        result = judged(record, network.name)
        model.region.warn(result["outside_share"], f"{network.name} in full micromagnetics")
        results.append({**result, **cost, "wall_s": wall})
    return results


def judged(record: xr.Dataset, name: str) -> dict[str, Any]:
    """The figures of one network, from a record of its runs.

    Parameters
    ----------
    record : xarray.Dataset
        as ``cosimulate --out`` writes it
    name : str
        of the network

    Returns
    -------
    result : dict
        see :func:`verdict_generate`
    """
    one = record.sel(network=name)
    f, z = one["f"].values[:, None], one["z_full"].values[:, None]
    difference = np.abs(one["r_full"].values - one["r_reduced"].values).max(axis=0)
    result = {
        "task": name,
        "engine": record.attrs["engine"],
        "nrmse_reduced": float(free_run_error(one["z_reduced"].values[:, None], f)[0]),
        "nrmse_full": float(free_run_error(z, f)[0]),
        "periods": len(z) // len(f),
        "phase_drift_per_period": float(phase_drift(z, f)[0]),
        "max_node_difference": float(difference.max()),
        "worst_node": int(difference.argmax()),
        "outside_share": float(one["outside_share"]),
    }
    if "z_embedded" in one:
        first = slice(0, COMPARED_PERIODS * len(f))
        apart = np.abs(one["r_full"].values - one["r_embedded"].values).max(axis=0)
        figures = (
            float(free_run_error(one["z_embedded"].values[:, None], f)[0]),
            float(np.abs(one["z_full"] - one["z_embedded"])[first].max()),
            float(np.abs(one["z_full"] - one["z_embedded"]).max()),
            float(apart.max()),
            int(apart.argmax()),
        )
        result |= dict(zip(EMBEDDED_AND_OOMMF, figures, strict=True))
    return result


@dataclass(frozen=True)
class _Full:
    """What an engine did with networks, what it is, and what each network cost."""

    run: FreeRun
    attributes: dict[str, Any]
    costs: list[dict[str, Any]]
    given: str = ""


def _full(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How,
    salvage: Path | None,
) -> _Full:
    """All networks at once in the embedded engine, one after the other in OOMMF."""
    groups = [[network] for network in networks] if choice.name == "oommf" else [networks]
    done: list[_Full] = []
    pieces: list[Record] = []
    for group in groups:
        pieces.clear()
        try:
            done.append(_group(group, model, choice, periods, how, pieces))
        except BaseException:
            if salvage is not None and (pieces or done):
                _salvage(networks, model, choice, [one.run for one in done], pieces, salvage)
            raise
    first = done[0]
    run = FreeRun(
        z=np.concatenate([one.run.z for one in done], axis=1),
        f=np.concatenate([one.run.f for one in done], axis=1),
        nrmse=np.concatenate([one.run.nrmse for one in done]),
        phase_drift=np.concatenate([one.run.phase_drift for one in done]),
        record=Record(*(np.concatenate(x, axis=1) for x in zip(*(one.run.record for one in done), strict=True))),
    )
    return _Full(run, first.attributes, [cost for one in done for cost in one.costs], first.given)


def _group(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    periods: int,
    how: How,
    pieces: list[Record],
) -> _Full:
    weights = Weights.stack([network.weights for network in networks])
    f = np.stack([network.f for network in networks], axis=1)
    washout, axis = networks[0].settings["washout"], networks[0].axis
    ticks, devices = (washout + periods) * len(f), weights.networks * weights.nodes
    names = ", ".join(network.name for network in networks)
    nodes, given = None, ""
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(choice, model.card, model.tick, limit_s=how.limit_s))
        attributes = {"engine": engine.name, "engine_version": engine.version, "card": model.card.to_json()}
        began = time.perf_counter()
        if how.method == "relaxation" or (not how.method and _in_docker(choice)):
            solve: Any = partial(relax, guide=model, window=how.window, pieces=pieces)
        elif choice.name == "oommf":
            given = engine.input()
            with progress(f"{names}: starting {devices} OOMMF processes", devices) as advance:
                nodes, m = engine.start(devices, advance)
            solve = partial(run, state=LoopState(nodes, m, np.zeros(weights.networks)), pieces=pieces)
        else:
            solve = partial(run, pieces=pieces)
        started = time.perf_counter()
        with progress(f"{names}: {devices} junctions in {choice.name} micromagnetics", ticks) as advance:
            result = generate(engine, weights, axis, f, periods, washout, advance, solve)
        cost: dict[str, Any] = {}
        if nodes is not None:
            cost = {"startup_s": started - began, **_where_time_went(nodes, (time.perf_counter() - started) / ticks)}
    return _Full(result, attributes, [cost for _ in networks], given)


def _in_docker(choice: Choice) -> bool:
    return choice.installation is not None and bool(choice.installation.image)


def _where_time_went(nodes: Any, tick_s: float) -> dict[str, float | None]:
    """Of a network tick: waiting for solvers, for rows of tables, and our own share (s)."""
    solver, helpers = (seconds / nodes.ticks for seconds in nodes.processor_s())
    share = solver / min(cores(), len(nodes.nodes))
    return {
        "tick_wall_s": tick_s,
        "tick_until_last_report_s": nodes.spent["solving"] / nodes.ticks,
        "tick_until_last_row_s": nodes.spent["rows"] / nodes.ticks,
        "tick_network_s": tick_s - nodes.spent["total"] / nodes.ticks,
        "tick_solver_cpu_s": solver,
        "tick_helper_cpu_s": helpers,
        "wall_over_solver": tick_s / share if share else None,
    }


def _salvage(
    networks: list[TrainedNetwork],
    model: CalibratedModel,
    choice: Choice,
    done: list[FreeRun],
    pieces: list[Record],
    path: Path,
) -> None:
    """Keep what was computed before a run ended early: finished networks, and the ticks of the one under way."""
    data = xr.Dataset(attrs={"engine": choice.name, "card": model.card.to_json(), "tick_s": model.tick})
    for network, free in zip(networks, done, strict=False):
        data[f"z_{network.name}"] = (("tick",), free.z[:, 0])
        data[f"r_{network.name}"] = (("tick", "node"), free.record.r[:, 0].astype(np.float32))
    if pieces:
        rest, network = joined(pieces), networks[len(done)]
        data.attrs |= {"stopped_in": network.name, "washout_ticks": network.settings["washout"] * network.period_ticks}
        data["z_stopped"] = (("tick_stopped", "network"), rest.z)
        for name, values in (("r", rest.r), ("u", rest.u)):
            data[f"{name}_stopped"] = (("tick_stopped", "network", "node"), values.astype(np.float32))
        under_way = [network] if choice.name == "oommf" else networks
        data = data.assign_coords(network=[one.name for one in under_way])
    try:
        files.save(data, path, f"{KIND}-partial", FORMAT)
    except SpinloomError as problem:
        say(f"what was computed could not be kept: {problem}")
        return
    say(f"what was computed is kept in {path}: {len(done)} finished, {sum(len(p.z) for p in pieces)} ticks of the next")


def _of_run(name: str, free: FreeRun) -> dict[str, Any]:
    """Variables of a record that one run gives."""
    return {
        f"z_{name}": (("tick", "network"), free.z, {"units": "1"}),
        f"r_{name}": (("tick", "network", "node"), free.record.r.astype(np.float32), {"units": "1"}),
    }


def _record(networks: list[TrainedNetwork], model: CalibratedModel, runs: dict[str, FreeRun]) -> xr.Dataset:
    full = runs["full"]
    variables = {
        "f": (("period_tick", "network"), full.f, {"units": "1", "long_name": "one period of the target"}),
        "u_full": (("tick", "network", "node"), full.record.u.astype(np.float32), {"units": "1"}),
        "outside_share": (("network",), outside_shares(model, full.record.m, full.record.u), {"units": "1"}),
    }
    for name, free in runs.items():
        variables |= _of_run(name, free)
    coordinates = {
        "network": [network.name for network in networks],
        "t": (("tick",), model.tick * np.arange(1, len(full.z) + 1), {"units": "s"}),
    }
    settings = json.dumps({network.name: network.settings for network in networks})
    return xr.Dataset(variables, coords=coordinates, attrs={"networks": settings})


def reference_networks() -> Path:
    """Folder of the default experiment's networks, and of what OOMMF computed with them."""
    return data_folder() / "reference" / "networks"


def _recorded(networks: list[TrainedNetwork], periods: int) -> xr.Dataset:
    """OOMMF's record of these very networks.

    Raises
    ------
    SpinloomError
        if there is none
    """
    record = files.load(reference_networks() / "cosimulation.nc", KIND, FORMAT)
    ticks = periods * record.sizes["period_tick"]
    for network in networks:
        if network.name not in record["network"].values:
            raise SpinloomError(f"OOMMF's record holds {', '.join(record['network'].values)}, not {network.name}")
        shipped, _ = load_network(reference_networks() / f"network-{network.name}.nc")
        if not network.alike(shipped, SAME_WEIGHTS):
            raise SpinloomError(f"{network.name} is not the network that OOMMF's record is of")
    chosen = record.sel(network=[network.name for network in networks]).isel(tick=slice(0, ticks))
    chosen.attrs["engine"] = REFERENCE
    return chosen


def verdict_recognise(
    network: TrainedNetwork, model: CalibratedModel, choice: Choice, trials: int, how: How | None = None
) -> dict[str, Any]:
    """Trials of a trained recogniser, every junction in full micromagnetics.

    Returns
    -------
    result : dict
        ``task, engine, accuracy_full, trials, confusion, outside_share, wall_s``
    """
    how = how or How()
    if how.method == "relaxation":
        raise SpinloomError("method: relaxation is for networks that generate; recognition runs in lock-step")
    say(choice.why)
    if choice.name == REFERENCE or _in_docker(choice):
        reason = "an OOMMF in docker has no live nodes" if choice.installation else "OOMMF's record is of generators"
        say(f"engine: embedded for the recognition, because {reason}")
        choice = choose_engine("embedded")
    settings = network.settings
    nodes, ticks = network.weights.nodes, settings["periods"] * network.period_ticks
    together = max(1, TOGETHER // nodes) if choice.name == "oommf" else trials
    began = time.perf_counter()
    with (
        open_engine(choice, model.card, model.tick, limit_s=how.limit_s) as engine,
        progress(
            f"recognise, {trials * nodes} junctions in {choice.name} micromagnetics", ticks * -(-trials // together)
        ) as advance,
    ):
        result = recognise(
            engine,
            network.weights,
            network.axis,
            trials=trials,
            period_ticks=network.period_ticks,
            periods=settings["periods"],
            seed=full_trial_seed(settings["seed"]),
            progress=advance,
            together=together,
        )
    outside = model.region.outside(result.record.m, result.record.u)
    model.region.warn(outside, "recognise in full micromagnetics")
    return {
        "task": "recognise",
        "engine": choice.name,
        "accuracy_full": float(result.accuracy[0]),
        "trials": trials,
        "classes": list(CLASSES),
        "confusion": result.confusion().tolist(),
        "outside_share": outside,
        "wall_s": time.perf_counter() - began,
    }
