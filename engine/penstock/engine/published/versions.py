"""What is published: looked up by the way people refer to it, and as they see it.

A *family* is `pipeline` or `component`; both are published the same way.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.contracts.publishing import PublishedView, VersionState, VersionView
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.triggers import TriggerSpec, read_triggers
from penstock.engine.core.plan import plan_of
from penstock.engine.statement import Statement

Family = Literal["pipeline", "component"]

_WHERE = "workspace = :workspace AND family = :family AND name = :name"
_VERSION = "version, spec_digest, state, note, triggers, trigger_state, published_at, published_by"
_one = Statement(f"SELECT {_VERSION} FROM published_version WHERE {_WHERE} AND version = :version")  # noqa: S608 - constants
_newest = Statement(
    f"SELECT {_VERSION} FROM published_version WHERE {_WHERE} AND (CAST(:before AS BIGINT) IS NULL OR published_at < :before) "  # noqa: S608 - constants
    "ORDER BY published_at DESC, version DESC LIMIT :count"
)
_names = Statement(f"SELECT version FROM published_version WHERE {_WHERE}")  # noqa: S608 - constants
_aliases = Statement(f"SELECT alias, version FROM published_alias WHERE {_WHERE} ORDER BY alias")  # noqa: S608 - constants
_published = Statement(f"SELECT name, kind, default_version, updated_at FROM published WHERE {_WHERE}")  # noqa: S608 - constants
_all = Statement(
    "SELECT name, kind, default_version, updated_at FROM published WHERE workspace = :workspace AND family = :family AND name > :after "
    "ORDER BY name LIMIT :count"
)
_known = Statement("SELECT name FROM published WHERE workspace = :workspace AND family = :family")
_spec = Statement("SELECT bytes FROM spec WHERE workspace = :workspace AND digest = :digest")


class NotPublished(InvalidInput):
    """What was named has not been published."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """All versions of what is published under a name."""

    workspace: str
    family: Family
    name: str

    @property
    def key(self) -> dict[str, str]:
        return {"workspace": self.workspace, "family": self.family, "name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The version that a reference names."""

    name: str
    version: str
    spec_digest: str
    state: VersionState
    note: str = ""
    triggers: tuple[TriggerSpec, ...] = ()
    trigger_state: Literal["paused", "on"] = "paused"
    published_at: int = 0
    published_by: str = ""

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


def version_tags(version: Resolved) -> dict[str, str]:
    """The tags that say of a run which version it is of, and warn where that is deprecated."""
    because = f": {version.note}" if version.note else ""
    warning = {"warning": f"{version.reference} is deprecated{because}"} if version.state == "deprecated" else {}
    return {"version": version.version, **warning}


def resolve(connection: Connection, workspace: str, reference: str, *, family: Family = "pipeline") -> Resolved:
    """The version that `name` (its default), `name@version` or `name@alias` names, whatever its state.

    :raises NotPublished: there is none; the text has the nearest.
    """
    name, at, wanted = reference.partition("@")
    shelf = Shelf(workspace, family, name)
    if at:
        return version_of(connection, shelf, wanted)
    row = published_row(connection, shelf)
    if row[2] is None:
        raise NotPublished(f"the {family} {name} has no default version: name one ({_versions_text(connection, shelf)}), or set it")
    return version_of(connection, shelf, row[2])


def version_of(connection: Connection, shelf: Shelf, wanted: str) -> Resolved:
    """The version of that name, or the one that an alias of that name stands for.

    :raises NotPublished: there is neither.
    """
    found = find_version(connection, shelf, wanted)
    if found is None:
        published_row(connection, shelf)
        version = aliases_of(connection, shelf).get(wanted)
        found = find_version(connection, shelf, version) if version is not None else None
    if found is None:
        raise NotPublished(
            f"the {shelf.family} {shelf.name} has no version or alias {wanted[:80]!r} (it has {_versions_text(connection, shelf)})"
        )
    return found


def find_version(connection: Connection, shelf: Shelf, version: str) -> Resolved | None:
    """The version of exactly that name."""
    row = _one.first(connection, **shelf.key, version=version)
    return None if row is None else _resolved(shelf, row)


def newest_version(connection: Connection, shelf: Shelf) -> Resolved | None:
    """What was published last."""
    row = _newest.first(connection, **shelf.key, before=None, count=1)
    return None if row is None else _resolved(shelf, row)


def _resolved(shelf: Shelf, row: tuple[Any, ...]) -> Resolved:
    return Resolved(
        name=shelf.name,
        version=row[0],
        spec_digest=row[1],
        state=row[2],
        note=row[3],
        triggers=read_triggers(row[4]),
        trigger_state=row[5],
        published_at=row[6],
        published_by=row[7],
    )


def published_row(connection: Connection, shelf: Shelf) -> tuple[Any, ...]:
    """Name, kind, default version and time of the last change.

    :raises NotPublished: nothing is published under that name.
    """
    row = _published.first(connection, **shelf.key)
    if row is None:
        raise NotPublished(f"no {shelf.family} {shelf.name[:80]!r} is published{_nearest(connection, shelf)}")
    return row


def version_names(connection: Connection, shelf: Shelf) -> set[str]:
    return {row[0] for row in _names.rows(connection, **shelf.key)}


def aliases_of(connection: Connection, shelf: Shelf) -> dict[str, str]:
    """Alias to version."""
    return {row[0]: row[1] for row in _aliases.rows(connection, **shelf.key)}


def spec_bytes(connection: Connection, workspace: str, digest: str) -> bytes:
    """The canonical bytes of a spec that is kept."""
    row = _spec.first(connection, workspace=workspace, digest=digest)
    assert row is not None  # noqa: S101 - written with the version
    return bytes(row[0])


def published_views(connection: Connection, workspace: str, family: Family, after: str, count: int) -> list[PublishedView]:
    """What is published, by name; those after the name `after`."""
    rows = _all.rows(connection, workspace=workspace, family=family, after=after, count=count)
    return [_view(connection, Shelf(workspace, family, row[0]), row) for row in rows]


def published_view(connection: Connection, shelf: Shelf) -> PublishedView:
    """:raises NotPublished: nothing is published under that name."""
    return _view(connection, shelf, published_row(connection, shelf))


def _view(connection: Connection, shelf: Shelf, row: tuple[Any, ...]) -> PublishedView:
    shown = newest_version(connection, shelf) if row[2] is None else find_version(connection, shelf, row[2])
    return PublishedView(
        name=row[0],
        kind=row[1],
        default_version=row[2],
        versions=len(version_names(connection, shelf)),
        doc=_spec_of(connection, shelf, shown).doc if shown is not None else "",
        aliases=aliases_of(connection, shelf),
        updated_at=row[3],
    )


def version_views(connection: Connection, shelf: Shelf, before: int | None, count: int) -> list[VersionView]:
    """The newest versions first; those published before the time `before`.

    :raises NotPublished: nothing is published under that name.
    """
    published_row(connection, shelf)
    rows = _newest.rows(connection, **shelf.key, before=before, count=count)
    return [version_view(connection, shelf, _resolved(shelf, row)) for row in rows]


def version_view(connection: Connection, shelf: Shelf, version: Resolved) -> VersionView:
    """The version as people see it."""
    row = published_row(connection, shelf)
    return VersionView(
        name=shelf.name,
        kind=row[1],
        version=version.version,
        spec_digest=version.spec_digest,
        state=version.state,
        note=version.note,
        published_at=version.published_at,
        published_by=version.published_by,
        is_default=row[2] == version.version,
        aliases=tuple(alias for alias, of in aliases_of(connection, shelf).items() if of == version.version),
        parameters={parameter.name: parameter.type for parameter in _spec_of(connection, shelf, version).parameters},
        triggers=tuple(trigger.name for trigger in version.triggers),
    )


def _spec_of(connection: Connection, shelf: Shelf, version: Resolved) -> PipelineSpec:
    return plan_of(spec_bytes(connection, shelf.workspace, version.spec_digest)).spec


def _versions_text(connection: Connection, shelf: Shelf) -> str:
    newest = [row[0] for row in _newest.rows(connection, **shelf.key, before=None, count=10)]
    return ", ".join([*newest, *aliases_of(connection, shelf)])


def _nearest(connection: Connection, shelf: Shelf) -> str:
    known = [row[0] for row in _known.rows(connection, workspace=shelf.workspace, family=shelf.family)]
    near = get_close_matches(shelf.name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
