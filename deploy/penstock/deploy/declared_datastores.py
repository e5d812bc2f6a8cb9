"""Datastores as they are declared: tables `[datastores.NAME]` of a project's penstock.toml, and for services `PENSTOCK_DATASTORES_FILE`
(such a file) or `PENSTOCK_DATASTORES` (its tables as JSON)."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.contracts.errors import DatastoreUnavailable, InvalidInput
from penstock.contracts.messages import WorkspaceText
from penstock.deploy.profiles import FILE
from penstock.sdk.runs.state_home import project_folder
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.data_addresses import checked, masked
from penstock.transport.datastore import Datastores
from penstock.transport.datastores.declared import DeclaredDatastores
from penstock.transport.datastores.place import Declaration

VARIABLE = "PENSTOCK_DATASTORES"
ResolveSecret = Callable[[str], str | None]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: str
    endpoint_url: str | None = None
    region: str | None = None
    secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$")] | None = None
    """The name of what holds `ACCESS_KEY_ID:SECRET_ACCESS_KEY`, or a token for https."""
    workspaces: list[WorkspaceText] | None = None


def declared_datastores(environment: Mapping[str, str], start: Path, resolve: ResolveSecret) -> list[Declaration]:
    """What the variables declare; where they declare nothing, what the project around `start` does.

    :raises InvalidInput: it can't be read, or naming the datastore and what is wrong with it.
    """
    inline, named = environment.get(VARIABLE), environment.get(f"{VARIABLE}_FILE")
    if inline and named:
        raise InvalidInput(f"{VARIABLE} and {VARIABLE}_FILE are both set; keep one of them")
    if inline:
        return _declarations(_of_json(inline), VARIABLE, resolve)
    if named:
        return _declarations(_of_file(Path(named)), f"{named} ({VARIABLE}_FILE)", resolve)
    path = project_folder(start) / FILE
    return _declarations(_of_file(path), str(path), resolve) if path.exists() else []


def open_datastores(artifacts: ArtifactStore, environment: Mapping[str, str], start: Path, resolve: ResolveSecret) -> Datastores:
    """Nothing is reached for yet.

    :raises InvalidInput: as `declared_datastores`; or what one of them needs is not installed.
    """
    return DeclaredDatastores(declared_datastores(environment, start, resolve), artifacts)


def _of_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{VARIABLE} is no JSON; one reads {{'lake': {{'url': 's3://lake'}}}}, with double quotes") from error


def _of_file(path: Path) -> object:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")).get("datastores", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from error


def _declarations(tables: object, where: str, resolve: ResolveSecret) -> list[Declaration]:
    if not isinstance(tables, Mapping):
        raise InvalidInput(f"the datastores in {where} are no tables; one reads [datastores.lake], then url = 's3://lake'")
    return [_declaration(name, table, where, resolve) for name, table in cast("Mapping[str, Any]", tables).items()]


def _declaration(name: str, plain: object, where: str, resolve: ResolveSecret) -> Declaration:
    try:
        table = _Table.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"the datastore {name!r} in {where}: {place}: {first['msg']}") from None
    checked(table.url)
    if table.endpoint_url is not None and "@" in table.endpoint_url:
        raise InvalidInput(f"the datastore {name!r} in {where}: {masked(table.endpoint_url)!r} holds credentials; name a secret instead")
    return Declaration(
        name=name,
        url=table.url,
        endpoint_url=table.endpoint_url,
        region=table.region,
        credentials=None if table.secret is None else _secret(table.secret, name, resolve),
        workspaces=None if table.workspaces is None else frozenset(table.workspaces),
    )


def _secret(secret: str, datastore: str, resolve: ResolveSecret) -> Callable[[], str]:
    def found() -> str:
        value = resolve(secret)
        if value is None:
            raise DatastoreUnavailable(f"the datastore {datastore!r} wants the secret {secret!r}, which is not known here")
        return value

    return found
