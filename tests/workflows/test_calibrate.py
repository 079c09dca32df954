"""Calibration of a device and of a population, with rigid layers for full micromagnetics."""

from contextlib import nullcontext

import numpy as np
import pytest

from spinloom.device_models.calibration import Design, Protocol, load_calibration
from spinloom.device_models.card import parse_card
from spinloom.device_models.engines import ENGINES, Kind
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.groups import Group
from spinloom.device_models.spread import Spread
from spinloom.device_models.ubermag import card_toml
from spinloom.workflows.calibrate import Away, read_grades, read_spread
from spinloom.workflows.workers import Team


def test_a_spread_is_one_number_or_some_by_name():
    assert read_spread("0.05") == Spread.uniform(0.05)
    assert read_spread(" diameter = 0.03 ,RA=0.05") == Spread(diameter=0.03, RA=0.05)
    assert read_spread("0") == Spread()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "spread: expected a standard deviation such as 0.05, .*got ''"),
        ("wide", "got 'wide'"),
        ("diameter=", "got 'diameter='"),
        ("diameter=0.1=0.2", "got 'diameter=0.1=0.2'"),
        ("diameter=0.1,RA", "got 'diameter=0.1,RA'"),
        ("diameter=0.1,diameter=0.2", "got 'diameter=0.1,diameter=0.2'"),
        ("TMR=0.1", "spread: TMR: unknown field"),
        ("correlations=0.1", "spread: correlations: Input should be a valid dictionary"),
        ("-0.1", "spread: diameter: Input should be greater than or equal to 0"),
        ("0.6", "spread: diameter: Input should be less than or equal to 0.5"),
        ("nan", "spread: diameter: Input should be"),
    ],
)
def test_a_spread_that_is_none_is_told(text, told):
    with pytest.raises(SpinloomError, match=told):
        read_spread(text)


def test_grades_are_shares_or_none():
    assert read_grades(" None ") == ()
    assert read_grades("0.5,0.2") == (0.5, 0.2)
    with pytest.raises(SpinloomError, match="grades: expected shares of J_max .* got 'half'"):
        read_grades("half")


@pytest.fixture
def card_path(large_card, tmp_path):
    path = tmp_path / "large.toml"
    path.write_text(card_toml(large_card))
    return path


QUICK = ("--trajectories", 6, "--duration", "3e-11", "--grades", "none", "--no-probe")


@pytest.mark.usefixtures("rigid_layers")
def test_a_population_is_calibrated_by_its_design(card_path, spinloom, large_card, tmp_path):
    out = tmp_path / "wafer.nc"
    how = ("--engine", "rigid", *QUICK, "--spread", "diameter=0.03,RA=0.05", "--seed", 3)
    outcome = spinloom("calibrate", card_path, *how, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["engine"], outcome.json["trajectories"], outcome.json["temperature"]) == ("rigid", 6, 0)
    assert "disc60 of 3 devices that differ" in outcome.err
    design = Design.of(Spread(diameter=0.03, RA=0.05), Protocol(trajectories=6, grades=(), seed=3))
    np.testing.assert_array_equal(load_calibration(out)["deviation"], np.tile(design.deviations, (2, 1)))
    assert load_calibration(out).attrs["card"] == large_card.to_json()


@pytest.mark.usefixtures("rigid_layers")
def test_without_a_spread_there_is_one_device(card_path, spinloom, tmp_path):
    outcome = spinloom("calibrate", card_path, "--engine", "rigid", *QUICK, "--out", tmp_path / "c.nc", "--json")
    assert outcome.code == 0, outcome.err
    assert "deviation" not in load_calibration(tmp_path / "c.nc")


def test_a_layer_that_does_not_stay_is_refused_before_it_is_driven(
    card_path, large_card, alter, refused, rigid_engine, monkeypatch, tmp_path
):
    """Rigid layers stand for the embedded engine, which watches at rest."""
    small = {"size": (20e-9, 20e-9, 2e-9), "cell": (20e-9, 20e-9, 2e-9)}
    card_path.write_text(card_toml(alter(large_card, geometry=small, bias={"H": (0, 400.0, 0)})))
    monkeypatch.setitem(ENGINES, "embedded", Kind(lambda cards, tick, *_: nullcontext(rigid_engine(cards, tick))))
    how = ("--engine", "embedded", *QUICK, "--temperature", 300, "--out", tmp_path / "c.nc")
    refused("calibrate", card_path, *how, told="conditions.temperature: disc60 is not stable at 300 K: of its <m>")
    assert not (tmp_path / "c.nc").exists()


@pytest.mark.usefixtures("rigid_layers")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--temperature", -3), "conditions.temperature: Input should be greater than or equal to 0"),
        (("--temperature", 1e5), "conditions.temperature: Input should be less than or equal to 1500"),
        (("--spread", "colour=0.1"), "spread: colour: unknown field"),
        (("--spread", "much"), "spread: expected a standard deviation such as 0.05"),
        (("--spread", "thickness=0.5", "--trajectories", 400), "times the card's, expected more than 0"),
        (("--spread", "0.05", "--engine", "oommf-reference"), "engine: oommf-reference holds no devices that differ"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(card_path, refused, tmp_path, options, told):
    out = tmp_path / "c.nc"
    refused("calibrate", card_path, "--engine", "rigid", *QUICK, *options, "--out", out, told=told)
    assert not out.exists()


@pytest.mark.usefixtures("rigid_layers")
def test_a_spread_that_no_device_has_is_told_before_the_probe(card_path, refused, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("probed")

    monkeypatch.setattr("spinloom.workflows.calibrate.advised", never)
    how = ("--engine", "rigid", "--trajectories", 400, "--spread", "thickness=0.5", "--out", tmp_path / "c.nc")
    refused("calibrate", card_path, *how, told="lower the spread of thickness")


MANY = ("--trajectories", 88, "--duration", "7.5e-11", "--grades", "none", "--no-probe")


@pytest.mark.usefixtures("parts")
def test_groups_on_workers_give_the_same_numbers_and_are_kept(card_path, spinloom, store, tmp_path, monkeypatch):
    """Groups as they are without workers: two of 44 here."""
    monkeypatch.setenv("SPINLOOM_STORE", "off")
    alone = spinloom("calibrate", card_path, "--engine", "embedded", *MANY, "--out", tmp_path / "alone.nc")
    assert alone.code == 0, alone.err
    monkeypatch.setenv("SPINLOOM_STORE", str(store.folder))
    words = ("calibrate", card_path, "--engine", "embedded", *MANY, "--workers", 2)
    assert spinloom(*words, "--out", tmp_path / "two.nc").code == 0
    one, two = (load_calibration(tmp_path / f"{name}.nc") for name in ("alone", "two"))
    np.testing.assert_allclose(two["m"], one["m"], rtol=0, atol=1e-12)
    assert len(list(store.entries())) == len(np.unique(one["u"], axis=0))
    monkeypatch.setattr("spinloom.workflows.workers.open_workers", None)  # nobody is asked
    again = spinloom(*words, "--out", tmp_path / "again.nc")
    assert again.code == 0, again.err
    np.testing.assert_array_equal(load_calibration(tmp_path / "again.nc")["m"], two["m"])


@pytest.mark.usefixtures("rigid_layers", "parts")
def test_what_workers_cannot_compute_is_told_with_its_numbers(card_path, spinloom, tmp_path):
    """They are other processes, and know nothing of the layers of this test."""
    words = ("calibrate", card_path, "--engine", "rigid", *MANY, "--workers", 2, "--out", tmp_path / "c.nc")
    outcome = spinloom(*words)
    assert outcome.code == 4
    told = " ".join(outcome.err.split())
    assert (
        "88 trajectories were not computed, numbers 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 ...: engine: expected one of" in told
    )
    assert "the same command tries again" in told
    assert not (tmp_path / "c.nc").exists()


@pytest.mark.usefixtures("rigid_layers")
def test_an_engine_of_single_devices_gives_each_its_equilibrium(large_card, rigid_engine):
    """A worker relaxes nothing again, and gets no device that it does not need."""
    cards = Design.of(Spread(Ms=0.05), Protocol(trajectories=6, grades=())).cards(large_card)
    engine = rigid_engine(cards, 7.5e-12)
    engine.together = 1
    group = Group(np.array([5]), np.array([2]), np.zeros((3, 1)), 7)
    given = Away(engine, Team(2, oommf="somewhere"))._given(group)
    assert [parse_card(card) for card in given["cards"]] == [cards[2]]
    np.testing.assert_array_equal(given["initial"], engine.equilibria[2])
    numbers, devices, _, seed = given["group"]
    assert (numbers.tolist(), devices.tolist(), seed, given["oommf"]) == ([5], [0], 7, "somewhere")
