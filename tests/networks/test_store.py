"""Trained networks on disk: read as written, with their model beside them, and refused if anything is amiss."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from spinloom.device_models import files
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.spread import PARAMETERS
from spinloom.networks.store import FORMAT, KIND, TrainedNetwork, load_network, save_network
from spinloom.networks.topology import Topology, draw

TOPOLOGY = Topology(nodes=4, spectral_radius=0.9, feedback=1.5, input=0.7, bias=0.4, gain=1.3)


def trained(outputs=1, devices=None):
    rng = np.random.default_rng(0)
    weights = draw(TOPOLOGY, [3], outputs).with_readout(rng.normal(size=(1, outputs, 5)))
    return TrainedNetwork(
        task="generate",
        name="sine",
        weights=weights if devices is None else weights.with_devices([devices]),
        period_ticks=24,
        f=rng.normal(size=(24, outputs)),
        settings={"topology": TOPOLOGY.model_dump(), "washouts": [4, 9], "nrmse": 0.03},
    )


@pytest.fixture
def model_path(tmp_path):
    """Any file does: a network names its model by its digest."""
    path = tmp_path / "models" / "model.nc"
    path.parent.mkdir()
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def saved(tmp_path, model_path):
    path = tmp_path / "out" / "network.nc"
    save_network(trained(), path, model_path)
    return path


@pytest.mark.parametrize("devices", [None, (0, 2, 1, 1)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_network_is_read_as_it_was_written(tmp_path, model_path, outputs, devices):
    network, path = trained(outputs, devices), tmp_path / "network.nc"
    save_network(network, path, model_path)
    found, beside = load_network(path)
    assert beside == tmp_path / "model.nc"
    assert beside.read_bytes() == b"a model"
    for ours, theirs in zip(network.weights.arrays(), found.weights.arrays(), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)
    assert found.weights.devices == network.weights.devices == (None if devices is None else (devices,))
    np.testing.assert_array_equal(found.f, network.f)
    for name in ("task", "name", "period_ticks", "settings"):
        assert getattr(found, name) == getattr(network, name)
    assert found.alike(network, 0.0)


def test_a_clock_and_the_readout_before_the_finish_are_kept(tmp_path, model_path):
    path = tmp_path / "network.nc"
    plain = trained(2)
    network = replace(plain, clock=np.linspace(-1, 1, 24), reduced=np.random.default_rng(1).normal(size=(1, 2, 5)))
    save_network(network, path, model_path)
    found, _ = load_network(path)
    np.testing.assert_array_equal(found.clock, network.clock)
    np.testing.assert_array_equal(found.as_trained.weights.w_out, network.reduced)
    assert found.alike(network, 0.0)
    assert not found.alike(plain, 9.0)
    assert not plain.alike(found, 9.0)
    assert not found.alike(replace(network, clock=network.clock + 1e-3), 5e-4)
    assert found.alike(replace(network, reduced=None), 0.0)
    assert plain.as_trained is plain


def test_a_network_of_the_form_before_clocks_is_read(rewritten):
    path = rewritten(lambda d: d, version=2)
    found, _ = load_network(path)
    assert (found.clock, found.reduced) == (None, None)
    assert found.alike(trained(), 0.0)


def test_networks_are_alike_up_to_a_tolerance():
    network = trained(2, (0, 1, 1, 0))
    for name in ("W", "w_fb", "W_in", "b", "gain", "w_out"):
        other = replace(network, weights=replace(network.weights, **{name: getattr(network.weights, name) + 1e-3}))
        assert other.alike(network, 2e-3)
        assert not other.alike(network, 5e-4)
    assert not replace(network, f=network.f + 1e-3).alike(network, 5e-4)
    assert not replace(network, period_ticks=25).alike(network, 1.0)
    assert not replace(network, task="recognise").alike(network, 1.0)
    assert not replace(network, weights=network.weights.without_devices()).alike(network, 1.0)
    assert not trained(1).alike(trained(2), 9.0)


def test_figures_that_are_not_finite_are_null(tmp_path, model_path):
    network, path = trained(), tmp_path / "network.nc"
    network.settings["nrmse"] = float("inf")
    save_network(network, path, model_path)

    def refused(word):
        raise AssertionError(f"not JSON: {word}")

    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert json.loads(dataset.attrs["settings"], parse_constant=refused)["nrmse"] is None
    assert load_network(path)[0].settings["nrmse"] is None


def test_a_model_that_lies_beside_it_is_not_copied(model_path):
    path = model_path.parent / "network.nc"
    save_network(trained(), path, model_path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.nc", "network.nc"]
    assert load_network(path)[1] == model_path


def test_another_model_of_the_same_name_is_kept_apart(saved, model_path):
    model_path.write_bytes(b"another model")
    second = saved.parent / "second.nc"
    save_network(trained(), second, model_path)
    assert load_network(saved)[1].read_bytes() == b"a model"
    assert load_network(second)[1].read_bytes() == b"another model"


def test_a_network_does_not_replace_its_model(model_path):
    with pytest.raises(SpinloomError, match="model.nc: is the model itself; choose another output"):
        save_network(trained(), model_path, model_path)


def test_a_missing_model_is_told(saved):
    (saved.parent / "model.nc").unlink()
    with pytest.raises(SpinloomError, match=r"network.nc: its model model.nc is missing from .*; put it back"):
        load_network(saved)


def test_a_changed_model_is_refused(saved):
    (saved.parent / "model.nc").write_bytes(b"changed")
    with pytest.raises(SpinloomError, match="model.nc: not the model that network.nc was trained on"):
        load_network(saved)


@pytest.fixture
def rewritten(saved):
    """The network's file with something changed."""

    def make(change, version=FORMAT):
        dataset = xr.load_dataset(saved, engine="h5netcdf")
        files.save(change(dataset), saved, KIND, version)
        return saved

    return make


@pytest.mark.parametrize("name", ["../model.nc", "/etc/passwd", "", "..", "a/b", "a" * 256, "ü" * 128])
def test_a_model_in_another_folder_is_refused(rewritten, name):
    path = rewritten(lambda d: d.assign_attrs(model_file=name))
    with pytest.raises(SpinloomError, match="expected a file in its own folder"):
        load_network(path)


def test_a_network_of_an_older_form_is_told(rewritten):
    with pytest.raises(SpinloomError, match=f"network format 1, but this Spinloom reads format {FORMAT}"):
        load_network(rewritten(lambda d: d, version=1))


@pytest.mark.parametrize(
    "change",
    [
        *(lambda d, name=name: d.drop_vars(name) for name in ("W", "w_fb", "W_in", "b", "w_out", "f")),
        *(
            lambda d, name=name: d.drop_attrs(deep=False).assign_attrs({k: v for k, v in d.attrs.items() if k != name})
            for name in ("task", "name", "gain", "period_ticks", "settings", "model_file", "model_sha256")
        ),
        lambda d: d.assign_attrs(settings="{"),
        lambda d: d.assign_attrs(gain="much"),
    ],
)
def test_a_file_that_is_not_whole(rewritten, change):
    with pytest.raises(SpinloomError, match=r"network.nc: not a whole network file .*; train it again"):
        load_network(rewritten(change))


def differing():
    return replace(trained(), deviations=np.random.default_rng(2).normal(0, 0.05, (4, len(PARAMETERS))))


def test_how_junctions_differ_is_kept(tmp_path, model_path):
    path, network = tmp_path / "network.nc", differing()
    save_network(network, path, model_path)
    found, _ = load_network(path)
    np.testing.assert_array_equal(found.deviations, network.deviations)
    assert found.alike(network, 0.0)
    assert not found.alike(trained(), 9.0)
    assert not trained().alike(found, 9.0)
    assert not found.alike(replace(network, deviations=network.deviations + 1e-3), 5e-4)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset["deviation"].attrs["parameters"] == ",".join(PARAMETERS)


def test_deviations_are_read_by_name(tmp_path, model_path):
    """A file whose columns are in another order means the same."""
    path, network = tmp_path / "network.nc", differing()
    save_network(network, path, model_path)
    dataset = xr.load_dataset(path, engine="h5netcdf").isel(parameter=slice(None, None, -1))
    dataset["deviation"].attrs["parameters"] = ",".join(PARAMETERS[::-1])
    files.save(dataset, path, KIND, FORMAT)
    np.testing.assert_array_equal(load_network(path)[0].deviations, network.deviations)


@pytest.mark.parametrize("names", ["diameter,RA", None])
def test_deviations_of_other_parameters_are_not_a_network(tmp_path, model_path, names):
    path = tmp_path / "network.nc"
    save_network(differing(), path, model_path)
    dataset = xr.load_dataset(path, engine="h5netcdf")
    if names is None:
        del dataset["deviation"].attrs["parameters"]
    else:
        dataset["deviation"].attrs["parameters"] = names
    files.save(dataset, path, KIND, FORMAT)
    with pytest.raises(SpinloomError, match=r"network.nc: not a whole network file .*; train it again"):
        load_network(path)
