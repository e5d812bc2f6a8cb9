"""How an environment is built: a virtual environment made by uv in a folder beside its place, which it takes last."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.contracts.errors import InfrastructureError, InvalidInput
from penstock.sdk.environments.uv_program import complaint, find_uv, uv_variables, without_credentials

# The 1 is PR_SET_PDEATHSIG. It is set here, since between fork and exec of a process with threads hardly anything may be done.
_UNTIL_PARENT_DIES = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)

Tell = Callable[[bytes], None]


class EnvironmentBroken(InfrastructureError):
    """An environment could not be built; `hint` says what to do, where that is known."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to build. `python` is a minor version, `lock` a file of requirements with hashes."""

    name: str
    python: str
    lock: Path


async def build(recipe: Recipe, staging: Path, place: Path, tell: Tell) -> None:
    """Builds it in `staging`, which is gone afterwards, and moves it to `place`.

    :raises EnvironmentBroken: uv is missing, has no such interpreter, or can't install what the lock says.
    """
    tell(f"penstock: building the environment {recipe.name}\n".encode())
    try:
        # Its programs are found where it will be: they name their interpreter relative to themselves.
        made = ["venv", "-q", "--no-project", "--relocatable", "--python", _interpreter(recipe.python), str(staging)]
        await _uv(made, staging.parent, tell, f"uv can't make an environment with Python {recipe.python}", _python_hint(recipe.python))
        filled = ["pip", "sync", "--require-hashes", "--python", str(staging / "bin" / "python"), str(recipe.lock)]
        await _uv(filled, staging.parent, tell, "the packages can't be installed", "the attempt's log holds all that uv said")
        await asyncio.to_thread(staging.rename, place)
    finally:
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
    tell(f"penstock: the environment {recipe.name} is ready\n".encode())


def _interpreter(python: str) -> str:
    """The runner's own, where it is of that version; else what uv finds."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sys.executable if python == own and sys.implementation.name == "cpython" else python


def _python_hint(python: str) -> str:
    return f"install Python {python} where the step runs, or let uv fetch it: UV_PYTHON_DOWNLOADS=automatic in the runner's environment"


async def _uv(words: list[str], folder: Path, tell: Tell, what: str, hint: str) -> None:
    try:
        # A session of its own: an interrupt at the terminal is for the run, which then ends this.
        process = await asyncio.create_subprocess_exec(
            *_dying_with_us(),
            find_uv(),
            *words,
            cwd=folder,
            env=uv_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (InvalidInput, OSError) as error:
        raise EnvironmentBroken(f"{what}: {error}", "install uv where the step runs: pip install uv") from error
    said = await _heard(process, tell)
    if process.returncode:
        raise EnvironmentBroken(f"{what}: {complaint(said)}", hint)


def _dying_with_us() -> list[str]:
    """A program that executes its arguments, which the system then kills when this process dies: nobody else would see to it."""
    return [sys.executable, "-ISc", _UNTIL_PARENT_DIES, str(os.getpid())] if sys.platform == "linux" else []


async def _heard(process: asyncio.subprocess.Process, tell: Tell) -> str:
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    said: list[str] = []
    try:
        async for line in process.stdout:
            text = without_credentials(line.decode(errors="replace"))
            said.append(text)
            tell(text.encode())
        await process.wait()
    except BaseException:
        _kill(process)
        await asyncio.shield(process.wait())
        raise
    return "".join(said)


def _kill(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
