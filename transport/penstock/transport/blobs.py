"""A folder of blobs by digest: the synchronous core of the folder artifact store and of a host's cache.

Layout: `blobs/sha256/ab/<hex>`, `staging/`, `corrupt/`, `verified.sqlite`. A blob is visible whole or not at all. Everything read from
here was verified: a blob that doesn't match its digest is moved to `corrupt/`, so that it is never served and a new write heals it.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, ContractError, StoreUnavailable
from penstock.transport.verified import Signature, VerifiedMemo, signature_of

# Hashing this much costs about what asking the memo does, and it is the stronger check.
ALWAYS_HASHED_BYTES = 64 * 1024

# A failing disk (EIO) has lost the bytes for good; too many open files, say, has not.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class BlobFolder:
    """Blobs below `root`. Safe for any number of threads and processes at once, forked ones included."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._prefix = f"{self._blobs}{os.sep}"
        self._corrupt = root / "corrupt"
        self.staging = root / "staging"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.staging.mkdir(exist_ok=True)
        self._memo = VerifiedMemo(root / "verified.sqlite")

    def path_of(self, digest: str) -> Path:
        """Where the blob is, if it is there. Not verified.

        :raises ContractError: not a digest.
        """
        return Path(self._checked_name(digest))

    def _checked_name(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise ContractError(f"{digest[:80]!r} is not a digest; one reads sha256:<64 hexadecimal digits>")
        return f"{self._prefix}{digest[7:9]}{os.sep}{digest[7:]}"

    def write(self, data: bytes) -> str:
        """Stores small bytes; returns their digest.

        :raises OSError: a full disk, say; nothing is visible then.
        """
        digest = digest_bytes(data)
        if self._holds(digest):
            return digest
        staged = self.staging / f"bytes-{secrets.token_hex(8)}"
        try:
            staged.write_bytes(data)
            self._publish(staged, digest)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        return digest

    def take(self, staged: Path, digest: str) -> None:
        """Moves the file `staged`, whose digest its writer computed, among the blobs; it is gone afterwards.

        A wrong digest is found when the blob is first read.
        :raises OSError: a full disk, say; nothing is visible then.
        """
        if self._holds(digest):
            staged.unlink(missing_ok=True)  # Two outputs may be one file.
            return
        try:
            self._publish(staged, digest)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._take_across(staged, digest)

    def local(self, digest: str) -> Path:
        """The blob's file, verified: read-only, never to be written or linked.

        :raises ArtifactLost: it is gone or corrupt.
        :raises StoreUnavailable: the folder itself can't be read, which says nothing of the blob.
        """
        path = self.path_of(digest)
        try:
            intact = self._verify(digest, path)
        except OSError as error:
            raise self._told(error, digest) from error
        if not intact:
            raise ArtifactLost(f"artifact {digest} is corrupt; its file was moved to {self._corrupt}; rerun the step that made it", digest)
        return path

    def lost(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` whose bytes are gone or corrupt; only what was not verified before is read.

        :raises StoreUnavailable: the folder itself can't be read, which says nothing of the blobs.
        """
        found: dict[str, Signature] = {}
        missing: set[str] = set()
        wanted = set(digests)
        known = self._memo.known(wanted)
        for digest in wanted:
            path = self._checked_name(digest)
            try:
                signature = signature_of(os.stat(path))  # noqa: PTH116  # a Path for each of thousands would double the time
                if known.get(digest) != signature and not self._hash_matches(digest, Path(path), found):
                    missing.add(digest)
            except OSError as error:
                if isinstance(told := self._told(error, digest), StoreUnavailable):
                    raise told from error
                missing.add(digest)
        self._memo.remember(found)
        return missing

    def delete(self, digest: str) -> None:
        """Forgets the bytes, if they are there."""
        self.path_of(digest).unlink(missing_ok=True)

    def _told(self, error: OSError, digest: str) -> ArtifactLost | StoreUnavailable:
        """Whether an error means that these bytes are gone, or that nothing can be said of any."""
        if error.errno not in _GONE or not self._blobs.is_dir():
            return StoreUnavailable(f"artifacts in {self._blobs} can't be read: {error}; is the disk there, and are files left to open?")
        return ArtifactLost(f"artifact {digest} is gone from {self._blobs} ({error.strerror}); rerun the step that made it", digest)

    def _holds(self, digest: str) -> bool:
        try:
            return self._verify(digest, self.path_of(digest))
        except OSError:
            return False

    def _verify(self, digest: str, path: Path) -> bool:
        status = path.stat()
        small = status.st_size <= ALWAYS_HASHED_BYTES
        if not small and self._memo.known([digest]).get(digest) == signature_of(status):
            return True
        found: dict[str, Signature] = {}
        intact = self._hash_matches(digest, path, found)
        if not small:
            self._memo.remember(found)
        return intact

    def _hash_matches(self, digest: str, path: Path, found: dict[str, Signature]) -> bool:
        """Hashes the file; notes its signature in `found` where that stands for these very bytes, sets it aside if corrupt."""
        with path.open("rb", buffering=0) as file:
            before = signature_of(os.fstat(file.fileno()))
            actual = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            after = signature_of(os.fstat(file.fileno()))
        if actual != digest:
            self._set_aside(path, before.inode)
            return False
        if before == after and before.is_settled():
            found[digest] = before
        return True

    def _set_aside(self, path: Path, inode: int) -> None:
        aside = self._corrupt / f"{path.name}-{secrets.token_hex(4)}"
        try:
            self._corrupt.mkdir(exist_ok=True)
            path.replace(aside)
            if aside.stat().st_ino != inode:
                # Someone healed it between our reading and our moving: that one is good, it goes back.
                aside.replace(path)
        except OSError:
            return  # Somebody was faster, or the folder can't be written: then it stays, and is found corrupt each time.

    def _publish(self, staged: Path, digest: str) -> None:
        target = self.path_of(digest)
        descriptor = os.open(staged, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            if os.name == "posix":
                os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            _sync_folder(self._blobs)
        staged.replace(target)
        _sync_folder(target.parent)

    def _take_across(self, staged: Path, digest: str) -> None:
        inside = self.staging / f"copy-{secrets.token_hex(8)}"
        try:
            shutil.copyfile(staged, inside)
            self._publish(inside, digest)
        except BaseException:
            inside.unlink(missing_ok=True)
            raise
        staged.unlink()


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
