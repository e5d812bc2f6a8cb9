"""`penstock topology`: what must exist on RabbitMQ before services start."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.contracts.errors import InvalidInput
from penstock.contracts.names import checked_name
from penstock.contracts.pools import checked_pool_name
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.service_options import BrokerUrl, services_extra
from penstock.deploy.service_settings import ServiceSettings

if TYPE_CHECKING:
    from penstock.transport.buses.rabbitmq.finding import Finding
    from penstock.transport.buses.rabbitmq.topology import Topology
    from penstock.transport.buses.rabbitmq.topology_apply import Applied

_HELP = """Declare on RabbitMQ what services need: exchanges, the inbox, the queues of pools, dead letters and policies.

Run it once before the first start, and again for new pools and after an upgrade; it changes only what is not as it must be. The broker is
PENSTOCK_BROKER_URL, and its virtual host must exist. Policies (delivery limit, dead lettering) are set by its management API,
PENSTOCK_BROKER_MANAGEMENT_URL; without it you are told which commands set them.

Examples:

    penstock topology apply --pool cpu --pool gpu

    penstock topology check --pool cpu --pool gpu     ends with 1 if something is missing, different or has no leader

    penstock topology apply --pool cpu --ingest-from lake.events:day.#     take events in from an exchange that others own

    penstock topology permissions --user runner-a --kind runner --workspace a

    penstock topology export --pool cpu               definitions for `rabbitmqctl import_definitions` and Kubernetes operators
"""
DEFAULT_POOL = "cpu"
"""Where steps run that name no pool."""
app = typer.Typer(help=_HELP, no_args_is_help=True)
Pools = Annotated[
    list[str] | None, typer.Option("--pool", metavar="POOL", help="A pool whose queue must exist; cpu by default. May be repeated.")
]
Workspaces = Annotated[
    list[str] | None, typer.Option("--workspace", metavar="WORKSPACE", help="Whose pools these are; by default that of PENSTOCK_WORKSPACE.")
]
IngestFrom = Annotated[
    list[str] | None,
    typer.Option("--ingest-from", metavar="EXCHANGE[:KEY]", help="Take events in from an exchange of others, too. May be repeated."),
]
ManagementUrl = Annotated[str | None, typer.Option("--broker-management-url", help="http://USER:PASSWORD@HOST:15672")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command(help="Make it so: declare what is missing, set policies, wait for leaders, make wedged queues anew.")
def apply(
    pool: Pools = None,
    workspace: Workspaces = None,
    ingest_from: IngestFrom = None,
    broker_url: BrokerUrl = None,
    broker_management_url: ManagementUrl = None,
    as_json: AsJson = False,
) -> None:
    settings = _settings(broker_url, broker_management_url)
    with services_extra():
        from penstock.deploy.services.topology import apply_topology, commands_for_policies  # noqa: PLC0415 -- for services alone

    wanted = _wanted(settings, workspace, pool, ingest_from)
    applied = asyncio.run(apply_topology(settings, wanted, lambda what: typer.echo(f"waiting for {what}", err=True)))
    unset = commands_for_policies(settings) if settings.broker_management_url is None else []
    if as_json:
        typer.echo(json.dumps({**asdict(applied), "commands": unset}))
    else:
        _show_applied(applied, unset)


@app.command(help="See whether it is so. Changes nothing; ends with 1 if something is missing, different or has no leader.")
def check(
    pool: Pools = None,
    workspace: Workspaces = None,
    ingest_from: IngestFrom = None,
    broker_url: BrokerUrl = None,
    broker_management_url: ManagementUrl = None,
    as_json: AsJson = False,
) -> None:
    settings = _settings(broker_url, broker_management_url)
    with services_extra():
        from penstock.deploy.services.topology import check_topology  # noqa: PLC0415 -- for services alone

    found = asyncio.run(check_topology(settings, _wanted(settings, workspace, pool, ingest_from)))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found]))
    else:
        _show_findings(found)
    if any(finding.is_fault for finding in found):
        raise typer.Exit(ExitCode.RUN_FAILED)


@app.command(help="Print it as RabbitMQ's definitions, without asking a broker.")
def export(
    pool: Pools = None,
    workspace: Workspaces = None,
    ingest_from: IngestFrom = None,
    broker_url: BrokerUrl = None,
    vhost: Annotated[str | None, typer.Option("--vhost", help="The virtual host; by default that of PENSTOCK_BROKER_URL, or /.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
    as_text: Annotated[bool, typer.Option("--text", help="Lines for people; those of policies are commands.")] = False,
) -> None:
    settings = _settings(broker_url, None)
    with services_extra():
        from penstock.deploy.services.topology import exported  # noqa: PLC0415 -- for services alone

    text = exported(settings, _wanted(settings, workspace, pool, ingest_from), vhost, as_text=as_text)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{output} can't be written: {error}") from error


@app.command(name="permissions", help="What a user of the broker may do: printed as commands for an administrator, or set.")
def permissions_of(  # one parameter an option
    user: Annotated[str, typer.Option("--user", metavar="USER", help="A user of the broker, who exists.")],
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="runner, coordinator, api or upstream.")],
    workspace: Annotated[str | None, typer.Option("--workspace", metavar="WORKSPACE", help="Whose runner or upstream it is.")] = None,
    vhost: Annotated[str | None, typer.Option("--vhost", help="The virtual host; by default that of PENSTOCK_BROKER_URL, or /.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Set them by PENSTOCK_BROKER_MANAGEMENT_URL, of an administrator.")] = False,
    broker_management_url: ManagementUrl = None,
) -> None:
    settings = _settings(None, broker_management_url)
    with services_extra():
        from penstock.deploy.services.topology import apply_permissions, commands_for_permissions  # noqa: PLC0415 -- for services alone
        from penstock.transport.buses.rabbitmq.permissions import UserKind, permissions  # noqa: PLC0415 -- for services alone

    if kind not in list(UserKind):
        raise InvalidInput(f"there is no kind {kind!r} of user (there are: {', '.join(UserKind)})")
    wanted = permissions(user, UserKind(kind), workspace)
    if not apply:
        for command in commands_for_permissions(settings, wanted, vhost):
            typer.echo(command)
        return
    asyncio.run(apply_permissions(settings, wanted, vhost))
    typer.echo(f"{user} may do what is done by {kind}{f' in the workspace {workspace}' if workspace else ''}, and no more")


def _settings(broker_url: str | None, management_url: str | None) -> ServiceSettings:
    return ServiceSettings.read({"broker_url": broker_url, "broker_management_url": management_url})


def _wanted(
    settings: ServiceSettings, workspaces: Sequence[str] | None, pools: Sequence[str] | None, ingest_from: Sequence[str] | None
) -> "Topology":
    with services_extra():
        from penstock.transport.buses.rabbitmq.topology import topology  # noqa: PLC0415 -- for services alone

    return topology(
        (
            (checked_name(workspace, "workspace"), checked_pool_name(pool))
            for workspace in dict.fromkeys(workspaces or [settings.workspace])
            for pool in dict.fromkeys(pools or [DEFAULT_POOL])
        ),
        ingest_from=[_exchange_and_key(text) for text in dict.fromkeys(ingest_from or [])],
    )


def _exchange_and_key(text: str) -> tuple[str, str]:
    exchange, _, key = text.partition(":")
    if not exchange or exchange.startswith("penstock."):
        raise InvalidInput(f"--ingest-from {text!r}: name an exchange of others, as orders or as orders:eu.#")
    return exchange, key or "#"


def _show_applied(applied: "Applied", unset: Sequence[str]) -> None:
    lines = [f"created queue {name}" for name in applied.created]
    lines += [f"made queue {name} anew: it had no leader; what it held is sent again" for name in applied.repaired]
    lines += [f"set policy {name}" for name in applied.policies]
    for line in lines or ["everything is as it must be"]:
        typer.echo(line)
    if unset:
        typer.echo("policies were not set: PENSTOCK_BROKER_MANAGEMENT_URL is not set. An administrator of the broker can run:")
        for command in unset:
            typer.echo(f"  {command}")


def _show_findings(found: "Sequence[Finding]") -> None:
    for finding in found:
        typer.echo(f"{finding.kind}: {finding.subject}: {finding.what}\n    {finding.remedy}")
    if not any(finding.is_fault for finding in found):
        typer.echo("everything that could be checked is as it must be" if found else "everything is as it must be")
