"""`penstock runs`: list, show, compare, cancel and forget runs."""

import json
import time
from typing import Annotated

import typer

from penstock.contracts.drawing import value_text
from penstock.contracts.views import RunView
from penstock.deploy.cli.addresses import LAST
from penstock.deploy.cli.commands.logs import logs
from penstock.deploy.cli.commands.rerun import rerun
from penstock.deploy.cli.commands.resume import resume
from penstock.deploy.cli.comparison import comparison_lines
from penstock.deploy.cli.completion import run_names
from penstock.deploy.cli.detached import follow_detached
from penstock.deploy.cli.durations import age_text, elapsed_seconds, seconds_text
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.run_execution import RunRequest
from penstock.deploy.cli.run_json import run_json
from penstock.deploy.cli.summary import failure_lines, output_lines, summary_lines
from penstock.deploy.cli.wiring import engine, housekeeping, services
from penstock.deploy.settings import Settings
from penstock.sdk.runs.remote_inputs import ORIGIN

_COMMIT_SHOWN = 10
_EVENTS_SHOWN = 10

app = typer.Typer(
    no_args_is_help=True,
    help="""Look at runs, stop them, run them again.

    Examples:

        penstock runs ls --pipeline retrain

        penstock runs show retrain-7

        penstock runs compare retrain-6 retrain-7
    """,
)
app.command(name="logs", help="As `penstock logs`.")(logs)
app.command(name="resume", help="As `penstock resume`.")(resume)
app.command(name="rerun", help="As `penstock rerun`.")(rerun)


@app.command(name="ls", help="The newest runs.")
def list_runs(
    context: typer.Context,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Of that pipeline only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    with engine(context) as client:
        # A list comes without steps, and without whether a process still drives a run.
        views = [client.run(view.run_id) for view in client.runs(pipeline=pipeline, limit=limit)]
    if as_json:
        for view in views:
            typer.echo(json.dumps(view.model_dump(mode="json"), ensure_ascii=False))
        return
    now = time.time_ns() // 1000
    table = [("run", "state", "started", "took", "hits", "tags")]
    for view in views:
        total = sum(count.total or 0 for count in view.steps if count.kind == "step")
        hits = sum(count.hits for count in view.steps if count.kind == "step")
        took = elapsed_seconds(view.created_at, view.ended_at, now)
        tags = " ".join(f"{key}={_shortened(key, value)}" for key, value in view.tags.items())
        state = view.state.value if view.state.is_terminal or view.is_owned_by_live_process else f"{view.state.value} (its process died)"
        table.append(
            (view.name, state, age_text((now - view.created_at) / 1e6), seconds_text(took or 0.0), f"{hits}/{total}" if total else "", tags)
        )
    typer.echo("\n".join(aligned(table)) if views else "no runs yet; start one with: penstock run pipeline.py")


def _shortened(key: str, value: str) -> str:
    if key.startswith(ORIGIN):
        return value.partition(" ")[0]
    return value[:_COMMIT_SHOWN] if key in ("git.commit", "git.diff") else value


@app.command(help="A run in full: steps, failures, outputs.")
def show(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", autocompletion=run_names)] = LAST,
    as_json: Annotated[bool, typer.Option("--json", help="As `penstock run --json`.")] = False,
) -> None:
    with engine(context) as client:
        view = client.run(run)
        if as_json:
            typer.echo(run_json(view, client))
            return
        values = [f"{name} = {value_text(value, 100)}" for name, value in view.parameters.items()]
        values += [f"  {asked} was {found}" for asked, found in view.resolved.items()]
        values += [f"  {name} was {origin}" for name, origin in view.tags.items() if name.startswith(ORIGIN)]
        lines = [*_cause_lines(view), *values, "", *failure_lines(view, client), *summary_lines(view, client), *output_lines(view.outputs)]
        if not view.state.is_terminal and not view.is_owned_by_live_process:
            lines.append(f"its process died; go on with: penstock resume {view.name}")
    typer.echo("\n".join(lines))


def _cause_lines(view: RunView) -> list[str]:
    """What started a run that no person did."""
    trigger, events = view.cause.get("trigger"), view.cause.get("events") or ()
    if trigger is None:
        return []
    shown = ", ".join(map(str, events[:_EVENTS_SHOWN])) + (", …" if len(events) > _EVENTS_SHOWN else "")
    return [f"started by the trigger {trigger}, for event {shown}"]


@app.command(help="Watch a run to its end; the exit code is the run's. Ctrl-C leaves, and the run goes on where it is driven.")
def follow(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", autocompletion=run_names)] = LAST,
    as_json: Annotated[bool, typer.Option("--json", help="Last line on stdout: the run as JSON.")] = False,
) -> None:
    # Where `penstock submit` handed it over.
    chosen = services if Settings.read().names_services else engine
    with chosen(context) as client:
        code = follow_detached(client, client.run(run), RunRequest(tags={}, save={}, as_json=as_json))
    raise typer.Exit(code)


@app.command(help="Stop a run: what runs is ended, what waits is not begun.")
def cancel(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", autocompletion=run_names)] = LAST,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the run.")] = "",
) -> None:
    with engine(context) as client:
        view = client.run(run)
        if view.state.is_terminal:
            typer.echo(f"{view.name} has {view.state.value} already")
            return
        client.cancel(view.run_id, reason)
    typer.echo(f"{view.name} is being cancelled")


@app.command(help="What differs between two runs: parameters, steps, metrics, outputs.")
def compare(
    context: typer.Context,
    before: Annotated[str, typer.Argument(metavar="RUN", autocompletion=run_names)],
    after: Annotated[str, typer.Argument(metavar="RUN", autocompletion=run_names)],
) -> None:
    with engine(context) as client:
        lines = comparison_lines(client, client.run(before), client.run(after))
    typer.echo("\n".join(lines))


@app.command(name="rm", help="Forget runs that have ended. Their cache entries stay; `penstock gc` frees their artifacts.")
def remove(context: typer.Context, runs: Annotated[list[str], typer.Argument(metavar="RUN...", autocompletion=run_names)]) -> None:
    with engine(context) as client:
        for run in runs:
            housekeeping(client).remove_run(run)
            typer.echo(f"removed {run}")
