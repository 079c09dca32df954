"""A network of junctions as a node of reservoirpy, beside their own nodes."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reservoirpy import ESN
from reservoirpy.datasets import narma
from reservoirpy.mat_gen import bernoulli, normal, uniform
from reservoirpy.nodes import Input, Reservoir, Ridge

import spinloom
from spinloom.device_models.errors import SpinloomError
from spinloom.workflows.ways_in import reservoirpy_node
from spinloom.workflows.ways_in.estimators import JunctionSeries
from spinloom.workflows.ways_in.reservoirpy_node import JunctionNode


@partial(jax.tree_util.register_dataclass, data_fields=["leak"], meta_fields=["unit"])
@dataclass(frozen=True)
class LeakyTanh:
    """The neuron of an echo state network as a node of ours: within the clip, a drive of 1 is ``unit`` before tanh."""

    leak: Any
    unit: float

    traceable, channels, devices, tick = True, ("drive",), 1, 1e-11

    def start(
        self, n: int, seed: int = 0, devices: Any = None, progress: Callable[[int], None] | None = None
    ) -> dict[str, Any]:
        return {"x": jnp.zeros(n)}

    def step(self, state: dict[str, Any], inputs: Any) -> dict[str, Any]:
        return {"x": (1 - self.leak) * state["x"] + self.leak * jnp.tanh(self.unit * inputs[:, 0])}

    def observe(self, state: dict[str, Any]) -> Any:
        return state["x"]

    def moment(self, state: dict[str, Any]) -> Any:
        return jnp.stack([state["x"]] * 3, axis=1)


def series(steps: int, inputs: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, inputs))


def error(z: np.ndarray, f: np.ndarray) -> float:
    return float(np.sqrt(((z - f) ** 2).mean()) / f.std())


def test_with_their_neurons_it_is_their_reservoir():
    """The same seed and functions give the same weights, and leaky tanh nodes the same states, to rounding."""
    shared = {"sr": 0.9, "input_scaling": 0.7, "rc_connectivity": 0.4, "input_connectivity": 0.8, "seed": 3}
    drawn = {"W": normal, "Win": bernoulli, "bias": uniform}
    theirs = Reservoir(12, lr=0.3, **drawn, **shared)
    ours = JunctionNode(12, model=LeakyTanh(0.3, 64.0), gain=1 / 64, hold=1, **drawn, **shared)
    x = series(200, 2)
    states = theirs.run(x)
    np.testing.assert_allclose(ours.run(x), states, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(ours.weights.W[0], theirs.W.toarray())
    assert np.abs(states).max() > 0.5
    # And so does an echo state network that they put together of it, fed back.
    f = np.roll(x[:, :1], 3, axis=0)
    networks = [
        ESN(reservoir=reservoir, readout=Ridge(1e-3, name=f"readout{k}"), feedback=True)
        for k, reservoir in enumerate(
            (
                Reservoir(12, lr=0.3, **drawn, **shared),
                JunctionNode(12, model=LeakyTanh(0.3, 64.0), gain=1 / 64, hold=1, **drawn, **shared),
            )
        )
    ]
    their_z, our_z = (network.fit(x, f, warmup=20).run(x[:50]) for network in networks)
    np.testing.assert_allclose(our_z, their_z, rtol=0, atol=1e-9)


def test_a_sine_is_predicted_and_narma_better_than_by_what_has_no_memory():
    t = np.arange(401)[:, None] / 6
    model = JunctionNode(20, hold=8) >> Ridge(1e-6)
    ahead = model.fit(np.sin(t[:300]), np.sin(t[1:301]), warmup=20).run(np.sin(t[300:-1]))
    assert error(ahead, np.sin(t[301:])) < 0.01
    u, y = narma(698, order=2, u=np.random.default_rng(0).uniform(0, 0.5, (700, 1)))
    u, cut, found = 4 * u[2:] - 1, 500, {}
    for name, network in (("junctions", JunctionNode() >> Ridge(1e-4)), ("linear", Ridge(1e-4))):
        network.fit(u[:cut], y[:cut], warmup=20)
        found[name] = error(network.run(u[cut:]), y[cut:])
    assert found["linear"] > 0.95
    assert found["junctions"] < 0.65


def test_its_output_is_that_of_the_series_and_step_by_step_the_same():
    x = series(12, 2)
    node = JunctionNode(6, seed=4, hold=3)
    whole = node.run(x)
    np.testing.assert_array_equal(whole, JunctionSeries(nodes=6, seed=4, hold=3).fit_transform(x))
    node.reset()
    np.testing.assert_allclose(np.array([node.step(row) for row in x]), whole, rtol=0, atol=1e-12)
    # A run goes on from where the last one ended, until it is reset.
    first = JunctionNode(6, seed=4, hold=3)
    np.testing.assert_allclose(np.vstack([first.run(x[:5]), first.run(x[5:])]), whole, rtol=0, atol=1e-12)
    before = first.reset()
    np.testing.assert_array_equal(before["out"], first.run(x)[-1])


def test_several_series_each_start_where_the_node_stands():
    node = JunctionNode(5, hold=2)
    x = np.stack([series(8, seed=k) for k in range(2)])
    together = node.run(x)
    assert together.shape == (2, 8, 5)
    node.reset()
    np.testing.assert_allclose(together[1], node.run(x[1]), rtol=0, atol=1e-12)


def test_feedback_and_branches():
    """The output fed back makes a generator; input and reservoir may both lead to the read-out."""
    f = np.sin(np.arange(400) / 5)[:, None]
    junctions, readout = JunctionNode(20, hold=6, input_scaling=1.0, seed=2), Ridge(1e-6, name="readout")
    model = (junctions >> readout) & (junctions << readout)
    clock = np.cos(np.arange(400) / 5)[:, None]
    model.fit(clock[:300], f[:300], warmup=50)
    assert junctions.input_dim == 2
    assert error(model.run(clock[300:350])[20:], f[320:350]) < 0.1
    source = Input()
    branched = source >> [JunctionNode(5, hold=2), JunctionNode(4, hold=1)] >> Ridge(1e-3)
    x = series(60)
    assert branched.fit(x, x).run(x).shape == (60, 1)


def test_weights_of_your_own_and_what_they_may_be():
    W, Win, b = np.eye(3) * 0.1, np.ones((3, 2)), np.zeros(3)
    node = JunctionNode(W=W, Win=Win, bias=b)
    assert (node.units, node.input_dim) == (3, 2)
    node.run(series(3, 2))
    np.testing.assert_array_equal(node.weights.w_fb[0], Win)
    for options, told in (
        ({"units": 4, "W": W}, "units: expected 3, the size of W, got 4"),
        ({"W": W, "Win": Win, "input_dim": 1}, "input_dim: expected 2, the columns of Win, got 1"),
        ({"W": W, "bias": np.zeros(2)}, r"bias: expected finite numbers of shape \(3,\), got shape \(2,\)"),
        ({"W": W * np.nan}, "W: expected finite"),
        ({"units": 3, "input_scaling": (1.0, 2.0, 3.0)}, "input_scaling: expected one number, or 2"),
        ({"units": 0}, "units: expected a whole number of at least 1"),
        ({"hold": 0}, "hold: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"gain": 0.0}, "gain: .*greater than 0"),
        ({"model": 3}, "model: expected a CalibratedModel"),
        ({"model": LeakyTanh(1.0, 1.0), "engine": "embedded"}, "engine: expected none with a node"),
        ({"engine": "embeded"}, "engine: expected one of"),
    ):
        with pytest.raises(SpinloomError, match=told):
            JunctionNode(**options).run(series(3, 2))
    halves = JunctionNode(4, input_scaling=(1.0, 0.5))
    halves.run(series(3, 2))
    full = JunctionNode(4, input_scaling=1.0)
    full.run(series(3, 2))
    np.testing.assert_array_equal(halves.weights.w_fb, full.weights.w_fb * [1.0, 0.5])
    assert "input_scaling=(1.0, 0.5)" in repr(halves)


def test_a_node_that_cannot_go_back_is_refused(plain_low_pass):
    with pytest.raises(SpinloomError, match="live processes cannot"):
        JunctionNode(3, model=plain_low_pass).run(series(3))


def test_full_micromagnetics_in_every_junction(coarse_model):
    x = series(4)
    reduced, full = (
        JunctionNode(3, model=coarse_model, hold=10, engine=engine).run(x) for engine in (None, "embedded")
    )
    assert 1e-9 < np.abs(full - reduced).max() < 0.05


def test_without_reservoirpy_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "reservoirpy.node", None)
    with pytest.raises(ImportError, match=r"pip install 'spinloom\[reservoirpy\]'"):
        runpy.run_path(reservoirpy_node.__file__)


def test_it_is_found_in_the_package_by_name_alone():
    """A star import asks for all public names, and reservoirpy is optional."""
    assert spinloom.JunctionNode is JunctionNode
    assert "JunctionNode" not in spinloom.__all__


def test_without_inputs_it_runs_from_its_biases():
    node = JunctionNode(4, hold=2, seed=1)
    r = node.run(iters=6)
    assert r.shape == (6, 4)
    series = JunctionSeries(nodes=4, hold=2, seed=1, input=0.0)
    np.testing.assert_allclose(r, series.fit_transform(np.zeros((6, 1))), rtol=0, atol=1e-12)
