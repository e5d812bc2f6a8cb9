"""Process incarnations: each process that drives runs holds a lock on a file of its own. Whoever gets the lock knows that it is gone."""

import fcntl
import os
import secrets
from pathlib import Path

from penstock.contracts.views import ProcessView


class Incarnation:
    """This process, for as long as it lives. Its name is `<pid>-<random>`."""

    def __init__(self, home: Path) -> None:
        folder = home / "processes"
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / self.name
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """The process drives nothing any more."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def is_alive(home: Path, name: str) -> bool:
    """Whether the incarnation of that name still holds its lock."""
    try:
        with (home / "processes" / name).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def incarnations(home: Path) -> list[ProcessView]:
    """Every incarnation that left a file, dead ones too."""
    folder = home / "processes"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [ProcessView(incarnation=name, pid=int(name.split("-")[0]), is_alive=is_alive(home, name)) for name in names]
