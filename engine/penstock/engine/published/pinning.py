"""URIs among the parameters of a run that is asked for in plain JSON: what they name is brought in, the artifact stands in its place."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from penstock.contracts.artifacts import ArtifactRef, DirectoryManifest
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.data_addresses import SCHEMES
from penstock.transport.datastore import Datastores, Kind

_LIST_OF_FILES = re.compile(r"(list|Sequence)\[(File|Directory)\]")
_BEGINNINGS = tuple(f"{scheme}://" for scheme in SCHEMES)


class Pinned(NamedTuple):
    """`parameters` as plain JSON with artifacts in place of URIs; `parts` are kind and size by digest of all that was brought in;
    `origins` are tags that tell what each URI stood for."""

    parameters: dict[str, Any]
    parts: dict[str, tuple[str, int]]
    origins: dict[str, str]


async def pinned(datastores: Datastores, artifacts: ArtifactStore, spec: PipelineSpec, given: Mapping[str, Any]) -> Pinned:
    """What is no URI stays as it is.

    :raises InvalidInput: it is in no declared datastore, or nothing is there.
    :raises DataChanged: it changed while it was read.
    :raises DatastoreUnavailable: it can't be reached now.
    """
    found = Pinned(dict(given), {}, {})
    for parameter in spec.parameters:
        value: Any = given.get(parameter.name)
        kind = _kind_of(parameter)
        if kind is None:
            continue
        if isinstance(value, str) and _is_uri(value):
            ref = await _taken(datastores, artifacts, value, kind, found.parts)
            found.parameters[parameter.name] = _plain(ref)
            found.origins[f"input.{parameter.name}"] = f"{value} {ref.digest}"
        elif isinstance(value, list):
            items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # of whatever
            found.parameters[parameter.name] = [await _item(datastores, artifacts, one, kind, found.parts) for one in items]
    return found


def _kind_of(parameter: ParameterSpec) -> Kind | None:
    """What a URI that is given for it names; None: text."""
    if parameter.read in ("file", "directory"):
        return "directory" if parameter.read == "directory" else "file"
    match = _LIST_OF_FILES.fullmatch(parameter.type)
    return None if match is None else "directory" if match[2] == "Directory" else "file"


def _is_uri(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_BEGINNINGS)


async def _item(datastores: Datastores, artifacts: ArtifactStore, one: Any, kind: Kind, parts: dict[str, tuple[str, int]]) -> Any:
    return _plain(await _taken(datastores, artifacts, one, kind, parts)) if _is_uri(one) else one


async def _taken(datastores: Datastores, artifacts: ArtifactStore, uri: str, kind: Kind, parts: dict[str, tuple[str, int]]) -> ArtifactRef:
    ref = await datastores.take(uri, kind)
    parts[ref.digest] = (ref.kind, ref.size)
    if ref.kind == "directory":
        manifest = DirectoryManifest.model_validate_json((await artifacts.local(ref.digest)).read_bytes())
        parts.update({entry.digest: ("blob", entry.size) for entry in manifest.files})
    return ref


def _plain(ref: ArtifactRef) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(ref.model_dump_json(exclude_none=True))
    return plain
