"""A datastore in a folder of this machine, or one that it shares with others: `file:///srv/drops`. Marks are digests of contents."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from penstock.contracts.errors import DataChanged, DatastoreUnavailable
from penstock.transport.data_addresses import is_usable
from penstock.transport.datastore import FoundObject
from penstock.transport.datastores.place import PIECE_BYTES, Declaration
from penstock.transport.verified import Signature, signature_of

_SCHEME = "file://"
_REMEMBERED = 200_000


class FolderPlace:
    """Links are not followed, so that none leads out of the folder. A file is hashed when its signature changed, not at each look."""

    def __init__(self, declaration: Declaration) -> None:
        self._root = Path(declaration.url.removeprefix(_SCHEME))
        self._known: dict[str, tuple[Signature, str]] = {}
        self._lock = threading.Lock()

    def objects(self, base: str, prefix: str, depth: int | None) -> Iterator[FoundObject]:
        folder = base.removeprefix(_SCHEME)
        if not self._root.is_dir():
            raise DatastoreUnavailable(f"the datastore's folder {self._root} is not there; is its disk mounted?")
        if not self._is_inside(Path(folder)):
            return
        for path in _files(folder, prefix, depth):
            found = self._found(path)
            if found is not None and is_usable(found.uri):
                yield found

    def look(self, uri: str) -> FoundObject | None:
        path = uri.removeprefix(_SCHEME)
        return self._found(path) if self._is_inside(Path(path)) else None

    def pieces(self, found: FoundObject) -> Iterator[bytes]:
        digest = hashlib.sha256()
        try:
            with self._opened(found.uri.removeprefix(_SCHEME)) as file:
                before = signature_of(os.fstat(file.fileno()))
                while piece := file.read(PIECE_BYTES):
                    digest.update(piece)
                    yield piece
                after = signature_of(os.fstat(file.fileno()))
        except FileNotFoundError as error:
            raise DataChanged(f"{found.uri} is gone") from error
        except OSError as error:
            raise DatastoreUnavailable(f"{found.uri} can't be read: {error.strerror}") from error
        if before != after or f"sha256:{digest.hexdigest()}" != found.mark:
            raise DataChanged(f"{found.uri} changed while it was read; nothing of it was taken")

    def _is_inside(self, path: Path) -> bool:
        """Whether no link on the way leads out of the folder."""
        try:
            return path.resolve().is_relative_to(self._root.resolve())
        except OSError:
            return False

    def _found(self, path: str) -> FoundObject | None:
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                return None
            signature = signature_of(status)
            mark = self._mark(path, signature)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DatastoreUnavailable(f"{_SCHEME}{path} can't be read: {error.strerror}") from error
        return FoundObject(uri=_SCHEME + path, mark=mark, size=status.st_size, changed_at=status.st_mtime_ns // 1000)

    def _mark(self, path: str, signature: Signature) -> str:
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        with self._opened(path) as file:
            mark = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            after = signature_of(os.fstat(file.fileno()))
        if after == signature and signature.is_settled():
            with self._lock:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[path] = (signature, mark)
        return mark

    def _opened(self, path: str) -> FileIO:
        """:raises FileNotFoundError: what was opened is not the file at that place in the folder."""
        # Neither a link nor a pipe that was put there after the look.
        file = FileIO(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb")
        # A folder on the way may have become a link meanwhile, and be a folder again by now.
        real = Path(path).resolve()
        try:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and real.is_relative_to(self._root.resolve()) and os.path.samestat(status, os.lstat(real)):
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        raise FileNotFoundError(path)


def _files(folder: str, prefix: str, depth: int | None) -> Iterator[str]:
    """Paths of plain files below a folder; what comes and goes meanwhile may be missing."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DatastoreUnavailable(f"the folder {folder} can't be read: {error.strerror}") from error
    for entry in entries:
        if not entry.name.startswith(prefix):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth is None or depth > 1:
                yield from _files(entry.path, "", None if depth is None else depth - 1)
        elif entry.is_file(follow_symlinks=False):
            yield entry.path
