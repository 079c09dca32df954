"""Chips: networks whose junctions differ, each from the nominal device by a deviation of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spinloom.device_models.spread import PARAMETERS, Spread
from spinloom.networks.store import TrainedNetwork
from spinloom.reduced_models.model import CalibratedModel


def of_chip(model: CalibratedModel, spread: Spread, nodes: int, chip: int) -> CalibratedModel:
    """The model of the junctions of one chip; which they are depends on its number alone."""
    return model.on(spread.draw(nodes, chip))


def on_their_chips(
    networks: list[TrainedNetwork], model: CalibratedModel
) -> tuple[list[TrainedNetwork], CalibratedModel]:
    """Networks of several chips side by side, and one model that knows all their junctions.

    Parameters
    ----------
    networks : list of TrainedNetwork
        each with the deviations of its junctions, or none with any
    model : CalibratedModel

    Returns
    -------
    networks : list of TrainedNetwork
        whose weights say which junction of the model each node is; networks of the same chip share its junctions
    model : CalibratedModel
    """
    if all(network.deviations is None for network in networks):
        return networks, model
    known: dict[bytes, int] = {}
    rows: list[np.ndarray] = []
    placed = []
    for network in networks:
        chip = network.deviations
        if chip is None:
            chip = np.zeros((network.weights.nodes, len(PARAMETERS)))
        key = chip.tobytes()
        if key not in known:
            known[key] = sum(len(row) for row in rows)
            rows.append(chip)
        devices = known[key] + np.arange(network.weights.nodes)[None]
        placed.append(replace(network, weights=network.weights.with_devices(devices)))
    return placed, model.on(np.concatenate(rows))
