"""The API as a service: the app on an address, by uvicorn."""

import uvicorn
from fastapi import FastAPI

from penstock.contracts.errors import InvalidInput
from penstock.engine.api.authentication import Authenticator
from penstock.engine.api.gate import is_loopback
from penstock.engine.api.services import Services
from penstock.engine.api.settings import HOW_TO_MAKE_ONE

_GRACE_SECONDS = 5
"""Whoever follows a run asks again elsewhere after that."""


def check_address(host: str, token: str | None, *, has_login: bool = False) -> None:
    """Returns if an API with that token may listen there.

    :raises InvalidInput: without a token, and a provider of logins, on an address that others reach.
    """
    if token is None and not has_login and not is_loopback(host):
        raise InvalidInput(
            f"the API has no token, so it listens on loopback addresses only, not on {host or 'every address'}: "
            f"set PENSTOCK_API_TOKEN or PENSTOCK_API_TOKEN_FILE (make one with: {HOW_TO_MAKE_ONE}), or listen on 127.0.0.1"
        )


def server(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server of the app that is about to listen; `serve` runs until it is told to stop.

    :raises InvalidInput: as `check_address`.
    """
    services: Services = app.state.services
    authenticator: Authenticator = app.state.authenticator
    check_address(host, services.settings.token, has_login=not authenticator.is_open)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves the app on that address until SIGTERM or SIGINT.

    :raises InvalidInput: as `check_address`.
    """
    await server(app, host, port).serve()
