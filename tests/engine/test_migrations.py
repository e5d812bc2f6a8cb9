"""Stores that older versions wrote, kept as SQL in `schemas/`: they are brought up to date, and nothing in them is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penstock.engine.stores.sqlite import SqliteStore

SCHEMAS = Path(__file__).parent / "schemas"
RUN = (
    'INSERT INTO run (workspace, run_id, pipeline, number, name, spec_digest, state, params, options, cause, tags, "open", seq, '
    "created_at) VALUES ('team', 'r1', 'flow', 1, 'flow-1', 'sha256:0', 'succeeded', x'80', '{}', '{}', '{}', 0, 0, 1)"
)
ATTEMPT = (
    "INSERT INTO attempt (run_no, node, item, number, state, pool, incarnation, runner, made_at, seconds, cpu_seconds, peak_memory) "
    "VALUES (1, 0, 0, 1, 'succeeded', 'cpu', '', 'local', 1, 0.5, 0.1, 0)"
)

ATTEMPT_IN_WORKSPACE = ATTEMPT.replace("(run_no", "(workspace, slots, run_no", 1).replace("VALUES (", "VALUES ('team', 1, ")


@pytest.fixture(params=["0001", "0002"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old(tmp_path: Path, version: str) -> Path:
    """A state database as an earlier version made it, with a run that has ended."""
    path = tmp_path / "penstock.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SCHEMAS / f"{version}.sql").read_text())
        connection.execute(RUN)
        connection.execute(ATTEMPT if version == "0001" else ATTEMPT_IN_WORKSPACE)
        connection.commit()
    return path


def columns(path: Path) -> dict[str, set[tuple[str, int, int]]]:
    """Name, whether it may be NULL, and place in the primary key of each column, by table."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: {(row[1], row[3], row[5]) for row in connection.execute(f"PRAGMA table_info({table})")} for table in tables}


def indexes(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in found}


async def test_an_old_store_gets_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    await SqliteStore(old).close()
    new = tmp_path / "new.sqlite"
    await SqliteStore(new).close()

    assert columns(old) == columns(new)
    assert indexes(old) == indexes(new)


async def test_an_old_store_keeps_what_is_in_it(old: Path) -> None:
    await SqliteStore(old).close()

    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT name, state FROM run").fetchall() == [("flow-1", "succeeded")]
        assert connection.execute("SELECT workspace, slots, runner FROM attempt").fetchall() == [("team", 1, "local")]


async def test_an_old_store_is_backed_up_beside_itself(old: Path, version: str) -> None:
    await SqliteStore(old).close()

    with closing(sqlite3.connect(old.with_suffix(f".{version}.backup"))) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(version,)]


async def test_the_number_of_a_removed_run_is_not_given_again(old: Path) -> None:
    await SqliteStore(old).close()

    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM run")
        connection.execute(RUN)
        assert connection.execute("SELECT run_no FROM run").fetchall() == [(2,)]
