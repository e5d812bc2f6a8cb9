"""An upstream system as its owners would write it, without our SDK: it publishes events with pika, and again whatever was not confirmed."""

import json
import random
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

_PAUSE_SECONDS = 0.2
_AGAIN = 0.05
"""The share of the events that are sent twice though nothing went wrong."""


class Upstream:
    """`seed` chooses which events are sent twice. It waits so many seconds between two."""

    def __init__(self, url: str, event_type: str, *, seed: int = 0, pause_seconds: float = 0.0) -> None:
        self._pause = pause_seconds
        self._parameters = pika.URLParameters(url)
        self._type = event_type
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self.confirmed = 0
        """Events that the broker has taken responsibility for."""
        self.sent = 0
        """Messages, repetitions among them."""

    def publish(self, numbers: Iterable[int], **data: Any) -> None:
        """Returns when every event was confirmed, however often the broker goes away meanwhile."""
        waiting = iter(numbers)
        current = next(waiting, None)
        while current is not None and not self._stopped.is_set():
            try:
                with self._channel() as channel:
                    while current is not None and not self._stopped.is_set():
                        for _ in range(2 if self._random.random() < _AGAIN else 1):
                            self._send(channel, current, data)
                        self.confirmed += 1
                        self._stopped.wait(self._pause)
                        current = next(waiting, None)
            except (AMQPError, OSError):
                # Whether the broker has the last one is unknown: it is sent again under the same id.
                self._stopped.wait(_PAUSE_SECONDS)

    def stop(self) -> None:
        self._stopped.set()

    @contextmanager
    def _channel(self) -> Generator[BlockingChannel]:
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            if connection.is_open:
                connection.close()

    def _send(self, channel: BlockingChannel, number: int, data: dict[str, Any]) -> None:
        event = {"specversion": "1.0", "id": str(number), "source": "/upstream", "type": self._type, "data": {"number": number, **data}}
        properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
        channel.basic_publish("penstock.ingest", f"default.{self._type}", json.dumps(event).encode(), properties, mandatory=True)
        self.sent += 1
