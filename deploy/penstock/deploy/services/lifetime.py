"""A service's life: an event loop, one request to stop that drains, a second one that ends the process at once."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from penstock.contracts.errors import PenstockError
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.logs import Redaction, bind, configure_logs
from penstock.deploy.services.naming import process_name

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.service")


SAME_SECONDS = 0.5
"""Two signals this close are one: who starts a process in a group of its own often signals both."""


class Lifetime:
    """Whether somebody has asked the process to stop, by SIGTERM, SIGINT or a message."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._why = ""
        self._is_serving = False
        self._asked_at = 0.0

    @property
    def is_over(self) -> bool:
        return self._asked.is_set()

    def stop(self, why: str) -> None:
        """Asks once; asking again changes nothing."""
        if not self._asked.is_set():
            self._why = why
            self._asked.set()

    def listen(self) -> None:
        """From now on signals ask."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        now = asyncio.get_running_loop().time()
        if not self.is_over:
            self._asked_at = now
        elif now - self._asked_at < SAME_SECONDS:
            return
        if self.is_over:
            log.warning("service.ended_at_once", signal=number.name)
            sys.stderr.flush()
            # Guests end with the pipe to their zygote; whatever was not finished comes again elsewhere.
            os._exit(128 + number)
        self.stop(number.name)

    async def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Runs a service. Asked to stop while it does not serve yet, it is cancelled."""
        task = asyncio.ensure_future(main)
        await self._either(task)
        if not self._is_serving:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def serve(self, work: Awaitable[None], drain: Callable[[], None], drain_seconds: float) -> None:
        """Waits for `work`. Asked to stop, it lets the work drain for so long, and cancels it then."""
        self._is_serving = True
        task = asyncio.ensure_future(work)
        await self._either(task)
        if not task.done():
            log.info("service.draining", why=self._why, seconds=drain_seconds)
            drain()
            done, _ = await asyncio.wait((task,), timeout=drain_seconds)
            if not done:
                log.warning("service.not_drained", seconds=drain_seconds)
                task.cancel()
                await asyncio.wait((task,))
        with contextlib.suppress(asyncio.CancelledError):
            task.result()

    async def _either(self, task: "asyncio.Future[Any]") -> None:
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,))
            raise
        finally:
            asked.cancel()


Service = Callable[[str, ServiceSettings, Lifetime], Coroutine[Any, Any, None]]
"""Serves under a name, until its lifetime is over."""


def run_service(service: str, settings: ServiceSettings, main: Service) -> None:
    """Runs a service until it is asked to stop.

    :raises PenstockError: it can't be run; without secrets in the text.
    """
    name = settings.name or process_name()
    redaction = configure_logs(settings.secret_values(), style=settings.log_format)
    bind(service=service, name=name)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_main(name, settings, main))
        except PenstockError as error:
            raise _redacted(error, redaction) from None
        except Exception:
            # As text in the log, where secrets are masked; the interpreter would print them.
            log.exception("service.failed")
            raise SystemExit(1) from None


async def _main(name: str, settings: ServiceSettings, main: Service) -> None:
    lifetime = Lifetime()
    lifetime.listen()
    log.info("service.started", process_id=os.getpid())
    await lifetime.run(main(name, settings, lifetime))
    log.info("service.ended")


def _redacted(error: PenstockError, redaction: Redaction) -> PenstockError:
    error.args = tuple(redaction.masked(part) if isinstance(part, str) else part for part in error.args)
    return error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
