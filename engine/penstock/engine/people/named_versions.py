"""The rows of named artifacts: versions are only added, aliases move. What has a name is never collected."""

from collections.abc import Sequence

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value, content_digest
from penstock.engine import registry_tables
from penstock.engine.artifact_uses import Use, record_uses
from penstock.engine.core.rows import Registration, unpack_value
from penstock.engine.locks import lock_name
from penstock.engine.statement import Statement

_newest = Statement("SELECT version, value FROM named_artifact WHERE workspace = :workspace AND name = :name ORDER BY version DESC LIMIT 1")
_insert = Statement.insert(registry_tables.named_artifact)
_put_alias = Statement.insert(
    registry_tables.artifact_alias,
    otherwise="ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version, moved_at = excluded.moved_at, "
    "moved_by = excluded.moved_by",
)
NOBODYS_RUN = 0
"""No run has this number: what is used under it outlives every run."""


def newest_version(connection: Connection, workspace: str, name: str) -> tuple[int, str]:
    """The number and the content digest of the newest version, or (0, ""). Nobody else makes another before the transaction ends."""
    lock_name(connection, "versions of", workspace, name)
    row = _newest.first(connection, workspace=workspace, name=name)
    return (0, "") if row is None else (int(row[0]), content_digest(unpack_value(bytes(row[1]))))


def write_versions(
    connection: Connection, workspace: str, registrations: Sequence[Registration], *, made_by: str, run_no: int | None, now: int
) -> None:
    """Writes new versions, and moves aliases."""
    new = [one for one in registrations if one.is_new]
    _insert.many(
        connection,
        [
            {
                "workspace": workspace, "name": one.name, "version": one.version, "value": one.value, "digest": one.digest,
                "run_no": run_no, "made_at": now, "made_by": made_by,
            }
            for one in new
        ],
    )  # fmt: skip
    uses: list[Use] = [_use(workspace, one, unpack_value(one.value)) for one in new]
    record_uses(connection, workspace, uses, now)
    for one in registrations:
        if one.alias is not None:
            move_alias(connection, workspace, one.name, one.alias, one.version, moved_by=made_by, now=now)


def _use(workspace: str, one: Registration, value: Value) -> Use:
    return {"run_no": NOBODYS_RUN, "node": 0, "item": one.version}, f"named {workspace}/{one.name}", value


def move_alias(connection: Connection, workspace: str, name: str, alias: str, version: int, *, moved_by: str, now: int) -> None:
    """`alias` means that version from now on."""
    _put_alias(connection, workspace=workspace, name=name, alias=alias, version=version, moved_at=now, moved_by=moved_by)
