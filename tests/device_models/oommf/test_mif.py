"""What OOMMF is given: drives by the index of the stage, asked for by live nodes."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import discretisedfield as df
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinloom.device_models.card import load_card, parse_card
from spinloom.device_models.engines.oommf import mif
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.oersted import oersted_pattern
from spinloom.device_models.provenance import data_folder

TICK = 7.5e-12


def held(text):
    (drives,) = re.findall(r"set spinloom_u \{ (.*) \}", text)
    return [float(word) for word in drives.split()]


def entry(text, name):
    (value,) = re.findall(rf"(?m)^  {name} (.*)$", text)
    return value


@pytest.fixture
def waveform(tmp_path, coarse_card, start_field):
    def write(durations, u, card=coarse_card, name="run-0"):
        (tmp_path / name).mkdir()
        text = mif.write_waveform(tmp_path / name, card, start_field, np.array(durations), np.array(u))
        assert (tmp_path / name / "node.mif").read_text(encoding="utf-8") == text
        return text

    return write


@pytest.fixture
def live(tmp_path, coarse_card, start_field):
    return mif.write_live(tmp_path, coarse_card, start_field, TICK)


def test_the_drive_is_held_by_the_index_of_the_stage(waveform):
    u = np.random.default_rng(0).uniform(-1, 1, 30)
    text = waveform(np.full(30, TICK), u)
    assert held(text) == list(u)
    assert "return [lindex $spinloom_u $stage]" in text
    assert entry(text, "J_profile") == "SpinloomDrive"
    assert entry(text, "J_profile_args") == "stage"
    assert entry(text, "stage_count") == "30"
    assert float(entry(text, "stopping_time")) == TICK


def test_uneven_holds_have_a_stopping_time_each(waveform):
    durations = [7.5e-12, 3e-12, 1.1e-11]
    text = waveform(durations, [0.5, 0.25, -1.0])
    assert [float(word) for word in entry(text, "stopping_time").strip("{} ").split()] == durations


def test_full_drive_is_the_cards(waveform, coarse_card, alter):
    assert float(entry(waveform([TICK], [0.1]), "J")) == coarse_card.torque.J_max
    two_layers = alter(coarse_card, geometry={"cell": (10e-9, 10e-9, 1e-9)})
    # OOMMF spreads the torque over one cell's thickness.
    assert float(entry(waveform([TICK], [0.1], two_layers, "two"), "J")) == coarse_card.torque.J_max / 2


@pytest.mark.parametrize("alive", [False, True])
def test_the_oersted_field_follows_the_drive_of_the_torque(tmp_path, coarse_card, start_field, alter, alive):
    card = alter(coarse_card, torque={"oersted": "up"})
    if alive:
        text = mif.write_live(tmp_path, card, start_field, TICK)
    else:
        text = mif.write_waveform(tmp_path, card, start_field, np.full(2, TICK), np.array([0.5, -1.0]))
    (term,) = re.findall(r"(?s)Specify Oxs_TransformZeeman:oersted \{\n(.*?)\n\}", text)
    assert "script SpinloomOersted" in term
    assert "script_args stage" in term
    assert "type diagonal" in term
    assert "set u [SpinloomDrive $stage]\n  return [list $u $u $u 0 0 0]" in text
    assert entry(text, "J_profile") == "SpinloomDrive"
    assert text.count("proc SpinloomDrive") == 1
    field = df.Field.from_file(str(tmp_path / "oersted_H.ovf")).array
    np.testing.assert_allclose(field, oersted_pattern(card), rtol=0, atol=1e-9)
    assert {path.name for path in mif.input_files(tmp_path)} == {"node.mif", "m0.omf", "oersted_H.ovf"}


def test_without_a_current_there_is_no_oersted_field(tmp_path, coarse_card, alter):
    assert "oersted" not in mif.write_relaxation(tmp_path, alter(coarse_card, torque={"oersted": "up"}))
    assert [path.name for path in tmp_path.glob("*.ovf")] == []


@pytest.mark.parametrize(("n", "every"), [(1, 1), (2, 1), (5, 4)])
def test_the_field_is_saved_at_the_first_and_the_last_stage_only(waveform, n, every):
    text = waveform(np.full(n, TICK), np.zeros(n))
    assert re.findall(r"(?m)^Schedule .*$", text) == [
        "Schedule DataTable table Stage 1",
        f"Schedule Oxs_TimeDriver::Magnetization mags Stage {every}",
    ]


def test_a_live_node_writes_its_table_only(live):
    assert re.findall(r"(?m)^(?:Schedule|Destination) .*$", live) == [
        "Destination table mmArchive",
        "Schedule DataTable table Stage 1",
    ]


def test_a_live_node_asks_for_its_drive_once_a_stage(live):
    assert live.count("ReadFile drive") == 1
    assert live.index("if { $stage != $spinloom_stage }") < live.index("Report ") < live.index("ReadFile drive")
    assert "lindex" not in live
    assert re.search(r"J_profile SpinloomDrive\n +J_profile_args stage", live)
    assert float(entry(live, "stopping_time")) == TICK, "the first stage is a tick as all others"
    assert int(entry(live, "stage_count")) >= 1_000_000


def test_a_live_node_that_is_told_to_wait_reports_and_asks_again(live):
    reads, again = live.index("ReadFile drive"), live.index("update")
    assert live.index("while {") < reads < live.index('eq "wait"') < again
    assert live.index("Report ") < reads
    assert live.index("Report ", reads) > again


def test_relaxation_is_as_tight_as_the_embedded_engines(tmp_path, coarse_card):
    mif.write_relaxation(tmp_path, coarse_card)
    text = (tmp_path / "node.mif").read_text()
    assert "Specify Oxs_MinDriver" in text
    assert float(entry(text, "stopping_mxHxm")) == 1e-4
    assert (tmp_path / "m0.omf").exists()


def test_the_same_input_in_every_folder_and_for_every_name(waveform, coarse_card, tmp_path):
    renamed = coarse_card.model_copy(update={"name": "other+name.1"})
    texts = [
        waveform([TICK], [0.5], name="a"),
        waveform([TICK], [0.5], name="b"),
        waveform([TICK], [0.5], renamed, "c"),
    ]
    assert len(set(texts)) == 1
    assert len({(tmp_path / name / "m0.omf").read_bytes() for name in "abc"}) == 1
    assert str(tmp_path) not in texts[0]
    assert "thread" not in texts[0]


def test_a_warm_card_has_the_thermal_evolver_and_whole_steps(waveform, coarse_card):
    text = waveform([TICK, 2 * TICK], [0.5, -0.5], coarse_card.at(300))
    assert "Specify Xf_ThermSpinXferEvolve:evolver" in text
    assert float(entry(text, "temperature")) == 300
    steps = TICK / float(entry(text, "min_timestep"))
    assert steps == pytest.approx(round(steps), abs=1e-9)
    assert steps > 10
    assert entry(text, "J_profile") == "SpinloomDrive"
    assert "Xf_" not in waveform([TICK], [0.5], name="run-1")


def test_holds_without_a_step_in_common_are_refused_at_a_temperature(waveform, coarse_card):
    with pytest.raises(SpinloomError, match=r"t_s: .* whole number of the shortest one.*1\.2345e-11"):
        waveform([TICK, 1.2345e-11], [0.5, -0.5], coarse_card.at(300))


def seed_of(text):
    (seed,) = re.findall(r"(?m)^RandomSeed (\d+)$", text)
    return seed


def test_seeds_tell_runs_apart(tmp_path, coarse_card, start_field, live):
    warm = mif.write_live(tmp_path, coarse_card.at(300), start_field, TICK)
    found = {seed_of(warm)}
    for seed in ((0, 1), (0, 2), (1, 1)):
        mif.reseed(tmp_path, seed)
        found.add(seed_of((tmp_path / "node.mif").read_text()))
    assert len(found) == 4
    assert all(0 < int(seed) < 2**31 for seed in found)
    (tmp_path / "node.mif").write_text(live)
    mif.reseed(tmp_path, (3, 1))
    assert (tmp_path / "node.mif").read_text() == live


HOSTILE = [
    "[exec touch pwned]",
    "$env(HOME)",
    "}; exec touch pwned; {",
    'a"; exit',
    "a\nexit",
    "a\\",
    "{",
    "../../node",
]


def _words(text):
    """What Tcl would see of a text, its numbers left out."""
    return re.sub(r"-?\b\d[\d.]*(?:e[+-]?\d+)?", "#", text)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_card_reaches_tcl(tmp_path, coarse_card, start_field, name):
    """Its form is checked when a card is made; here it is not, and still nothing of it is written."""
    with pytest.raises(SpinloomError, match="name"):
        parse_card({**coarse_card.model_dump(), "name": name})
    hostile = coarse_card.model_copy(update={"name": name})
    durations, u = np.full(3, TICK), np.array([0.1, -0.2, 0.3])
    for write in (
        lambda folder, card: mif.write_relaxation(folder, card),
        lambda folder, card: mif.write_waveform(folder, card, start_field, durations, u),
        lambda folder, card: mif.write_live(folder, card, start_field, TICK),
    ):
        texts = []
        for kind, card in (("plain", coarse_card), ("hostile", hostile)):
            folder = tmp_path / kind
            folder.mkdir(exist_ok=True)
            texts.append(write(folder, card))
            assert {path.name for path in folder.iterdir()} <= {"node.mif", "m0.omf"}
            assert name.encode() not in (folder / "m0.omf").read_bytes()
        assert texts[0] == texts[1]


@given(
    alpha=st.floats(1e-3, 1),
    eps_prime=st.floats(-10, 10),
    bias=st.tuples(*[st.floats(-1e7, 1e7)] * 3),
    axis=st.sampled_from([(1e-150, 0, 0), (0, -1e150, 1e150), (1, 1e-308, -1)]),
    u=st.lists(st.floats(-1, 1), min_size=2, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_the_numbers_of_a_card_are_numbers_of_tcl(alpha, eps_prime, bias, axis, u):
    """Whatever they are, the words beside them stay the same: no bracket, no dollar, no brace more."""
    card = load_card(data_folder() / "devices" / "disc60.toml")
    geometry = {**card.geometry.model_dump(), "cell": (20e-9, 20e-9, 2e-9)}
    values = {**card.model_dump(), "geometry": geometry, "bias": {"H": (1e3, 1.0, 1.0)}}
    plain = parse_card(values)
    torque = {**values["torque"], "eps_prime": eps_prime, "polariser": axis}
    drawn = {**values, "material": {**values["material"], "alpha": alpha}, "torque": torque, "bias": {"H": bias}}
    card = parse_card(drawn if any(bias) else values)
    m = np.broadcast_to(plain.start.m, (*plain.geometry.shape_cells, 3))
    texts = []
    for one in (plain, card):
        with tempfile.TemporaryDirectory() as folder:
            texts.append(mif.write_waveform(Path(folder), one, m, np.full(len(u), TICK), np.array(u)))
    assert _words(texts[0]) == _words(texts[1])
    assert all(np.isfinite(held(text)).all() for text in texts)
