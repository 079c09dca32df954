"""The memory map: a flow map with latent variables, fitted by what it does over many ticks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from spinloom.device_models.errors import SpinloomWarning
from spinloom.reduced_models.basis import SPHERE, exponents, monomials, polynomial, polynomial_of_columns
from spinloom.reduced_models.columns import ColumnLaw, length_of_columns
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.shooting import LENGTH, Form, Windows, latents, losses, step

LATENT_DEGREE = 3
"""The latents' own polynomials stop at this total degree."""
STRIDE = 5
"""Errors are taken every so many ticks: a tick is short against what a device does."""
WINDOW_STEPS = 4
"""Gauss-Newton steps over windows, before those over whole trajectories."""
FORGET = 0.95
"""Largest spectral radius of the latents that the fit starts from."""
DAMPING = 1e-2
MORE_DAMPING = 1e3
"""By how much the damping grows after a step that does not help."""
SETTLED = 0.995
"""A step that leaves more than this share of the loss is the last."""


class MemoryMap(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""The map :math:`(\langle m\rangle, z, u) \mapsto (\langle m\rangle, z)` over one tick, with latent z.

    Where a free layer bends, :math:`\langle m\rangle` alone does not say what comes next. Here it
    has company, ``memory`` latent variables that stand for what the average does not show. The map
    is that of :class:`~spinloom.reduced_models.flow_map.FlowMap`, with further terms: every latent
    times polynomials of direction and drive. The latents begin as what the flow map missed in the
    last tick, and are then free: all coefficients are fitted together to roll-outs, first over
    windows, then over whole trajectories, by Levenberg-Marquardt steps whose sensitivities go along
    with the roll-out. A regression on single ticks is no substitute: it diverges.

    Devices at rest have no memory, z = 0, and that is where every roll-out and :meth:`predict` start.

    Rows have to follow each other in time for that, as those of
    :func:`spinloom.reduced_models.rollout.single_ticks` do: a trajectory goes on for as long as y is
    the state of the next row of X. Where no two rows do, and for any other X and y than those of a
    magnetisation, this is a flow map.

    Parameters
    ----------
    degree : int
        total degree of the polynomials in direction and drive
    ridge : float
        of the flow map that the fit starts from
    memory : int
        number of latent variables, at least 0
    coupling : int
        degree in direction and drive of what multiplies a latent
    window : int
        ticks of a roll-out in the first part of the fit
    steps : int
        most Gauss-Newton steps over whole trajectories

    Attributes
    ----------
    coef_ : (4 + memory, n_monomials) or (n_targets, n_monomials) ndarray
        of the changes of direction and length, then of the latents after the tick
    intercept_ : (4 + memory,) or (n_targets,) ndarray
    powers_ : (n_monomials, n_features or 4 + memory) int ndarray
        exponents of direction, drive and latents
    length_ : float
        mean length of ``<m>``
    sphere_axis_ : int
        the component that appears at most once, or -1 for plain polynomials
    loss_ : list of float
        root mean square of the errors, in units of each trajectory's spread, after each Gauss-Newton step that helped

    Examples
    --------
    >>> from spinloom.reduced_models.rollout import nrmse, simulate, single_ticks
    >>> u = np.random.default_rng(0).uniform(-1, 1, (4, 60))
    >>> angle = np.zeros((4, 60))
    >>> for tick in range(60):  # a second-order answer: the angle alone does not say what comes next
    ...     last, older = (angle[:, tick - back] if tick >= back else 0 for back in (1, 2))
    ...     angle[:, tick] = 1.6 * last - 0.8 * older + 0.05 * u[:, tick]
    >>> m = np.stack([np.sin(angle), np.cos(angle), 0 * angle], axis=-1)
    >>> X, y, _ = single_ticks(m, u, np.array([0.0, 1.0, 0.0]))
    >>> model = MemoryMap(degree=2, memory=1, coupling=1, window=20).fit(X, y)
    >>> bool(nrmse(simulate(model, u.T, m[0, 0]), m.swapaxes(0, 1)).max() < 1)
    True
    """

    def __init__(
        self,
        degree: int = 5,
        ridge: float = 1e-9,
        memory: int = 8,
        coupling: int = 1,
        window: int = 200,
        steps: int = 12,
    ) -> None:
        self.degree = degree
        self.ridge = ridge
        self.memory = memory
        self.coupling = coupling
        self.window = window
        self.steps = steps

    def fit(self, X: Any, y: Any) -> MemoryMap:
        """Fit to whole trajectories.

        Parameters
        ----------
        X : (n_samples, n_state + 1) array_like
            state before the tick (``<m>``), then the held drive; trajectory after trajectory
        y : (n_samples, n_targets) or (n_samples,) array_like
            state at the end of the tick
        """
        for name, least in (("memory", 0), ("coupling", 0), ("window", 1), ("steps", 0)):
            value = getattr(self, name)
            if value < least or value != int(value):
                raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        flow = FlowMap(self.degree, self.ridge).fit(X, y)
        for name in ("coef_", "intercept_", "powers_", "length_", "sphere_axis_", "one_dimensional_"):
            setattr(self, name, getattr(flow, name))
        self.loss_: list[float] = []
        if self.sphere_axis_ >= 0 and self.memory > 0:
            trajectories = _Trajectories.of(X, y)
            if trajectories.m.shape[1] > 1:
                self._remember(flow, trajectories)
            else:
                warnings.warn(
                    "no row follows another in time, so that there is no memory to fit; "
                    "give whole trajectories, one after the other",
                    SpinloomWarning,
                    stacklevel=2,
                )
        return self

    def predict(self, X: Any) -> np.ndarray:
        """State at the end of one tick from rest, that is, without memory of what was before.

        Parameters
        ----------
        X : (n_samples, n_state + 1) array_like

        Returns
        -------
        y : (n_samples, n_targets) or (n_samples,) ndarray
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        law = self.law()
        if self.sphere_axis_ >= 0:
            state = law.advance(law.start(jnp.asarray(X[:, :SPHERE])), jnp.asarray(X[:, SPHERE:]))
            return np.asarray(law.moment(state))
        y = np.asarray(law.polynomial(jnp.asarray(X)))
        return y[:, 0] if self.one_dimensional_ else y

    def law(self) -> MemoryLaw:
        """The fitted map as what a node advances by."""
        check_is_fitted(self)
        powers = np.asarray(self.powers_, dtype=int)
        return MemoryLaw(self.coef_, self.intercept_, np.asarray(self.length_), tuple(map(tuple, powers.tolist())))

    def _remember(self, flow: FlowMap, data: _Trajectories) -> None:
        """Add latents to a flow map, and fit all together."""
        powers = self._with_latents(flow.powers_)
        low = int((powers.sum(axis=1) <= LATENT_DEGREE).sum())
        degree = int(powers.max())
        guess, slip = data.missed(flow, self.memory)
        columns = np.concatenate([data.direction, data.u[..., None], guess], axis=-1)[data.real]
        psi = monomials(np.asarray(columns), powers)
        scale = psi.std(axis=0)
        scale[scale == 0] = 1
        psi /= scale
        theta = np.zeros((LENGTH + self.memory, len(powers)))
        place = {tuple(row): at for at, row in enumerate(powers.tolist())}
        for at, row in enumerate(np.asarray(flow.powers_).tolist()):
            to = place[(*row, *[0] * self.memory)]
            theta[:LENGTH, to] = flow.coef_[:, at] * scale[to]
        theta[:LENGTH, 0] = flow.intercept_
        theta[LENGTH:, :low] = _linear_latents(powers[:low], psi[:, :low], scale[:low], slip[data.real])
        form = Form(powers, scale, float(self.length_))
        theta = self._shoot(form, theta, data, degree, low) / scale
        self.coef_, self.intercept_, self.powers_ = theta[:, 1:], theta[:, 0], powers[1:]

    def _with_latents(self, powers: np.ndarray) -> np.ndarray:
        """Exponents of all terms: those of low total degree first, the constant at the very beginning."""
        factors = np.vstack([np.zeros((1, SPHERE + 1), dtype=int), exponents(4, int(self.coupling), self.sphere_axis_)])
        none = np.zeros((len(powers) + 1, self.memory), dtype=int)
        rows = [np.hstack([np.vstack([np.zeros((1, SPHERE + 1), dtype=int), powers]), none])]
        rows += [np.hstack([factors, np.tile(one, (len(factors), 1))]) for one in np.eye(self.memory, dtype=int)]
        found = np.vstack(rows)
        return found[np.argsort(found.sum(axis=1) > LATENT_DEGREE, kind="stable")]

    def _shoot(self, form: Form, theta: np.ndarray, data: _Trajectories, degree: int, low: int) -> np.ndarray:
        damping, whole = DAMPING, data.m.shape[1]
        for window, most in ((min(int(self.window), whole), WINDOW_STEPS), (whole, int(self.steps))):
            for _ in range(most):
                windows, stride = data.windows(form, theta, window, degree), min(STRIDE, window)
                found, tried, before, after = step(form, theta, windows, damping, degree, low, stride)
                # Other coefficients leave other latents behind at the beginning of each window.
                after = float(losses(form, found[None], data.windows(form, found, window, degree), degree)[0])
                if not after < before:
                    damping *= MORE_DAMPING
                    continue
                theta, damping = found, tried
                self.loss_.append(after**0.5)
                if after > SETTLED * before:
                    break
        return theta


def _linear_latents(powers: np.ndarray, psi: np.ndarray, scale: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Coefficients of latents that follow ``after`` and forget: in themselves they are linear and stable."""
    memory = after.shape[1]
    latent = powers[:, SPHERE + 1 :].sum(axis=1)
    own = np.flatnonzero((latent == 1) & (powers.sum(axis=1) == 1))
    own = own[np.argmax(powers[own][:, SPHERE + 1 :], axis=1).argsort()]
    free = np.flatnonzero(latent == 0)
    found = np.zeros((memory, len(powers)))
    both = np.concatenate([free, own])
    found[:, both] = _ridge(psi[:, both], after)
    A = found[:, own] / scale[own]
    radius = np.abs(np.linalg.eigvals(A)).max()
    found[:, own] *= min(1.0, FORGET / max(radius, 1e-12))
    found[:, free] = _ridge(psi[:, free], after - psi[:, own] @ found[:, own].T)
    return found


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.solve(x.T @ x / len(x) + 1e-4 * np.eye(x.shape[1]), x.T @ y / len(x)).T


@dataclass(frozen=True, eq=False)
class _Trajectories:
    """Rows as whole trajectories; shorter ones are filled up, and weigh nothing there.

    Attributes
    ----------
    before, m : (n, n_ticks, 3) ndarray
        ``<m>`` before and after each tick
    u : (n, n_ticks) ndarray
    weight : (n, n_ticks) ndarray
        one over the spread of the trajectory; the sum of squares is that of a mean over all ticks
    """

    before: np.ndarray
    m: np.ndarray
    u: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray) -> _Trajectories:
        ends = np.flatnonzero((y[:-1] != X[1:, :SPHERE]).any(axis=1)) + 1
        pieces = np.split(np.arange(len(X)), ends)
        longest = max(map(len, pieces))
        rows = np.array([[*piece, *[piece[-1]] * (longest - len(piece))] for piece in pieces])
        real = np.arange(longest) < np.array([[len(piece)] for piece in pieces])
        spread = np.array([np.sqrt(((y[piece] - y[piece].mean(axis=0)) ** 2).sum(axis=1).mean()) for piece in pieces])
        floor = max(1e-2 * spread.max(), 1e-12)
        weight = real / np.maximum(spread, floor)[:, None] / np.sqrt(real.sum())
        return cls(X[rows, :SPHERE], y[rows], X[rows, SPHERE], weight)

    @property
    def real(self) -> np.ndarray:
        """Which ticks are not filled up, (n, n_ticks) bool."""
        return self.weight > 0

    @property
    def direction(self) -> np.ndarray:
        """Of ``<m>`` before each tick."""
        return self.before / np.linalg.norm(self.before, axis=-1, keepdims=True)

    def missed(self, flow: FlowMap, memory: int) -> tuple[np.ndarray, np.ndarray]:
        """What a flow map misses, as a first guess of latents: before each tick and after it, (n, n_ticks, memory)."""
        polynomial = flow.law().polynomial
        out = np.asarray(polynomial(jnp.asarray(np.concatenate([self.direction, self.u[..., None]], axis=-1))))
        moved = self.direction + out[..., :SPHERE]
        length, stretch = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (self.m, moved))
        slip = np.concatenate([self.m / length * stretch - moved, length - flow.length_ - out[..., SPHERE:]], axis=-1)
        slip /= np.maximum(slip[self.real].std(axis=0), 1e-12)
        delayed = [slip]
        while LENGTH * len(delayed) < memory + LENGTH:
            delayed.append(np.concatenate([np.zeros_like(slip[:, :1]), delayed[-1][:, :-1]], axis=1))
        before, after = (np.concatenate(part, axis=-1)[..., :memory] for part in (delayed[1:], delayed[:-1]))
        return before, after

    def windows(self, form: Form, theta: np.ndarray, window: int, degree: int) -> Windows:
        """All pieces of so many ticks, each with the latents that the truth up to there leaves behind."""
        z = np.zeros((len(self.m), theta.shape[0] - LENGTH))
        z = np.asarray(latents(form, theta, z, self.before.swapaxes(0, 1), self.u.T, degree)).swapaxes(0, 1)
        starts = range(0, self.m.shape[1] - window + 1, window)

        def cut(rows: np.ndarray) -> np.ndarray:
            return np.concatenate([rows[:, at : at + window] for at in starts])

        start = np.concatenate([cut(self.before)[:, 0], cut(z)[:, 0]], axis=1)
        return Windows(start, cut(self.u).T, cut(self.m).swapaxes(0, 1), cut(self.weight).T)


@partial(jax.tree_util.register_dataclass, data_fields=["coef", "intercept", "length"], meta_fields=["powers"])
@dataclass(frozen=True)
class MemoryLaw(ColumnLaw):
    """One tick of ``<m>`` and latents; the state (3 + k, n) holds them one above the other.

    Attributes
    ----------
    coef : (4 + k, n_monomials) array
        of the changes of direction and length, and of the latents after the tick
    intercept : (4 + k,) array
    length : scalar array
        mean length of ``<m>``
    powers : tuple of tuple of int
        exponents of direction, drive and latents
    """

    coef: Any
    intercept: Any
    length: Any
    powers: tuple[tuple[int, ...], ...]

    def start_columns(self, m: Any) -> Any:
        """The state of devices at rest at ``<m>``, (3, n): latents of zero."""
        return jnp.concatenate([m, jnp.zeros((self.coef.shape[0] - LENGTH, m.shape[1]))])

    def advance_columns(self, x: Any, inputs: Any) -> Any:
        """State after one tick: (3 + k, n), (1, n) -> (3 + k, n)."""
        direction = x[:SPHERE] / length_of_columns(x)
        features = [*direction, inputs[0], *x[SPHERE:]]
        out = polynomial_of_columns(features, self.powers, self.coef, self.intercept)
        moved = direction + out[:SPHERE]
        m = moved * ((self.length + out[SPHERE]) / length_of_columns(moved))
        return jnp.concatenate([m, out[LENGTH:]])

    def moment_columns(self, x: Any) -> Any:
        """``<m>``, (3, n)."""
        return x[:SPHERE]

    def polynomial(self, x: Any) -> Any:
        """The regression itself: (n, n_features) -> (n, n_outputs)."""
        return polynomial(x, self.powers, self.coef, self.intercept)
