"""The fit of a thermal map: chosen by the likelihood of single ticks, judged on trajectories that are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold

from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models.reach import Trajectories
from spinloom.reduced_models.rollout import simulate, single_ticks
from spinloom.reduced_models.thermal_map import ThermalMap, log_density

DEGREES, RIDGES, NOISE_DEGREES = [2, 3, 4, 5], [1e-9], [0, 1, 2]
SETTLES = 0.1
"""Share of each trajectory that is left out: devices start from the equilibrium at 0 K and have to become warm."""
MOST_ROWS = 200_000
"""About how many ticks are fitted to; of more, an even share of the trajectories."""
_FIRST, _LAST = slice(None, -1), slice(1, None)


class Judged(NamedTuple):
    """What held-out trajectories say of a thermal map.

    Attributes
    ----------
    off : float
        the larger of what ``rms`` differs from 1 by, and ``correlation``
    rms : float
        of the innovations, the random numbers that each tick must have taken; 1 if the noise is right
    correlation : float
        the largest modulus of a correlation of innovations with those of the tick before; 0 if they are white
    log_likelihood : float
        of a single tick's direction, mean
    """

    off: float
    rms: float
    correlation: float
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class ThermalFit:
    """A fitted thermal map, and how it does.

    Attributes
    ----------
    estimator : ThermalMap
    m_start : (3,) ndarray
        <m> of the warm device at rest: where the average does not move
    judged : Judged
    trajectories : int
        how many judged it
    search : dict
        candidates and their scores, JSON-able
    """

    estimator: ThermalMap
    m_start: np.ndarray
    judged: Judged
    trajectories: int
    search: dict[str, Any]

    def point(self, amplitude: float, kind: str) -> dict[str, Any]:
        """The fit as a point of a curve of errors against amplitude."""
        off = self.judged.off
        return {
            "amplitude": amplitude,
            "worst": off,
            "median": off,
            "trajectories": self.trajectories,
            "kind": kind,
        }


def fit_thermal(data: Trajectories, amplitude: float, progress: Callable[[float], None] | None = None) -> ThermalFit:
    """Fit a thermal map to drives up to an amplitude.

    A roll-out says nothing of a warm device, whose noise is not known; but single ticks do: noise hides what a
    small error of the average would become, and the likelihood weighs both. Degrees are chosen by it, over
    trajectories left out in turn; the figures are of others.

    Parameters
    ----------
    data : Trajectories
        of a device at a temperature
    amplitude : float
        of the largest drives
    progress : callable, optional
        called with the share of the work just done

    Returns
    -------
    fit : ThermalFit

    Raises
    ------
    SpinloomError
        if the device does not rest anywhere near its equilibrium
    """
    shown = data.shown(amplitude)
    every = max(1, round((1 - SETTLES) * shown.u.size / MOST_ROWS))
    X, y, groups = _late_ticks(shown.m[::every], shown.u[::every])
    folds = list(GroupKFold(n_splits=min(4, len(shown.m))).split(X, y, groups))
    grid = {"degree": DEGREES, "ridge": RIDGES, "noise_degree": NOISE_DEGREES}
    found = GridSearchCV(ThermalMap(), grid, scoring=likelihood, cv=folds, error_score="raise").fit(X, y)
    if progress is not None:
        progress(1.0)
    unseen = data.unseen
    within = unseen.amplitude <= amplitude
    judged = judge(found.best_estimator_, unseen.m[within], unseen.u[within])
    scores = [
        {"params": {k: float(v) for k, v in params.items()}, "score": float(score)}
        for params, score in zip(found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True)
    ]
    return ThermalFit(
        estimator=found.best_estimator_,
        m_start=_rest(found.best_estimator_, data),
        judged=judged,
        trajectories=int(within.sum()),
        search={"candidates": scores},
    )


def likelihood(estimator: ThermalMap, X: np.ndarray, y: np.ndarray) -> float:
    """A scikit-learn scorer: mean log probability density of single ticks."""
    return max(estimator.log_likelihood(X, y), -1e9)


def judge(estimator: ThermalMap, m: np.ndarray, u: np.ndarray) -> Judged:
    """What trajectories of one device, (n, n_ticks, 3) and (n, n_ticks), say of its thermal map."""
    return judge_all([(estimator, m, u)])


def judge_all(devices: Iterable[tuple[ThermalMap, np.ndarray, np.ndarray]]) -> Judged:
    """The same of several devices together: of each its thermal map, its trajectories and their drives."""
    found = []
    for estimator, m, u in devices:
        X, y, _ = _late_ticks(m, u)
        xi, log_sigma = estimator.innovations(X, y)
        found.append((xi.reshape(len(m), -1, 2), log_density(xi, log_sigma)))
    before, after = (np.concatenate([xi[:, span].reshape(-1, 2) for xi, _ in found]) for span in (_FIRST, _LAST))
    square = np.concatenate([xi.reshape(-1, 2) for xi, _ in found]) ** 2
    correlation = np.abs(before.T @ after / len(before) / square.mean()).max()
    rms = np.sqrt(square.mean())
    density = np.average([one for _, one in found], weights=[xi.size for xi, _ in found])
    return Judged(float(max(abs(rms - 1), correlation)), float(rms), float(correlation), float(density))


def _late_ticks(m: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Single ticks of trajectories from when they are warm."""
    late = max(1, int(SETTLES * u.shape[1]))
    return single_ticks(m[:, late:], u[:, late:], m[:, late - 1])


def _rest(estimator: ThermalMap, data: Trajectories) -> np.ndarray:
    """Where the average comes to rest without a drive."""
    m = data.m_start
    for _ in range(20):
        *_, before, m = simulate(estimator, np.zeros(200), m)
        if np.abs(m - before).max() < 1e-9:
            return m
    raise SpinloomError(
        f"calibration: <m> of {data.card.name} at {data.card.conditions.temperature:g} K does not come to rest without "
        "a drive in the fitted model; the layer is not stable at this temperature: raise the bias or the volume, or "
        "calibrate with more trajectories"
    )
