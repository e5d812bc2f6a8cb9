"""What commands are connected to: the engine of a state folder, and the tracer of pipeline files. Tests hand in others."""

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.loading import absent, uncollected
from penstock.deploy.cli.targets import Target
from penstock.deploy.settings import Settings
from penstock.sdk.client import EngineClient, Housekeeping, connect
from penstock.sdk.drawing.traced import Traced

if TYPE_CHECKING:
    from penstock.deploy.remote.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The two doors of the command line: to an engine, and to the tracer that imports the user's file elsewhere."""

    connect: Callable[[Path], EngineClient]
    trace: Callable[[Target], Traced]
    document: Callable[[Target], str] = field(default_factory=lambda: _document)


def wiring(context: typer.Context) -> Wiring:
    """What this invocation is connected to."""
    given = context.find_root().obj
    return given if isinstance(given, Wiring) else Wiring(connect=_connect, trace=_trace)


@contextmanager
def engine(context: typer.Context, start: Path | None = None) -> Generator[EngineClient]:
    """The engine of the project around `start` (the current folder), closed at the end."""
    client = wiring(context).connect(home_of(start))
    try:
        yield client
    finally:
        client.close()


@contextmanager
def services(context: typer.Context, start: Path | None = None) -> Generator[EngineClient]:
    """The services that runs are handed to, whatever engine other commands use; closed at the end.

    :raises InvalidInput: nobody says where they are.
    """
    given = wiring(context).connect
    home = home_of(start)
    client = _connect(home, "http") if given is _connect and Settings.read().engine == "embedded" else given(home)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def reached(context: typer.Context, start: Path | None = None) -> Generator[EngineClient]:
    """The services, where somebody says where they are, else the project's own engine; closed at the end."""
    given = wiring(context).connect
    home = home_of(start)
    settings = Settings.read()
    client = _connect(home, "http") if given is _connect and settings.engine == "embedded" and settings.names_services else given(home)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def api(context: typer.Context, start: Path | None = None) -> Generator["Connection"]:
    """The API of the services, where somebody says where they are, else that of the project's own engine; closed at the end.

    :raises InvalidInput: it takes more than is installed here.
    """
    with reached(context, start) as client:
        yield api_of(client)


def api_of(client: EngineClient) -> "Connection":
    """The API of an engine.

    :raises InvalidInput: it takes more than is installed here.
    """
    from penstock.deploy.areas.reachable import Reachable  # noqa: PLC0415 -- most commands ask no API

    if not isinstance(client, Reachable):
        raise InvalidInput("this engine has no API")
    return client.connection


def home_of(start: Path | None = None) -> Path:
    """The state folder of the project around `start`, or of the current folder."""
    return Settings.read().state_folder(start or Path.cwd())


def housekeeping(client: EngineClient) -> Housekeeping:
    """The engine's housekeeping.

    :raises InvalidInput: this engine has none for its users.
    """
    if not isinstance(client, Housekeeping):
        raise InvalidInput("this engine does its own housekeeping; ask whoever operates it")
    return client


def _connect(home: Path, name: str | None = None) -> EngineClient:
    # The log would load rich, and rich a highlighter, for tracebacks that no command draws: a tenth of the time of an all-hits run.
    with absent("rich"), uncollected():
        client = connect(name or Settings.read().engine, home=home)
    import structlog  # noqa: PLC0415 -- the engine has it loaded by now; commands without an engine need none

    # What the engine has to say is for people: stdout belongs to what was asked for.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return client


def _trace(target: Target) -> Traced:
    from penstock.deploy.cli.tracer import trace  # noqa: PLC0415 -- a run whose trace is known needs no tracer

    return trace(target)


def _document(target: Target) -> str:
    from penstock.deploy.cli.tracer import document  # noqa: PLC0415 -- as above

    return document(target)
