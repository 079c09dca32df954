"""``import spinloom``: a small surface, quick to import, that gives data sets, estimators and dataclasses."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sklearn.base import BaseEstimator

import spinloom


def test_every_public_name_is_there_and_documented():
    assert set(spinloom.__all__) >= {"load_card", "calibrate", "fit", "train", "cosimulate", "replay", "run"}
    for name in spinloom.__all__:
        assert getattr(spinloom, name).__doc__, name
        assert name in dir(spinloom)


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(AttributeError, match="no attribute 'calibrat'; it has .*calibrate"):
        _ = spinloom.calibrat


def test_the_import_alone_is_quick():
    """Neither JAX nor ubermag is imported before something needs it."""
    code = (
        "import sys, spinloom; print([name for name in ('jax', 'ubermag', 'oommfc', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_from_a_card_to_a_verdict_without_a_file(coarse_card):
    data = spinloom.calibrate(coarse_card, engine="embedded", trajectories=12, duration=1.5e-9, seed=1, grades=())
    assert isinstance(data, xr.Dataset)
    model = spinloom.fit(data, kind="flow_map")
    assert isinstance(model.estimator, BaseEstimator)
    quick = {
        "period_ticks": 24,
        "free_periods": 3,
        "topology": {"nodes": 6},
        "training": {"teacher_periods": 20, "force_periods": 5, "trim_rounds": 1, "trim_periods": 4, "tries": 1},
    }
    network = spinloom.train(model, "sine", **quick)
    assert network.weights.nodes == 6
    assert network.settings["reached"]["periods"] == 3
    verdict = spinloom.cosimulate(network, model, periods=2)
    assert verdict.figures["engine"] == "embedded"
    assert verdict.record["z_full"].shape == (48, 1, 1)
    recogniser = spinloom.train(
        model, "recognise", train_trials=16, test_trials=8, period_ticks=12, topology={"nodes": 5}
    )
    verdict = spinloom.cosimulate(recogniser, model, trials=4)
    assert verdict.figures["trials"] == 4
    assert verdict.record is None


def test_a_wrong_field_is_named(coarse_card, coarse_model):
    with pytest.raises(spinloom.SpinloomError, match="trajektories: unknown field"):
        spinloom.calibrate(coarse_card, engine="embedded", trajektories=12)
    with pytest.raises(spinloom.SpinloomError, match="nodes"):
        spinloom.train(coarse_model, "sine", topology={"nodes": 0})


def test_devices_that_differ_are_replayed_side_by_side(coarse_card, alter):
    other = alter(coarse_card, material={"alpha": 0.05})
    u = np.full((20, 2), 0.6)
    both = spinloom.replay([coarse_card, other], u, 7.5e-12)
    alone = spinloom.replay(other, u[:, 0], 7.5e-12)
    assert both["field"].shape == (2, 6, 6, 1, 3)
    np.testing.assert_allclose(both["m"][:, 1], alone["m"][:, 0], atol=1e-10)
    assert np.abs(both["m"][:, 0] - both["m"][:, 1]).max() > 1e-3


def test_the_python_of_the_readme_runs(monkeypatch):
    """As it stands, but for the length of the calibration, of the training and of the free runs."""
    root = Path(__file__).resolve().parent.parent
    monkeypatch.chdir(root)
    block = re.search(r"^```python stages\n(.*?)^```", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    training = "{'teacher_periods': 20, 'force_periods': 5, 'trim_rounds': 1, 'trim_periods': 4, 'tries': 1}"
    for words, shorter in (
        ('engine="embedded")  # an', 'engine="embedded", trajectories=12, duration=1.5e-9, grades=())  # an'),
        ("seed=0)", f"seed=0, free_periods=2, topology={{'nodes': 4}}, training={training})"),
        ("periods=20)", "periods=1)"),
    ):
        assert words in block
        block = block.replace(words, shorter)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["m"].shape == (40, 3)
    assert names["verdict"].figures["nrmse_full"] > 0
