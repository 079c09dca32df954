"""Networks of rigid layers: what a card promises at a temperature, before any micromagnetics.

A macrospin whose demagnetisation is that of the card's mesh, with the noise of the fluctuation-dissipation theorem,
foretells the errors of clocked networks of the shipped 100 nm disc at 300 K to a tenth of what its thermal map gives,
and costs nothing but the network itself. So it is what designs are compared on; full micromagnetics judges the choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from spinloom.device_models.card import DeviceCard, Geometry
from spinloom.device_models.engines.demag import demag_factors
from spinloom.device_models.scale import Scaled
from spinloom.device_models.scan import drive
from spinloom.networks.measures import free_run_error
from spinloom.networks.seeds import JUDGES
from spinloom.networks.tasks import CLASSES, clock, target
from spinloom.networks.topology import Topology, Weights, draw
from spinloom.networks.training import Training, learn, train_classifier
from spinloom.networks.trials import generate, recognise
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.node import ReducedNode
from spinloom.reduced_models.warmed import WarmedLaw, scatter_of_a_tick

TICKS = 60
"""In a period, whatever it lasts: every device has a tick of its own."""
STEPS = 6
"""Runge-Kutta steps in a tick."""
_FLATNESSES = 6
_SETTLES, _SHAKEN = 400, 400
WASHOUT, JUDGED = 3, 40
"""Periods before a free run, and in it."""
HOW = Training(method="ridge", teacher_periods=60, ridge=1e-3, noise=0.0)
"""Teacher-forced ridge regression: nothing is fed back, so the nodes' own noise is all there is."""


@dataclass(frozen=True, eq=False)
class Rigid:
    """Devices of one period, as a network takes them.

    Attributes
    ----------
    node : ReducedNode
        of all devices, warm
    mean, spread : (devices,) ndarray
        of the signal of each under drives of any strength
    stable : (devices,) bool ndarray
        whether the device stays where it rests, at its temperature
    """

    node: ReducedNode
    mean: np.ndarray
    spread: np.ndarray
    stable: np.ndarray

    def as_first(self) -> Rigid:
        """The same devices behind read-outs that are set to the first of them."""
        same = np.ones(len(self.mean))
        return replace(self, mean=self.mean[0] * same, spread=self.spread[0] * same)

    def scaled(self, which: np.ndarray) -> Scaled:
        """The nodes of a batch whose members are the devices ``which``, (n,)."""
        return Scaled(self.node, jnp.asarray(self.mean[which]), jnp.asarray(self.spread[which]), 1.0)


def rigid(cards: list[DeviceCard], periods: list[float]) -> Rigid:
    """Rigid layers of cards at their temperatures, each with ticks for a period of its own.

    Parameters
    ----------
    cards : list of DeviceCard
    periods : list of float
        (s)

    Returns
    -------
    found : Rigid
    """
    devices, laws = np.arange(len(cards)), []
    for card, period, factors in zip(cards, periods, factors_of(cards), strict=True):
        tick = period / TICKS
        law = MacrospinLaw.of_card(card, tick, STEPS, factors)
        laws.append(WarmedLaw(law, np.asarray(scatter_of_a_tick(card, tick))))
    node = ReducedNode.of_laws(
        laws,
        [card.start.m for card in cards],
        [card.readout.axis for card in cards],
        tick=1.0,  # every device counts in ticks of its own, so no common length of them is told
        offsets=jnp.asarray([card.readout.offset for card in cards]),
    )
    quiet = node.at(node.m_start, jnp.asarray(devices))
    state, _ = drive(node, np.zeros((_SETTLES, len(cards))), quiet)
    node = replace(node, m_start=node.moment(state))
    # The same drive for all, so that equal devices have equal units.
    u = np.tile(np.random.default_rng(0).uniform(-1, 1, (_SHAKEN // 8, 1)).repeat(8, axis=0), len(cards))
    _, m = drive(node, u, node.start(len(cards), 0, devices))
    signal = np.einsum("tnk,nk->tn", m, np.asarray(node.axes)) + np.asarray(node.offsets)
    _, still = drive(node, np.zeros((_SETTLES, len(cards))), node.start(len(cards), 1, devices))
    along = np.einsum("tnk,nk->tn", still, np.asarray(node.m_start))
    return Rigid(node, signal.mean(axis=0), np.maximum(signal.std(axis=0), 1e-6), along.min(axis=0) > 0)


def factors_of(cards: list[DeviceCard]) -> np.ndarray:
    """Demagnetisation factors of many layers, (n, 3): of one mesh, interpolated in how flat it is.

    They are a smooth function of the ratio of height to width of a cell; with :data:`_FLATNESSES` Chebyshev points
    over a population of 5 % the interpolation is right to ten digits.
    """
    found = np.empty((len(cards), 3))
    meshes: dict[Any, list[int]] = {}
    for k, card in enumerate(cards):
        g = card.geometry
        meshes.setdefault((g.shape, g.shape_cells, round(g.cell[1] / g.cell[0], 9)), []).append(k)
    for members in meshes.values():
        flat = np.log([cards[k].geometry.cell[2] / cards[k].geometry.cell[0] for k in members])
        if len(set(flat.round(9))) <= _FLATNESSES:
            found[members] = [demag_factors(cards[k].geometry) for k in members]
            continue
        middle, half = (flat.max() + flat.min()) / 2, (flat.max() - flat.min()) / 2
        points = np.cos(np.pi * (np.arange(_FLATNESSES) + 0.5) / _FLATNESSES)
        values = [demag_factors(_of_flatness(cards[members[0]].geometry, middle + half * x)) for x in points]
        series = np.polynomial.chebyshev.chebfit(points, values, _FLATNESSES - 1)
        found[members] = np.polynomial.chebyshev.chebval((flat - middle) / half, series).T
    return found


def _of_flatness(geometry: Geometry, flat: float) -> Geometry:
    """The same mesh with cells of another height, by the logarithm of its ratio to their width."""
    height = float(geometry.cell[0] * np.exp(flat))
    nx, ny, nz = geometry.shape_cells
    dx, dy, _ = geometry.cell
    return Geometry(shape=geometry.shape, size=(nx * dx, ny * dy, nz * height), cell=(dx, dy, height))


def targets(tasks: list[str]) -> np.ndarray:
    """One period of all tasks, (TICKS, n): what is fed back by none of them can be read from the same nodes."""
    return np.concatenate([target(task, TICKS) for task in tasks], axis=1)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What networks did, one row each.

    Attributes
    ----------
    nrmse : (S, tasks) ndarray
    power : (S,) ndarray
        of the whole network (W)
    """

    nrmse: np.ndarray
    power: np.ndarray


def generated(
    devices: Rigid, cards: list[DeviceCard], weights: Weights, tasks: list[str], shape: str = "sine"
) -> Outcome:
    """Train clocked networks to generate all tasks at once, and judge their free runs.

    Parameters
    ----------
    devices : Rigid
    cards : list of DeviceCard
        of the devices
    weights : Weights
        S networks with one output for each task, which say which device each node is
    tasks : list of str
    shape : str
        of the clock

    Returns
    -------
    outcome : Outcome
    """
    which = _devices(weights)
    node, f, s = devices.scaled(which), targets(tasks), clock(shape, TICKS, 0.0)
    trained = learn(node, weights, f, HOW, clock=s).weights
    run = generate(node, trained, f, JUDGED, WASHOUT, clock=s, seed=JUDGES, record="z")
    last = generate(node, trained, f, 2, WASHOUT, clock=s, seed=JUDGES, record="all").record
    each = [free_run_error(run.z[:, :, k : k + 1], run.f[:, :, k : k + 1]) for k in range(len(tasks))]
    return Outcome(np.stack(each, axis=1), power(cards, last.u, devices, last.r, weights))


def power(cards: list[DeviceCard], u: np.ndarray, devices: Rigid, r: np.ndarray, weights: Weights) -> np.ndarray:
    """Mean power of each network (W), I^2 / G of all its junctions: (n_ticks, S, N) drives and signals -> (S,)."""
    which = _devices(weights).reshape(weights.b.shape)
    area, density, product, tmr = (
        np.array(values)[which]
        for values in zip(*((c.area, c.torque.J_max, c.readout.RA, c.readout.TMR) for c in cards), strict=True)
    )
    # Conductance as in readout.conductance, of devices that differ.
    mean = area / product * (2 + tmr) / (2 * (1 + tmr))
    offset = np.array([card.readout.offset for card in cards])[which]
    signal = devices.mean[which] + devices.spread[which] * r - offset
    return ((density * area * u) ** 2 / (mean * (1 + signal * tmr / (2 + tmr)))).mean(axis=0).sum(axis=-1)


def _devices(weights: Weights) -> np.ndarray:
    """Device of each node of all networks, (S N,)."""
    return np.asarray(weights.which())


def recognised(devices: Rigid, weights: Weights, periods: int, trials: int, ridge: float = 1e-2) -> np.ndarray:
    """Accuracy of networks that tell the four waveforms apart, trained and tested on noisy trials, (S,).

    Parameters
    ----------
    devices : Rigid
    weights : Weights
        S networks of four outputs
    periods : int
        of the waveform; all but the first are averaged, means and mean squares
    trials : int
        to train on, and as many to test on
    ridge : float
        of the classifier
    """
    found = []
    for k in range(weights.networks):
        one = weights.one(k)
        node = devices.scaled(np.tile(_devices(one), trials))
        how: dict[str, Any] = {
            "period_ticks": TICKS,
            "periods": periods,
            "averaged": max(1, periods - 1),
            "power": True,
        }
        seen = recognise(node, one, trials=trials, rng=np.random.default_rng([k, 0]), seed=0, **how)
        w_out = train_classifier(seen.features[0], seen.classes[0], len(CLASSES), ridge)
        one = one.with_readout(w_out[None])
        test = recognise(node, one, trials=trials, rng=np.random.default_rng([k, 1]), seed=JUDGES, **how)
        found.append(test.accuracy[0])
    return np.array(found)


def networks(topology: Topology, seeds: list[int], outputs: int, devices: list[int]) -> Weights:
    """Networks of each seed on each device, all nodes of one alike: device by device.

    Examples
    --------
    >>> topology = Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0, clock=2.0)
    >>> networks(topology, [0, 1], 2, [4, 7]).devices
    ((4, 4, 4), (4, 4, 4), (7, 7, 7), (7, 7, 7))
    """
    one = draw(topology, seeds, outputs)
    many = Weights.stack([one] * len(devices))
    which = np.repeat(devices, len(seeds))[:, None] + np.zeros(topology.nodes, dtype=int)
    return many.with_devices(which)
