"""Artifacts and the values made of them.

An artifact is immutable bytes, a directory or a list, addressed by its digest. An `ArtifactRef` is what travels. A `Value` is what
a parameter receives: a ref, or refs put together (a list, a record, a template, a selection out of one).
"""

import base64
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from penstock.contracts.encoding import canonical, digest_bytes, digest_of, fields_of
from penstock.contracts.errors import ContractError
from penstock.contracts.numbers import Count

JSON = "application/json"
DIRECTORY = "application/vnd.penstock.directory+json"
LIST = "application/vnd.penstock.list+json"
INLINE_LIMIT = 4096
"""A JSON value of at most so many bytes travels inside its ref, as a `data:` URI."""

_INLINE = "data:application/json;base64,"

Kind = Literal["blob", "directory", "list"]


class ArtifactRef(BaseModel):
    """Names immutable bytes: where they are (`uri`), what they are (`digest`), how many and of what kind.

    `uri` is `cas:` followed by the digest for bytes in the artifact store, or a `data:` URI that holds a small JSON value itself.
    `suffix` is the file suffix that a reader sees; `name` the file name, where it matters.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    uri: str
    digest: str
    size: Count
    kind: Kind = "blob"
    media_type: str = JSON
    suffix: str = ""
    name: str | None = None

    @property
    def is_inline(self) -> bool:
        """Whether the bytes are in the ref itself."""
        return self.uri.startswith("data:")

    def inline_bytes(self) -> bytes:
        """The bytes of an inline ref.

        :raises ContractError: if it is not inline, or its bytes don't match its digest.
        """
        if not self.uri.startswith(_INLINE):
            raise ContractError(f"artifact {self.digest} is not inline")
        try:
            data = base64.b64decode(self.uri[len(_INLINE) :], validate=True)
        except ValueError as error:
            raise ContractError(f"the inline bytes of artifact {self.digest} are not base64") from error
        if digest_bytes(data) != self.digest:
            raise ContractError(f"the inline bytes of artifact {self.digest} don't match its digest")
        return data

    def json_value(self) -> Any:
        """The plain data of an inline JSON ref.

        :raises ContractError: as `inline_bytes`.
        """
        data = self.inline_bytes()
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"the inline bytes of artifact {self.digest} are not JSON") from error

    def json_list(self) -> "list[Any] | None":
        """The items of an inline JSON list; None for anything else."""
        if not self.is_inline:
            return None
        match self.json_value():
            case [*items]:
                return items
            case _:
                return None


class ListValue(BaseModel):
    """Several values in order, each on its own."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    list: tuple["Value", ...]


class RecordValue(BaseModel):
    """Several named values: a step with several outputs as a whole, or a dict that holds handles."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    record: dict[str, "Value"]


class SelectedValue(BaseModel):
    """A part of a value that only the reader can take out: `select` is the path of fields, keys and indexes."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    select: tuple[str | int, ...]
    of: "Value"


class TemplateValue(BaseModel):
    """Text with values in it: an f-string over handles. A part is text or a value."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    template: tuple["str | Value", ...]


def _shape(value: Any) -> str:
    keys = fields_of(value)
    for key in ("uri", "list", "record", "select", "template"):
        if key in keys:
            return key
    return "uri"


Value = Annotated[
    Annotated[ArtifactRef, Tag("uri")]
    | Annotated[ListValue, Tag("list")]
    | Annotated[RecordValue, Tag("record")]
    | Annotated[SelectedValue, Tag("select")]
    | Annotated[TemplateValue, Tag("template")],
    Discriminator(_shape),
]
for _model in (ListValue, RecordValue, SelectedValue, TemplateValue):
    _model.model_rebuild()


def inline(value: Any) -> ArtifactRef:
    """The ref of a small plain JSON value, which travels inside it.

    :raises ContractError: if the value has no canonical encoding or is larger than `INLINE_LIMIT` bytes.
    """
    data = canonical(value)
    if len(data) > INLINE_LIMIT:
        raise ContractError(f"a value of {len(data)} bytes can't travel inline ({INLINE_LIMIT} at most)")
    return inline_json(data)


def inline_json(data: bytes) -> ArtifactRef:
    """The inline ref of canonical JSON bytes."""
    uri = _INLINE + base64.b64encode(data).decode()
    return ArtifactRef(uri=uri, digest=digest_bytes(data), size=len(data))


NULL = inline(None)


def content_digest(value: Value) -> str:
    """What a reader of `value` can observe, as a digest: contents, kinds and suffixes, never where the bytes are."""
    return digest_of(_observable(value))


def _observable(value: Value) -> Any:
    match value:
        case ArtifactRef():
            plain = value.kind == "blob" and value.media_type == JSON and not value.suffix and value.name is None
            return value.digest if plain else [value.digest, value.kind, value.media_type, value.suffix, value.name]
        case ListValue():
            return {"list": [_observable(item) for item in value.list]}
        case RecordValue():
            return {"record": {key: _observable(item) for key, item in value.record.items()}}
        case SelectedValue():
            return {"select": list(value.select), "of": _observable(value.of)}
        case TemplateValue():
            return {"template": [part if isinstance(part, str) else [_observable(part)] for part in value.template]}


def refs_in(value: Value) -> "list[ArtifactRef]":
    """Every ref that `value` is made of, in order."""
    match value:
        case ArtifactRef():
            return [value]
        case ListValue():
            return [ref for item in value.list for ref in refs_in(item)]
        case RecordValue():
            return [ref for item in value.record.values() for ref in refs_in(item)]
        case SelectedValue():
            return refs_in(value.of)
        case TemplateValue():
            return [ref for part in value.template if not isinstance(part, str) for ref in refs_in(part)]


class DirectoryEntry(BaseModel):
    """One file of a directory artifact. `path` is relative, NFC, with forward slashes."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    path: str
    digest: str
    size: Count
    executable: bool = False


class DirectoryManifest(BaseModel):
    """The bytes of a directory artifact: its files sorted by path. Links and special files can't be in it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    files: tuple[DirectoryEntry, ...]


class ListManifest(BaseModel):
    """The bytes of a list artifact: one value an item, in order."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
    items: tuple[Value, ...]


def manifest_bytes(manifest: DirectoryManifest | ListManifest) -> bytes:
    """The canonical bytes of a manifest; their digest is the artifact's."""
    return canonical(manifest.model_dump(mode="json", exclude_defaults=True))
