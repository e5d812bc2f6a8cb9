"""`penstock check`: does a pipeline build, and what should be known of it before it runs."""

from typing import Annotated

import typer

from penstock.contracts.drawing import signature
from penstock.contracts.triggers import TriggerSpec
from penstock.deploy.cli.cautions import cautions
from penstock.deploy.cli.loaded_pipeline import load
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.trigger_check import check_triggers
from penstock.deploy.cli.wiring import home_of
from penstock.deploy.embedded.local_pools import local_pools
from penstock.engine.pools import check_pools

app = typer.Typer()

_EXAMPLES = """Build a pipeline without running it; exit code 2 if it can't be built.

Examples:

    penstock check pipeline.py

    penstock check -m team.pipelines:retrain
"""


@app.command(help=_EXAMPLES)
def check(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE[:PIPELINE]")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE[:PIPELINE]", help="A module instead of a file.")] = None,
) -> None:
    target = parse_target(file, module)
    traced = load(context, target)
    spec = traced.spec
    typer.echo(signature(spec))
    fan_outs = len({name for step in spec.steps for name in step.scope})
    pools = sorted({step.pool for step in spec.steps if step.is_dispatched})
    typer.echo(f"{len(spec.steps)} steps, {fan_outs} fan-outs; pools: {', '.join(pools) or 'none'}")
    declared = local_pools(home_of(target.start))
    check_pools(declared, spec, {})
    triggers = tuple(TriggerSpec.model_validate(plain) for plain in traced.triggers)
    unseen = check_triggers(triggers, spec)
    if triggers:
        typer.echo(f"triggers: {', '.join(trigger.name for trigger in triggers)}")
    for text in [*([unseen] if unseen else []), *cautions(spec, traced.notes, declared)]:
        typer.echo(f"warning: {text}")
    typer.echo("ok")
