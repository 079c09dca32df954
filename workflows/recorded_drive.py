"""A drive of ``micromagneticdata`` that is in memory instead of on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import discretisedfield as df
import micromagneticdata as md
import ubermagtable as ut


class RecordedDrive(md.AbstractDrive):
    """What a device did: the field that it started from, the fields that were kept, and a table.

    Parameters
    ----------
    m0 : discretisedfield.Field
        (A/m)
    fields : sequence of discretisedfield.Field
        steps (A/m), often fewer than rows of the table
    table : ubermagtable.Table
    info : dict
        ``system, drive_number, driver, adapter, t, n``
    callbacks : list of callable
        each is given every step before it is returned
    """

    def __init__(
        self,
        m0: df.Field,
        fields: Sequence[df.Field],
        table: ut.Table,
        info: dict[str, Any],
        callbacks: list[Callable[[df.Field], df.Field]] | None = None,
    ) -> None:
        super().__init__(callbacks=callbacks)
        self._m0, self._fields, self._table, self._info = m0, list(fields), table, dict(info)
        self._x = table.x

    def __repr__(self) -> str:
        return f"RecordedDrive(system={self._info['system']!r}, drive_number={self._info['drive_number']})"

    @property
    def x(self) -> str:
        """Name of the independent column of the table."""
        return self._x

    @x.setter
    def x(self, value: str) -> None:
        if value not in self._table.data.columns:
            raise ValueError(f"x: expected one of {', '.join(self._table.data.columns)}, got {value!r}")
        self._x = self._table.x = value

    @property
    def info(self) -> dict[str, Any]:
        """What made it."""
        return self._info

    @property
    def m0(self) -> df.Field:
        """The field at the start (A/m)."""
        return self._m0

    @property
    def n(self) -> int:
        """How many fields were kept."""
        return len(self._fields)

    @property
    def table(self) -> ut.Table:
        """Rows at the end of each tick."""
        return self._table

    @property
    def _m0_path(self) -> str:
        raise FileNotFoundError("a recorded drive is in memory, not on disk")

    @property
    def _step_files(self) -> list[df.Field]:
        # Its base asks for no more than how many there are.
        return self._fields

    def __getitem__(self, item: int) -> df.Field:
        return self._apply_callbacks(self._fields[item])

    def __iter__(self) -> Iterator[df.Field]:
        return (self[k] for k in range(self.n))

    def register_callback(self, callback: Callable[[df.Field], df.Field]) -> RecordedDrive:
        """The same drive, each of whose steps goes through a function first."""
        return RecordedDrive(self._m0, self._fields, self._table, self._info, [*self._callbacks, callback])

    def __lshift__(self, other: Any) -> RecordedDrive:
        if not isinstance(other, RecordedDrive):
            return NotImplemented
        joined = self._table << other.table
        return RecordedDrive(self._m0, [*self._fields, *other], joined, self._info, self._callbacks)
