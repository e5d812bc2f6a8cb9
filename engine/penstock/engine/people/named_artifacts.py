"""Named artifacts as people and runs ask for them: found by name, version or alias, tagged, and given versions by hand."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import ArtifactRef, ListValue, RecordValue, Value, content_digest, refs_in
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import (
    ArtifactVersionView,
    NamedArtifactView,
    Reference,
    digest_shown,
    is_reference,
    reference,
)
from penstock.contracts.spec import ParameterSpec
from penstock.engine.core.rows import Registration, pack_value, unpack_value, unpack_values
from penstock.engine.people.named_versions import move_alias, newest_version, write_versions
from penstock.engine.statement import Statement

_VERSION = (
    "n.version, n.value, n.digest, n.made_at, n.made_by, u.name FROM named_artifact n "
    "LEFT JOIN run u ON u.run_no = n.run_no AND u.workspace = n.workspace "
    "WHERE n.workspace = :workspace AND n.name = :name"
)
_versions = Statement(f"SELECT {_VERSION} AND n.version < :before ORDER BY n.version DESC LIMIT :count")
_version = Statement(f"SELECT {_VERSION} AND n.version = :version")
_by_digest = Statement(f"SELECT {_VERSION} AND n.digest = :digest ORDER BY n.version DESC LIMIT 1")
_aliases = Statement("SELECT name, alias, version FROM artifact_alias WHERE workspace = :workspace ORDER BY name, alias")
_alias = Statement("SELECT version FROM artifact_alias WHERE workspace = :workspace AND name = :name AND alias = :alias")
_drop_alias = Statement("DELETE FROM artifact_alias WHERE workspace = :workspace AND name = :name AND alias = :alias")
_names = Statement(
    "SELECT n.name, max(n.version), count(*) FROM named_artifact n WHERE n.workspace = :workspace GROUP BY n.name ORDER BY n.name"
)
_stored = Statement("SELECT kind, size FROM artifact WHERE workspace = :workspace AND digest = :digest AND state <> 'missing'")
_uses = Statement(
    "SELECT s.outputs FROM artifact_use a JOIN run u ON u.run_no = a.run_no AND u.workspace = :workspace "
    "JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node AND s.item = a.item WHERE a.digest = :digest "
    "ORDER BY a.run_no DESC LIMIT 20"
)
_Row = tuple[Any, ...]
NEWEST = 2**62
"""Above every version."""


class UnknownArtifact(InvalidInput):
    """No artifact, version or alias is called so."""


def names(connection: Connection, workspace: str) -> list[NamedArtifactView]:
    """Every named artifact."""
    aliases = _alias_map(connection, workspace)
    found: list[NamedArtifactView] = []
    for name, newest, count in _names.rows(connection, workspace=workspace):
        row = _found_version(connection, workspace, name, int(newest))
        found.append(
            NamedArtifactView(
                name=name, newest=int(newest), versions=int(count), aliases=aliases.get(name, {}), digest=row[2], made_at=row[3]
            )
        )
    return found


def versions(connection: Connection, workspace: str, name: str, count: int = 1000, before: int = NEWEST) -> list[ArtifactVersionView]:
    """The versions of a named artifact below `before`, newest first.

    :raises InvalidInput: there is none of that name.
    """
    rows = _versions.rows(connection, workspace=workspace, name=name, before=before, count=count)
    if not rows and before == NEWEST:
        raise _unknown_name(connection, workspace, name)
    aliases = _alias_map(connection, workspace).get(name, {})
    return [_view(name, row, aliases) for row in rows]


def version(connection: Connection, workspace: str, wanted: Reference) -> ArtifactVersionView:
    """The version that is meant.

    :raises InvalidInput: there is none; the nearest names are told.
    """
    row = _resolved(connection, workspace, wanted)
    return _view(wanted.name, row, _alias_map(connection, workspace).get(wanted.name, {}))


def resolved_parameters(
    connection: Connection, workspace: str, parameters: tuple[ParameterSpec, ...], values: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, str]]:
    """The values with what named artifacts are now, and each reference with the version that it meant.

    :raises InvalidInput: there is no such artifact, or it is not of the parameter's kind.
    """
    meant: dict[str, str] = {}
    read = {parameter.name: parameter.read for parameter in parameters}
    found: dict[str, Value] = {}
    for name, value in values.items():
        found[name] = _with_versions(connection, workspace, value, meant)
        if found[name] is not value:
            _check_kind(name, read.get(name, "json"), value, found[name])
    return found, meant


def _with_versions(connection: Connection, workspace: str, value: Value, meant: dict[str, str]) -> Value:
    match value:
        case ArtifactRef() if is_reference(value):
            wanted = reference(value.uri)
            row = _resolved(connection, workspace, wanted)
            meant[str(wanted)] = str(Reference(wanted.name, int(row[0])))
            return unpack_value(bytes(row[1]))
        case ListValue():
            items = tuple(_with_versions(connection, workspace, item, meant) for item in value.list)
            return value if all(new is old for new, old in zip(items, value.list, strict=True)) else ListValue(list=items)
        case RecordValue():
            record = {key: _with_versions(connection, workspace, item, meant) for key, item in value.record.items()}
            return value if all(record[key] is item for key, item in value.record.items()) else RecordValue(record=record)
        case _:
            return value


def _check_kind(parameter: str, read: str, asked: Value, value: Value) -> None:
    kind = value.kind if isinstance(value, ArtifactRef) else "value"
    is_file = kind == "blob" and isinstance(value, ArtifactRef) and not value.is_inline
    if (read == "file" and not is_file) or (read == "directory" and kind != "directory"):
        shown = asked.uri if isinstance(asked, ArtifactRef) else "one of its artifacts"
        found = "a file" if is_file else "a folder" if kind == "directory" else "a value"
        raise InvalidInput(f"the parameter {parameter!r} wants a {read}, and {shown} is {found}")


def set_alias(connection: Connection, workspace: str, name: str, alias: str, wanted: int, *, by: str, now: int) -> ArtifactVersionView:
    """Has `alias` mean that version.

    :raises InvalidInput: there is no such version.
    """
    newest_version(connection, workspace, name)
    _found_version(connection, workspace, name, wanted)
    move_alias(connection, workspace, name, alias, wanted, moved_by=by, now=now)
    return version(connection, workspace, Reference(name, wanted))


def drop_alias(connection: Connection, workspace: str, name: str, alias: str) -> None:
    """Has `alias` mean nothing; the versions stay.

    :raises InvalidInput: there is no such alias.
    """
    if not _drop_alias(connection, workspace=workspace, name=name, alias=alias):
        raise _unknown_alias(connection, workspace, Reference(name, alias))


def add_version(
    connection: Connection, workspace: str, name: str, value: Value, *, alias: str | None, by: str, now: int
) -> ArtifactVersionView:
    """A version by hand; where the newest is the same already, that one."""
    newest, known = newest_version(connection, workspace, name)
    is_new = content_digest(value) != known
    number = newest + is_new
    registration = Registration(name, number, digest_shown(value), pack_value(value), alias, is_new)
    write_versions(connection, workspace, [registration], made_by=by, run_no=None, now=now)
    return version(connection, workspace, Reference(name, number))


def version_with_digest(connection: Connection, workspace: str, name: str, digest: str) -> ArtifactVersionView | None:
    """The newest version that has that digest, if one has."""
    row = _by_digest.first(connection, workspace=workspace, name=name, digest=digest)
    return None if row is None else _view(name, row, _alias_map(connection, workspace).get(name, {}))


def stored_artifact(connection: Connection, workspace: str, digest: str) -> ArtifactRef:
    """The stored bytes that have that digest, as a file or folder.

    :raises InvalidInput: nobody has stored them here.
    """
    # As a step gave it, for its suffix says what it is.
    given = (unpack_values(row[0]) for row in _uses.rows(connection, workspace=workspace, digest=digest) if row[0] is not None)
    refs = (ref for outputs in given for value in outputs.values() for ref in refs_in(value) if ref.digest == digest)
    if (ref := next(refs, None)) is not None:
        return ref
    row = _stored.first(connection, workspace=workspace, digest=digest)
    if row is None:
        raise InvalidInput(f"no artifact of this workspace has the digest {digest[:100]}")
    media_types = {"directory": "application/vnd.penstock.directory+json", "list": "application/vnd.penstock.list+json"}
    return ArtifactRef.model_validate(
        {
            "uri": f"cas:{digest}",
            "digest": digest,
            "size": row[1],
            "kind": row[0],
            "media_type": media_types.get(row[0], "application/octet-stream"),
        }
    )


def _resolved(connection: Connection, workspace: str, wanted: Reference) -> _Row:
    match wanted.which:
        case None:
            rows = _versions.rows(connection, workspace=workspace, name=wanted.name, before=NEWEST, count=1)
            if not rows:
                raise _unknown_name(connection, workspace, wanted.name)
            return rows[0]
        case int(number):
            return _found_version(connection, workspace, wanted.name, number)
        case str(alias):
            row = _alias.first(connection, workspace=workspace, name=wanted.name, alias=alias)
            if row is None:
                raise _unknown_alias(connection, workspace, wanted)
            return _found_version(connection, workspace, wanted.name, int(row[0]))


def _found_version(connection: Connection, workspace: str, name: str, number: int) -> _Row:
    row = _version.first(connection, workspace=workspace, name=name, version=number)
    if row is None:
        newest = _versions.first(connection, workspace=workspace, name=name, before=NEWEST, count=1)
        if newest is None:
            raise _unknown_name(connection, workspace, name)
        raise UnknownArtifact(f"the artifact {name!r} has no version {number} (the newest is {newest[0]})")
    return row


def _unknown_name(connection: Connection, workspace: str, name: str) -> UnknownArtifact:
    known = [row[0] for row in _names.rows(connection, workspace=workspace)]
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known[:10])}" if known else "none is registered yet"
    return UnknownArtifact(f"no artifact is named {name!r} ({hint})")


def _unknown_alias(connection: Connection, workspace: str, wanted: Reference) -> UnknownArtifact:
    if not _versions.rows(connection, workspace=workspace, name=wanted.name, before=NEWEST, count=1):
        return _unknown_name(connection, workspace, wanted.name)
    known = list(_alias_map(connection, workspace).get(wanted.name, {}))
    near = get_close_matches(str(wanted.which), known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known[:10])}" if known else "it has none"
    return UnknownArtifact(f"the artifact {wanted.name!r} has no alias {str(wanted.which)!r} ({hint})")


def _alias_map(connection: Connection, workspace: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, alias, number in _aliases.rows(connection, workspace=workspace):
        found.setdefault(name, {})[alias] = int(number)
    return found


def _view(name: str, row: _Row, aliases: Mapping[str, int]) -> ArtifactVersionView:
    number = int(row[0])
    return ArtifactVersionView(
        name=name,
        version=number,
        value=unpack_value(bytes(row[1])),
        digest=row[2],
        made_at=row[3],
        made_by=row[4],
        run=row[5],
        aliases=tuple(alias for alias, of in aliases.items() if of == number),
    )
