"""Which junction and how many: the cards that are tried, what is kept, what is chosen, and what is written."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from spinloom.device_models.engines.demag import demag_factors
from spinloom.device_models.engines.llg import spin_torque_field
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import Spread
from spinloom.device_models.ubermag import card_toml
from spinloom.networks.tasks import target
from spinloom.workflows import design, rigid
from spinloom.workflows.design import (
    Point,
    Wish,
    cheapest,
    check_spread,
    designed,
    experiment_of,
    finalists,
    grid,
    mapped,
    resonance_of,
    wished,
)
from spinloom.workflows.design_page import write_choice
from spinloom.workflows.settings import load_experiment

POINT = Point(80e-9, 3e-9, 0.4, 2.0, 1e-9, 0, 4)


def wish(**rest):
    given = {"diameters": (80e-9, 100e-9), "thicknesses": (2e-9,), "nodes": (4,), "tasks": ("sine",), "nrmse": (0.5,)}
    return Wish(**(given | {"accuracy": 0.0, "chips": 4, "spread": Spread.uniform(0.02)} | rest))


def test_a_junction_is_designed_by_size_voltage_and_bias(large_card):
    card = designed(large_card, POINT)
    assert card.geometry.size == pytest.approx((80e-9, 80e-9, 3e-9))
    assert card.geometry.shape_cells == (design.MESH, design.MESH, 1)
    assert card.torque.J_max * card.readout.RA == pytest.approx(0.4)
    # A bias of one torque field is where damping-like torque at full drive and field are as strong.
    np.testing.assert_allclose(card.bias.H, [0, 2.0 * spin_torque_field(card) * card.torque.P / 2, 0])
    assert (card.material, card.readout, card.start) == (large_card.material, large_card.readout, large_card.start)
    fine = designed(large_card, POINT, 5e-9)
    assert max(fine.geometry.cell[:2]) <= 5e-9
    assert fine.geometry.shape_cells == (16, 16, 1)


def test_an_ellipse_keeps_its_proportions(large_card, alter):
    long = alter(large_card, geometry={"size": (50e-9, 100e-9, 2e-9), "cell": (25e-9, 25e-9, 2e-9)})
    card = designed(long, POINT)
    assert card.geometry.size == pytest.approx((80e-9, 160e-9, 3e-9))
    assert card.geometry.cell[0] == pytest.approx(card.geometry.cell[1])


def test_its_resonance_is_that_of_kittel(large_card):
    card = designed(large_card, POINT)
    _, y, z = demag_factors(card.geometry)
    H = card.bias.H[1]
    expected = card.material.gamma0 / (2 * np.pi) * np.sqrt(H * (H + (z - y) * card.material.Ms))
    assert resonance_of(card) == pytest.approx(expected / np.sqrt(1 + card.material.alpha**2), rel=1e-3)


def test_the_map_holds_every_choice_once(large_card, monkeypatch):
    monkeypatch.setattr(design, "resonance_of", lambda card: 2e9)
    points = grid(large_card, wish(nodes=(20, 80, 40), voltage=0.8))
    choices = (len(design.VOLTAGES), len(design.FIELDS), len(design.RESONANCES), len(design.POINTS))
    assert len(points) == len(set(points)) == 2 * np.prod(choices)
    assert {p.nodes for p in points} == {40}
    assert {p.period for p in points} == {times / 2e9 for times in design.RESONANCES}
    assert max(p.voltage for p in points) == 0.8


@pytest.fixture
def counted(monkeypatch):
    """Evaluations that cost nothing: an error that falls with the diameter, an energy that grows with voltage."""
    asked = []

    def evaluate(card, points, wanted, seeds):
        if len(asked) == counted.stops_after:
            raise KeyboardInterrupt
        asked.append(list(points))
        rows = []
        for point in points:
            error, stable = 4e-8 / point.diameter, point.field > 1.5
            rest = {"power": point.voltage, "energy": point.voltage * point.nodes, "stable": stable}
            errors = {f"nrmse_{task}": error for task in wanted.tasks}
            rows.append({**asdict(point), **errors, **rest, "score": error / wanted.nrmse[0] if stable else np.inf})
        return rows

    def counted():
        return asked

    counted.stops_after = None
    monkeypatch.setattr(design, "evaluate", evaluate)
    monkeypatch.setattr(design, "resonance_of", lambda card: 2e9)
    return counted


def test_an_interrupted_map_goes_on(large_card, counted, tmp_path):
    kept = tmp_path / "map.json"
    whole = mapped(large_card, wish(), tmp_path / "other.json")
    batches = len(counted())
    counted().clear()
    counted.stops_after = 5
    with pytest.raises(KeyboardInterrupt):
        mapped(large_card, wish(), kept)
    first = [point for batch in counted() for point in batch]
    assert len(json.loads(kept.read_text())["rows"]) == len(first) == 5 * design.TOGETHER
    counted.stops_after = None
    counted().clear()
    assert mapped(large_card, wish(), kept) == whole
    assert len(counted()) == batches - 5
    assert not set(first) & {point for batch in counted() for point in batch}
    counted().clear()
    assert mapped(large_card, wish(), kept) == whole
    assert counted() == []


def test_a_map_serves_other_wishes_of_the_same_errors(large_card, counted, tmp_path):
    kept = tmp_path / "map.json"
    rows = mapped(large_card, wish(), kept)
    counted().clear()
    stricter = mapped(large_card, wish(nrmse=(0.25,), least_yield=0.5), kept)
    assert counted() == []
    assert [row["score"] for row in stricter] == pytest.approx([2 * row["score"] for row in rows])
    fewer = mapped(large_card, wish(diameters=(100e-9,)), kept)
    assert counted() == []
    assert {row["diameter"] for row in fewer} == {100e-9}
    for other in (wish(temperature=200.0), wish(tasks=("triangle",))):
        assert len(mapped(large_card, other, kept)) == len(rows)
        assert sum(map(len, counted())) == len(rows)
        counted().clear()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": [1]}'])
def test_a_map_that_is_damaged_is_made_again(large_card, counted, tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    rows = mapped(large_card, wish(), tmp_path / "map.json")
    assert sum(map(len, counted())) == len(rows)


def row(diameter, voltage, energy, score, **rest):
    point = asdict(POINT) | {"diameter": diameter, "voltage": voltage}
    return {**point, "energy": energy, "score": score, "nrmse_sine": score, "power": 1.0, "stable": score < 9, **rest}


def test_finalists_are_junctions_that_differ_the_cheapest_that_does_it_among_them():
    rows = [row(1e-7, 0.1 * k, energy=k, score=1.5 - 0.1 * k) for k in range(1, 9)]
    rows += [row(1e-7, 0.5, energy=2, score=0.99), row(2e-7, 0.1, energy=0.1, score=np.inf)]
    found = [(point.diameter, round(10 * point.voltage)) for point in finalists(rows)]
    assert len(found) == len(set(found)) > 2
    assert (1e-7, 5) in found
    assert (2e-7, 1) not in found


def test_where_nothing_does_it_the_nearest_is_a_finalist():
    rows = [row(1e-7, 0.1 * k, energy=k, score=9 - k) for k in range(1, 7)]
    assert 6 in [round(10 * point.voltage) for point in finalists(rows)]


def test_the_cheapest_is_taken_that_does_all_that_is_asked(large_card, monkeypatch):
    scores = {40e-9: 1.2, 60e-9: 0.9, 80e-9: 0.8, 100e-9: 0.7, 130e-9: 0.6}
    rows = [row(diameter, 0.3, energy=diameter, score=score) for diameter, score in scores.items()]
    yields, heard, tried = {60e-9: 0.5, 80e-9: 0.95, 100e-9: 1.0}, {80e-9: 0.7, 100e-9: 0.99}, []

    def of_chips(card, point, wanted):
        tried.append(point.diameter)
        return {"yield": yields[point.diameter]}

    monkeypatch.setattr(design, "yields", of_chips)
    monkeypatch.setattr(design, "heard", lambda card, point, wanted: heard[point.diameter])
    best = cheapest(large_card, [dict(one) for one in rows], wish(accuracy=0.9))
    assert (best["diameter"], best["yield"], best["accuracy"]) == (100e-9, 1.0, 0.99)
    assert tried == [60e-9, 80e-9, 100e-9]
    assert cheapest(large_card, [dict(one) for one in rows], wish())["diameter"] == 80e-9
    assert cheapest(large_card, [dict(one) for one in rows[:2]], wish()) is None


def test_tasks_that_are_usual_have_usual_errors():
    given = {"temperature": 300.0, "diameters": (1e-7,), "thicknesses": (2e-9,)}
    usual = dict(zip(Wish.model_fields["tasks"].default, Wish.model_fields["nrmse"].default, strict=True))
    assert wished(None, None, **given).nrmse == tuple(usual.values())
    assert wished(["harmonics", "square"], None, **given).nrmse == (usual["harmonics"], min(usual.values()))
    assert wished(["square"], [0.4], **given).nrmse == (0.4,)


@pytest.fixture
def small(monkeypatch):
    """A map of one junction, judged on short runs."""
    monkeypatch.setattr(design, "VOLTAGES", (1.0,))
    monkeypatch.setattr(design, "FIELDS", (2.0,))
    monkeypatch.setattr(design, "RESONANCES", (2.2,))
    monkeypatch.setattr(design, "SEEDS", design.SEEDS | {"choice": [100]})
    monkeypatch.setattr(rigid, "HOW", rigid.HOW.model_copy(update={"teacher_periods": 12}))
    monkeypatch.setattr(rigid, "JUDGED", 10)


@pytest.fixture
def card_path(large_card, tmp_path):
    path = tmp_path / "large.toml"
    path.write_text(card_toml(large_card))
    return path


SMALL = ("--diameters", "100", "--thicknesses", "2", "--nodes", "4", "--chips", 4, "--accuracy", 0, "--task", "sine")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_design_writes_what_a_run_takes(card_path, spinloom, tmp_path, monkeypatch, wafer_run):
    ran, said = [], json.loads((wafer_run / "summary.json").read_text())
    monkeypatch.setattr(design, "run_experiment", lambda path, folder: ran.append((path, folder)) or said)
    out = tmp_path / "design"
    how = (*SMALL, "--nrmse", 0.9, "--yield", 0.5, "--spread", "0.02", "--out", out)
    outcome = spinloom("design", card_path, *how, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["outcome"], outcome.json["points"]) == ("found", 2)
    assert outcome.json["full"] == said
    chosen = outcome.json["chosen"]
    assert chosen["yield"] >= 0.5
    assert 0 < chosen["nrmse_sine"] <= 0.9
    assert chosen["energy"] == pytest.approx(chosen["power"] * chosen["period"])
    assert ran == [(out / "experiment.toml", out / "run")]
    experiment, card = load_experiment(out / "experiment.toml")
    assert (experiment.temperature, experiment.spread.RA, experiment.generate.topology.nodes) == (300, 0.02, 4)
    assert experiment.calibration.tick * experiment.generate.period_ticks == pytest.approx(chosen["period"])
    assert card.torque.J_max * card.readout.RA == pytest.approx(chosen["voltage"])
    assert max(card.geometry.cell[:2]) <= design.COARSEST
    assert len(pd.read_csv(out / "map.csv")) == 2
    assert json.loads((out / "design.json").read_text())["chosen"] == chosen
    page = (out / "design.html").read_text()
    for told in ("the cheapest that does it", f"{said['generate']['sine']['nrmse_full']:.4f}"):
        assert told in page

    before = (out / "map.json").stat().st_mtime_ns
    harder = spinloom("design", card_path, *SMALL, "--nrmse", 1e-3, "--no-verify", "--out", out, "--json")
    assert (harder.code, harder.json["outcome"], harder.json["full"]) == (3, "nothing does it", None), harder.err
    assert "nothing on this map does what is asked; nearest: 4 junctions of 100 nm" in " ".join(harder.err.split())
    assert len(ran) == 1
    assert (out / "map.json").stat().st_mtime_ns == before


@pytest.mark.usefixtures("small")
def test_a_temperature_at_which_nothing_stays_is_told(card_path, refused, counted, tmp_path, monkeypatch):
    monkeypatch.setattr(design, "FIELDS", (1.0,))
    how = (*SMALL, "--temperature", 1000, "--no-verify", "--out", tmp_path / "d")
    refused("design", card_path, *how, told="temperature: at 1000 K none of these junctions stays where it rests")
    assert not (tmp_path / "d" / "design.json").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--temperature", -1), "temperature: Input should be greater than 0"),
        (("--temperature", 9000), "temperature: Input should be less than or equal to 1500"),
        (("--voltage", 0), "voltage: Input should be greater than 0"),
        (("--voltage", 12), "voltage: Input should be less than or equal to 5"),
        (("--spread", "wide"), "spread: expected a standard deviation such as 0.05"),
        (("--spread", "width=0.1"), "spread: width: unknown field"),
        (("--spread", "RA=-0.1"), "spread: RA: Input should be greater than or equal to 0"),
        (("--nrmse", 0.1), "nrmse: expected one error for each of sine, triangle, harmonics, got 1"),
        (("--task", "sine", "--nrmse", 0.1, "--nrmse", 0.2), "nrmse: expected one error for each of sine, got 2"),
        (("--task", "sine", "--nrmse", 0), "nrmse and nodes: expected errors above 0"),
        (("--task", "music"), "task: expected one of sine"),
        (("--nodes", "0"), "nrmse and nodes: expected errors above 0, and 1 to 1000 nodes"),
        (("--nodes", "4.5"), "nodes: expected whole numbers with commas between, such as 20,40, got '4.5'"),
        (("--diameters", "wide"), "diameters: expected lengths in nm with commas between"),
        (("--diameters", "-60"), "diameters: expected lengths from 0.5 to 10000 nm, got '-60'"),
        (("--thicknesses", "nan"), "thicknesses: expected lengths from 0.5 to 10000 nm, got 'nan'"),
        (("--accuracy", 1.5), "accuracy: Input should be less than 1"),
        (("--yield", 0), "least_yield: Input should be greater than 0"),
        (("--chips", 1), "chips: Input should be greater than or equal to 4"),
    ],
)
def test_a_mistake_is_told_before_anything_is_computed(card_path, refused, counted, tmp_path, options, told):
    refused("design", card_path, *options, "--out", tmp_path / "d", told=told)
    assert counted() == []
    assert not (tmp_path / "d").exists()


def test_a_card_without_a_field_has_no_direction_to_keep(large_card, alter, tmp_path, counted):
    with pytest.raises(SpinloomError, match="bias.H: expected a field, whose direction a design keeps, got none"):
        design.design_stage(alter(large_card, bias={"H": (0, 0, 0)}), tmp_path / "d", wish(), verify=False)
    assert counted() == []


def test_a_series_of_ones_own_goes_beside_the_experiment(tmp_path, large_card):
    series = tmp_path / "mine.csv"
    series.write_text("f\n" + "\n".join(f"{np.sin(k / 10)}" for k in range(63)))
    folder = tmp_path / "design"
    folder.mkdir()
    wanted = wish(tasks=(str(series),), nrmse=(0.2,))
    path = write_choice(designed(large_card, POINT, 2e-8), experiment_of(POINT, wanted), "words", folder)
    series.unlink()
    experiment, _ = load_experiment(path)
    assert experiment.generate.tasks == (str(folder.resolve() / "mine.csv"),)
    assert target(experiment.generate.tasks[0], 60).shape == (60, 1)


def test_a_spread_is_held_against_every_chip_before_anything_is_computed(large_card):
    with pytest.raises(SpinloomError, match="lower the spread of thickness"):
        check_spread(large_card, wish(spread=Spread(thickness=0.4), nodes=(40,), chips=24))
