"""Reports on their way to the inbox: what is there goes out together, and is sent again until the bus has taken it."""

import asyncio
import itertools
from dataclasses import dataclass

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.contracts.messages import MESSAGE_LIMIT, Claim, Completed, Failure, Released, Reports, Started, clean_text, encode
from penstock.contracts.states import AttemptState, FailureKind
from penstock.transport.bus import REPORT_KEY, Bus, Envelope, Exchange

_log = structlog.get_logger(__name__)
_BATCH = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_TRIES = 8
"""Of sending what fails for a reason that nobody foresaw."""
_KEPT_CHARACTERS = 16 * 1024
_UNTOLD = "how it ended can't be told"

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
            await self._send(batch)

    async def _send(self, batch: list[_Owed]) -> None:
        try:
            for body, part in _bodies(batch):
                await self._publish(body)
                _settle(part)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not be the end of all reports
            left = [owed for owed in batch if not owed.taken.done()]
            if len(left) > 1:
                # The others must not suffer from the one that can't be sent.
                for owed in left:
                    await self._send([owed])
                return
            _log.error("report.impossible", reason=repr(error), attempt=str(left[0].report.attempt) if left else "")
            await self._tell_instead(left, error)

    async def _tell_instead(self, left: list[_Owed], error: Exception) -> None:
        """Of an end that can't be told the attempt fails; the rest is asked for again by whoever needs it."""
        for owed in left:
            if isinstance(owed.report, Completed) and not (owed.report.failure and owed.report.failure.message.startswith(_UNTOLD)):
                failed = _failed(owed.report, Failure(kind=FailureKind.OUTPUT, message=f"{_UNTOLD}: {error}"))
                await self._send([_Owed(failed, owed.taken)])
        _settle(left)

    async def _publish(self, body: bytes) -> None:
        pause = _FIRST_PAUSE
        for tried in itertools.count(1):
            try:
                await self._bus.publish(Envelope(exchange=Exchange.REPORTS, key=REPORT_KEY, body=body))
            except BusUnavailable as error:
                _log.warning("reports.delayed", reason=str(error), seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except (ContractError, ValueError, TypeError, OverflowError):
                # No bus would ever take it.
                raise
            except Exception as error:
                if tried >= _TRIES:
                    raise
                _log.warning("reports.delayed", reason=repr(error), seconds=pause)
                await asyncio.sleep(pause)
            else:
                return


def _settle(part: list[_Owed]) -> None:
    for owed in part:
        if not owed.taken.done():
            owed.taken.set_result(None)


def _failed(report: Completed, failure: Failure) -> Completed:
    return Completed(attempt=report.attempt, token=report.token, runner=report.runner, outcome=AttemptState.FAILED, failure=failure)


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
    slim = report.model_copy(update={"failure": told, "metrics": report.metrics[-100:], "tags": {}})
    if len(encode(Reports(reports=(slim,)))) <= MESSAGE_LIMIT:
        return slim
    what = "its outputs and events are too many for a message: return a list, a file or a directory"
    told = told or Failure(kind=FailureKind.OUTPUT, message=what)
    return _failed(report, told)
