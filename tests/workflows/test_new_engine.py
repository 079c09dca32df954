"""An engine is added by the steps of docs/architecture.md, and every stage takes it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from spinloom.device_models.engines import ENGINES, Kind
from spinloom.device_models.node import DRIVE, which_devices, with_channels
from spinloom.device_models.system import checked_field


class NeedleNode:
    """Needles in closed loop: the state is <m> of each, and which device it is."""

    traceable, channels = False, (DRIVE,)

    def __init__(self, engine):
        self.engine, self.tick, self.devices = engine, engine.tick, len(engine.cards)

    def start(self, n, seed=0, devices=None, progress=None):
        which = which_devices(n, devices, self.devices)
        return np.stack([self.engine.mean(field) for field in self.engine.equilibria])[which], which

    def step(self, state, inputs):
        m, which = state
        return self.engine.turned(m, np.asarray(inputs)[:, 0], self.tick), which

    def observe(self, state):
        m, which = state
        axes = np.array([card.readout.axis for card in self.engine.cards])
        return (m * axes[which]).sum(axis=1)

    def moment(self, state):
        return state[0]


class NeedleEngine:
    """All cells of a layer turn together, towards an angle that is proportional to the drive."""

    name, version, batched, live, together = "needle", "1", False, True, 1

    def __init__(self, cards, tick, initial, live=True):
        self.cards, self.tick, self.live = cards, tick, live
        starts = [np.broadcast_to(card.start.m, (*card.geometry.shape_cells, 3)) for card in cards]
        fields = [start * card.geometry.mask()[..., None] for start, card in zip(starts, cards, strict=True)]
        self.equilibria = np.stack(fields if initial is None else [checked_field(card, initial) for card in cards])
        self.node = NeedleNode(self)

    @staticmethod
    def mean(field):
        return field[np.linalg.norm(field, axis=-1) > 0].mean(axis=0)

    @staticmethod
    def turned(m, u, duration):
        angle, rate = np.arctan2(m[:, 0], m[:, 1]), np.exp(-duration / 60e-12)
        angle = 1.1 * u + (angle - 1.1 * u) * rate
        return np.stack([np.sin(angle), np.cos(angle), 0 * angle], axis=1)

    def play(self, durations, inputs, fields=None, progress=None, *, devices=None, seed=0, numbers=None, done=None):
        u = with_channels(inputs, self.node.channels)[..., 0]
        which = which_devices(u.shape[1], devices, len(self.cards))
        m = np.stack([self.mean(field) for field in (self.equilibria[which] if fields is None else fields)])
        moments = []
        for duration, row in zip(durations, u, strict=True):
            m = self.turned(m, row, duration)
            moments.append(m)
            if progress is not None:
                progress(1)
        masks = np.stack([self.cards[device].geometry.mask() for device in which])
        return m[:, None, None, None] * masks[..., None], np.stack(moments)

    def input(self, u=None):
        return ""

    def costs(self, state, wall_s, ticks):
        return {"tick_wall_s": wall_s / ticks}


@pytest.fixture(params=[True, False], ids=["live", "known drives only"])
def needle(request, monkeypatch):
    """The engine in the table of engines."""
    kind = Kind(lambda cards, tick, initial, *_: nullcontext(NeedleEngine(cards, tick, initial, request.param)))
    monkeypatch.setitem(ENGINES, "needle", kind)
    return request.param


def test_every_stage_takes_a_new_engine(spinloom, needle, experiment, tmp_path):
    card, calibration, model = experiment.parent / "coarse.toml", tmp_path / "cal.nc", tmp_path / "model.nc"
    quick = ("--trajectories", 12, "--duration", 1.5e-9, "--grades", "none", "--no-probe")
    said = spinloom("calibrate", card, "--engine", "needle", *quick, "--out", calibration, "--json")
    assert (said.code, said.json["engine"]) == (0, "needle")
    fitted = spinloom("fit", calibration, "--kind", "flow_map", "--out", model, "--json")
    assert fitted.json["holdout_nrmse"] < 0.05
    options = ("--nodes", 4, "--period-ticks", 16, "--free-periods", 2, "--force-periods", 2)
    net = tmp_path / "sine.nc"
    assert spinloom("train", "generate", "--task", "sine", "--model", model, "--out", net, *options).code == 0
    verdict = spinloom("cosimulate", net, "--engine", "needle", "--periods", 2, "--json")
    assert verdict.code == 0, verdict.err
    assert verdict.json["engine"] == "needle"
    # The model follows the needle, so the network does the same on both.
    assert verdict.json["max_node_difference"] < 0.1
    assert ("tick_wall_s" in verdict.json) == needle
    (tmp_path / "w.csv").write_text("t_s,u\n1e-11,0.5\n4e-11,-0.5\n")
    replayed = spinloom("replay", card, tmp_path / "w.csv", "--engine", "needle", "--out", tmp_path / "m.csv", "--json")
    assert (replayed.code, replayed.json["engine"]) == (0, "needle")
    report = spinloom("doctor", "--json").json["engines"]["needle"]
    assert report["works"]
    assert report["version"] == "1"


def test_lock_step_needs_live_nodes(spinloom, needle, coarse_model_path, tmp_path):
    net = tmp_path / "sine.nc"
    options = ("--nodes", 3, "--period-ticks", 12, "--free-periods", 2, "--force-periods", 2)
    assert (
        spinloom("train", "generate", "--task", "sine", "--model", coarse_model_path, "--out", net, *options).code == 0
    )
    outcome = spinloom("cosimulate", net, "--engine", "needle", "--method", "lock-step", "--periods", 1)
    assert outcome.code == (0 if needle else 2)
    assert ("has no live nodes here; use --method relaxation" in outcome.err) != needle
