"""`penstock db`: the schema of the services' database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from penstock.deploy.cli.service_options import services_extra
from penstock.deploy.service_settings import ServiceSettings

if TYPE_CHECKING:
    from penstock.engine.stores.postgres import PostgresStore

T = TypeVar("T")

_HELP = """Bring the services' database up to date, or see whether it is.

The database is named by PENSTOCK_DATABASE_URL, by --database-url or in a profile. It must exist; `createdb` makes it.

Examples:

    penstock db upgrade      before the first start, and before a newer Penstock is started

    penstock db check        ends with 0 if services can start on it
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
Url = Annotated[str | None, typer.Option("--database-url", help="postgresql://USER:PASSWORD@HOST:PORT/NAME")]


@app.callback()
def _root() -> None:
    """Holds the group together."""


@app.command(help="Bring the schema up to date. Harmless where it is, and where several do it at once.")
def upgrade(database_url: Url = None) -> None:
    has_changed, place = _on_store(database_url, lambda store: store.upgrade())
    typer.echo(f"upgraded {place}" if has_changed else f"{place} is up to date")


@app.command(help="See whether services of this version can start on it.")
def check(database_url: Url = None) -> None:
    _, place = _on_store(database_url, lambda store: store.open())
    typer.echo(f"{place} is up to date")


def _on_store(url: str | None, act: "Callable[[PostgresStore], Awaitable[T]]") -> tuple[T, str]:
    settings = ServiceSettings.read({"database_url": url})
    with services_extra():
        from penstock.engine.stores.postgres import PostgresStore  # noqa: PLC0415 -- for services alone

    async def acted() -> tuple[T, str]:
        store = PostgresStore(settings.needed("database_url"))
        try:
            return await act(store), store.place
        finally:
            await store.close()

    return asyncio.run(acted())
