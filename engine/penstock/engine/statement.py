"""A statement that is compiled once per dialect and sent to the driver as it is.

Building a Core construct costs six times what sending a short statement does, and the engine sends some twenty of them all the time.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, CursorResult, Table, text


class Statement:
    """SQL text with `:name` parameters. Values are given by name, one mapping or a sequence of them."""

    def __init__(self, sql: str) -> None:
        self._text = text(sql)
        self._compiled: dict[str, tuple[str, list[str]]] = {}

    @classmethod
    def insert(cls, table: Table, *, otherwise: str = "") -> "Statement":
        """Inserts a row of `table` with all its columns; `otherwise` is an ON CONFLICT clause."""
        names = [column.name for column in table.columns]
        values = ", ".join(f":{name}" for name in names)
        return cls(f"INSERT INTO {table.name} ({', '.join(_quoted(name) for name in names)}) VALUES ({values}) {otherwise}")

    def __call__(self, connection: Connection, **values: Any) -> int:
        """Executes it once; the number of rows that it changed."""
        return self._execute(connection, values).rowcount

    def rows(self, connection: Connection, **values: Any) -> Sequence[tuple[Any, ...]]:
        """All rows of a query."""
        return self._execute(connection, values).fetchall()

    def first(self, connection: Connection, **values: Any) -> tuple[Any, ...] | None:
        """The first row of a query, if there is one."""
        return self._execute(connection, values).fetchone()

    def number(self, connection: Connection, **values: Any) -> int:
        """The only value of a query that counts or finds the greatest."""
        row = self.first(connection, **values)
        return int(row[0]) if row is not None and row[0] is not None else 0

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        sql, names = self._for(connection)
        return connection.exec_driver_sql(sql, tuple(values[name] for name in names))

    def many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Executes it for each of `rows`; for none, it does nothing."""
        if not rows:
            return
        sql, names = self._for(connection)
        pick = itemgetter(*names)
        connection.exec_driver_sql(sql, [pick(row) for row in rows] if len(names) > 1 else [(pick(row),) for row in rows])

    def _for(self, connection: Connection) -> tuple[str, list[str]]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled: Any = self._text.compile(dialect=dialect)
            self._compiled[dialect.name] = (str(compiled), list(compiled.positiontup or compiled.params))
        return self._compiled[dialect.name]


def _quoted(name: str) -> str:
    return f'"{name}"' if name in ("open", "cursor", "key", "position", "at", "type") else name
