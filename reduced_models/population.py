"""What a population of devices answered: trajectories, and where in the population each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models.coordinates import coordinates
from spinloom.reduced_models.reach import HOLD_OUT

FEWEST = 2 * HOLD_OUT
"""Devices to fit to: of fewer, what they have in common cannot be told."""


@dataclass(frozen=True, eq=False)
class Population:
    """What devices answered that differ from a nominal one.

    Attributes
    ----------
    nominal : DeviceCard
    tick : float
        duration of a tick (s)
    cards : sequence of DeviceCard
        the device of each trajectory
    m : (n, n_ticks, 3) ndarray
        <m> at the end of each tick
    u : (n, n_ticks) ndarray
        J / J_max, of the device's own J_max
    m_start : (n, 3) ndarray
        <m> at the device's equilibrium
    amplitude : (n,) ndarray
        share of J_max that the drive of each is scaled to
    held_out : (n,) bool ndarray, optional
        which trajectories are of devices that judge and are not fitted to; those of every fifth device if not given
    """

    nominal: DeviceCard
    tick: float
    cards: Sequence[DeviceCard]
    m: np.ndarray
    u: np.ndarray
    m_start: np.ndarray
    amplitude: np.ndarray
    held_out: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, ticks = self.u.shape
        shapes = {"m": (n, ticks, 3), "m_start": (n, 3), "amplitude": (n,), "cards": (n,)}
        if self.held_out is not None:
            shapes["held_out"] = (n,)
        for name, expected in shapes.items():
            value = getattr(self, name)
            got = (len(value),) if name == "cards" else np.shape(value)
            if got != expected:
                raise SpinloomError(f"{name}: expected the shape {expected} for u of shape {(n, ticks)}, got {got}")

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray]:
        members = [coordinates(card, self.nominal) for card in self.cards]
        return np.array([scale for scale, _ in members]), np.stack([where for _, where in members])

    @property
    def scale(self) -> np.ndarray:
        """What the torque of each device multiplies the drive by, (n,)."""
        return self._members[0]

    @property
    def where(self) -> np.ndarray:
        """Coordinates of the device of each trajectory, (n, n_coordinates)."""
        return self._members[1]

    @cached_property
    def device(self) -> np.ndarray:
        """Number of the device of each trajectory, (n,) int, in the order in which they come."""
        _, first, number = np.unique(np.column_stack(self._members), axis=0, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[number]

    @property
    def devices(self) -> int:
        """How many different devices there are."""
        return int(self.device.max()) + 1

    @property
    def warm(self) -> bool:
        """Whether the devices are above 0 K."""
        return self.nominal.conditions.temperature > 0

    @property
    def unseen(self) -> np.ndarray:
        """Which trajectories judge, (n,) bool."""
        return (
            self.device % HOLD_OUT == HOLD_OUT - 1 if self.held_out is None else np.asarray(self.held_out, dtype=bool)
        )

    @property
    def grades(self) -> list[float]:
        """Amplitudes up to which a model can be fitted and judged, the largest first."""
        found = sorted(set(self.amplitude.tolist()), reverse=True)
        within = [(a, self.amplitude <= a) for a in found]
        return [
            a
            for a, those in within
            if len(set(self.device[those & ~self.unseen])) >= FEWEST and (those & self.unseen).any()
        ]

    def of(self, which: np.ndarray) -> Population:
        """Some of the trajectories, (n,) bool."""
        return replace(
            self,
            cards=[card for card, taken in zip(self.cards, which, strict=True) if taken],
            **{name: getattr(self, name)[which] for name in ("m", "u", "m_start", "amplitude")},
            held_out=self.unseen[which],
        )

    def rows(self, first: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Single ticks for scikit-learn, trajectory after trajectory.

        Parameters
        ----------
        first : int
            ticks that are left out at the beginning of each

        Returns
        -------
        X : (n ticks, 4 + n_coordinates) ndarray
            as a :class:`spinloom.reduced_models.population_map.PopulationMap` takes it
        y : (n ticks, 3) ndarray
        groups : (n ticks,) int ndarray
            number of the device
        """
        before = np.concatenate([self.m_start[:, None], self.m[:, :-1]], axis=1)[:, first:]
        drive_ = (self.scale[:, None] * self.u)[:, first:, None]
        where = np.broadcast_to(self.where[:, None], (*before.shape[:2], self.where.shape[1]))
        X = np.concatenate([before, drive_, where], axis=-1)
        return X.reshape(-1, X.shape[-1]), self.m[:, first:].reshape(-1, 3), self.device.repeat(before.shape[1])
