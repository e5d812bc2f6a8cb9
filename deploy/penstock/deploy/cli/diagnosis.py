"""What `penstock doctor` looks at: this machine, the state folder, the engine's own state."""

import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penstock.contracts.views import Health
from penstock.deploy.cli.durations import size_text

# Below this a training run's artifacts soon fill what is left.
_LOW_DISK_BYTES = 1 << 30
# RETURNING and STRICT tables are younger than what the oldest supported systems ship.
_SQLITE = (3, 37, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; a problem says what to do."""

    grade: Literal["ok", "warning", "problem"]
    subject: str
    text: str


def machine_findings(home: Path) -> Iterator[Finding]:
    """Python, platform, the state folder and its disk."""
    is_new_enough = sys.version_info >= (3, 11)
    yield Finding(grade="ok" if is_new_enough else "problem", subject="Python", text=f"{platform.python_version()} at {sys.executable}")
    yield Finding(grade="ok", subject="platform", text=f"{platform.system()} {platform.release()}, {os.cpu_count()} processors")
    yield _fork()
    yield _sqlite()
    yield _home(home)
    yield _disk(home)


def engine_findings(health: Health) -> Iterator[Finding]:
    """The schema of the state, its size, and processes that died with runs of theirs unfinished."""
    same = health.schema_found == health.schema_expected
    text = health.schema_found if same else f"{health.schema_found}, this Penstock expects {health.schema_expected}: install the newer one"
    size = size_text(health.database_bytes)
    yield Finding(grade="ok" if same else "problem", subject="state schema", text=f"{text} ({health.engine}, {size})")
    for process in health.processes:
        if process.is_alive:
            yield Finding(grade="ok", subject="process", text=f"{process.pid} drives {', '.join(process.runs) or 'no run'}")
        elif process.runs:
            resume = "; ".join(f"penstock resume {run}" for run in process.runs)
            yield Finding(grade="warning", subject="process", text=f"{process.pid} died with runs unfinished; go on with: {resume}")


def _fork() -> Finding:
    if not hasattr(os, "fork"):
        return Finding(grade="warning", subject="fork", text="not available here: every attempt starts an interpreter of its own (slower)")
    if sys.platform == "darwin":
        return Finding(grade="ok", subject="fork", text="not used on macOS, whose libraries don't bear it: attempts are spawned")
    return Finding(grade="ok", subject="fork", text="available")


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info >= _SQLITE:
        return Finding(grade="ok", subject="SQLite", text=sqlite3.sqlite_version)
    wanted = ".".join(map(str, _SQLITE))
    return Finding(grade="problem", subject="SQLite", text=f"{sqlite3.sqlite_version} is older than {wanted}; use a newer Python build")


def _home(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(
            grade="problem", subject="state folder", text=f"{home} can't be written ({error.strerror}); set PENSTOCK_HOME to another folder"
        )
    return Finding(grade="ok", subject="state folder", text=f"{home}" + ("" if home.exists() else " (not yet made)"))


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < _LOW_DISK_BYTES:
        return Finding(grade="warning", subject="disk", text=f"{size_text(free)} left; penstock gc --older-than 30d frees some")
    return Finding(grade="ok", subject="disk", text=f"{size_text(free)} free")
