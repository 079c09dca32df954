"""How far a reduced model reaches: fits and held-out roll-outs over drives of graded amplitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.macrospin import MacrospinModel
from spinloom.reduced_models.measured_fit import Signals, follow, judged_by, refine
from spinloom.reduced_models.memory_map import MemoryMap
from spinloom.reduced_models.observation import Error
from spinloom.reduced_models.rollout import nrmse, search, simulate, single_ticks

GOOD, USABLE = 0.01, 0.05
"""Worst held-out roll-out up to which a model is good, and usable; beyond it is unfit."""
DEGREES = [3, 4, 5, 6]
RIDGES = [1e-10, 1e-8, 1e-6]
MEMORY_DEGREE = 4
"""Of a memory map: latents say what higher degrees would have to, and a tick stays cheap."""
MEMORY_TRIES = 2
"""Amplitudes at which a memory map is fitted to find its reach; each takes the better part of a minute."""
HOLD_OUT = 5
"""Every fifth trajectory of full amplitude is held out: none is used to fit a model or to choose its parameters."""
HOLD_OUT_OF_GRADE = 4
"""Of a smaller amplitude, every fourth is."""


def verdict(worst: float | None) -> str:
    """What a worst held-out NRMSE means, in a word.

    Examples
    --------
    >>> verdict(0.002), verdict(0.03), verdict(None)
    ('good', 'usable', 'unfit')
    """
    if worst is None or not worst <= USABLE:
        return "unfit"
    return "good" if worst <= GOOD else "usable"


def held_out(amplitude: np.ndarray) -> np.ndarray:
    """Which trajectories of a calibration set are held out.

    Every fifth of those of full amplitude; every fourth of a smaller one, from another place for each,
    so that over the grades all kinds of drive are among them.

    Parameters
    ----------
    amplitude : (n_trajectories,) ndarray
        share of J_max that the drive of each is scaled to

    Returns
    -------
    held_out : (n_trajectories,) bool ndarray

    Examples
    --------
    >>> np.flatnonzero(held_out(np.repeat([1, 0.5, 0.2], [10, 8, 8])))
    array([ 4,  9, 10, 14, 19, 23])
    """
    amplitude = np.asarray(amplitude, dtype=float)
    out = np.zeros(len(amplitude), dtype=bool)
    out[np.flatnonzero(amplitude == 1)[HOLD_OUT - 1 :: HOLD_OUT]] = True
    for place, grade in enumerate(sorted(set(amplitude.tolist()) - {1.0}, reverse=True)):
        out[np.flatnonzero(amplitude == grade)[place % HOLD_OUT_OF_GRADE :: HOLD_OUT_OF_GRADE]] = True
    return out


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What a device answered, and the device.

    Attributes
    ----------
    card : DeviceCard
    tick : float
        duration of a tick (s)
    m : (n, n_ticks, 3) ndarray
        <m> at the end of each tick
    u : (n, n_ticks) ndarray
    m_start : (3,) ndarray
        <m> at equilibrium
    amplitude : (n,) ndarray
        share of J_max that the drive of each is scaled to
    signals : Signals, optional
        what was measured, where ``m`` is only what the device's card says about it
    """

    card: DeviceCard
    tick: float
    m: np.ndarray
    u: np.ndarray
    m_start: np.ndarray
    amplitude: np.ndarray
    signals: Signals | None = None

    @property
    def first(self) -> np.ndarray:
        """<m> before the first tick of each, (n, 3)."""
        return np.broadcast_to(self.m_start, (len(self.m), 3)) if self.signals is None else self.signals.first

    @property
    def grades(self) -> list[float]:
        """Amplitudes that a model can be fitted and judged at, the largest first."""
        out = held_out(self.amplitude)
        found = sorted(set(self.amplitude.tolist()), reverse=True)
        return [a for a in found if self._counts(a, ~out) >= 2 and self._counts(a, out) >= 1]

    def shown(self, amplitude: float) -> Trajectories:
        """Those up to an amplitude that are not held out."""
        return self._of((self.amplitude <= amplitude) & ~held_out(self.amplitude))

    @property
    def unseen(self) -> Trajectories:
        """Those that are held out, of all amplitudes."""
        return self._of(held_out(self.amplitude))

    def _counts(self, amplitude: float, which: np.ndarray) -> int:
        return int(((self.amplitude <= amplitude) & which).sum())

    def _of(self, which: np.ndarray) -> Trajectories:
        signals = None if self.signals is None else self.signals.of(which)
        return replace(self, m=self.m[which], u=self.u[which], amplitude=self.amplitude[which], signals=signals)


@dataclass(frozen=True, eq=False)
class Fitted:
    """An estimator that was fitted up to an amplitude, and how it fared on all that was held out.

    Attributes
    ----------
    estimator : object
    amplitude : float
        of the largest drives that it was shown
    unseen : Trajectories
        held out, of all amplitudes
    rolled : (n_ticks, n, 3) ndarray
        their roll-outs
    search : list of dict
        what was tried: parameters and ``rollout_nrmse``
    first : (n, 3) ndarray
        <m> that these start from
    measured : list of Error, optional
        of each against its measured signal, which then counts instead of ``<m>``
    """

    estimator: Any
    amplitude: float
    unseen: Trajectories
    rolled: np.ndarray
    search: list[dict[str, Any]]
    first: np.ndarray
    measured: list[Error] | None = None

    @cached_property
    def judged(self) -> np.ndarray:
        """Which of the held-out trajectories are within its amplitude, (n,) bool."""
        return self.unseen.amplitude <= self.amplitude

    @property
    def errors(self) -> np.ndarray:
        """NRMSE of these."""
        return self._errors[self.judged]

    @property
    def worst(self) -> float:
        """The largest of these errors."""
        return float(self.errors.max())

    @property
    def limited(self) -> bool:
        """Whether the noise of measured signals hides smaller errors than the worst."""
        if self.measured is None:
            return False
        judged = [error for error, counts in zip(self.measured, self.judged, strict=True) if counts]
        return max(judged, key=lambda error: error.nrmse).limited

    def point(self, amplitude: float) -> dict[str, Any]:
        """How it does up to an amplitude: a point on the curve of errors against amplitude."""
        errors = self._errors[self.unseen.amplitude <= amplitude]
        return {
            "amplitude": amplitude,
            "worst": float(errors.max()),
            "median": float(np.median(errors)),
            "trajectories": len(errors),
        }

    @cached_property
    def _errors(self) -> np.ndarray:
        if self.measured is not None:
            return np.array([error.nrmse for error in self.measured])
        return nrmse(self.rolled, self.unseen.m.swapaxes(0, 1))


@dataclass(frozen=True, eq=False)
class Reached:
    """The fit that counts, and the error at all amplitudes.

    Attributes
    ----------
    kind : str
    fit : Fitted
    curve : list of dict
        ``amplitude, worst, median``, the number of held-out ``trajectories``, and the ``kind`` of model, the smallest
        amplitude first
    """

    kind: str
    fit: Fitted
    curve: list[dict[str, Any]]


def _flow_map(shown: Trajectories) -> tuple[Any, list[dict[str, Any]]]:
    found = search(FlowMap(), {"degree": DEGREES, "ridge": RIDGES}, shown.m, shown.u, shown.first)
    return found.best_estimator_, _scores(found)


def _macrospin(shown: Trajectories) -> tuple[Any, list[dict[str, Any]]]:
    found = search(MacrospinModel.from_card(shown.card, shown.tick), {}, shown.m, shown.u, shown.first)
    return found.best_estimator_, _scores(found)


def _memory_map(shown: Trajectories) -> tuple[Any, list[dict[str, Any]]]:
    """Its ridge is that of the flow map that it starts from: a search of its own would take minutes."""
    found = search(FlowMap(), {"degree": [MEMORY_DEGREE], "ridge": RIDGES}, shown.m, shown.u, shown.first)
    X, y, _ = single_ticks(shown.m, shown.u, shown.first)
    return MemoryMap(degree=MEMORY_DEGREE, ridge=found.best_params_["ridge"]).fit(X, y), _scores(found)


FIT: dict[str, Callable[[Trajectories], tuple[Any, list[dict[str, Any]]]]] = {
    "flow_map": _flow_map,
    "macrospin": _macrospin,
    "memory_map": _memory_map,
}
"""How each kind is fitted to whole trajectories: the estimator, and what was tried (``rollout_nrmse`` beside it)."""


def _scores(found: Any) -> list[dict[str, Any]]:
    results = found.cv_results_
    return [
        {**params, "rollout_nrmse": -float(score)}
        for params, score in zip(results["params"], results["mean_test_score"], strict=True)
    ]


def fit_up_to(data: Trajectories, kind: str, amplitude: float) -> Fitted:
    """Fit to the drives up to an amplitude, and roll out all that are held out.

    Parameters
    ----------
    data : Trajectories
    kind : str
        of :data:`FIT`
    amplitude : float
        one of ``data.grades``
    """
    shown, unseen = data.shown(amplitude), data.unseen
    estimator, tried = FIT[kind](shown)
    if shown.signals is None or unseen.signals is None:
        rolled = simulate(estimator, unseen.u.T, data.m_start)
        return Fitted(estimator, amplitude, unseen, rolled, tried, unseen.first)
    estimator, more = refine(estimator, shown.signals, shown.u, shown.m)
    predicted, m = follow(estimator, unseen.signals, unseen.u)
    errors = judged_by(unseen.signals, predicted)
    return Fitted(estimator, amplitude, unseen, m[:, 1:].swapaxes(0, 1), [*tried, *more], m[:, 0], errors)


def find_reach(
    data: Trajectories,
    kinds: Sequence[str],
    reach: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Reached:
    """Fit models as far as one of them holds.

    From the largest amplitude downwards, the first up to which the worst held-out roll-out is good is
    the reach; where there is none, the amplitude with the smallest worst error is. The first kind is
    tried at every amplitude. The others are dear, and mend what it nearly does: they are tried where it is usable and
    not good, at :data:`MEMORY_TRIES` amplitudes at most.

    Parameters
    ----------
    data : Trajectories
    kinds : sequence of str
        of :data:`FIT`
    reach : float, optional
        instead of looking for it: fit all kinds up to the smallest amplitude that covers this one
    progress : callable, optional
        called with the share of the work just done

    Returns
    -------
    reached : Reached
        its curve holds a fit of its own for every amplitude tried from the reach upwards, and the error of the one
        that counts below

    Raises
    ------
    SpinloomError
        if no amplitude has enough trajectories
    """
    grades = data.grades
    if not grades:
        raise SpinloomError("calibration: expected at least two trajectories to fit to and one to test on, got fewer")
    sought = grades if reach is None else [min((a for a in grades if a >= reach), default=grades[0])]
    fits: list[tuple[str, Fitted]] = []
    tries = MEMORY_TRIES
    for amplitude in sought:
        here = [(kinds[0], fit_up_to(data, kinds[0], amplitude))]
        first = verdict(here[0][1].worst)
        if tries and first != "good" and not here[0][1].limited and (first == "usable" or reach is not None):
            here += [(kind, fit_up_to(data, kind, amplitude)) for kind in kinds[1:]]
            tries -= 1
        fits += here
        if progress is not None:
            progress(1 / len(sought))
        if any(verdict(fit.worst) == "good" for _, fit in here):
            break
    kind, best = max(fits, key=lambda one: _rank(one[1]))
    curve = [{**best.point(a), "kind": kind} for a in reversed(grades) if a < best.amplitude]
    for amplitude in reversed([a for a in sought if a >= best.amplitude]):
        of_it = [(name, fit) for name, fit in fits if fit.amplitude == amplitude]
        name, fit = min(of_it, key=lambda one: one[1].worst)
        curve.append({**fit.point(amplitude), "kind": name})
    return Reached(kind, best, curve)


def _rank(fit: Fitted) -> tuple[bool, float, float]:
    good = verdict(fit.worst) == "good"
    return good, fit.amplitude if good else 0.0, -fit.worst
