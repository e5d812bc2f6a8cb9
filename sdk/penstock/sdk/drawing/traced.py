"""What drawing a pipeline gives: its spec, and the files that it is made of."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError
from penstock.contracts.spec import PipelineSpec, decode_spec, encode_spec
from penstock.sdk.environments.declared import Declared


class _Shape(BaseModel):
    spec: str
    files: dict[str, str]
    blobs: dict[str, str]
    sources: dict[str, str]
    notes: tuple[str, ...]
    software: dict[str, Declared] = {}
    triggers: tuple[dict[str, Any], ...] = ()
    components: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """`spec` has no snapshot yet: `files` are what it will hold (path inside to absolute path).

    `blobs` are staged files with the bytes of constants, by digest. `sources` are all files that the trace depended on, with
    their digests; while they are the same, so is the trace. `notes` are for people.
    `software` is what steps declare, by node; it is resolved when a run is submitted. `triggers` are as plain as JSON has them.
    `components` are versions of published components: what a reference to them means can change while no file does.
    """

    spec: PipelineSpec
    files: dict[str, str] = field(default_factory=dict[str, str])
    blobs: dict[str, str] = field(default_factory=dict[str, str])
    sources: dict[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    software: dict[str, Declared] = field(default_factory=dict[str, Declared])
    triggers: tuple[dict[str, Any], ...] = ()
    components: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "spec": base64.b64encode(encode_spec(self.spec)).decode(),
                "files": self.files,
                "blobs": self.blobs,
                "sources": self.sources,
                "notes": list(self.notes),
                "software": {node: declared.model_dump(mode="json") for node, declared in self.software.items()},
                "triggers": list(self.triggers),
                "components": list(self.components),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Traced":
        """:raises ContractError: these are not the bytes of one."""
        try:
            shape = _Shape.model_validate_json(data)
            spec = decode_spec(base64.b64decode(shape.spec))
        except (ValidationError, binascii.Error) as error:
            raise ContractError(f"not a traced pipeline: {error}") from error
        return cls(
            spec=spec,
            files=shape.files,
            blobs=shape.blobs,
            sources=shape.sources,
            notes=shape.notes,
            software=shape.software,
            triggers=shape.triggers,
            components=shape.components,
        )
