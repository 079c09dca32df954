"""What OOMMF computed and is shipped: whole, told apart, and followed by the embedded engine."""

import numpy as np
import pytest

from spinloom.device_models.calibration import Protocol, load_calibration
from spinloom.device_models.card import DeviceCard, load_card
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.oommf.engine import OommfEngine
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.reference import calibration_path, reference_calibration

CARDS = ("disc60", "ellipse80x50", "pma50", "rect100x60")


@pytest.fixture(params=CARDS)
def shipped(request):
    card = load_card(data_folder() / "devices" / f"{request.param}.toml")
    return card, reference_calibration(card, Protocol())


def test_a_set_says_what_made_it(shipped):
    card, dataset = shipped
    assert dataset.attrs["engine"] == "oommf"
    assert dataset.attrs["engine_version"] == "2.1a0"
    assert dataset.attrs["created"]
    assert '"oommfc"' in dataset.attrs["versions"]
    assert DeviceCard.from_json(dataset.attrs["card"]) == card
    drives = Protocol.from_json(dataset.attrs["protocol"]).drives()
    # Sines and transforms differ in the last digit from one processor to the next.
    np.testing.assert_allclose(dataset["u"].values, drives, rtol=0, atol=1e-14)
    text = str(dataset["oommf_input"].values)
    assert f"set spinloom_u {{ {float(dataset['u'].values[0, 0])!r} " in text
    assert "stage_count 800" in text


def test_the_embedded_engine_follows_it(shipped):
    """The whole of one trajectory, whose drives no other reference has, from OOMMF's relaxed start."""
    card, dataset = shipped
    trajectory = 3
    engine = EmbeddedEngine(card, dataset.attrs["tick_s"], dataset["field_start"].values)
    ticks = np.full(dataset.sizes["tick"], engine.tick)
    _, m = engine.play(ticks, dataset["u"].values[[trajectory]].T)
    np.testing.assert_allclose(m[:, 0], dataset["m"].values[trajectory], rtol=0, atol=5e-5)


def test_the_relaxed_starts_agree(shipped):
    card, dataset = shipped
    ours = EmbeddedEngine(card, 7.5e-12).equilibria[0]
    np.testing.assert_allclose(ours, dataset["field_start"].values, rtol=0, atol=1e-5)


def test_a_set_stands_for_its_protocol_with_any_grades(disc):
    """It is as valid without the grades that it may lack, and for no other protocol."""
    made_by = Protocol.from_json(load_calibration(calibration_path("disc60")).attrs["protocol"])
    assert reference_calibration(disc, made_by).attrs["engine"] == "oommf"
    with pytest.raises(SpinloomError, match="calibration: OOMMF's set of disc60 is shipped for Protocol"):
        reference_calibration(disc, made_by.model_copy(update={"trajectories": 41}))


def test_another_protocol_or_card_is_told(disc, alter):
    with pytest.raises(SpinloomError, match="calibration: OOMMF's set of disc60 is shipped for Protocol"):
        reference_calibration(disc, Protocol(seed=1))
    with pytest.raises(SpinloomError, match="device: disc60 is not the card that OOMMF's set was computed for"):
        reference_calibration(alter(disc, material={"alpha": 0.2}), Protocol())
    other = disc.model_copy(update={"name": "mine"})
    with pytest.raises(SpinloomError, match="device: OOMMF's set is shipped for disc60, .* not for mine"):
        reference_calibration(other, Protocol())


@pytest.mark.oommf
def test_oommf_says_it_again(oommf, disc):
    """The first half nanosecond of one shipped trajectory."""
    dataset = load_calibration(calibration_path("disc60"))
    u = dataset["u"].values[5, :66]
    with OommfEngine(disc, dataset.attrs["tick_s"], dataset["field_start"].values, installation=oommf) as engine:
        _, m = engine.play(np.full(66, engine.tick), u[:, None])
    np.testing.assert_allclose(m[:, 0], dataset["m"].values[5, :66], rtol=0, atol=1e-6)
