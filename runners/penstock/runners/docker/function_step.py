"""A function in a container: a guest that talks as those in processes do, over a socket in a folder that both see."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from penstock.contracts.artifacts import Value, refs_in
from penstock.contracts.errors import ArtifactLost, StoreUnavailable
from penstock.contracts.spec import FunctionTarget
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.conversation import Conversation, Ending, Limits
from penstock.runners.docker.contained import WRONG_PYTHON, program
from penstock.runners.docker.container import Container, End, started
from penstock.runners.docker.missing_program import not_there
from penstock.runners.docker.places import CHECKPOINT, SNAPSHOT, SOFTWARE, STAGING, TALK, WORK
from penstock.runners.docker.sandbox import Mount, container_config
from penstock.runners.docker.software import PYTHON, software_folder
from penstock.runners.docker.staged_inputs import StagedInputs, parts
from penstock.runners.docker.workshop import Attempt
from penstock.runners.failures import AttemptFailed, failed, failure, from_status, out_of_memory, overdue
from penstock.runners.guest_order import guest_order
from penstock.runners.guest_process import Exit, Guest
from penstock.runners.keeping import keep
from penstock.runners.launcher import ReportProgress
from penstock.runners.masking import masked
from penstock.transport.directories import file_digest

_VALUES: TypeAdapter[dict[str, Value]] = TypeAdapter(dict[str, Value])
_IMPORT_SECONDS = 300.0
_START_SECONDS = 120.0
_EARLY_BYTES = 16 * 1024
_NO_PROCESS = -1


class FunctionStep:
    def __init__(self, attempt: Attempt, target: FunctionTarget, progress: ReportProgress) -> None:
        self._attempt = attempt
        self._target = target
        self._progress = progress
        self._early = bytearray()
        """What it printed before it talked."""
        self._checkpoint = attempt.stored_checkpoint()
        self._checkpoint_folder = self._checkpoint.shared if self._checkpoint is not None else attempt.checkpoint_here
        self._staged = StagedInputs(attempt.workshop.artifacts, attempt.box.folder / "blobs", attempt.order.inputs.values())

    async def run(self) -> dict[str, Any]:
        """The plain data of a `Completed`.

        :raises AttemptFailed: it could not begin, or its outputs can't be stored.
        :raises ArtifactLost: an input is gone.
        """
        workshop, config = self._attempt.workshop, await self._config()
        with listening(self._attempt.box.talk / "socket") as listener:
            async with started(self._attempt.engine, config, self._hear_early, workshop.provision.grace_seconds) as container:
                guest = await self._guest(listener, container)
                ending = await self._converse(guest, container)
                # It has told its outcome, so it is about to end.
                await asyncio.wait([container.ended], timeout=workshop.provision.grace_seconds)
                await container.stop(0)
                end = container.ended.result()
        return await self._told(ending, end)

    async def _config(self) -> dict[str, Any]:
        attempt, box = self._attempt, self._attempt.box
        mounts = [*box.mounts, Mount(box.talk, TALK), *await self._staged.mounts()]
        mounts.append(Mount(await asyncio.to_thread(software_folder, attempt.workshop.state), SOFTWARE))
        if attempt.snapshot is not None:
            mounts.append(Mount(attempt.snapshot, SNAPSHOT))
        self._checkpoint_folder.mkdir(parents=True, exist_ok=True)
        _give(self._checkpoint_folder, attempt.workshop.limits.user)
        mounts.append(Mount(self._checkpoint_folder, CHECKPOINT, writable=True))
        await asyncio.to_thread(box.hand_over)
        # Secrets come over the socket: the engine shows the variables of a container to whoever may ask it.
        return container_config(attempt.program(program(PYTHON), WORK, {}, mounts), attempt.step.resources, attempt.workshop.limits)

    def _hear_early(self, data: bytes) -> None:
        self._early += data[: _EARLY_BYTES - len(self._early)]

    async def _guest(self, listener: socket.socket, container: Container) -> Guest:
        """The guest, once it has called.

        :raises AttemptFailed: it ended without, or never does.
        """
        calling = asyncio.get_running_loop().create_task(_connections(listener))
        try:
            await asyncio.wait([calling, container.ended], timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not calling.done():
                raise AttemptFailed(self._not_begun(container.ended.result() if container.ended.done() else None))
            stream, output = calling.result()
        finally:
            calling.cancel()
        guest = Guest(_NO_PROCESS, stream, output.detach(), lambda number: container.send(signal.Signals(number)))
        container.ended.add_done_callback(lambda ended: _has_ended(guest, ended))
        return guest

    def _not_begun(self, end: End | None) -> dict[str, str]:
        said = self._early.decode(errors="replace").strip()
        if end is None:
            return failure(FailureKind.ENVIRONMENT, f"Penstock did not begin in the image within {_START_SECONDS:g} s", traceback_text=said)
        if end.out_of_memory:
            return out_of_memory(self._attempt.step.resources.memory_bytes)
        if (missing := not_there("python3", end, said)) is not None:
            return {**missing, "hint": f"a function step needs Python {PYTHON} in its image; a CommandStep needs nothing"}
        if end.status == WRONG_PYTHON:
            return failure(FailureKind.ENVIRONMENT, said, hint=f"use an image with Python {PYTHON}, or a runner with the image's")
        message = f"Penstock can't be started in the image (exit status {end.status})"
        return failure(FailureKind.ENVIRONMENT, message, traceback_text=said, hint="what Python said is above; is it an image with glibc?")

    async def _converse(self, guest: Guest, container: Container) -> Ending:
        attempt = self._attempt
        limits = Limits(
            timeout_seconds=attempt.step.timeout_seconds,
            import_seconds=_IMPORT_SECONDS,
            grace_seconds=attempt.workshop.provision.grace_seconds,
        )

        def tell(done: float, total: float | None, text: str) -> None:
            self._progress(done, total, masked(text, attempt.secrets))

        with contextlib.suppress(ConnectionError):
            await guest.send(["secrets", dict(attempt.secret_variables)])
        conversation = Conversation(guest, self._staged, attempt.log, limits, tell, self._checkpoint)
        return await conversation.hold(self._told_to_guest())

    def _told_to_guest(self) -> dict[str, Any]:
        return {
            **guest_order(self._attempt.order, self._attempt.step),
            "snapshot": str(SNAPSHOT) if self._attempt.snapshot is not None else "",
            "workdir": str(WORK),
            "staging": str(STAGING),
            "checkpoint": str(CHECKPOINT if self._checkpoint is not None else CHECKPOINT / "saved"),
            "checkpoint_is_stored": self._checkpoint is not None,
        }

    async def _told(self, ending: Ending, end: End) -> dict[str, Any]:
        if ending.stopped == "timeout":
            return failed(overdue(self._attempt.step.timeout_seconds))
        if ending.outcome is not None:
            return await self._taken(ending.outcome)
        if end.out_of_memory:
            return failed(out_of_memory(self._attempt.step.resources.memory_bytes))
        return failed(from_status(_wait_status(end)))

    async def _taken(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """Stores what the guest made. Whatever it says is checked: it is the user's, in an image of anybody's."""
        await asyncio.to_thread(self._attempt.box.take_back)
        known = self._staged.digests
        for path, digest in outcome.pop("files", ()):
            await self._take(str(path), str(digest))
            known.add(str(digest))
        try:
            values = _VALUES.validate_python({**outcome.get("outputs", {}), **outcome.get("attachments", {})})
        except ValidationError as error:
            reason = f"the guest told something that is no output: {error.errors()[0]['msg']}"
            raise AttemptFailed(failure(FailureKind.OUTPUT, reason)) from error
        for name, value in values.items():
            await self._check(name, value, known)
        if outcome.get("outcome") == AttemptState.SUCCEEDED.value:
            await self._forget_checkpoint()
        return outcome

    async def _forget_checkpoint(self) -> None:
        """Whoever asks for the step to be executed again wants all of it."""
        if self._checkpoint is not None:
            await self._checkpoint.forget()
        else:
            await asyncio.to_thread(shutil.rmtree, self._checkpoint_folder, ignore_errors=True)

    async def _take(self, path: str, digest: str) -> None:
        place = self._attempt.box.outside(path)
        try:
            if await asyncio.to_thread(file_digest, place) != digest:
                raise AttemptFailed(failure(FailureKind.OUTPUT, f"{Path(path).name} is not what the guest said it is"))
            await keep(self._attempt.workshop.artifacts, place, digest)
        except (OSError, StoreUnavailable) as error:
            raise AttemptFailed(failure(FailureKind.OUTPUT, f"an output can't be stored: {error}")) from error

    async def _check(self, name: str, value: Value, known: set[str]) -> None:
        """An output names nothing but what this attempt made or was given: no other artifact becomes readable by naming it."""
        waiting = [ref for ref in refs_in(value) if not ref.is_inline]
        while waiting:
            ref = waiting.pop()
            if ref.digest not in known:
                told = f"the output {name!r} names {ref.digest}, which this attempt neither made nor was given"
                raise AttemptFailed(failure(FailureKind.OUTPUT, told))
            if ref.kind != "blob":
                manifest = await asyncio.to_thread((await self._attempt.workshop.artifacts.local(ref.digest)).read_bytes)
                try:
                    waiting += [part for part in parts(ref.kind, manifest, ref.digest) if not part.is_inline]
                except ArtifactLost as error:
                    raise AttemptFailed(failure(FailureKind.OUTPUT, f"the output {name!r}: {error}")) from error


@contextmanager
def listening(path: Path) -> Generator[socket.socket]:
    """A socket at `path`, however long that is, which every user of the container may call."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o666)
        listener.listen(2)
        listener.setblocking(False)
        yield listener
    finally:
        os.close(folder)
        listener.close()


async def _connections(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    loop = asyncio.get_running_loop()
    stream, _ = await loop.sock_accept(listener)
    try:
        output, _ = await loop.sock_accept(listener)
    except BaseException:
        stream.close()
        raise
    return stream, output


def _has_ended(guest: Guest, ended: "asyncio.Task[End]") -> None:
    if guest.exited.done():
        return
    is_known = not ended.cancelled() and ended.exception() is None
    guest.exited.set_result(Exit(_wait_status(ended.result()) if is_known else None))


def _wait_status(end: End) -> int:
    return end.signal if end.signal is not None else end.status << 8


def _give(folder: Path, user: str) -> None:
    if os.geteuid() == 0:
        owner, group = map(int, user.split(":"))
        os.chown(folder, owner, group)
