"""A command in an image that has nothing of Penstock inside: arguments in, an exit status and files out."""

import asyncio
import time
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from penstock.contracts.artifacts import DIRECTORY, JSON, LIST, ArtifactRef, Value
from penstock.contracts.errors import ContractError, StoreUnavailable
from penstock.contracts.spec import CommandTarget, OutputSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.docker.box import Box
from penstock.runners.docker.container import Container, End, started
from penstock.runners.docker.missing_program import not_there
from penstock.runners.docker.places import INPUTS, STAGING, WORK
from penstock.runners.docker.sandbox import Mount, container_config
from penstock.runners.docker.workshop import Attempt
from penstock.runners.failures import AttemptFailed, failed, failure, from_signal, out_of_memory, overdue
from penstock.runners.keeping import keep
from penstock.runners.program import copy_program, filled, input_texts, place_of, written
from penstock.sdk.types import Directory, File
from penstock.sdk.values.codecs import Encoded, encode
from penstock.sdk.values.formats import FILE
from penstock.transport.artifact_store import ArtifactStore

_PYTHON = "python3"
_PLAIN = (JSON, FILE, DIRECTORY, LIST)
_SAID_BYTES = 1024
_VALUE_BYTES = 16 * 1024 * 1024
_TYPES = {"file": File, "directory": Directory}


class ContainerStep:
    def __init__(self, attempt: Attempt, target: CommandTarget) -> None:
        self._attempt = attempt
        self._target = target
        self._said = b""
        """The end of what it printed."""

    async def run(self) -> dict[str, Any]:
        """The plain data of a `Completed`.

        :raises AttemptFailed: it did not end well, or not with its outputs.
        :raises ArtifactLost: an input is gone.
        """
        attempt = self._attempt
        mounts = await self._input_mounts()
        arguments = await asyncio.to_thread(self._prepared, asyncio.get_running_loop())
        program = attempt.program(arguments, WORK, attempt.secret_variables, [*attempt.box.mounts, *mounts])
        config = container_config(program, attempt.step.resources, attempt.workshop.limits)
        began = time.monotonic()
        async with started(attempt.engine, config, self._hear, attempt.workshop.provision.grace_seconds) as container:
            end = await self._end(container)
        seconds = time.monotonic() - began
        if (why := self._failure(end)) is not None:
            return {**failed(why), "seconds": seconds}
        return {"outcome": AttemptState.SUCCEEDED.value, "outputs": await self._outputs(), "seconds": seconds}

    def _hear(self, data: bytes) -> None:
        self._said = (self._said + data)[-_SAID_BYTES:]
        self._attempt.log.write(data)

    async def _end(self, container: Container) -> End | None:
        """None: it was stopped at its timeout."""
        done, _ = await asyncio.wait([container.ended], timeout=self._attempt.step.timeout_seconds)
        return container.ended.result() if done else None

    def _failure(self, end: End | None) -> dict[str, str] | None:
        step = self._attempt.step
        if end is None:
            return overdue(step.timeout_seconds)
        if end.status == 0:
            return None
        if end.out_of_memory:
            return out_of_memory(step.resources.memory_bytes)
        if end.signal is not None:
            return from_signal(end.signal)
        if (missing := not_there(self._program_name, end, self._said.decode(errors="replace"))) is not None:
            return missing
        message = f"{PurePath(self._program_name).name} ended with exit status {end.status}"
        return failure(FailureKind.ERROR, message, hint="its log says why")

    @property
    def _program_name(self) -> str:
        return self._target.command[0].text or "the program"

    async def _input_mounts(self) -> list[Mount]:
        """Files that are inputs themselves are read where the artifact store has them."""
        mounts: list[Mount] = []
        for name, value in self._attempt.order.inputs.items():
            if (file := _file_name(name, value)) is not None and isinstance(value, ArtifactRef):
                # What it is mounted over must be there: the folder is read-only inside.
                (self._attempt.box.inputs / file).touch()
                mounts.append(Mount(await self._attempt.workshop.artifacts.local(value.digest), INPUTS / file))
        return mounts

    def _prepared(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        """Fills the box, and the command with paths as they are inside of the container."""
        box, target = self._attempt.box, self._target
        if target.workdir is not None:
            copy_program(str(self._attempt.snapshot or ""), _inner(target.workdir, "the folder of the program"), box.work)
        for output in self._attempt.step.outputs:
            _inner(output.path or output.name, f"the path of the output {output.name!r}")
        places = {output.name: place_of(output.model_dump(), box.work) for output in self._attempt.step.outputs}
        local = partial(_local, self._attempt.workshop.artifacts, loop)
        texts = {name: self._texts(name, value, local) for name, value in self._attempt.order.inputs.items()}
        seen = {name: WORK / place.relative_to(box.work) for name, place in places.items()}
        box.hand_over()
        return filled([argument.model_dump() for argument in target.command], texts, seen, _PYTHON)

    def _texts(self, name: str, value: Value, local: "partial[Path]") -> list[str]:
        file = _file_name(name, value)
        if file is not None:
            return [str(INPUTS / file)]
        folder = self._attempt.box.inputs
        try:
            texts = input_texts(name, value, local, folder)
        except ContractError as error:
            raise AttemptFailed(failure(FailureKind.ENVIRONMENT, str(error))) from error
        # Nobody knows the name of the folder, so no other text begins so.
        return [str(INPUTS / Path(text).relative_to(folder)) if text.startswith(f"{folder}/") else text for text in texts]

    async def _outputs(self) -> dict[str, Any]:
        await asyncio.to_thread(self._attempt.box.take_back)
        outputs: dict[str, Any] = {}
        for output in self._attempt.step.outputs:
            encoded = await asyncio.to_thread(encoded_output, self._attempt.box, output)
            for staged in encoded.files:
                await self._take(staged.path, staged.digest, output)
            outputs[output.name] = encoded.value.model_dump(mode="json", exclude_defaults=True)
        return outputs

    async def _take(self, path: Path, digest: str, output: OutputSpec) -> None:
        try:
            await keep(self._attempt.workshop.artifacts, path, digest)
        except (OSError, StoreUnavailable) as error:
            raise AttemptFailed(failure(FailureKind.OUTPUT, f"the output {output.name!r} can't be stored: {error}")) from error


def encoded_output(box: Box, output: OutputSpec) -> Encoded:
    """What the program wrote as an output. Nothing runs in its container any more.

    :raises AttemptFailed: nothing, or something that can't be stored.
    """
    plain = output.model_dump()
    place = box.outside(WORK / (output.path or f"outputs/{output.name}"))
    staging = box.outside(STAGING.parent) / STAGING.name
    staging.mkdir(exist_ok=True)
    try:
        if output.kind == "value" and place.stat().st_size > _VALUE_BYTES:
            limit = _VALUE_BYTES // 1024**2
            raise AttemptFailed(
                failure(FailureKind.OUTPUT, f"the output {output.name!r} is over {limit} MiB for a value", hint="declare a File")
            )
        return encode(written(plain, place), _TYPES.get(output.kind, Any), staging, movable=box.work)
    except (ContractError, OSError, ValueError, RecursionError) as error:
        raise AttemptFailed(failure(FailureKind.OUTPUT, f"the output {output.name!r} can't be stored: {error}")) from error


def _file_name(name: str, value: Value) -> str | None:
    """The name of the file that an input is; None for all that is none."""
    if not isinstance(value, ArtifactRef) or value.kind != "blob" or value.is_inline or (value.media_type == JSON and not value.suffix):
        return None
    return _inner(f"{name}{value.suffix}" if value.name is None else value.name, f"the file of the input {name!r}", parts=1)


def _inner(path: str, what: str, parts: int | None = None) -> str:
    """:raises AttemptFailed: the path leads out of the folder that it is below."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path or (parts is not None and len(pure.parts) != parts):
        told = f"{what} is {path!r}, which is not below the program's own folder"
        raise AttemptFailed(failure(FailureKind.ENVIRONMENT, told, hint="name it by a relative path, without `..`"))
    return path


def _local(artifacts: ArtifactStore, loop: asyncio.AbstractEventLoop, ref: ArtifactRef) -> Path:
    """:raises AttemptFailed: it is of a kind that only user code may read."""
    if ref.media_type not in _PLAIN:
        hint = "give the step a file or plain data: a list of other values can't stand among arguments"
        raise AttemptFailed(failure(FailureKind.ENVIRONMENT, f"an input holds {ref.media_type}, which is no argument", hint=hint))
    return asyncio.run_coroutine_threadsafe(artifacts.local(ref.digest), loop).result()
