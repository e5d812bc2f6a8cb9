"""`penstock login`: as oneself, by the team's identity provider."""

import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.deploy.cli.service_options import services_extra
from penstock.deploy.service_settings import ServiceSettings

if TYPE_CHECKING:
    from penstock.deploy.remote.identity_provider import Client

_HELP = """Log in to the services as yourself, in a browser.

Where they are is PENSTOCK_API_URL, and who is asked PENSTOCK_OIDC_ISSUER with PENSTOCK_OIDC_CLIENT_ID (or a profile). What comes of it is
kept for you alone, below ~/.config/penstock, and used by every command that is given no PENSTOCK_API_TOKEN.

Examples:

    penstock login

    penstock login --device        on a machine without a browser
"""
app = typer.Typer()


@app.command(help=_HELP)
def login(
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="URL", help="The identity provider; PENSTOCK_OIDC_ISSUER.")] = None,
    client_id: Annotated[str | None, typer.Option("--client-id", help="As what it knows this command; PENSTOCK_OIDC_CLIENT_ID.")] = None,
    device: Annotated[bool, typer.Option("--device", help="Use a browser on another machine.")] = False,
) -> None:
    settings = ServiceSettings.read({"oidc_issuer": issuer, "oidc_client_id": client_id})
    url = settings.needed("api_url")
    client = _client(settings)
    with services_extra():
        from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for this command alone
        from penstock.deploy.remote.connection import Connection  # noqa: PLC0415 -- for this command alone
        from penstock.deploy.remote.identity_provider import IdentityProvider  # noqa: PLC0415 -- for this command alone
        from penstock.deploy.remote.login import login_by_browser, login_by_device  # noqa: PLC0415 -- for this command alone
        from penstock.deploy.remote.logins import keep_login  # noqa: PLC0415 -- for this command alone
    provider = IdentityProvider(client)
    try:
        tokens = login_by_device(provider, _tell) if device else login_by_browser(provider, _show)
    finally:
        provider.close()
    connection = Connection(url, tokens.bearer)
    try:
        me = Access(connection).me()
    finally:
        connection.close()
    keep_login(url, client, tokens)
    places = ", ".join(f"{place.name} ({place.role.value})" for place in me.workspaces) or "no workspace yet: ask an admin of one"
    typer.echo(f"{me.name}, in {places}")


def _client(settings: ServiceSettings) -> "Client":
    with services_extra():
        from penstock.deploy.remote.identity_provider import Client  # noqa: PLC0415 -- for this command alone
    name = settings.needed("oidc_client_id")
    return Client(
        issuer=settings.needed("oidc_issuer"), client_id=name, audience=settings.oidc_audience or name, scopes=settings.oidc_scopes
    )


def _show(address: str) -> None:
    typer.echo(f"Log in at\n\n    {address}\n", err=True)
    if sys.stdout.isatty():
        webbrowser.open(address)


def _tell(address: str, code: str) -> None:
    typer.echo(f"Open {address} on any machine, and enter the code\n\n    {code}\n", err=True)
