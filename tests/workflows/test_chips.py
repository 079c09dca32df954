"""Networks whose junctions differ: which they are, and a warm run of two chips from the card to the verdict."""

import json
from dataclasses import replace

import numpy as np
import pytest

from spinloom.device_models.spread import PARAMETERS, Spread
from spinloom.networks.record import load_record
from spinloom.networks.store import TrainedNetwork, load_network
from spinloom.networks.topology import Topology, draw
from spinloom.reduced_models.model import load_model, save_model
from spinloom.workflows.chips import of_chip, on_their_chips
from spinloom.workflows.cosimulate import load_networks
from spinloom.workflows.settings import load_experiment

SPREAD = Spread(diameter=0.03, RA=0.05)
TOPOLOGY = Topology(nodes=3, spectral_radius=0.5, bias=0.5, gain=1.0, clock=2.0)


def network(name, deviations=None):
    return TrainedNetwork("generate", name, draw(TOPOLOGY, [0]), 8, np.zeros((8, 1)), deviations=deviations)


def test_the_junctions_of_a_chip_depend_on_its_number_alone(wafer_model):
    few, many = (of_chip(wafer_model, SPREAD, nodes, 5) for nodes in (2, 6))
    np.testing.assert_array_equal(few.deviations, many.deviations[:2])
    assert few.cards == many.cards[:2]
    assert np.abs(of_chip(wafer_model, SPREAD, 2, 6).deviations - few.deviations)[:, 0].min() > 1e-4


def test_networks_of_one_chip_share_its_junctions(wafer_model):
    first, second = (SPREAD.draw(3, chip) for chip in (0, 1))
    given = [network("a", first), network("b", second), network("c", first.copy()), network("d")]
    placed, model = on_their_chips(given, wafer_model)
    assert [one.weights.devices for one in placed] == [((0, 1, 2),), ((3, 4, 5),), ((0, 1, 2),), ((6, 7, 8),)]
    np.testing.assert_array_equal(model.deviations, np.concatenate([first, second, np.zeros((3, len(PARAMETERS)))]))
    assert model.node.devices == 9
    assert [one.name for one in placed] == list("abcd")
    for one, was in zip(placed, given, strict=True):
        assert one.alike(replace(was, weights=was.weights.with_devices(one.weights.devices)), 0.0)


def test_networks_of_equal_junctions_stay_as_they_are(wafer_model):
    given = [network("a"), network("b")]
    placed, model = on_their_chips(given, wafer_model)
    assert placed is given
    assert model is wafer_model


@pytest.mark.slow
def test_each_network_of_a_run_keeps_the_junctions_of_its_chip(wafer_run, wafer):
    spread, tasks = load_experiment(wafer)[0].spread, ("sine", "triangle", "recognise")
    paths = {(task, chip): wafer_run / f"network-{task}-chip{chip}.nc" for task in tasks for chip in (0, 1)}
    found = {key: load_network(path)[0] for key, path in paths.items()}
    for (_, chip), one in found.items():
        np.testing.assert_array_equal(one.deviations, spread.draw(4, chip))
    for task in tasks:
        one, other = (found[task, chip].weights for chip in (0, 1))
        np.testing.assert_array_equal(one.W, other.W)
        assert np.abs(one.w_out - other.w_out).max() > 1e-3
    together, model = load_networks([paths["sine", 0], paths["triangle", 1], paths["triangle", 0]])
    assert [one.name for one in together] == ["sine, chip 0", "triangle, chip 1", "triangle, chip 0"]
    assert (len(model.cards), model.temperature) == (8, 300)


@pytest.mark.slow
def test_a_warm_population_is_read_as_it_was_written(wafer_run, tmp_path):
    model = load_model(wafer_run / "model.nc")
    assert (model.kind, model.temperature) == ("thermal_population_map", 300)
    save_model(model, tmp_path / "again.nc")
    again = load_model(tmp_path / "again.nc")
    signals = []
    for one in (model, again):
        node = one.on(SPREAD.draw(2, 0)).node
        state = node.start(2, seed=3, devices=[0, 1])
        signals.append(np.asarray(node.observe(node.step(state, np.full((2, 1), 0.4)))))
    np.testing.assert_array_equal(*signals)
    assert signals[0][0] != signals[0][1]


@pytest.mark.slow
def test_the_record_holds_all_chips_and_all_noises(wafer_run):
    record = load_record(wafer_run / "cosimulation.nc")
    names = [f"{task}, chip {chip}" for chip in (0, 1) for task in ("sine", "triangle")]
    assert sorted(record["network"].values.tolist()) == sorted(names)
    assert record["z_full_seeds"].shape == (2, 8 * 48, 4, 1)
    assert record["z_reduced_seeds"].shape == (16, 8 * 48, 4, 1)
    np.testing.assert_allclose(record["z_full_seeds"][0], record["z_full"], atol=1e-6)
    seeds = record["z_full_seeds"]
    assert np.abs(seeds[0] - seeds[1]).max() > 0.05
    sine, triangle, other = (record["r_full"].sel(network=name) for name in ("sine, chip 0", "triangle, chip 0",
                                                                            "sine, chip 1"))  # fmt: skip
    # Without feedback both tasks are read from the same junctions under the same noise.
    np.testing.assert_array_equal(sine, triangle)
    assert np.abs(sine - other).max() > 0.05


@pytest.mark.slow
def test_a_second_call_of_a_warm_run_does_nothing_again(wafer_run, wafer, spinloom):
    before = {path: path.stat().st_mtime_ns for path in (wafer_run / "stages").iterdir()}
    outcome = spinloom("run", wafer, "--out", wafer_run, "--json")
    assert outcome.code == 0
    assert outcome.err.count("done before, kept") == len(before)
    assert {path: path.stat().st_mtime_ns for path in (wafer_run / "stages").iterdir()} == before
    assert outcome.json == json.loads((wafer_run / "summary.json").read_text())


@pytest.mark.slow
def test_chips_at_zero_kelvin_come_to_a_verdict_and_to_what_is_foretold(cold_run):
    """Rigid layers do what a map of them says, junction by junction."""
    summary = json.loads((cold_run / "summary.json").read_text())
    assert (summary["chips"], summary["temperature"], summary["reduced_model"]["kind"]) == (2, 0, "population_map")
    sine = summary["generate"]["sine"]
    assert sine["max_node_difference"] < 0.01
    np.testing.assert_allclose(sine["chips"]["nrmse_full"], sine["chips"]["nrmse_reduced"], atol=0.01)
    assert set(summary["foretold"]["generate"]) == {"sine"}
    assert summary["foretold"]["generate"]["sine"]["nrmse"]["mean"] > sine["nrmse_reduced"]
    assert "What 300 K would do" in (cold_run / "report.html").read_text()


BAD = {
    "chips without a spread": ("chips = 2\n", "chips: expected 1 without a [spread], got 2; say how junctions differ"),
    "no chips": ("chips = 0\n", "chips: Input should be greater than or equal to 1"),
    "below 0 K": ("temperature = -1\n", "temperature: Input should be greater than or equal to 0"),
    "the sun": ("temperature = 6000\n", "temperature: Input should be less than or equal to 1500"),
    "a spread of more than half": ("[spread]\nRA = 0.6\n", "spread.RA: Input should be less than or equal to 0.5"),
    "a negative spread": ("[spread]\nRA = -0.1\n", "spread.RA: Input should be greater than or equal to 0"),
    "a spread of nothing known": ("[spread]\nresistance = 0.1\n", "spread.resistance: unknown field"),
    "odd correlations": (
        '[spread]\nRA = 0.1\ncorrelations = {"RA" = 0.1}\n',
        "spread.correlations: Value error, expected two different ones",
    ),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_wafer_is_told_by_field(mistake, tmp_path, refused):
    lines, told = BAD[mistake]
    path = tmp_path / "bad.toml"
    path.write_text(f'name = "bad"\n{lines}')
    refused("run", path, "--out", tmp_path / "run", told=told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("temperature", [-1, 1e6, "nan"])
def test_a_temperature_on_the_command_line_is_checked(temperature, tmp_path, wafer, refused):
    refused("run", wafer, "--temperature", temperature, "--out", tmp_path / "run", told="temperature")
    assert not (tmp_path / "run").exists()
