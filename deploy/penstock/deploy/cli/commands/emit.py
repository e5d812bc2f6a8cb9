"""`penstock emit`: send an event."""

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.contracts.errors import InvalidInput
from penstock.contracts.event_views import DATA_IS_FETCHED, EventView
from penstock.deploy.areas.events import Events
from penstock.deploy.cli.event_lines import event_lines
from penstock.deploy.cli.wiring import api, home_of
from penstock.deploy.embedded.incarnation import DEV, is_alive
from penstock.deploy.settings import Settings

SOURCE = "/penstock-cli"
_LOOK_SECONDS = 0.05
_HELP = """Send an event: it is kept, and whatever trigger is for it starts runs.

KEY=VALUE are its data: values are JSON where they can be read as JSON, else text; dots nest them.

Examples:

    penstock emit data.ready uri=s3://lake/day.csv rows=1200

    penstock emit orders.closed --data @day.json --id day-2026-03-01       the same id again changes nothing

    penstock emit data.ready rows=5 --wait                                 and see what became of it

    penstock emit data.ready model.depth=3                                 {"model": {"depth": 3}}

On a laptop `penstock dev` must run for triggers to decide; what was sent before is decided when it does.
"""
app = typer.Typer()


@app.command(help=_HELP)
def emit(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="What happened, such as data.ready.")],
    pairs: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Its data.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="JSON", help="Its data as JSON; @FILE reads a file, @- the input.")] = None,
    source: Annotated[str, typer.Option("--source", help="The system that it is from.")] = SOURCE,
    identity: Annotated[str | None, typer.Option("--id", help="Told apart by this and the source; one is made up if left out.")] = None,
    at: Annotated[str | None, typer.Option("--time", help="When it happened, as 2026-03-01T06:30:00Z.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="What it is about, such as a file.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every trigger has decided, and show what it decided.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    given = {"time": at, "subject": subject, "data": _data(data, pairs or [])}
    event = {"specversion": "1.0", "id": identity or uuid.uuid4().hex, "source": source, "type": kind}
    event |= {name: value for name, value in given.items() if value is not None}
    with api(context) as connection:
        events = Events(connection)
        kept = events.emit(event)
        if not _is_served():
            typer.echo("nothing serves this project: the event is kept, and decided once `penstock dev` runs", err=True)
        view = _decided(events, int(kept["event_no"]), timeout) if wait else None
    if as_json:
        typer.echo(json.dumps(dict(kept)) if view is None else view.model_dump_json())
    elif view is None:
        typer.echo(_told(kept))
    else:
        typer.echo("\n".join(event_lines(view)))
    if view is not None and view.state == "new":
        raise InvalidInput(f"nobody has decided the event {view.event_no} within {timeout:g} s: do the services run, or `penstock dev`?")


def _is_served() -> bool:
    """Whether somebody decides events soon, as far as this machine knows."""
    return Settings.read().names_services or is_alive(home_of(), DEV)


def _told(kept: Any) -> str:
    if kept["is_conflict"]:
        return f"event {kept['event_no']} was known with another content: what came now is kept as a conflict, and starts nothing"
    if not kept["is_new"]:
        return f"event {kept['event_no']}, which was known: nothing has changed"
    return f"event {kept['event_no']}; what becomes of it: penstock events show {kept['event_no']}"


def _decided(events: Events, event_no: int, seconds: float) -> EventView:
    """The event once it is decided and its data is there, or when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        view = events.show(event_no)
        is_settled = view.state != "new" and all(one.reason != DATA_IS_FETCHED for one in view.decisions)
        if is_settled or time.monotonic() >= deadline:
            return view
        time.sleep(_LOOK_SECONDS)


def _data(text: str | None, pairs: list[str]) -> Any:
    """What --data says, with the pairs in it."""
    found = None if text is None else _json(text)
    if not pairs:
        return found
    match found:
        case None:
            return _merged({}, pairs)
        case {**parts}:
            return _merged({str(name): value for name, value in parts.items()}, pairs)
        case _:
            raise InvalidInput("KEY=VALUE need data that is an object; leave --data out, or write all of it there")


def _merged(merged: dict[str, Any], pairs: list[str]) -> dict[str, Any]:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{pair!r}: write data as KEY=VALUE, or all of it as --data '{{...}}'")
        _put(merged, name.split("."), _value(value), pair)
    return merged


def _put(into: dict[str, Any], path: list[str], value: Any, pair: str) -> None:
    first, *rest = path
    if not rest:
        into[first] = value
        return
    inner: Any = into.setdefault(first, {})
    if not isinstance(inner, dict):
        raise InvalidInput(f"{pair!r}: {first} has a value already, and can't hold others")
    _put(inner, rest, value, pair)  # pyright: ignore[reportUnknownArgumentType]  # of text and plain values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(text: str) -> Any:
    try:
        if text == "@-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"--data can't be read: {error}") from error
