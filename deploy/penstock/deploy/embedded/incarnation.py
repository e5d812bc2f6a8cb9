"""Process incarnations: each process that drives runs holds a lock on a file of its own. Whoever gets the lock knows that it is gone."""

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import TextIO

from penstock.contracts.errors import InvalidInput
from penstock.contracts.views import ProcessView

DEV = "dev"
"""The name of `penstock dev`, of which there is one a state folder: it goes on with the runs of its predecessors."""
_TRIES = 50
_PAUSE_SECONDS = 0.01


class Incarnation:
    """This process, for as long as it lives. Its name is `<pid>-<random>`, where it needs no other.

    :raises InvalidInput: another process has that name.
    """

    def __init__(self, home: Path, name: str | None = None) -> None:
        folder = home / "processes"
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name or f"{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / self.name
        self._file = _locked(self._path, home)
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        """The process drives nothing any more."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def _locked(path: Path, home: Path) -> TextIO:
    """Whoever looks whether its owner lives holds the lock too, for a moment."""
    for _ in range(_TRIES):
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            time.sleep(_PAUSE_SECONDS)
            continue
        if path.exists():
            return file
        # Its owner has just taken it away.
        file.close()
    raise InvalidInput(f"another `penstock {path.name}` serves {home}; end it, or name another folder in PENSTOCK_HOME")


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
    return [ProcessView(incarnation=name, pid=_pid(folder / name), is_alive=is_alive(home, name)) for name in names]


def _pid(path: Path) -> int:
    told = path.name.split("-")[0]
    try:
        return int(told if told.isdecimal() else path.read_text() or 0)
    except (OSError, ValueError):
        return 0
