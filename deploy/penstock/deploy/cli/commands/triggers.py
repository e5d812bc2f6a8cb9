"""`penstock triggers`: the rules that turn events, times and data into runs."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.event_views import Tried
from penstock.contracts.triggers import TriggerSpec, plain_trigger
from penstock.deploy.areas.events import Events
from penstock.deploy.areas.triggers import Triggers
from penstock.deploy.cli.event_lines import held_lines, source_text, tried_lines, trigger_decision_table, trigger_table
from penstock.deploy.cli.loaded_pipeline import load
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.wiring import api
from penstock.deploy.trigger_documents import is_trigger_file, read_triggers

_HELP = """Triggers: rules that turn events, times and data into runs.

Those of a pipeline come with its published version; others are declared here, in YAML.

Examples:

    penstock triggers ls

    penstock triggers show nightly                         what it waits for, holds, and decided

    penstock triggers test pipeline.py --event event.json  what would it make of this event? needs no engine

    penstock triggers test nightly --event 42              and of this one, which is kept

    penstock triggers pause nightly

    penstock triggers apply triggers.yaml
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="TRIGGER")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.")]


@app.command(name="ls", help="Triggers, how they stand, and what they decided in the last day.")
def list_triggers(context: typer.Context, as_json: AsJson = False) -> None:
    with api(context) as connection:
        found = Triggers(connection).list()
    if as_json:
        for one in found:
            typer.echo(one.model_dump_json())
        return
    typer.echo(
        "\n".join(trigger_table(found))
        if found
        else "no triggers; they come with pipelines that are published, or by: penstock triggers apply FILE"
    )


@app.command(help="A trigger: what it is, what it holds, and its newest decisions.")
def show(
    context: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="So many decisions at most.")] = 10,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only such decisions: started, not_matched, refused, ...")] = None,
    as_json: AsJson = False,
) -> None:
    with api(context) as connection:
        triggers = Triggers(connection)
        view = triggers.show(name)
        decisions = list(islice(triggers.decisions(name, outcome), limit))
        held = Events(connection).held(name)
    if as_json:
        plain = view.model_dump(mode="json") | {"decisions": [one.model_dump(mode="json") for one in decisions]}
        typer.echo(json.dumps(plain | {"holds": [one.model_dump(mode="json") for one in held]}))
        return
    origin = f"came with {view.spec.pipeline}@{view.from_version}" if view.from_version else f"declared by {view.updated_by or 'somebody'}"
    lines = [*trigger_table([view]), "", f"version {view.version}, {origin}", json.dumps(plain_trigger(view.spec), indent=2)]
    lines += ["", f"its data can't be looked at: {view.trouble}"] if view.trouble else []
    lines += ["", *held_lines(held)] if held else []
    typer.echo("\n".join([*lines, "", *(trigger_decision_table(decisions) if decisions else ["it has decided nothing yet"])]))


@app.command(name="test", help="What would a trigger make of an event? Nothing is kept or started. A file is tried without an engine.")
def try_on(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="TRIGGER|FILE[:PIPELINE]", help="A declared trigger, a pipeline's file, or triggers.yaml.")
    ],
    event: Annotated[str, typer.Option("--event", metavar="FILE|NUMBER", help="A CloudEvent in JSON, or the number of one that is kept.")],
    only: Annotated[str | None, typer.Option("--trigger", help="Of a file's triggers, that one.")] = None,
    as_json: AsJson = False,
) -> None:
    path = Path(target)
    if not path.suffix and not path.is_file():
        results = _tried_declared(context, target, event)
    elif path.is_file() and is_trigger_file(path):
        results = _tried_by_engine(context, _chosen(read_triggers(path), only), event)
    else:
        results = _tried_here(context, target, event, only)
    for name, tried in results:
        typer.echo(json.dumps({"trigger": name, **tried.model_dump(mode="json")}) if as_json else "\n".join(tried_lines(name, tried)))


@app.command(help="Have it start nothing; events are kept, with the decision that it was paused.")
def pause(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Triggers(connection).pause(name)
    typer.echo(f"{name} is paused; go on with: penstock triggers resume {name}")


@app.command(help="Have it start runs again. What came while it was paused can be replayed: penstock events replay.")
def resume(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Triggers(connection).resume(name)
    typer.echo(f"{name} is on")


@app.command(help="Have it start runs for the data that is there already, as if it had just come.")
def existing(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Triggers(connection).tell_of_existing(name)
    typer.echo(f"{name} is told of what is there at its next look; see: penstock events ls")


@app.command(help="Declare the triggers of a YAML file, or change them. Those that it does not name stay as they are.")
def apply(context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="triggers.yaml")]) -> None:
    specs = read_triggers(file)
    with api(context) as connection:
        for spec in specs:
            view = Triggers(connection).apply(spec)
            typer.echo(f"{spec.name}: version {view.version}, {view.state}; {source_text(spec)} -> {spec.pipeline}")


@app.command(name="rm", help="End a trigger that was declared by itself. What it decided stays.")
def remove(context: typer.Context, name: Name) -> None:
    with api(context) as connection:
        Triggers(connection).remove(name)
    typer.echo(f"{name} is gone")


def _tried_declared(context: typer.Context, name: str, event: str) -> list[tuple[str, Tried]]:
    with api(context) as connection:
        return [(name, Triggers(connection).test(name, _named(event)))]


def _tried_by_engine(context: typer.Context, specs: list[TriggerSpec], event: str) -> list[tuple[str, Tried]]:
    """Triggers of a file name pipelines that are published: an engine knows their parameters."""
    with api(context) as connection:
        return [(spec.name, Triggers(connection).test(spec.name, _named(event), spec)) for spec in specs]


def _tried_here(context: typer.Context, target: str, event: str, only: str | None) -> list[tuple[str, Tried]]:
    traced = load(context, parse_target(target, None))
    specs = _chosen([TriggerSpec.model_validate(plain) for plain in traced.triggers], only)
    if not specs:
        raise InvalidInput(f"the pipeline in {target} declares no trigger: give @pipeline(triggers=[OnEvent(...)])")
    number = _named(event)
    if isinstance(number, int):
        with api(context) as connection:
            number = Events(connection).show(number).event or {}
    try:
        from penstock.engine.events.cloud_event_formats import structured_event  # noqa: PLC0415 -- a plain installation can't evaluate them
        from penstock.engine.triggers.checking import check_trigger  # noqa: PLC0415 -- as above
        from penstock.engine.triggers.trying import tried  # noqa: PLC0415 -- as above

        found = _cloud_event(structured_event, number, event)
        for spec in specs:
            check_trigger(spec, traced.spec)
        return [(spec.name, tried(spec, traced.spec, found)) for spec in specs]
    except ModuleNotFoundError as error:
        raise InvalidInput(f"expressions can't be evaluated here ({error.name} is missing): pip install 'penstock[services]'") from error


def _cloud_event(read: Callable[[dict[str, Any]], CloudEvent], plain: dict[str, Any], named: str) -> CloudEvent:
    try:
        return read(plain)
    except ContractError as error:
        raise InvalidInput(f"{named} is no CloudEvent: {error}") from error


def _chosen(specs: list[TriggerSpec], only: str | None) -> list[TriggerSpec]:
    found = [spec for spec in specs if only is None or spec.name == only]
    if only is not None and not found:
        raise InvalidInput(f"there is no trigger {only!r} in it (there is {', '.join(spec.name for spec in specs) or 'none'})")
    return found


def _named(event: str) -> dict[str, Any] | int:
    """A number, or what a file holds."""
    if event.isdecimal():
        return int(event)
    try:
        plain: Any = json.loads(Path(event).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(
            f"--event is the number of an event, or a file with a CloudEvent in JSON; {event} can't be read: {error}"
        ) from error
    if not isinstance(plain, dict):
        raise InvalidInput(f"{event} holds no CloudEvent: it must be an object with specversion, id, source and type")
    return plain  # pyright: ignore[reportUnknownVariableType]  # decoded
