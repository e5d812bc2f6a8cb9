"""Orders, snapshots and launchers for the tests of runners."""

import asyncio
import itertools
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryEntry, DirectoryManifest, Value, inline, manifest_bytes
from penstock.contracts.messages import AttemptKey, Completed, Order
from penstock.contracts.spec import FunctionTarget, Identity, OutputSpec, StepSpec
from penstock.contracts.states import AttemptState
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.provision import Provision
from penstock.transport.artifact_stores.folder import FolderArtifactStore

_RESULT = OutputSpec()
_IDENTITY = Identity(digest="sha256:0")
_numbers = itertools.count(1)


def a_step(function: str = "main", *, output: OutputSpec | None = _RESULT, **settings: Any) -> StepSpec:
    return StepSpec(
        name=function,
        run=FunctionTarget(module="flow", function=function),
        outputs=(output,) if output is not None else (),
        code=_IDENTITY,
        environment=_IDENTITY,
        **settings,
    )


def an_order(step: StepSpec | None = None, snapshot: ArtifactRef | None = None, **settings: Any) -> Order:
    number = next(_numbers)
    inputs: dict[str, Value] = {
        name: value if isinstance(value, ArtifactRef) else inline(value) for name, value in settings.pop("inputs", {}).items()
    }
    settings.setdefault("seed", f"seed-{number}")
    return Order(
        workspace="default",
        attempt=AttemptKey(run_no=1, step_no=1, item_no=number, attempt_no=1),
        token=f"token-{number}",
        run_id="run-1",
        run_name="test-1",
        pipeline="test",
        pool="cpu",
        step=(step or a_step()).model_dump_json(exclude_defaults=True).encode(),
        snapshot=snapshot,
        inputs=inputs,
        **settings,
    )


def unheard(done: float, total: float | None, text: str) -> None:
    """For tests that don't look at progress."""


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # what other processes do has no event
            await asyncio.sleep(0.01)


PROVIDED = {found.name for found in fields(Provision)}
"""Settings of a launcher that are of its provision."""


@dataclass
class Workbench:
    """A process launcher in a temporary folder; `run` executes a function of a module `flow` made of `code`."""

    folder: Path
    artifacts: FolderArtifactStore
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    _launcher: ProcessLauncher | None = None

    @property
    def launcher(self) -> ProcessLauncher:
        if self._launcher is None:
            self.settings.setdefault("grace_seconds", 1.0)
            provided = {name: self.settings.pop(name) for name in PROVIDED & self.settings.keys()}
            self._launcher = ProcessLauncher(self.artifacts, self.folder / "state", Provision(**provided), **self.settings)
        return self._launcher

    async def snapshot(self, code: str, **files: str) -> ArtifactRef:
        texts = {"flow.py": textwrap.dedent(code), **files}
        entries = [
            DirectoryEntry(path=path, digest=await self.artifacts.write(text.encode()), size=len(text.encode()))
            for path, text in sorted(texts.items())
        ]
        manifest = manifest_bytes(DirectoryManifest(files=tuple(entries)))
        digest = await self.artifacts.write(manifest)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(manifest), kind="directory", media_type=DIRECTORY)

    async def run(self, code: str, *, inputs: dict[str, Any] | None = None, order: dict[str, Any] | None = None, **step: Any) -> Completed:
        return await self.execute(a_step(**step), await self.snapshot(code), inputs=inputs or {}, **(order or {}))

    async def execute(self, step: StepSpec, snapshot: ArtifactRef | None, **order: Any) -> Completed:
        return await self.launcher.execute(an_order(step, snapshot, **order), step, unheard)

    def step(self, function: str = "main", **settings: Any) -> StepSpec:
        return a_step(function, **settings)

    async def file(self, text: str, suffix: str) -> ArtifactRef:
        digest = await self.artifacts.write(text.encode())
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(text), media_type="application/octet-stream", suffix=suffix)

    async def text(self, ref: object) -> str:
        assert isinstance(ref, ArtifactRef)
        return (await self.artifacts.local(ref.digest)).read_text()

    def value(self, completed: Completed, name: str = "result") -> Any:
        assert completed.outcome == AttemptState.SUCCEEDED, completed.failure
        ref = completed.outputs[name]
        assert isinstance(ref, ArtifactRef)
        return ref.json_value()

    async def log(self, completed: Completed) -> str:
        assert completed.log is not None
        return (await self.artifacts.local(completed.log.digest)).read_text()

    async def close(self) -> None:
        if self._launcher is not None:
            await self._launcher.close()
