"""Publishing pipelines and components: versions that never change, which one is meant where nobody says, and other names for them.

Triggers come with a version of a pipeline, and change hands in the transaction that makes it the default.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from penstock.contracts.encoding import canonical, digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import is_reference
from penstock.contracts.names import checked_name, dashed
from penstock.contracts.publishing import PublishComponentRequest, PublishRequest, VersionState, VersionView
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.triggers import TriggerSpec, triggers_text
from penstock.engine import publishing_tables, tables
from penstock.engine.artifact_uses import record_uses
from penstock.engine.core.plan import plan_of
from penstock.engine.events.triggers import adopt
from penstock.engine.locks import lock_name
from penstock.engine.pools import check_pools, pools_of
from penstock.engine.published.plain_refs import refs_in_plain
from penstock.engine.published.versions import (
    Resolved,
    Shelf,
    aliases_of,
    find_version,
    newest_version,
    published_row,
    resolve,
    version_names,
    version_of,
    version_tags,
    version_view,
)
from penstock.engine.statement import Statement
from penstock.engine.triggers.checking import check_trigger

__all__ = ["Resolved", "publish", "publish_component", "remove_alias", "resolve", "set_alias", "set_default", "set_state", "tags_of_run"]

_WHERE = "workspace = :workspace AND family = :family AND name = :name"
_put_spec = Statement.insert(tables.spec, otherwise="ON CONFLICT DO NOTHING")
_insert_version = Statement.insert(publishing_tables.published_version)
_put_published = Statement.insert(publishing_tables.published, otherwise="ON CONFLICT DO NOTHING")
_touch = Statement(f"UPDATE published SET updated_at = :now WHERE {_WHERE}")  # noqa: S608 - constants
_set_default = Statement(f"UPDATE published SET default_version = :version, updated_at = :now WHERE {_WHERE}")  # noqa: S608 - constants
_put_alias = Statement.insert(
    publishing_tables.published_alias,
    otherwise="ON CONFLICT (workspace, family, name, alias) DO UPDATE SET version = excluded.version, updated_at = excluded.updated_at",
)
_drop_alias = Statement(f"DELETE FROM published_alias WHERE {_WHERE} AND alias = :alias")  # noqa: S608 - constants
_set_state = Statement(f"UPDATE published_version SET state = :state, note = :note WHERE {_WHERE} AND version = :version")  # noqa: S608 - constants
_NO_RUN = {"run_no": 0, "node": -1, "item": 0}
"""Runs are numbered from 1: what a published version uses, no run's end sets free."""
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publication:
    """What is to be published, whatever its family."""

    shelf: Shelf
    kind: Literal["step", "pipeline"]
    data: bytes
    spec: PipelineSpec
    triggers: Sequence[TriggerSpec] = ()
    trigger_state: Literal["paused", "on"] = "paused"
    version: str | None
    makes_default: bool
    note: str

    def is_as(self, published: Resolved) -> bool:
        return published.spec_digest == digest_bytes(self.data) and list(published.triggers) == list(self.triggers)


def publish(connection: Connection, workspace: str, request: PublishRequest, by: str, now: int) -> VersionView:
    """Publishes a version of a pipeline. The same again under the same version changes nothing; where no version is named, what equals
    the newest version is no new one.

    :raises InvalidInput: the version exists with another spec or other triggers, a pool can't be had, or a trigger can't be so.
    :raises ContractError: the spec is malformed.
    """
    data = canonical(request.spec)
    spec = plan_of(data).spec
    shelf = Shelf(workspace, "pipeline", checked_name(dashed(spec.name), "the pipeline's name"))
    check_pools(pools_of(connection, workspace), spec, {})
    _check_triggers(shelf.name, spec, request.triggers)
    publication = _Publication(
        shelf=shelf,
        kind="pipeline",
        data=data,
        spec=spec,
        triggers=request.triggers,
        trigger_state=request.trigger_state,
        version=request.version,
        makes_default=request.makes_default,
        note=request.note,
    )
    return _publish(connection, publication, by, now)


def publish_component(connection: Connection, workspace: str, request: PublishComponentRequest, by: str, now: int) -> VersionView:
    """Publishes a version of a step, or of a pipeline that others take into theirs.

    :raises InvalidInput: as `publish`; or what is said to be a step is not one.
    :raises ContractError: the spec is malformed.
    """
    data = canonical(request.spec)
    spec = plan_of(data).spec
    if request.kind == "step" and (len(spec.nodes) != 1 or not spec.steps):
        raise InvalidInput(f"spec.nodes: a component of kind step is one step, not {len(spec.nodes)} nodes; publish it as kind pipeline")
    publication = _Publication(
        shelf=Shelf(workspace, "component", checked_name(dashed(spec.name), "the component's name")),
        kind=request.kind,
        data=data,
        spec=spec,
        version=request.version,
        makes_default=request.makes_default,
        note=request.note,
    )
    return _publish(connection, publication, by, now)


def _publish(connection: Connection, publication: _Publication, by: str, now: int) -> VersionView:
    shelf = publication.shelf
    _lock(connection, shelf)
    known = _known_already(connection, publication)
    if known is None:
        known = _written(connection, publication, by, now)
        if publication.makes_default:
            _make_default(connection, shelf, known, by, now)
    elif publication.version is None and publication.makes_default and _default_of(connection, shelf) != known.version:
        _make_default(connection, shelf, known, by, now)
    return version_view(connection, shelf, known)


def _known_already(connection: Connection, publication: _Publication) -> Resolved | None:
    shelf, version = publication.shelf, publication.version
    if version is None:
        newest = newest_version(connection, shelf)
        return newest if newest is not None and newest.state == "active" and publication.is_as(newest) else None
    if version in aliases_of(connection, shelf):
        raise InvalidInput(f"version: {version!r} is an alias of {shelf.name}; take another name for the version, or remove the alias")
    found = find_version(connection, shelf, version)
    if found is not None and not publication.is_as(found):
        other = "another spec" if found.spec_digest != digest_bytes(publication.data) else "other triggers"
        raise InvalidInput(
            f"version: {found.reference} is published already, with {other}, and versions never change; "
            "leave the version out (the next number is taken), or name a new one"
        )
    return found


def _written(connection: Connection, publication: _Publication, by: str, now: int) -> Resolved:
    shelf = publication.shelf
    digest = digest_bytes(publication.data)
    _put_spec(connection, workspace=shelf.workspace, digest=digest, bytes=publication.data)
    _put_published(connection, **shelf.key, kind=publication.kind, default_version=None, updated_at=now)
    kind = published_row(connection, shelf)[1]
    if kind != publication.kind:
        raise InvalidInput(f"kind: the component {shelf.name} is a {kind}, in all its versions; publish this under another name")
    version = publication.version or _next_number(connection, shelf)
    _insert_version(
        connection,
        **shelf.key,
        version=version,
        spec_digest=digest,
        state="active",
        note=publication.note,
        triggers=triggers_text(publication.triggers),
        trigger_state=publication.trigger_state,
        published_at=_later_than_newest(connection, shelf, now),
        published_by=by,
    )
    _touch(connection, **shelf.key, now=now)
    role = f"published {shelf.workspace}/{shelf.family}/{shelf.name}@{version}"
    # What a default names by an alias is looked up when a run is made.
    refs = (ref for ref in refs_in_plain(publication.spec.model_dump(mode="json")) if not is_reference(ref))
    record_uses(connection, shelf.workspace, [(_NO_RUN, role, ref) for ref in refs], now)
    return version_of(connection, shelf, version)


def _later_than_newest(connection: Connection, shelf: Shelf, now: int) -> int:
    """Versions are listed by their times: no two have the same."""
    newest = newest_version(connection, shelf)
    return now if newest is None else max(now, newest.published_at + 1)


def _next_number(connection: Connection, shelf: Shelf) -> str:
    numbers = [int(name) for name in version_names(connection, shelf) if _NUMBER.fullmatch(name)]
    return str(max(numbers, default=0) + 1)


def set_default(connection: Connection, shelf: Shelf, version: str, by: str, now: int) -> VersionView:
    """Has runs that name no version take this one; its triggers take over from those of the version before.

    :raises InvalidInput: there is no such version, or it is disabled.
    """
    _lock(connection, shelf)
    found = version_of(connection, shelf, version)
    if found.state == "disabled":
        raise InvalidInput(f"{found.reference} is disabled, so it can't be the default; activate it first")
    _make_default(connection, shelf, found, by, now)
    return version_view(connection, shelf, found)


def _make_default(connection: Connection, shelf: Shelf, version: Resolved, by: str, now: int) -> None:
    _set_default(connection, **shelf.key, version=version.version, now=now)
    if shelf.family == "pipeline":
        adopt(connection, shelf.workspace, shelf.name, version.version, version.triggers, version.trigger_state, by, now)


def _default_of(connection: Connection, shelf: Shelf) -> str | None:
    default: str | None = published_row(connection, shelf)[2]
    return default


def set_state(connection: Connection, shelf: Shelf, version: str, state: VersionState, now: int, note: str | None = None) -> VersionView:
    """Deprecates, disables or activates a version. `note` says why; None leaves what was said.

    :raises InvalidInput: there is no such version.
    """
    _lock(connection, shelf)
    found = version_of(connection, shelf, version)
    _set_state(connection, **shelf.key, version=found.version, state=state, note=found.note if note is None else note)
    _touch(connection, **shelf.key, now=now)
    return version_view(connection, shelf, version_of(connection, shelf, found.version))


def set_alias(connection: Connection, shelf: Shelf, alias: str, version: str, now: int) -> VersionView:
    """Has `alias` stand for a version; it may have stood for another one.

    :raises InvalidInput: there is no such version, or the alias is, or could become, the name of one.
    """
    _lock(connection, shelf)
    found = version_of(connection, shelf, version)
    if _NUMBER.fullmatch(alias):
        raise InvalidInput(f"alias: {alias!r} is a number, as versions have; take a word")
    if alias in version_names(connection, shelf):
        raise InvalidInput(f"alias: {shelf.name}@{alias} is a version; take another word")
    _put_alias(connection, **shelf.key, alias=alias, version=found.version, updated_at=now)
    _touch(connection, **shelf.key, now=now)
    return version_view(connection, shelf, found)


def remove_alias(connection: Connection, shelf: Shelf, alias: str, now: int) -> None:
    """Forgets an alias; one that is not there is forgotten already.

    :raises InvalidInput: nothing is published under that name.
    """
    _lock(connection, shelf)
    published_row(connection, shelf)
    _drop_alias(connection, **shelf.key, alias=alias)
    _touch(connection, **shelf.key, now=now)


def tags_of_run(version: Resolved) -> dict[str, str]:
    """As `version_tags`, of a version that may be run.

    :raises InvalidInput: it is disabled, so it makes no new runs.
    """
    if version.state == "disabled":
        because = f": {version.note}" if version.note else ""
        raise InvalidInput(f"{version.reference} is disabled, so it makes no new runs{because}; run another version, or activate this one")
    return version_tags(version)


def _check_triggers(name: str, spec: PipelineSpec, triggers: Sequence[TriggerSpec]) -> None:
    seen: set[str] = set()
    for number, trigger in enumerate(triggers):
        where = f"triggers[{number}]"
        if trigger.pipeline != name:
            raise InvalidInput(
                f"{where}.pipeline: {trigger.name} starts {trigger.pipeline!r}; a trigger published with {name} starts {name!r}"
            )
        if trigger.name in seen:
            raise InvalidInput(f"{where}.name: two triggers are named {trigger.name!r}; name one otherwise")
        seen.add(trigger.name)
        try:
            check_trigger(trigger, spec)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error


def _lock(connection: Connection, shelf: Shelf) -> None:
    lock_name(connection, "versions of", *shelf.key.values())
