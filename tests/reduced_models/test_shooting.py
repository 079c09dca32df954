"""Gauss-Newton through roll-outs: its gradient against differences, its step against a problem it can solve at once."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.reduced_models.shooting import Form, Windows, latents, losses, normal_equations, step

LOW, DEGREE = 5, 2


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    powers = rng.integers(0, DEGREE + 1, (12, 6))
    powers[0] = 0
    form = Form(powers, rng.uniform(0.5, 2, 12), 0.9)
    theta = rng.normal(size=(6, 12)) * 0.03
    theta[4:, LOW:] = 0
    start, u = rng.normal(size=(3, 5)) * 0.5, rng.uniform(-1, 1, (10, 3))
    windows = Windows(start, u, rng.normal(size=(10, 3, 3)), rng.uniform(0.5, 1, (10, 3)))
    return form, theta, windows


def moved(theta, change):
    theta = theta.copy()
    theta[:4] += change[:48].reshape(4, 12)
    theta[4:, :LOW] += change[48:].reshape(2, LOW)
    return theta


def test_gradient_is_that_of_the_loss(problem):
    form, theta, windows = problem
    matrix, gradient = normal_equations(form, theta, windows, DEGREE, LOW, 1)
    sides = np.concatenate([np.eye(58), -np.eye(58)]) * 1e-6
    loss = np.asarray(losses(form, np.stack([moved(theta, change) for change in sides]), windows, DEGREE))
    np.testing.assert_allclose(gradient, (loss[:58] - loss[58:]) / 4e-6, atol=1e-6 * np.abs(gradient).max())
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * np.abs(matrix).max()


def test_a_step_returns_to_coefficients_that_were_disturbed(problem):
    """The truth is a roll-out of its own; errors that small are linear in the coefficients."""
    form, theta, windows = problem
    truth = windows._replace(m=roll(form, theta, windows))
    disturbed = moved(theta, np.random.default_rng(1).normal(size=58) * 1e-4)
    _, damping, before, after = step(form, disturbed, truth, 1e-3, DEGREE, LOW, 1)
    assert after < 1e-3 * before
    assert damping < 1e-3


def test_a_step_that_cannot_help_changes_nothing(problem):
    form, theta, windows = problem
    truth = windows._replace(m=roll(form, theta, windows))
    found, _, before, after = step(form, theta, truth, 1e-3, DEGREE, LOW, 1)
    np.testing.assert_allclose(found, theta, atol=1e-9)
    assert after <= before < 1e-20


def roll(form, theta, windows):
    """Roll-outs tick by tick, in numpy."""
    x, out = windows.start.copy(), []
    for u in windows.u:
        m, z = x[:, :3], x[:, 3:]
        direction = m / np.linalg.norm(m, axis=1, keepdims=True)
        v = np.column_stack([direction, u, z])
        change = np.prod(v[:, None, :] ** form.powers, axis=-1) / form.scale @ theta.T
        direction = direction + change[:, :3]
        m = direction / np.linalg.norm(direction, axis=1, keepdims=True) * (form.length + change[:, 3:4])
        x = np.column_stack([m, change[:, 4:]])
        out.append(m)
    return np.stack(out)


def test_latents_follow_the_truth(problem):
    """Along a roll-out of its own the truth leaves behind the latents that the roll-out has."""
    form, theta, windows = problem
    m = roll(form, theta, windows)
    before = np.concatenate([windows.start[None, :, :3], m[:-1]])
    z = np.asarray(latents(form, theta, windows.start[:, 3:], before, windows.u, DEGREE))
    again = Windows(np.concatenate([before[4], z[4]], axis=1), windows.u[4:], m[4:], windows.weight[4:])
    assert float(losses(form, theta[None], again, DEGREE)[0]) < 1e-24
