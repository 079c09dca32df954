"""Reduced models as nodes: the law of one tick that an estimator has fitted, for a batch of devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import DRIVE, which_devices
from spinloom.device_models.noise import Stream, stream
from spinloom.reduced_models.columns import ColumnLaw


class Law(Protocol):
    """What an estimator's ``law()`` gives: one tick of a device, as a pytree of fitted arrays.

    The state may have any dimension d: ``<m>`` alone, or with whatever memory a model keeps. A law of a warm device
    also has ``scatter(x, inputs, normals)``, which is ``advance`` with the noise of the tick.

    Attributes
    ----------
    normals : int
        how many standard normal numbers a tick takes; 0 for a device at 0 K
    """

    normals: int

    def start(self, m: Any) -> Any:
        """State (n, d) of devices that stand at ``<m>``, (n, 3)."""
        ...

    def advance(self, x: Any, inputs: Any) -> Any:
        """State (n, d) after one tick of held inputs, (n, channels)."""
        ...

    def moment(self, x: Any) -> Any:
        """``<m>`` (n, 3) of states (n, d)."""
        ...


class Reduced(NamedTuple):
    """State of a batch of reduced devices.

    Attributes
    ----------
    x : (n, d) array
        of the law; (d, n) of a :class:`spinloom.reduced_models.columns.ColumnLaw`
    which : (n,) int array
        device of the node that each is
    noise : Stream, optional
        random numbers of each; without them a device does what it does on average
    """

    x: Any
    which: Any
    noise: Stream | None = None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["laws", "m_start", "axes", "offsets"],
    meta_fields=["tick", "channels"],
)
@dataclass(frozen=True)
class ReducedNode:
    """One reduced device, or several that share a form and differ in their numbers.

    Attributes
    ----------
    laws : Law
        every array has a first axis of devices
    m_start : (devices, 3) array
        ``<m>`` at equilibrium
    axes : (devices, 3) array
        read-out axis e_read
    tick : float
        duration of one tick (s)
    channels : tuple of str
        what the columns of the inputs mean
    offsets : (devices,) array, optional
        of the read-out, in units of m . e_read; none if not given
    """

    laws: Any
    m_start: Any
    axes: Any
    tick: float
    channels: tuple[str, ...] = (DRIVE,)
    offsets: Any = None

    traceable = True

    @classmethod
    def of(cls, law: Law, m_start: Any, axis: Any, tick: float, offset: float = 0.0) -> ReducedNode:
        """A node of one device."""
        laws = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], law)
        start, axes = jnp.asarray(m_start)[None], jnp.asarray(axis)[None]
        return cls(laws, start, axes, tick, offsets=jnp.asarray([offset], dtype=float))

    @classmethod
    def of_laws(cls, laws: Sequence[Law], m_start: Any, axes: Any, tick: float, offsets: Any = None) -> ReducedNode:
        """A node of one device for each law, all laws of one form; ``m_start`` and ``axes`` of each, or of all."""
        stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *laws)
        m_start, axes = (jnp.broadcast_to(jnp.asarray(each), (len(laws), 3)) for each in (m_start, axes))
        return cls(stacked, m_start, axes, tick, offsets=offsets)

    @classmethod
    def stack(cls, nodes: Sequence[ReducedNode]) -> ReducedNode:
        """Several nodes as one that knows all their devices, in this order.

        Raises
        ------
        SpinloomError
            if they differ in more than numbers: in kind, tick, degree or basis
        """
        if len({jax.tree.structure(node) for node in nodes}) != 1:
            raise SpinloomError(
                "devices: expected reduced models of one kind, tick and degree (of flow maps also with the same "
                "largest component of <m>), got several; fit all of them alike"
            )
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *nodes)

    @property
    def devices(self) -> int:
        """How many different devices the node knows."""
        return len(self.m_start)

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> Reduced:
        """Put ``n`` devices in equilibrium; ``seed`` is of the noise, where they are warm. Nothing takes long."""
        which = jnp.asarray(which_devices(n, devices, self.devices))
        quiet = self.at(self.m_start[which], which)
        return quiet._replace(noise=stream(seed, n)) if self.laws.normals else quiet

    def at(self, m: Any, which: Any) -> Reduced:
        """Devices that stand at ``<m>``, (n, 3), without noise."""
        return Reduced(self._each("start", which, self._turned(jnp.asarray(m))), which)

    def step(self, state: Reduced, inputs: Any) -> Reduced:
        """Advance by one tick."""
        if state.noise is None:
            return state._replace(x=self._each("advance", state.which, state.x, self._turned(jnp.asarray(inputs))))
        noise, normals = state.noise.draw(self.laws.normals)
        x = self._each("scatter", state.which, state.x, *map(self._turned, (jnp.asarray(inputs), normals)))
        return state._replace(x=x, noise=noise)

    def observe(self, state: Reduced) -> Any:
        """The signal m . e_read and what the amplifier adds, (n,)."""
        m = self.moment(state).T
        x, y, z = (self._of(state.which, axis) for axis in jnp.asarray(self.axes).T)
        along = x * m[0] + y * m[1] + z * m[2]
        return along if self.offsets is None else along + self._of(state.which, self.offsets)

    def moment(self, state: Reduced) -> Any:
        """``<m>``, (n, 3)."""
        return self._turned(self._each("moment", state.which, state.x))

    def _turned(self, rows: Any) -> Any:
        """A row for each device as the law has it, or back again."""
        return rows.T if isinstance(self.laws, ColumnLaw) else rows

    def _of(self, which: Any, values: Any) -> Any:
        """Those of each member of a batch, from values of each device of the node."""
        return values[0] if self.devices == 1 else values[which]

    def _each(self, do: str, which: Any, *parts: Any) -> Any:
        """Let the law of each device do something with its part: one law for all where there is but one."""
        own = jax.tree.map(partial(self._of, which), self.laws)
        if isinstance(own, ColumnLaw):
            if self.devices > 1:
                own = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), own)
            return getattr(own, f"{do}_columns")(*parts)
        if self.devices == 1:
            return getattr(own, do)(*parts)
        return jax.vmap(lambda law, *rows: getattr(law, do)(*(row[None] for row in rows))[0])(own, *parts)

    def _rest(self) -> Reduced:
        """The first device in equilibrium, without noise."""
        return self.at(self.m_start[:1], jnp.zeros(1, int))

    def response(self, frequencies: Any) -> np.ndarray:
        r"""How the signal of the first device at equilibrium answers to a small drive.

        With the tick linearised, :math:`x \leftarrow Ax + bu`, signal :math:`c\cdot x` at its
        end, :math:`H(f) = c\,(\zeta - A)^{-1} b\,\zeta` and :math:`\zeta = e^{2\pi i f\,\mathrm{tick}}`.

        Parameters
        ----------
        frequencies : (n,) array_like
            (Hz), of drives held for each tick, so meaningful below half the rate of the ticks

        Returns
        -------
        response : (n,) complex ndarray
            change of m . e_read for a change of J / J_max; NaN if the model has no tick to linearise

        Examples
        --------
        >>> from spinloom.reduced_models.macrospin import MacrospinModel
        >>> m, u = np.eye(3), np.zeros((3, 1))
        >>> law = MacrospinModel(H=(0, 8e3, 0), alpha=0.1).fit(np.hstack([m, u]), m).law()
        >>> node = ReducedNode.of(law, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), 7.5e-12)
        >>> slow, fast = np.abs(node.response([1e7, 2e10]))
        >>> bool(slow > 2 * fast)
        True
        """
        rest = self._rest()
        A, (b, c) = np.asarray(_linear_tick(self, rest)), map(np.asarray, _linear_answer(self, rest))
        turns = np.exp(2j * np.pi * np.atleast_1d(np.asarray(frequencies, dtype=float)) * self.tick)
        if not all(np.isfinite(part).all() for part in (A, b, c)):
            return np.full(len(turns), np.nan, dtype=complex)
        solved = np.linalg.solve(
            turns[:, None, None] * np.eye(len(A)) - A, np.broadcast_to(b[:, None], (len(turns), len(b), 1))
        )
        return turns * (solved[..., 0] @ c)

    def ringing(self) -> tuple[float, float] | tuple[None, None]:
        r"""Natural frequency (Hz) and quality of the first device at equilibrium.

        An eigenvalue of the linearised tick is :math:`\lambda = e^{(-\kappa + i\omega)\,\mathrm{tick}}`;
        of the pair that rings longest, :math:`\omega_0 = \sqrt{\omega^2 + \kappa^2}` and
        :math:`Q = \omega_0 / 2\kappa`.

        Returns
        -------
        frequency, quality : float
            None both if the device does not ring, or does not come to rest
        """
        linear = np.asarray(_linear_tick(self, self._rest()))
        if not np.isfinite(linear).all():
            return None, None
        eigenvalues = np.linalg.eigvals(linear)
        modulus = np.abs(eigenvalues)
        ringing = eigenvalues[(eigenvalues.imag > 1e-9) & (modulus < 1)]
        if not len(ringing) or modulus.max() >= 1 + 1e-6:
            return None, None
        slowest = ringing[np.abs(ringing).argmax()]
        decay, omega = -np.log(np.abs(slowest)) / self.tick, np.angle(slowest) / self.tick
        natural = float(np.hypot(omega, decay))
        return natural / (2 * np.pi), natural / (2 * float(decay))


@jax.jit
def _linear_answer(node: ReducedNode, state: Reduced) -> tuple[Any, Any]:
    """How one device's state after a tick depends on the drive of the tick, (d,), and its signal on the state, (d,)."""
    rest, unravel = ravel_pytree(state.x)

    def tick(drive: Any) -> Any:
        inputs = jnp.zeros((1, len(node.channels))).at[0, 0].set(drive)
        return ravel_pytree(node.step(state, inputs).x)[0]

    def signal(x: Any) -> Any:
        return node.observe(state._replace(x=unravel(x)))[0]

    return jax.jacfwd(tick)(0.0), jax.grad(signal)(rest)


@jax.jit
def _linear_tick(node: ReducedNode, state: Reduced) -> Any:
    """How the state after an undriven tick depends on the state before it, (d, d) for one device."""
    rest, unravel = ravel_pytree(state.x)

    def tick(x: Any) -> Any:
        after = node.step(state._replace(x=unravel(x)), jnp.zeros((len(state.which), len(node.channels))))
        return ravel_pytree(after.x)[0]

    return jax.jacfwd(tick)(rest)
