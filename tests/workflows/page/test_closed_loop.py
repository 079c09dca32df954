import numpy as np
import pytest

from spinloom.workflows.page import closed_loop as module
from spinloom.workflows.page.closed_loop import closed_loop
from spinloom.workflows.page.frame import environment

HOSTILE = "<script>alert(1)</script>"


def test_all_there_is_can_be_chosen(free_runs, coarse_card):
    found = closed_loop(free_runs, coarse_card)
    assert found.selectors == ["task", "chip", "node", "noise_reduced", "noise_full"]
    options = {name: found.plots[name].options for name in found.selectors}
    assert options["task"] == [HOSTILE, "$$x$$"]
    assert options["chip"] == ["0", "1"]
    assert options["node"] == ["0", "1", "2"]
    assert (len(options["noise_reduced"]), len(options["noise_full"])) == (3, 2)
    assert (found.periods, found.shown_periods, found.every) == (4, 4, 1)
    assert found.plots["words"].render_as_text
    assert found.plots["words"].text.startswith(f"{HOSTILE}, chip 0: NRMSE ")


def test_what_is_shown_first_is_the_first_network(free_runs, coarse_card):
    found = closed_loop(free_runs, coarse_card)
    (line,) = [glyph for glyph in found.plots["outputs"].renderers if glyph.glyph.y == "full"]
    data = line.data_source.data
    np.testing.assert_allclose(data["full"], free_runs["z_full"].values[:, 0, 0], atol=1e-6)
    np.testing.assert_allclose(data["off_full"], 1e3 * (data["full"] - data["target"]), atol=1e-3)
    rows = found.plots["nodes"].source.data
    apart = np.abs(free_runs["r_full"] - free_runs["r_reduced"]).values[:, 0]
    np.testing.assert_allclose(rows["worst"], apart.max(axis=0), rtol=1e-6)
    assert np.all(rows["power"] > 0)
    networks = found.plots["all"].source.data
    assert networks["task"] == [HOSTILE, HOSTILE, "$$x$$", "$$x$$"]
    assert list(networks["chip"]) == [0, 1, 0, 1]
    assert networks["apart"][0] == pytest.approx(float(apart.max()), rel=1e-6)


def test_one_network_of_one_node_has_nothing_to_choose(free_runs, coarse_card):
    one = free_runs.isel(network=[0], node=[0]).drop_vars(["z_full_seeds", "z_reduced_seeds"])
    found = closed_loop(one, coarse_card)
    assert found.selectors == []
    assert "all" not in found.plots


def test_long_runs_are_thinned_and_what_diverged_is_left_out(free_runs, coarse_card, monkeypatch):
    monkeypatch.setattr(module, "MOST_OUTPUTS", 500)
    monkeypatch.setattr(module, "MOST_SIGNALS", 200)
    free_runs["z_full"][40:] = np.inf
    found = closed_loop(
        free_runs.drop_vars(["z_full_seeds", "z_reduced_seeds"]).isel(period_tick=slice(None)), coarse_card
    )
    assert found.shown_periods == 1
    data = found.plots["outputs"].renderers[0].data_source.data
    assert len(data["t"]) == 48 // found.every
    assert np.isnan(data["full"][-1])
    assert "diverged in full" in found.plots["words"].text


def test_names_on_a_page_are_escaped():
    assert environment().from_string("{{ name }}").render(name="<script>") == "&lt;script&gt;"


@pytest.mark.parametrize(("value", "text"), [(None, "diverged"), (0.5, "0.5000"), (1e-5, "1e-05")])
def test_figures_are_told_in_few_digits(value, text):
    assert environment().from_string("{{ value|figure }}").render(value=value) == text
