"""What a user of the broker may do, by what it is for: no more than that takes.

No runner may publish to the default exchange, by which one reaches any queue: it could give orders to the runners of other workspaces.
What it listens to with a queue of its own is limited by topic permissions, which say what a queue may be bound by.
"""

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

from penstock.contracts.errors import InvalidInput
from penstock.contracts.names import checked_name
from penstock.contracts.pools import LANE_WORD
from penstock.transport.bus import REPORT_KEY, Exchange

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NOTHING = "^$"


class UserKind(StrEnum):
    """`runner` and `upstream` are of a workspace; the others serve all of them."""

    RUNNER = "runner"
    COORDINATOR = "coordinator"
    API = "api"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class TopicPermission:
    """By which routing keys a user may publish to an exchange, and bind queues to it."""

    exchange: Exchange
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class Permissions:
    """Regular expressions over the names of exchanges and queues, as RabbitMQ has them."""

    user: str
    configure: str
    write: str
    read: str
    topics: tuple[TopicPermission, ...] = ()

    def commands(self, virtual_host: str) -> list[str]:
        """The lines of a shell that set them."""
        first = ["rabbitmqctl", "set_permissions", "--vhost", virtual_host, self.user, self.configure, self.write, self.read]
        more = [
            ["rabbitmqctl", "set_topic_permissions", "--vhost", virtual_host, self.user, topic.exchange.value, topic.write, topic.read]
            for topic in self.topics
        ]
        return [shlex.join(words) for words in (first, *more)]


def permissions(user: str, kind: UserKind, workspace: str | None) -> Permissions:
    """Those of a user of that kind (and workspace).

    :raises InvalidInput: a name that can't stand in them, or a kind that is of a workspace and none is named.
    """
    if not _USER.fullmatch(user):
        raise InvalidInput(
            f"the user {user[:80]!r}: a name starts with a letter or digit and holds letters, digits, '.', '_' and '-', 64 at most"
        )
    if kind in (UserKind.RUNNER, UserKind.UPSTREAM):
        if workspace is None:
            raise InvalidInput(f"name the --workspace: a user for a {kind.value} is of one")
        own = re.escape(checked_name(workspace, "workspace"))
        return _of_runner(user, own) if kind is UserKind.RUNNER else _of_upstream(user, own)
    return _of_coordinator(user) if kind is UserKind.COORDINATOR else _of_api(user)


def _of_runner(user: str, workspace: str) -> Permissions:
    own, lanes = _own(user), rf"^penstock\.lane\.{workspace}\."
    return Permissions(
        user,
        # A step that is served has a queue that its runners make.
        configure=f"{own}|{lanes}",
        write=rf"^penstock\.(reports|vitals|logs)$|{own}|{lanes}",
        read=rf"^penstock\.(pool|lane)\.{workspace}\.|^penstock\.(control|work|logs)$|{own}",
        topics=(
            TopicPermission(Exchange.WORK, NOTHING, rf"^{workspace}\.{LANE_WORD}\."),
            TopicPermission(Exchange.LOGS, ".*", own),
            TopicPermission(Exchange.REPORTS, f"^{REPORT_KEY}$", NOTHING),
        ),
    )


def _of_coordinator(user: str) -> Permissions:
    own = _own(user)
    return Permissions(
        user,
        # It makes queues anew that have lost their leader, as `penstock topology apply` does.
        configure=rf"^penstock\.|{own}",
        # Answers go to queues of runners by the default exchange.
        write=rf"^penstock\.|^amq\.default$|{own}",
        read=rf"^penstock\.|{own}",
    )


def _of_api(user: str) -> Permissions:
    own = _own(user)
    return Permissions(
        user,
        configure=own,
        write=rf"^penstock\.(reports|vitals|control|ingest|logs)$|{own}",
        read=rf"^penstock\.(vitals|logs)$|{own}",
    )


def _of_upstream(user: str, workspace: str) -> Permissions:
    return Permissions(
        user,
        configure=NOTHING,
        write=r"^penstock\.ingest$",
        read=NOTHING,
        topics=(TopicPermission(Exchange.INGEST, rf"^{workspace}\.", NOTHING),),
    )


def _own(user: str) -> str:
    """The queues by which a user listens."""
    return rf"^r\.{re.escape(user)}\."
