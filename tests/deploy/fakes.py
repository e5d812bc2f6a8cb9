"""An engine that keeps what it is given and answers what it was told to: for the command line's own behaviour."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.contracts.artifacts import DIRECTORY, JSON, ArtifactRef, ListValue, Value, inline
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import SubmitRun
from penstock.contracts.spec import decode_spec, spec_digest
from penstock.contracts.states import RunState, StepState
from penstock.contracts.views import CacheStats, Collected, Health, RunView, StepCount, StepRunView, Why

SECOND = 1_000_000


@dataclass
class FakeEngine:
    """`scripted` step runs are how a submitted run ends; every other step succeeds in its first attempt."""

    home: Path
    scripted: dict[str, list[StepRunView]] = field(default_factory=dict[str, list[StepRunView]])
    outputs: dict[str, Value] = field(default_factory=dict[str, Value])
    reasons: dict[str, Why] = field(default_factory=dict[str, Why])
    submitted: list[SubmitRun] = field(default_factory=list[SubmitRun])
    ended: list[RunView] = field(default_factory=list[RunView])
    cancelled: list[str] = field(default_factory=list[str])
    specs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    is_closed: bool = False

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        digest = digest_bytes(data)
        place = self._place(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        if path.is_file():
            return self.put_bytes(path.read_bytes(), media_type="application/octet-stream", suffix=path.suffix)
        digest = digest_bytes("".join(sorted(str(file) for file in path.rglob("*"))).encode())
        shutil.copytree(path, self._place(digest), dirs_exist_ok=True)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=0, kind="directory", media_type=DIRECTORY)

    def put_snapshot(self, files: dict[str, Path]) -> ArtifactRef:
        ref = self.put_bytes("".join(sorted(files)).encode(), media_type=DIRECTORY)
        return ref.model_copy(update={"kind": "directory"})

    def local(self, ref: ArtifactRef) -> Path:
        return self._place(ref.digest)

    def submit(self, request: SubmitRun) -> RunView:
        self.submitted.append(request)
        self.specs[request.run_id] = request.spec
        spec = decode_spec(request.spec)
        number = len(self.submitted)
        view = RunView(
            run_id=request.run_id,
            number=number,
            name=request.name or f"{spec.name}-{number}",
            pipeline=spec.name,
            spec_digest=spec_digest(spec),
            state=RunState.RUNNING,
            created_at=0,
            tags=request.tags,
            parameters=request.parameters,
            steps=tuple(StepCount(name=step.name, pool=step.pool, total=1) for step in spec.steps),
        )
        self.ended.append(view)
        return view

    def run(self, run: str) -> RunView:
        found = self.ended[-1:] if run == "last" else [view for view in self.ended if run in (view.run_id, view.name, str(view.number))]
        if not found:
            raise InvalidInput(f"there is no run {run!r}")
        return found[0]

    def runs(self, *, pipeline: str | None = None, limit: int = 20) -> list[RunView]:
        views = [view for view in reversed(self.ended) if pipeline in (None, view.pipeline)]
        return views[:limit]

    def step_runs(self, run: str, step: str | None = None, *, limit: int = 1000) -> list[StepRunView]:
        names = [count.name for count in self.run(run).steps]
        return [found for name in names if step in (None, name) for found in self._step_runs(name)][:limit]

    def follow(self, run: str) -> Iterator[RunView]:
        view = self.run(run)
        steps = tuple(self._counted(count) for count in view.steps)
        states = {state for count in steps for state in count.states}
        state = RunState.FAILED if StepState.FAILED in states else RunState.SUCCEEDED
        state = RunState.CANCELLED if run in self.cancelled else state
        yield view
        ended = view.model_copy(
            update={"state": state, "steps": steps, "ended_at": 4 * SECOND, "outputs": self.outputs if state is RunState.SUCCEEDED else {}}
        )
        self.ended[self.ended.index(view)] = ended
        yield ended

    def cancel(self, run: str, reason: str = "") -> None:
        self.cancelled.append(self.run(run).run_id)

    def resume(self, run: str) -> RunView:
        return self.run(run)

    def why(self, run: str, step: str, index: tuple[int, ...] = ()) -> Why:
        state = self._step_runs(step)[0].state
        return self.reasons.get(step, Why(step=step, index=index, state=state, verdict="executed: first time"))

    def value_items(self, value: Value) -> list[Value]:
        if isinstance(value, ListValue):
            return list(value.list)
        if isinstance(value, ArtifactRef) and value.media_type == JSON and value.is_inline and isinstance(value.json_value(), list):
            return [inline(item) for item in value.json_value()]
        raise InvalidInput("not a list")

    def close(self) -> None:
        self.is_closed = True

    def spec(self, run: str) -> bytes:
        return self.specs[self.run(run).run_id]

    def cache_stats(self) -> CacheStats:
        return CacheStats(entries=3, hits=7, hit_seconds=75.0, artifacts=4, artifact_bytes=2048, entries_by_step={"p.train": 3})

    def cache_clear(self, *, pipeline: str | None = None, step: str | None = None) -> int:
        return 3 if step is None else 1

    def remove_run(self, run: str) -> None:
        self.ended.remove(self.run(run))

    def collect_garbage(self, *, older_than_seconds: float = 0.0, dry_run: bool = False) -> Collected:
        return Collected(artifacts=2, freed_bytes=4096)

    def health(self) -> Health:
        return Health(engine="fake", schema_found="1", schema_expected="1")

    def _step_runs(self, step: str) -> list[StepRunView]:
        return self.scripted.get(step, [StepRunView(step=step, state=StepState.SUCCEEDED)])

    def _counted(self, count: StepCount) -> StepCount:
        step_runs = self._step_runs(count.name)
        states = {found.state: sum(1 for other in step_runs if other.state is found.state) for found in step_runs}
        ages = [found.hit_age_seconds or 0.0 for found in step_runs if found.hit]
        executed = sum(1 for found in step_runs if not found.hit and found.state in (StepState.SUCCEEDED, StepState.FAILED))
        return count.model_copy(
            update={
                "total": len(step_runs),
                "states": states,
                "hits": len(ages),
                "oldest_hit_seconds": max(ages, default=None),
                "attempts": executed,
                "started_at": 0,
                "ended_at": 2 * SECOND,
            }
        )

    def _place(self, digest: str) -> Path:
        return self.home / "fake" / hashlib.sha256(digest.encode()).hexdigest()[:16]
