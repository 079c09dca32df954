"""The same networks without magnets."""

import json
import shutil

import numpy as np
import pytest

from spinloom.device_models.calibration import load_calibration
from spinloom.device_models.scan import drive
from spinloom.networks.tasks import CLASSES
from spinloom.networks.topology import Topology, draw
from spinloom.networks.training import Training, learn
from spinloom.reduced_models.baselines import Memoryless, in_units
from spinloom.reduced_models.model import load_model
from spinloom.reduced_models.node import ReducedNode
from spinloom.workflows import baselines, echo_state
from spinloom.workflows.baselines import KINDS, baseline_results, inputs_alone, macrospin
from spinloom.workflows.echo_state import tune_generator, tune_recogniser
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings
from spinloom.workflows.summary import _beside, baselines_table
from spinloom.workflows.train import judge, listen, targets

TICK = 7.5e-12
QUICK = Training(teacher_periods=20, force_periods=20, trim_rounds=2, trim_periods=8, tries=2)
FREE = Topology(nodes=20, spectral_radius=0.6, feedback=1.8, bias=0.6, gain=0.85)
CLOCKED = FREE.model_copy(update={"feedback": 0.0, "clock": 2.0})


@pytest.fixture
def few(monkeypatch):
    """Only a few operating points are tried."""
    monkeypatch.setattr(echo_state, "CANDIDATES", 6)
    monkeypatch.setattr(echo_state, "PROMOTED", 2)


@pytest.fixture(scope="module")
def model(small_run):
    return load_model(small_run / "model.nc")


def test_a_network_without_nodes_is_the_linear_answer_to_its_inputs():
    """Behind a clock it follows the best multiple of that, nothing else."""
    f = targets(["sine", "square"], 24)
    weights = inputs_alone(CLOCKED, 2, 1)
    how = Training(method="ridge", teacher_periods=20, ridge=1e-12, noise=0.0)
    clock = CLOCKED.clock_period(24)
    trained = learn(in_units(Memoryless.like(TICK)), weights, f, how, clock=clock)
    settings = GenerateSettings(tasks=("sine", "square"), topology=CLOCKED, training=how, free_periods=4)
    found = judge(in_units(Memoryless.like(TICK)), trained.weights, f, settings)
    for k, one in enumerate(found):
        x = np.stack([clock, np.ones(24)], axis=1)
        missed = f[:, k, 0] - x @ np.linalg.lstsq(x, f[:, k, 0], rcond=None)[0]
        assert one["nrmse"] == pytest.approx(missed.std() / f[:, k].std(), rel=1e-6)


def test_what_is_fed_back_is_an_input_too():
    assert inputs_alone(FREE, 1, 2).w_fb[0].tolist() == [[1, 0], [0, 1]]
    deaf = inputs_alone(FREE.model_copy(update={"feedback": 0.0}), 1, 1)
    assert deaf.nodes == 1
    assert not deaf.w_fb.any()
    assert not deaf.W_in.any()


def test_every_task_has_every_baseline(model, small_run, few):
    calibration = load_calibration(small_run / "calibration.nc")
    generate = GenerateSettings(
        tasks=("sine", "triangle"), period_ticks=24, free_periods=6, washouts=(3,), topology=FREE, training=QUICK
    )
    recognise = RecogniseSettings(period_ticks=20, train_trials=80, test_trials=80)
    found = baseline_results(model, calibration, generate, recognise)
    assert set(found["generate"]) == {"sine", "triangle"}
    for kinds in (*found["generate"].values(), found["recognise"]):
        assert list(kinds) == list(KINDS)
    sine, heard = found["generate"]["sine"], found["recognise"]
    assert sine["no nodes"]["nrmse"] > 0.5  # what is fed back by a tick alone cannot turn
    assert sine["leaky"]["nrmse"] < 0.1
    assert {one["periods"] for one in sine.values()} == {6}
    assert heard["no nodes"]["accuracy"] < 0.6 < heard["memoryless"]["accuracy"]
    assert all(one["trials"] == 80 and one["accuracy_low"] < one["accuracy"] for one in heard.values())
    assert found["echo_state"]["generate"]["candidates"] == 6


@pytest.mark.slow
def test_the_training_commands_have_them_too(spinloom, small_run, few, tmp_path):
    common = ("--model", small_run / "model.nc", "--nodes", 6, "--baselines", "--json")
    how = (
        "--task",
        "sine",
        "--period-ticks",
        20,
        "--free-periods",
        4,
        "--clock",
        2,
        "--feedback",
        0,
        "--method",
        "ridge",
    )
    trained = spinloom("train", "generate", *how, *common, "--out", tmp_path / "sine.nc")
    assert trained.code == 0, trained.err
    heard = spinloom("train", "recognise", "--trials", 40, "--period-ticks", 20, *common, "--out", tmp_path / "ear.nc")
    assert heard.code == 0, heard.err
    for outcome in (trained, heard):
        assert list(outcome.json["baselines"]) == list(KINDS)
        assert all(0 <= figure < 100 for figure in outcome.json["baselines"].values())


def test_baselines_are_judged_over_no_more_periods_than_told(model, few, monkeypatch):
    monkeypatch.setattr(baselines, "PERIODS", 5)
    settings = GenerateSettings(
        tasks=("sine",), period_ticks=12, washouts=(3,), topology=CLOCKED, training=Training(method="ridge")
    )
    found = baseline_results(model, None, settings, None)
    assert {one["periods"] for one in found["generate"]["sine"].values()} == {5}
    assert found["recognise"] == {}


def test_a_macrospin_is_fitted_where_there_is_a_calibration(model, small_run):
    fitted = macrospin(model, load_calibration(small_run / "calibration.nc"))
    layer = macrospin(model, None)
    assert isinstance(fitted.node, ReducedNode)
    assert fitted.reach == layer.reach == model.scale.reach
    assert fitted.node.tick == model.tick
    u = 0.5 * np.random.default_rng(0).uniform(-1, 1, (40, 1)).repeat(8, axis=0)
    seen = []
    for node in (model.scaled, fitted, layer):
        _, m = drive(node, u, node.start(1))
        seen.append(m[:, 0] @ np.asarray(model.card.readout.axis))
    truth, as_fitted, as_rigid = seen
    off = [np.std(one - truth) / np.std(truth) for one in (as_fitted, as_rigid)]
    assert off[0] < off[1] < 0.5


def test_more_candidates_are_never_worse_on_what_they_are_chosen_by():
    """The choice is the best of what was tried; the same again gives the same."""
    settings = RecogniseSettings(
        period_ticks=20, topology=Topology(nodes=8, spectral_radius=0.3, input=1, bias=1, gain=1)
    )

    def right(candidates):
        tuned = tune_recogniser(settings, TICK, 20, candidates)
        weights = draw(tuned.settings.topology, [echo_state.SEEDS[0]], len(CLASSES))
        how = tuned.settings.model_copy(update={"train_trials": 100, "test_trials": 100})
        return listen(tuned.node, weights, how, 20, echo_state.SEEDS[0])[1].accuracy[0], tuned.params

    (_, one), (few, _), (many, params) = right(1), right(2), right(12)
    assert many >= few - 0.05  # chosen on two topologies, seen on one
    assert params == right(12)[1]
    assert one.keys() == params.keys() == {"leak", "spectral_radius", "gain", "bias", "input", "ridge"}
    for name, value in params.items():
        low, high = echo_state.RANGES[name]
        assert low <= value <= high


def test_a_clock_is_tuned_where_there_is_one():
    f = targets(["sine"], 16)
    ridge = Training(method="ridge", teacher_periods=10)
    tuned = tune_generator(GenerateSettings(topology=CLOCKED, training=ridge), TICK, f, candidates=2)
    assert tuned.params.keys() == {"leak", "spectral_radius", "gain", "bias", "clock", "ridge"}
    assert tuned.settings.topology.clock == tuned.params["clock"]
    assert tuned.settings.topology.feedback == 0
    assert tuned.settings.training.method == "ridge"
    free = tune_generator(GenerateSettings(topology=FREE, training=QUICK), TICK, f, candidates=2)
    assert {"feedback", "noise"} < free.params.keys()
    assert free.settings.topology.clock == 0


@pytest.fixture(scope="module")
def with_baselines(small_run, experiment, tmp_path_factory):
    """The small run again, with what it would do without magnets."""
    folder = tmp_path_factory.mktemp("baselines") / "run"
    shutil.copytree(small_run, folder)
    path = experiment.with_name("with.toml")
    path.write_text(experiment.read_text().replace("baselines = false\n", ""))
    return path, folder


def test_a_run_says_what_the_tasks_are_worth(with_baselines, spinloom, few):
    path, folder = with_baselines
    outcome = spinloom("run", path, "--out", folder, "--json")
    assert outcome.code == 0
    assert outcome.err.count("done before, kept") == 8  # nothing else depends on them
    found = outcome.json["baselines"]
    assert set(found["generate"]) == {"sine", "mine"}
    assert "without magnets" in outcome.err
    best = min(("leaky", "echo state"), key=lambda kind: found["generate"]["sine"][kind]["nrmse"] or np.inf)
    if found["generate"]["sine"][best]["nrmse"] <= outcome.json["generate"]["sine"]["nrmse_reduced"]:
        assert any(text.startswith("sine: ") and best in text for text in found["words"])
    page = (folder / "report.html").read_text()
    assert "Without magnets" in page
    assert all(kind in page for kind in KINDS)
    again = spinloom("run", path, "--out", folder, "--json")
    assert "baselines: done before, kept" in again.err


def test_words_name_those_that_do_as_well(small_run):
    generated = {
        "sine": {"generates": True, "nrmse_reduced": 0.01},
        "square": {"generates": False, "nrmse_reduced": 2.0},
    }
    recognised = {"accuracy_reduced": 0.9, "above_chance": True}
    kinds = {"leaky": {"nrmse": 0.005, "periods": 5}, "memoryless": {"nrmse": None, "periods": 5}}
    given = {
        "kinds": {"leaky": "", "memoryless": ""},
        "generate": {"sine": kinds, "square": kinds},
        "recognise": {"leaky": {"accuracy": 0.95}, "memoryless": {"accuracy": 0.9}},
    }
    told = _beside(generated, recognised, given)
    assert told["words"] == [
        "sine: leaky does as well without a junction: this task cannot tell what junctions are worth",
        "recognise: leaky and memoryless do as well without a junction: this task cannot tell what junctions are worth",
    ]
    assert _beside(generated, recognised, None) is None
    summary = json.loads((small_run / "summary.json").read_text())
    rows = baselines_table({"generate": generated, "recognise": recognised, "baselines": given}).columns
    assert [column.header for column in rows] == ["task", "junctions (reduced)", "leaky", "memoryless"]
    assert summary["baselines"] is None
