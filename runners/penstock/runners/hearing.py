"""What a runner hears: answers to its claims, which attempts to cancel, whose output is followed, and that it shall drain."""

import asyncio
from collections.abc import Callable

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.contracts.messages import AttemptKey, CancelAttempts, Claim, ClaimAnswer, DrainRunner, FollowLogs, Order, decode
from penstock.runners.presence import Identity
from penstock.runners.reporting import Reporter
from penstock.transport.bus import Bus, Exchange, Listener

_log = structlog.get_logger(__name__)
_AGAIN_SECONDS = 10.0
_PAUSE_SECONDS = 0.5


class Hearing:
    """One private queue, on the control exchange and addressed by answers."""

    def __init__(
        self,
        bus: Bus,
        reporter: Reporter,
        identity: Identity,
        cancel: Callable[[AttemptKey], None],
        drain: Callable[[DrainRunner], None],
        follow: Callable[[FollowLogs], None],
    ) -> None:
        self._bus = bus
        self._reporter = reporter
        self._identity = identity
        self._cancel = cancel
        self._drain = drain
        self._follow = follow
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._awaited: dict[AttemptKey, asyncio.Future[ClaimAnswer]] = {}

    async def run(self) -> None:
        """Listens for as long as it isn't cancelled."""
        while True:
            try:
                async with self._bus.listen(Exchange.CONTROL) as listener:
                    await self._attend(listener)
            except BusUnavailable as error:
                _log.warning("hearing.lost", reason=str(error))
            # One that is not known yet is waited for: whoever waits must be told of the next.
            if self._address.done():
                self._address = asyncio.get_running_loop().create_future()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def listening(self) -> None:
        """Returns once cancellations and answers can be heard."""
        await asyncio.shield(self._address)

    async def claim(self, order: Order, *, is_first: bool = False) -> ClaimAnswer:
        """Asks for the order until there is an answer. `is_first`: nobody else was given it."""
        answer: asyncio.Future[ClaimAnswer] = asyncio.get_running_loop().create_future()
        self._awaited[order.attempt] = answer
        try:
            while True:
                address = await asyncio.shield(self._address)
                asked = self._reporter.send(self._claim(order, address, is_first=is_first))
                await asyncio.wait([answer], timeout=_AGAIN_SECONDS)
                asked.cancel()
                if answer.done():
                    return answer.result()
        finally:
            self._awaited.pop(order.attempt, None)

    def _claim(self, order: Order, address: str, *, is_first: bool) -> Claim:
        return Claim(
            attempt=order.attempt,
            token=order.token,
            runner=self._identity.name,
            incarnation=self._identity.incarnation,
            is_first=is_first,
            reply_to=address,
        )

    async def _attend(self, listener: Listener) -> None:
        self._address.set_result(listener.name)
        async for body in listener:
            try:
                message = decode(body)
            except ContractError as error:
                _log.warning("control.not_understood", reason=str(error))
                continue
            match message:
                case CancelAttempts(attempts=attempts):
                    for attempt in attempts:
                        self._cancel(attempt)
                case DrainRunner():
                    self._drain(message)
                case FollowLogs():
                    self._follow(message)
                case ClaimAnswer(asked=asked):
                    answer = self._awaited.get(asked)
                    if answer is not None and not answer.done():
                        answer.set_result(message)
                case _:
                    continue
