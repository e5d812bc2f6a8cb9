"""An HTTP server that receives webhooks, behaves as the path says, and verifies signatures by itself."""

import base64
import hashlib
import hmac
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class WebhookReceiver:
    """`/ok` takes everything; `/answer/<status>` answers so; `/slow` answers when it is let go; `/redirect` leads to `/ok`; `/huge` never
    ends its answer. Everything that came is in `received`."""

    received: list[Received] = field(default_factory=list[Received])
    statuses: list[int] = field(default_factory=list[int])
    """Answered first, one by one, whatever the path is."""
    go: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    """Bytes of endless answers."""

    def __post_init__(self) -> None:
        self._arrived = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "WebhookReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/ok") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def take(self, one: Received) -> None:
        with self._arrived:
            self.received.append(one)
            self._arrived.notify_all()

    def wait(self, count: int, seconds: float = 30.0) -> list[Received]:
        """Waits until so many have come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, seconds), f"{len(self.received)} of {count} came"
            return list(self.received)


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether a delivery is signed with the secret, as Standard Webhooks has it. Written from its text, not from our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        return False
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [part.partition(",")[2] for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    return any(hmac.compare_digest(expected, one) for one in given)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # More than come at once: whoever finds no room tries again a second later.
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    receiver: WebhookReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.take(Received(self.path, headers, body, time.monotonic()))
        self._behave()

    def _behave(self) -> None:
        match self.path.split("/")[1:]:
            case _ if self.receiver.statuses:
                self._answer(self.receiver.statuses.pop(0))
            case ["slow"]:
                self.receiver.go.wait(30)
                self._answer(200)
            case ["redirect"]:
                self._answer(307, location="/ok")
            case ["huge"]:
                self._pour()
            case ["answer", status]:
                self._answer(int(status))
            case _:
                self._answer(204)

    def _answer(self, status: int, **headers: str) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()
        except OSError:
            return  # Whoever asked has gone.

    def _pour(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.receiver.go.is_set():
                self.wfile.write(b"x" * 65536)
                self.receiver.sent += 65536
        except OSError:
            return

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
