"""An engine that executes nothing: it keeps what is stored and submitted, and answers runs as a test tells it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.contracts.artifacts import (
    DIRECTORY,
    ArtifactRef,
    DirectoryEntry,
    DirectoryManifest,
    ListManifest,
    ListValue,
    Value,
    manifest_bytes,
)
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, InvalidInput
from penstock.contracts.messages import SubmitRun
from penstock.contracts.spec import PipelineSpec, decode_spec, spec_digest
from penstock.contracts.states import RunState
from penstock.contracts.views import RunView, StepRunView, Why

Answer = Callable[[PipelineSpec, SubmitRun], tuple[RunView, list[StepRunView]]]


@dataclass
class RecordingEngine:
    """`answer` makes the end of a submitted run."""

    home: Path
    answer: Answer
    requests: list[SubmitRun] = field(default_factory=list[SubmitRun])
    cancelled: list[str] = field(default_factory=list[str])
    step_run_views: list[StepRunView] = field(default_factory=list[StepRunView])
    views: dict[str, RunView] = field(default_factory=dict[str, RunView])

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        digest = digest_bytes(data)
        self._place(digest).write_bytes(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        if path.is_dir():
            return self.put_snapshot({file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()})
        return self.put_bytes(path.read_bytes(), media_type="application/octet-stream", suffix=path.suffix)

    def put_snapshot(self, files: dict[str, Path]) -> ArtifactRef:
        refs = {inside: self.put_bytes(path.read_bytes(), media_type="application/octet-stream") for inside, path in sorted(files.items())}
        entries = tuple(DirectoryEntry(path=inside, digest=ref.digest, size=ref.size) for inside, ref in refs.items())
        ref = self.put_bytes(manifest_bytes(DirectoryManifest(files=entries)), media_type=DIRECTORY)
        return ref.model_copy(update={"kind": "directory"})

    def local(self, ref: ArtifactRef) -> Path:
        place = self._place(ref.digest)
        if not place.exists():
            raise ArtifactLost(f"{ref.digest} is gone", ref.digest)
        return place

    def submit(self, request: SubmitRun) -> RunView:
        self.requests.append(request)
        spec = decode_spec(request.spec)
        ended, self.step_run_views = self.answer(spec, request)
        self.views[request.run_id] = ended
        return ended.model_copy(update={"state": RunState.QUEUED})

    def run(self, run: str) -> RunView:
        return self.views[run]

    def runs(self, *, pipeline: str | None = None, limit: int = 20) -> list[RunView]:
        return list(self.views.values())[:limit]

    def step_runs(self, run: str, step: str | None = None, *, limit: int = 1000) -> list[StepRunView]:
        return [view for view in self.step_run_views if step in (None, view.step)][:limit]

    def follow(self, run: str) -> Iterator[RunView]:
        """A run that does not end by itself is interrupted, until it is cancelled."""
        if not self.views[run].state.is_terminal:
            raise KeyboardInterrupt
        yield self.views[run]

    def cancel(self, run: str, reason: str = "") -> None:
        self.cancelled.append(run)
        if not self.views[run].state.is_terminal:
            self.views[run] = self.views[run].model_copy(update={"state": RunState.CANCELLED})

    def resume(self, run: str) -> RunView:
        return self.views[run]

    def why(self, run: str, step: str, index: tuple[int, ...] = ()) -> Why:
        for view in self.step_run_views:
            if (view.step, view.index) == (step, index):
                return Why(step=step, index=index, state=view.state, verdict="told by a test")
        raise InvalidInput(f"no step run {step}")

    def value_items(self, value: Value) -> list[Value]:
        if isinstance(value, ListValue):
            return list(value.list)
        assert isinstance(value, ArtifactRef)
        return list(ListManifest.model_validate_json(self.local(value).read_bytes()).items)

    def close(self) -> None:
        """Nothing is open."""

    def _place(self, digest: str) -> Path:
        self.home.mkdir(exist_ok=True)
        return self.home / hashlib.sha256(digest.encode()).hexdigest()


def view_of(spec: PipelineSpec, request: SubmitRun, state: RunState, outputs: dict[str, Value]) -> RunView:
    return RunView(
        run_id=request.run_id,
        number=1,
        name=request.name or f"{spec.name}-1",
        pipeline=spec.name,
        spec_digest=spec_digest(spec),
        state=state,
        created_at=0,
        outputs=outputs,
        parameters=request.parameters,
    )
