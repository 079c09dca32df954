"""How good chips are whose junctions differ: on a map of rigid layers at 0 K, where equal chips do exactly the same."""

import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.spread import PARAMETERS, Spread
from spinloom.networks.topology import Topology
from spinloom.networks.training import Training
from spinloom.reduced_models.model import save_model
from spinloom.workflows import echo_state, yields
from spinloom.workflows.baselines import KINDS
from spinloom.workflows.settings import GenerateSettings
from spinloom.workflows.workers import Team
from spinloom.workflows.yields import Batch, Elsewhere, yield_stage

NODES, TASKS = 4, ("sine", "triangle")
SPREAD = Spread(diameter=0.03, RA=0.05, offset=0.02)
SETTINGS = GenerateSettings(
    tasks=TASKS,
    period_ticks=40,
    washouts=(3,),
    topology=Topology(nodes=NODES, spectral_radius=0.6, bias=1.0, gain=0.7, clock=2.0),
    training=Training(method="ridge", teacher_periods=10, noise=0.0, ridge=1e-4),
)


@pytest.fixture(scope="module", autouse=True)
def short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yields, "PERIODS", 4)
        patch.setattr(yields, "SHOWN", 3)
        yield


def batch(model, deviations):
    return Batch.of(model, SETTINGS, np.asarray(deviations))


def errors(one, w_out, first=0):
    return {(row["chip"], row["task"]): row["nrmse"] for row in one.judged(w_out, {}, first)}


@pytest.fixture(scope="module")
def equal(wafer_model):
    """Three chips of nominal junctions."""
    return batch(wafer_model, np.zeros((3, NODES, len(PARAMETERS))))


@pytest.fixture(scope="module")
def drawn():
    return np.stack([SPREAD.draw(NODES, chip) for chip in range(3)])


@pytest.fixture(scope="module")
def different(wafer_model, drawn):
    """Three chips whose junctions differ."""
    return batch(wafer_model, drawn)


def test_equal_chips_do_the_same_and_as_one_alone(wafer_model, equal):
    one = batch(wafer_model, np.zeros((1, NODES, len(PARAMETERS))))
    alone, w_out = errors(one, one.trained()), equal.trained()
    several = errors(equal, w_out)
    assert set(several) == {(chip, task) for chip in range(3) for task in TASKS}
    assert all(0 < error < 0.6 for error in alone.values())
    for (_, task), error in several.items():
        assert error == pytest.approx(alone[0, task], rel=1e-6)
    np.testing.assert_allclose(w_out[: one.apart], one.trained(), rtol=1e-5, atol=1e-8)
    assert errors(equal, one.trained(), first=7)[8, "sine"] == pytest.approx(alone[0, "sine"], rel=1e-6)


def test_on_equal_chips_one_readout_for_all_is_that_of_each(equal):
    np.testing.assert_allclose(equal.trained_together(), equal.trained()[: equal.apart], rtol=1e-5, atol=1e-8)


def test_tasks_that_share_junctions_do_as_networks_of_their_own(wafer_model, different, drawn):
    """A feedback that is next to nothing keeps them apart."""
    topology = SETTINGS.topology.model_copy(update={"feedback": 1e-9})
    apart = Batch.of(wafer_model, SETTINGS.model_copy(update={"topology": topology}), drawn)
    assert (different.apart, apart.apart) == (1, 2)
    own, shared = errors(apart, apart.trained()), errors(different, different.trained())
    assert own == pytest.approx(shared, rel=1e-5)
    own, shared = errors(apart, apart.trained_together()), errors(different, different.trained_together())
    assert own == pytest.approx(shared, rel=1e-5)


def test_a_chip_does_the_same_whatever_others_there_are(wafer_model, different, drawn):
    alone = batch(wafer_model, drawn[2:])
    mine = errors(alone, alone.trained(), first=2)
    several = errors(different, different.trained())
    for task in TASKS:
        assert several[2, task] == pytest.approx(mine[2, task], rel=1e-6)
    assert several[0, "sine"] != pytest.approx(several[1, "sine"], rel=1e-3)


def test_a_readout_that_is_copied_is_worse_than_one_that_is_trained(different, equal):
    own, copied = (errors(different, w_out) for w_out in (different.trained(), equal.trained()[: equal.apart]))
    shown = errors(different, different.trained_together())
    mean = [np.mean(list(one.values())) for one in (own, shown, copied)]
    assert mean[0] < mean[1] < mean[2]


@pytest.fixture
def known(monkeypatch):
    """Errors that are known: in proportion to the factor; those of chip 9 of ten are twice as large."""

    def rows(model, settings, spread, factors, chips, seed, elsewhere):
        for task, error in (("sine", 0.1), ("triangle", 0.2)):
            yield {"how": "each", "factor": 0.0, "task": task, "chip": 0, "nrmse": error}
            for factor in factors:
                for how, worse in (("each", 1.0), ("nominal", 2.0), ("several", 30.0)):
                    for chip in range(chips):
                        nrmse = error * factor * worse * (2 if chip == 9 else 1)
                        yield {"how": how, "factor": factor, "task": task, "chip": chip, "nrmse": nrmse}

    monkeypatch.setattr(yields, "_rows", rows)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("nrmse", "allows"),
    [
        ((), {"each": 1.0, "nominal": 0.5, "several": None}),
        ((0.25, 0.5), {"each": 2.0, "nominal": 1.0, "several": None}),
        ((0.25, 0.15), {"each": 0.5, "nominal": None, "several": None}),
    ],
    ids=["a quarter more than equal ones", "what is asked", "each task by itself"],
)
def test_the_spread_that_is_allowed_is_that_of_nine_chips_of_ten(wafer_model, tmp_path, capsys, nrmse, allows):
    out = tmp_path / "yield.csv"
    found = yield_stage(wafer_model, SETTINGS, SPREAD, (0.5, 1.0, 2.0, 4.0), 10, out, nrmse=nrmse, baselines=False)
    assert found["equal"] == {"sine": 0.1, "triangle": 0.2}
    assert list(found["limits"].values()) == pytest.approx(nrmse or (0.125, 0.25))
    assert found["allows"] == allows
    assert found["yields"]["several"] == dict.fromkeys(("0.5", "1", "2", "4"), 0.0)
    curve = next(c for c in found["curves"] if (c["how"], c["task"], c["factor"]) == ("nominal", "triangle", 2.0))
    assert curve["median"] == pytest.approx(0.2 * 2 * 2)
    assert curve["low"] == pytest.approx(curve["median"])
    assert curve["median"] < curve["high"] < 2 * curve["median"]
    said = capsys.readouterr().err
    assert "trained on each chip: 90% of chips are within sine 0." in said
    assert f"up to {allows['each']:g} times the spread" in said
    assert "not even at the least that was tried" in said
    assert len(pd.read_csv(out)) == 2 * (1 + 4 * 3 * 10)
    assert out.with_suffix(".svg").read_text().lstrip().startswith("<?xml")


@pytest.fixture
def files(tmp_path, wafer_model):
    """A model and an experiment, as the command takes them."""
    save_model(wafer_model, tmp_path / "model.nc")
    lines = ["[generate.training]", 'method = "ridge"', "teacher_periods = 10", "noise = 0.0"]
    topology = ["[generate.topology]", "nodes = 40", "feedback = 0", "clock = 2.0", "bias = 1.0"]
    head = ['name = "e"', "[spread]", "RA = 0.05", "[generate]", 'tasks = ["sine"]', "period_ticks = 40"]
    (tmp_path / "e.toml").write_text("\n".join([*head, *topology, *lines]))
    (tmp_path / "equal.toml").write_text('name = "equal"\n')
    return tmp_path


@pytest.mark.slow
def test_the_command_writes_a_table_and_a_plot(spinloom, files, monkeypatch):
    monkeypatch.setattr(echo_state, "CANDIDATES", 2)
    monkeypatch.setattr(echo_state, "PROMOTED", 1)
    how = ("--experiment", files / "e.toml", "--factors", "2,0.5", "--chips", 3, "--nodes", NODES)
    outcome = spinloom("yield", files / "model.nc", *how, "--out", files / "y.csv", "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["chips"], set(outcome.json["equal"]), outcome.json["spread"]["RA"]) == (3, {"sine"}, 0.05)
    table = pd.read_csv(files / "y.csv")
    assert list(table.columns) == ["how", "factor", "task", "chip", "nrmse"]
    counts = table.groupby(["how", "factor"]).size().to_dict()
    expected = {(how, factor): 3 for how in ("each", "nominal", "several") for factor in (0.5, 2.0)}
    assert counts == {("each", 0.0): 1, **expected}
    assert sorted(table.loc[(table["how"] == "each") & (table["factor"] == 2), "chip"]) == [0, 1, 2]
    assert (files / "y.svg").stat().st_size > 1000
    assert set(outcome.json["baselines"]["sine"]) == set(KINDS)
    assert "sine without magnets, NRMSE: no nodes" in outcome.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--chips", 1), "chips: expected at least 2, got 1"),
        (("--factors", "0,1"), "factors: expected multiples of the spread above 0"),
        (("--factors", "-1"), "factors: expected multiples of the spread above 0"),
        (("--factors", "nan"), "factors: expected"),
        (("--factors", "some"), "factors: expected numbers with commas between, such as 0.5,1, got 'some'"),
        (("--spread", "much"), "spread: expected a standard deviation such as 0.05"),
        (("--spread", "colour=0.1"), "spread: colour: unknown field"),
        (("--spread", "RA=0.9"), "spread: RA: Input should be less than or equal to 0.5"),
        (("--spread", "thickness=0.5", "--factors", "4", "--nodes", 4), "times the card's, expected more than 0"),
        (("--nrmse", 0.1, "--nrmse", 0.2), "nrmse: expected one for each of 1 tasks, got 2"),
        (("--seed", -1), "Invalid value for '--seed'"),
        (("--nodes", 0), "nodes: Input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(refused, files, options, told):
    refused(
        "yield", files / "model.nc", "--experiment", files / "e.toml", *options, "--out", files / "y.csv", told=told
    )
    assert not (files / "y.csv").exists()


def test_chips_that_do_not_differ_have_no_yield(refused, files):
    how = ("--experiment", files / "equal.toml", "--out", files / "y.csv")
    refused("yield", files / "model.nc", *how, told="spread: expected one above 0 of some parameter, got none")


@pytest.mark.slow
def test_chips_spread_over_processes_have_the_same_errors(wafer_model, tmp_path, monkeypatch):
    """Also where their order is another; read-outs come from this process, and so do what they are tried on."""
    save_model(wafer_model, tmp_path / "model.nc")
    tables = []
    monkeypatch.setattr(yields, "PERIODS", 40)  # as the other processes have it
    for name, elsewhere in (("here", None), ("there", Elsewhere(tmp_path / "model.nc", Team(2)))):
        found = yield_stage(wafer_model, SETTINGS, SPREAD, (1.0,), 11, tmp_path / f"{name}.csv", elsewhere=elsewhere)
        tables.append(pd.read_csv(found["out"]))
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)
