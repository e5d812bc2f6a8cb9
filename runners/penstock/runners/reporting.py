"""Reports on their way to the inbox: what is there goes out together, and is sent again until the bus has taken it."""

import asyncio
from dataclasses import dataclass

import structlog

from penstock.contracts.errors import BusUnavailable
from penstock.contracts.messages import MESSAGE_LIMIT, Claim, Completed, Failure, Released, Reports, Started, clean_text, encode
from penstock.contracts.states import AttemptState, FailureKind
from penstock.transport.bus import Bus, Envelope, Exchange

_log = structlog.get_logger(__name__)
_BATCH = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_KEPT_CHARACTERS = 16 * 1024

AnyReport = Started | Completed | Released | Claim


@dataclass(frozen=True, slots=True)
class _Owed:
    report: AnyReport
    taken: asyncio.Future[None]


class Reporter:
    """Never waits for more reports: while one message is on its way, the next one collects."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._owed: list[_Owed] = []
        self._wake = asyncio.Event()

    def send(self, report: AnyReport) -> asyncio.Future[None]:
        """Done when the bus has taken responsibility for the report."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owed.append(_Owed(report, taken))
        self._wake.set()
        return taken

    async def run(self) -> None:
        """Sends for as long as it isn't cancelled."""
        while True:
            await self._wake.wait()
            batch, self._owed = self._owed[:_BATCH], self._owed[_BATCH:]
            if not self._owed:
                self._wake.clear()
            # Nobody waits for a claim that was given up.
            batch = [owed for owed in batch if not owed.taken.cancelled()]
            for body, part in _bodies(batch):
                await self._publish(body)
                for owed in part:
                    if not owed.taken.done():
                        owed.taken.set_result(None)

    async def _publish(self, body: bytes) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._bus.publish(Envelope(exchange=Exchange.REPORTS, key="report", body=body))
            except BusUnavailable as error:
                _log.warning("reports.delayed", reason=str(error), seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return


def _bodies(batch: list[_Owed]) -> list[tuple[bytes, list[_Owed]]]:
    """The batch in as few messages as the limit of their size allows."""
    if not batch:
        return []
    body = encode(Reports(reports=tuple(owed.report for owed in batch)))
    if len(body) <= MESSAGE_LIMIT:
        return [(body, batch)]
    if len(batch) == 1:
        return [(encode(Reports(reports=(_shortened(batch[0].report),))), batch)]
    half = len(batch) // 2
    return _bodies(batch[:half]) + _bodies(batch[half:])


def _shortened(report: AnyReport) -> AnyReport:
    """A report that fits into a message: without what is only told, or a failure where the outputs themselves are too many."""
    if not isinstance(report, Completed):
        return report
    told = report.failure
    if told is not None:
        cut = {"traceback": clean_text(told.traceback, _KEPT_CHARACTERS), "message": told.message[:500], "hint": told.hint[:500]}
        told = told.model_copy(update=cut)
    slim = report.model_copy(update={"failure": told, "metrics": report.metrics[-100:], "emitted": (), "tags": {}})
    if len(encode(Reports(reports=(slim,)))) <= MESSAGE_LIMIT:
        return slim
    told = told or Failure(kind=FailureKind.OUTPUT, message="its outputs are too many for a message: return a list, a file or a directory")
    return Completed(attempt=report.attempt, token=report.token, runner=report.runner, outcome=AttemptState.FAILED, failure=told)
