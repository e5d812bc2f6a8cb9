"""Constants of a pipeline: small JSON values travel in the spec, everything else as staged files by digest."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.errors import ArtifactLost, GraphError, InvalidInput
from penstock.contracts.named_artifacts import SCHEME
from penstock.sdk.drawing.places import user_place
from penstock.sdk.types import Directory, File
from penstock.sdk.values.codecs import encode
from penstock.transport.directories import file_digest


class Constants:
    """`blobs` maps digests to the staged files that hold their bytes; `sources` the user's files that were read to their digests.

    The folder of staged files is there only while it holds one.
    """

    def __init__(self) -> None:
        self.staging = Path(tempfile.gettempdir(), f"penstock-constants-{secrets.token_hex(8)}")
        self.blobs: dict[str, str] = {}
        self.sources: dict[str, str] = {}

    def value(self, value: object, annotation: Any = Any) -> Value:
        """`value` as one that travels.

        :raises GraphError: it can't be stored.
        """
        if isinstance(value, File | Directory) and value.uri.startswith(SCHEME):
            raise GraphError(f"{user_place()}: {value!r} is looked up when a run starts: make it a parameter of the pipeline")
        self.staging.mkdir(mode=0o700, exist_ok=True)
        try:
            encoded = encode(value, annotation, self.staging)
        except InvalidInput as error:
            raise GraphError(f"{user_place()}: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                self.staging.rmdir()
        self.blobs |= {staged.digest: str(staged.path) for staged in encoded.files}
        self._note_sources(value)
        return encoded.value

    def local(self, ref: ArtifactRef) -> Path:
        """The staged file of a constant."""
        if ref.digest not in self.blobs:
            raise ArtifactLost(f"no constant has the digest {ref.digest}", ref.digest)
        return Path(self.blobs[ref.digest])

    def remove(self) -> None:
        """Deletes the staged files."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def _note_sources(self, value: object) -> None:
        match value:
            case File():
                self.sources[str(value.path.resolve())] = file_digest(value.path)
            case Directory():
                self.sources |= {str(file.path.resolve()): file_digest(file.path) for file in value.files()}
            case list() | tuple():
                for item in cast(Sequence[object], value):
                    self._note_sources(item)
            case _:
                pass
