"""The region of calibration: where in (m, u) a reduced model has been shown what happens."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from spinloom.device_models.errors import SpinloomWarning

QUANTILE = 0.999
"""The threshold is this quantile of the distances between calibration trajectories."""
WARN_SHARE = 0.01
"""A share of node-ticks outside above which a warning is given."""
_MOST_POINTS = 8000
_MOST_QUERIES = 100_000
_GOLDEN = (5**0.5 - 1) / 2


class OutsideCalibration(SpinloomWarning):
    """A roll-out or a network left the region that its reduced model was calibrated in."""


@dataclass(frozen=True)
class Region:
    """Calibration points and the distance from them that counts as inside.

    Attributes
    ----------
    points : (n, 4) ndarray
        (m_x, m_y, m_z, u) before a tick, thinned
    threshold : float
        largest Euclidean distance in (m, u) that is inside; m is of unit length, u within +-1
    """

    points: np.ndarray
    threshold: float

    @classmethod
    def from_calibration(cls, m: np.ndarray, u: np.ndarray) -> Region:
        """Thin the calibration set and set the threshold.

        The threshold is the 99.9 % quantile of the distance from the points of every fourth
        trajectory (of fewer than four, the last) to those of the others: what a new trajectory of
        the same kind would show.

        Parameters
        ----------
        m : (n_trajectories, n_ticks, 3) ndarray
            ``<m>`` before each tick
        u : (n_trajectories, n_ticks) ndarray

        Returns
        -------
        region : Region

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> region = Region.from_calibration(rng.uniform(-1, 1, (8, 100, 3)), rng.uniform(-1, 1, (8, 100)))
        >>> float(region.outside(np.full((1, 3), 9.0), np.zeros(1)))
        1.0
        """
        joined = np.concatenate([m, u[..., None]], axis=-1)
        held_out = np.arange(len(joined)) % 4 == min(3, len(joined) - 1)
        kept, new = (_thin(part.reshape(-1, 4)) for part in (joined[~held_out], joined[held_out]))
        distance, _ = cKDTree(kept).query(new)
        return cls(_thin(joined.reshape(-1, 4)), float(np.quantile(distance, QUANTILE)))

    def outside(self, m: np.ndarray, u: np.ndarray) -> float:
        """Share of node-ticks that are farther than the threshold from every calibration point.

        Parameters
        ----------
        m : (..., 3) ndarray
            before each tick
        u : (...) ndarray

        Returns
        -------
        share : float
            between 0 and 1; of an even sample where there are more than 100000 node-ticks
        """
        every = max(1, np.size(u) // _MOST_QUERIES)
        return float(self.far(np.reshape(m, (-1, 3))[::every], np.ravel(u)[::every]).mean())

    def far(self, m: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Which node-ticks are outside, (...) bool; those that are not finite are."""
        points = np.concatenate([np.asarray(m), np.asarray(u)[..., None]], axis=-1)
        finite = np.isfinite(points).all(axis=-1)
        distance, _ = self._tree.query(np.where(finite[..., None], points, 0.0), distance_upper_bound=self.threshold)
        return np.isinf(distance) | ~finite

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    def warn(self, share: float, what: str) -> None:
        """Warn if too large a share of ``what`` was outside."""
        if share > WARN_SHARE:
            warnings.warn(
                f"{what}: {share:.1%} of the node-ticks were outside the region of calibration "
                f"(farther than {self.threshold:.3g} in (m, u) from every calibrated point); "
                "calibrate again with drives like these, or lower the gain",
                OutsideCalibration,
                stacklevel=2,
            )


class Watch:
    """Counts what leaves the region while a long run goes by, without keeping the run.

    It is called with each piece of the run's record, and looks at an even sample of its ticks, with
    steps that vary, so that no rhythm of the run escapes it.

    Parameters
    ----------
    region : Region
    reach : float
        drive of the device, in units of J_max, that a recorded drive of 1 stands for
    node_ticks : int
        how many the whole run has
    """

    def __init__(self, region: Region, reach: float, node_ticks: int) -> None:
        self.region, self.reach = region, reach
        self.every = max(1, node_ticks // _MOST_QUERIES)
        self.ticks = 0
        self.seen: list[tuple[int, np.ndarray]] = []

    def __call__(self, record: Any) -> None:
        """Look at ``record.m`` (n_ticks, S, N, 3) before each tick and ``record.u`` (n_ticks, S, N)."""
        group, place = np.divmod(np.arange(self.ticks, self.ticks + len(record.u)), self.every)
        self.ticks += len(record.u)
        # One tick of each group; multiples of the golden ratio fall everywhere in turn.
        looked_at = place == (self.every * (group * _GOLDEN % 1)).astype(int)
        m, u = record.m[looked_at], self.reach * record.u[looked_at]
        if len(u):
            self.seen.append((len(u), self.region.far(m, u).mean(axis=(0, 2))))

    @property
    def outside(self) -> list[float]:
        """Share of node-ticks outside, of each network; every piece has to have held all networks."""
        ticks, shares = zip(*self.seen, strict=True)
        return [float(share) for share in np.average(shares, axis=0, weights=ticks)]

    @property
    def outside_of_all(self) -> float:
        """Share of node-ticks outside, of all networks together."""
        return float(
            np.average([share.mean() for _, share in self.seen], weights=[n * len(share) for n, share in self.seen])
        )


def _thin(points: np.ndarray) -> np.ndarray:
    return points[:: max(1, len(points) // _MOST_POINTS)]
