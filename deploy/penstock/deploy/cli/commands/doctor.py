"""`penstock doctor`: is everything here that runs need?"""

import typer

from penstock.contracts.errors import PenstockError
from penstock.deploy.cli.diagnosis import Finding, engine_findings, machine_findings
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.service_diagnosis import service_findings
from penstock.deploy.cli.wiring import engine, home_of
from penstock.sdk.client import Housekeeping

app = typer.Typer()

_EXAMPLES = """Look at this machine and the project's state folder; exit code 1 if something must be mended.

Where datastores are declared, or settings name a broker, a database or an identity provider, it is seen whether they can be used.

Examples:

    penstock doctor

    PENSTOCK_PROFILE=staging penstock doctor      as a service with this profile would find things
"""


@app.command(help=_EXAMPLES)
def doctor(context: typer.Context) -> None:
    home = home_of()
    findings = list(machine_findings(home))
    # A folder that was never used holds no state to look at, and looking would make it.
    if home.exists():
        findings += _engine(context)
    findings += service_findings()
    for line in aligned([(finding.grade, finding.subject, finding.text) for finding in findings]):
        typer.echo(line)
    if any(finding.grade == "problem" for finding in findings):
        raise typer.Exit(ExitCode.RUN_FAILED)


def _engine(context: typer.Context) -> list[Finding]:
    try:
        with engine(context) as client:
            return list(engine_findings(client.health())) if isinstance(client, Housekeeping) else []
    except PenstockError as error:
        return [Finding(grade="problem", subject="engine", text=str(error))]
