"""Dead letters: what the broker took away because nobody could be done with it. Orders among them count as lost; reports are heard; what
was to be an event is kept with that reason.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.contracts.messages import COMMAND_LIMIT, Order, Reports, decode
from penstock.engine.core.wants import Fact, Lost
from penstock.transport.bus import DEAD, INGEST, Bus, Delivery

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

_AT_ONCE = 20
_PAUSE_SECONDS = 1.0
_DEADLY = "it was delivered again and again, and whoever read it ended before it was done"


KeepEvent = Callable[[Delivery, str], Awaitable[None]]
"""Keeps what was to be an event, with the reason why it is none."""


async def keep_no_event(delivery: Delivery, reason: str) -> None:
    """Where nobody has a place for it."""
    log.error("dead_letter.not_understood", reason=reason, size=len(delivery.body))


class DeadLetters:
    """`tell` has a fact decided; its future is done when that is committed."""

    def __init__(self, bus: Bus, tell: "Callable[[int, Fact], asyncio.Future[None]]", keep_event: KeepEvent = keep_no_event) -> None:
        self._bus = bus
        self._tell = tell
        self._keep_event = keep_event

    async def run(self) -> None:
        """Reads them until it is cancelled."""
        while True:
            try:
                async with self._bus.consume(DEAD, prefetch=_AT_ONCE) as deliveries:
                    async for delivery in deliveries:
                        if _is_event(delivery):
                            await self._keep(delivery)
                            continue
                        # Before it is read: a letter that ends this process must not come again. All it says can be had otherwise.
                        await delivery.acknowledge()
                        for run_no, fact in _read(delivery.body):
                            await self._tell(run_no, fact)
            except BusUnavailable as error:
                log.warning("bus.lost", reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _keep(self, delivery: Delivery) -> None:
        """Nothing else knows of it: it is acknowledged once it is kept."""
        try:
            await self._keep_event(delivery, _DEADLY)
        except StoreUnavailable:
            await delivery.give_back()
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        await delivery.acknowledge()


def _is_event(delivery: Delivery) -> bool:
    return delivery.properties.headers.get("x-first-death-queue") == INGEST


def _read(body: bytes) -> Iterator[tuple[int, Fact]]:
    try:
        message = decode(body, COMMAND_LIMIT)
    except ContractError as error:
        log.error("dead_letter.not_understood", reason=str(error), size=len(body))  # noqa: TRY400 - it says all
        return
    log.error("dead_letter.found", type=message.type, size=len(body))
    match message:
        case Order(attempt=attempt):
            reason = "its order was delivered again and again, and nobody could be done with it"
            yield attempt.run_no, Lost((attempt.step_no, attempt.item_no), attempt.attempt_no, reason=reason, if_unbegun=True)
        case Reports(reports=reports):
            for report in reports:
                yield report.attempt.run_no, report
        case _:
            # Commands are in the rows too.
            return
