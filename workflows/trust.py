"""Whether a reduced model is right where a network goes: its error on the network's own drives."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinloom.device_models.scan import drive
from spinloom.networks.loop import Record
from spinloom.reduced_models.model import CalibratedModel
from spinloom.reduced_models.rollout import nrmse

PREVIEW = 3
"""Periods in free run after which the model is judged, before all the others are computed."""
APART = 0.2
"""Largest difference of m . e_read, model and full micromagnetics under the same drives, that is trusted."""


class PartedError(Exception):
    """Raised in the course of a run: the nodes are not where the model says."""


def model_error(model: CalibratedModel, record: Record, devices: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Drive the reduced model as a network drove full micromagnetics, and compare all nodes.

    Both are under the same drives, so a phase that drifts in closed loop counts for nothing here.

    Parameters
    ----------
    model : CalibratedModel
    record : Record
        of full micromagnetics, from equilibrium on, in the network's units
    devices : (S N,) int ndarray, optional
        which device of the model each node is; all are the first if not given

    Returns
    -------
    errors : list of dict
        of each network ``worst_node_difference`` of m . e_read and at which ``worst_node``;
        ``nrmse_worst`` and ``nrmse_median`` of <m>, over nodes, as the hold-out error of a fit
    """
    ticks, networks, nodes = record.u.shape
    u = model.scale.reach * record.u.reshape(ticks, -1)
    _, m = drive(model.node, u, model.node.start(u.shape[1], 0, devices))
    # A record holds <m> before each tick, a drive gives it after.
    guess, truth = m[:-1], record.m[1:].reshape(ticks - 1, -1, 3)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.abs((guess - truth) @ np.array(model.card.readout.axis)).max(axis=0).reshape(networks, nodes)
    apart = np.where(np.isfinite(apart), apart, np.inf)
    error = nrmse(guess, truth).reshape(networks, nodes)
    return [
        {
            "worst_node_difference": float(apart[k].max()),
            "worst_node": int(apart[k].argmax()),
            "nrmse_worst": float(error[k].max()),
            "nrmse_median": float(np.median(error[k])),
        }
        for k in range(networks)
    ]


def worst_nodes(model: CalibratedModel, record: Record, count: int) -> np.ndarray:
    """The nodes of all networks on which the model errs most, and others at even distances of error.

    Parameters
    ----------
    model, record
        as in :func:`model_error`
    count : int
        how many at most

    Returns
    -------
    chosen : (count,) int ndarray
        columns of the record's (n_ticks, S N) drives, the worst first
    """
    ticks = len(record.u)
    u = model.scale.reach * record.u.reshape(ticks, -1)
    _, m = drive(model.node, u)
    error = nrmse(m[:-1], record.m[1:].reshape(ticks - 1, -1, 3))
    order = np.argsort(-np.where(np.isfinite(error), error, np.inf), kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).astype(int))]


class Preview:
    """Watches a run, and stops it after a few periods where the model is wrong on all networks.

    Parameters
    ----------
    model : CalibratedModel
    ticks : int
        from equilibrium to the end of the preview, washout included
    devices : (S N,) int ndarray, optional
        which device of the model each node is

    Raises
    ------
    PartedError
        out of the run, once it has come so far
    """

    def __init__(self, model: CalibratedModel, ticks: int, devices: np.ndarray | None = None) -> None:
        self.model, self.ticks, self.devices = model, ticks, devices
        self.pieces: list[Record] = []
        self.judged = False

    def __call__(self, piece: Record) -> None:
        """Take the next ticks of the run."""
        if self.judged:
            return
        self.pieces.append(piece)
        if sum(len(one.u) for one in self.pieces) < self.ticks:
            return
        self.judged = True
        seen = first_ticks(self.pieces, self.ticks)
        self.pieces.clear()
        if not any(trusted(error) for error in model_error(self.model, seen, self.devices)):
            raise PartedError


def trusted(error: dict[str, Any]) -> bool:
    """Whether the model is near enough where a network goes."""
    return bool(error["worst_node_difference"] <= APART)


def first_ticks(pieces: list[Record], ticks: int) -> Record:
    """The first ticks of a record in pieces."""
    return Record(*(np.concatenate(parts)[:ticks] for parts in zip(*pieces, strict=True)))
