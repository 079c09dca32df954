"""The canonical series, each against another way to compute it."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.benchmarks.memory import delayed
from spinloom.networks.benchmarks.reservoir import nrmse
from spinloom.networks.benchmarks.series import (
    SAMPLES_PER_PERIOD,
    binary,
    lorenz,
    mackey_glass,
    narma10,
    sine_square,
    uniform,
)


def test_narma10_is_its_definition_value_by_value():
    u = np.random.default_rng(0).uniform(0, 0.5, 300)
    y = [0.0] * 310  # y[t + 9] is y_t; nothing before t = 0
    for t in range(300):
        tail = sum(y[t + 9 - i] for i in range(10))
        first = u[t - 9] if t >= 9 else 0.0
        value = 0.3 * y[t + 9] + 0.05 * y[t + 9] * tail + 1.5 * first * u[t] + 0.1
        if t + 10 < len(y):
            y[t + 10] = value
    np.testing.assert_allclose(narma10(u)[:299], y[10:309], rtol=1e-13)


def test_narma10_that_runs_away_is_told():
    with pytest.raises(SpinloomError, match="NARMA-10: the series ran away after"):
        narma10(np.full(400, 0.9))


def test_twenty_taps_reach_what_is_known_of_narma10():
    """A linear shift register of 20 taps has an NRMSE of 0.389."""
    errors = []
    for seed in range(10):
        u = np.random.default_rng(seed).uniform(0, 0.5, 4200)
        y = narma10(u)
        x = np.column_stack([delayed(u, 20), np.ones(4200)])
        w = np.linalg.lstsq(x[200:2200], y[200:2200], rcond=None)[0]
        errors.append(nrmse((x[2200:] @ w)[:, None], y[2200:, None]))
    assert np.mean(errors) == pytest.approx(0.389, abs=0.015)


def test_mackey_glass_follows_a_solver_stretch_by_stretch():
    """By the method of steps: on each stretch of a delay the past is known."""
    past = lambda t: 1.2  # noqa: E731
    expected = []
    for stretch in range(3):
        solved = solve_ivp(
            lambda t, x, past=past, to=stretch: 0.2 * past(t - 17) / (1 + past(t - 17) ** 10) - 0.1 * x,
            (17 * stretch, 17 * stretch + 17),
            [expected[-1] if expected else 1.2],
            dense_output=True,
            rtol=1e-10,
            atol=1e-12,
        )
        expected += solved.sol(17 * stretch + np.arange(1, 18))[0].tolist()
        past = lambda t, old=past, sol=solved.sol, begins=17 * stretch: old(t) if t < begins else sol(t)[0]  # noqa: E731
    np.testing.assert_allclose(mackey_glass(51, skip=0), expected, atol=2e-7)


def test_a_delay_between_steps_is_refused():
    with pytest.raises(SpinloomError, match=r"tau: expected a positive multiple of 0\.1, got 17\.03"):
        mackey_glass(10, tau=17.03)


def test_lorenz_follows_a_solver():
    solved = solve_ivp(
        lambda t, p: (10 * (p[1] - p[0]), p[0] * (28 - p[2]) - p[1], p[0] * p[1] - 8 / 3 * p[2]),
        (0, 2),
        (1, 1, 1),
        t_eval=0.02 * np.arange(1, 101),
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
    )
    np.testing.assert_allclose(lorenz(100, skip=0), solved.y.T, atol=2e-5)
    np.testing.assert_array_equal(lorenz(3, skip=40), lorenz(43, skip=0)[40:])


def test_a_sine_and_a_square_share_their_extrema_alone():
    u, which = sine_square(200, np.random.default_rng(0))
    periods = u.reshape(-1, SAMPLES_PER_PERIOD)
    sine, square = (periods[which[::SAMPLES_PER_PERIOD] == kind] for kind in (-1, 1))
    assert min(len(sine), len(square)) > 60
    assert (sine == sine[0]).all()
    assert np.isclose(sine[0], square[0]).tolist() == [False, False, True, False, False, False, True, False]


def test_random_inputs_are_what_they_are_called():
    rng = np.random.default_rng(0)
    u, b = uniform(20_000, rng), binary(20_000, rng)
    assert u.std() == pytest.approx(3**-0.5, rel=0.02)
    assert sorted(set(b)) == [-1, 1]
    assert abs(b.mean()) < 0.02
