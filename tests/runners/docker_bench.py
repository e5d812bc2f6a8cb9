"""A launcher of containers on the private engine, and steps for it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.messages import Completed
from penstock.contracts.spec import CommandArgument, CommandTarget, FunctionTarget, Identity, OutputSpec, SoftwareSpec, StepSpec
from penstock.contracts.states import AttemptState
from penstock.runners.docker.owner import Owner
from penstock.runners.docker.sandbox import Limits
from penstock.runners.launchers.docker import DockerLauncher
from penstock.runners.provision import Provision
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from tests.runners.workbench import PROVIDED, Workbench, an_order, unheard
from tests.servers.docker import IMAGE, DockerEngine

RESULT = OutputSpec()
_IDENTITY = Identity(digest="sha256:0")


def written_to(name: str) -> CommandArgument:
    return CommandArgument(output=name)


def read_from(name: str) -> CommandArgument:
    return CommandArgument(input=name)


@dataclass
class DockerBench:
    bench: Workbench
    engine: DockerEngine
    launcher: DockerLauncher

    @property
    def artifacts(self) -> FolderArtifactStore:
        return self.bench.artifacts

    def command(self, *command: str | CommandArgument, outputs: tuple[OutputSpec, ...] = (), **settings: Any) -> StepSpec:
        arguments = tuple(CommandArgument(text=part) if isinstance(part, str) else part for part in command)
        return self._step("command", CommandTarget(command=arguments, workdir=settings.pop("workdir", None)), outputs, settings)

    def function(self, outputs: tuple[OutputSpec, ...] = (RESULT,), **settings: Any) -> StepSpec:
        return self._step("main", FunctionTarget(module="flow", function="main"), outputs, settings)

    def _step(
        self, name: str, target: FunctionTarget | CommandTarget, outputs: tuple[OutputSpec, ...], settings: dict[str, Any]
    ) -> StepSpec:
        software = SoftwareSpec(image=settings.pop("image", IMAGE), network=settings.pop("network", "none"))
        return StepSpec(
            name=name, run=target, outputs=outputs, code=_IDENTITY, environment=_IDENTITY, software=software, isolation="docker", **settings
        )

    async def shell(self, script: str, **settings: Any) -> Completed:
        """`script` by a shell in the image."""
        return await self.execute(self.command("sh", "-c", script, **settings))

    async def call(self, code: str, inputs: dict[str, Any] | None = None, **settings: Any) -> Completed:
        """The function `main` of a module made of `code`."""
        return await self.execute(self.function(**settings), await self.bench.snapshot(code), inputs=inputs or {})

    async def execute(self, step: StepSpec, snapshot: ArtifactRef | None = None, **order: Any) -> Completed:
        return await self.launcher.execute(an_order(step, snapshot, **order), step, unheard)

    async def said(self, completed: Completed) -> str:
        """Its log, without what the runner wrote about the image."""
        log = await self.bench.log(completed)
        assert completed.outcome == AttemptState.SUCCEEDED, f"{completed.failure}\n{log}"
        return "".join(line for line in log.splitlines(keepends=True) if not line.startswith(f"image {IMAGE} is"))

    def containers(self) -> list[str]:
        """The ids of all that are on the engine."""
        return self.engine.docker("ps", "--all", "--quiet").stdout.split()


@asynccontextmanager
async def docker_bench(engine: DockerEngine, folder: Path, **settings: Any) -> AsyncGenerator[DockerBench]:
    bench = Workbench(folder, FolderArtifactStore(folder / "store"))
    owner = Owner(runner=settings.pop("runner", f"runner-{folder.name}"), incarnation=settings.pop("incarnation", "first"))
    provided: dict[str, Any] = {"grace_seconds": 1.0} | {name: settings.pop(name) for name in PROVIDED & settings.keys()}
    launcher = DockerLauncher(bench.artifacts, folder / "state", owner, Provision(**provided), url=engine.url, limits=Limits(**settings))
    try:
        yield DockerBench(bench, engine, launcher)
    finally:
        await launcher.close()
