"""The launcher that runs steps in containers of a Docker engine: commands in any image, functions in images with Python."""

import asyncio
import contextlib
import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from aiodocker import Docker
from typing_extensions import override

from penstock.contracts.errors import ArtifactLost, InfrastructureError, InvalidInput
from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import CommandTarget, FunctionTarget, SecretRef, StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.completion import completion
from penstock.runners.docker.box import Box
from penstock.runners.docker.container import clear_containers, reached
from penstock.runners.docker.container_step import ContainerStep
from penstock.runners.docker.function_step import FunctionStep
from penstock.runners.docker.images import Image, Images
from penstock.runners.docker.owner import Owner
from penstock.runners.docker.sandbox import Limits
from penstock.runners.docker.workshop import Attempt, Workshop
from penstock.runners.failures import AttemptFailed, failed, failure
from penstock.runners.launcher import Launcher, ReportProgress
from penstock.runners.log_file import LogFile, log_path
from penstock.runners.masking import spellings
from penstock.runners.provision import PLAIN, Provision
from penstock.runners.snapshots import Snapshots
from penstock.runners.step_variables import step_variables
from penstock.transport.artifact_store import ArtifactStore

_log = structlog.get_logger(__name__)
_NEEDED = {"memory": "MemoryLimit", "processes": "PidsLimit", "processors": "CpuCfsQuota"}
"""What is limited, and how the engine says that it can."""


class DockerLauncher(Launcher):
    """`url` is the engine's (`unix:///var/run/docker.sock`), else it is found as `docker` finds it. `state` and the artifact store's
    folders must have the same paths for the engine as for the runner.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        state: Path,
        owner: Owner,
        provision: Provision = PLAIN,
        *,
        url: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._artifacts = artifacts
        self._state = state.absolute()
        self._owner = owner
        self._provision = provision
        self._url = url
        self._limits = limits or Limits()
        self._snapshots = Snapshots(self._state / "snapshots", artifacts)
        self._opening = asyncio.Lock()
        self._opened: Workshop | None = None
        self._numbers = itertools.count(1)

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        workshop = await self._workshop()
        try:
            variables, secrets = step_variables(step, self._provision.resolve_secret)
        except InvalidInput as error:
            told = Failure(kind=FailureKind.ENVIRONMENT, message=str(error))
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=told)
        shown = spellings(secrets)
        log = self._new_log(order, step, shown)
        box = await asyncio.to_thread(Box, self._boxes / f"{self._owner.incarnation}-{next(self._numbers)}", self._limits.user)
        feed = self._provision.feed
        followed = feed.showing(order, step.name, lambda: log) if feed is not None else contextlib.nullcontext()
        try:
            async with followed:
                plain = await self._ended(workshop, order, step, progress, log, box, variables, shown)
                log.close()
                return await completion(order, plain, log, shown, self._artifacts, box.folder)
        finally:
            log.close()
            await asyncio.shield(asyncio.to_thread(box.remove))

    async def clear_leftovers(self) -> int:
        """Removes the containers and folders of this runner's earlier incarnations; returns how many containers there were.

        :raises InfrastructureError: the engine can't be reached.
        """
        workshop = await self._workshop()
        count = await clear_containers(workshop.engine, self._owner)
        await asyncio.to_thread(self._clear_boxes)
        return count

    @override
    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.engine.close()
        with contextlib.suppress(OSError):
            self._boxes.rmdir()

    async def _ended(  # noqa: PLR0913  # all that an attempt is made of
        self,
        workshop: Workshop,
        order: Order,
        step: StepSpec,
        progress: ReportProgress,
        log: LogFile,
        box: Box,
        variables: dict[str, str],
        secrets: list[str],
    ) -> dict[str, Any]:
        """The plain data of a `Completed`."""
        engine = Docker(url=self._url, api_version=workshop.engine.api_version)
        hidden = {name for name, value in step.env_vars.items() if isinstance(value, SecretRef)}
        try:
            attempt = Attempt(
                workshop=workshop,
                engine=engine,
                order=order,
                step=step,
                image=await self._image(workshop, step, log),
                box=box,
                log=log,
                snapshot=await self._snapshots.folder(order.snapshot) if order.snapshot is not None else None,
                variables={name: value for name, value in variables.items() if name not in hidden},
                secret_variables={name: value for name, value in variables.items() if name in hidden},
                secrets=secrets,
            )
            if isinstance(step.run, CommandTarget):
                return await ContainerStep(attempt, step.run).run()
            assert isinstance(step.run, FunctionTarget)  # noqa: S101 - nothing else is dispatched
            return await FunctionStep(attempt, step.run, progress).run()
        except AttemptFailed as error:
            return failed(error.plain)
        except ArtifactLost as error:
            return {"outcome": AttemptState.INPUT_LOST.value, "lost_digest": error.digest}
        finally:
            await engine.close()

    async def _image(self, workshop: Workshop, step: StepSpec, log: LogFile) -> Image:
        name = step.software.image if step.software is not None else None
        if not name:
            hint = 'name one: environment=Environment.from_image("python:3.12-slim")'
            raise AttemptFailed(failure(FailureKind.ENVIRONMENT, "a step with the isolation 'docker' needs an image", hint=hint))
        image = await workshop.images.image(name, lambda text: log.write(text.encode()))
        if "@" not in name:
            # A tag can be moved: this is what it was.
            log.write(f"image {name} is {image.digest}\n".encode())
        return image

    async def _workshop(self) -> Workshop:
        async with self._opening:
            if self._opened is None:
                self._opened = await self._open()
        return self._opened

    async def _open(self) -> Workshop:
        try:
            engine = Docker(url=self._url)
        except (ValueError, AssertionError) as error:
            # The library asserts that it has found a socket.
            where = "no Docker engine is found: is one installed and running here? else name it by DOCKER_HOST"
            raise InfrastructureError(where) from error
        try:
            with reached():
                told = dict[str, Any](await engine.system.info())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # no types for plain data
        except BaseException:
            await engine.close()
            raise
        _warn(told)
        return Workshop(
            engine=engine,
            images=Images(engine),
            artifacts=self._artifacts,
            state=self._state,
            limits=replace(self._limits, processors=told["NCPU"]),
            labels=self._owner.labels,
            provision=self._provision,
        )

    def _new_log(self, order: Order, step: StepSpec, secrets: list[str]) -> LogFile:
        path = log_path(self._state, order.run_id, step.name, order.index, order.attempt.attempt_no)
        return LogFile(path, self._provision.log_limit_bytes // 2, [secret.encode() for secret in secrets])

    @property
    def _boxes(self) -> Path:
        """Where the artifact store can take files from without a copy."""
        return self._artifacts.staging / f"docker-{re.sub(r'[^A-Za-z0-9._-]', '-', self._owner.runner)}"

    def _clear_boxes(self) -> None:
        for folder in self._boxes.iterdir() if self._boxes.is_dir() else ():
            if self._owner.has_lost(folder.name.rpartition("-")[0]):
                shutil.rmtree(folder, ignore_errors=True)


def _warn(told: dict[str, Any]) -> None:
    """Says in the runner's own log which limits the engine can't hold."""
    missing = [name for name, key in _NEEDED.items() if not told.get(key)]
    if not any("seccomp" in option for option in told.get("SecurityOptions") or ()):
        missing.append("seccomp")
    if missing:
        _log.warning("docker.lacks", limits=missing, consequence="steps in containers are not held to them")
