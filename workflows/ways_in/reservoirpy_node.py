"""A network of junctions as a node of reservoirpy, which composes with theirs: ``JunctionNode() >> Ridge()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import issparse

from spinloom.device_models import node as nodes
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import LoopState, advance, start
from spinloom.networks.topology import Weights
from spinloom.workflows.ways_in.driven import Model, draw_driven, drive, known_model, opened, whole

try:
    from reservoirpy.node import Node
    from reservoirpy.utils.random import rand_generator
except ImportError as error:
    raise ImportError(
        "JunctionNode is a node of reservoirpy (0.4.2 or newer), which is not installed: "
        "python -m pip install 'spinloom[reservoirpy]'"
    ) from error

Given = np.ndarray | Callable[..., Any] | None


class JunctionNode(Node):
    r"""A reservoir whose neurons are junctions, in the place of ``reservoirpy.nodes.Reservoir``.

    In every tick junction i is driven by
    :math:`u_i = \mathrm{clip}\left(g\,\left(\sum_j W_{ij} r_j + \sum_c w_{ic} x_c + b_i\right), \pm 1\right)`,
    J = u times the reach times J_max, with r_j = (signal − mean) / spread of junction j and w the weights ``Win``. What
    comes out is r. Feedback of reservoirpy (``<<``) comes as further inputs.

    Parameters
    ----------
    units : int, optional
        how many junctions; those of ``W`` if that is an array, else 40
    sr : float
        spectral radius of W
    input_scaling : float or sequence of float
        input weights are uniform between minus and plus this, of all inputs or of each
    bias_scaling : float
        biases are uniform between minus and plus this
    gain : float
        g, drive in units of the reach
    rc_connectivity, input_connectivity : float
        shares of W and Win that are not zero; that of Win is for a function of ``reservoirpy.mat_gen`` alone
    W, Win, bias : array or callable, optional
        (units, units), (units, inputs) and (units,): weights of your own, or a function of ``reservoirpy.mat_gen``,
        which then draws what it draws for a ``Reservoir`` of the same seed. Drawn as
        :class:`~spinloom.workflows.ways_in.estimators.JunctionSeries` does if not given
    hold : int
        ticks that each step lasts, as many as a junction needs to answer
    model : CalibratedModel, path, Node or None
        what the junctions are; None is the shipped model of ``disc60``. It may be any node that JAX can trace, in a
        network's units (``model.scaled``)
    engine : str or None
        ``embedded`` puts full micromagnetics in the place of every junction; None computes with the reduced model
    input_dim : int, optional
        how many inputs, if it is to be known beforehand
    seed : int
        of the weights, and of the junctions' own noise where the model is warm
    name : str, optional

    Attributes
    ----------
    weights : Weights
        once it is initialised: of one network, input weights in its ``w_fb``
    state : dict of arrays
        ``out``, the signals, and what the junctions need to go on

    Raises
    ------
    SpinloomError
        naming the parameter that cannot be used
    ImportError
        where reservoirpy is not installed

    Examples
    --------
    >>> from reservoirpy.nodes import Ridge
    >>> x = np.sin(np.arange(301) / 6)[:, None]
    >>> model = JunctionNode(10) >> Ridge(ridge=1e-6)
    >>> ahead = model.fit(x[:200], x[1:201], warmup=10).run(x[200:-1])
    >>> bool(np.abs(ahead - x[201:]).max() < 0.05)
    True
    """

    def __init__(
        self,
        units: int | None = None,
        sr: float = 0.168,
        input_scaling: float | Sequence[float] = 1.7,
        bias_scaling: float = 0.8,
        gain: float = 0.8,
        rc_connectivity: float = 0.3,
        input_connectivity: float = 0.1,
        W: Given = None,
        Win: Given = None,
        bias: Given = None,
        hold: int = 20,
        model: Model | nodes.Node = None,
        engine: str | None = None,
        input_dim: int | None = None,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        own = None if W is None or callable(W) else np.shape(W)[-1]
        if units is not None and own not in (None, units):
            raise SpinloomError(f"units: expected {own}, the size of W, got {units}")
        self.units = whole("units", 40 if units is None and own is None else units or own, 1)
        self.sr, self.gain, self.bias_scaling = sr, gain, bias_scaling
        self.input_scaling = input_scaling if np.isscalar(input_scaling) else tuple(input_scaling)  # type: ignore[arg-type]
        self.rc_connectivity, self.input_connectivity = rc_connectivity, input_connectivity
        self.W, self.Win, self.bias = W, Win, bias
        self.hold = whole("hold", hold, 1)
        self.model, self.engine, self.seed, self.name = model, engine, whole("seed", seed, 0), name
        self.input_dim, self.output_dim = input_dim, self.units
        if Win is not None and not callable(Win):
            if input_dim not in (None, np.shape(Win)[-1]):
                raise SpinloomError(f"input_dim: expected {np.shape(Win)[-1]}, the columns of Win, got {input_dim}")
            self.input_dim = np.shape(Win)[-1]
        self.initialized = False

    def initialize(self, x: Any, y: Any = None) -> None:
        """Draw the weights for as many inputs as x has, and put the junctions in equilibrium.

        Parameters
        ----------
        x : (inputs,), (steps, inputs) or (series, steps, inputs) ndarray, or a list of series
        y : ignored

        Raises
        ------
        SpinloomError
            naming the parameter that cannot be used
        """
        self._set_input_dim(x)
        self.node, self.weights = self._made(int(self.input_dim or 0))
        self.initialized = True
        self.reset()

    def reset(self) -> dict[str, Any]:
        """Put all junctions back in equilibrium; gives the state before."""
        before = getattr(self, "state", {})
        at = start(self.node, self.weights, self.seed)
        # Their states are dictionaries of arrays: a part for each leaf of the junctions' state.
        self._form: Any = jax.tree.structure(at.nodes)
        self.state = self._told(at)
        return before

    def _made(self, inputs: int) -> tuple[nodes.Node, Weights]:
        """What the junctions are, and the weights between them."""
        fields = {"nodes": self.units, "spectral_radius": self.sr, "density": self.rc_connectivity, "input": 1.0}
        fields |= {"bias": self.bias_scaling, "gain": self.gain}
        if isinstance(self.model, nodes.Node):
            if self.engine is not None:
                raise SpinloomError(f"engine: expected none with a node for a model, got {self.engine!r}")
            node, deviations = self.model, None
        else:
            model = known_model(self.model)
            deviations = model.deviations
            with opened(model, self.engine) as what:
                node = what.node
        if not node.traceable:
            raise SpinloomError(
                "engine: a node of reservoirpy goes back to states that it has left, and live processes cannot; use "
                "the reduced model or embedded"
            )
        drawn = draw_driven(deviations, self.seed, max(1, inputs), **fields)
        win_rng, w_rng, bias_rng = rand_generator(self.seed).spawn(3)
        W = self._given("W", self.W, (self.units, self.units), w_rng, sr=self.sr, connectivity=self.rc_connectivity)
        scaling = {"input_scaling": self.input_scaling, "connectivity": self.input_connectivity}
        Win = self._given("Win", self.Win, (self.units, inputs), win_rng, **scaling)
        bias = self._given("bias", self.bias, (self.units,), bias_rng, connectivity=1.0)
        scaled = drawn.w_fb[..., :inputs] * self._scales(inputs)
        weights = replace(
            drawn,
            W=drawn.W if W is None else W[None],
            w_fb=scaled if Win is None else Win[None],
            b=drawn.b if bias is None else bias[None],
            w_out=np.zeros((1, inputs, self.units + 1)),
        )
        return node, weights

    def _scales(self, inputs: int) -> np.ndarray:
        scales = np.asarray(self.input_scaling, dtype=float)
        if scales.shape not in ((), (inputs,)):
            raise SpinloomError(f"input_scaling: expected one number, or {inputs}, got {self.input_scaling!r}")
        return scales

    def _given(self, name: str, what: Given, shape: tuple[int, ...], rng: Any, **how: Any) -> np.ndarray | None:
        """Weights that were given, or drawn by a function of reservoirpy."""
        if what is None:
            return None
        drawn: Any = what(*shape, dtype=np.float64, seed=rng, **how) if callable(what) else what
        array = np.asarray(drawn.toarray() if issparse(drawn) else drawn, dtype=float)
        if array.shape != shape or not np.isfinite(array).all():
            raise SpinloomError(f"{name}: expected finite numbers of shape {shape}, got shape {array.shape}")
        return array

    def _told(self, at: LoopState) -> dict[str, Any]:
        parts = {f"junctions{k}": leaf for k, leaf in enumerate(jax.tree.leaves(at.nodes))}
        return {"out": np.asarray(at.r[0]), **parts}

    def _at(self, state: dict[str, Any]) -> LoopState:
        leaves = [state[f"junctions{k}"] for k in range(self._form.num_leaves)]
        nothing = jnp.zeros((1, self.weights.outputs))
        return LoopState(jax.tree.unflatten(self._form, leaves), jnp.asarray(state["out"])[None], nothing)

    def _step(self, state: dict[str, Any], x: Any) -> dict[str, Any]:
        """One sample, (inputs,), from a state."""
        fixed = (self.node, self.weights.without_devices())
        return self._told(_held(fixed, self._at(state), jnp.asarray(x)[None], self.hold))

    def _run(self, state: dict[str, Any], x: Any) -> tuple[dict[str, Any], np.ndarray]:
        """Samples, (steps, inputs), from a state."""
        at, r = drive(self.node, self.weights, np.asarray(x)[:, None], hold=self.hold, state=self._at(state))
        return self._told(at), r[self.hold - 1 :: self.hold, 0]


@partial(jax.jit, static_argnames="hold")
def _held(fixed: tuple[nodes.Node, Weights], state: LoopState, x: Any, hold: int) -> LoopState:
    def tick(_: Any, at: LoopState) -> LoopState:
        after, r, _ = advance(*fixed, at, jnp.zeros(1))
        return at._replace(nodes=after, r=r)

    return jax.lax.fori_loop(0, hold, tick, state._replace(z=x))
