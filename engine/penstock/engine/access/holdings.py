"""Which artifacts a workspace holds: what its runs use, what was uploaded for it, and the parts of the directories and lists among these.

The bytes of all workspaces lie side by side in one store; who knows a digest reads them only where their workspace holds it.
"""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.engine import tables
from penstock.engine.statement import Statement

_held = Statement("SELECT digest FROM artifact WHERE workspace = :workspace AND digest IN (SELECT text_of(d) FROM elements(:digests) d)")
_kind = Statement("SELECT kind FROM artifact WHERE workspace = :workspace AND digest = :digest")
_hold = Statement.insert(tables.artifact, otherwise="ON CONFLICT (workspace, digest) DO NOTHING")
_knows_spec = Statement("SELECT count(*) FROM spec WHERE workspace = :workspace AND digest = :digest")
HELD = "held"
"""The state of what no run has used yet."""
BLOB = "blob"


def held(connection: Connection, workspace: str, digests: Iterable[str]) -> set[str]:
    """Those of the digests that the workspace holds."""
    return {row[0] for row in _held.rows(connection, workspace=workspace, digests=json.dumps(sorted(digests)))}


def kind_held(connection: Connection, workspace: str, digest: str) -> str | None:
    """As what the workspace holds it; None: it does not."""
    row = _kind.first(connection, workspace=workspace, digest=digest)
    return None if row is None else str(row[0])


def hold(connection: Connection, workspace: str, parts: Mapping[str, tuple[str, int]], now: int) -> None:
    """Has the workspace hold these: kind and size by digest. What was uploaded is a `blob`, whatever it says of itself: only of what a run
    has made, or what was checked, are the parts believed."""
    _hold.many(
        connection,
        [
            {"workspace": workspace, "digest": digest, "kind": kind, "size": size, "state": HELD, "created_at": now}
            for digest, (kind, size) in sorted(parts.items())
        ],
    )


def check_held(connection: Connection, workspace: str, digests: set[str]) -> None:
    """Returns if the workspace holds all of them.

    :raises InvalidInput: naming one that it does not hold.
    """
    strange = digests - held(connection, workspace, digests)
    if strange:
        raise InvalidInput(
            f"{len(strange)} artifacts are not in the artifact store (one is {min(strange)}), as far as the workspace {workspace} is "
            "concerned: upload them first"
        )


def knows_spec(connection: Connection, workspace: str, digest: str) -> bool:
    """Whether an author has brought that pipeline to the workspace: it ran there, or was published."""
    return bool(_knows_spec.number(connection, workspace=workspace, digest=digest))
