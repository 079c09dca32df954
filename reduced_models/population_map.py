"""The population map: one flow map of all devices that differ a little from a nominal one."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, pinvh
from sklearn.utils.validation import check_is_fitted, validate_data

from spinloom.reduced_models.basis import SPHERE, exponents, length_of, monomials
from spinloom.reduced_models.flow_map import FlowMap

STATE = SPHERE + 1
"""Columns before the coordinates: <m> and the drive."""
_CONSTANT = 1e-13
"""Share of a feature's mean square below which its variance is rounding."""

Device = TypeVar("Device", bound=FlowMap)


class PopulationMap(FlowMap):
    r"""A flow map whose coefficients are polynomials of a device's coordinates.

    Rows are those of a :class:`~spinloom.reduced_models.flow_map.FlowMap`, with the drive as the device's torque
    scales it, and behind them the coordinates (see :func:`spinloom.reduced_models.coordinates.coordinates`). The
    features are all products of a monomial of direction and drive, f, and one of the coordinates, :math:`\varphi`.
    Because :math:`\varphi` is the same in all rows of a device, the normal equations of thousands of features are
    those of each device's flow map put together, :math:`\sum_i \varphi_i\varphi_i^T \otimes F_i^T F_i`.

    For any other X and y than those of a magnetisation this is the flow map alone.

    Parameters
    ----------
    degree, ridge
        as of the flow map
    coordinate_degree : int
        total degree of the polynomials that its coefficients are; 0 is one flow map for all

    Attributes
    ----------
    coef_ : (4, n_coordinate_monomials, n_monomials) ndarray
        the first coordinate monomial is the constant
    intercept_ : (4, n_coordinate_monomials) ndarray
    powers_ : (n_monomials, 4) int ndarray
        exponents of direction and drive
    coordinate_powers_ : (n_coordinate_monomials, n_coordinates) int ndarray
        exponents of the coordinates
    sphere_axis_, length_
        as of the flow map

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> angle, u = rng.uniform(-1, 1, (2, 20, 50))
    >>> rate = 0.1 * np.exp(0.2 * rng.standard_normal((20, 1)))  # twenty devices, each of a rate of its own
    >>> m, after = (np.stack([np.sin(a), np.cos(a), 0 * a], axis=-1).reshape(-1, 3) for a in (angle, angle + rate * u))
    >>> X = np.column_stack([m, u.ravel(), np.log(np.repeat(rate, 50) / 0.1)])
    >>> device = PopulationMap(degree=3).fit(X, after).device([np.log(1.2)])
    >>> device.predict([[0, 1, 0, 0.5]]).round(3)
    array([[0.06 , 0.998, 0.   ]])
    """

    def __init__(self, degree: int = 4, ridge: float = 1e-9, coordinate_degree: int = 2) -> None:
        super().__init__(degree, ridge)
        self.coordinate_degree = coordinate_degree

    def fit(self, X: Any, y: Any) -> PopulationMap:
        """Fit to single ticks of many devices.

        Parameters
        ----------
        X : (n_samples, 4 + n_coordinates) array_like
            ``<m>`` before the tick, the held drive times the scale of the device, the coordinates of the device
        y : (n_samples, 3) array_like
            ``<m>`` at the end of the tick
        """
        _expect_whole("degree", self.degree, 1)
        _expect_whole("coordinate_degree", self.coordinate_degree, 0)
        checked, after = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        if checked.shape[1] >= STATE and after.shape[1:] == (SPHERE,) and self.ridge >= 0:
            self._fit_devices(checked, after.astype(float))
        else:
            super().fit(X, y)
            self.coordinate_powers_ = np.zeros((1, 0), dtype=int)
        return self

    def _fit_devices(self, X: np.ndarray, y: np.ndarray) -> None:
        """The regression of a flow map, for all coordinates at once."""
        direction, length = X[:, :SPHERE] / length_of(X[:, :SPHERE]), length_of(y)
        self.one_dimensional_, self.length_ = False, float(length.mean())
        self.sphere_axis_ = int(np.argmax((X[:, :SPHERE] ** 2).mean(axis=0)))
        self.powers_ = exponents(STATE, int(self.degree), self.sphere_axis_)
        several = X.shape[1] - STATE
        more = exponents(several, int(self.coordinate_degree)) if several else np.zeros((0, 0), dtype=int)
        self.coordinate_powers_ = _with_constant(more)
        targets = np.column_stack([y / length - direction, length - self.length_])
        where, device = np.unique(X[:, STATE:], axis=0, return_inverse=True)
        states = np.column_stack([direction, X[:, SPHERE]])
        powers, order = _with_constant(self.powers_), np.argsort(device, kind="stable")
        squares, answers = [], []
        for rows in np.split(order, np.flatnonzero(np.diff(device[order])) + 1):
            features = monomials(states[rows], powers)
            squares.append(features.T @ features)
            answers.append(features.T @ targets[rows])
        coef = _solve(monomials(where, self.coordinate_powers_), np.stack(squares), np.stack(answers), self.ridge)
        self.coef_, self.intercept_ = np.moveaxis(coef[:, 1:], -1, 0), coef[:, 0].T

    def predict(self, X: Any) -> np.ndarray:
        """State at the end of one tick.

        Parameters
        ----------
        X : (n_samples, 4 + n_coordinates) array_like

        Returns
        -------
        y : (n_samples, 3) ndarray
        """
        check_is_fitted(self)
        if self.sphere_axis_ < 0:
            return super().predict(X)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        direction = X[:, :SPHERE] / length_of(X[:, :SPHERE])
        features = monomials(np.column_stack([direction, X[:, SPHERE]]), self.powers_)
        phi = monomials(X[:, STATE:], self.coordinate_powers_)
        # One target after the other: all at once would take the memory of all features of all rows.
        parts = zip(self.coef_, self.intercept_, strict=True)
        change = np.stack([((features @ coef.T + intercept) * phi).sum(axis=1) for coef, intercept in parts], axis=1)
        direction = direction + change[:, :SPHERE]
        return direction / length_of(direction) * (self.length_ + change[:, SPHERE:])

    def device(self, where: Any, scale: float = 1.0) -> FlowMap:
        """One device of the population.

        Parameters
        ----------
        where : (n_coordinates,) array_like
            its coordinates
        scale : float
            what its torque multiplies the drive by

        Returns
        -------
        estimator : FlowMap
            fitted; it takes the drive J / J_max of the device as it is
        """
        return self._contracted(FlowMap(self.degree, self.ridge), where, scale)

    def _contracted(self, estimator: Device, where: Any, scale: float) -> Device:
        """Give an estimator of one device its average."""
        check_is_fitted(self)
        if self.sphere_axis_ < 0:
            raise ValueError(
                "X: expected a population, <m>, drive and coordinates, to take a device from; got other data"
            )
        where, expected = np.asarray(where, dtype=float), (self.coordinate_powers_.shape[1],)
        if where.shape != expected:
            raise ValueError(f"where: expected coordinates of shape {expected}, got {where.shape}")
        if not scale > 0:
            raise ValueError(f"scale: expected a factor above 0, got {scale!r}")
        phi = monomials(where[None], self.coordinate_powers_)[0]
        estimator.coef_ = np.einsum("tkf,k->tf", self.coef_, phi) * float(scale) ** self.powers_[:, SPHERE]
        estimator.intercept_ = self.intercept_ @ phi
        estimator.powers_, estimator.sphere_axis_, estimator.length_ = self.powers_, self.sphere_axis_, self.length_
        estimator.one_dimensional_, estimator.n_features_in_ = False, STATE
        return estimator

    def law(self) -> Any:
        """The nominal device, as what a node advances by."""
        check_is_fitted(self)
        if self.sphere_axis_ < 0:
            return FlowMap.law(self)
        return self.device(np.zeros(self.coordinate_powers_.shape[1])).law()


def _with_constant(powers: np.ndarray) -> np.ndarray:
    """Exponents with those of the constant before them."""
    return np.concatenate([np.zeros((1, powers.shape[1]), dtype=int), powers])


def _expect_whole(name: str, value: Any, least: int) -> None:
    if value < least or value != int(value):
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def _solve(phi: np.ndarray, squares: np.ndarray, answers: np.ndarray, ridge: float) -> np.ndarray:
    """Ridge regression on products of features, standardised; the constant, which is the first, is not penalised.

    Parameters
    ----------
    phi : (devices, K) ndarray
        features of the devices
    squares : (devices, P, P) ndarray
        F^T F of the features of each device's rows
    answers : (devices, P, targets) ndarray
        F^T y
    ridge : float
        penalty, per sample

    Returns
    -------
    coef : (K, P, targets) ndarray
    """
    n, K, P = *phi.shape, squares.shape[1]
    pairs = (phi[:, :, None] * phi[:, None, :]).reshape(n, K * K)
    matrix = (pairs.T @ squares.reshape(n, -1)).reshape(K, K, P, P).transpose(0, 2, 1, 3).reshape(K * P, K * P)
    right = (phi.T @ answers.reshape(n, -1)).reshape(K * P, -1)
    samples, mean, average = matrix[0, 0], matrix[0] / matrix[0, 0], right[0] / matrix[0, 0]
    size = np.diag(matrix) / samples
    varies = np.flatnonzero(size - mean**2 > _CONSTANT * size)
    deviation = np.sqrt(size - mean**2)[varies]
    covariance = matrix[np.ix_(varies, varies)] / samples - np.outer(mean[varies], mean[varies])
    covariance /= np.outer(deviation, deviation)
    covariance[np.diag_indices_from(covariance)] += ridge
    right = (right[varies] / samples - np.outer(mean[varies], average)) / deviation[:, None]
    coef = np.zeros((K * P, right.shape[1]))
    try:
        coef[varies] = cho_solve(cho_factor(covariance), right) / deviation[:, None]
    except LinAlgError:  # without a penalty, some features may follow from others
        coef[varies] = pinvh(covariance) @ right / deviation[:, None]
    coef[0] = average - mean @ coef
    return coef.reshape(K, P, -1)
