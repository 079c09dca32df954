"""The fit of a population map: chosen and judged on devices that it was not shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive
from spinloom.reduced_models.basis import SPHERE
from spinloom.reduced_models.coordinates import coordinates
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.population import FEWEST, Population
from spinloom.reduced_models.population_map import STATE, PopulationMap
from spinloom.reduced_models.reach import verdict
from spinloom.reduced_models.rollout import nrmse
from spinloom.reduced_models.thermal_fit import SETTLES, Judged, judge, judge_all, likelihood
from spinloom.reduced_models.thermal_population_map import ThermalPopulationMap

Candidates = Sequence[dict[str, list[Any]]]
"""Grids of parameters, as GridSearchCV takes them."""
COLD: Candidates = [{"degree": [3, 4], "coordinate_degree": [1, 2]}, {"degree": [5], "coordinate_degree": [2]}]
"""Of a cold population; errors are flat in the ridge, from 1e-11 to 1e-7."""
WARM: Candidates = [
    {"degree": [2, 3, 4], "coordinate_degree": [1], "ridge": [1e-4], "noise_degree": [1, 2]},
    {"degree": [3, 4], "coordinate_degree": [2], "ridge": [1e-3], "noise_degree": [1]},
]
"""Of a warm one: noise takes a penalty to be averaged over, more so where there are more features."""
MOST_ROWS = 50_000
"""About how many ticks candidates are fitted to; of more, an even share."""
_FOLDS = 4
_PATIENCE, _STILL = 20, 1e-9


@dataclass(frozen=True, eq=False)
class PopulationFit:
    """A fitted population, and how it does on devices that it was not shown.

    Attributes
    ----------
    estimator : PopulationMap or ThermalPopulationMap
    nominal : DeviceCard
    tick : float
        duration of a tick (s)
    m_start : (3,) ndarray
        <m> near which devices rest
    amplitude : float
        of the largest drives that it was fitted to
    errors : (devices,) ndarray
        of each unseen device within the amplitude, the worst roll-out NRMSE; of a warm one, what the rms of the noise
        that its ticks must have had differs from the fitted one by
    judged : list of Judged
        of warm devices; empty for cold ones
    together : Judged, optional
        of all unseen devices, if they are warm: that of one alone is mostly chance
    search : list of dict
        candidates and their scores, JSON-able
    curve : list of dict
        ``amplitude``, ``worst`` and ``median`` of each amplitude tried
    """

    estimator: Any
    nominal: DeviceCard
    tick: float
    m_start: np.ndarray
    amplitude: float
    errors: np.ndarray
    judged: list[Judged]
    search: list[dict[str, Any]]
    curve: list[dict[str, float]]
    together: Judged | None = None

    @property
    def worst(self) -> float:
        """The largest error of an unseen device."""
        return float(self.errors.max())

    @property
    def median(self) -> float:
        """The error that half of the unseen devices stay within."""
        return float(np.median(self.errors))

    def node(self, cards: Sequence[DeviceCard]) -> ReducedNode:
        """Devices of the population as a node, each at rest.

        Raises
        ------
        SpinloomError
            for a card that is no member of the population, or one that does not come to rest
        """
        return devices_of(self.estimator, self.nominal, self.m_start, self.tick, cards)


def devices_of(
    estimator: PopulationMap, nominal: DeviceCard, m_start: Any, tick: float, cards: Sequence[DeviceCard]
) -> ReducedNode:
    """Devices of a population as a node, each at rest.

    Parameters
    ----------
    estimator : PopulationMap or ThermalPopulationMap
        fitted
    nominal : DeviceCard
        that its coordinates are relative to
    m_start : (3,) ndarray
        near where the devices rest
    tick : float
        (s)
    cards : sequence of DeviceCard

    Raises
    ------
    SpinloomError
        for a card that is no member of the population, or one that does not come to rest
    """
    members = [coordinates(card, nominal) for card in cards]
    scale, where = np.array([s for s, _ in members]), np.stack([c for _, c in members])
    node = _stack(estimator, scale, where, m_start, nominal.readout.axis, tick)
    m, still = _settled(node)
    if not still.all():
        raise SpinloomError(
            f"population: <m> of {cards[int(np.argmin(still))].name} does not come to rest without a drive in the "
            "fitted model; the device is not stable, or too far from the nominal one: narrow the spread, raise "
            "the bias, or calibrate with more devices"
        )
    return replace(node, m_start=m, offsets=jnp.asarray([card.readout.offset for card in cards]))


def rest_of(estimator: PopulationMap, nominal: DeviceCard, m_start: Any, tick: float) -> np.ndarray:
    """Where the nominal device rests, (3,)."""
    return np.asarray(devices_of(estimator, nominal, m_start, tick, [nominal]).m_start[0])


@dataclass(frozen=True)
class PopulationRollout:
    """A scikit-learn scorer: minus the median roll-out NRMSE of the trajectories in X.

    Not the worst: a design that covers the tails has devices in it that switch, or nearly, which no roll-out follows.

    Parameters
    ----------
    n_ticks : int
        rows in a trajectory; X must hold whole trajectories one after the other, which
        ``GroupKFold`` grouped by device gives
    """

    n_ticks: int

    def __call__(self, estimator: PopulationMap, X: np.ndarray, y: np.ndarray) -> float:
        """Roll out from the first row of every trajectory."""
        X = np.asarray(X).reshape(-1, self.n_ticks, np.shape(X)[1])
        truth = np.asarray(y).reshape(-1, self.n_ticks, SPHERE).swapaxes(0, 1)
        where, which = np.unique(X[:, 0, STATE:], axis=0, return_inverse=True)
        # The drives in X are scaled already; no read-out and no time is asked for.
        node = _stack(estimator, np.ones(len(where)), where, X[0, 0, :SPHERE], (1.0, 0.0, 0.0), 1.0)
        _, m = drive(node, X[:, :, SPHERE].T, node.at(X[:, 0, :SPHERE], which))
        return -float(min(np.median(nrmse(m, truth)), 1e6))


def fit_population(
    data: Population, candidates: Candidates | None = None, progress: Callable[[float], None] | None = None
) -> PopulationFit:
    """Fit one map to all devices of a population, as far as it holds.

    From the largest amplitude downwards, the first up to which every unseen device is good is taken; where there is
    none, that with the smallest worst error. A warm population is fitted to all of its drives. Degrees are chosen by
    cross-validation over devices: by roll-outs of cold ones, by the likelihood of single ticks of warm ones.

    Parameters
    ----------
    data : Population
    candidates : sequence of dict, optional
        grids of parameters to choose from; :data:`COLD` or :data:`WARM` if not given
    progress : callable, optional
        called with the share of the work just done

    Returns
    -------
    fit : PopulationFit

    Raises
    ------
    SpinloomError
        if there are too few devices, or none is held out
    """
    grades = data.grades
    if not grades:
        raise SpinloomError(
            f"population: expected at least {FEWEST} devices to fit to and one that is held out, got "
            f"{len(set(data.device[~data.unseen]))} and {len(set(data.device[data.unseen]))}"
        )
    fits: list[PopulationFit] = []
    for amplitude in grades[:1] if data.warm else grades:
        fits.append(fit_up_to(data, amplitude, candidates))
        if progress is not None:
            progress(1 / len(grades))
        if verdict(fits[-1].worst) == "good":
            break
    best = min(fits, key=lambda fit: fit.worst)
    curve = [{"amplitude": fit.amplitude, "worst": fit.worst, "median": fit.median} for fit in reversed(fits)]
    return replace(best, curve=curve)


def fit_up_to(data: Population, amplitude: float, candidates: Candidates | None = None) -> PopulationFit:
    """Fit to the drives up to an amplitude, and judge the devices that are held out; see :func:`fit_population`."""
    candidates = candidates or (WARM if data.warm else COLD)
    within = data.amplitude <= amplitude
    shown, unseen = data.of(within & ~data.unseen), data.of(within & data.unseen)
    X, y, groups = shown.rows(max(1, int(SETTLES * data.u.shape[1])) if data.warm else 0)
    estimator, tried = _search(data.warm, candidates, X, y, groups, data.u.shape[1])
    m_start = shown.m_start[np.argmin(np.abs(shown.where).sum(axis=1))]
    judged, errors, together = [], np.empty(0), None
    if data.warm:
        each = [unseen.of(unseen.device == i) for i in range(unseen.devices)]
        warm = [(estimator.device(one.where[0], one.scale[0]), one.m, one.u) for one in each]
        judged, together = [judge(*one) for one in warm], judge_all(warm)
        errors = np.array([abs(one.rms - 1) for one in judged])
    else:
        errors = _worst_rollouts(estimator, unseen, m_start)
    return PopulationFit(
        estimator=estimator,
        nominal=data.nominal,
        tick=data.tick,
        m_start=m_start,
        amplitude=amplitude,
        errors=errors,
        judged=judged,
        search=tried,
        curve=[],
        together=together,
    )


def _search(
    warm: bool, candidates: Candidates, X: np.ndarray, y: np.ndarray, groups: np.ndarray, n_ticks: int
) -> tuple[PopulationMap, list[dict[str, Any]]]:
    """Candidates compared on devices that are left out in turn, and fitted to a share of the others' ticks."""
    every = max(1, round(len(X) / MOST_ROWS))
    splits = GroupKFold(n_splits=_FOLDS).split(X, y, groups)
    folds = [(fitted[::every], scored[::every] if warm else scored) for fitted, scored in splits]
    estimator = ThermalPopulationMap() if warm else PopulationMap()
    scoring = likelihood if warm else PopulationRollout(n_ticks)
    # What is fitted to a share of the ticks is of no further use.
    found = GridSearchCV(estimator, list(candidates), scoring=scoring, cv=folds, error_score="raise", refit=False)
    found.fit(X, y)
    scores = zip(found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True)
    tried = [{"params": params, "score": float(score)} for params, score in scores]
    return clone(estimator).set_params(**found.best_params_).fit(X, y), tried


def _worst_rollouts(estimator: PopulationMap, unseen: Population, m_start: np.ndarray) -> np.ndarray:
    """The worst NRMSE of each device, rolled out from where it rests in the model."""
    first = np.unique(unseen.device, return_index=True)[1]
    axis = unseen.nominal.readout.axis
    node = _stack(estimator, unseen.scale[first], unseen.where[first], m_start, axis, unseen.tick)
    rest, _ = _settled(node)
    _, m = drive(node, unseen.u.T, node.at(rest[unseen.device], unseen.device))
    errors = nrmse(m, unseen.m.swapaxes(0, 1))
    return np.array([errors[unseen.device == i].max() for i in range(unseen.devices)])


def _stack(
    estimator: PopulationMap, scale: np.ndarray, where: np.ndarray, m_start: Any, axis: Any, tick: float
) -> ReducedNode:
    """Devices of a population as one node, all of which start from the same <m>."""
    laws = [estimator.device(at, float(s)).law() for at, s in zip(where, scale, strict=True)]
    return ReducedNode.of_laws(laws, m_start, axis, tick)


def _settled(node: ReducedNode) -> tuple[np.ndarray, np.ndarray]:
    """Where devices come to without a drive and without noise, (devices, 3), and whether they stand still there."""
    which, last = np.arange(node.devices), np.asarray(node.m_start)
    still = np.zeros(node.devices, dtype=bool)
    for _ in range(_PATIENCE):
        _, m = drive(node, np.zeros((200, node.devices)), node.at(last, which))
        last, still = m[-1], np.abs(m[-1] - m[-2]).max(axis=1) < _STILL
        if still.all():
            break
    return last, still
