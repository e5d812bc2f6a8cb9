"""The bus: how messages travel. Adapters are in `buses/`.

Exchanges and queues have the same names everywhere. Orders go to `work` with the key `<workspace>.<pool>.<pipeline>.<step>` and
end in their pool's queue; those of a served step have `lane` in the pool's place and end in the lane's queue. Reports and commands go
to `reports` and end in the inbox; `vitals` and `control` are fanouts without durability; `events` and `logs` are topic exchanges for
whoever listens. What is published to `ingest`, by whatever client, ends in a queue of its own.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from penstock.contracts.names import routing_word
from penstock.contracts.pools import LANE_WORD


class Exchange(StrEnum):
    WORK = "penstock.work"
    REPORTS = "penstock.reports"
    VITALS = "penstock.vitals"
    CONTROL = "penstock.control"
    EVENTS = "penstock.events"
    LOGS = "penstock.logs"
    INGEST = "penstock.ingest"


INBOX = "penstock.inbox"
INGEST = "penstock.ingest"
"""The queue of events from outside; the exchange has the same name. A burst of them never stands before reports."""
REPORT_KEY = "report"
"""The routing key of reports on `reports`: what has it can't be a command."""
DEAD = "penstock.dead"
"""The queue of what a broker took away because nobody could be done with it."""


def work_queue(workspace: str, pool: str) -> str:
    """The queue of the orders of a pool, or of a lane (`<pipeline>/<step>`)."""
    pipeline, is_lane, step = pool.partition("/")
    return f"penstock.lane.{workspace}.{pipeline}.{routing_word(step)}" if is_lane else f"penstock.pool.{workspace}.{pool}"


def work_key(workspace: str, pool: str, pipeline: str, step: str) -> str:
    """The routing key of an order for a pool or a lane."""
    return f"{workspace}.{LANE_WORD if '/' in pool else pool}.{pipeline}.{routing_word(step)}"


def work_binding(workspace: str, pool: str) -> str:
    """The binding on `work` of the queue of a pool or a lane."""
    pipeline, is_lane, step = pool.partition("/")
    return f"{workspace}.{LANE_WORD}.{pipeline}.{routing_word(step)}" if is_lane else f"{workspace}.{pool}.*.*"


def queue_for_key(key: str) -> str:
    """The work queue that an order with this key ends in."""
    workspace, pool, pipeline, word = key.split(".")
    return f"penstock.lane.{workspace}.{pipeline}.{word}" if pool == LANE_WORD else f"penstock.pool.{workspace}.{pool}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """What came with a message beside its body. All but `exchange`, `key` and `user_id` is only what its publisher says.

    `headers` are plain values: text, numbers, truth values, bytes, None, lists and maps of such; times are RFC 3339 text.
    `user_id` is the publisher as whom the broker knows it; empty where the publisher did not name itself.
    """

    content_type: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    exchange: str = ""
    key: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Where a message goes, and its bytes. `reply_queue` addresses one listener directly instead of an exchange.

    `content_type` and `headers` (text, truth values and 64-bit integers) are for readers that are not ours.
    """

    exchange: Exchange | None = None
    key: str = ""
    body: bytes
    reply_queue: str | None = None
    content_type: str = ""
    headers: Mapping[str, str | bool | int] = field(default_factory=dict[str, str | bool | int])

    @property
    def properties(self) -> Properties:
        """As its receiver sees them where no broker stands between."""
        exchange = "" if self.exchange is None else self.exchange.value
        return Properties(content_type=self.content_type, headers=dict(self.headers), exchange=exchange, key=self.key)


class Delivery(Protocol):
    """A message that was received and not yet acknowledged."""

    @property
    def body(self) -> bytes: ...

    @property
    def redelivered(self) -> bool:
        """Whether an earlier delivery of it may have been seen by someone."""
        ...

    @property
    def properties(self) -> Properties: ...

    async def acknowledge(self) -> None:
        """Done with it. On a lost connection this does nothing: the message is delivered again."""
        ...

    async def give_back(self) -> None:
        """Let another consumer have it, marked as redelivered."""
        ...

    async def refuse(self) -> None:
        """Nobody can do anything with it: it goes to the queue of dead letters."""
        ...


class Bus(Protocol):
    """Promised: a published work, report or ingest message is delivered at least once, until acknowledged, as long as its queue lives.

    Not promised: order, single delivery, anything for vitals, control, events and replies. Cancelling a call leaves it unknown
    whether it took effect.
    """

    async def publish(self, envelope: Envelope) -> None:
        """Returns when the bus has taken responsibility for the message.

        :raises BusUnavailable: it is unknown whether it did, or no queue takes such a message.
        """
        ...

    def consume(self, queue: str, *, prefetch: int) -> AbstractAsyncContextManager["Consumer"]:
        """Deliveries of a shared queue, at most `prefetch` unacknowledged. On exit they are given back.

        :raises BusUnavailable: inside the iteration, when the connection is lost.
        """
        ...

    def listen(self, exchange: Exchange, key: str = "#") -> AbstractAsyncContextManager["Listener"]:
        """A queue of one's own on an exchange, for as long as the context lasts. Deliveries need no acknowledgement."""
        ...


class Consumer(Protocol):
    """The deliveries of a shared queue."""

    def __aiter__(self) -> AsyncIterator[Delivery]: ...

    async def stop(self) -> None:
        """Takes no more deliveries. Those that were handed out can still be acknowledged until the context ends."""
        ...


class Listener(Protocol):
    """A private queue. `name` can be given as `reply_queue`."""

    @property
    def name(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...
