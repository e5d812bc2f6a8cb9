"""Who sends a request, and in which workspace it is to be done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from penstock.contracts.access import EVERYWHERE, GROUP_PREFIX, Principal, Role
from penstock.engine.api.problems import NotAllowed, NotFound

WORKSPACE_HEADER = "Penstock-Workspace"
_NOBODY: Mapping[str, Role] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`kind`: local, bootstrap, token or person. `roles` by workspace, `*` being every one; no `scopes`: all that the role may do."""

    name: str
    kind: str
    roles: Mapping[str, Role] = field(default_factory=lambda: _NOBODY)
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()

    def role_in(self, workspace: str) -> Role | None:
        """The greater one of the role there and the one everywhere."""
        found = [role for of in (workspace, EVERYWHERE) if (role := self.roles.get(of)) is not None]
        return max(found, key=list(Role).index, default=None)

    def chosen(self, named: str | None, otherwise: str) -> str:
        """The workspace of a request that names one, or none; whoever may be in several is taken to be in `otherwise`.

        :raises NotAllowed: they may be in none, or have to name one.
        :raises NotFound: there is none of that name, as far as they are to know.
        """
        if named is not None:
            if self.role_in(named) is None:
                raise NotFound(f"there is no workspace {named[:63]!r}, or you are no member of it")
            return named
        if self.role_in(otherwise) is not None:
            return otherwise
        if len(self.roles) == 1:
            return next(iter(self.roles))
        if not self.roles:
            raise NotAllowed(403, f"{self.name[:80]} is no member of any workspace; an admin adds them: penstock members add")
        several = ", ".join(sorted(self.roles))
        raise NotAllowed(403, f"name the workspace in the header {WORKSPACE_HEADER}, or in PENSTOCK_WORKSPACE: you may be in {several}")

    def principal(self, workspace: str) -> Principal:
        """As whom they act there.

        :raises NotFound: they have no role there.
        """
        role = self.role_in(workspace)
        if role is None:
            raise NotFound(f"there is no workspace {workspace[:63]!r}, or you are no member of it")
        # Whoever looks at all workspaces and is admin of one is not admin of all.
        is_everywhere = self.roles.get(EVERYWHERE) is Role.ADMIN
        return Principal(name=self.name, workspace=workspace, role=role, groups=self.groups, is_everywhere=is_everywhere)


LOCAL_CALLER = Caller(name="local", kind="local", roles={EVERYWHERE: Role.ADMIN})
BOOTSTRAP_CALLER = Caller(name="bootstrap", kind="bootstrap", roles={EVERYWHERE: Role.ADMIN})
"""Whoever has the token of the settings."""


def is_name_of_person(subject: str) -> bool:
    """Whether a person may be called so: what is recorded of the others could not be told apart otherwise."""
    return subject.isprintable() and subject not in ("", "local", "bootstrap") and not subject.startswith(("token:", GROUP_PREFIX))
