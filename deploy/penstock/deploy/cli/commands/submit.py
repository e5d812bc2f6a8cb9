"""`penstock submit`: hand a run to services, and leave, or follow it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.messages import SubmitRun
from penstock.contracts.spec import encode_spec
from penstock.contracts.views import RunView
from penstock.deploy.cli.detached import follow_detached, how_to_follow
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.loaded_pipeline import load, stored_spec
from penstock.deploy.cli.parameters import given_in_file, given_on_command_line, values_for
from penstock.deploy.cli.run_execution import RunRequest, checked_options, pairs
from penstock.deploy.cli.summary import header_lines
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.wiring import services
from penstock.deploy.settings import Settings
from penstock.sdk.runs.remote_inputs import Origins
from penstock.sdk.runs.run_ids import new_run_id

app = typer.Typer()

_EXAMPLES = """Hand a run to services (PENSTOCK_API_URL, or a profile), and leave: it goes on there.

Examples:

    penstock submit pipeline.py -p raw=wine.csv

    penstock submit pipeline.py:retrain --follow        and watch it; Ctrl-C leaves, the run goes on

    penstock --profile production submit -m team.pipelines:retrain
"""


@app.command(help=_EXAMPLES)
def submit(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE[:PIPELINE]", help="A pipeline file, and which pipeline in it.")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE[:PIPELINE]", help="A module instead of a file.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="A parameter, as for `penstock run`.")] = None,
    params: Annotated[Path | None, typer.Option("--params", metavar="FILE", help="Parameters from a YAML file; -p goes first.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name; else <pipeline>-<number>.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag of the run.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STEP", help="Only this step and what it needs.")] = None,
    rerun: Annotated[list[str] | None, typer.Option("--rerun", metavar="STEP|all", help="Execute it whatever the cache holds.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="STEP.pool=POOL", help="Another pool for a step.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="After a failure, go on with what does not need it.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch it to its end; the exit code is the run's.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Last line on stdout: the run as JSON.")] = False,
) -> None:
    target = parse_target(file, module)
    given = (given_in_file(params) if params is not None else {}) | given_on_command_line(parameter or [], Path.cwd())
    traced = load(context, target, for_services=True)
    options = checked_options(traced.spec, until=until, rerun=rerun or [], settings=setting or [], keep_going=keep_going)
    tags = pairs(tag or [], "--tag")
    with services(context, target.start) as client:
        origins = Origins(client.home)
        values = values_for(traced.spec, given, client, origins)
        tags = {**origins.tags, **tags}
        spec = stored_spec(traced, client)
        view = client.submit(
            SubmitRun(run_id=new_run_id(), spec=encode_spec(spec), parameters=values, name=name, tags=tags, options=options)
        )
        for line in [*header_lines(view, spec, values, client), *(f"note: {text}" for text in traced.notes)]:
            _say(line, as_json)
        code = follow_detached(client, view, RunRequest(tags=tags, save={}, as_json=as_json)) if follow else _left(view, as_json)
    raise typer.Exit(code)


def _left(view: RunView, as_json: bool) -> ExitCode:
    if Settings.read().engine == "embedded":
        _say("logs, why and the other commands ask this machine; to have them ask the services: export PENSTOCK_ENGINE=http", as_json)
    _say(f"submitted; follow it with: {how_to_follow(view)}", as_json)
    if as_json:
        sys.stdout.write(view.model_dump_json(include={"run_id", "name", "state", "pipeline", "tags"}) + "\n")
    return ExitCode.SUCCEEDED


def _say(line: str, as_json: bool) -> None:
    stream = sys.stderr if as_json else sys.stdout
    stream.write(line + "\n")
    stream.flush()
