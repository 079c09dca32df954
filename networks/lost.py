"""Where networks leave the finite numbers in runs that go on all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spinloom.networks.loop import Record


class Lost(NamedTuple):
    """Where one network left the finite numbers.

    Attributes
    ----------
    tick : int
        the first at whose end something is not finite, from 0, washout included
    node : int or None
        the first one that is not finite there; None if only the output is, or if signals were not looked at
    """

    tick: int
    node: int | None

    @property
    def words(self) -> str:
        """Both, as a part of a sentence.

        Examples
        --------
        >>> Lost(123, 17).words, Lost(5, None).words
        ('node 17 is not finite from tick 123 on', 'its output is not finite from tick 5 on')
        """
        what = "its output" if self.node is None else f"node {self.node}"
        return f"{what} is not finite from tick {self.tick} on"


MEND = (
    "the reduced model is wrong where this network goes: fit with a smaller --reach, calibrate on the network's own "
    "drives (--recalibrate 1), or lower --gain"
)
"""What to do about a network of reduced nodes that was lost."""


class FirstLost:
    """Sees the record of a run, piece by piece, and remembers where each network was first not finite.

    It looks at the outputs alone, which are not finite where any signal is not; at the signals only in a piece in
    which a network is lost.

    Attributes
    ----------
    of_each : list of Lost or None
        of each network; empty before the first piece

    Examples
    --------
    >>> lost, z, r = FirstLost(), np.zeros((4, 2, 1)), np.zeros((4, 2, 3))
    >>> lost(Record(z, r))
    >>> z[1:, 1], r[1:, 1, 2] = np.nan, np.inf
    >>> lost(Record(z, r))
    >>> lost.of_each
    [None, Lost(tick=5, node=2)]
    """

    def __init__(self) -> None:
        self.of_each: list[Lost | None] = []
        self._ticks = 0

    def __call__(self, piece: Record) -> None:
        """Look at ``piece.z`` (n_ticks, S, K) and, if it is there, ``piece.r`` (n_ticks, S, N)."""
        z = np.asarray(piece.z)
        self.of_each = self.of_each or [None] * z.shape[1]
        finite = np.isfinite(z).all(axis=2)
        if not finite.all():
            for network in np.flatnonzero(~finite.all(axis=0)):
                if self.of_each[network] is None:
                    tick = int(finite[:, network].argmin())
                    r = np.zeros(1) if piece.r is None else np.asarray(piece.r)[tick, network]
                    node = None if np.isfinite(r).all() else int(np.isfinite(r).argmin())
                    self.of_each[network] = Lost(self._ticks + tick, node)
        self._ticks += len(z)

    def beside(self, watch: Callable[[Record], None] | None) -> Callable[[Record], None] | None:
        """Both as one watch of a run; None without the other, so that nothing more is recorded for this one."""
        if watch is None:
            return None

        def both(piece: Record) -> None:
            self(piece)
            watch(piece)

        return both
