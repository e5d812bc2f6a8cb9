"""`penstock logout`: forgets the login that `penstock login` has kept."""

import typer

from penstock.deploy.cli.service_options import services_extra
from penstock.deploy.service_settings import ServiceSettings

_HELP = """Forget the login for the services of PENSTOCK_API_URL. The identity provider's own session goes on.

Example:

    penstock logout
"""
app = typer.Typer()


@app.command(help=_HELP)
def logout() -> None:
    url = ServiceSettings.read().needed("api_url")
    with services_extra():
        from penstock.deploy.remote.logins import forget_login  # noqa: PLC0415 -- for this command alone
    typer.echo("logged out" if forget_login(url) else f"nobody was logged in to {url}")
