"""Dead letters: what the broker took away because nobody could be done with it. Orders among them count as lost; reports are heard."""

import asyncio
from collections.abc import Callable, Iterator

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.contracts.messages import COMMAND_LIMIT, Order, Reports, decode
from penstock.engine.core.wants import Fact, Lost
from penstock.transport.bus import DEAD, Bus

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

_AT_ONCE = 20
_PAUSE_SECONDS = 1.0


class DeadLetters:
    """`tell` has a fact decided; its future is done when that is committed."""

    def __init__(self, bus: Bus, tell: "Callable[[int, Fact], asyncio.Future[None]]") -> None:
        self._bus = bus
        self._tell = tell

    async def run(self) -> None:
        """Reads them until it is cancelled."""
        while True:
            try:
                async with self._bus.consume(DEAD, prefetch=_AT_ONCE) as deliveries:
                    async for delivery in deliveries:
                        # Before it is read: a letter that ends this process must not come again. All it says can be had otherwise.
                        await delivery.acknowledge()
                        for run_no, fact in _read(delivery.body):
                            await self._tell(run_no, fact)
            except BusUnavailable as error:
                log.warning("bus.lost", reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)


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
