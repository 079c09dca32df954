"""The benchmark of networks in ngspice: what it compares, and refuses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from spinloom.device_models.provenance import data_folder
from spinloom.device_models.scale import Scale
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.macrospin import MacrospinLaw, MacrospinModel
from spinloom.reduced_models.model import CalibratedModel, save_model
from spinloom.reduced_models.region import Region

SHIPPED = data_folder() / "reference" / "networks"


@pytest.fixture
def network(tmp_path: Path, disc) -> Path:  # type: ignore[no-untyped-def]
    """Two rigid layers with a clock and a period of six ticks."""
    estimator, law = MacrospinModel.from_card(disc, 7.5e-12), MacrospinLaw.of_card(disc, 7.5e-12)
    estimator.theta_, estimator.readout_ = law.theta, law.readout
    estimator.n_features_in_, estimator.one_dimensional_ = 4, False
    node = {"tick": 7.5e-12, "m_start": np.array([0.0, 1.0, 0.0]), "region": Region(np.zeros((2, 4)), 1e9)}
    model = CalibratedModel(estimator, disc, **node, holdout_nrmse=0.0, scale=Scale())
    save_model(model, tmp_path / "model.nc")
    topology = Topology(nodes=2, spectral_radius=0.5, feedback=0.5, bias=0.3, gain=0.9, clock=1.0)
    weights = draw(topology, [1]).with_readout(np.array([[[0.5, -0.4, 0.1]]]))
    f = np.sin(np.arange(6.0))[:, None]
    trained = TrainedNetwork("generate", "two", weights, 6, f, {"washouts": [1]}, topology.clock_period(6))
    save_network(trained, tmp_path / "net.nc", tmp_path / "model.nc")
    return tmp_path / "net.nc"


@pytest.mark.ngspice
def test_both_are_run_and_compared(benchmark_module, network, capsys):
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not installed (Debian, Ubuntu: package ngspice)")
    benchmark_module("spice").main([str(network), "--periods", "3"])
    told = re.fullmatch(
        r"two, 2 junctions: first period (\S+), period 3 (\S+); ngspice took \d+ s of a processor\n",
        capsys.readouterr().out,
    )
    assert 0 < float(told[1]) < 1e-4
    assert 0 < float(told[2]) < 1e-4


def test_mistakes_are_told(benchmark_module, network, capsys, monkeypatch):
    benchmark = benchmark_module("spice")
    for arguments, told in (
        ([str(network), "--periods", "0"], "periods: expected at least 1"),
        ([str(SHIPPED / "network-recognise.nc")], "expected one that generates"),
        ([str(SHIPPED / "network-sine.nc")], "SPICE takes a macrospin"),
    ):
        with pytest.raises(SystemExit):
            benchmark.main(arguments)
        assert told in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit):
        benchmark.main([str(network)])
    assert "ngspice: not installed" in capsys.readouterr().err
