"""One attempt in guests of this machine: what the guest is told, which guest it gets, and what its end means."""

import asyncio
import contextlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from penstock.contracts.errors import InfrastructureError, StoreUnavailable
from penstock.contracts.messages import Completed, Order
from penstock.contracts.spec import FunctionTarget, StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.checkpoints import AttemptCheckpoint, checkpoint_name, new_folder
from penstock.runners.completion import completion
from penstock.runners.conversation import Conversation, Ending, Limits
from penstock.runners.devices import Given, variables_of
from penstock.runners.environments.builds import EnvironmentBroken, Recipe
from penstock.runners.environments.shelf import Environments, Installed
from penstock.runners.failures import failed, failure, from_status, out_of_memory, overdue
from penstock.runners.guest_order import guest_order
from penstock.runners.keeping import keep
from penstock.runners.launcher import ReportProgress
from penstock.runners.log_file import LogFile, log_path
from penstock.runners.masking import masked
from penstock.runners.memory_watch import MemoryWatch
from penstock.runners.nursery import Nest, Nursery, Taken
from penstock.runners.provision import Provision
from penstock.runners.workdirs import Workdirs
from penstock.transport.artifact_store import ArtifactStore

_log = structlog.get_logger(__name__)
_IMPORT_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all attempts of a launcher share."""

    artifacts: ArtifactStore
    state: Path
    environments: Environments
    nursery: Nursery
    memory: MemoryWatch
    workdirs: Workdirs
    environment: dict[str, str]
    provision: Provision


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What was found out for an attempt before it began."""

    snapshot: str
    project: str
    variables: dict[str, str]
    secrets: list[str]
    """In all their spellings."""
    recipe: Recipe | None = None
    """The environment that the step declares."""
    devices: Given = None
    """The GPUs that it was given."""


class Execution:
    """One attempt. `name` is no other execution's."""

    def __init__(self, workshop: Workshop, order: Order, step: StepSpec, prepared: Preparation, name: str) -> None:
        self._workshop = workshop
        self._order = order
        self._step = step
        self._prepared = prepared
        # Both where the artifact store can take files from without a copy.
        self._staging = workshop.artifacts.staging / f"outputs-{name}"
        self._workdir = Path()
        self._installed: Installed | None = None
        self._checkpoint = self._new_checkpoint()
        self._log = self._new_log()

    async def run(self, progress: ReportProgress) -> Completed:
        """Executes it, in its environment where it declares one."""
        feed = self._workshop.provision.feed
        shown = feed.showing(self._order, self._step.name, lambda: self._log) if feed is not None else contextlib.nullcontext()
        async with shown:
            return await self._run_in_environment(progress)

    async def _run_in_environment(self, progress: ReportProgress) -> Completed:
        if self._prepared.recipe is None:
            return await self._run(progress)
        try:
            async with self._workshop.environments.lease(self._prepared.recipe, self._log.write) as self._installed:
                return await self._run(progress)
        except EnvironmentBroken as error:
            self._log.close()
            told = failure(FailureKind.ENVIRONMENT, str(error), hint=error.hint)
            return await self._completed({"outcome": AttemptState.FAILED.value, "failure": told})
        finally:
            # A build has written to it already, whatever came after.
            self._log.close()

    async def _run(self, progress: ReportProgress) -> Completed:
        """Under `spawn` once more where a fork got stuck."""
        started = time.monotonic()
        taken = await self._guest(self._step.isolation)
        ending = await self._converse(taken, progress)
        if ending.was_stuck and taken.may_hang and self._step.idempotent:
            await self._clear()
            self._log = self._new_log()
            ending = await self._converse(await self._guest("spawn"), progress)
        try:
            plain = await self._told(ending)
            plain.setdefault("seconds", time.monotonic() - started)
            completed = await self._completed(plain)
            if completed.outcome is AttemptState.SUCCEEDED:
                await self._forget_checkpoint()
            return completed
        finally:
            await self._clear_checkpoint()
            if ending.outcome is None or ending.outcome.get("left", True):
                await self._clear()

    def _new_log(self) -> LogFile:
        path = log_path(self._workshop.state, self._order.run_id, self._step.name, self._order.index, self._order.attempt.attempt_no)
        return LogFile(path, self._workshop.provision.log_limit_bytes // 2, [secret.encode() for secret in self._prepared.secrets])

    def _new_checkpoint(self) -> AttemptCheckpoint | None:
        if self._workshop.provision.checkpoints is None:
            return None
        folder = new_folder(self._workshop.artifacts.staging)
        return AttemptCheckpoint(self._workshop.provision.checkpoints, self._order, self._step, folder / "shared", folder / "own")

    @property
    def _checkpoint_here(self) -> Path:
        """Where a checkpoint is that no other machine can have."""
        return self._workshop.state / "checkpoints" / checkpoint_name(self._order, self._step)

    async def _forget_checkpoint(self) -> None:
        """Whoever asks for the step to be executed again wants all of it."""
        if self._checkpoint is not None:
            await self._checkpoint.forget()
        elif self._checkpoint_here.exists():
            await asyncio.to_thread(shutil.rmtree, self._checkpoint_here, ignore_errors=True)

    @property
    def _nest(self) -> Nest:
        installed = self._installed.variables if self._installed is not None else {}
        # Guests are forked from a process that was told of the same GPUs: what its module asks for when it is imported holds for them.
        variables = self._workshop.environment | installed | self._prepared.variables | variables_of(self._prepared.devices)
        module = self._step.run.module if isinstance(self._step.run, FunctionTarget) else ""
        python = self._installed.python if self._installed is not None else sys.executable
        return Nest(self._prepared.snapshot, module, self._prepared.project, tuple(sorted(variables.items())), python)

    async def _guest(self, isolation: str) -> Taken:
        nursery, nest = self._workshop.nursery, self._nest
        if self._prepared.devices:
            await nursery.clear(self._prepared.devices, nest)
        match isolation:
            case "fork" if nest.module:
                return await nursery.forked(nest)
            case "reuse" if nest.module:
                return await nursery.warm(nest)
            case _:
                return await nursery.spawned(nest)

    async def _converse(self, taken: Taken, progress: ReportProgress) -> Ending:
        limits = Limits(
            timeout_seconds=self._step.timeout_seconds,
            import_seconds=0.0 if taken.is_forked or not self._nest.module else _IMPORT_SECONDS,
            memory_bytes=self._step.resources.memory_bytes,
            grace_seconds=self._workshop.provision.grace_seconds,
        )
        self._workdir = self._workshop.workdirs.take()

        def tell(done: float, total: float | None, text: str) -> None:
            progress(done, total, masked(text, self._prepared.secrets))

        conversation = Conversation(taken.guest, self._workshop.artifacts, self._log, limits, tell, self._checkpoint)
        try:
            with self._workshop.memory.limited(taken.guest.pid, limits.memory_bytes, conversation.exceed_memory):
                ending = await conversation.hold(self._told_to_guest())
        except BaseException:
            await asyncio.shield(self._clear())
            raise
        if ending.is_kept:
            self._workshop.nursery.keep(self._nest, taken.guest)
        elif self._prepared.devices:
            # Until it has ended it may hold memory of a GPU that others are about to be given.
            await taken.guest.exited
        if ending.outcome is not None and not ending.outcome.get("left", True):
            self._recycle(taken, ending)
        return ending

    def _recycle(self, taken: Taken, ending: Ending) -> None:
        """The directory serves again once nobody can write to it any more."""
        workdir = self._workdir
        if ending.is_kept:
            self._workshop.workdirs.give_back(workdir)
        else:
            taken.guest.exited.add_done_callback(lambda _: self._workshop.workdirs.give_back(workdir))

    def _told_to_guest(self) -> dict[str, Any]:
        return {
            **guest_order(self._order, self._step),
            "more": self._step.isolation == "reuse",
            "snapshot": self._prepared.snapshot,
            "workdir": str(self._workdir),
            "staging": str(self._staging),
            "checkpoint": str(self._checkpoint.shared if self._checkpoint is not None else self._checkpoint_here),
            "checkpoint_is_stored": self._checkpoint is not None,
        }

    async def _told(self, ending: Ending) -> dict[str, Any]:
        """The plain data of a `Completed`, from what the guest told or from how it ended."""
        step = self._step
        if ending.stopped == "timeout":
            told = overdue(step.timeout_seconds)
        elif ending.stopped == "memory":
            told = out_of_memory(step.resources.memory_bytes)
        elif ending.outcome is not None:
            return await self._with_files_taken(ending.outcome)
        elif ending.exit is not None and ending.exit.status is not None:
            told = from_status(ending.exit.status)
        elif step.idempotent:
            # No fault of the step's: whoever gave the order has it executed again.
            raise InfrastructureError("the process that its guest was forked from has ended")
        else:
            hint = "it may not run twice, so it is not tried again"
            told = failure(FailureKind.SIGNAL, "the process that it was forked from ended", hint=hint)
        used = {"cpu_seconds": ending.exit.cpu_seconds, "peak_memory_bytes": ending.exit.peak_memory_bytes} if ending.exit else {}
        return {**failed(told), **used}

    async def _with_files_taken(self, outcome: dict[str, Any]) -> dict[str, Any]:
        try:
            for path, digest in outcome.pop("files", ()):
                await keep(self._workshop.artifacts, self._own(Path(path)), digest)
        except (OSError, StoreUnavailable) as error:
            told = failure(FailureKind.OUTPUT, f"an output can't be stored: {error}", error_type=type(error).__name__)
            return {**outcome, **failed(told), "outputs": {}, "attachments": {}}
        return outcome

    def _own(self, path: Path) -> Path:
        """A file that the guest offers, which must be one of its own."""
        if ".." in path.parts or not (path.is_relative_to(self._staging) or path.is_relative_to(self._workdir)):
            raise PermissionError(f"the guest offered {path}, which is not its own")
        return path

    async def _completed(self, plain: dict[str, Any]) -> Completed:
        return await completion(self._order, plain, self._log, self._prepared.secrets, self._workshop.artifacts, self._staging)

    async def _clear(self) -> None:
        for folder in (self._workdir, self._staging):
            await self._workshop.workdirs.remove(folder)
        await self._clear_checkpoint()

    async def _clear_checkpoint(self) -> None:
        if self._checkpoint is not None and self._checkpoint.shared.exists():
            await self._workshop.workdirs.remove(self._checkpoint.shared.parent)
