"""A macrospin whose constants are known, and small networks of it that need no training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spinloom.device_models.scale import Scale
from spinloom.networks.store import TrainedNetwork
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.macrospin import MacrospinLaw, MacrospinModel
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.region import Region

TICK = 7.5e-12
READS = np.array([[0.9992, 2e-4, 0.0], [-3e-4, 0.9999, 1e-4], [0.0, -3e-4, 0.9994], [1e-4, -4e-4, 0.0]])
"""A read-out that turns the vector a little in every tick, as fitted ones do."""


@pytest.fixture
def macrospin(disc: Any) -> Callable[..., CalibratedModel]:
    """A model of the disc as a rigid layer, read as it is or as one that was fitted."""

    def make(readout: np.ndarray = READS, name: str = "disc60") -> CalibratedModel:
        estimator, law = MacrospinModel.from_card(disc, TICK), MacrospinLaw.of_card(disc, TICK)
        estimator.theta_, estimator.readout_ = law.theta, readout
        estimator.n_features_in_, estimator.one_dimensional_ = 4, False
        region = Region(np.zeros((2, 4)), 1e9)
        scale = Scale(mean=0.02, spread=0.5, reach=0.8, resonance=2.3e9)
        return CalibratedModel(
            estimator, disc.model_copy(update={"name": name}), TICK, np.array([0.0, 0.999, 0.0]), region, 0.01, scale
        )

    return make


@pytest.fixture
def clocked() -> TrainedNetwork:
    """Three nodes with feedback and a clock, a random read-out and a period of twelve ticks."""
    topology = Topology(nodes=3, spectral_radius=0.6, feedback=0.8, bias=0.4, gain=0.9, clock=1.5, density=1.0)
    weights = draw(topology, [3])
    weights = weights.with_readout(np.random.default_rng(0).uniform(-0.5, 0.5, (1, 1, 4)))
    f = np.sin(2 * np.pi * np.arange(1, 13) / 12)[:, None]
    settings = {"washouts": [2], "topology": topology.model_dump()}
    return TrainedNetwork("generate", "clocked", weights, 12, f, settings, topology.clock_period(12))


@pytest.fixture
def of_two_outputs(clocked: TrainedNetwork) -> TrainedNetwork:
    """The same with another output, which is fed back too."""
    rng, w = np.random.default_rng(1), clocked.weights
    weights = replace(w, w_fb=rng.uniform(-0.8, 0.8, (1, 3, 2)), w_out=rng.uniform(-0.5, 0.5, (1, 2, 4)))
    return replace(clocked, weights=weights, f=np.hstack([clocked.f, clocked.f[::-1]]))


@pytest.fixture
def listener(clocked: TrainedNetwork) -> TrainedNetwork:
    """Three nodes that listen for two periods and are read by means and mean squares."""
    w_out = np.random.default_rng(2).normal(size=(1, 4, 7))
    settings = {"periods": 3, "averaged": 2, "power": True}
    weights = replace(clocked.weights.with_readout(w_out), w_fb=np.zeros((1, 3, 4)))
    return TrainedNetwork("recognise", "recognise", weights, 12, np.zeros((12, 4)), settings)
