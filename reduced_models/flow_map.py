"""The flow map: polynomial ridge regression from (<m>, u) to <m> one tick later."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.utils.validation import check_is_fitted, validate_data

from spinloom.reduced_models.basis import (
    SPHERE,
    exponents,
    length_of,
    monomials,
    polynomial,
    polynomial_of_columns,
)
from spinloom.reduced_models.columns import ColumnLaw, length_of_columns


class FlowMap(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""The map :math:`(\langle m\rangle, u) \mapsto \langle m\rangle` over one tick of a held drive.

    The Landau-Lifshitz-Gilbert equation with demagnetisation, anisotropy and Slonczewski
    torque at :math:`\Lambda = 1` is cubic in m and linear in u, so a low polynomial describes
    one tick well. A magnetisation (three state columns, three targets) is handled as
    direction and length: the direction's change is regressed on polynomials of direction
    and drive and put back on the unit sphere, the length is regressed beside it. Without
    that step roll-outs diverge. Any other X and y is regressed by plain polynomials, so that
    scikit-learn's tools apply.

    Parameters
    ----------
    degree : int
        total degree of the polynomials
    ridge : float
        penalty on the coefficients of the standardised monomials, per sample

    Attributes
    ----------
    coef_ : (n_targets or 4, n_monomials) ndarray
    intercept_ : (n_targets or 4,) ndarray
    powers_ : (n_monomials, n_features) int ndarray
        exponents of the monomials
    sphere_axis_ : int
        the component that appears at most once, or -1 for plain polynomials

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> angle, u = rng.uniform(-1, 1, (2, 200))
    >>> m = np.stack([np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    >>> after = np.stack([np.sin(angle + 0.1 * u), np.cos(angle + 0.1 * u), 0 * u], axis=1)
    >>> model = FlowMap(degree=4).fit(np.column_stack([m, u]), after)
    >>> bool(np.abs(model.predict(np.column_stack([m, u])) - after).max() < 1e-4)
    True
    """

    def __init__(self, degree: int = 5, ridge: float = 1e-9) -> None:
        self.degree = degree
        self.ridge = ridge

    def fit(self, X: Any, y: Any) -> FlowMap:
        """Fit to single ticks.

        Parameters
        ----------
        X : (n_samples, n_state + 1) array_like
            state before the tick (``<m>``), then the held drive
        y : (n_samples, n_targets) or (n_samples,) array_like
            state at the end of the tick
        """
        if self.degree < 1 or self.degree != int(self.degree):
            raise ValueError(f"degree: expected a whole number of at least 1, got {self.degree!r}")
        if self.ridge < 0:
            raise ValueError(f"ridge: expected a penalty of at least 0, got {self.ridge!r}")
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        self.one_dimensional_ = y.ndim == 1
        y = y.reshape(len(y), -1).astype(float)
        on_sphere = X.shape[1] == SPHERE + 1 and y.shape[1] == SPHERE
        self.sphere_axis_ = int(np.argmax((X[:, :SPHERE] ** 2).mean(axis=0))) if on_sphere else -1
        self.length_ = 1.0
        if on_sphere:
            before, after = length_of(X[:, :SPHERE]), length_of(y)
            self.length_ = float(after.mean())
            direction = X[:, :SPHERE] / before
            X = np.column_stack([direction, X[:, SPHERE]])
            y = np.column_stack([y / after - direction, after - self.length_])
        self.powers_ = exponents(X.shape[1], int(self.degree), self.sphere_axis_ if on_sphere else None)
        features = monomials(X, self.powers_)
        scale = features.std(axis=0)
        scale[scale == 0] = 1
        regression = Ridge(alpha=self.ridge * len(X), solver="svd" if len(X) < 200 else "cholesky")
        regression.fit(features / scale, y)
        self.coef_ = np.atleast_2d(regression.coef_) / scale
        self.intercept_ = np.atleast_1d(regression.intercept_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """State at the end of one tick.

        Parameters
        ----------
        X : (n_samples, n_state + 1) array_like

        Returns
        -------
        y : (n_samples, n_targets) or (n_samples,) ndarray
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        if self.sphere_axis_ >= 0:
            return np.asarray(FlowMap.law(self).after(jnp.asarray(X[:, :SPHERE]), jnp.asarray(X[:, SPHERE:])))
        y = np.asarray(FlowMap.law(self).polynomial(jnp.asarray(X)))
        return y[:, 0] if self.one_dimensional_ else y

    def law(self) -> FlowMapLaw:
        """The fitted map as what a node advances by."""
        check_is_fitted(self)
        powers = np.asarray(self.powers_, dtype=int)
        return FlowMapLaw(
            self.coef_, self.intercept_, np.asarray(self.length_), tuple(tuple(row) for row in powers.tolist())
        )


@partial(jax.tree_util.register_dataclass, data_fields=["coef", "intercept", "length"], meta_fields=["powers"])
@dataclass(frozen=True)
class FlowMapLaw(ColumnLaw):
    """One tick of ``<m>``; the state is a vector along ``<m>``, of any length, and the length of ``<m>``.

    So the direction is put back on the sphere when it is asked for, and each polynomial is evaluated once in a tick.

    Attributes
    ----------
    coef : (4, n_monomials) array
        of the changes of direction and length
    intercept : (4,) array
    length : scalar array
        mean length of ``<m>``
    powers : tuple of tuple of int
        exponents of the monomials
    """

    coef: Any
    intercept: Any
    length: Any
    powers: tuple[tuple[int, ...], ...]

    def start_columns(self, m: Any) -> Any:
        """The state (4, n) of devices at ``<m>``, (3, n)."""
        return jnp.concatenate([m, length_of_columns(m)[None]])

    def advance_columns(self, x: Any, inputs: Any) -> Any:
        """The state after one tick: (4, n), (1, n) -> (4, n)."""
        along = jnp.array([1.0, 1.0, 1.0, 0.0])[:, None]
        direction = x * (along / length_of_columns(x))
        out = polynomial_of_columns([*direction[:SPHERE], inputs[0]], self.powers, self.coef, self.intercept)
        return direction + (out + (1 - along) * self.length)

    def moment_columns(self, x: Any) -> Any:
        """``<m>``, (3, n)."""
        return x[:SPHERE] * (x[SPHERE] / length_of_columns(x))

    def after(self, m: Any, inputs: Any) -> Any:
        """``<m>`` after one tick: (n, 3), (n, 1) -> (n, 3)."""
        return self.moment(self.advance(self.start(m), inputs))

    def polynomial(self, x: Any) -> Any:
        """The regression itself: (n, n_features) -> (n, n_targets or 4)."""
        return polynomial(x, self.powers, self.coef, self.intercept)
