"""Random streams: what is drawn for one purpose never depends on what is drawn for another."""

from __future__ import annotations

import numpy as np

_PURPOSES = ("noise", "training trials", "test trials", "full trials", "screening", "kick", "descent", "selection")
"""In this order for ever: a new purpose goes to the end, so that the streams of the others stay."""

TRIMS, JUDGES, VERIFIES, FORETELLS = 1_000_000, 2_000_000, 3_000_000, 4_000_000
"""Seeds of warm nodes' own noise, apart from those of training (0 on): what a read-out is chosen on, judged on, and
verified on in full micromagnetics, and what foretells that verdict on reduced nodes."""


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of a seed for one purpose.

    The fixed weights of a network take the seed's own stream, all else a stream that is
    spawned from it (``numpy.random.SeedSequence.spawn``): equal seeds for the weights and
    for the noise of the training then say nothing about each other.

    Parameters
    ----------
    seed : int
    purpose : str
        ``topology``, or one of the purposes above: ``noise``, ``training trials`` and so on

    Returns
    -------
    rng : numpy.random.Generator

    Examples
    --------
    >>> a, b = stream(0, "topology"), stream(0, "noise")
    >>> bool(a.random() == b.random())
    False
    """
    root = np.random.SeedSequence(seed)
    if purpose == "topology":
        return np.random.default_rng(root)
    return np.random.default_rng(root.spawn(len(_PURPOSES))[_PURPOSES.index(purpose)])
