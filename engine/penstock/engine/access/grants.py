"""Who may do what, in rows: API tokens, workspaces and their members. A token's own text never comes here, only its digest."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.contracts.access import EVERYWHERE, Role
from penstock.contracts.access_views import MemberView, TokenView
from penstock.contracts.errors import InvalidInput
from penstock.engine.access_tables import api_token, member, workspace
from penstock.engine.locks import lock_name
from penstock.engine.statement import Statement

USED_MICROSECONDS = 60_000_000
"""The last use of a token is written no more often."""
_COLUMNS = "token_id, name, owner, role, scopes, made_at, expires_at, used_at, revoked_at"

_token = Statement(
    "SELECT digest, token_id, workspace, name, role, scopes, expires_at, revoked_at, used_at FROM api_token WHERE token_id = :token_id"
)
_put_token = Statement.insert(api_token)
_same_name = Statement(
    "SELECT count(*) FROM api_token WHERE workspace = :workspace AND name = :name AND revoked_at IS NULL "
    "AND (expires_at IS NULL OR expires_at > :now)"
)
_tokens = Statement(
    f"SELECT {_COLUMNS} FROM api_token WHERE workspace = :workspace AND owner = coalesce(CAST(:owner AS TEXT), owner) "  # noqa: S608 - constants
    "ORDER BY made_at DESC, token_id LIMIT :most"
)
_revoke = Statement(
    "UPDATE api_token SET revoked_at = :now WHERE workspace = :workspace AND token_id = :token_id AND revoked_at IS NULL "
    "AND owner = coalesce(CAST(:owner AS TEXT), owner)"
)
_revoke_of = Statement(
    "UPDATE api_token SET revoked_at = :now WHERE workspace = :workspace AND owner = :owner AND role = :role AND revoked_at IS NULL"
)
_revoke_of_everywhere = Statement(
    "UPDATE api_token SET revoked_at = :now WHERE owner = :owner AND role = :role AND revoked_at IS NULL AND NOT EXISTS "
    "(SELECT 1 FROM member m WHERE m.workspace = api_token.workspace AND m.subject = :subject "
    "AND m.role IN (SELECT text_of(r) FROM elements(:enough) r))"
)
_use = Statement("UPDATE api_token SET used_at = :now WHERE token_id = :token_id AND (used_at IS NULL OR used_at <= :before)")
_has_workspace = Statement("SELECT count(*) FROM workspace WHERE name = :name")
_workspaces = Statement("SELECT name FROM workspace ORDER BY name")
_put_workspace = Statement.insert(workspace, otherwise="ON CONFLICT (name) DO NOTHING")
_roles = Statement("SELECT workspace, role FROM member WHERE subject IN (SELECT text_of(s) FROM elements(:subjects) s)")
_members = Statement("SELECT workspace, subject, role, made_at FROM member WHERE workspace = :workspace ORDER BY subject")
_put_member = Statement.insert(member, otherwise="ON CONFLICT (workspace, subject) DO UPDATE SET role = excluded.role")
_remove_member = Statement("DELETE FROM member WHERE workspace = :workspace AND subject = :subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """What is known of a token that somebody shows."""

    digest: str
    token_id: str
    workspace: str
    name: str
    role: Role
    scopes: tuple[str, ...]
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None


def known_token(connection: Connection, token_id: str) -> KnownToken | None:
    """The token of that id, revoked and expired ones too."""
    row = _token.first(connection, token_id=token_id)
    if row is None:
        return None
    digest, found, of, name, role, scopes, expires_at, revoked_at, used_at = row
    return KnownToken(
        digest=digest,
        token_id=found,
        workspace=of,
        name=name,
        role=Role(role),
        scopes=tuple(json.loads(scopes)),
        expires_at=expires_at,
        revoked_at=revoked_at,
        used_at=used_at,
    )


def keep_token(connection: Connection, of: str, token: TokenView, digest: str) -> None:
    """Writes down a new token of a workspace.

    :raises InvalidInput: one of that name is valid there: what is recorded of what it does could not be told apart.
    """
    lock_name(connection, "token", of, token.name)
    if _same_name.number(connection, workspace=of, name=token.name, now=token.made_at):
        raise InvalidInput(f"there is a token {token.name!r} already; revoke it first, or choose another name")
    fields = token.model_dump(include=set(TokenView.model_fields)) | {"scopes": json.dumps(token.scopes), "role": token.role.value}
    _put_token(connection, digest=digest, workspace=of, **fields)


def tokens_of(connection: Connection, of: str, owner: str | None, most: int) -> list[TokenView]:
    """Those of a workspace (and an owner), the newest first, revoked and expired ones too."""
    names = tuple(_COLUMNS.split(", "))
    rows = (dict(zip(names, row, strict=True)) for row in _tokens.rows(connection, workspace=of, owner=owner, most=most))
    return [TokenView.model_validate(row | {"scopes": json.loads(row["scopes"])}) for row in rows]


def revoke_token(connection: Connection, of: str, token_id: str, owner: str | None, now: int) -> bool:
    """Whether there was a valid one of that id (and owner)."""
    return bool(_revoke(connection, workspace=of, token_id=token_id, owner=owner, now=now))


def use_token(connection: Connection, token_id: str, now: int) -> None:
    """Writes down that it was used, if the last time is a while ago."""
    _use(connection, token_id=token_id, now=now, before=now - USED_MICROSECONDS)


def has_workspace(connection: Connection, name: str) -> bool:
    return bool(_has_workspace.number(connection, name=name))


def workspace_names(connection: Connection) -> list[str]:
    return [row[0] for row in _workspaces.rows(connection)]


def make_workspace(connection: Connection, name: str, by: str, now: int) -> bool:
    """Whether there was none of that name."""
    return bool(_put_workspace(connection, name=name, made_at=now, made_by=by))


def roles_of(connection: Connection, subjects: Sequence[str]) -> dict[str, Role]:
    """The greatest role of whoever is all of these, by workspace; `*` is every one."""
    found: dict[str, Role] = {}
    for of, role in _roles.rows(connection, subjects=json.dumps(list(subjects))):
        if of not in found or Role(role).includes(found[of]):
            found[of] = Role(role)
    return found


def members_of(connection: Connection, of: str) -> list[MemberView]:
    return [
        MemberView(workspace=of, subject=subject, role=Role(role), made_at=made_at)
        for of, subject, role, made_at in _members.rows(connection, workspace=of)
    ]


def put_member(connection: Connection, of: str, subject: str, role: Role, now: int) -> None:
    """Gives a role, in place of another one. Tokens of theirs that may do more end."""
    _put_member(connection, workspace=of, subject=subject, role=role.value, made_at=now)
    _end_tokens(connection, of, subject, now, above=role)


def remove_member(connection: Connection, of: str, subject: str, now: int) -> bool:
    """Whether they were one. Their tokens end with it."""
    _end_tokens(connection, of, subject, now, above=None)
    return bool(_remove_member(connection, workspace=of, subject=subject))


def _end_tokens(connection: Connection, of: str, owner: str, now: int, above: Role | None) -> None:
    for role in Role:
        if above is not None and above.includes(role):
            continue
        if of == EVERYWHERE:
            # Those stay that a role in their own workspace suffices for.
            enough = json.dumps([one.value for one in Role if one.includes(role)])
            _revoke_of_everywhere(connection, owner=owner, subject=owner, role=role.value, enough=enough, now=now)
        else:
            _revoke_of(connection, workspace=of, owner=owner, role=role.value, now=now)
