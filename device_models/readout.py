"""The electrical side of a junction: its conductance, and the power that a drive takes."""

from __future__ import annotations

import numpy as np

from spinloom.device_models.card import DeviceCard


def conductance(card: DeviceCard, r: np.ndarray) -> np.ndarray:
    """Conductance of the junction (S), G = G_mean (1 + (r - offset) TMR / (2 + TMR)).

    The conductance goes with the cosine of the angle to the reference layer between its
    values for parallel and antiparallel alignment (Slonczewski, Phys. Rev. B 39, 6995 (1989)).

    Parameters
    ----------
    card : DeviceCard
    r : (...) ndarray
        signal, m . e_read and the offset of the read-out, which is the amplifier's and not the junction's

    Returns
    -------
    G : (...) ndarray

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card = load_card("data/devices/disc60.toml")
    >>> parallel, antiparallel = 1 / conductance(card, np.array([1.0, -1.0]))
    >>> bool(np.isclose(antiparallel / parallel, 1 + card.readout.TMR))
    True
    """
    parallel = card.area / card.readout.RA
    tmr = card.readout.TMR
    mean = parallel * (2 + tmr) / (2 * (1 + tmr))
    return mean * (1 + (r - card.readout.offset) * tmr / (2 + tmr))


def junction_power(card: DeviceCard, u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Power that the drive current turns into heat (W): (u J_max area)^2 / G.

    Parameters
    ----------
    card : DeviceCard
    u : (...) ndarray
        drive
    r : (...) ndarray
        signal

    Returns
    -------
    power : (...) ndarray
    """
    return (u * card.torque.J_max * card.area) ** 2 / conductance(card, r)
