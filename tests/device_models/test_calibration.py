"""The calibration protocol and its data set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from spinloom.device_models import files
from spinloom.device_models.calibration import (
    CYCLE,
    FORMAT,
    KIND,
    Design,
    Protocol,
    calibrate,
    load_calibration,
    save_calibration,
)
from spinloom.device_models.card import DeviceCard
from spinloom.device_models.drives import KINDS, calibration_drive
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.scan import drive
from spinloom.device_models.spread import PARAMETERS, Spread


def test_protocol_draws_every_kind():
    protocol = Protocol(trajectories=9, duration=0.3e-9, grades=())
    assert set(protocol.kinds()) == set(KINDS) == set(CYCLE)
    u = protocol.drives()
    assert u.shape == (9, 40)
    assert np.abs(u).max() <= 1
    np.testing.assert_array_equal(u, Protocol(trajectories=9, duration=0.3e-9, grades=()).drives())
    assert not np.array_equal(u, Protocol(trajectories=9, duration=0.3e-9, grades=(), seed=1).drives())


def test_more_trajectories_keep_the_first_ones():
    few, many = (Protocol(trajectories=n, duration=0.1e-9, grades=()).drives() for n in (4, 7))
    np.testing.assert_array_equal(many[:4], few)


def test_grades_follow_what_has_full_amplitude():
    """The first drives are those of a protocol without grades; each grade scales drives of its own."""
    graded = Protocol(trajectories=9, duration=0.3e-9, grades=(0.5, 0.2))
    u, amplitude, kinds = graded.drives(), graded.amplitudes(), graded.kinds()
    assert (graded.n_trajectories, u.shape) == (25, (25, 40))
    np.testing.assert_array_equal(u[:9], Protocol(trajectories=9, duration=0.3e-9, grades=()).drives())
    assert amplitude.tolist() == [1.0] * 9 + [0.5] * 8 + [0.2] * 8
    assert kinds[9:17] == kinds[17:] == list(CYCLE)
    rng = np.random.default_rng([0, 17])
    np.testing.assert_array_equal(u[17], 0.2 * calibration_drive(CYCLE[0], 40, graded.tick, rng))
    largest = np.abs(u).max(axis=1)
    assert (largest <= amplitude).all()
    assert largest[17:].max() == pytest.approx(0.2, rel=0.1)


def test_few_runs_of_a_grade_still_see_every_kind_between_two_grades():
    kinds = Protocol(trajectories=5, grades=(0.5, 0.2), per_grade=4).kinds()
    assert kinds[5:] == list(CYCLE)


def test_a_protocol_without_grades_is_one_from_before_them():
    old = '{"tick":7.5e-12,"trajectories":40,"duration":6e-9,"seed":0}'
    assert Protocol.from_json(old) == Protocol(grades=())
    assert Protocol.from_json(Protocol().model_dump_json()) == Protocol()


@pytest.mark.parametrize(
    ("field", "value"),
    [("tick", 0), ("tick", float("nan")), ("trajectories", 3), ("duration", -1), ("seed", -1), ("x", 1)]
    + [("grades", value) for value in ((0.5, 1.0), (0.0,), (0.5, 0.2, 0.5), (float("nan"),), "0.5")]
    + [("per_grade", 3)],
)
def test_bad_protocol(field, value):
    with pytest.raises(ValidationError, match=field):
        Protocol(**{field: value})


def test_data_set(coarse_calibration, coarse_card):
    dataset = coarse_calibration
    assert dataset["u"].dims == ("trajectory", "tick")
    assert dataset["m"].dims == ("trajectory", "tick", "component")
    assert dataset["m"].shape == (12, 200, 3)
    assert dataset["field_start"].shape == (6, 6, 1, 3)
    assert dataset["component"].values.tolist() == ["x", "y", "z"]
    for name in ("u", "m", "m_start", "field_start"):
        assert dataset[name].attrs["units"] == "1"
        assert dataset[name].attrs["long_name"]
    assert dataset["t"].attrs["units"] == "s"
    np.testing.assert_allclose(dataset["t"], 7.5e-12 * np.arange(1, 201))
    assert dataset["drive_kind"].values[:8].tolist() == list(CYCLE)
    assert dataset["amplitude"].values.tolist() == [1.0] * 12
    assert DeviceCard.from_json(dataset.attrs["card"]) == coarse_card
    assert json.loads(dataset.attrs["protocol"])["trajectories"] == 12
    assert dataset.attrs["engine"] == "embedded"
    assert dataset.attrs["tick_s"] == 7.5e-12
    assert dataset.attrs["device_ns"] == pytest.approx(18)
    assert dataset.attrs["wall_s"] > 0


def test_values_are_what_the_engine_says(coarse_calibration, coarse_card):
    engine = EmbeddedEngine(coarse_card, 7.5e-12)
    start = engine.node.moment(engine.node.start(1))
    np.testing.assert_allclose(coarse_calibration["m_start"], start[0], atol=1e-12)
    mask = coarse_card.geometry.mask()
    np.testing.assert_allclose(coarse_calibration["field_start"].values[mask].mean(axis=0), start[0], atol=1e-12)
    np.testing.assert_array_equal(coarse_calibration["field_start"], engine.equilibria[0])
    _, m = drive(engine.node, coarse_calibration["u"].values[:2].T)
    np.testing.assert_allclose(coarse_calibration["m"][:2], m.swapaxes(0, 1), atol=1e-10)


def test_progress_counts_every_tick(coarse_card):
    done = []
    calibrate(
        coarse_card,
        EmbeddedEngine(coarse_card, 7.5e-12),
        Protocol(trajectories=4, duration=0.9e-9, grades=()),
        done.append,
    )
    assert sum(done) == 120


def test_round_trip(coarse_calibration, coarse_calibration_path):
    found = load_calibration(coarse_calibration_path)
    for name in coarse_calibration.variables:
        np.testing.assert_array_equal(found[name], coarse_calibration[name])
    for name in ("card", "protocol", "engine", "engine_version", "tick_s"):
        assert found.attrs[name] == coarse_calibration.attrs[name]
    assert found.attrs["spinloom_kind"] == KIND


def test_a_graded_set_keeps_its_amplitudes(coarse_card, tmp_path):
    protocol = Protocol(trajectories=4, duration=30e-12, grades=(0.5,), per_grade=4)
    dataset = calibrate(coarse_card, EmbeddedEngine(coarse_card, protocol.tick), protocol)
    assert dataset.attrs["device_ns"] == pytest.approx(8 * 0.03)
    save_calibration(dataset, tmp_path / "a.nc")
    found = load_calibration(tmp_path / "a.nc")
    assert found["amplitude"].values.tolist() == protocol.amplitudes().tolist()
    assert Protocol.from_json(found.attrs["protocol"]) == protocol


def test_a_set_that_does_not_say_its_amplitudes_has_full_ones(coarse_calibration, tmp_path):
    save_calibration(coarse_calibration.drop_vars("amplitude"), tmp_path / "a.nc")
    assert load_calibration(tmp_path / "a.nc")["amplitude"].values.tolist() == [1.0] * 12


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_amplitudes_that_are_none(coarse_calibration, tmp_path, value):
    values = np.where(np.arange(12) == 3, value, 1.0)
    save_calibration(coarse_calibration.assign_coords(amplitude=("trajectory", values)), tmp_path / "a.nc")
    with pytest.raises(
        SpinloomError, match=f"amplitude: expected shares of J_max above 0 and at most 1, got {value:g}"
    ):
        load_calibration(tmp_path / "a.nc")


def test_truncated_file(coarse_calibration_path, tmp_path):
    path = tmp_path / "cut.nc"
    path.write_bytes(coarse_calibration_path.read_bytes()[:5000])
    with pytest.raises(SpinloomError, match="cut.nc: damaged or not NetCDF"):
        load_calibration(path)


def test_wrong_kind(coarse_calibration, tmp_path):
    files.save(coarse_calibration, tmp_path / "a.nc", "reduced model", FORMAT)
    with pytest.raises(SpinloomError, match="expected a calibration file, got reduced model"):
        load_calibration(tmp_path / "a.nc")


def test_wrong_version(coarse_calibration, tmp_path):
    files.save(coarse_calibration, tmp_path / "a.nc", KIND, FORMAT + 1)
    with pytest.raises(
        SpinloomError, match=f"calibration format {FORMAT + 1}, but this Spinloom reads format {FORMAT}"
    ):
        load_calibration(tmp_path / "a.nc")


def test_values_that_are_not_finite(coarse_calibration, tmp_path):
    damaged = coarse_calibration.copy(deep=True)
    damaged["m"][3, 7, 0] = np.nan
    save_calibration(damaged, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match="variable m has values that are not finite"):
        load_calibration(tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["u", "m"])
def test_missing_variable(coarse_calibration, tmp_path, name):
    save_calibration(coarse_calibration.drop_vars(name), tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match=f"expected a variable {name} with dimensions"):
        load_calibration(tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["card", "tick_s", "engine", "protocol"])
def test_missing_attribute(coarse_calibration, tmp_path, name):
    damaged = coarse_calibration.copy()
    del damaged.attrs[name]
    save_calibration(damaged, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match=f"expected an attribute {name}"):
        load_calibration(tmp_path / "a.nc")


def test_damaged_card(coarse_calibration, tmp_path):
    damaged = coarse_calibration.assign_attrs(
        card=coarse_calibration.attrs["card"].replace('"alpha":0.1', '"alpha":-1')
    )
    save_calibration(damaged, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match="alpha"):
        load_calibration(tmp_path / "a.nc")
    save_calibration(coarse_calibration.assign_attrs(card="{"), tmp_path / "b.nc")
    with pytest.raises(SpinloomError, match="card"):
        load_calibration(tmp_path / "b.nc")


def test_a_design_holds_every_fifth_device_out_and_draws_the_others_wider():
    protocol = Protocol(trajectories=20, grades=(0.5,), per_grade=7)
    spread = Spread(diameter=0.02, offset=0.1)
    design = Design.of(spread, protocol)
    assert (protocol.n_trajectories, protocol.devices, len(design.deviations)) == (27, 14, 14)
    assert np.flatnonzero(design.held_out).tolist() == [4, 9]
    wide = design.deviations / np.where(design.held_out, 1, 1.5)[:, None]
    many = Design.of(spread, Protocol(trajectories=4000, grades=()))
    drawn = many.deviations / np.where(many.held_out, 1, 1.5)[:, None]
    np.testing.assert_allclose(drawn[:14], wide, rtol=1e-12)
    np.testing.assert_allclose(drawn.std(axis=0)[[0, -1]], [0.02, 0.1], rtol=0.05)
    assert not drawn[:, 1:-1].any()
    other = Design.of(spread, protocol.model_copy(update={"seed": 1}))
    assert np.abs(other.deviations - design.deviations)[:, 0].min() > 0
    chip = spread.draw(14, 0)
    assert np.abs(chip - wide)[:, 0].min() > 0


def test_a_design_begins_with_the_nominal_card(large_card):
    design = Design.of(Spread(RA=0.05), Protocol(trajectories=4, grades=()))
    cards = design.cards(large_card)
    assert cards[0] == large_card
    assert [card.name for card in cards[1:]] == ["disc60-0", "disc60-1"]
    assert pytest.approx(large_card.readout.RA * (1 + design.deviations[1, 5])) == cards[2].readout.RA


def test_a_spread_that_makes_no_device_is_told_by_its_parameter(large_card):
    design = Design.of(Spread(thickness=0.5), Protocol(trajectories=400, grades=()))
    with pytest.raises(
        SpinloomError, match=r"thickness: disc60-\d+ would have -.* times the card's, .*lower the spread"
    ):
        design.cards(large_card)


def test_each_device_of_a_population_is_driven_twice(wafer_calibration, large_card, rigid_engine):
    """And answers as it would alone."""
    dataset = wafer_calibration
    design = Design.of(Spread(diameter=0.03, RA=0.05, offset=0.02), Protocol(trajectories=28, grades=()))
    np.testing.assert_array_equal(dataset["deviation"], np.tile(design.deviations, (2, 1)))
    np.testing.assert_array_equal(dataset["held_out"], np.tile(design.held_out, 2))
    assert dataset["deviation"].attrs["parameters"] == ",".join(PARAMETERS)
    assert dataset["m_start_each"].shape == (28, 3)
    np.testing.assert_allclose(dataset["m_start_each"], np.tile([0, 1, 0], (28, 1)), atol=1e-12)
    assert DeviceCard.from_json(dataset.attrs["card"]) == large_card
    for device in (0, 9):
        engine = rigid_engine(design.cards(large_card)[1 + device], dataset.attrs["tick_s"])
        which = [device, device + 14]
        _, alone = drive(engine.node, dataset["u"].values[which].T)
        np.testing.assert_allclose(dataset["m"].values[which], alone.swapaxes(0, 1), atol=1e-12)
    assert np.abs(dataset["m"][0] - dataset["m"][14]).max() > 0.01


def test_a_population_is_read_as_it_was_written(wafer_calibration, tmp_path):
    save_calibration(wafer_calibration, tmp_path / "a.nc")
    found = load_calibration(tmp_path / "a.nc")
    for name in ("deviation", "m_start_each", "held_out"):
        np.testing.assert_array_equal(found[name], wafer_calibration[name])


def test_the_deviations_of_a_population_are_read_by_name(wafer_calibration, tmp_path):
    changed = wafer_calibration.isel(parameter=slice(None, None, -1))
    changed["deviation"].attrs["parameters"] = ",".join(PARAMETERS[::-1])
    save_calibration(changed, tmp_path / "a.nc")
    np.testing.assert_array_equal(load_calibration(tmp_path / "a.nc")["deviation"], wafer_calibration["deviation"])


@pytest.mark.parametrize("name", ["m_start_each", "held_out"])
def test_a_population_that_is_not_whole(wafer_calibration, tmp_path, name):
    save_calibration(wafer_calibration.drop_vars(name), tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match=f"expected a variable {name} with dimensions"):
        load_calibration(tmp_path / "a.nc")


def test_a_population_of_other_parameters(wafer_calibration, tmp_path):
    changed = wafer_calibration.copy(deep=True)
    changed["deviation"].attrs["parameters"] = "diameter,volume"
    save_calibration(changed, tmp_path / "a.nc")
    with pytest.raises(SpinloomError, match=r"deviation: expected diameter, .*, got diameter, volume"):
        load_calibration(tmp_path / "a.nc")
