"""Who may do what, as the API tells and changes it: oneself, tokens, members, workspaces, the audit log."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from pydantic import TypeAdapter

from penstock.contracts.access import Role
from penstock.contracts.access_views import AuditEntry, Me, MemberView, NewTokenView, TokenView, WorkspaceView
from penstock.deploy.remote.connection import Connection

_tokens = TypeAdapter(list[TokenView])
_members = TypeAdapter(list[MemberView])
_workspaces = TypeAdapter(list[WorkspaceView])
_entries = TypeAdapter(list[AuditEntry])
_PAGE = 500


class Access:
    """Of one workspace, that of the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def me(self) -> Me:
        """Who the services take this client for."""
        return Me.model_validate_json(self._connection.get("/me").content)

    def tokens(self, limit: int = 100) -> list[TokenView]:
        """The newest first; of all for an admin, else one's own."""
        return _tokens.validate_python(self._connection.get("/tokens", limit=limit).json()["tokens"])

    def create_token(self, name: str, role: Role, *, scopes: Sequence[str] = (), days: float | None = None) -> NewTokenView:
        """The only time that the token is told."""
        body = {"name": name, "role": role.value, "scopes": list(scopes), "days": days}
        return NewTokenView.model_validate_json(self._connection.ask("POST", "/tokens", json=body, is_repeatable=False).content)

    def revoke_token(self, token_id: str) -> None:
        self._connection.ask("DELETE", f"/tokens/{quote(token_id, safe='')}", is_repeatable=False)

    def members(self) -> list[MemberView]:
        return _members.validate_python(self._connection.get("/members").json()["members"])

    def put_member(self, subject: str, role: Role, *, everywhere: bool = False) -> None:
        """Gives a role, in place of another one."""
        self._connection.ask("PUT", _member(subject), json={"role": role.value}, parameters=_where(everywhere=everywhere))

    def remove_member(self, subject: str, *, everywhere: bool = False) -> None:
        self._connection.ask("DELETE", _member(subject), parameters=_where(everywhere=everywhere), is_repeatable=False)

    def workspaces(self) -> list[WorkspaceView]:
        """Those that one may be in."""
        return _workspaces.validate_python(self._connection.get("/workspaces").json()["workspaces"])

    def create_workspace(self, name: str) -> WorkspaceView:
        return WorkspaceView.model_validate_json(self._connection.ask("POST", "/workspaces", json={"name": name}).content)

    def first_wrong_entry(self) -> int | None:
        """The number of the first entry of the audit log that is not as it was written; None: all are."""
        found: int | None = self._connection.get("/audit/check").json()["first_wrong"]
        return found

    def audit(self) -> Iterator[AuditEntry]:
        """The newest first."""
        before: int | None = None
        while True:
            page = self._connection.get("/audit", before=before, limit=_PAGE).json()
            yield from _entries.validate_python(page["entries"])
            before = page["next"]
            if before is None:
                return


def _member(subject: str) -> str:
    return f"/members/{quote(subject, safe='')}"


def _where(*, everywhere: bool) -> dict[str, str]:
    return {"everywhere": "true"} if everywhere else {}
