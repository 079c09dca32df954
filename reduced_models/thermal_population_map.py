"""The thermal population map: one thermal map of all warm devices that differ a little from a nominal one."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinloom.reduced_models.basis import SPHERE
from spinloom.reduced_models.population_map import STATE, PopulationMap
from spinloom.reduced_models.thermal_map import ThermalMap


class ThermalPopulationMap(ThermalMap, PopulationMap):
    r"""A thermal map of a population: the average is its population map, the noise depends on the coordinates c too.

    :math:`\log\sigma_1, \beta, \log\sigma_2` are those of a :class:`~spinloom.reduced_models.thermal_map.ThermalMap`
    plus linear functions of c, and so is :math:`\log\sigma_3`. That is what Brown's field asks for, whose strength
    goes with :math:`\sqrt{\alpha T / (M_s V)}`: a power of each parameter.

    Parameters
    ----------
    degree, ridge, coordinate_degree
        of the population map
    noise_degree : int
        total degree of the polynomials of direction and drive that the noise depends on

    Attributes
    ----------
    noise_coef_ : (3, n_noise_monomials + n_coordinates) ndarray
    noise_intercept_, noise_powers_, noise_axis_, length_noise_
        as of the thermal map, of the nominal device
    length_noise_coef_ : (n_coordinates,) ndarray
        what log sigma_3 depends on the coordinates by

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> where = np.repeat(rng.uniform(-1, 1, 100), 200)
    >>> m = np.broadcast_to([0.0, 1.0, 0.0], (len(where), 3))
    >>> noise = 0.05 * np.exp(0.5 * where[:, None]) * rng.standard_normal((len(where), 2))
    >>> after = np.column_stack([noise[:, 0], np.ones(len(where)), noise[:, 1]])
    >>> X = np.column_stack([m, 0 * where, where])
    >>> model = ThermalPopulationMap(degree=1, coordinate_degree=1).fit(X, after)
    >>> print(model.noise_coef_[0].round(1))
    [0.5]
    """

    def __init__(self, degree: int = 3, ridge: float = 1e-4, coordinate_degree: int = 1, noise_degree: int = 0) -> None:
        super().__init__(degree, ridge, noise_degree)
        self.coordinate_degree = coordinate_degree

    def fit(self, X: Any, y: Any) -> ThermalPopulationMap:
        """Fit to single ticks of many warm devices, those of each trajectory one after the other.

        Parameters
        ----------
        X : (n_samples, 4 + n_coordinates) array_like
            as of the population map
        y : (n_samples, 3) array_like
        """
        self.length_noise_coef_ = np.zeros(0)
        super().fit(X, y)
        return self

    def _scatter(self, X: np.ndarray, y: np.ndarray) -> None:
        super()._scatter(X, y)
        *_, along = self._missed(X, y)
        level, self.length_noise_coef_ = self._log_deviation(X[:, STATE:], along)
        self.length_noise_[1] = np.sqrt(1 - self.length_noise_[0] ** 2) * np.exp(level)

    def _noise_features(self, X: np.ndarray) -> np.ndarray:
        return np.hstack([super()._noise_features(X[:, :STATE]), X[:, STATE:]])

    def device(self, where: Any, scale: float = 1.0) -> ThermalMap:
        """One device of the population, with its noise; see :meth:`PopulationMap.device`."""
        device = self._contracted(ThermalMap(self.degree, self.ridge, self.noise_degree), where, scale)
        where, shared = np.asarray(where, dtype=float), len(self.noise_powers_)
        powers = float(scale) ** self.noise_powers_[:, SPHERE]
        device.noise_powers_, device.noise_axis_ = self.noise_powers_, self.noise_axis_
        device.noise_coef_ = self.noise_coef_[:, :shared] * powers
        device.noise_intercept_ = self.noise_intercept_ + self.noise_coef_[:, shared:] @ where
        device.length_noise_ = self.length_noise_ * [1.0, np.exp(self.length_noise_coef_ @ where)]
        return device

    def law(self) -> Any:
        """The nominal device, as what a node advances by."""
        return PopulationMap.law(self)
