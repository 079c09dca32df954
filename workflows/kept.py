"""Stage: look after the store of trajectories."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.trajectory_store import (
    PLACE,
    DamagedEntryError,
    TrajectoryStore,
    open_store,
    read_age,
    read_entry,
    read_size,
    whole,
)

DAY = 86400.0


def the_store() -> TrajectoryStore:
    """The store of this user.

    Raises
    ------
    SpinloomError
        if it is switched off
    """
    store = open_store()
    if store is None:
        raise SpinloomError(f"store: switched off by {PLACE}=off; unset it, or set it to a folder")
    return store


def held() -> dict[str, Any]:
    """What the store holds.

    Returns
    -------
    result : dict
        ``folder, limit, entries, size`` (bytes), ``damaged``, and ``cards``: of each card and engine ``card, engine,
        entries, size, used_days`` (since the last use of any)
    """
    store, now, damaged = the_store(), time.time(), 0
    cards: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in store.entries():
        try:
            _, about = read_entry(entry.path)
        except (OSError, DamagedEntryError):
            damaged += 1
            continue
        name = str(about.get("card")), str(about.get("engine"))
        one = cards.setdefault(name, {"entries": 0, "size": 0, "used_days": float("inf")})
        one["entries"] += 1
        one["size"] += entry.size
        one["used_days"] = min(one["used_days"], max(0.0, now - entry.used) / DAY)
    rows = [{"card": card, "engine": engine, **one} for (card, engine), one in sorted(cards.items())]
    totals = {key: sum(row[key] for row in rows) for key in ("entries", "size")}
    return {"folder": str(store.folder), "limit": store.limit, **totals, "damaged": damaged, "cards": rows}


def held_table(found: dict[str, Any]) -> Table:
    """The same for people."""
    table = Table("card", "engine")
    for head in ("trajectories", "MB", "last used"):
        table.add_column(head, justify="right")
    for row in found["cards"]:
        size, ago = f"{row['size'] / 1e6:.1f}", told_age(row["used_days"] * DAY)
        table.add_row(row["card"], row["engine"], str(row["entries"]), size, ago)
    return table


def told_age(seconds: float) -> str:
    """How long ago, in words.

    Examples
    --------
    >>> told_age(30), told_age(7200), told_age(3 * 86400)
    ('now', '2 h ago', '3 d ago')
    """
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"


def verified() -> dict[str, Any]:
    """Read everything.

    Returns
    -------
    result : dict
        ``entries``, and the paths of those that are ``damaged``
    """
    entries = list(the_store().entries())
    return {"entries": len(entries), "damaged": [str(entry.path) for entry in entries if not whole(entry.path)]}


def pruned(limit: str | None = None, older: str | None = None, damaged: bool = False) -> dict[str, Any]:
    """Make room; arguments as people write them.

    Returns
    -------
    result : dict
        ``removed, freed`` (bytes) and ``left`` (entries)
    """
    store = the_store()
    asked = limit is not None or older is not None or damaged
    most = read_size(limit) if limit is not None else None if asked else store.limit
    removed, freed = store.prune(most, None if older is None else read_age(older), damaged)
    return {"removed": removed, "freed": freed, "left": sum(1 for _ in store.entries())}
