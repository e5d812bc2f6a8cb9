"""Health of a service over HTTP: /livez, /readyz and /metrics. A thread serves them: it answers even where the event loop is stuck."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from typing_extensions import override

from penstock.contracts.errors import InvalidInput, PenstockError

STALLED_SECONDS = 10.0
"""An event loop that has not turned for so long counts as dead."""
PULSE_SECONDS = 0.5
CHECK_SECONDS = 5.0
CHECK_TIMEOUT_SECONDS = 4.0

Check = Callable[[], Awaitable[None]]


class Health:
    """What a service knows of itself: when its event loop last turned, and what of its surroundings it can't reach."""

    def __init__(
        self, dependencies: tuple[str, ...] = (), *, check_seconds: float = CHECK_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check_seconds = check_seconds
        self._clock = clock
        self._pulse_at = clock()
        self._reasons: dict[str, str] = dict.fromkeys(dependencies, "not reached yet")
        self._checks: dict[str, Check] = {}
        self.loop_lag_seconds = 0.0
        self.is_draining = False

    def watch(self, name: str, check: Check) -> None:
        """From now on `check` says whether the dependency can be reached; it has just been."""
        self._checks[name] = check
        self.learn(name, "")

    def learn(self, name: str, reason: str) -> None:
        """Why a dependency can't be reached; empty: it can."""
        self._reasons = {**self._reasons, name: reason}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each dependency can't be reached; empty where it can."""
        return self._reasons

    def live(self) -> tuple[bool, str]:
        """Whether the event loop turns. From any thread."""
        silence = self._clock() - self._pulse_at
        if silence > STALLED_SECONDS:
            return False, f"the event loop has not turned for {silence:.1f} s"
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Whether the service can do its work, or why not. From any thread."""
        is_live, text = self.live()
        if not is_live:
            return False, text
        reasons = [f"{name}: {reason}" for name, reason in self._reasons.items() if reason]
        if self.is_draining:
            reasons.append("draining")
        return not reasons, "\n".join(reasons) or "ready"

    async def run(self) -> None:
        """Feels the event loop's pulse and asks the checks, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat())
            tasks.create_task(self._check())

    async def _beat(self) -> None:
        while True:
            before = self._clock()
            await asyncio.sleep(PULSE_SECONDS)
            self._pulse_at = self._clock()
            self.loop_lag_seconds = max(0.0, self._pulse_at - before - PULSE_SECONDS)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self._check_seconds)
            await asyncio.gather(*(self._ask(name, check) for name, check in list(self._checks.items())))

    async def _ask(self, name: str, check: Check) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await check()
        except TimeoutError:
            self.learn(name, f"no answer within {CHECK_TIMEOUT_SECONDS:g} s")
        except (PenstockError, OSError) as error:
            self.learn(name, str(error) or type(error).__name__)
        else:
            self.learn(name, "")


class HealthServer:
    """Serves `health`, and `metrics` as Prometheus reads them, on an address `host:port`.

    :raises InvalidInput: the address can't be listened at.
    """

    def __init__(self, address: str, health: Health, metrics: Callable[[], bytes]) -> None:
        host, _, port = address.rpartition(":")
        pages: Mapping[str, Callable[[], tuple[int, bytes]]] = {
            "/livez": lambda: _page(*health.live()),
            "/readyz": lambda: _page(*health.ready()),
            "/metrics": lambda: (200, metrics()),
        }
        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(pages))
        except OSError as error:
            raise InvalidInput(f"PENSTOCK_HEALTH_ADDRESS: {address} can't be listened at: {error.strerror}; name another port") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="penstock-health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _page(is_good: bool, text: str) -> tuple[int, bytes]:
    return (200 if is_good else 503), f"{text}\n".encode()


def _handler(pages: Mapping[str, Callable[[], tuple[int, bytes]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            page = pages.get(urlsplit(self.path).path)
            status, body = page() if page is not None else (404, b"/livez, /readyz and /metrics are here\n")
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Probes come every second: nobody wants them in a log."""

    return Handler
