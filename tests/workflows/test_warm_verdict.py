"""The verdict at a temperature, where full micromagnetics is a rigid layer: it is then known what is right."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.constants import Boltzmann

from spinloom.device_models.card import MU0
from spinloom.device_models.engines import ENGINES, Kind, choose_engine
from spinloom.device_models.errors import DivergedError, SpinloomError
from spinloom.device_models.scale import Scale
from spinloom.device_models.spread import PARAMETERS
from spinloom.networks.fluctuations import FIGURES
from spinloom.networks.store import TrainedNetwork, save_network
from spinloom.networks.tasks import CLASSES, target
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training, learn
from spinloom.networks.trials import generate
from spinloom.reduced_models.macrospin import MacrospinLaw, MacrospinModel
from spinloom.reduced_models.model import CalibratedModel, save_model
from spinloom.reduced_models.region import Region
from spinloom.workflows import warm_verdict
from spinloom.workflows.full_runs import How
from spinloom.workflows.warm_verdict import REDUCED_SEEDS, agrees, foretell, reduced, warm_compare, words

TICK, PERIOD, WASHOUT = 7.5e-12, 48, 3
TOPOLOGY = Topology(nodes=3, spectral_radius=0.7, bias=1.0, gain=0.7, clock=2.0)


@pytest.fixture(scope="module")
def model(large_card):
    """A macrospin whose constants are those of the card, at 0 K."""
    law = MacrospinLaw.of_card(large_card, TICK)
    estimator = MacrospinModel(tick=TICK)
    estimator.theta_, estimator.readout_ = law.theta, np.asarray(law.readout)
    estimator.n_features_in_, estimator.one_dimensional_ = 4, False
    points = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    everywhere = Region(points, 9.0)
    return CalibratedModel(estimator, large_card, TICK, np.array([0.0, 1.0, 0.0]), everywhere, 0.0, Scale(spread=0.3))


@pytest.fixture(scope="module")
def pair(model):
    """Networks that share nodes and clock, one for each of two tasks."""
    f = np.concatenate([target(task, PERIOD) for task in ("sine", "triangle")], axis=1)
    clock, how = TOPOLOGY.clock_period(PERIOD), Training(method="ridge", teacher_periods=10, noise=0.0, ridge=1e-4)
    weights = learn(model.scaled, draw(TOPOLOGY, [5], 2), f, how, clock=clock).weights
    return [
        TrainedNetwork(
            "generate", name, replace(weights, w_fb=weights.w_fb[..., :1], w_out=weights.w_out[:, k : k + 1]), PERIOD,
            f[:, k : k + 1], {"washouts": [WASHOUT]}, clock=clock,
        )
        for k, name in enumerate(("sine", "triangle"))
    ]  # fmt: skip


def verdict(pair, model, name="rigid", **rest):
    settings = {"periods": 8, "how": How(), "salvage": None, "temperature": 300.0, "seeds": 4} | rest
    return warm_compare(pair, model, choose_engine(name), **settings)


def in_table(monkeypatch, rigid_engine, **also):
    """Rigid layers in the table of engines, or something that is made of them."""

    class Engine(rigid_engine):
        def __init__(self, cards, tick):
            hotter = also.get("hotter", 1.0)
            super().__init__([card.at(hotter * card.conditions.temperature) for card in cards], tick)
            self.live = also.get("live", True)
            self.batched = also.get("batched", True)

    monkeypatch.setitem(ENGINES, "mine", Kind(lambda cards, tick, *_: nullcontext(Engine(cards, tick))))


@pytest.mark.usefixtures("rigid_layers")
def test_nodes_that_are_the_same_agree(pair, model, capsys):
    record, results = verdict(pair, model)
    said = " ".join(capsys.readouterr().err.split())
    assert [one["task"] for one in results] == ["sine", "triangle"]
    for one in results:
        assert one["agrees"]
        assert one["noise"].keys() == FIGURES.keys()
        assert one["nrmse_full"] == one["noise"]["nrmse"]["full"]["mean"]
        assert (one["temperature"], one["periods"], one["seeds"], one["seeds_reduced"]) == (300, 8, 4, REDUCED_SEEDS)
        assert (one["engine"], one["outside_share"], one["stopped"]) == ("rigid", 0, False)
        assert one["noise"]["nrmse"]["full"]["low"] < one["nrmse_full"] < one["noise"]["nrmse"]["full"]["high"]
        assert one["words"].startswith(f"{one['task']} at 300 K: NRMSE {one['nrmse_full']:.3g} (")
        assert one["words"] in said
    assert record["z_full_seeds"].shape == (4, 8 * PERIOD, 2, 1)
    assert record["z_reduced_seeds"].shape == (REDUCED_SEEDS, 8 * PERIOD, 2, 1)
    np.testing.assert_allclose(record["z_full_seeds"][0], record["z_full"], atol=1e-6)
    np.testing.assert_array_equal(record["r_full"][:, 0], record["r_full"][:, 1])
    # The outputs follow from the signals.
    w = pair[1].weights.w_out[0, 0]
    z = record["r_full"][:, 1].values / 0.3 @ w[:-1] + w[-1]
    np.testing.assert_allclose(record["z_full"].values[:, 1, 0], z, atol=1e-4)


def test_nodes_with_more_noise_do_not(pair, model, rigid_engine, monkeypatch):
    in_table(monkeypatch, rigid_engine, hotter=4.0)
    _, results = verdict(pair, model, "mine")
    for one in results:
        assert one["agrees"] is False
        assert one["noise"]["nrmse"]["apart"] > 3
        assert one["nrmse_full"] > 1.5 * one["nrmse_reduced"]


def test_seeds_one_after_the_other_are_those_side_by_side(pair, model, rigid_engine, monkeypatch):
    """But for the noise of the later ones, whose devices have other places in the batch."""
    records = []
    for batched in (True, False):
        in_table(monkeypatch, rigid_engine, batched=batched)
        records.append(verdict(pair, model, "mine", seeds=2, periods=4)[0])
    one, other = (record["z_full_seeds"].values for record in records)
    assert one.shape == other.shape == (2, 4 * PERIOD, 2, 1)
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)
    assert np.abs(one[1] - other[1]).max() > 1e-3
    assert np.abs(other[1] - other[0]).max() > 1e-3


@pytest.mark.usefixtures("rigid_layers")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"periods": 3}, "periods and seeds: expected at least 4 and 1 at a temperature, got 3 and 4"),
        ({"seeds": 0}, "periods and seeds: expected at least 4 and 1 at a temperature, got 8 and 0"),
        ({"how": How(method="relaxation")}, "method: relaxation iterates the same waveforms, .*use lock-step"),
    ],
)
def test_what_makes_no_statistics_is_refused(pair, model, changed, message):
    with pytest.raises(SpinloomError, match=message):
        verdict(pair, model, **changed)


def test_an_engine_without_live_nodes_is_refused(pair, model, rigid_engine, monkeypatch):
    in_table(monkeypatch, rigid_engine, live=False)
    with pytest.raises(SpinloomError, match="method: rigid has no live nodes here, and noise needs them"):
        verdict(pair, model, "mine")


@pytest.mark.parametrize(("batched", "told"), [(True, "noise 1: node 2"), (False, "noise 0: node 2")])
def test_full_nodes_that_are_lost_end_it_and_what_was_computed_is_kept(
    pair, model, rigid_engine, make_losing, monkeypatch, tmp_path, capsys, batched, told
):
    """Of one batch of all noises it is the node of the second noise, of single ones that of the first."""

    class Engine(rigid_engine):
        def __init__(self, cards, tick):
            super().__init__(cards, tick)
            self.node, self.batched = make_losing(self.node, 200, 5 if batched else 2), batched

    monkeypatch.setitem(ENGINES, "mine", Kind(lambda cards, tick, *_: nullcontext(Engine(cards, tick))))
    salvage = tmp_path / "verdict.partial.nc"
    lost = f"sine and triangle, {told}: its signal is not finite from tick 200 on, washout included"
    with pytest.raises(DivergedError, match=lost) as caught:
        verdict(pair, model, "mine", salvage=salvage, seeds=2)
    assert caught.value.tick == 200
    assert f"what was computed is kept in {salvage}" in capsys.readouterr().err.replace("\n", "")
    kept = xr.load_dataset(salvage, engine="h5netcdf")
    assert kept["r_stopped"].shape == (200, 1, 3)
    assert np.isfinite(kept["r_stopped"]).all()


def test_reduced_nodes_that_are_lost_under_a_noise_are_told_and_the_verdict_goes_on(
    pair, model, make_losing, monkeypatch, capsys
):
    run = warm_verdict.generate
    asked = []

    def broken(node, *rest, **how):
        asked.append(how["record"])
        return run(make_losing(node, 60, 5 * 3 + 1) if asked[-1] == "z" or asked == ["z", "r"] else node, *rest, **how)

    monkeypatch.setattr(warm_verdict, "generate", broken)
    found = foretell(pair, model, 300.0)
    assert asked == ["z", "r", "r"]
    said = capsys.readouterr().err
    assert said.count("is not finite from tick 60 on, washout included; the reduced model is wrong") == 2
    for name in ("sine", "triangle"):
        assert f"{name} on reduced nodes: not finite under 1 of {REDUCED_SEEDS} noises: under noise 5 node 1" in said
        assert found["generate"][name]["nrmse"]["mean"] is None


def test_a_warm_model_is_of_its_own_temperature_alone(model):
    warm = replace(model, card=model.card.at(300))
    assert reduced(warm, 300) == warm.scaled
    with pytest.raises(SpinloomError, match="temperature: the reduced model was fitted at 300 K, got 100 K; take one"):
        reduced(warm, 100)


def test_each_junction_of_a_chip_has_a_law_and_a_noise_of_its_own(wafer_model):
    """Noise goes with the root of what the volume is not."""
    by = np.zeros((3, len(PARAMETERS)))
    by[:, 0], by[:, -1] = (-0.05, 0.0, 0.05), (0.02, 0.0, 0.0)
    chip = wafer_model.on(by)
    node, cold = reduced(chip, 300).node, chip.node
    assert node.devices == 3
    area = np.array([card.area for card in chip.cards])
    np.testing.assert_allclose(node.laws.sigma / node.laws.sigma[1], np.sqrt(area[1] / area))
    which, u = np.arange(3), np.full((3, 1), 0.5)
    quiet = [np.asarray(one.observe(one.step(one.at(one.m_start, which), u))) for one in (node, cold)]
    np.testing.assert_allclose(*quiet, rtol=1e-12)
    assert quiet[0][0] - quiet[0][1] > 0.015


def test_hardly_any_temperature_does_hardly_anything(pair, model):
    found = foretell(pair, model, 1e-6)
    assert (found["temperature"], found["seeds"], found["recognise"]) == (1e-6, REDUCED_SEEDS, None)
    for network in pair:
        quiet = generate(model.scaled, network.weights, network.f, 20, WASHOUT, clock=network.clock)
        one = found["generate"][network.name]
        assert one.keys() == FIGURES.keys()
        assert one["nrmse"]["mean"] == pytest.approx(float(quiet.nrmse[0]), rel=1e-3)
        assert one["nrmse"]["high"] - one["nrmse"]["low"] < 1e-4
    warm = foretell(pair, model, 300)["generate"]
    assert all(warm[name]["nrmse"]["low"] > found["generate"][name]["nrmse"]["mean"] for name in warm)


def test_noise_is_foretold_as_equipartition_says(pair, model, large_card):
    """Junctions that nothing drives fluctuate in their well: NRMSE^2 is 1 and their share, w^2 k T / (mu0 Ms V H)."""
    weights = pair[0].weights
    still = replace(weights, gain=np.zeros(1), w_out=np.array([[[8.0, 8.0, 8.0, 0.0]]]))
    temperature = 30.0
    found = foretell([replace(one, weights=still) for one in pair], model, temperature)["generate"]["sine"]["nrmse"]
    well = MU0 * large_card.material.Ms * large_card.area * large_card.thickness * large_card.bias.H[1]
    share = 3 * 8.0**2 * Boltzmann * temperature / well / 0.3**2
    expected = np.sqrt(1 + share / 0.5)
    assert share > 1
    assert found["high"] - found["low"] < 0.15 * expected
    assert found["low"] < expected < found["high"]


def test_what_recognition_comes_to_is_foretold(model):
    """A network that was not trained guesses."""
    weights = draw(Topology(nodes=3, spectral_radius=0.3, input=1.0, bias=0.5, gain=0.5), [0], len(CLASSES))
    settings = {"periods": 1, "seed": 0}
    network = TrainedNetwork("recognise", "recognise", weights, PERIOD, np.zeros((PERIOD, len(CLASSES))), settings)
    found = foretell([network], model, 300.0)
    assert found["generate"] == {}
    assert (found["recognise"]["accuracy"], found["recognise"]["trials"]) == (0.25, 200)
    assert not found["recognise"]["above_chance"]


def test_agreement_is_of_all_figures():
    assert agrees({"a": {"apart": -2.9}, "b": {"apart": 2.0}, "c": {"apart": None}})
    assert agrees({"a": {"apart": -3.1}, "b": {"apart": 2.0}}) is False
    assert agrees({"a": {"apart": None}}) is None


def told(error, shape, diffusion=1e-3):
    def one(mean):
        return {"full": {"mean": mean, "low": None, "high": None}}

    noise = {"nrmse": one(error), "shape_error": one(shape), "phase_diffusion": one(diffusion)}
    return words({"task": "sine", "temperature": 300.0, "noise": noise, "nrmse_full": error})


def test_what_is_said_tells_what_to_change():
    assert told(0.2, 0.1) == "sine at 300 K: NRMSE 0.2, shape error 0.1, phase diffusion 0.001 rad2/period"
    assert told(0.9, 0.1).endswith("it keeps its shape and loses its time; give it a clock (--clock) in training")
    assert "noise limits it; more --nodes" in told(0.9, 0.8)
    assert told(None, None, None).startswith("sine at 300 K: NRMSE diverged, shape error diverged")
    assert "noise limits it" in told(None, None, None)


@pytest.fixture
def saved(pair, model, tmp_path):
    save_model(model, tmp_path / "model.nc")
    save_network(pair[0], tmp_path / "sine.nc", tmp_path / "model.nc")
    return tmp_path / "sine.nc"


@pytest.mark.usefixtures("rigid_layers")
def test_a_network_of_zero_kelvin_is_verified_at_a_temperature(saved, spinloom):
    how = ("--engine", "rigid", "--temperature", 300, "--periods", 8, "--seeds", 4)
    outcome = spinloom("cosimulate", saved, *how, "--out", saved.with_name("c.nc"), "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["temperature"], outcome.json["agrees"]) == (300, True)
    assert saved.with_name("c.nc").exists()


@pytest.mark.usefixtures("rigid_layers")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", -1), "Invalid value for '--temperature'"),
        (("--temperature", 1e9), "Invalid value for '--temperature'"),
        (("--temperature", 300, "--periods", 2), "expected at least 4 and 1 at a temperature, got 2 and 4"),
        (("--temperature", 300, "--seeds", 0), "seeds"),
        (("--temperature", 300, "--method", "relaxation"), "method: relaxation iterates the same waveforms"),
    ],
)
def test_a_mistake_is_told(saved, refused, options, message):
    refused("cosimulate", saved, "--engine", "rigid", *options, told=message)


def test_what_was_computed_is_kept_when_a_run_ends_early(pair, model, rigid_engine, monkeypatch, tmp_path, capsys):
    in_table(monkeypatch, rigid_engine, batched=False)
    monkeypatch.setattr(warm_verdict, "foretold", lambda bar, what, total: stopping(3 * PERIOD))
    with pytest.raises(KeyboardInterrupt):
        verdict(pair, model, "mine", periods=4, salvage=tmp_path / "c.partial.nc")
    assert (tmp_path / "c.partial.nc").exists()
    assert "what was computed is kept in" in capsys.readouterr().err


def stopping(after):
    """Progress that ends the run."""
    seen = SimpleNamespace(ticks=0)

    def advance(ticks):
        seen.ticks += ticks
        if seen.ticks > after:
            raise KeyboardInterrupt

    return advance
