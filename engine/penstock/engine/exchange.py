"""Small writes of a transaction that go to a server together: each exchange with it costs more than what it does with one row.

They become one statement whose parts are executed in the order in which they were given. The parts see the rows as they were before the
first of them; so no two touch the same table, and whatever reads sends what is owed first.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.engine.schema import metadata

SHAPES = 100
"""Different ones that a process makes at most: a server keeps a plan of each, for every connection."""
MOST = 24
"""Parts of one statement at most."""
_PARAMETER = re.compile(r"\$(\d+)")
_TABLE = re.compile(r"(?:INTO|UPDATE|FROM|JOIN) ([a-z_]+)")
_TABLES = frozenset(metadata.tables)
_made: dict[tuple[str, ...], str] = {}
"""Statements by their parts."""

Send = Callable[[str, tuple[Any, ...]], None]


def tables_in(sql: str) -> frozenset[str]:
    """Those that a statement names."""
    return _TABLES.intersection(_TABLE.findall(sql))


def together(parts: tuple[str, ...]) -> str | None:
    """One statement that does what the parts do, their parameters one after the other. None where there are too many different ones.

    PostgreSQL executes writing parts of WITH that nobody reads from after the statement itself, the last one first.
    """
    known = _made.get(parts)
    if known is None and len(_made) < SHAPES:
        texts: list[str] = []
        offset = 0
        for part in parts:
            numbers = [int(number) for number in _PARAMETER.findall(part)]
            texts.append(_moved(part, offset))
            offset += max(numbers, default=0)
        named = [f"part_{number} AS ({text})" for number, text in enumerate(reversed(texts))]
        known = _made[parts] = f"WITH {', '.join(named)} SELECT 1"
    return known


def _moved(sql: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found.group(1)) + by}", sql)


@dataclass(slots=True)
class Exchange:
    """What is owed to the server in one transaction."""

    send: Send
    _parts: list[str] = field(default_factory=list[str])
    _values: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    _tables: set[str] = field(default_factory=set[str])

    def add(self, sql: str, tables: frozenset[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Owes a write for each of the rows, no two of which are about the same row of a table."""
        if not self._tables.isdisjoint(tables) or len(self._parts) + len(rows) > MOST:
            self.flush()
        self._parts += [sql] * len(rows)
        self._values += rows
        self._tables |= tables

    @property
    def is_owing(self) -> bool:
        return bool(self._parts)

    def flush(self) -> None:
        """Sends all that is owed."""
        if not self._parts:
            return
        parts, values = self._parts, self._values
        self._parts, self._values, self._tables = [], [], set()
        sql = together(tuple(parts)) if len(parts) > 1 else parts[0]
        if sql is not None:
            self.send(sql, tuple(value for row in values for value in row))
            return
        for part, row in zip(parts, values, strict=True):
            self.send(part, row)
