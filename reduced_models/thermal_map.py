"""The thermal map: a flow map and the noise around it, fitted together to a device at a temperature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils.validation import check_is_fitted, validate_data

from spinloom.reduced_models.basis import SPHERE, exponents, length_of, monomials, polynomial
from spinloom.reduced_models.flow_map import FlowMap, FlowMapLaw

NORMALS = 3
"""Random numbers of a tick: two across the direction of <m>, one along it."""
MEAN_LOG = -1.2703628454614782
"""Mean of log x^2 for a standard normal x: minus Euler's constant, minus log 2."""
_LEAST = 1e-12
"""Smallest deviation that has a logarithm worth having."""


class ThermalMap(FlowMap):
    r"""One tick of a warm device: where <m> goes on average, and how it scatters around that.

    The average is a :class:`~spinloom.reduced_models.flow_map.FlowMap`; it is that of the temperature, because it is
    regressed on what a warm device does. Around it the direction d of <m> scatters in the tangent plane, by

    .. math:: e_1 = \frac{a\times d}{|a\times d|},\quad e_2 = d\times e_1,\qquad
              n_1 = \sigma_1\xi_1,\quad n_2 = \beta n_1 + \sigma_2\xi_2

    with a the axis of coordinates along which <m> is least, :math:`\xi` standard normal, and
    :math:`\log\sigma_1, \beta, \log\sigma_2` polynomials of (d, u): any covariance that depends on state and drive.
    In a micromagnetic disc this noise is white from tick to tick. The length of <m> is not: spin waves that the
    average does not show take some ticks to fade, so its deviation is autoregressive,
    :math:`\lambda \leftarrow \rho\lambda + \sigma_3\xi_3`.

    For any other X and y than those of a magnetisation this is the flow map alone.

    Parameters
    ----------
    degree, ridge
        of the flow map
    noise_degree : int
        total degree of the polynomials that the noise depends on; 0 is noise that is the same everywhere

    Attributes
    ----------
    noise_coef_ : (3, n_noise_monomials) ndarray
        of log sigma_1, beta and log sigma_2
    noise_intercept_ : (3,) ndarray
    noise_powers_ : (n_noise_monomials, 4) int ndarray
    noise_axis_ : int
        a; -1 where there is no noise
    length_noise_ : (2,) ndarray
        rho and sigma_3

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> angle = np.zeros((50, 201))
    >>> for tick in range(200):  # a pendulum without inertia that is shaken
    ...     angle[:, tick + 1] = 0.9 * angle[:, tick] + 0.05 * rng.standard_normal(50)
    >>> m = np.stack([np.sin(angle), np.cos(angle), 0.01 * rng.standard_normal(angle.shape)], axis=-1)
    >>> X, y = np.concatenate([m, 0 * m[..., :1]], axis=-1)[:, :-1].reshape(-1, 4), m[:, 1:].reshape(-1, 3)
    >>> model = ThermalMap(degree=2).fit(X, y)
    >>> print(f"{np.exp(model.noise_intercept_[[0, 2]]).round(3)}")
    [0.05 0.01]
    """

    def __init__(self, degree: int = 4, ridge: float = 1e-9, noise_degree: int = 0) -> None:
        super().__init__(degree, ridge)
        self.noise_degree = noise_degree

    def fit(self, X: Any, y: Any) -> ThermalMap:
        """Fit to single ticks of a warm device.

        Parameters
        ----------
        X : (n_samples, n_state + 1) array_like
            state before the tick (``<m>``), then the held drive; where rows follow each other in time, as those of
            :func:`spinloom.reduced_models.rollout.single_ticks` do, the memory of the length is seen too
        y : (n_samples, n_targets) or (n_samples,) array_like
            state at the end of the tick
        """
        if self.noise_degree < 0 or self.noise_degree != int(self.noise_degree):
            raise ValueError(f"noise_degree: expected a whole number of at least 0, got {self.noise_degree!r}")
        super().fit(X, y)
        self.noise_axis_, self.length_noise_ = -1, np.zeros(2)
        self.noise_powers_ = np.zeros((0, SPHERE + 1), dtype=int)
        self.noise_coef_, self.noise_intercept_ = np.zeros((SPHERE, 0)), np.zeros(SPHERE)
        if self.sphere_axis_ >= 0:
            X, y = validate_data(self, X, y, reset=False, multi_output=True, y_numeric=True, dtype=np.float64)
            self.noise_axis_ = int(np.argmin((X[:, :SPHERE] ** 2).mean(axis=0)))
            self._scatter(X, y)
        return self

    def _scatter(self, X: np.ndarray, y: np.ndarray) -> None:
        """The noise, from what the flow map misses."""
        first, second, along = self._missed(X, y)
        self.noise_powers_ = exponents(SPHERE + 1, int(self.noise_degree), self.sphere_axis_)
        features = self._noise_features(X)
        share = LinearRegression(fit_intercept=False)
        moved = np.column_stack([first, first[:, None] * features])
        second = second - share.fit(moved, second).predict(moved)
        (least_1, slope_1), (least_2, slope_2) = (self._log_deviation(features, one) for one in (first, second))
        self.noise_intercept_ = np.array([least_1, share.coef_[0], least_2])
        self.noise_coef_ = np.stack([slope_1, share.coef_[1:], slope_2])
        follows = (X[1:, :SPHERE] == y[:-1]).all(axis=1)
        before, after = along[:-1][follows], along[1:][follows]
        rho = float(before @ after / (before @ before)) if len(before) and before.any() else 0.0
        rho = float(np.clip(rho, 0.0, 0.999))
        self.length_noise_ = np.array([rho, np.sqrt(1 - rho**2) * along.std()])

    def _log_deviation(self, features: np.ndarray, missed: np.ndarray) -> tuple[float, np.ndarray]:
        """Intercept and coefficients of log sigma: the form from the logarithms, the size from the squares."""
        coef = np.zeros(features.shape[1])
        if features.shape[1]:
            logs = 0.5 * (np.log(missed**2 + _LEAST**2) - MEAN_LOG)
            coef = Ridge(alpha=1e-9 * len(features)).fit(features, logs).coef_
        return 0.5 * float(np.log((missed**2 * np.exp(-2 * features @ coef)).mean() + _LEAST**2)), coef

    def _missed(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What y differs by from the average: across the direction of <m>, twice, and along it."""
        average = self.predict(X)
        length = np.linalg.norm(average, axis=1, keepdims=True)
        d, after = average / length, np.linalg.norm(y, axis=1, keepdims=True)
        first, second = (np.asarray(e) for e in _frame(d, self.noise_axis_))
        apart = y / after - d
        return (apart * first).sum(axis=1), (apart * second).sum(axis=1), (after - length)[:, 0]

    def _noise_features(self, X: np.ndarray) -> np.ndarray:
        direction = X[:, :SPHERE] / np.linalg.norm(X[:, :SPHERE], axis=1, keepdims=True)
        return monomials(np.column_stack([direction, X[:, SPHERE:]]), self.noise_powers_)

    def innovations(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """What the random numbers across <m> must have been: standard normal and white, if the model is right.

        Parameters
        ----------
        X : (n_samples, 4) array_like
        y : (n_samples, 3) array_like

        Returns
        -------
        xi : (n_samples, 2) ndarray
        log_sigma : (n_samples,) ndarray
            of the area of the scatter, log sigma_1 + log sigma_2
        """
        check_is_fitted(self)
        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        first, second, _ = self._missed(X, y)
        log_first, share, log_second = (self._noise_features(X) @ self.noise_coef_.T + self.noise_intercept_).T
        xi = np.column_stack([first / np.exp(log_first), (second - share * first) / np.exp(log_second)])
        return xi, log_first + log_second

    def log_likelihood(self, X: Any, y: Any) -> float:
        """Mean log probability density of the directions after single ticks: what candidates are compared by."""
        return log_density(*self.innovations(X, y))

    def law(self) -> Any:
        """The fitted map and its noise as what a node advances by."""
        average = super().law()
        if self.noise_axis_ < 0:
            return average
        powers = tuple(tuple(row) for row in np.asarray(self.noise_powers_, dtype=int).tolist())
        return ThermalLaw(
            average, self.noise_coef_, self.noise_intercept_, self.length_noise_, powers, int(self.noise_axis_)
        )


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["average", "coef", "intercept", "length"],
    meta_fields=["powers", "axis"],
)
@dataclass(frozen=True)
class ThermalLaw:
    """One tick of a warm ``<m>``; the state is ``<m>`` and the deviation of its length.

    Attributes
    ----------
    average : FlowMapLaw
    coef : (3, n_monomials) array
        of log sigma_1, beta and log sigma_2
    intercept : (3,) array
    length : (2,) array
        rho and sigma_3
    powers : tuple of tuple of int
        exponents of the monomials
    axis : int
    """

    average: FlowMapLaw
    coef: Any
    intercept: Any
    length: Any
    powers: tuple[tuple[int, ...], ...]
    axis: int

    normals = NORMALS

    def start(self, m: Any) -> Any:
        """The state of devices at ``<m>``, (n, 3)."""
        return jnp.concatenate([m, jnp.zeros((len(m), 1))], axis=1)

    def advance(self, x: Any, inputs: Any) -> Any:
        """The state after one tick without noise: (n, 4), (n, 1) -> (n, 4)."""
        return self.scatter(x, inputs, jnp.zeros((len(x), NORMALS)))

    def scatter(self, x: Any, inputs: Any, normals: Any) -> Any:
        """The state after one tick, with the random numbers that it takes: (n, 4), (n, 1), (n, 3) -> (n, 4)."""
        m = x[:, :SPHERE]
        before = m / length_of(m)
        after = self.average.after(m, inputs)
        length = length_of(after)
        d = after / length
        noise = polynomial(jnp.concatenate([before, inputs], axis=1), self.powers, self.coef, self.intercept)
        n1 = jnp.exp(noise[:, 0]) * normals[:, 0]
        n2 = noise[:, 1] * n1 + jnp.exp(noise[:, 2]) * normals[:, 1]
        first, second = _frame(d, self.axis)
        d = d + n1[:, None] * first + n2[:, None] * second
        slow = self.length[0] * x[:, SPHERE] + self.length[1] * normals[:, 2]
        return jnp.concatenate([d / length_of(d) * (length + slow[:, None]), slow[:, None]], axis=1)

    def moment(self, x: Any) -> Any:
        """``<m>``, (n, 3)."""
        return x[:, :SPHERE]


def log_density(xi: np.ndarray, log_sigma: np.ndarray) -> float:
    """Mean log probability density of directions, from what :meth:`ThermalMap.innovations` gives."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = -(0.5 * (xi**2).sum(axis=1) + log_sigma).mean() - np.log(2 * np.pi)
    return float(found) if np.isfinite(found) else -np.inf


def _frame(d: Any, axis: int) -> tuple[Any, Any]:
    """Two unit vectors across each direction d, (n, 3): around an axis, and towards it."""
    first = jnp.cross(jnp.eye(SPHERE)[axis], d)
    first = first / length_of(first)
    return first, jnp.cross(d, first)
