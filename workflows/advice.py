"""What to change in a card on which nothing works: changes are tried, not guessed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spinloom.device_models.calibration import Protocol, calibrate, load_calibration
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.engines import Choice, choose_engine, open_engine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.trajectory_store import open_store
from spinloom.networks.tasks import task_name
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.console import progress, say
from spinloom.workflows.search import Search, may_need_clock

QUICK = Protocol(trajectories=15, duration=3e-9, grades=(0.5, 0.25), per_grade=4, seed=1)
"""Calibration of a card that is tried."""
BATCHES = 2
"""Batches of candidates for each."""
SEED = 900
LEAST_S = 20.0
"""What a change takes at least; with less time left, no further one is tried (s)."""

Change = tuple[str, str, DeviceCard]
"""In words, as TOML, and the changed card."""


def advise(
    card: DeviceCard,
    model: CalibratedModel,
    tasks: tuple[str, ...],
    calibration: Path | None,
    choice: Choice,
    left_s: float,
) -> list[dict[str, Any]]:
    """Try changes of a card, and say which of them make networks work.

    Every change is calibrated in short (another read-out axis needs none), fitted and searched
    with a few dozen candidates.

    Parameters
    ----------
    card : DeviceCard
    model : CalibratedModel
        of the card as it is
    tasks : tuple of str
    calibration : path, optional
        of the card as it is
    choice : Choice
        of the engine
    left_s : float
        time that is left (s); three changes are tried in any case

    Returns
    -------
    advice : list of dict
        ``change, toml, words, errors, works`` (number of tasks), the most helpful first
    """
    began, found = time.perf_counter(), []
    least, changes = 3, list(changes_of(card, model, calibration))
    for k, (words, toml, changed) in enumerate(changes):
        passed = time.perf_counter() - began
        if k >= least and passed + max(LEAST_S, passed / k) > left_s:
            say(f"time is up: {len(changes) - k} changes of the card were not tried")
            break
        found.append(_tried(words, toml, changed, tasks, _record(changed, calibration, toml, choice)))
    found.sort(key=lambda one: (-one["works"], one["mean"]))
    return found


def changes_of(card: DeviceCard, model: CalibratedModel, calibration: Path | None) -> list[Change]:
    """Changes worth trying: what is read, how hard the device is driven, and where it rests.

    An axis along which the device's answer to small drives is larger comes first; then smaller and
    larger currents, and biases.
    """
    changes: list[Change] = []
    axis, H = np.array(card.readout.axis), np.array(card.bias.H)
    if calibration is not None:
        best = _liveliest(load_calibration(calibration), model)
        if abs(best @ axis) < 0.9:
            changes.append(_changed(card, "read along another axis", "readout", axis=_rounded(best)))
    J = card.torque.J_max
    currents = (0.3, 0.1) if model.scale.reach < 1 or model.verdict != "good" else (0.3, 3.0)
    changes += [_changed(card, f"{k:g} times the current", "torque", J_max=float(f"{k * J:.3g}")) for k in currents]
    size = float(np.linalg.norm(H))
    biases = (2.0, 0.5) if size > 0 else ()
    changes += [_changed(card, f"{k:g} times the bias", "bias", H=_rounded(k * H)) for k in biases]
    m = model.m_start / np.linalg.norm(model.m_start)
    if abs(m @ axis) > 0.9:
        # Read along its rest, a device answers to second order only: tilt the rest.
        across = np.array(card.torque.polariser) - (np.array(card.torque.polariser) @ m) * m
        if np.linalg.norm(across) < 0.1:
            across = np.cross(m, np.eye(3)[np.argmin(np.abs(m))])
        tilt = H + 0.5 * max(size, 0.1 * card.material.Ms) * across / np.linalg.norm(across)
        changes.insert(1 if changes else 0, _changed(card, "a bias across the rest", "bias", H=_rounded(tilt)))
    return changes


def _liveliest(calibration: xr.Dataset, model: CalibratedModel) -> np.ndarray:
    """Unit vector along which <m> moves most under the smallest drives of a calibration."""
    amplitude = calibration["amplitude"].values
    m = calibration["m"].values[amplitude == amplitude.min()].reshape(-1, 3)
    _, vectors = np.linalg.eigh(np.cov((m - m.mean(axis=0)).T))
    best = vectors[:, -1]
    return best * np.sign(best[np.argmax(np.abs(best))])


def _rounded(vector: np.ndarray) -> tuple[float, ...]:
    """Three figures are enough for advice."""
    size = np.abs(vector).max()
    return tuple(float(f"{value:.3g}") if abs(value) > 1e-3 * size else 0.0 for value in vector)


def _changed(card: DeviceCard, words: str, table: str, **values: Any) -> Change:
    section = getattr(card, table)
    section = type(section).model_validate({**section.model_dump(), **values})
    ((name, value),) = values.items()
    toml = f"{table}.{name} = {list(value) if isinstance(value, tuple) else value}"
    return words, toml, card.model_copy(update={table: section})


def _record(card: DeviceCard, calibration: Path | None, toml: str, choice: Choice) -> xr.Dataset:
    """A calibration of a changed card: a short one, or the one at hand if only what is read has changed."""
    if toml.startswith("readout") and calibration is not None:
        return load_calibration(calibration).assign_attrs(card=card.to_json())
    engine = choose_engine("embedded") if choice.recorded or choice.outside else choice
    with (
        open_engine(engine, card, QUICK.tick) as opened,
        progress(f"trying {toml}", QUICK.n_ticks) as advance,
    ):
        return calibrate(card, opened, QUICK, advance, store=open_store())


def _tried(words: str, toml: str, card: DeviceCard, tasks: tuple[str, ...], data: xr.Dataset) -> dict[str, Any]:
    """How a changed card does."""
    result: dict[str, Any] = {"change": words, "toml": toml, "errors": {}, "works": 0, "mean": np.inf, "reach": None}
    try:
        model = fit_model(data, "flow_map")
    except SpinloomError as problem:
        return {**result, "words": f"{words} ({toml}): {problem}"}
    result |= {"reach": model.scale.reach, "verdict": model.verdict}
    if model.verdict == "unfit":
        return {**result, "words": f"{words} ({toml}): no reduced model holds"}
    search = Search(model, tasks, seed=SEED, clock=may_need_clock(tasks, model))
    for _ in range(BATCHES):
        search.round()
    free = [one for one in search.candidates if one.rung]
    best = min(free, key=lambda one: (-list(one.states.values()).count("works"), one.score))
    errors = {task_name(task): best.errors[task_name(task)]["shape"] for task in tasks}
    works = [name for name, state in best.states.items() if state == "works"]
    helps = f"generates {', '.join(works)}" if works else "does not help"
    told = ", ".join(f"{name} {error:.2g}" for name, error in errors.items())
    return {
        **result,
        "errors": errors,
        "works": len(works),
        "mean": float(np.mean(np.log10(np.clip(list(errors.values()), 1e-6, 1)))),
        "period_s": best.params["period_ticks"] * model.tick,
        "words": f"{words} ({toml}): {helps} (shape error {told}; the best of {len(search.candidates)} candidates)",
    }
