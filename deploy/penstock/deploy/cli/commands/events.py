"""`penstock events`: what came in, and what became of it."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.event_views import RefusalView
from penstock.deploy.areas.events import Events
from penstock.deploy.cli.event_lines import ago, event_lines, event_table, held_lines
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.wiring import api
from penstock.deploy.trigger_documents import read_mappings

_HELP = """Events: what came in, what every trigger made of it and why, and doing it again.

Examples:

    penstock events ls --type 'data.*'

    penstock events show 42               the whole event, and every decision with its reason

    penstock events held                  half-joined events, bursts and batches, and what is missing

    penstock events replay 42             have every trigger decide it once more

    penstock events dead                  what could not be decided; then: penstock events retry 42

    penstock events refused               messages that nobody could read; then: penstock events mappings apply mappings.yaml
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
mappings = typer.Typer(help="How plain messages become events: CEL over `message`, chosen by routing key or by name.", no_args_is_help=True)
app.add_typer(mappings, name="mappings")
EventNo = Annotated[int, typer.Argument(metavar="EVENT", min=1, help="Its number.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="So many at most.")]


@app.command(name="ls", help="The newest events, and what became of each.")
def list_events(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option("--type", help="Of that type; `*` at its end stands for anything.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Of that source.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="new, done or dead.")] = None,
    limit: Limit = 30,
    as_json: AsJson = False,
) -> None:
    with api(context) as connection:
        found = list(islice(Events(connection).list(kind=kind, source=source, state=state), limit))
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    typer.echo("\n".join(event_table(found)) if found else "no events; send one with: penstock emit data.ready rows=5")


@app.command(help="An event in full, and what every trigger made of it.")
def show(context: typer.Context, event: EventNo, as_json: AsJson = False) -> None:
    with api(context) as connection:
        view = Events(connection).show(event)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    typer.echo("\n".join(event_lines(view)))
    data = (view.event or {}).get("data")
    if data is not None:
        typer.echo(f"data: {json.dumps(data, ensure_ascii=False, indent=2)}")


@app.command(help="Have every trigger decide an event once more, as another occurrence of it.")
def replay(context: typer.Context, event: EventNo, as_json: AsJson = False) -> None:
    with api(context) as connection:
        view = Events(connection).replay(event)
    typer.echo(view.model_dump_json() if as_json else f"event {event} is decided once more; see: penstock events show {event}")


@app.command(help="Events that could not be decided.")
def dead(context: typer.Context, limit: Limit = 30, as_json: AsJson = False) -> None:
    with api(context) as connection:
        found = list(islice(Events(connection).list(state="dead"), limit))
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    lines = [*event_table(found), "", "try one again with: penstock events retry EVENT"]
    typer.echo("\n".join(lines) if found else "none is dead")


@app.command(help="Try again what failed of an event: deciding it, or the runs that could not be made.")
def retry(context: typer.Context, event: EventNo, as_json: AsJson = False) -> None:
    with api(context) as connection:
        view = Events(connection).retry(event)
    typer.echo(view.model_dump_json() if as_json else f"event {event} is tried again; see: penstock events show {event}")


@app.command(help="Events that triggers hold, and what for.")
def held(
    context: typer.Context,
    trigger: Annotated[str | None, typer.Option("--trigger", help="By that one.")] = None,
    as_json: AsJson = False,
) -> None:
    with api(context) as connection:
        found = Events(connection).held(trigger)
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    typer.echo("\n".join(held_lines(found)) if found else "nothing is held")


@app.command(help="Messages that came and that nobody could read, with the reason.")
def refused(
    context: typer.Context,
    again: Annotated[int | None, typer.Option("--retry", metavar="NUMBER", help="Read that one again, as mappings are now.")] = None,
    forget: Annotated[int | None, typer.Option("--forget", metavar="NUMBER", help="Forget that one.")] = None,
    limit: Limit = 30,
    as_json: AsJson = False,
) -> None:
    with api(context) as connection:
        events = Events(connection)
        if again is not None:
            numbers = events.read_again(again)
            typer.echo(f"it is {', '.join(f'event {number}' for number in numbers) or 'no event'}")
        if forget is not None:
            events.forget_refused(forget)
        if again is not None or forget is not None:
            return
        found = list(islice(events.refused(), limit))
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    typer.echo("\n".join(_refused_lines(found)) if found else "everything could be read")


def _refused_lines(found: list[RefusalView]) -> list[str]:
    table = [("number", "received", "from", "key", "content type", "bytes")]
    table += [(str(one.refusal_no), ago(one.received_at), one.sender, one.key, one.content_type, str(one.size)) for one in found]
    lines = aligned(table)
    reasons = [f"    {one.reason}" for one in found]
    return [lines[0], *(line for pair in zip(lines[1:], reasons, strict=True) for line in pair)]


@mappings.command(name="ls", help="Declared mappings.")
def list_mappings(context: typer.Context, as_json: AsJson = False) -> None:
    with api(context) as connection:
        found = Events(connection).mappings()
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json(exclude_none=True))
        return
    table = [("mapping", "routing key", "exchange", "type", "source", "id")]
    table += [(one.name, one.routing_key or "", one.exchange or "", one.type, one.source, one.id or "(digest)") for one in found]
    typer.echo("\n".join(aligned(table)) if found else "no mapping is declared: plain messages are refused")


@mappings.command(help="Declare the mappings of a YAML file, or change them.")
def apply(context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    declared = read_mappings(file)
    with api(context) as connection:
        events = Events(connection)
        for mapping in declared:
            events.declare_mapping(mapping)
            typer.echo(f"{mapping.name}: declared")


@mappings.command(name="rm", help="Forget a mapping.")
def remove(context: typer.Context, name: Annotated[str, typer.Argument(metavar="MAPPING")]) -> None:
    with api(context) as connection:
        Events(connection).forget_mapping(name)
    typer.echo(f"{name} is not declared any more")
