"""Where the state of a pipeline's runs lives, and the engine that keeps it: one client a process and folder."""

import atexit
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from penstock.sdk.client import EngineClient, connect

HOME_NAME = ".penstock"
_ROOT_MARKS = ("pyproject.toml", ".git", "penstock.toml")


def project_folder(start: Path) -> Path:
    """The nearest folder at or above `start` that looks like a project, else the folder of `start`."""
    folder = start.absolute() if start.is_dir() else start.absolute().parent
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _ROOT_MARKS):
            return candidate
    return folder


def state_home(start: Path) -> Path:
    """`.penstock/` of the project around `start`, or where `PENSTOCK_HOME` says."""
    named = os.environ.get("PENSTOCK_HOME")
    return Path(named).expanduser().absolute() if named else project_folder(start) / HOME_NAME


def engine_name(environment: Mapping[str, str] = os.environ, profile: str | None = None) -> str:
    """The engine that `PENSTOCK_ENGINE` names; else that of services where a profile says where they are, else the embedded one."""
    return environment.get("PENSTOCK_ENGINE") or ("http" if profile or environment.get("PENSTOCK_PROFILE") else "embedded")


def make_state_home(home: Path) -> None:
    """Makes the state folder, if it is not there: only its owner can look into it, for data, logs and code are inside."""
    home.parent.mkdir(parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)


_given: ContextVar[EngineClient | None] = ContextVar("engine", default=None)
_lock = threading.Lock()
_clients: dict[tuple[int, str, Path, str | None], EngineClient] = {}


def engine_of(start: Path, profile: str | None = None) -> EngineClient:
    """The engine of the project around `start`: the embedded one, or that of `PENSTOCK_ENGINE` or of a profile."""
    given = _given.get()
    if given is not None:
        return given
    name, home = engine_name(profile=profile), state_home(start)
    chosen = {"profile": profile} if profile is not None and name != "embedded" else {}
    # By process: a fork must not use its parent's connections.
    key = os.getpid(), name, home, chosen.get("profile")
    with _lock:
        if key not in _clients:
            _clients[key] = connect(name, home=home, **chosen)
        return _clients[key]


@contextmanager
def using_engine(client: EngineClient) -> Generator[None]:
    """While it lasts, pipelines run on `client`, whatever their project."""
    token = _given.set(client)
    try:
        yield
    finally:
        _given.reset(token)


def close_engines() -> None:
    """Closes the engines that this process opened."""
    with _lock:
        mine = [key for key in _clients if key[0] == os.getpid()]
        clients = [_clients.pop(key) for key in mine]
    for client in clients:
        client.close()


atexit.register(close_engines)
