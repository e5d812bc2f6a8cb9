"""`penstock run`: trace a pipeline file, submit a run, follow it."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.drawing import value_text
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import PipelineSpec
from penstock.deploy.cli.bare_script import FILES, is_script, traced_script
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.loaded_pipeline import load, sources_of, stored_spec
from penstock.deploy.cli.parameters import Given, given_in_file, given_on_command_line, values_for
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.run_execution import RunRequest, checked_options, execute, pairs
from penstock.deploy.cli.targets import Target, parse_target
from penstock.deploy.cli.watching import watch
from penstock.deploy.cli.wiring import engine, home_of
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.runs.remote_inputs import Origins

app = typer.Typer()

_EXAMPLES = """Run a pipeline: what was computed before is taken from the cache, the rest is executed.

Examples:

    penstock run pipeline.py                               a file with one pipeline

    penstock run pipeline.py:retrain -p raw=wine.csv       this one of several, with a parameter

    penstock run -m team.pipelines:retrain -p depths=3 -p depths=5

    penstock run pipeline.py --params nightly.yaml --rerun train

    penstock run pipeline.py --help                        the parameters of that pipeline

    penstock run train.py -- --data data.csv --lr 0.1      a plain script: one step, cached

    penstock run penstock.yaml                             a pipeline that `penstock graph --format yaml` wrote

    penstock run pipeline.py --watch                       again whenever its code changes

    penstock run pipeline.py --pdb                         in this process, a debugger where a step fails
"""


@app.command(help=_EXAMPLES, add_help_option=False)
def run(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE[:PIPELINE]", help="A pipeline file, and which pipeline in it.")] = None,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="Of a plain script.")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE[:PIPELINE]", help="A module instead of a file.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME=VALUE", help="A parameter. @file reads a file; repeat it for lists; name.field=value."),
    ] = None,
    params: Annotated[Path | None, typer.Option("--params", metavar="FILE", help="Parameters from a YAML file; -p goes first.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name; else <pipeline>-<number>.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag of the run.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STEP", help="Only this step and what it needs.")] = None,
    rerun: Annotated[list[str] | None, typer.Option("--rerun", metavar="STEP|all", help="Execute it whatever the cache holds.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="STEP.pool=POOL", help="Another pool for a step.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="After a failure, go on with what does not need it.")] = False,
    save: Annotated[list[str] | None, typer.Option("--save", metavar="OUTPUT=PATH", help="Copy an output (`result`) there.")] = None,
    inline: Annotated[bool, typer.Option("--inline", help="Every step in this process: no cache, nothing kept.")] = False,
    with_debugger: Annotated[bool, typer.Option("--pdb", help="As --inline, with a debugger where a step fails.")] = False,
    watching: Annotated[bool, typer.Option("--watch", help="Run again whenever the pipeline's code changes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Last line on stdout: the run as JSON.")] = False,
    wants_help: Annotated[bool, typer.Option("--help", "-h", help="This, or with FILE the pipeline's parameters.")] = False,
) -> None:
    if wants_help and file is None and module is None:
        typer.echo(context.get_help())
        return
    target = parse_target(file, module)
    if wants_help:
        typer.echo(_parameter_help(_loaded(context, target, arguments or [])[0].spec, str(target)))
        return
    given = (given_in_file(params) if params is not None else {}) | given_on_command_line(parameter or [], Path.cwd())
    places = {output: Path(path) for output, path in pairs(save or [], "--save").items()}
    if inline or with_debugger:
        need_engine = {
            "--name": name, "--tag": tag, "--until": until, "--rerun": rerun, "--set": setting,
            "--keep-going": keep_going, "--watch": watching, "--": arguments,
        }  # fmt: skip
        _refuse_without_engine(target, [option for option, asked in need_engine.items() if asked])
        raise typer.Exit(_inline(target, given, with_debugger, as_json, places))

    def once() -> tuple[ExitCode, Mapping[str, str]]:
        traced, inputs = _loaded(context, target, arguments or [])
        sources = sources_of(traced)
        request = RunRequest(
            name=name,
            tags=pairs(tag or [], "--tag"),
            options=checked_options(traced.spec, until=until, rerun=rerun or [], settings=setting or [], keep_going=keep_going),
            save=places,
            as_json=as_json,
            warnings=traced.notes,
            put_back=FILES if _is_plain(target) else None,
        )
        with engine(context, target.start) as client:
            origins = Origins(client.home)
            values = values_for(traced.spec, given | inputs, client, origins)
            asked = replace(request, tags={**origins.tags, **request.tags})
            return execute(client, stored_spec(traced, client), values, asked), sources

    if watching:
        _refuse_name(name)
        raise typer.Exit(watch(once, target.start, _say, time.sleep))
    raise typer.Exit(once()[0])


def _inline(target: Target, given: dict[str, Given], with_debugger: bool, as_json: bool, places: dict[str, Path]) -> ExitCode:
    from penstock.deploy.cli.inline_execution import InlineRequest, execute_inline  # noqa: PLC0415 -- runs with an engine need none of it

    return execute_inline(target, given, InlineRequest(with_debugger=with_debugger, as_json=as_json, save=places))


def _refuse_without_engine(target: Target, options: list[str]) -> None:
    if options:
        raise InvalidInput(f"--inline and --pdb run every step here, without an engine; leave out {', '.join(options)}")
    if _is_plain(target):
        raise InvalidInput(f"{target} holds no pipeline, so there is nothing to run inline; use: python {target}")


def _refuse_name(name: str | None) -> None:
    if name is not None:
        raise InvalidInput("--watch makes many runs, and --name is for one; use --tag")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _is_plain(target: Target) -> bool:
    return target.file is not None and target.pipeline is None and is_script(target.file)


def _loaded(context: typer.Context, target: Target, arguments: list[str]) -> tuple[Traced, dict[str, Given]]:
    """The pipeline at `target`; of a plain script also the files among its arguments."""
    if not _is_plain(target):
        if arguments:
            raise InvalidInput(f"{target} holds a pipeline, whose parameters are given with -p NAME=VALUE, not as {' '.join(arguments)}")
        return load(context, target), {}
    traced, inputs = traced_script(target.start, arguments, home_of(target.start))
    return traced, {name: Given(texts=(str(path),)) for name, path in inputs.items()}


def _parameter_help(spec: PipelineSpec, target: str) -> str:
    # What follows is shown by parameter.
    doc = spec.doc.partition(":param ")[0].strip()
    lines = [f"penstock run {target} [-p NAME=VALUE ...]", ""] + ([doc, ""] if doc else [])
    table: list[tuple[str, ...]] = []
    for parameter in spec.parameters:
        default = "required" if parameter.required else "" if parameter.default is None else f"default {value_text(parameter.default)}"
        table.append((f"  {parameter.name}", parameter.type, default, " ".join(parameter.doc.split())))
    lines += ["Parameters:", *aligned(table)] if table else ["It takes no parameters."]
    if spec.outputs:
        outputs = [f"  {name}: {spec.output_types.get(name, 'Any')}" for name in spec.outputs]
        lines += ["", "Outputs:", *outputs]
    return "\n".join([*lines, "", "The options of every run: penstock run --help"])
