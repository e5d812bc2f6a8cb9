"""Who asks, and what they may do. A role holds in a workspace, and includes those before it."""

from dataclasses import dataclass
from enum import StrEnum

from penstock.contracts.names import DEFAULT_WORKSPACE


class Role(StrEnum):
    """`viewer` looks; `operator` starts, stops, approves and repairs; `author` publishes; `admin` says who may do what."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what that one may."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = (Role.VIEWER, Role.OPERATOR, Role.AUTHOR, Role.ADMIN)
EVERYWHERE = "*"
"""In place of a workspace's name: a role that holds in all of them."""
GROUP_PREFIX = "group:"
"""Before the name of a group, where a person's subject can stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: a person, or what holds a token. `name` is what is recorded of what they do."""

    name: str
    workspace: str = DEFAULT_WORKSPACE
    role: Role = Role.VIEWER
    groups: tuple[str, ...] = ()
    is_everywhere: bool = False
    """Whether it is an admin of every workspace."""


LOCAL = Principal(name="local", role=Role.ADMIN, is_everywhere=True)
"""Whoever sits at the machine: an API without tokens answers nobody else."""
