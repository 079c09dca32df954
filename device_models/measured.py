"""Measured traces: what an oscilloscope wrote, read, checked and averaged over ticks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.readout import conductance
from spinloom.device_models.texts import as_numbers

DRIVE_UNITS = ("u", "A/m2", "A", "V")
"""Units of a drive: share of J_max, current density, current, voltage across the junction."""
SIGNAL_UNITS = ("r", "ohm", "V")
"""Units of a signal: m . e_read, resistance, voltage at a stated current."""
LARGEST = 1e50
"""Value of a trace, in any unit."""
PREAMBLE = 200
"""Lines in which the numbers of a file have to begin."""
MOST_BYTES = 500_000_000
OVER = 0.02
"""By how much of J_max a measured drive may exceed the compliance limit; it is clipped there."""
GAP = 2.5
"""A sample that comes later than so many of the usual intervals, and a tick, leaves a gap."""
UNHELD = 0.25
"""Largest rms change of a drive within ticks, as a share of its standard deviation."""
CLIPPED, PILED = 0.01, 5
"""Share of samples at the largest or smallest value, and how many times the next value's, that are a clipped signal."""
SHORTEST = 40
"""Ticks that a trace needs."""
PHASES = 64
"""Where in the first tick the first edge may be: so many places are tried."""


class Table(NamedTuple):
    """Columns of a file.

    Attributes
    ----------
    names : tuple of str
        as the file has them, or their numbers
    values : (rows, columns) ndarray
    first : int
        line of the file that the first row is, from 1
    """

    names: tuple[str, ...]
    values: np.ndarray
    first: int


@dataclass(frozen=True, eq=False)
class Measurement:
    """Pieces of traces, all of one length, averaged over ticks.

    Attributes
    ----------
    tick : float
        (s)
    u : (n, n_ticks) ndarray
        drive J / J_max
    r : (n, n_ticks) ndarray
        signal as the read-out gives it, average over each tick
    source : tuple of str
        file of each piece, and the time (s) at which it begins there
    """

    tick: float
    u: np.ndarray
    r: np.ndarray
    source: tuple[str, ...]


def read_table(path: str | Path, columns: Sequence[str] | int) -> Table:
    """Columns of numbers from a CSV file, whatever an instrument wrote above them.

    Values may be separated by commas, semicolons or tabs; where that is no comma, decimals may be written with one.
    Numbers begin where a line has as many of them as columns are wanted; the line above names them. Text is never
    evaluated.

    Parameters
    ----------
    path : path
    columns : sequence of str, or int
        names, or numbers from 1; or how many of the first columns to take

    Returns
    -------
    table : Table

    Raises
    ------
    SpinloomError
        for a file that cannot be read, is no text or too large, or has no such columns, or values that are not finite
    """
    path, wanted = Path(path), columns if isinstance(columns, int) else len(columns)
    head = _head(path)
    for at, line in enumerate(head):  # noqa: B007
        separator = next((mark for mark in ";\t" if mark in line), ",")
        decimal = "," if separator != "," and "," in line else "."
        fields = [field.strip() for field in line.rstrip("\r\n").split(separator)]
        if sum(_is_number(field, decimal) for field in fields) >= max(wanted, 1):
            break
    else:
        raise SpinloomError(
            f"{path}: no line with {wanted} numbers among the first {len(head)}; expected a CSV of time (s), drive "
            "and signal"
        )
    above = [] if at == 0 else [field.strip().strip('"') for field in head[at - 1].strip("#\r\n ").split(separator)]
    names = tuple(above if len(above) == len(fields) else [str(k + 1) for k in range(len(fields))])
    which = list(range(wanted)) if isinstance(columns, int) else [_place(path, names, name) for name in columns]
    try:
        raw = pd.read_csv(
            path, sep=separator, header=None, skiprows=at, decimal=decimal, skipinitialspace=True, compression=None,
            comment="#", encoding="utf-8", encoding_errors="replace", on_bad_lines="error", low_memory=False,
        )  # fmt: skip
    except MemoryError:
        raise SpinloomError(f"{path}: not enough memory to read it; cut it, or write fewer samples") from None
    except (OSError, ValueError, OverflowError) as error:
        raise SpinloomError(f"{path}: not a readable CSV ({error})") from None
    values = np.empty((len(raw), wanted))
    for k, column in enumerate(which):
        values[:, k] = as_numbers(raw[column])
        bad = np.flatnonzero(~np.isfinite(values[:, k]))
        if bad.size:
            got = str(raw[column].iloc[bad[0]])[:40]
            raise SpinloomError(
                f"{path}: column {names[column]}, row {bad[0] + 1} (line {at + bad[0] + 1}): expected a finite number, "
                f"got {got!r}"
            )
    if np.abs(values).max(initial=0) > LARGEST:
        raise SpinloomError(f"{path}: expected values within {LARGEST:g}, got {np.abs(values).max():g}")
    return Table(tuple(names[k] for k in which), values, at + 1)


def _head(path: Path) -> list[str]:
    """The first lines of a file of text."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(1_000_000)
    except FileNotFoundError:
        raise SpinloomError(f"{path}: no such file; expected a CSV of time (s), drive and signal") from None
    except OSError as error:
        raise SpinloomError(f"{path}: cannot be read ({error.strerror})") from None
    if size > MOST_BYTES:
        raise SpinloomError(
            f"{path}: {size / 1e6:.0f} MB, expected at most {MOST_BYTES / 1e6:.0f} MB; cut it, or write fewer samples"
        )
    if not start.strip():
        raise SpinloomError(f"{path}: empty; expected a CSV of time (s), drive and signal")
    if b"\0" in start:
        raise SpinloomError(f"{path}: not text; export the traces as CSV")
    text = start.decode("utf-8", errors="replace")
    return re.split(r"\r\n|\r|\n", text)[:PREAMBLE]


def _is_number(text: str, decimal: str) -> bool:
    try:
        float(text.replace(decimal, "."))
    except ValueError:
        return False
    return True


def _place(path: Path, names: tuple[str, ...], name: str) -> int:
    if name in names:
        return names.index(name)
    if name.isdigit() and 1 <= int(name) <= len(names):
        return int(name) - 1
    raise SpinloomError(f"{path}: no column {name!r}; expected one of {', '.join(names)}, or a number from 1")


def drive_of(card: DeviceCard, values: np.ndarray, unit: str) -> np.ndarray:
    """A drive as J / J_max.

    A voltage V stands for J = V / RA, with the resistance-area product of the card; that the resistance goes with
    the state is left out.

    Parameters
    ----------
    card : DeviceCard
    values : (...) ndarray
    unit : str
        of :data:`DRIVE_UNITS`

    Returns
    -------
    u : (...) ndarray

    Raises
    ------
    SpinloomError
        for another unit

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card = load_card("data/devices/disc60.toml")
    >>> drive_of(card, np.array([0.525]), "V"), drive_of(card, np.array([1.05e11]), "A/m2")
    (array([1.]), array([1.]))
    """
    unity = {"u": 1.0, "A/m2": card.torque.J_max, "A": card.torque.J_max * card.area}
    unity["V"] = card.torque.J_max * card.readout.RA
    if unit not in unity:
        raise SpinloomError(f"drive unit: expected one of {', '.join(DRIVE_UNITS)}, got {unit!r}")
    return np.asarray(values, dtype=float) / unity[unit]


def signal_of(card: DeviceCard, values: np.ndarray, unit: str, current: float | None = None) -> np.ndarray:
    """A signal as m . e_read, by the conductance that the card gives.

    Parameters
    ----------
    card : DeviceCard
    values : (...) ndarray
    unit : str
        of :data:`SIGNAL_UNITS`
    current : float, optional
        of the read-out (A), for a signal in V

    Returns
    -------
    r : (...) ndarray

    Raises
    ------
    SpinloomError
        for another unit, a missing current, or a resistance that is not above zero

    Examples
    --------
    >>> from spinloom.device_models.card import load_card
    >>> card = load_card("data/devices/disc60.toml")
    >>> parallel = card.readout.RA / card.area
    >>> signal_of(card, np.array([parallel, 2 * parallel]), "ohm").round(12)
    array([ 1., -1.])
    """
    values = np.asarray(values, dtype=float)
    if unit not in SIGNAL_UNITS:
        raise SpinloomError(f"signal unit: expected one of {', '.join(SIGNAL_UNITS)}, got {unit!r}")
    if unit == "r":
        return values
    if unit == "V":
        if current is None or current == 0:
            raise SpinloomError("current: a signal in V needs the current of the read-out (A); give it (--current)")
        values = values / current
    if not (values > 0).all():
        raise SpinloomError(
            f"signal: expected resistances above 0 ohm, got {values.min():g}; check the unit, and the current's sign"
        )
    at = conductance(card, np.array([-1.0, 1.0]) + card.readout.offset)
    return (1 / values - at.mean()) / (np.ptp(at) / 2)


def averages(t: np.ndarray, x: np.ndarray, edges: np.ndarray, held: bool) -> np.ndarray:
    """Averages of a sampled function between edges, exact for what is taken between the samples.

    Parameters
    ----------
    t : (n,) ndarray
        increasing times of the samples (s)
    x : (n,) ndarray
    edges : (k + 1,) ndarray
    held : bool
        each sample holds until the next; else the function is linear between samples

    Returns
    -------
    mean : (k,) ndarray

    Examples
    --------
    >>> t = np.arange(8.0)
    >>> averages(t, t, np.array([0.0, 4.0]), held=False), averages(t, t, np.array([0.0, 4.0]), held=True)
    (array([2.]), array([1.5]))
    """
    steps = np.diff(t)
    area = np.concatenate([[0.0], np.cumsum(steps * (x[:-1] if held else (x[:-1] + x[1:]) / 2))])
    at = np.clip(np.searchsorted(t, edges, side="right") - 1, 0, len(t) - 1)
    past = edges - t[at]
    with np.errstate(over="ignore", invalid="ignore"):  # between samples next to no time apart
        slope = np.zeros(len(t)) if held else np.append(np.diff(x) / steps, 0.0)
        return np.diff(area[at] + past * x[at] + past**2 / 2 * slope[at]) / np.diff(edges)


def tick_edges(path: Path, t: np.ndarray, drive: np.ndarray, tick: float) -> np.ndarray:
    """Where ticks begin and end: of the whole ticks in a trace, those within which the drive changes least.

    Parameters
    ----------
    path : path
        for messages
    t, drive : (n,) ndarray
        samples, times in s
    tick : float
        (s)

    Returns
    -------
    edges : (n_ticks + 1,) ndarray

    Raises
    ------
    SpinloomError
        for times that do not increase, gaps, samples farther apart than a tick, too few ticks, or a drive that is not
        held for ticks
    """
    steps = np.diff(t)
    if len(t) < 2 or (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 2 if len(t) > 1 else 1
        raise SpinloomError(f"{path}: row {row}: expected increasing times (s), at least two, got {t[row - 1]:g}")
    usual = float(np.median(steps))
    if usual > tick * (1 + 1e-6):
        raise SpinloomError(
            f"{path}: samples {usual:.3g} s apart, ticks of {tick:.3g} s; sample faster, or take a longer tick (--tick "
            f"{usual:.2g} or more, up to a twentieth of the device's period)"
        )
    widest = int(steps.argmax())
    if steps[widest] > max(GAP * usual, tick):
        raise SpinloomError(
            f"{path}: a gap of {steps[widest]:.3g} s after row {widest + 1} (t = {t[widest]:.6g} s; samples are "
            f"{usual:.3g} s apart); cut the trace there into two files"
        )
    end = t[-1] + usual
    count = int((end - t[0]) / tick * (1 + 1e-9))
    if count < SHORTEST:
        raise SpinloomError(
            f"{path}: {count} ticks of {tick:.3g} s in {end - t[0]:.3g} s, expected at least {SHORTEST}; check that "
            "times are in s"
        )
    spread = max(float(drive.std()), 1e-9)
    phases = t[t < t[0] + tick]
    best = None
    for phase in phases[:: max(1, len(phases) // PHASES)]:
        edges = phase + tick * np.arange(int((end - phase) / tick * (1 + 1e-9)) + 1)
        within = averages(t, drive**2, edges, held=True) - averages(t, drive, edges, held=True) ** 2
        changes = np.sqrt(max(within.mean(), 0.0)) / spread
        if best is None or changes < best[0] - 1e-6:
            best = changes, edges
    assert best is not None
    if best[0] > UNHELD:
        raise SpinloomError(
            f"{path}: within ticks of {tick:.3g} s the drive changes by {best[0]:.0%} of its spread (rms), expected a "
            f"drive that is held, at most {UNHELD:.0%}; take the generator's interval, or a shorter tick (--tick)"
        )
    return best[1]


def held_drive(path: Path, t: np.ndarray, u: np.ndarray, tick: float) -> tuple[np.ndarray, np.ndarray]:
    """A sampled drive as holds of a tick: edges (n_ticks + 1,) in s, and J / J_max (n_ticks,) within the compliance.

    Raises
    ------
    SpinloomError
        as :func:`tick_edges`, and for a drive beyond the compliance limit
    """
    edges = tick_edges(path, t, u, tick)
    held = averages(t, u, edges, held=True)
    largest = float(np.abs(held).max())
    if largest > 1 + OVER:
        raise SpinloomError(
            f"{path}: a drive of {largest:.3g} J_max, expected at most 1; check its unit (--drive-unit), or raise "
            "torque.J_max in the card"
        )
    return edges, np.clip(held, -1, 1)


def read_drive(
    path: str | Path, card: DeviceCard, tick: float, unit: str = "u", columns: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """A drive from an oscilloscope's CSV, as holds of a tick.

    Parameters
    ----------
    path : path
    card : DeviceCard
        for units
    tick : float
        (s)
    unit : str
        of :data:`DRIVE_UNITS`
    columns : sequence of str, optional
        names or numbers of time and drive; the first two if not given

    Returns
    -------
    durations, u : (n_ticks,) ndarray
        as of :func:`spinloom.device_models.drives.read_waveform`

    Raises
    ------
    SpinloomError
        for a file that cannot be used, see :func:`read_table` and :func:`held_drive`
    """
    path = Path(path)
    t, drive = read_table(path, _wanted(columns, 2)).values.T
    _, u = held_drive(path, t, drive_of(card, drive, unit), _checked_tick(tick))
    return np.full(len(u), float(tick)), u


def read_traces(
    paths: Sequence[str | Path],
    card: DeviceCard,
    tick: float,
    *,
    drive_unit: str = "u",
    signal_unit: str = "r",
    current: float | None = None,
    columns: Sequence[str] = (),
    piece: float = 6e-9,
) -> Measurement:
    """Traces of drive and signal, averaged over ticks and cut into pieces of one length.

    Parameters
    ----------
    paths : sequence of path
        CSV files, a trace each
    card : DeviceCard
        for units
    tick : float
        (s)
    drive_unit, signal_unit : str
        of :data:`DRIVE_UNITS`, :data:`SIGNAL_UNITS`
    current : float, optional
        of the read-out (A), for a signal in V
    columns : sequence of str, optional
        names or numbers of time, drive and signal; the first three if not given
    piece : float
        longest piece (s); what is left of a trace after whole pieces is dropped

    Returns
    -------
    measurement : Measurement

    Raises
    ------
    SpinloomError
        for files that cannot be used, see :func:`read_table` and :func:`held_drive`, or a signal that is clipped or
        does not move
    """
    if not paths:
        raise SpinloomError("traces: expected at least one CSV file")
    tick = _checked_tick(tick)
    if not 0 < piece < 1:
        raise SpinloomError(f"piece: expected seconds above 0, such as 6e-9, got {piece:g}")
    found = []
    for path in map(Path, paths):
        t, drive, values = read_table(path, _wanted(columns, 3)).values.T
        _expect_whole(path, values)
        edges, u = held_drive(path, t, drive_of(card, drive, drive_unit), tick)
        r = averages(t, signal_of(card, values, signal_unit, current), edges, held=False)
        if not np.isfinite(r).all():
            raise SpinloomError(f"{path}: samples next to no time apart; expected even steps")
        found.append((path.name, float(edges[0]), u, r))
    if max(np.ptp(u) for _, _, u, _ in found) < 1e-9:
        raise SpinloomError(f"{paths[0]}: the drive stays at {found[0][2][0]:g}; vary it, else nothing can be learnt")
    length = min([max(SHORTEST, round(piece / tick)), *(len(u) for _, _, u, _ in found)])
    starts = [(one, at) for one in found for at in range(0, len(one[2]) - length + 1, length)]
    return Measurement(
        tick=tick,
        u=np.stack([u[at : at + length] for (_, _, u, _), at in starts]),
        r=np.stack([r[at : at + length] for (_, _, _, r), at in starts]),
        source=tuple(f"{name} at {begin + at * tick:.6g} s" for (name, begin, _, _), at in starts),
    )


def _expect_whole(path: Path, values: np.ndarray) -> None:
    """Refuse a signal that does not move, or that the instrument clipped."""
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) < 2:
        raise SpinloomError(f"{path}: the signal stays at {levels[0]:g}; check the column (--columns)")
    for what, end, beside in (("largest", -1, -2), ("smallest", 0, 1)):
        if counts[end] > CLIPPED * len(values) and counts[end] > PILED * counts[beside]:
            raise SpinloomError(
                f"{path}: {counts[end]} of {len(values)} samples are at the {what} value of the signal, "
                f"{levels[end]:g}: it is clipped; widen the instrument's range"
            )


def _wanted(columns: Sequence[str], count: int) -> Sequence[str] | int:
    if columns and len(columns) != count:
        raise SpinloomError(f"columns: expected {count} names or numbers, got {len(columns)} ({', '.join(columns)})")
    return columns or count


def _checked_tick(tick: float) -> float:
    if not 1e-14 < tick < 1e-7:
        raise SpinloomError(f"tick: expected seconds between 1e-14 and 1e-7, got {tick:g}")
    return float(tick)
