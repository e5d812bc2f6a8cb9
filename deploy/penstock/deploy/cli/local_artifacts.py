"""Artifacts where they are: what stands for an artifact store while a pipeline runs in this process."""

import tempfile
from pathlib import Path
from typing import Any

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, Value, manifest_bytes
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost
from penstock.sdk.types import Directory, File
from penstock.sdk.values.codecs import encode
from penstock.transport.directories import file_digest, scan_directory


class LocalArtifacts:
    """Knows the paths of what it was given, and copies nothing but bytes. `known` are files by digest."""

    def __init__(self, folder: Path, known: dict[str, str]) -> None:
        self._folder = folder
        self._paths = {digest: Path(path) for digest, path in known.items()}

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        digest = digest_bytes(data)
        self._paths[digest] = self._folder / f"{digest[-16:]}{suffix}"
        self._paths[digest].write_bytes(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        if path.is_dir():
            data = manifest_bytes(scan_directory(path)[0])
            ref = self.put_bytes(data, media_type=DIRECTORY).model_copy(update={"kind": "directory"})
        else:
            digest = file_digest(path)
            ref = ArtifactRef(
                uri=f"cas:{digest}", digest=digest, size=path.stat().st_size, media_type="application/octet-stream", suffix=path.suffix
            )
        self._paths[ref.digest] = path.absolute()
        return ref

    def put_object(self, value: Any) -> Value:
        """Any value that steps can return."""
        if isinstance(value, File | Directory) and not value.is_remote:
            return self.put_path(value.path)
        encoded = encode(value, Any, Path(tempfile.mkdtemp(dir=self._folder)))
        self._paths |= {staged.digest: staged.path for staged in encoded.files}
        return encoded.value

    def local(self, ref: ArtifactRef) -> Path:
        if ref.is_inline:
            return self.local(self.put_bytes(ref.inline_bytes(), media_type=ref.media_type, suffix=ref.suffix))
        if ref.digest not in self._paths:
            raise ArtifactLost(f"{ref.digest} is no file of this run", ref.digest)
        return self._paths[ref.digest]
