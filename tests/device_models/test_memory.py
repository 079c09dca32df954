"""Batches that are larger than memory go in groups, and nobody can tell."""

import numpy as np
import pytest

from spinloom.device_models import machine
from spinloom.device_models.engines import memory
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.engines.memory import batch_size, bytes_per_device
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.machine import cores, free_memory

TICK = 7.5e-12


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_groups_give_the_same_as_the_whole(large_card, temperature, monkeypatch):
    engine = EmbeddedEngine(large_card.at(temperature), TICK)
    u = np.random.default_rng(0).uniform(-1, 1, (3, 5))
    told: list[float] = []
    fields, m = engine.play(np.full(3, TICK), u, seed=4)
    monkeypatch.setattr(memory, "available", lambda: 4 * bytes_per_device(4, 3))  # two at a time
    fields_again, again = engine.play(np.full(3, TICK), u, progress=told.append, seed=4)
    np.testing.assert_allclose(again, m, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fields_again, fields, rtol=0, atol=1e-12)
    assert sum(told) == pytest.approx(3)


def test_groups_are_of_about_the_same_size():
    one = bytes_per_device(100)
    assert [batch_size(10, 100, free=2 * k * one) for k in (10, 9, 4, 1)] == [10, 5, 4, 1]
    assert batch_size(10, 100, free=1) == 1  # less would be none


def test_cores_are_those_that_a_process_is_told(monkeypatch):
    monkeypatch.setenv("SPINLOOM_CORES", "3")
    assert cores() == 3
    monkeypatch.setenv("SPINLOOM_CORES", "none")
    with pytest.raises(SpinloomError, match="SPINLOOM_CORES: expected a number of cores, 1 or more, got 'none'"):
        cores()
    monkeypatch.delenv("SPINLOOM_CORES")
    assert cores() >= 1


def test_a_container_has_the_memory_that_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 1500\nfile 900\n")
    assert free_memory() == 3500
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 3500
