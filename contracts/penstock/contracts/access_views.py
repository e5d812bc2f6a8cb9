"""What is told of who may do what: tokens, members, workspaces, oneself, and the audit log. Times are microseconds since 1970 UTC."""

from pydantic import BaseModel, ConfigDict

from penstock.contracts.access import Role


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class TokenView(View):
    """A token, without itself. `scopes` empty: all that the role may do."""

    token_id: str
    name: str
    owner: str
    role: Role
    scopes: tuple[str, ...] = ()
    made_at: int
    expires_at: int | None = None
    used_at: int | None = None
    """Within a minute."""
    revoked_at: int | None = None


class NewTokenView(TokenView):
    """The only answer that ever holds the token."""

    token: str


class MemberView(View):
    """`subject` of a person, or `group:<name>`; `workspace` `*` is all of them."""

    workspace: str
    subject: str
    role: Role
    made_at: int


class WorkspaceView(View):
    """A workspace that the asker may be in, and their role there."""

    name: str
    role: Role


class Me(View):
    """Who the services take the asker for."""

    name: str
    kind: str
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    workspace: str | None = None
    """Where requests go that name none; None: each has to name one."""
    workspaces: tuple[WorkspaceView, ...] = ()


class AuditEntry(View):
    """What somebody asked for, and whether it was `allowed` or `denied`. Written before it is done; numbers have no gaps."""

    number: int
    at: int
    principal: str
    action: str
    subject: str
    outcome: str
