"""A private PostgreSQL: a cluster, folder and port of its own, and what a test does to it."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
from typing_extensions import override

from penstock.engine.stores.postgres import PostgresStore
from tests.servers.process import Server, ServerNotStarted, free_port, wait_until

_PROGRAMS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"), Path("/usr/bin"))
_USER = "postgres"
PASSWORD = "secret"
_TEMPLATE = "migrated"
# As in production (every commit is on the disk), but small.
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
shared_buffers = 32MB
max_connections = 60
max_wal_size = 128MB
log_min_messages = warning
"""


class PostgresServer(Server):
    """PostgreSQL as installed. Databases tell tests apart."""

    program = "PostgreSQL: apt-get install postgresql"

    def __init__(self) -> None:
        super().__init__("postgres")
        self.port = free_port()
        self._data = self.folder / "data"
        self._programs = _programs()
        self._numbers = count(1)
        self._has_template = False
        self._make_cluster()

    def url(self, database: str = "postgres", *, user: str = _USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @override
    def command(self) -> list[str]:
        options = [f"--port={self.port}", f"--unix_socket_directories={self.folder}"]
        return [*_as_user(), str(self._programs / "postgres"), "-D", str(self._data), *options]

    @override
    def is_ready(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    @override
    def stop(self) -> None:
        """Lets it end in order, cutting every connection."""
        self.end(signal.SIGINT)

    @override
    def kill(self) -> None:
        # Every session is in a process group of its own.
        processes = psutil.Process(self.process_id).children(recursive=True)
        super().kill()
        for process in processes:
            if process.is_running():
                process.kill()
        wait_until(lambda: not any(map(_lives, processes)), seconds=10, what="PostgreSQL's sessions are gone")
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def kill_backends(self, database: str) -> int:
        """Kills, as the kernel would, every session of that database; how many."""
        found = self.query(f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'").split()  # noqa: S608 - a name of a test's own
        for process in found:
            self.query(f"SELECT pg_terminate_backend({process})")
        return len(found)

    def create_database(self, *, migrated: bool = False) -> str:
        """The URL of a database that is empty, or has the newest schema: a copy takes less time than migrations."""
        name = f"test_{next(self._numbers)}"
        if migrated and not self._has_template:
            self.query(f"CREATE DATABASE {_TEMPLATE}")
            with ThreadPoolExecutor(1) as thread:
                # Whoever asks may be in an event loop.
                thread.submit(asyncio.run, _upgrade(self.url(_TEMPLATE))).result()
            self._has_template = True
        self.query(f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if migrated else ""))
        return self.url(name)

    @contextmanager
    def database(self, *, migrated: bool = False) -> Generator[str]:
        """One that is gone afterwards; many would fill the disk."""
        url = self.create_database(migrated=migrated)
        yield url
        if self.is_running:
            with suppress(subprocess.CalledProcessError):  # a test may leave the server unwell
                self.query(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def query(self, sql: str, database: str = "postgres") -> str:
        """What `psql` says."""
        command = [str(self._programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def _make_cluster(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, _USER, _USER)
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", _USER, f"--pwfile={secret}", "--auth=scram-sha-256"]
        subprocess.run(
            [*_as_user(), *command, "--encoding=UTF8", "--no-locale", "--no-sync"], check=True, capture_output=True, cwd=self.folder
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)


def _lives(process: psutil.Process) -> bool:
    # Where nobody reaps orphans, a dead one stays as a zombie.
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _upgrade(url: str) -> None:
    store = PostgresStore(url)
    await store.upgrade()
    await store.close()


def _programs() -> Path:
    for folder in _PROGRAMS:
        if (folder / "initdb").exists():
            return folder
    raise ServerNotStarted(f"PostgreSQL's server is not installed. These tests need {PostgresServer.program}")


def _as_user() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    owner = pwd.getpwnam(_USER)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
