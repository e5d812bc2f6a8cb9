"""The folder of an attempt on the host: what its container may read, the one place where it may write, and what is taken from there.

What a container wrote is not trusted: no link is followed, nothing but plain files and folders is read.
"""

import os
import shutil
import stat
import subprocess
from pathlib import Path, PurePosixPath

from penstock.contracts.states import FailureKind
from penstock.runners.docker.places import BOX, INPUTS
from penstock.runners.docker.sandbox import Mount
from penstock.runners.failures import AttemptFailed, failure


class Box:
    """`folder` is new; `user` the `uid:gid` under which the container runs."""

    def __init__(self, folder: Path, user: str) -> None:
        self.folder = folder
        self._owner = tuple(map(int, user.split(":")))
        self.work, self.inputs, self.talk = folder / "box" / "work", folder / "inputs", folder / "talk"
        folder.mkdir(parents=True, mode=0o700)
        for part in (self.work, self.inputs, self.talk):
            part.mkdir(parents=True)

    @property
    def mounts(self) -> list[Mount]:
        return [Mount(self.folder / "box", BOX, writable=True), Mount(self.inputs, INPUTS)]

    def hand_over(self) -> None:
        """Makes all of it the container's user's, who could write nowhere else."""
        if os.geteuid() == 0:
            _own(self.folder / "box", *self._owner)
            _own(self.inputs, *self._owner)

    def take_back(self) -> None:
        """Once nothing runs in the container any more.

        :raises AttemptFailed: it left something that can't be walked through.
        """
        try:
            _own(self.folder / "box", os.geteuid(), os.getegid())
        except (OSError, RecursionError) as error:
            raise AttemptFailed(failure(FailureKind.OUTPUT, f"what it wrote can't be read: {error}")) from error

    def outside(self, inside: str | PurePosixPath) -> Path:
        """The plain file or folder on the host that has a path inside the container.

        :raises AttemptFailed: the path leads out of the box, or through something that is no plain folder.
        """
        path = PurePosixPath(inside)
        if not path.is_relative_to(BOX) or ".." in path.parts:
            raise _refused(path, "it is not below the folder of the attempt")
        parts = path.relative_to(BOX).parts
        found = self.folder / "box"
        for position, part in enumerate(parts):
            found /= part
            _check(found, path, last=position == len(parts) - 1)
        return found

    def remove(self) -> None:
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
        except RecursionError:
            # Folders may be in each other deeper than Python goes.
            subprocess.run(["/bin/rm", "-rf", "--", str(self.folder)], check=False, capture_output=True)


def _check(found: Path, path: PurePosixPath, *, last: bool) -> None:
    try:
        mode = found.lstat().st_mode
    except FileNotFoundError:
        raise AttemptFailed(failure(FailureKind.OUTPUT, f"the output {path.name!r} was not written")) from None
    if stat.S_ISLNK(mode):
        raise _refused(path, f"{found.name} is a link")
    if not (stat.S_ISDIR(mode) or (last and stat.S_ISREG(mode))):
        raise _refused(path, f"{found.name} is not a plain file or folder (a socket, pipe or device)")


def _refused(path: PurePosixPath, reason: str) -> AttemptFailed:
    return AttemptFailed(failure(FailureKind.OUTPUT, f"the output {str(path)!r} is refused: {reason}"))


def _own(folder: Path, user: int, group: int) -> None:
    """Folders from the outside in, for those that nobody may enter."""
    os.lchown(folder, user, group)
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _own(Path(entry.path), user, group)
            else:
                os.lchown(entry.path, user, group)
