"""The calibrated macrospin: one Landau-Lifshitz-Gilbert vector whose constants are fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from spinloom.device_models.card import MU0, DeviceCard
from spinloom.device_models.engines.demag import demag_factors
from spinloom.device_models.engines.llg import spin_torque_field
from spinloom.device_models.errors import SpinloomError

_STEP = 1.5e-12
_ROWS = 4000


class MacrospinModel(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""A single magnetisation vector with calibrated damping, stiffness, bias and torques.

    .. math:: \dot m = -\gamma m\times H + \alpha m\times\dot m,\qquad
              H = H_0 - K\circ m + u\,(a\,m\times p + b\,p)

    with K the diagonal stiffness (demagnetisation and anisotropy, relative to y), a the
    damping-like and b the field-like torque. Seven constants are fitted to single ticks by
    least squares; y is the vector's end, mapped by a fitted linear read-out, so it may be
    ``<m>`` or any signal that follows it. The first three columns of X are the state
    (missing ones count as zero), the last is the drive.

    Parameters
    ----------
    tick : float
        duration of one tick (s)
    gamma0 : float
        gyromagnetic ratio (m/(A s)), not fitted
    polariser : (3,) tuple of float
        direction p
    alpha, stiffness, damping_like, field_like : float
        starting values: damping; K along z, and both torques at u = 1 (A/m)
    H : (3,) tuple of float
        starting value of the bias field (A/m)

    Attributes
    ----------
    alpha_, H_, stiffness_, damping_like_, field_like_
        fitted values, in the same units
    readout_ : (4, n_targets) ndarray
        y = [m, 1] @ readout_

    Examples
    --------
    >>> m, u = np.eye(3), np.zeros((3, 1))
    >>> MacrospinModel(H=(0, 8e3, 0)).fit(np.hstack([m, u]), m).predict(np.hstack([m, u])).shape
    (3, 3)
    """

    def __init__(
        self,
        tick: float = 7.5e-12,
        gamma0: float = 221276.14872118403,
        polariser: tuple[float, float, float] = (0.0, 0.0, 1.0),
        alpha: float = 0.1,
        stiffness: float = 5e5,
        damping_like: float = 5e3,
        field_like: float = 0.0,
        H: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.tick = tick
        self.gamma0 = gamma0
        self.polariser = polariser
        self.alpha = alpha
        self.stiffness = stiffness
        self.damping_like = damping_like
        self.field_like = field_like
        self.H = H

    @classmethod
    def from_card(cls, card: DeviceCard, tick: float) -> MacrospinModel:
        """Start from what the card says, before any calibration."""
        torque = card.torque
        epsilon = torque.P * torque.Lambda**2 / (torque.Lambda**2 + 1)
        return cls(
            tick=tick,
            gamma0=card.material.gamma0,
            polariser=torque.polariser,
            alpha=card.material.alpha,
            stiffness=0.8 * card.material.Ms,
            damping_like=spin_torque_field(card) * epsilon,
            field_like=spin_torque_field(card) * torque.eps_prime,
            H=card.bias.H,
        )

    def fit(self, X: Any, y: Any) -> MacrospinModel:
        """Fit the constants to single ticks.

        Parameters
        ----------
        X : (n_samples, n_state + 1) array_like
            state before the tick, then the held drive
        y : (n_samples, n_targets) or (n_samples,) array_like
            state at the end of the tick
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        self.one_dimensional_ = y.ndim == 1
        y = y.reshape(len(y), -1).astype(float)
        m, u = _split(X)
        start = np.array([self.alpha, 0.0, self.stiffness, self.damping_like, self.field_like, *self.H])
        unit = np.array([0.1, *[max(abs(self.stiffness), 1.0)] * 2, *[max(abs(self.damping_like), 1.0)] * 5])
        best = start / unit
        if y.shape[1] == 3 and X.shape[1] == 4:
            # Always the same number of rows, spread evenly: all fits then run one compiled program.
            rows = np.arange(_ROWS) * len(X) // _ROWS
            law, data = self._law(start), (unit, m[rows], u[rows], _unit(y[rows]))
            lower = np.full(8, -np.inf)
            lower[0] = 1e-4 / unit[0]
            fit = least_squares(
                lambda theta: np.asarray(_miss(theta, law, *data)),
                best,
                lambda theta: np.asarray(_slope(theta, law, *data)),
                (lower, np.inf),
                max_nfev=50,
            )
            best = fit.x
        self.theta_ = best * unit
        end = np.asarray(_turned(self._law(self.theta_), m, u))
        design = np.column_stack([end, np.ones(len(end))])
        self.readout_ = np.linalg.lstsq(design, y, rcond=1e-9)[0]
        return self

    @property
    def alpha_(self) -> float:
        """Fitted damping."""
        return float(self._fitted()[0])

    @property
    def stiffness_(self) -> np.ndarray:
        """Fitted stiffness along x, y and z, relative to y (A/m)."""
        return np.array([self._fitted()[1], 0.0, self._fitted()[2]])

    @property
    def damping_like_(self) -> float:
        """Fitted damping-like torque at u = 1 (A/m)."""
        return float(self._fitted()[3])

    @property
    def field_like_(self) -> float:
        """Fitted field-like torque at u = 1 (A/m)."""
        return float(self._fitted()[4])

    @property
    def H_(self) -> np.ndarray:  # noqa: N802
        """Fitted bias field (A/m)."""
        return self._fitted()[5:]

    def _fitted(self) -> np.ndarray:
        check_is_fitted(self)
        return self.theta_

    def predict(self, X: Any) -> np.ndarray:
        """Read-out at the end of one tick, (n_samples, n_targets) or (n_samples,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        m, u = _split(X)
        y = np.asarray(_read(self.law(), m, u))
        return y[:, 0] if self.one_dimensional_ else y

    def law(self) -> MacrospinLaw:
        """The fitted vector as what a node advances by."""
        check_is_fitted(self)
        return self._law(self.theta_, self.readout_)

    def _law(self, theta: np.ndarray, readout: np.ndarray | None = None) -> MacrospinLaw:
        steps = max(1, int(np.ceil(self.tick / _STEP)))
        return MacrospinLaw(
            theta=theta,
            readout=np.eye(4, 3) if readout is None else readout,
            gamma0=np.asarray(self.gamma0),
            polariser=np.asarray(self.polariser),
            dt=np.asarray(self.tick / steps),
            steps=steps,
        )

    def __sklearn_tags__(self) -> Any:
        """Beside what every regressor says: this one knows magnets, not arbitrary tables."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["theta", "readout", "gamma0", "polariser", "dt"],
    meta_fields=["steps"],
)
@dataclass(frozen=True)
class MacrospinLaw:
    """One tick of a macrospin; the state is what its read-out gives, ``<m>``.

    Attributes
    ----------
    theta : (8,) array
        damping; stiffness along x and z, damping-like and field-like torque, bias field (A/m)
    readout : (4, n_targets) array
    gamma0 : scalar array
        gyromagnetic ratio (m/(A s))
    polariser : (3,) array
    dt : scalar array
        Runge-Kutta step (s)
    steps : int
        in a tick
    """

    theta: Any
    readout: Any
    gamma0: Any
    polariser: Any
    dt: Any
    steps: int

    normals = 0

    @classmethod
    def of_card(
        cls, card: DeviceCard, tick: float, steps: int | None = None, factors: Any | None = None
    ) -> MacrospinLaw:
        """The rigid layer of a card, without any calibration: its demagnetisation is that of its own mesh.

        Parameters
        ----------
        card : DeviceCard
        tick : float
            (s)
        steps : int, optional
            Runge-Kutta steps in a tick; as many as a fit takes if not given
        factors : (3,) array_like, optional
            demagnetisation factors; those of the card's mesh if not given

        Raises
        ------
        SpinloomError
            where one spin with constant coefficients cannot stand for the card: an anisotropy axis between the axes of
            the mesh, a torque that depends on the angle (Lambda), an Oersted field

        Examples
        --------
        >>> from spinloom.device_models.card import load_card
        >>> law = MacrospinLaw.of_card(load_card("data/devices/disc60.toml"), 7.5e-12)
        >>> law.start(np.array([[0.0, 1.0, 0.0]])).shape
        (1, 3)
        """
        material, torque = card.material, card.torque
        field = np.array(demag_factors(card.geometry) if factors is None else factors) * material.Ms
        if material.Ku:
            axis = np.abs(material.Ku_axis)
            if axis.max() < 1 - 1e-9:
                raise SpinloomError(f"material.Ku_axis: expected x, y or z for a macrospin, got {material.Ku_axis}")
            field = field - 2 * material.Ku / (MU0 * material.Ms) * axis.round()
        if torque.Lambda != 1 or torque.oersted != "off":
            raise SpinloomError(
                f"torque: expected Lambda = 1 and no Oersted field for a macrospin, got Lambda = {torque.Lambda:g}, "
                f"oersted = {torque.oersted!r}"
            )
        strength, steps = spin_torque_field(card), steps or max(1, int(np.ceil(tick / _STEP)))
        constants = [field[0] - field[1], field[2] - field[1], strength * torque.P / 2, strength * torque.eps_prime]
        return cls(
            theta=np.array([material.alpha, *constants, *card.bias.H]),
            readout=np.eye(4, 3),
            gamma0=np.asarray(material.gamma0),
            polariser=np.asarray(torque.polariser),
            dt=np.asarray(tick / steps),
            steps=steps,
        )

    def start(self, m: Any) -> Any:
        """The state of devices at ``<m>``, (n, 3)."""
        return m

    def advance(self, m: Any, inputs: Any) -> Any:
        """``<m>`` after one tick: (n, 3), (n, 1) -> (n, 3)."""
        return self.read(m, inputs[:, 0])

    def moment(self, m: Any) -> Any:
        """``<m>``, (n, 3)."""
        return m

    def read(self, m: Any, u: Any) -> Any:
        """Read-out at the end of a tick: (n, 3), (n,) -> (n, n_targets)."""
        return self.turned(m, u) @ self.readout[:3] + self.readout[3]

    def turned(self, m: Any, u: Any) -> Any:
        """Unit vectors at the end of a tick."""
        alpha, kx, kz, a, b = (self.theta[k] for k in range(5))
        stiffness, bias = jnp.stack([kx, 0.0 * kx, kz]), self.theta[5:]
        p, dt = self.polariser, self.dt

        def rhs(m: Any) -> Any:
            h = bias - stiffness * m + u[:, None] * (a * jnp.cross(m, p) + b * p)
            turn = -jnp.cross(m, h)
            return self.gamma0 / (1 + alpha**2) * (turn + alpha * jnp.cross(m, turn))

        def step(_: int, m: Any) -> Any:
            k1 = rhs(m)
            k2 = rhs(m + dt / 2 * k1)
            k3 = rhs(m + dt / 2 * k2)
            return _unit(m + dt / 6 * (k1 + 2 * k2 + 2 * k3 + rhs(m + dt * k3)))

        return jax.lax.fori_loop(0, self.steps, step, _unit(m))


@jax.jit
def _miss(theta: Any, law: MacrospinLaw, unit: Any, m: Any, u: Any, y: Any) -> Any:
    """What is left when theta, in units of ``unit``, stands in for the law's constants."""
    return (replace(law, theta=theta * unit).turned(m, u) - y).ravel()


_slope = jax.jit(jax.jacfwd(_miss))
# Without jit the loop over the steps of a tick would be compiled anew in every call.
_turned, _read = jax.jit(MacrospinLaw.turned), jax.jit(MacrospinLaw.read)


def _split(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    state = X[:, : min(3, X.shape[1] - 1)]
    return np.pad(state, ((0, 0), (0, 3 - state.shape[1]))), X[:, -1]


def _unit(m: Any) -> Any:
    return m / ((m**2).sum(axis=1, keepdims=True) + 1e-300) ** 0.5
