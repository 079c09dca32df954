"""The verdict looks at the model before it goes on, kicks, and calibrates again where a network goes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from spinloom.device_models.calibration import load_calibration, save_calibration
from spinloom.device_models.engines import choose_engine
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.networks.store import load_network, save_network
from spinloom.reduced_models import reach
from spinloom.reduced_models.fit import fit_model
from spinloom.reduced_models.model import load_model, save_model
from spinloom.workflows.cosimulate import compare, verdict_generate
from spinloom.workflows.full_runs import How, foretold, side_by_side
from spinloom.workflows.recalibrate import join_calibration, recalibrate
from spinloom.workflows.settings import GenerateSettings, RecogniseSettings, override
from spinloom.workflows.train import generators, recognise_stage
from spinloom.workflows.trust import APART, PREVIEW
from spinloom.workflows.workers import Done, Here

# So few nodes, trained so little, go where a calibration of 1.5 ns has not been.
pytestmark = pytest.mark.filterwarnings("ignore::spinloom.reduced_models.region.OutsideCalibration")
EMBEDDED = choose_engine("embedded")


def _settings(**training):
    base = GenerateSettings()
    quick = {"teacher_periods": 30, "force_periods": 30, "trim_rounds": 2, "trim_periods": 8, "tries": 1}
    return override(
        base,
        period_ticks=48,
        free_periods=4,
        washouts=(2, 3),
        topology=override(base.topology, nodes=12).model_dump(),
        training=override(base.training, **quick, **training).model_dump(),
    )


@pytest.fixture(scope="module", autouse=True)
def one_candidate():
    """Fits are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "DEGREES", [4])
        patch.setattr(reach, "RIDGES", [1e-8])
        yield


@pytest.fixture(scope="module")
def networks(coarse_model):
    return generators(coarse_model, _settings(), ["sine", "triangle"])


@pytest.fixture(scope="module")
def weak(one_candidate, coarse_card, coarse_calibration):
    """A calibration that never saw more than a tenth of J_max, and what was fitted to it."""
    u = 0.1 * coarse_calibration["u"].values
    ticks = np.full(u.shape[1], coarse_calibration.attrs["tick_s"])
    _, m = EmbeddedEngine(coarse_card, coarse_calibration.attrs["tick_s"]).play(ticks, u.T)
    dataset = coarse_calibration.copy()
    dataset["u"], dataset["m"] = (("trajectory", "tick"), u), (dataset["m"].dims, m.transpose(1, 0, 2))
    return dataset, fit_model(dataset, "flow_map", 1.0)


@pytest.fixture(scope="module")
def lost(weak, networks):
    """A network that drives its nodes farther than its model was calibrated."""
    return replace(networks[0], settings={**networks[0].settings, "washouts": [2]})


def test_a_right_model_is_told_from_the_networks_own_drives(coarse_model, networks):
    _, results = compare(networks, coarse_model, EMBEDDED, PREVIEW + 1, How(kick=True))
    for result in results:
        error = result["model_error"]
        assert not result["stopped"]
        assert result["periods"] == PREVIEW + 1
        assert 0 < error["nrmse_median"] <= error["nrmse_worst"] < 0.2
        assert error["worst_node_difference"] < APART
        assert len(result["kick"]["shape_error_after"]) == 6
        assert result["kick"]["shape_error_after"][0] > result["kick"]["shape_error_before"]


def test_a_wrong_model_stops_the_verdict_after_a_few_periods(weak, lost, tmp_path, capsys):
    out = tmp_path / "record.nc"
    (result,) = verdict_generate([lost], weak[1], EMBEDDED, PREVIEW + 2, out)
    assert result["stopped"]
    assert result["periods"] == PREVIEW
    assert not result["model_error"]["worst_node_difference"] <= APART
    assert out.is_file()
    told = capsys.readouterr().err
    assert f"stopped after {PREVIEW} periods" in told
    assert "--recalibrate" in told
    (result,) = verdict_generate([lost], weak[1], EMBEDDED, PREVIEW + 2, None, How(anyway=True))
    assert (result["stopped"], result["periods"]) == (False, PREVIEW + 2)
    assert "run to the end all the same" in capsys.readouterr().err


def test_networks_with_a_clock_run_beside_others_without(networks):
    clock = np.arange(48) / 48
    batch = side_by_side([networks[0], replace(networks[1], clock=clock)])
    np.testing.assert_array_equal(batch.clock, np.stack([np.zeros(48), clock], axis=1))
    assert side_by_side(networks).clock is None


def test_records_of_the_network_join_the_calibration_and_mend_the_model(weak, lost):
    dataset, model = weak
    before = dataset.copy(deep=True)
    (network,), new, grown, (result,) = recalibrate([lost], model, dataset, EMBEDDED, 1)
    assert dataset.identical(before)
    assert result["trajectories"] == 12
    assert grown.sizes["trajectory"] == dataset.sizes["trajectory"] + 12
    assert grown["drive_kind"].values[-12:].tolist() == ["network"] * 12
    assert np.abs(grown["u"].values[-12:]).max() > 0.3
    assert not result["before"]["worst_node_difference"] <= APART
    assert result["after"]["worst_node_difference"] <= APART
    assert result["after"]["nrmse_worst"] < 0.2
    assert new is not model
    np.testing.assert_array_equal(network.weights.W, lost.weights.W)
    np.testing.assert_array_equal(network.f, lost.f)
    assert np.abs(network.weights.w_out - lost.weights.w_out).max() > 0


def test_a_good_model_is_left_alone(coarse_model, coarse_calibration, networks, monkeypatch):
    monkeypatch.setattr("spinloom.workflows.recalibrate.GOOD", 1.0)
    same, model, dataset, results = recalibrate(networks[:1], coarse_model, coarse_calibration, EMBEDDED, 3)
    assert (model, dataset, results) == (coarse_model, coarse_calibration, [])
    assert same[0] is networks[0]


def test_recalibration_writes_beside_and_overwrites_nothing(spinloom, weak, lost, tmp_path):
    dataset, model = weak
    calibration, model_path, net = tmp_path / "cal.nc", tmp_path / "model.nc", tmp_path / "sine.nc"
    save_calibration(dataset, calibration)
    save_model(model, model_path)
    save_network(lost, net, model_path)
    old = {path: path.read_bytes() for path in (calibration, model_path, net)}
    asked = ("cosimulate", net, "--periods", 1, "--recalibrate", 1)
    outcome = spinloom(*asked)
    assert outcome.code == 2
    assert "give --calibration" in outcome.err
    outcome = spinloom(*asked, "--calibration", calibration, "--json")
    assert outcome.code == 0, outcome.err
    assert {path: path.read_bytes() for path in old} == old
    names = ["sine-recalibrated1.nc", "model-recalibrated1.nc", "cal-recalibrated1.nc"]
    assert outcome.json["recalibrated"][-1]["files"] == [str(tmp_path / name) for name in names]
    assert outcome.json["network"] == str(tmp_path / names[0])
    again, its_model = load_network(tmp_path / names[0])
    assert its_model.name == names[1]
    assert load_model(its_model).holdout_nrmse == outcome.json["recalibrated"][0]["holdout_nrmse"]
    assert load_calibration(tmp_path / names[2]).sizes["trajectory"] == 24
    assert again.name == "sine"


def test_what_cannot_join_is_told(weak, lost, coarse_model, coarse_calibration):
    dataset, _ = weak
    with pytest.raises(SpinloomError, match="further trajectories of 200 ticks, got 7"):
        join_calibration(dataset, np.zeros((7, 2)), np.zeros((7, 2, 3)), 1.0)
    other = coarse_calibration.assign_attrs(tick_s=1e-12)
    with pytest.raises(SpinloomError, match="one of another device or tick"):
        recalibrate([lost], coarse_model, other, EMBEDDED)
    with pytest.raises(SpinloomError, match="networks that generate"):
        recalibrate([replace(lost, task="recognise")], coarse_model, coarse_calibration, EMBEDDED)


@pytest.fixture(scope="module")
def listener(coarse_model, coarse_model_path, tmp_path_factory):
    """A recogniser of few junctions, in a file."""
    base = RecogniseSettings()
    quick = {"period_ticks": 24, "periods": 2, "train_trials": 40, "test_trials": 40}
    settings = override(base, **quick, topology=override(base.topology, nodes=8).model_dump())
    path = tmp_path_factory.mktemp("listener") / "recognise.nc"
    recognise_stage(coarse_model, coarse_model_path, settings, path)
    return path


class Watched(Here):
    """This process, and what it was asked to do."""

    def __init__(self):
        self.asked = []

    def map(self, function, inputs):
        self.asked += inputs
        yield from super().map(function, inputs)


def test_trials_in_parts_come_to_the_same(spinloom, listener, monkeypatch):
    words = ("cosimulate", listener, "--engine", "embedded", "--trials", 23, "--json")
    whole, workers = spinloom(*words).json, Watched()
    monkeypatch.setattr("spinloom.workflows.workers.open_workers", lambda *_: nullcontext(workers))
    outcome = spinloom(*words, "--workers", 3)
    assert outcome.code == 0, outcome.err
    parts = outcome.json
    assert [one["part"] for one in workers.asked] == [(0, 10), (10, 20), (20, 23)]
    for name in ("accuracy_full", "trials", "confusion", "engine", "temperature", "classes"):
        assert parts[name] == whole[name], name
    assert parts["outside_share"] == pytest.approx(whole["outside_share"], abs=0.02)


def test_parts_that_fail_are_told(spinloom, listener, monkeypatch):
    class Failing(Here):
        def map(self, function, inputs):
            yield Done(0, function(inputs[0]))
            yield Done(1, error="out of memory")

    monkeypatch.setattr("spinloom.workflows.workers.open_workers", lambda *_: nullcontext(Failing()))
    outcome = spinloom("cosimulate", listener, "--engine", "embedded", "--trials", 12, "--workers", 2)
    assert outcome.code == 4
    assert "1 of 2 parts of 10 trials failed, the first from trial 10 on: out of memory" in " ".join(
        outcome.err.split()
    )


@pytest.mark.slow
@pytest.mark.usefixtures("parts")
def test_trials_on_two_processes_come_to_the_same(spinloom, listener):
    words = ("cosimulate", listener, "--engine", "embedded", "--trials", 20, "--json")
    whole, parts = spinloom(*words).json, spinloom(*words, "--workers", 2).json
    assert (parts["confusion"], parts["trials"]) == (whole["confusion"], 20)


def test_a_generator_stays_in_one_process(refused, networks, coarse_model_path, tmp_path):
    save_network(networks[0], tmp_path / "sine.nc", coarse_model_path)
    refused("cosimulate", tmp_path / "sine.nc", "--workers", 2, told="workers: are for networks that recognise")


def test_the_cost_is_told_after_the_first_pieces(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 11.0, 12.0])
    monkeypatch.setattr("spinloom.workflows.full_runs.time.perf_counter", lambda: next(clock))
    done = []
    tell = foretold(done.append, "all", 100)
    for _ in range(3):
        tell(10)
    assert done == [10, 10, 10]
    assert "100 ticks of 1e+03 ms, 80 s from now" in capsys.readouterr().err
