"""The law of one tick of each kind of reduced model, written as an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models.basis import SPHERE
from spinloom.reduced_models.columns import ColumnLaw
from spinloom.reduced_models.flow_map import FlowMapLaw
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.memory_map import MemoryLaw
from spinloom.reduced_models.node import Reduced, ReducedNode
from spinloom.reduced_models.thermal_map import ThermalLaw
from spinloom.workflows.export.graph import Graph, Value, join

_TINY = 1e-300
LENGTH = SPHERE + 1
"""Where the latents of a memory map begin."""


def rows(node: ReducedNode, state: Reduced) -> np.ndarray:
    """States as graphs have them, (n, d): ``<m>``, and beside it what a law remembers."""
    if isinstance(node.laws, FlowMapLaw):
        return np.asarray(node.moment(state))
    x = np.asarray(state.x)
    return x.T if isinstance(node.laws, ColumnLaw) else x


class Devices(NamedTuple):
    """The numbers of a node's devices, as a graph takes them.

    Attributes
    ----------
    laws : Law
        of one device for all; or every array with a first axis of nodes
    axes, offsets : ndarray
        of the read-out, (3,) and () or (N, 3) and (N,)
    shared : bool
        whether all nodes are the same device
    """

    laws: Any
    axes: np.ndarray
    offsets: np.ndarray
    shared: bool

    @classmethod
    def of(cls, node: ReducedNode, which: np.ndarray | None) -> Devices:
        """Those of some nodes of which ``which`` says the device of each; all the first if not given."""
        import jax

        shared = which is None or len(set(which.tolist())) == 1
        chosen: Any = (0 if which is None else int(which[0])) if shared else which
        offsets = np.zeros(node.devices) if node.offsets is None else np.asarray(node.offsets)
        laws = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], node.laws)
        return cls(laws, np.asarray(node.axes)[chosen], offsets[chosen], shared)

    def signal(self, x: Value) -> Value:
        """The signal m . e_read and what the amplifier adds, (..., N)."""
        return (x.slice(0, SPHERE) * self.axes).sum().squeeze(-1) + self.offsets

    def advance(self, x: Value, drive: Value, normals: Value | None = None) -> Value:
        """The state after a tick: (..., N, d) and drives (..., N), with the random numbers of the tick if it is warm.

        Raises
        ------
        SpinloomError
            for a law that has no form in ONNX here
        """
        law = self.laws
        if type(law) not in _LAWS:
            known = ", ".join(sorted(one.__name__ for one in _LAWS))
            raise SpinloomError(f"export: expected one of {known}, got {type(law).__name__}")
        return _LAWS[type(law)](self, law, x, drive.unsqueeze(-1), normals)

    def polynomial(self, x: Value, law: Any) -> Value:
        """The regression of a law: (..., N, n_features) -> (..., N, n_outputs)."""
        features = monomials(x, law.powers)
        if self.shared:
            return features @ law.coef.T + law.intercept
        return (features.unsqueeze(-2) @ law.coef.swapaxes(1, 2)).squeeze(-2) + law.intercept

    def scalar(self, value: np.ndarray) -> np.ndarray:
        """A number of each device, against (..., N, d)."""
        return np.asarray(value) if self.shared else np.asarray(value)[:, None]


def monomials(x: Value, powers: Sequence[Sequence[int]]) -> Value:
    """Evaluate monomials, those of each degree from those of the degree below.

    Parameters
    ----------
    x : (..., n_features) Value
    powers : (n_monomials, n_features) sequence of int

    Returns
    -------
    values : (..., n_monomials) Value
    """
    wanted = [tuple(int(power) for power in row) for row in powers]
    found: set[tuple[int, ...]] = set()
    for row in wanted:
        while sum(row) and row not in found:
            found.add(row)
            row = _below(row)[0]
    levels: list[list[tuple[int, ...]]] = [[]]
    parts: list[Value] = []
    for degree in range(1, max(map(sum, found)) + 1):
        rows = sorted(row for row in found if sum(row) == degree)
        columns = x.take([_below(row)[1] for row in rows])
        if degree > 1:
            columns = parts[-1].take([levels[-1].index(_below(row)[0]) for row in rows]) * columns
        levels.append(rows)
        parts.append(columns)
    order = {row: at for at, row in enumerate(row for rows in levels for row in rows)}
    return join(*parts).take([order[row] for row in wanted])


def _below(row: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """A monomial without its last factor, and which column that is."""
    last = max(at for at, power in enumerate(row) if power)
    return (*row[:last], row[last] - 1, *row[last + 1 :]), last


def _length(m: Value) -> Value:
    return ((m * m).sum() + _TINY).sqrt()


def _unit(m: Value) -> Value:
    return m / _length(m)


def _cross(a: Any, b: Value) -> Value:
    """Cross product a x b of values or constants (..., 3)."""
    one, two = [1, 2, 0], [2, 0, 1]
    first, second = (a.take(one), a.take(two)) if isinstance(a, Value) else (a[..., one], a[..., two])
    return b.take(two) * first - b.take(one) * second


def _flow_map(of: Devices, law: FlowMapLaw, x: Value, drive: Value, normals: Value | None) -> Value:
    direction = _unit(x)
    out = of.polynomial(join(direction, drive), law)
    return _unit(direction + out.slice(0, SPHERE)) * (out.slice(SPHERE) + of.scalar(law.length))


def _memory_map(of: Devices, law: MemoryLaw, x: Value, drive: Value, normals: Value | None) -> Value:
    direction = _unit(x.slice(0, SPHERE))
    out = of.polynomial(join(direction, drive, x.slice(SPHERE)), law)
    m = _unit(direction + out.slice(0, SPHERE)) * (out.slice(SPHERE, LENGTH) + of.scalar(law.length))
    return join(m, out.slice(LENGTH))


def _macrospin(of: Devices, law: MacrospinLaw, x: Value, drive: Value, normals: Value | None) -> Value:
    alpha, a, b = (of.scalar(law.theta[..., k]) for k in (0, 3, 4))
    stiffness = np.stack([law.theta[..., 1], 0 * law.theta[..., 1], law.theta[..., 2]], axis=-1)
    bias, p, dt, gamma = law.theta[..., 5:], law.polariser, of.scalar(law.dt), of.scalar(law.gamma0)
    damping_like, field_like = drive * -a, drive * (b * p)

    def rhs(m: Value) -> Value:
        h = bias - m * stiffness + damping_like * _cross(p, m) + field_like
        turn = _cross(h, m)
        return (turn + _cross(m, turn) * alpha) * (gamma / (1 + alpha**2))

    def step(_: Graph, __: Value, carry: list[Value]) -> tuple[list[Value], list[Value]]:
        (m,) = carry
        k1 = rhs(m)
        k2 = rhs(m + k1 * (dt / 2))
        k3 = rhs(m + k2 * (dt / 2))
        return [_unit(m + (k1 + 2.0 * k2 + 2.0 * k3 + rhs(m + k3 * dt)) * (dt / 6))], []

    (turned,), _ = x.graph.loop(law.steps, [_unit(x)], step)
    if of.shared:
        return turned @ law.readout[:SPHERE] + law.readout[SPHERE]
    return (turned.unsqueeze(-2) @ law.readout[:, :SPHERE]).squeeze(-2) + law.readout[:, SPHERE]


def _thermal_map(of: Devices, law: ThermalLaw, x: Value, drive: Value, normals: Value | None) -> Value:
    if normals is None:
        raise SpinloomError("normals: a warm device takes random numbers in every tick, got none")
    before = _unit(x.slice(0, SPHERE))
    after = _flow_map(of, law.average, x.slice(0, SPHERE), drive, None)
    length = _length(after)
    d = after / length
    noise = of.polynomial(join(before, drive), law) if len(law.powers) else law.intercept + 0.0 * drive
    n1 = noise.column(0).exp() * normals.column(0)
    n2 = noise.column(1) * n1 + noise.column(2).exp() * normals.column(1)
    first = _unit(_cross(np.eye(SPHERE)[law.axis], d))
    moved = d + n1 * first + n2 * _cross(d, first)
    rho, sigma = (of.scalar(law.length[..., k]) for k in range(2))
    slow = x.column(SPHERE) * rho + normals.column(2) * sigma
    return join(_unit(moved) * (length + slow), slow)


_LAWS: dict[type, Callable[..., Value]] = {
    FlowMapLaw: _flow_map,
    MemoryLaw: _memory_map,
    MacrospinLaw: _macrospin,
    ThermalLaw: _thermal_map,
}
