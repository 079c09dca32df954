"""What docs/scikit-learn.md shows, as it stands."""

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "scikit-learn.md"


@pytest.fixture(scope="module")
def said():
    """What its blocks leave behind."""
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, DOCUMENT.name, "exec"), names)
    return names


def test_the_search_finds_a_network_that_beats_a_linear_classifier(said):
    assert said["right"] > 0.95
    assert said["linear"] < 0.8


def test_full_micromagnetics_answers_as_the_reduced_model(said):
    assert list(said["reads"].predict(said["few"])) == list(said["answers"])


def test_a_series_is_remembered(said):
    assert said["series"].best_params_ == {"junctionseries__hold": 20}
    assert said["series"].best_score_ > 0.5


def test_a_sine_is_foretold(said):
    assert abs(said["ahead"] - said["x"][301:]).max() < 0.01
