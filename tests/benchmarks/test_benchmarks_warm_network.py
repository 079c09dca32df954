"""The benchmark of networks at a temperature: what it compares, and refuses."""

from __future__ import annotations

import re

import pytest

from spinloom.device_models.calibration import Protocol, calibrate
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.networks.store import save_network
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import save_model
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings, override
from spinloom.workflows.train import generators, recogniser

pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
LINE = re.compile(r"(\w+) at 300 K  (.+?) +full ([\d.]+) ± ([\d.]+)   reduced ([\d.]+) ± ([\d.]+)   ([+-][\d.]+)")


@pytest.fixture(scope="module")
def folder(coarse_card, coarse_model, tmp_path_factory):
    folder, card, protocol = (
        tmp_path_factory.mktemp("warm"),
        coarse_card.at(300),
        Protocol(trajectories=24, duration=1.5e-9, grades=()),
    )
    save_model(coarse_model, folder / "cold.nc")
    save_model(fit_model(calibrate(card, EmbeddedEngine(card, protocol.tick), protocol)), folder / "warm.nc")
    small = override(GenerateSettings().topology, nodes=8).model_dump()
    quick = override(GenerateSettings().training, teacher_periods=10, force_periods=5, trim_periods=5, tries=1)
    how = override(GenerateSettings(), period_ticks=30, free_periods=3, topology=small, training=quick.model_dump())
    save_network(generators(coarse_model, how, ["sine"])[0], folder / "sine.nc", folder / "cold.nc")
    small = override(RecogniseSettings().topology, nodes=8).model_dump()
    how = override(RecogniseSettings(), period_ticks=30, periods=2, train_trials=16, test_trials=8, topology=small)
    save_network(recogniser(coarse_model, how), folder / "recognise.nc", folder / "cold.nc")
    return folder


@pytest.mark.slow
def test_reduced_and_full_are_compared(benchmark_module, folder, capsys):
    options = ("--seeds", "3", "--periods", "2", "--trials", "8", "--model", str(folder / "warm.nc"))
    benchmark_module("warm_network").main([str(folder / "sine.nc"), str(folder / "recognise.nc"), *options])
    rows = [LINE.fullmatch(line).groups() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows] == ["NRMSE", "shape error", "variance", "accuracy"]
    full, reduced = float(rows[2][2]), float(rows[2][4])
    assert 0.3 < full / reduced < 3
    assert all(0 <= float(rows[3][k]) <= 1 for k in (2, 4))


def test_another_device_is_refused(benchmark_module, folder, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark_module("warm_network").main(
            ["data/reference/networks/network-sine.nc", "--model", str(folder / "warm.nc")]
        )
    assert (error.value.code, "got another device" in capsys.readouterr().err) == (2, True)
