"""Which stored artifacts are used by whom: collection keeps those."""

from collections.abc import Sequence

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value, refs_in
from penstock.engine import tables
from penstock.engine.statement import Statement

_put_artifact = Statement.insert(tables.artifact, otherwise="ON CONFLICT (workspace, digest) DO UPDATE SET state = 'kept'")
_use_artifact = Statement.insert(tables.artifact_use, otherwise="ON CONFLICT DO NOTHING")

Use = tuple[dict[str, int], str, Value]
"""The place of a step run (or of the run itself), what the value is to it, and the value."""


def record_uses(connection: Connection, workspace: str, uses: Sequence[Use], now: int) -> None:
    """Writes down which stored artifacts are used by whom, so that collection keeps them."""
    refs = [(place, role, ref) for place, role, value in uses for ref in refs_in(value) if not ref.is_inline]
    by_digest = {ref.digest: ref for _, _, ref in refs}
    # In the order of their digests, since other runs write some of these rows too.
    _put_artifact.many(
        connection,
        [
            {"workspace": workspace, "digest": digest, "kind": ref.kind, "size": ref.size, "state": "kept", "created_at": now}
            for digest, ref in sorted(by_digest.items())
        ],
    )
    _use_artifact.many(connection, [{**place, "digest": ref.digest, "role": role} for place, role, ref in refs])
