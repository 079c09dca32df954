"""Nodes without physics, in the junctions' place: what a network does with them is what needs no junction.

All are held for the same tick, driven within the same limits and seen in the same units as the device that they
stand beside, so a network cannot know the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from spinloom.device_models.drives import KINDS, calibration_drive
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import DRIVE, Node, which_devices
from spinloom.device_models.scale import Scale, Scaled
from spinloom.device_models.scan import drive
from spinloom.reduced_models.model import CalibratedModel

LEAK = 0.3
"""Share of the way to its drive that a leaky node goes in a tick, unless said otherwise."""
STEEP = 3.0
"""Argument of tanh at the limits of the drive: it is 0.995 there, so the network's clip cuts off next to nothing."""
_TRAJECTORIES, _TICKS = 40, 800
"""Drives that the units of a node without physics are taken from: as many as a calibration has of full amplitude."""


class Kept(NamedTuple):
    """State of a batch of nodes of one number each.

    Attributes
    ----------
    x : (n,) array
        their signals
    which : (n,) int array
        device of the node that each is
    """

    x: Any
    which: Any


@dataclass(frozen=True)
class _OneNumber:
    """A node whose state is its signal: what the kinds share.

    Attributes
    ----------
    leak : (devices,) array
        share of the old signal that is lost in a tick, within (0, 1]
    tick : float
        duration of one tick (s)
    channels : tuple of str
        what the columns of the inputs mean; only the drive is used
    kind : str
        by which JAX tells the classes apart: to jaxlib 0.10, trees of dataclasses with as many fields are equal
    """

    leak: Any
    tick: float
    channels: tuple[str, ...] = (DRIVE,)
    kind: str = ""

    traceable = True

    @classmethod
    def of(cls, leak: Any, tick: float, channels: tuple[str, ...] = (DRIVE,)) -> Self:
        """A node of one device for each leak, checked.

        Raises
        ------
        SpinloomError
            for a leak that is not within (0, 1], or a tick that is not positive
        """
        leaks = np.atleast_1d(np.asarray(leak, dtype=float))
        if leaks.ndim != 1 or not leaks.size or not ((leaks > 0) & (leaks <= 1)).all():
            raise SpinloomError(f"leak: expected shares above 0 and at most 1, got {leak}")
        if not tick > 0:
            raise SpinloomError(f"tick: expected a duration above 0 (s), got {tick:g}")
        return cls(jnp.asarray(leaks), float(tick), channels)

    @property
    def devices(self) -> int:
        """How many different devices the node knows."""
        return len(self.leak)

    def start(self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None) -> Kept:
        """Put ``n`` devices at a signal of 0, their equilibrium; there is no noise, and nothing takes long."""
        return Kept(jnp.zeros(n), jnp.asarray(which_devices(n, devices, self.devices)))

    def step(self, state: Kept, inputs: Any) -> Kept:
        """Advance by one tick: x <- (1 - leak) x + leak answer(u)."""
        leak = self.leak[0] if self.devices == 1 else self.leak[state.which]
        answer = self.answer(jnp.asarray(inputs)[:, 0])
        return state._replace(x=(1 - leak) * state.x + leak * answer)

    def answer(self, u: Any) -> Any:
        """What the signal goes to under a held drive, (n,)."""
        raise NotImplementedError

    def observe(self, state: Kept) -> Any:
        """The signal of each device, (n,)."""
        return state.x

    def moment(self, state: Kept) -> Any:
        """A unit vector whose x is the signal, (n, 3), for those who look inside; there is no moment."""
        x = jnp.clip(state.x, -1, 1)
        return jnp.stack([x, jnp.sqrt(1 - x**2), jnp.zeros_like(x)], axis=-1)


_pytree = partial(jax.tree_util.register_dataclass, data_fields=["leak"], meta_fields=["tick", "channels", "kind"])


@_pytree
@dataclass(frozen=True)
class Leaky(_OneNumber):
    r"""A leaky integrator of the clipped drive: memory, and no nonlinearity but the clip.

    .. math:: x \leftarrow (1 - a)\,x + a\,\mathrm{clip}(u, \pm 1)

    Attributes are ``leak`` (devices,), ``tick`` (s) and ``channels``.

    Examples
    --------
    >>> node = Leaky.of(0.3, 7.5e-12)
    >>> state = node.step(node.start(2), jnp.array([[1.0], [-2.0]]))
    >>> node.observe(state).tolist()
    [0.3, -0.3]
    """

    kind: str = "leaky"

    def answer(self, u: Any) -> Any:
        """The clipped drive."""
        return jnp.clip(u, -1, 1)


@_pytree
@dataclass(frozen=True)
class Memoryless(Leaky):
    """The clipped drive itself: it forgets all in a tick, so that only the couplings of a network remember.

    Examples
    --------
    >>> node = Memoryless.like(7.5e-12)
    >>> state = node.step(node.start(1), jnp.array([[0.5]]))
    >>> float(node.observe(node.step(state, jnp.array([[-3.0]])))[0])
    -1.0
    """

    kind: str = "memoryless"

    @classmethod
    def like(cls, tick: float, channels: tuple[str, ...] = (DRIVE,)) -> Memoryless:
        """A node of one device."""
        return cls.of(1.0, tick, channels)


@_pytree
@dataclass(frozen=True)
class LeakyTanh(_OneNumber):
    r"""A node of the usual echo state network.

    .. math:: x \leftarrow (1 - a)\,x + a \tanh(s u)

    is the update of reservoirpy's ``Reservoir`` with ``equation="internal"``, of Jaeger et al., Neural Networks 20,
    335 (2007), doi:10.1016/j.neunet.2007.04.016. There nothing limits the argument; here the drive ends at +-1, where
    s = 3 (:data:`STEEP`) leaves a slope of 1 %.

    Attributes are ``leak`` (devices,), ``tick`` (s) and ``channels``.

    Examples
    --------
    >>> node = LeakyTanh.of(0.5, 7.5e-12)
    >>> state = node.step(node.start(1), jnp.array([[1.0]]))
    >>> round(float(node.observe(state)[0]), 3)
    0.498
    """

    kind: str = "tanh"

    def answer(self, u: Any) -> Any:
        """The hyperbolic tangent of the drive."""
        return jnp.tanh(STEEP * u)


def in_units(node: Node) -> Scaled:
    """A node without physics as a network takes it, its units fixed as those of a device are.

    Mean and spread of the signal are those over drives of full amplitude like a calibration's
    (:func:`spinloom.device_models.drives.calibration_drive`), so that a network's settings mean the same. A node of
    several devices has the units of the first.

    Examples
    --------
    >>> scaled = in_units(Memoryless.like(7.5e-12))
    >>> scaled.reach, bool(abs(scaled.mean) < 0.1), bool(0.5 < scaled.spread < 0.8)
    (1.0, True, True)
    """
    u = np.stack(
        [
            calibration_drive(KINDS[k % len(KINDS)], _TICKS, node.tick, np.random.default_rng([0, k]))
            for k in range(_TRAJECTORIES)
        ],
        axis=1,
    )
    _, m = drive(node, u)
    signal = m[..., 0]
    return Scale(mean=float(signal.mean()), spread=float(signal.std())).of(node)


def baselines(model: CalibratedModel, leak: float = LEAK) -> dict[str, Node]:
    """Nodes to stand beside those of a model, as a network takes them.

    Parameters
    ----------
    model : CalibratedModel
        its tick and number of devices are theirs
    leak : float
        of the nodes that have one

    Returns
    -------
    nodes : dict of Node
        ``memoryless``, clipped drives; ``leaky``, integrators of them; ``tanh``, of an echo state network. In place of
        ``model.scaled``, each runs in the same network. A population's devices are all alike here

    Raises
    ------
    SpinloomError
        for a leak that is not within (0, 1]

    Examples
    --------
    >>> from spinloom.reduced_models.model import load_model
    >>> nodes = baselines(load_model("data/reference/networks/model.nc"))
    >>> list(nodes), nodes["leaky"].tick
    (['memoryless', 'leaky', 'tanh'], 7.5e-12)
    """
    tick, channels, devices = model.tick, model.node.channels, model.node.devices
    alike = {
        "memoryless": Memoryless.of(1.0, tick, channels),
        "leaky": Leaky.of(leak, tick, channels),
        "tanh": LeakyTanh.of(leak, tick, channels),
    }
    nodes: dict[str, Node] = {}
    for name, node in alike.items():
        scaled = in_units(node)
        nodes[name] = replace(scaled, node=replace(node, leak=jnp.repeat(node.leak, devices)))
    return nodes
