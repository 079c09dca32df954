"""Roll-outs, their hold-out error, and the choice of a model by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold

from spinloom.device_models.scan import advance
from spinloom.reduced_models.node import Law

MOST_ROWS = 25_600
"""Ticks that candidates are compared on: those of 32 trajectories of 800."""


def simulate(estimator: Any, u: np.ndarray, m0: np.ndarray) -> np.ndarray:
    """Free roll-out of a fitted estimator.

    Parameters
    ----------
    estimator : FlowMap or MacrospinModel
        fitted to <m> before and after single ticks; any with ``law()``, see
        :class:`spinloom.reduced_models.node.Law`
    u : (n_ticks,) or (n_ticks, n) array_like
        drives, held for each tick
    m0 : (3,) or (n, 3) array_like
        where to start

    Returns
    -------
    m : (n_ticks, 3) or (n_ticks, n, 3) ndarray
        at the end of each tick
    """
    u = np.asarray(u, dtype=float)
    flat = u.reshape(len(u), -1, 1)
    law, start = estimator.law(), np.broadcast_to(np.asarray(m0, dtype=float), (flat.shape[1], 3))
    _, m = advance(_tick, law, law.start(jnp.asarray(start)), flat, chunk=len(flat))
    return m.reshape(*u.shape, 3)


def _tick(law: Law, x: Any, row: Any) -> tuple[Any, Any]:
    x = law.advance(x, row)
    return x, law.moment(x)


def nrmse(model: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Ratio rms |model - truth| / rms |truth - its time mean| of each trajectory, all components.

    Parameters
    ----------
    model, truth : (n_ticks, n, 3) ndarray

    Returns
    -------
    error : (n,) ndarray
        infinite where the model is not finite
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.sqrt(((model - truth) ** 2).sum(axis=-1).mean(axis=0))
        spread = np.sqrt(((truth - truth.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0))
        ratio = error / spread
    return np.where(np.isnan(ratio), np.inf, ratio)


def single_ticks(m: np.ndarray, u: np.ndarray, m_start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for scikit-learn from whole trajectories.

    Parameters
    ----------
    m : (n_trajectories, n_ticks, 3) ndarray
        at the end of each tick
    u : (n_trajectories, n_ticks) ndarray
    m_start : (3,) or (n_trajectories, 3) ndarray
        before the first tick, of all or of each

    Returns
    -------
    X : (n_trajectories n_ticks, 4) ndarray
        <m> before the tick and the held drive, trajectory after trajectory
    y : (n_trajectories n_ticks, 3) ndarray
    groups : (n_trajectories n_ticks,) int ndarray
        number of the trajectory
    """
    before = np.concatenate([np.broadcast_to(np.asarray(m_start)[..., None, :], (len(m), 1, 3)), m[:, :-1]], axis=1)
    X = np.concatenate([before, u[..., None]], axis=-1)
    return X.reshape(-1, 4), m.reshape(-1, 3), np.repeat(np.arange(len(m)), m.shape[1])


@dataclass(frozen=True)
class RolloutScore:
    """A scikit-learn scorer: minus the worst roll-out NRMSE over the trajectories in X.

    Parameters
    ----------
    n_ticks : int
        rows in a trajectory; X must hold whole trajectories one after the other, which
        ``GroupKFold`` grouped by trajectory gives
    """

    n_ticks: int

    def __call__(self, estimator: Any, X: np.ndarray, y: np.ndarray) -> float:
        """Roll out from the first row of every trajectory."""
        X = np.asarray(X).reshape(-1, self.n_ticks, 4)
        truth = np.asarray(y).reshape(-1, self.n_ticks, 3).swapaxes(0, 1)
        model = simulate(estimator, X[:, :, 3].T, X[:, 0, :3])
        return -float(min(nrmse(model, truth).max(), 1e6))


def search(estimator: Any, grid: dict[str, list], m: np.ndarray, u: np.ndarray, m_start: np.ndarray) -> GridSearchCV:
    """Choose parameters by roll-out error on held-out trajectories, never by one-step error.

    Where there are many ticks, candidates are fitted to an even share of them, and rolled out over all.

    Parameters
    ----------
    estimator : FlowMap or MacrospinModel
    grid : dict
        candidate values by parameter
    m, u, m_start
        as in :func:`single_ticks`

    Returns
    -------
    search : sklearn.model_selection.GridSearchCV
        ``best_estimator_`` is fitted to all trajectories given
    """
    X, y, groups = single_ticks(m, u, m_start)
    every = max(1, round(len(X) / MOST_ROWS))
    splits = GroupKFold(n_splits=min(4, len(m))).split(X, y, groups)
    folds = [(shown[::every], unseen) for shown, unseen in splits]
    found = GridSearchCV(estimator, grid, scoring=RolloutScore(m.shape[1]), cv=folds, error_score="raise")
    return found.fit(X, y)
