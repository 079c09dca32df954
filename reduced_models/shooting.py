"""Fitting by roll-outs: Gauss-Newton steps through windows of many ticks, for polynomials whose state has latents."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

SPHERE = 3
LENGTH = 4
"""Outputs of the polynomial before those of the latents: change of direction, and deviation of the length."""
FACTORS = (1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Dampings that every step tries, relative to the last one."""


class Form(NamedTuple):
    """A polynomial tick, but for its coefficients.

    Attributes
    ----------
    powers : (n_features, 4 + k) int array
        exponents of direction, drive and latents
    scale : (n_features,) array
        what each monomial is divided by
    length : float
        mean length of ``<m>``
    """

    powers: Any
    scale: Any
    length: Any


class Windows(NamedTuple):
    """Pieces of trajectories that are rolled out side by side.

    Attributes
    ----------
    start : (W, 3 + k) array
        ``<m>`` and latents before the first tick
    u : (n_ticks, W) array
    m : (n_ticks, W, 3) array
        true ``<m>`` at the end of each tick
    weight : (n_ticks, W) array
        of the error at the end of each tick
    """

    start: Any
    u: Any
    m: Any
    weight: Any


def _tables(powers: Any, v: Any, degree: int) -> tuple[Any, Any]:
    """Every column of v to its exponent, and the slope of that, both (W, n_features, columns)."""
    values, slopes = [jnp.ones_like(v)], [jnp.zeros_like(v)]
    for power in range(1, degree + 1):
        slopes.append(power * values[-1])
        values.append(values[-1] * v)
    at = jnp.arange(v.shape[1]) * (degree + 1) + powers
    value, slope = (jnp.stack(table, axis=-1).reshape(len(v), -1)[:, at] for table in (values, slopes))
    return value, slope


def features(form: Form, x: Any, u: Any, degree: int) -> Any:
    """Scaled monomials (W, n_features) of states (W, 3 + k) and drives (W,)."""
    return _tables(form.powers, _columns(x, u), degree)[0].prod(axis=-1) / form.scale


def _columns(x: Any, u: Any) -> Any:
    return jnp.concatenate([_direction(x[:, :SPHERE]), u[:, None], x[:, SPHERE:]], axis=1)


def _direction(m: Any) -> Any:
    return m / ((m**2).sum(axis=-1, keepdims=True) + 1e-300) ** 0.5


def _moved(length: Any, m: Any, out: Any) -> Any:
    """``<m>`` after a change of direction and length: (..., 3), (..., 4) -> (..., 3)."""
    return _direction(_direction(m) + out[..., :SPHERE]) * (length + out[..., SPHERE:LENGTH])


def _advance(form: Form, theta: Any, x: Any, u: Any, degree: int) -> Any:
    out = features(form, x, u, degree) @ theta.T
    return jnp.concatenate([_moved(form.length, x[:, :SPHERE], out), out[:, LENGTH:]], axis=1)


@partial(jax.jit, static_argnames="degree")
def losses(form: Form, thetas: Any, windows: Windows, degree: int) -> Any:
    """Weighted sum of squared errors of each set of coefficients, (n,)."""

    def loss(theta: Any) -> Any:
        def tick(x: Any, row: Any) -> tuple[Any, Any]:
            u, m, weight = row
            x = _advance(form, theta, x, u, degree)
            return x, (((x[:, :SPHERE] - m) * weight[:, None]) ** 2).sum()

        return jax.lax.scan(tick, windows.start, windows[1:])[1].sum()

    return jax.vmap(loss)(thetas)


@partial(jax.jit, static_argnames="degree")
def latents(form: Form, theta: Any, z: Any, before: Any, u: Any, degree: int) -> Any:
    """Latents before each tick while ``<m>`` is the truth: (n, k), (n_ticks, n, 3), (n_ticks, n) -> (n_ticks, n, k)."""

    def tick(z: Any, row: Any) -> tuple[Any, Any]:
        m, u = row
        return _advance(form, theta, jnp.concatenate([m, z], axis=1), u, degree)[:, SPHERE:], z

    return jax.lax.scan(tick, z, (before, u))[1]


@partial(jax.jit, static_argnames=("degree", "low", "stride"))
def normal_equations(form: Form, theta: Any, windows: Windows, degree: int, low: int, stride: int) -> tuple[Any, Any]:
    """Gauss-Newton matrix (P, P) and gradient (P,) of the loss, from the errors of every ``stride``-th tick.

    The sensitivity S = dx/dtheta goes along with the roll-out: S <- J S + (what this tick's
    coefficients do). Parameters are all coefficients of direction and length, row after row, then of
    each latent those of the first ``low`` monomials.
    """
    n_windows, d = windows.start.shape
    k, n = d - SPHERE, len(form.scale)
    n_parameters = LENGTH * n + k * low

    def tick(carry: Any, u: Any) -> tuple[Any, None]:
        x, S = carry
        m = x[:, :SPHERE]
        value, slope = _tables(form.powers, _columns(x, u), degree)
        others = _products_of_others(value)
        psi = value.prod(axis=-1) / form.scale
        out = psi @ theta.T
        by_column = jnp.einsum("wnc,on->woc", slope * others, theta / form.scale)
        turned = jax.vmap(jax.jacfwd(_direction))(m)
        by_x = jnp.concatenate([by_column[..., :SPHERE] @ turned, by_column[..., SPHERE + 1 :]], axis=-1)
        of_m, of_out = jax.vmap(lambda m, out: jax.jacfwd(partial(_moved, form.length), (0, 1))(m, out))(
            m, out[:, :LENGTH]
        )
        J = jnp.concatenate([of_out @ by_x[:, :LENGTH], by_x[:, LENGTH:]], axis=1)
        J = J.at[:, :SPHERE, :SPHERE].add(of_m)
        moved = (of_out[..., None] * psi[:, None, None, :]).reshape(n_windows, SPHERE, LENGTH * n)
        kept = (jnp.eye(k)[None, :, :, None] * psi[:, None, None, :low]).reshape(n_windows, k, k * low)
        S = J @ S
        S = S.at[:, :SPHERE, : LENGTH * n].add(moved).at[:, SPHERE:, LENGTH * n :].add(kept)
        return (jnp.concatenate([_moved(form.length, m, out), out[:, LENGTH:]], axis=1), S), None

    def block(carry: Any, rows: Any) -> tuple[Any, None]:
        x, S, matrix, gradient = carry
        u, m, weight = rows
        (x, S), _ = jax.lax.scan(tick, (x, S), u)
        error = ((x[:, :SPHERE] - m[-1]) * weight[-1][:, None]).reshape(-1)
        by_parameter = (S[:, :SPHERE] * weight[-1][:, None, None]).reshape(-1, n_parameters)
        return (x, S, matrix + by_parameter.T @ by_parameter, gradient + error @ by_parameter), None

    whole = len(windows.u) // stride * stride
    rows = jax.tree.map(lambda part: part[:whole].reshape(-1, stride, *part.shape[1:]), tuple(windows[1:]))
    zero = jnp.zeros((n_windows, d, n_parameters)), jnp.zeros((n_parameters, n_parameters)), jnp.zeros(n_parameters)
    return jax.lax.scan(block, (windows.start, *zero), rows)[0][2:]


def _products_of_others(value: Any) -> Any:
    """Of each column the product of all the others along the last axis."""
    one = jnp.ones_like(value[..., :1])
    before = jnp.cumprod(jnp.concatenate([one, value[..., :-1]], axis=-1), axis=-1)
    after = jnp.cumprod(jnp.concatenate([one, value[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    return before * after


def step(
    form: Form, theta: np.ndarray, windows: Windows, damping: float, degree: int, low: int, stride: int
) -> tuple[np.ndarray, float, float, float]:
    """One Levenberg-Marquardt step; of several dampings the best is taken.

    Returns
    -------
    theta : (4 + k, n_features) ndarray
        unchanged if none lowers the loss
    damping : float
        to go on with
    before, after : float
        loss
    """
    matrix, gradient = map(np.asarray, normal_equations(form, theta, windows, degree, low, stride))
    tried, dampings = [theta], [damping * 1e3]
    diagonal = np.diag(matrix)
    for damped in damping * np.array(FACTORS):
        try:
            factor = cho_factor(matrix + np.diag(damped * diagonal + 1e-14 * diagonal.max()))
        except (LinAlgError, ValueError):
            continue
        tried.append(_changed(theta, -cho_solve(factor, gradient), low))
        dampings.append(max(damped, 1e-9))
    tried += [theta] * (1 + len(FACTORS) - len(tried))
    loss = np.asarray(losses(form, np.stack(tried), windows, degree))
    loss = np.where(np.isfinite(loss), loss, np.inf)
    best = int(loss.argmin())
    return tried[best], dampings[best], float(loss[0]), float(loss[best])


def _changed(theta: np.ndarray, change: np.ndarray, low: int) -> np.ndarray:
    theta, split = theta.copy(), theta[:LENGTH].size
    theta[:LENGTH] += change[:split].reshape(LENGTH, -1)
    theta[LENGTH:, :low] += change[split:].reshape(-1, low)
    return theta
