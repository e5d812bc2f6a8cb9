"""The folder of `make up`: what is kept from one start to the next (ports, secrets, data), and who serves it."""

import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MARKER = "PENSTOCK_UP"
"""Variable that every process of a place has in its environment, with the place's folder: so those that detached themselves are found."""
_STATE = "addresses.json"
_PORTS = 24
"""Six of servers, and those of the services' health."""
_LOWEST, _HIGHEST = 20000, 32000
"""Below the range from which the kernel takes ports for outgoing connections: what is started again finds its port free."""


class PlaceTaken(Exception):
    """Another process serves this folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Ports and passwords of everything, chosen once."""

    api: int
    broker: int
    management: int
    broker_names: int
    broker_nodes: int
    database: int
    artifacts: int
    health: int
    """The first of consecutive ports, one for each service."""
    broker_password: str
    database_password: str
    artifacts_key: str
    artifacts_secret: str
    api_token: str
    signing_key: str


class Place:
    """One folder, served by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def exists(self) -> bool:
        return (self.folder / _STATE).is_file()

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @contextmanager
    def taken(self) -> Generator[None]:
        """This process serves the folder.

        :raises PlaceTaken: another one does.
        """
        # Others may pass through it: as root, PostgreSQL runs as another user.
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PlaceTaken(f"{self.folder} is served already by process {self.server()}; end it with: make down") from None
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def server(self) -> int | None:
        """The process that serves it, if one does."""
        try:
            with (self.folder / "lock").open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    return int(file.read())
        except (FileNotFoundError, ValueError):
            return None
        return None

    def addresses(self, api_port: int) -> Addresses:
        """What was chosen at the first start; only the API's port may be another one each time."""
        state = self.folder / _STATE
        if state.exists():
            return replace(Addresses(**json.loads(state.read_text(encoding="utf-8"))), api=api_port)
        found = _chosen(api_port)
        state.touch(mode=0o600)
        state.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
        return found

    def processes(self) -> list[int]:
        """Everything that was started for it and lives."""
        mark = f"{MARKER}={self.folder}".encode()
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and mark in _environment(entry)]

    def delete(self) -> None:
        """Everything that it holds."""
        shutil.rmtree(self.folder)


def _chosen(api_port: int) -> Addresses:
    first = _free_ports(_PORTS)
    return Addresses(
        api=api_port, broker=first, management=first + 1, broker_names=first + 2, broker_nodes=first + 3, database=first + 4,
        artifacts=first + 5, health=first + 6,
        broker_password=secrets.token_urlsafe(24), database_password=secrets.token_urlsafe(24),
        artifacts_key=secrets.token_hex(10), artifacts_secret=secrets.token_urlsafe(24),
        api_token=secrets.token_urlsafe(32), signing_key=secrets.token_hex(32),
    )  # fmt: skip


def _free_ports(count: int) -> int:
    """The first of so many consecutive ports that nobody listens at."""
    for _ in range(200):
        first = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST - count)
        if all(map(is_free, range(first, first + count))):
            return first
    raise PlaceTaken(f"there are no {count} free ports in a row between {_LOWEST} and {_HIGHEST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
