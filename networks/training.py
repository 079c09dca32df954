"""Training of the read-out: FORCE, teacher-forced ridge, and the classifier for recognition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sklearn.linear_model import Ridge, RidgeClassifier

from spinloom.device_models.errors import DivergedError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import advance as scan
from spinloom.device_models.scan import first_not_finite
from spinloom.networks.loop import LoopState, advance, readout, simulate, start
from spinloom.networks.measures import free_run_error, phase_slope
from spinloom.networks.seeds import TRIMS, stream
from spinloom.networks.topology import Weights
from spinloom.networks.trials import clock_ticks, generate, per_network

NEARER = 10
"""How many times as much the teacher-forced data count in every other try."""
WASHOUT = 4
"""Periods with the target fed back before every free run of the trim; figures are of other washouts."""
_LONGEST_LEAD = 1.0
_SETTLED = 10
"""Periods with the target fed back before its error is taken."""
Progress = Callable[[int], None] | None


class Training(BaseModel):
    """How a read-out is trained to generate.

    Attributes
    ----------
    method : {"force", "ridge"}
        ``ridge``: teacher-forced ridge regression alone; ``force``: that, then FORCE, then the
        trim of the phase, which a network with a clock does not need
    teacher_periods : int
        of the target, teacher-forced; the first tenth is washout
    noise : float
        rms of the noise on the fed-back target, without which a teacher-forced read-out is
        not stable once the loop is closed
    ridge : float
        penalty on the read-out, per tick, of signals in units of their spread
    force_periods : int
        of FORCE, in closed loop and without noise
    prior_ticks : float
        how many ticks the teacher-forced data count for when FORCE begins; few let it move
        far from the ridge solution, which pays on most networks and ruins some, so in every other try
        they are ten times as many
    trim_rounds, trim_periods : int
        free runs for the trim of the phase, and periods in each
    tries : int
        read-outs trained for each network under different noise, every other one nearer to the ridge
        solution; the one with the smallest error in the free runs of the trim is kept (``force`` only)
    seed : int
        of the noise
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["force", "ridge"] = "force"
    teacher_periods: int = Field(default=100, ge=2, le=100_000)
    noise: float = Field(default=4e-3, ge=0, le=1)
    ridge: float = Field(default=6e-6, gt=0, le=1e6)
    force_periods: int = Field(default=200, ge=1, le=1_000_000)
    prior_ticks: float = Field(default=2000, gt=0, le=1e9)
    trim_rounds: int = Field(default=6, ge=1, le=100)
    trim_periods: int = Field(default=100, ge=4, le=100_000)
    tries: int = Field(default=4, ge=1, le=100)
    seed: int = Field(default=0, ge=0)

    @property
    def periods(self) -> int:
        """Periods of the target that training without a clock takes."""
        return self.lasts(False)

    def lasts(self, clocked: bool) -> int:
        """Periods of the target that training takes, with a clock or without."""
        if self.method == "ridge":
            return self.teacher_periods
        rounds = 1 if clocked else self.trim_rounds
        return self.teacher_periods + self.force_periods + rounds * (self.trim_periods + WASHOUT)


class Tries(Protocol):
    """What :class:`Training` has in common with other ways to train several read-outs under different noise."""

    @property
    def noise(self) -> float:
        """Rms of the noise on what is fed back."""

    @property
    def ridge(self) -> float:
        """Penalty on the read-out, per tick."""

    @property
    def prior_ticks(self) -> float:
        """How many ticks the teacher-forced data count for."""

    @property
    def tries(self) -> int:
        """Read-outs for each network."""

    @property
    def seed(self) -> int:
        """Of the noise."""


def prior(how: Tries, networks: int) -> np.ndarray:
    """Ticks that the teacher-forced data of each network count for in FORCE, (networks,): more in every other try."""
    return how.prior_ticks * np.where(np.arange(networks) % how.tries % 2, NEARER, 1)


class Trained(NamedTuple):
    """What training gives.

    Attributes
    ----------
    weights : Weights
        with the trained read-out
    lead : (S, K, N + 1) ndarray
        read-out of the target's slope, see :class:`Taught`
    ridge : (S, K, N + 1) ndarray
        read-out of the teacher-forced ridge regression, from which FORCE went on
    """

    weights: Weights
    lead: np.ndarray
    ridge: np.ndarray


def train(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    how: Training,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
) -> Weights:
    """Train S networks to generate a target each: the weights of :func:`learn`, with its arguments."""
    return learn(node, weights, f, how, progress, clock=clock).weights


def learn(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    how: Training,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
) -> Trained:
    """Train S networks to generate a target each.

    Parameters
    ----------
    node : Node
        as a network takes it
    weights : Weights
    f : (period_ticks,), (period_ticks, K) or (period_ticks, S, K) ndarray
        one period of the target, of each network if they differ
    how : Training
    progress : callable, optional
        called with the number of ticks just done
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of the input s

    Returns
    -------
    trained : Trained
    """
    f, clock = per_network(f, weights), clock_ticks(clock, weights, len(f), 1)
    if how.method == "ridge":
        once = how.model_copy(update={"tries": 1})
        taught = teacher_forced_ridge(node, weights, f, once, progress, clock=clock)
        return Trained(taught.weights, taught.lead, taught.weights.w_out)
    tries, f = weights.repeat(how.tries), np.repeat(f, how.tries, axis=1)
    clock = None if clock is None else np.repeat(clock, how.tries, axis=1)
    taught = teacher_forced_ridge(node, tries, f, how, progress, clock=clock)
    precision = taught.covariance * prior(how, tries.networks)[:, None, None]
    tries = force(node, taught.weights, f, how.force_periods, precision, taught.state, progress, clock=clock)
    rounds = how.trim_rounds if clock is None else 1
    tries, error = trim_phase(node, tries, f, taught.lead, rounds, how.trim_periods, progress, clock=clock)
    best = np.arange(weights.networks) * how.tries + np.where(np.isnan(error), np.inf, error).reshape(
        -1, how.tries
    ).argmin(axis=1)
    return Trained(weights.with_readout(tries.w_out[best]), taught.lead[best], taught.weights.w_out[best])


class Taught(NamedTuple):
    """What teacher forcing gives.

    Attributes
    ----------
    state : LoopState
        at the end, with the loop about to be closed
    weights : Weights
        with the read-out
    covariance : (S, N + 1, N + 1) ndarray
        mean of x x^T + ridge, x = [r, 1]: what is known of the states, noise included
    lead : (S, K, N + 1) ndarray
        read-out of the target's slope (per tick): adding a share e of it to the read-out
        makes the output run ahead by e ticks
    """

    state: LoopState
    weights: Weights
    covariance: np.ndarray
    lead: np.ndarray


def teacher_forced_ridge(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    how: Training,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
) -> Taught:
    """Ridge regression of the target on signals recorded while the noisy target feeds back.

    Parameters are those of :func:`learn`, with ``f`` of shape (period_ticks, S, K). Network k
    feels noise number k modulo ``how.tries``.

    Returns
    -------
    taught : Taught

    Raises
    ------
    DivergedError
        naming tick and node, if no network stays within the finite numbers
    """
    target = np.tile(f, (how.teacher_periods, 1, 1))
    slope = np.tile((np.roll(f, -1, axis=0) - np.roll(f, 1, axis=0)) / 2, (how.teacher_periods, 1, 1))
    s = clock_ticks(clock, weights, len(f), how.teacher_periods)
    return taught_on(node, weights, target, s, how, len(f) * (how.teacher_periods // 10), progress, slope=slope)


def taught_on(
    node: Node,
    weights: Weights,
    target: np.ndarray,
    s: np.ndarray | None,
    how: Tries,
    washout: int,
    progress: Progress = None,
    *,
    slope: np.ndarray | None = None,
) -> Taught:
    """:func:`teacher_forced_ridge` on targets given tick by tick, whatever their periods.

    Parameters
    ----------
    node, weights, progress
        as in :func:`learn`
    target : (n_ticks, S, K) ndarray
    s : (n_ticks, S) ndarray or None
        input
    how : Tries
    washout : int
        first ticks, which do not count
    slope : (n_ticks, S, K) ndarray, optional
        of the target (per tick); without it there is no lead

    Returns
    -------
    taught : Taught
    """
    outputs = weights.outputs
    # The same noises for every network: what it learns must not depend on its neighbours in the batch.
    noise = how.noise * stream(how.seed, "noise").standard_normal((len(target), how.tries, outputs))
    noise = np.tile(noise, (1, -(-target.shape[1] // how.tries), 1))[:, : target.shape[1]]
    hold = np.arange(len(target)) < len(target) - 1
    state, record = simulate(node, weights, target=target + noise, hold=hold, s=s, record="r", progress=progress)
    keep, every = slice(washout, None), target if slope is None else np.concatenate([target, slope], axis=2)
    fits, covariance = [], []
    lost = ~np.isfinite(record.r).all(axis=(0, 2))
    if lost.all():
        raise _diverged(record.r)
    for network in range(weights.networks):
        # One of several that left the finite numbers learns nothing, and is never the best.
        r = np.zeros_like(record.r[keep, network]) if lost[network] else record.r[keep, network]
        fit = Ridge(alpha=how.ridge * len(r)).fit(r, every[keep, network])
        fits.append(np.column_stack([np.atleast_2d(fit.coef_), np.atleast_1d(fit.intercept_)]))
        x = np.column_stack([r, np.ones(len(r))])
        covariance.append(x.T @ x / len(x) + how.ridge * np.eye(x.shape[1]))
    both = np.stack(fits)
    weights = weights.with_readout(both[:, :outputs])
    last = readout(weights.w_out, record.r[-1])
    return Taught(state._replace(z=last), weights, np.stack(covariance), both[:, outputs:])


def _diverged(r: np.ndarray) -> DivergedError:
    """What is to be said where every network (ticks, networks, nodes) left the finite numbers."""
    tick, network, node = first_not_finite(r) or (0, 0, 0)
    return DivergedError(
        f"training: node {node} of network {network} is not finite from tick {tick} on, while the target feeds back; "
        "the model is wrong where this network goes: fit with a smaller --reach, or lower --gain",
        tick,
        network,
    )


class Forced(NamedTuple):
    """What read-outs do while the target itself feeds back.

    Attributes
    ----------
    nrmse : (S,) ndarray
        what the states cannot represent
    restless : (S,) ndarray
        rms difference of the signals between the last two periods, in units of the spread: a
        network that sings does not repeat itself, whatever feeds back
    """

    nrmse: np.ndarray
    restless: np.ndarray


def taught_error(node: Node, weights: Weights, f: np.ndarray, *, clock: np.ndarray | None = None) -> Forced:
    """Judge read-outs while the target itself feeds back: what the states can represent.

    The feedback has no noise, so these are not the states that a read-out was fitted to, and the
    output feeds nothing, so what is left is what the nodes lack.

    Parameters
    ----------
    node, weights, f, clock
        as in :func:`learn`; the read-outs are those of the weights, such as :attr:`Trained.ridge`

    Returns
    -------
    forced : Forced
    """
    f = per_network(f, weights)
    target, s = np.tile(f, (_SETTLED + 2, 1, 1)), clock_ticks(clock, weights, len(f), _SETTLED + 2)
    _, record = simulate(node, weights, target=target, hold=np.ones(len(target), bool), s=s, record="r")
    before, last = record.r[-2 * len(f) : -len(f)], record.r[-len(f) :]
    restless = np.sqrt(((last - before) ** 2).mean(axis=(0, 2)))
    return Forced(free_run_error(record.z[_SETTLED * len(f) :], f), restless)


def force(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    periods: int,
    precision: np.ndarray | None = None,
    state: LoopState | None = None,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
) -> Weights:
    r"""Recursive least squares while the output feeds back (Sussillo and Abbott, Neuron 63, 544 (2009)).

    In every tick, with :math:`x = [r, 1]` and the error e of each output before the update,
    :math:`k = Px,\ c = 1/(1 + x\cdot k),\ P \leftarrow P - c\,kk^T,\ w \leftarrow w - c\,e\,k`.

    Parameters
    ----------
    node, weights
        as in :func:`train`; training goes on from the read-out that the weights have
    f : (period_ticks, S, K) ndarray
    periods : int
    precision : (S, N + 1, N + 1) ndarray, optional
        inverse of P at the start; the unit matrix if not given
    state : LoopState, optional
        where to go on from; equilibrium if not given
    progress : callable, optional
        called with the number of ticks just done
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of the input s

    Returns
    -------
    weights : Weights
        with the trained read-out
    """
    target, s = np.tile(f, (periods, 1, 1)), clock_ticks(clock, weights, len(f), periods)
    return force_on(node, weights, target, s, precision, state, in_pieces(progress, len(f)))[1]


def in_pieces(progress: Progress, of: int) -> Progress:
    """Progress that is told in pieces of so many ticks, however many are done at a time."""
    if progress is None:
        return None
    untold = 0

    def tell(ticks: int) -> None:
        nonlocal untold
        untold += ticks
        for _ in range(untold // of):
            progress(of)
        untold %= of

    return tell


def force_on(
    node: Node,
    weights: Weights,
    target: np.ndarray,
    s: np.ndarray | None,
    precision: Any = None,
    state: LoopState | None = None,
    progress: Progress = None,
    *,
    chunk: int | None = None,
) -> tuple[LoopState, Weights]:
    """:func:`force` on targets given tick by tick, whatever their periods.

    Parameters
    ----------
    node, weights, precision, state, progress
        as in :func:`force`
    target : (n_ticks, S, K) ndarray
    s : (n_ticks, S) ndarray or None
        input
    chunk : int, optional
        ticks between two reports

    Returns
    -------
    state : LoopState
        at the end
    weights : Weights
        with the trained read-out
    """
    S, N = weights.networks, weights.nodes
    P = jnp.broadcast_to(jnp.eye(N + 1), (S, N + 1, N + 1)) if precision is None else jnp.linalg.inv(precision)
    state = start(node, weights) if state is None else state
    (state, w_out, _), _ = scan(
        force_tick,
        (node, weights.without_devices()),
        (state, jnp.asarray(weights.w_out), P),
        (target, s),
        traceable=node.traceable,
        chunk=chunk,
        progress=progress,
        collect=lambda nothing: None,
    )
    return state, weights.with_readout(np.asarray(w_out))


def force_tick(fixed: tuple[Node, Weights], carry: tuple, row: tuple[Any, Any]) -> tuple[tuple, None]:
    """One tick of :func:`force_on`: state, read-outs and P are carried, a row is the targets and the inputs.

    The outputs of the new read-outs need no product of their own: they miss the target by c e.
    """
    node, weights = fixed
    state, w, P = carry
    target, s = row
    nodes, r, _ = advance(node, weights, state, jnp.zeros(len(w)) if s is None else s)
    x = jnp.concatenate([r, jnp.ones((len(w), 1))], axis=1)
    k = jnp.einsum("sij,sj->si", P, x)
    both = jnp.einsum("skn,sn->sk", jnp.concatenate([k[:, None], w], axis=1), x)
    c, error = 1 / (1 + both[:, :1]), both[:, 1:] - target
    P = P - (c * k)[:, :, None] * k[:, None, :]
    w = w - (c * error)[:, :, None] * k[:, None, :]
    return (LoopState(nodes, r, target + c * error), w, P), None


def trim_phase(
    node: Node,
    weights: Weights,
    f: np.ndarray,
    lead: np.ndarray,
    rounds: int,
    periods: int,
    progress: Progress = None,
    *,
    clock: np.ndarray | None = None,
) -> tuple[Weights, np.ndarray]:
    """Take the remaining drift out of the free run's phase.

    The rhythm of a free-running network is neutral: whatever error FORCE leaves adds up,
    period after period. One number per network mends it, the share of the slope's read-out
    that is added to w; it is found by secant steps on the drift measured in free runs.

    Parameters
    ----------
    node, weights
        as in :func:`train`
    f : (period_ticks, S, K) ndarray
    lead : (S, K, N + 1) ndarray
        from :class:`Taught`
    rounds, periods : int
        number of free runs, and periods in each; a single one leaves the read-out as it is and
        tells its error
    progress : callable, optional
        called with the number of ticks just done
    clock : (period_ticks,) or (period_ticks, S) ndarray, optional
        one period of the input s

    Returns
    -------
    weights : Weights
        of each network the read-out with the smallest error in a free run
    error : (S,) ndarray
        that error (NRMSE)
    """
    w, share = weights.w_out, np.zeros(weights.networks)
    best_error, best_share = np.full(len(share), np.inf), share.copy()
    before: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(rounds):
        trial = weights.with_readout(w + share[:, None, None] * lead)
        result = generate(node, trial, f, periods, WASHOUT, progress, clock=clock, seed=TRIMS)
        settled = periods // 4 * len(f)
        drift, error = phase_slope(result.z[settled:], f), result.nrmse
        better = error < best_error
        best_error, best_share = np.where(better, error, best_error), np.where(better, share, best_share)
        step = -np.sign(drift) * 0.02 if before is None else _secant(share, drift, *before)
        before = (share, drift)
        share = np.clip(share + step, -_LONGEST_LEAD, _LONGEST_LEAD)
    return weights.with_readout(w + best_share[:, None, None] * lead), best_error


def _secant(x: np.ndarray, y: np.ndarray, x_before: np.ndarray, y_before: np.ndarray) -> np.ndarray:
    """Step towards the zero of y; none where the two points say nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        step = -y * (x - x_before) / (y - y_before)
    return np.clip(np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0), -0.3, 0.3)


def train_classifier(features: np.ndarray, classes: np.ndarray, n_classes: int, ridge: float) -> np.ndarray:
    """One-against-the-rest ridge classifier.

    Parameters
    ----------
    features : (n_trials, N) ndarray
        node signals averaged over the last periods, and their squares, if asked for
    classes : (n_trials,) int ndarray
    n_classes : int
        at least 3
    ridge : float

    Returns
    -------
    w_out : (n_classes, N + 1) ndarray
        the largest channel of w [features, 1] names the class

    Raises
    ------
    DivergedError
        for features that are not finite
    """
    place = first_not_finite(np.asarray(features))
    if place is not None:
        raise DivergedError(
            f"training: feature {place[1]} of trial {place[0]} is not finite; the model is wrong where this network "
            "goes: fit with a smaller --reach, or lower --gain",
            0,
            place[0],
        )
    fit = RidgeClassifier(alpha=ridge).fit(features, classes)
    if len(fit.classes_) != n_classes:
        raise ValueError(f"classes: expected every one of {n_classes} in the training trials, got {len(fit.classes_)}")
    return np.column_stack([fit.coef_, fit.intercept_])
