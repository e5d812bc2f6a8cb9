"""What is published, on the command line: the commands that pipelines and components have in common."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import typer
from pydantic import BaseModel

from penstock.contracts.errors import InvalidInput
from penstock.contracts.publishing import PublishedView, VersionView
from penstock.deploy.areas.publishing import Family, Publishing
from penstock.deploy.cli.durations import age_text
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.wiring import api

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A version or an alias after the @; without it, the default.")]
Note = Annotated[str | None, typer.Option("--note", help="Why; it is told wherever the version is.")]


@contextmanager
def published(context: typer.Context, family: Family) -> Generator[Publishing]:
    """What is published at the services, or on this machine."""
    with api(context) as connection:
        yield Publishing(connection, family)


def add_commands(app: typer.Typer, family: Family) -> None:
    """`ls`, `show`, `versions`, `deprecate`, `disable`, `activate`, `default` and `alias` of a family."""
    _add_looks(app, family)
    _add_default(app, family)
    _add_alias(app, family)
    _add_state(app, family, "deprecate", "Have what uses a version be warned. It goes on.")
    _add_state(app, family, "disable", "Have a version make no new runs, and be taken into no pipeline. What runs goes on.")
    _add_state(app, family, "activate", "Take a deprecation or disabling back.")


def _add_looks(app: typer.Typer, family: Family) -> None:
    @app.command(name="ls", help=f"The published {family}s.")
    def list_published(context: typer.Context, as_json: AsJson = False) -> None:
        with published(context, family) as area:
            found = list(area.list())
        if as_json:
            tell(found)
        else:
            typer.echo("\n".join(_published_lines(found)) if found else f"no {family} is published")

    @app.command(help="A version: its parameters, its triggers, what is said of it.")
    def show(context: typer.Context, reference: Reference, as_json: AsJson = False) -> None:
        with published(context, family) as area:
            found = area.version(reference)
        if as_json:
            tell([found])
        else:
            typer.echo("\n".join(_whole_lines(found)))

    @app.command(help="The versions, the newest first.")
    def versions(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
        with published(context, family) as area:
            found = list(area.versions(name))
        if as_json:
            tell(found)
        else:
            typer.echo("\n".join(_version_lines(found)))


def _add_default(app: typer.Typer, family: Family) -> None:
    @app.command(name="default", help="Set the version that is meant where nobody names one.")
    def choose_default(
        context: typer.Context, name: Name, version: Annotated[str, typer.Argument(metavar="VERSION")], as_json: AsJson = False
    ) -> None:
        with published(context, family) as area:
            tell_change(area.set_default(name, version), as_json, "is the default")


def _add_alias(app: typer.Typer, family: Family) -> None:
    @app.command(help=f"Give a version another name (`{family} sales@prod`), move that, or remove it.")
    def alias(
        context: typer.Context,
        name: Name,
        alias: Annotated[str, typer.Argument(metavar="ALIAS")],
        version: Annotated[str | None, typer.Argument(metavar="VERSION")] = None,
        is_removed: Annotated[bool, typer.Option("--rm", help="Remove the alias.")] = False,
        as_json: AsJson = False,
    ) -> None:
        if is_removed == (version is not None):
            raise InvalidInput(f"say which version {name}@{alias} is to be, or --rm")
        with published(context, family) as area:
            if version is not None:
                tell_change(area.set_alias(name, alias, version), as_json, f"is {name}@{alias}")
                return
            area.remove_alias(name, alias)
        typer.echo(f"{name}@{alias} stands for nothing any more", err=as_json)


def _add_state(app: typer.Typer, family: Family, verb: Literal["deprecate", "disable", "activate"], told: str) -> None:
    @app.command(name=verb, help=told)
    def change(
        context: typer.Context,
        reference: Annotated[str, typer.Argument(metavar="NAME@VERSION")],
        note: Note = None,
        as_json: AsJson = False,
    ) -> None:
        name, at, version = reference.partition("@")
        if not at:
            raise InvalidInput(f"name the version: {name}@VERSION (`penstock {family}s versions {name}` lists them)")
        with published(context, family) as area:
            view = area.change(name, version, verb, note)
        tell_change(view, as_json, f"is {view.state}{': ' + view.note if view.note else ''}")


def tell(views: Sequence[BaseModel]) -> None:
    """One a line, as JSON."""
    for view in views:
        typer.echo(view.model_dump_json())


def tell_change(view: VersionView, as_json: bool, text: str) -> None:
    """What became of a version."""
    typer.echo(view.model_dump_json() if as_json else f"{view.name}@{view.version} {text}")


def _published_lines(views: list[PublishedView]) -> list[str]:
    table: list[tuple[str, ...]] = [("name", "kind", "default", "versions", "aliases", "")]
    for view in views:
        aliases = ", ".join(f"{alias}={version}" for alias, version in view.aliases.items())
        doc = view.doc.strip().partition("\n")[0]
        table.append((view.name, view.kind, view.default_version or "-", str(view.versions), aliases or "-", doc))
    return aligned(table)


def _version_lines(views: list[VersionView]) -> list[str]:
    table: list[tuple[str, ...]] = [("version", "state", "published", "by", "")]
    for view in views:
        marks = (["default"] if view.is_default else []) + list(view.aliases) + ([view.note] if view.note else [])
        table.append((view.version, view.state, _age(view), view.published_by or "-", ", ".join(marks)))
    return aligned(table)


def _whole_lines(view: VersionView) -> list[str]:
    marks = ", ".join([view.state, *(["default"] if view.is_default else []), *view.aliases])
    lines = [f"{view.name}@{view.version}  {marks}", f"published {_age(view)} by {view.published_by or 'nobody known'}"]
    lines += [view.note] if view.note else []
    lines += ["parameters: " + ", ".join(f"{name}: {kind}" for name, kind in view.parameters.items())] if view.parameters else []
    lines += ["triggers: " + ", ".join(view.triggers)] if view.triggers else []
    return [*lines, f"spec {view.spec_digest}"]


def _age(view: VersionView) -> str:
    return age_text(max(0.0, time.time() - view.published_at / 1_000_000))
