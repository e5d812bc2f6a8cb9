"""Runners as processes of this machine, for where there is no Docker: each in a session of its own, with a note by which it is found."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from penstock.contracts.pools import PoolSpec
from penstock.deploy.autoscaler.gpu_choice import gpus_for, runner_arguments
from penstock.deploy.autoscaler.hosts import HostedRunner, RunnerHost, RunnerNotStarted

PROGRAM = (sys.executable, "-c", "import sys; sys.argv[0] = 'penstock'; from penstock.deploy.main import main; main()")
_LAST_CHARACTERS = 2000
_UNKNOWN = -1
"""The exit code of a process that another process had started."""


class _Note(BaseModel):
    """What is kept of a runner. `began` is when its process began, in the kernel's count: another one may have its number later."""

    model_config = ConfigDict(frozen=True)

    pool: str
    process: int
    began: str
    gpus: tuple[str, ...] = ()
    is_draining: bool = False


class LocalHost(RunnerHost):
    """`folder` holds notes and output of the runners, `environment` is what they get, `gpus` are the UUIDs of this machine's."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, gpus: Sequence[str] = (), program: Sequence[str] = PROGRAM) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._environment = dict(environment)
        self._gpus = gpus
        self._program = list(program)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @override
    async def runners(self) -> Sequence[HostedRunner]:
        return await asyncio.to_thread(lambda: [self._hosted(name, note) for name, note in self._notes().items()])

    @override
    async def start(self, pool: PoolSpec, name: str) -> None:
        await asyncio.to_thread(self._start, pool, name)

    @override
    async def drain(self, name: str) -> None:
        note = self._notes().get(name)
        if note is None or not self._is_running(name, note):
            return
        if not note.is_draining:
            # A second signal would end it at once.
            self._write(name, note.model_copy(update={"is_draining": True}))
            os.kill(note.process, signal.SIGTERM)

    @override
    async def remove(self, name: str) -> None:
        self._children.pop(name, None)
        self._note(name).unlink(missing_ok=True)
        self._log(name).unlink(missing_ok=True)

    @override
    async def close(self) -> None:
        self._children.clear()

    def _start(self, pool: PoolSpec, name: str) -> None:
        taken = [gpu for other, note in self._notes().items() if self._is_running(other, note) for gpu in note.gpus]
        gpus = gpus_for(pool, self._gpus, taken)
        variables = {**self._environment, "PENSTOCK_NAME": name, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})}
        try:
            with self._log(name).open("wb") as output:
                child = subprocess.Popen(
                    [*self._program, *runner_arguments(pool)],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise RunnerNotStarted(f"a runner of the pool {pool.name!r} can't be started: {error}") from error
        self._children[name] = child
        self._write(name, _Note(pool=pool.name, process=child.pid, began=_began(child.pid), gpus=gpus))

    def _hosted(self, name: str, note: _Note) -> HostedRunner:
        if self._is_running(name, note):
            return HostedRunner(name=name, pool=note.pool)
        child = self._children.get(name)
        code = child.returncode if child is not None else (0 if note.is_draining else _UNKNOWN)
        return HostedRunner(name=name, pool=note.pool, exit_code=code, last_words=self._last_words(name))

    def _is_running(self, name: str, note: _Note) -> bool:
        child = self._children.get(name)
        return child.poll() is None if child is not None else note.began == _began(note.process)

    def _last_words(self, name: str) -> str:
        try:
            return self._log(name).read_text(errors="replace")[-_LAST_CHARACTERS:]
        except OSError:
            return ""

    # Notes

    def _notes(self) -> dict[str, _Note]:
        found: dict[str, _Note] = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                found[path.stem] = _Note.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue
        return found

    def _write(self, name: str, note: _Note) -> None:
        fresh = self._note(name).with_suffix(".fresh")
        fresh.write_text(note.model_dump_json())
        fresh.rename(self._note(name))

    def _note(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def _began(process: int) -> str:
    """When a running process began; empty where there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # The third field is its state: one that waits to be reaped runs no more. The 22nd is when it began.
    return "" if fields[0] == "Z" else fields[19]
