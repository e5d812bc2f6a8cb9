"""Artifacts between this machine and services: only what is missing there goes up, what came down stays here, verified."""

import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryManifest, manifest_bytes
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, EngineUnavailable, InvalidInput
from penstock.deploy.remote.connection import Connection
from penstock.transport.blobs import BlobFolder
from penstock.transport.directories import file_digest, materialise_shared, scan_directory

_ASKED_AT_ONCE = 5000
_AT_ONCE = 4
"""Transfers."""
_PIECE_BYTES = 1024 * 1024
_TRIES = 3


class RemoteArtifacts:
    """The artifact store behind a connection, and its copies below `folder`."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._opened: BlobFolder | None = None

    @property
    def _copies(self) -> BlobFolder:
        if self._opened is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._opened = BlobFolder(self._folder / "artifacts")
        return self._opened

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        digest = digest_bytes(data)
        self._connection.upload(f"/artifacts/{digest}", lambda: iter([data]), len(data))
        self._copies.write(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        if path.is_dir():
            return self.put_directory(*scan_directory(path))
        if not path.is_file():
            raise InvalidInput(f"{path} is not a file or a folder" if path.exists() else f"there is no file or folder {path}")
        digest = file_digest(path)
        self._put_files({digest: path})
        return ArtifactRef(
            uri=f"cas:{digest}", digest=digest, size=path.stat().st_size, media_type="application/octet-stream", suffix=path.suffix
        )

    def holds(self, ref: ArtifactRef) -> bool:
        """Whether the services have all of its bytes."""
        if self._missing([ref.digest]):
            return False
        if ref.kind != "directory":
            return True
        manifest = DirectoryManifest.model_validate_json(self._local(ref.digest).read_bytes())
        return not self._missing({entry.digest for entry in manifest.files})

    def put_directory(self, manifest: DirectoryManifest, sources: dict[str, Path]) -> ArtifactRef:
        """Stores what `manifest` lists, whose files are in `sources` by digest."""
        self._put_files(sources)
        ref = self.put_bytes(manifest_bytes(manifest), media_type=DIRECTORY)
        return ref.model_copy(update={"kind": "directory"})

    def _put_files(self, sources: dict[str, Path]) -> None:
        missing = self._missing(sources)
        if len(missing) == 1:
            self._put_file(missing[0], sources[missing[0]])
        elif missing:
            with ThreadPoolExecutor(_AT_ONCE, "penstock-upload") as threads:
                list(threads.map(self._put_file, missing, [sources[digest] for digest in missing]))

    def _put_file(self, digest: str, path: Path) -> None:
        self._connection.upload(f"/artifacts/{digest}", lambda: _pieces(path), path.stat().st_size)

    def _missing(self, digests: Iterable[str]) -> list[str]:
        asked = sorted(digests)
        found: list[str] = []
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            response = self._connection.ask("POST", "/missing-artifacts", json={"digests": asked[start : start + _ASKED_AT_ONCE]})
            found += response.json()["missing"]
        return found

    def local(self, ref: ArtifactRef) -> Path:
        if ref.is_inline:
            return self._copies.local(self._copies.write(ref.inline_bytes()))
        path = self._local(ref.digest)
        if ref.kind != "directory":
            return path
        target = self._folder / "directories" / ref.digest.rsplit(":", 1)[-1]
        if not target.exists():
            manifest = DirectoryManifest.model_validate_json(path.read_bytes())
            self._fetch(entry.digest for entry in manifest.files)
            target.parent.mkdir(parents=True, exist_ok=True)
            materialise_shared(manifest, self._local, target)
        return target

    def _local(self, digest: str) -> Path:
        try:
            return self._copies.local(digest)
        except ArtifactLost:
            self._download(digest)
            return self._copies.local(digest)

    def _fetch(self, digests: Iterable[str]) -> None:
        absent = sorted(self._copies.lost(set(digests)))
        with ThreadPoolExecutor(_AT_ONCE, "penstock-download") as threads:
            list(threads.map(self._download, absent))

    def _download(self, digest: str) -> None:
        """:raises ArtifactLost: it is gone there, or never came whole."""
        trouble: Exception | None = None
        for _ in range(_TRIES):
            staged = self._copies.staging / f"download-{secrets.token_hex(8)}"
            try:
                if self._received(digest, staged) == digest:
                    self._copies.take(staged, digest)
                    return
            except EngineUnavailable as error:
                trouble = error
            finally:
                staged.unlink(missing_ok=True)
        if trouble is not None:
            raise trouble
        raise ArtifactLost(f"artifact {digest} came with other bytes from {self._connection.url}, {_TRIES} times", digest)

    def _received(self, digest: str, staged: Path) -> str:
        hashed = sha256()
        with staged.open("xb") as file, self._connection.download(f"/artifacts/{digest}") as pieces:
            for piece in pieces:
                file.write(piece)
                hashed.update(piece)
        return f"sha256:{hashed.hexdigest()}"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
