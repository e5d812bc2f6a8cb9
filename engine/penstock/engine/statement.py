"""A statement that is compiled once per dialect and given to the driver's own cursor.

The engine sends some twenty short statements all the time: through SQLAlchemy's execution each costs ten times what SQLite takes for it.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.engine.interfaces import DBAPICursor

from penstock.engine.exchange import Exchange, tables_in
from penstock.engine.spelling import spelled

OWED = "exchange"
"""Under this name a store's connection holds the exchange in which writes are gathered, if it gathers any."""
FEW = 3
"""Rows that are gathered with other writes; more go in an exchange of their own."""


class Statement:
    """SQL text with `:name` parameters and the words of `spelling`. Values are given by name, one mapping or a sequence of them."""

    def __init__(self, sql: str, *, rows_differ: bool = False) -> None:
        """`rows_differ`: of the rows that are given to `many`, no two touch the same row of a table."""
        self._sql = sql
        self._tables = tables_in(sql)
        # Which row a plain INSERT or a DELETE touches twice does not matter: the one fails, the other finds nothing.
        self._few = FEW if rows_differ or sql.startswith("DELETE") or (sql.startswith("INSERT") and "ON CONFLICT" not in sql) else 1
        self._compiled: dict[str, tuple[str, list[str]]] = {}

    @classmethod
    def insert(cls, table: Table, *, otherwise: str = "") -> "Statement":
        """Inserts a row of `table` with all its columns; `otherwise` is an ON CONFLICT clause."""
        names = [column.name for column in table.columns]
        values = ", ".join(f":{name}" for name in names)
        return cls(f"INSERT INTO {table.name} ({', '.join(_quoted(name) for name in names)}) VALUES ({values}) {otherwise}")  # noqa: S608 - names of our own tables

    def __call__(self, connection: Connection, **values: Any) -> int:
        """Executes it once; the number of rows that it changed."""
        return int(self._execute(connection, values).rowcount)

    def rows(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return list(self._execute(connection, values).fetchall())

    def first(self, connection: Connection, **values: Any) -> tuple[Any, ...] | None:
        """The first row of a query, if there is one."""
        row: tuple[Any, ...] | None = self._execute(connection, values).fetchone()
        return row

    def number(self, connection: Connection, **values: Any) -> int:
        """The only value of a query that counts or finds the greatest."""
        row = self.first(connection, **values)
        return int(row[0]) if row is not None and row[0] is not None else 0

    def many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Executes it for each of `rows`, in one exchange with a server, in which other writes may be too; for none, it does nothing."""
        if not rows:
            return
        sql, names = self._for(connection)
        pick = itemgetter(*names)
        values = [pick(row) for row in rows] if len(names) > 1 else [(pick(row),) for row in rows]
        exchange: Exchange | None = connection.info.get(OWED)
        if exchange is not None and len(rows) <= self._few:
            exchange.add(sql, self._tables, values)
            return
        if exchange is not None:
            exchange.flush()
        connection.connection.cursor().executemany(sql, values)

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> DBAPICursor:
        sql, names = self._for(connection)
        exchange: Exchange | None = connection.info.get(OWED)
        if exchange is not None:
            exchange.flush()
        cursor = connection.connection.cursor()
        cursor.execute(sql, tuple([values[name] for name in names]))
        return cursor

    def _for(self, connection: Connection) -> tuple[str, list[str]]:
        name = connection.dialect.name
        if name not in self._compiled:
            compiled: Any = text(spelled(self._sql, name)).compile(dialect=connection.dialect)
            self._compiled[name] = (str(compiled), list(compiled.positiontup or compiled.params))
        return self._compiled[name]


def _quoted(name: str) -> str:
    return f'"{name}"' if name in ("open", "cursor", "key", "position", "at", "type") else name
