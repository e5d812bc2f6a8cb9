"""Logs of the services: one JSON document a line, or lines for people on a terminal; on stderr, with secrets masked.

Masking is the last thing that happens to a line, so that nothing that any library logs goes around it.
"""

import json
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"
SHORTEST_CHARACTERS = 6
"""A shorter secret stands in much that is none; inside of a URL it is masked all the same."""
_URL_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@\"']*:)(?P<password>[^\s@/\"']+)(?=@)", re.IGNORECASE)
# Their warnings tell what ours tell better, a hundred times during an outage.
_QUIET = ("aio_pika", "aiormq", "botocore", "aiobotocore", "httpx", "urllib3")


class Redaction:
    """Masks the given values in every spelling that a log line may give them, and passwords in any URL."""

    def __init__(self, secrets: Sequence[str]) -> None:
        spellings = {spelling for secret in secrets if len(secret) >= SHORTEST_CHARACTERS for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def masked(self, text: str) -> str:
        """`text` without secrets."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return _URL_PASSWORD.sub(rf"\g<before>{MASK}", text) if "://" in text else text

    def last(self, _logger: WrappedLogger, _name: str, line: Any) -> str:
        """The last processor: what comes is the line as it is written."""
        return self.masked(str(line))


def _spellings(secret: str) -> set[str]:
    """As libraries write it, and as a renderer writes what they wrote."""
    once = {secret, quote(secret, safe="")} | _escaped(secret)
    return once | {spelling for text in once for spelling in _escaped(text)}


def _escaped(text: str) -> set[str]:
    return {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}


def configure_logs(secrets: Sequence[str], *, style: str = "auto") -> Redaction:
    """Sets structlog and the standard library's logging up for a service. `style`: json, pretty, or auto (by the terminal)."""
    redaction = Redaction(secrets)
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(sys.stderr)
    is_pretty = style == "pretty" or (style == "auto" and sys.stderr.isatty())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=[_plain, *_rendering(is_pretty), redaction.last])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("alembic", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return redaction


def _rendering(is_pretty: bool) -> list[Processor]:
    if is_pretty:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    # Tracebacks as text, without the values of variables: secrets are among those.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]


def _plain(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    record: Any = event.pop("_record", None)
    event.pop("_from_structlog", None)
    if record is not None:
        event.setdefault("logger", record.name)
    return event


def bind(**context: str) -> None:
    """What every line of this process tells."""
    structlog.contextvars.bind_contextvars(**context)


def bound(**context: str | int) -> AbstractContextManager[None]:
    """What every line of this task tells meanwhile."""
    return structlog.contextvars.bound_contextvars(**context)
