"""A calibrated model: fitted, saved, read again, and wrong files refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.node import Node
from spinloom.device_models.scan import drive
from spinloom.device_models.spread import PARAMETERS, Spread, vary
from spinloom.reduced_models.fit import fit_model, population
from spinloom.reduced_models.flow_map import FlowMap
from spinloom.reduced_models.model import FORMAT, KIND, WITHOUT_MEMORY, load_model, save_model
from spinloom.reduced_models.reach import HOLD_OUT, held_out
from spinloom.reduced_models.region import OutsideCalibration


@pytest.fixture(scope="module")
def macrospin(coarse_calibration):
    return fit_model(coarse_calibration, "macrospin")


@pytest.fixture(params=WITHOUT_MEMORY)
def model(request, coarse_model, macrospin):
    return {"flow_map": coarse_model, "macrospin": macrospin}[request.param]


def test_fit(coarse_model, coarse_calibration, coarse_card):
    assert coarse_model.kind == "flow_map"
    assert coarse_model.card == coarse_card
    assert coarse_model.tick == 7.5e-12
    np.testing.assert_array_equal(coarse_model.m_start, coarse_calibration["m_start"])
    assert coarse_model.holdout_nrmse < 0.1
    info = coarse_model.info
    assert json.loads(json.dumps(info)) == info
    assert info["engine"] == "embedded"
    assert info["protocol"]["trajectories"] == 12
    assert coarse_model.holdout_nrmse == max(info["holdout_nrmse_each"])
    assert len(info["holdout_nrmse_each"]) == 2
    assert 0 <= info["outside_share"] <= 1
    best = max(info["search"], key=lambda row: -row["rollout_nrmse"])
    assert {key: best[key] for key in ("degree", "ridge")} == coarse_model.estimator.get_params()


@pytest.fixture
def one_candidate(monkeypatch):
    """Nothing to choose from, so that a fit is quick."""
    monkeypatch.setattr("spinloom.reduced_models.reach.DEGREES", [3])
    monkeypatch.setattr("spinloom.reduced_models.reach.RIDGES", [1e-8])


@pytest.mark.usefixtures("one_candidate")
def test_held_out_trajectories_are_not_used(coarse_calibration):
    """Spoiling them changes the reported error, not the model."""
    assert held_out(np.ones(12)).tolist() == [False] * 4 + [True] + [False] * 4 + [True] + [False] * 2
    spoilt = coarse_calibration.copy(deep=True)
    spoilt["m"][held_out(np.ones(12))] = spoilt["m"][held_out(np.ones(12))].values[..., ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        model, other = fit_model(coarse_calibration, "flow_map"), fit_model(spoilt, "flow_map")
    np.testing.assert_array_equal(other.estimator.coef_, model.estimator.coef_)
    assert other.scale == model.scale
    assert other.holdout_nrmse > 10 * model.holdout_nrmse


def test_its_scale_is_that_of_the_calibration(model, coarse_calibration):
    axis = np.array(model.card.readout.axis)
    signal = coarse_calibration["m"].values[~held_out(np.ones(12))] @ axis
    assert model.scale.mean == pytest.approx(signal.mean())
    assert model.scale.spread == pytest.approx(signal.std())
    assert model.scale.reach == 1.0
    node = model.scaled
    state = node.start(1)
    np.testing.assert_allclose(model.scale.signal(node.observe(state)), model.m_start @ axis, rtol=0, atol=1e-14)
    assert node.tick == model.tick


def test_both_kinds_hear_the_device_ring_alike(coarse_model, macrospin):
    assert 1e9 < coarse_model.scale.resonance < 1e10
    assert coarse_model.scale.resonance == pytest.approx(macrospin.scale.resonance, rel=0.1)
    assert coarse_model.scale.quality == pytest.approx(macrospin.scale.quality, rel=0.3)
    assert coarse_model.scale.ticks(1.0, 7.5e-12) == round(1 / coarse_model.scale.resonance / 7.5e-12)


@pytest.mark.usefixtures("one_candidate")
def test_the_reach_is_kept(coarse_calibration, tmp_path):
    """A network's drive of 1 is then so much of J_max; the model itself is the same."""
    whole, half = fit_model(coarse_calibration, "flow_map"), fit_model(coarse_calibration, "flow_map", reach=0.5)
    assert half.scale == whole.scale.model_copy(update={"reach": 0.5})
    np.testing.assert_array_equal(half.estimator.coef_, whole.estimator.coef_)
    save_model(half, tmp_path / "half.nc")
    assert load_model(tmp_path / "half.nc").scale == half.scale
    state = half.scaled.step(half.scaled.start(1), np.array([[0.8]]))
    for node in (half.node, whole.scaled):
        same = node.step(node.start(1), np.array([[0.4]]))
        np.testing.assert_allclose(same.x, state.x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("reach", [0, -0.5, 1.5, float("nan")])
def test_bad_reach(coarse_calibration, reach):
    with pytest.raises(SpinloomError, match=f"reach: expected a share of J_max above 0 and at most 1, got {reach:g}"):
        fit_model(coarse_calibration, "flow_map", reach=reach)


@pytest.mark.usefixtures("one_candidate")
def test_a_signal_that_does_not_move_is_told(coarse_calibration, coarse_card, alter):
    still = coarse_calibration.copy(deep=True).assign_attrs(
        card=alter(coarse_card, readout={"axis": (0, 0, 1)}).to_json()
    )
    still["m"][..., 2] = 0.25
    with pytest.raises(SpinloomError, match=r"readout.axis: the signal .* disc60 does not move \(0.25 .*another axis"):
        fit_model(still, "flow_map")


class Bursting(FlowMap):
    """Fits like a flow map, and runs away as soon as it is let free."""

    def law(self):
        return BurstingLaw(np.asarray(1e3))


@partial(jax.tree_util.register_dataclass, data_fields=["growth"], meta_fields=[])
@dataclass(frozen=True)
class BurstingLaw:
    growth: Any

    def start(self, m):
        return m

    def advance(self, m, inputs):
        return self.growth * m + inputs

    def moment(self, m):
        return m


@pytest.mark.usefixtures("one_candidate")
def test_a_model_that_diverges_says_so_in_valid_json(coarse_calibration, tmp_path, monkeypatch):
    monkeypatch.setattr("spinloom.reduced_models.reach.FlowMap", Bursting)
    model = fit_model(coarse_calibration, "flow_map")
    assert model.holdout_nrmse == np.inf
    assert model.info["holdout_nrmse_each"] == [np.inf, np.inf]
    assert model.info["outside_share"] > 0.9
    assert model.info["search"] == [{"degree": 3, "ridge": 1e-8, "rollout_nrmse": 1e6}]
    assert model.scale.resonance is None
    path = tmp_path / "diverging.nc"
    save_model(model, path)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:

        def refused(word):
            raise AssertionError(f"not JSON: {word}")

        for name in ("info", "scale", "params", "card"):
            json.loads(dataset.attrs[name], parse_constant=refused)
    found = load_model(path)
    assert found.holdout_nrmse == np.inf
    assert found.info["holdout_nrmse_each"] == [None, None]


def test_is_a_node(model, coarse_calibration):
    node = model.node
    assert isinstance(node, Node)
    assert (node.tick, node.channels, node.devices, node.traceable) == (model.tick, ("drive",), 1, True)
    state = node.start(2)
    np.testing.assert_array_equal(node.moment(state), np.broadcast_to(model.m_start, (2, 3)))
    np.testing.assert_allclose(node.observe(state), model.m_start @ np.array(model.card.readout.axis), atol=1e-15)
    u = coarse_calibration["u"].values[:2]
    _, driven = drive(node, u.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        np.testing.assert_allclose(driven, model.simulate(u.T), atol=1e-10)
    after = node.step(state, np.array([[0.5], [-0.5]]))
    assert np.shape(node.moment(after)) == (2, 3)
    assert node.observe(after)[0] > node.observe(after)[1]


def test_a_model_that_is_first_used_within_a_trace_can_be_used_after_it(coarse_model_path):
    """Its node is made once: of numbers, not of what JAX was tracing."""
    model = load_model(coarse_model_path)

    def signal(u):
        node = model.scaled
        return node.observe(node.step(node.start(1), u)).sum()

    u = np.array([[0.3]])
    slope = jax.jit(jax.grad(signal))(u)
    vmapped = jax.vmap(signal)(u[None])
    assert float(vmapped[0]) == pytest.approx(float(signal(u)))
    np.testing.assert_allclose(slope, (signal(u + 1e-6) - signal(u - 1e-6)) / 2e-6, rtol=1e-5)


def test_follows_what_it_was_fitted_to(coarse_model, coarse_calibration):
    m = coarse_model.simulate(coarse_calibration["u"].values[0])
    truth = coarse_calibration["m"].values[0]
    assert np.sqrt(((m - truth) ** 2).sum(axis=1).mean()) < 0.05 * truth.std(axis=0).max()


def test_simulate_from_another_start(coarse_model, coarse_calibration):
    m, u = coarse_calibration["m"].values[0], coarse_calibration["u"].values[0]
    later = coarse_model.simulate(u[50:], m[49])
    np.testing.assert_allclose(later, m[50:], atol=0.05)


def test_simulate_warns_outside(coarse_model):
    with pytest.warns(OutsideCalibration, match="roll-out: .* outside the region of calibration"):
        coarse_model.simulate(np.zeros(20), -coarse_model.m_start)


def test_read_again_it_is_bit_equal(model, tmp_path, coarse_calibration):
    path = tmp_path / "model.nc"
    save_model(model, path)
    found = load_model(path)
    assert found.kind == model.kind
    assert found.card == model.card
    assert found.tick == model.tick
    assert found.info == model.info
    assert found.holdout_nrmse == model.holdout_nrmse
    assert found.region.threshold == model.region.threshold
    assert found.scale == model.scale
    assert found.estimator.get_params() == model.estimator.get_params()
    u = coarse_calibration["u"].values[:5].T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideCalibration)
        np.testing.assert_array_equal(found.simulate(u), model.simulate(u))
    X = np.column_stack([coarse_calibration["m"].values[0], u[:, 0]])
    np.testing.assert_array_equal(found.estimator.predict(X), model.estimator.predict(X))
    np.testing.assert_allclose(found.region.points, model.region.points, atol=1e-7)


def test_a_loaded_macrospin_says_what_was_fitted(macrospin, tmp_path):
    save_model(macrospin, tmp_path / "model.nc")
    found, fitted = load_model(tmp_path / "model.nc").estimator, macrospin.estimator
    for name in ("alpha_", "damping_like_", "field_like_"):
        assert getattr(found, name) == getattr(fitted, name)
    for name in ("H_", "stiffness_", "theta_", "readout_"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fitted, name))
    assert 0.05 < found.alpha_ < 0.2
    assert found.stiffness_[1] == 0
    assert found.n_features_in_ == 4


def test_a_model_saved_twice_is_the_same(coarse_model_path, tmp_path):
    first = load_model(coarse_model_path)
    save_model(first, tmp_path / "again.nc")
    second = load_model(tmp_path / "again.nc")
    np.testing.assert_array_equal(first.estimator.coef_, second.estimator.coef_)
    np.testing.assert_array_equal(first.region.points, second.region.points)


def test_nothing_in_the_file_can_run(coarse_model_path):
    """Numbers, names and JSON only: no object that would have to be unpickled."""
    with xr.open_dataset(coarse_model_path, engine="h5netcdf") as dataset:
        for variable in dataset.variables.values():
            assert variable.dtype.kind in "fiuUT" or all(isinstance(v, str) for v in variable.values.ravel())
        for value in dataset.attrs.values():
            assert isinstance(value, str | float | int | np.number)
    content = coarse_model_path.read_bytes()
    assert b"sklearn" not in content
    assert b"pickle" not in content


def test_unknown_kind(coarse_calibration):
    with pytest.raises(SpinloomError, match="kind: expected auto or one of flow_map, macrospin, .*got 'neural'"):
        fit_model(coarse_calibration, "neural")


def test_too_few_trajectories(coarse_calibration):
    few = coarse_calibration.isel(trajectory=slice(2 * HOLD_OUT - 1))
    with pytest.raises(SpinloomError, match="calibration: expected at least 10 trajectories to fit and test, got 9"):
        fit_model(few)


def test_missing_file(tmp_path):
    with pytest.raises(SpinloomError, match="none.nc: no such file"):
        load_model(tmp_path / "none.nc")


def test_truncated_file(coarse_model_path, tmp_path):
    path = tmp_path / "cut.nc"
    path.write_bytes(coarse_model_path.read_bytes()[:4000])
    with pytest.raises(SpinloomError, match="damaged or not NetCDF"):
        load_model(path)


def test_another_kind_of_file(coarse_calibration_path):
    with pytest.raises(SpinloomError, match="expected a reduced model file, got calibration"):
        load_model(coarse_calibration_path)


@pytest.fixture
def rewritten(coarse_model_path, tmp_path):
    """The model file with something changed."""

    def make(change, kind=KIND, version=FORMAT):
        dataset = xr.load_dataset(coarse_model_path, engine="h5netcdf")
        path = tmp_path / "changed.nc"
        files.save(change(dataset), path, kind, version)
        return path

    return make


def test_another_version(rewritten):
    with pytest.raises(SpinloomError, match=f"format {FORMAT + 1}, but this Spinloom reads format {FORMAT}"):
        load_model(rewritten(lambda d: d, version=FORMAT + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.drop_vars("fitted_coef_"),
        lambda d: d.drop_vars("region_points"),
        lambda d: d.drop_vars("m_start"),
        lambda d: d.assign_attrs(model="neural"),
        lambda d: d.assign_attrs(params="{"),
        lambda d: d.assign_attrs(params='{"layers": 3}'),
        lambda d: d.assign_attrs(info="not JSON"),
        lambda d: d.assign_attrs(scale="{}{"),
        lambda d: d.assign_attrs(scale='{"mean": 0, "spread": -1}'),
        lambda d: d.drop_attrs(deep=False).assign_attrs({k: v for k, v in d.attrs.items() if k != "scale"}),
    ],
    ids=[
        "no coefficients",
        "no region",
        "no start",
        "unknown model",
        "cut parameters",
        "odd parameters",
        "no info",
        "cut scale",
        "odd scale",
        "no scale",
    ],
)
def test_a_file_that_is_not_whole(rewritten, change):
    with pytest.raises(SpinloomError, match="not a whole model file"):
        load_model(rewritten(change))


def test_a_card_that_is_wrong(rewritten):
    with pytest.raises(SpinloomError, match="alpha"):
        load_model(rewritten(lambda d: d.assign_attrs(card=d.attrs["card"].replace('"alpha":0.1', '"alpha":7'))))


def driven(node, u):
    """Signals of all devices of a node under one drive."""
    n = node.devices
    state, _ = drive(node, np.repeat(u[:, None], n, axis=1), node.start(n, devices=np.arange(n)))
    return np.asarray(node.observe(state))


@pytest.fixture(scope="module")
def chip():
    """Deviations of three junctions."""
    return Spread(diameter=0.03, RA=0.05, offset=0.02).draw(3, seed=7)


def test_a_population_is_judged_on_devices_that_it_was_not_shown(wafer_model, wafer_calibration, large_card):
    assert (wafer_model.kind, wafer_model.card, wafer_model.deviations) == ("population_map", large_card, None)
    assert wafer_model.info["devices"] == 14
    assert len(wafer_model.info["holdout_nrmse_each"]) == 2
    assert wafer_model.holdout_nrmse == max(wafer_model.info["holdout_nrmse_each"]) < 0.02
    assert wafer_model.verdict in ("good", "usable")
    data = population(wafer_calibration)
    assert (data.devices, data.warm) == (14, False)
    assert data.cards[3] == vary(large_card, wafer_calibration["deviation"].values[3], "disc60-3")
    np.testing.assert_allclose(wafer_model.m_start, [0, 1, 0], atol=1e-3)


def test_a_population_is_fitted_by_its_own_kind_alone(wafer_calibration):
    with pytest.raises(SpinloomError, match="kind: expected auto or population_map for devices .*, got 'flow_map'"):
        fit_model(wafer_calibration, "flow_map")


def test_devices_of_a_population_are_those_of_their_cards(wafer_model, chip, large_card, rigid_engine):
    model = wafer_model.on(chip)
    assert model.cards == tuple(vary(large_card, row, f"disc60-{k}") for k, row in enumerate(chip))
    assert model.node.devices == 3
    assert wafer_model.cards == (large_card,)
    u = np.random.default_rng(0).uniform(-0.5, 0.5, 6).repeat(10)
    truth = driven(rigid_engine(model.cards, model.tick).node, u)
    nominal = driven(wafer_model.node, u)
    np.testing.assert_allclose(driven(model.node, u), truth, atol=0.005)
    assert np.abs(nominal - truth).max() > 0.02


def test_equal_devices_do_the_same_as_the_nominal_one(wafer_model):
    u = np.random.default_rng(1).uniform(-0.5, 0.5, 4).repeat(10)
    equal = driven(wafer_model.on(np.zeros((3, len(PARAMETERS)))).node, u)
    np.testing.assert_allclose(equal, driven(wafer_model.node, u)[0], atol=1e-9)


def test_a_device_does_not_depend_on_how_many_there_are(wafer_model, chip):
    u = np.random.default_rng(2).uniform(-0.5, 0.5, 4).repeat(10)
    few, many = (driven(wafer_model.on(rows).node, u) for rows in (chip[:2], chip))
    np.testing.assert_allclose(few, many[:2], rtol=1e-12)
    np.testing.assert_array_equal(wafer_model.on(chip).m_start, wafer_model.m_start)


def test_the_offset_of_an_amplifier_is_added_to_the_signal(wafer_model):
    offset = 0.03 * np.eye(len(PARAMETERS))[-1:]
    node = wafer_model.on(offset).node
    rest = [float(one.observe(one.start(1))[0]) for one in (wafer_model.node, node)]
    assert rest[1] - rest[0] == pytest.approx(0.03)


def test_a_population_is_read_as_it_was_written(wafer_model, chip, tmp_path):
    save_model(wafer_model, tmp_path / "model.nc")
    found = load_model(tmp_path / "model.nc")
    assert (found.kind, found.card, found.scale, found.info) == (
        "population_map", wafer_model.card, wafer_model.scale, wafer_model.info,
    )  # fmt: skip
    assert found.estimator.get_params() == wafer_model.estimator.get_params()
    u = np.random.default_rng(3).uniform(-0.5, 0.5, 4).repeat(10)
    np.testing.assert_array_equal(driven(found.on(chip).node, u), driven(wafer_model.on(chip).node, u))


def test_a_model_of_one_device_knows_no_others(coarse_model, chip):
    with pytest.raises(SpinloomError, match="model: a flow map knows disc60 alone, .*'spinloom calibrate --spread'"):
        coarse_model.on(chip)


def test_a_junction_that_is_none_is_told(wafer_model):
    thin = -1.2 * np.eye(len(PARAMETERS))[1:2]
    with pytest.raises(SpinloomError, match=r"thickness: disc60-0 would have -0.2 times the card's"):
        wafer_model.on(thin).node  # noqa: B018
