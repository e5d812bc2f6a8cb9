"""The port between the SDK and an engine. Engines are found by name in the entry-point group `penstock.engines`."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import SubmitRun
from penstock.contracts.views import CacheStats, Collected, Health, RunView, StepRunView, Why

if TYPE_CHECKING:
    from penstock.contracts.publishing import PublishComponentRequest, PublishedVersion, PublishRequest, VersionView


class Artifacts(Protocol):
    """Where values are stored, and looked up."""

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef: ...

    def put_path(self, path: Path) -> ArtifactRef:
        """Stores a file or a directory.

        :raises InvalidInput: it does not exist, or holds links or special files.
        """
        ...

    def local(self, ref: ArtifactRef) -> Path:
        """A read-only file (or, for a directory artifact, folder) of this machine with the artifact's contents, verified.

        :raises ArtifactLost: it is gone or corrupt.
        """
        ...


class EngineClient(Artifacts, Protocol):
    """What can be asked of an engine. Calls block; they may come from any thread.

    A `run` is named by its id, its name (`retrain-42`), its number, or `last`.
    :raises InvalidInput: no such run, step or artifact, with the nearest that exists.
    """

    @property
    def home(self) -> Path:
        """The state folder, or a folder of this machine that stands for a remote engine."""
        ...

    def put_snapshot(self, files: dict[str, Path]) -> ArtifactRef:
        """Stores files as a directory artifact, by path inside it."""
        ...

    def submit(self, request: SubmitRun) -> RunView:
        """Accepts a run: once this returns, the run is durable. The same `run_id` again changes nothing."""
        ...

    def run(self, run: str) -> RunView: ...

    def runs(self, *, pipeline: str | None = None, limit: int = 20) -> list[RunView]:
        """The newest first."""
        ...

    def step_runs(self, run: str, step: str | None = None, *, limit: int = 1000) -> list[StepRunView]:
        """Step runs in order of step and index, with their attempts."""
        ...

    def follow(self, run: str) -> Iterator[RunView]:
        """The run whenever it changed (a few times a second at most), the last one terminal. It keeps an embedded run going."""
        ...

    def cancel(self, run: str, reason: str = "") -> None: ...

    def resume(self, run: str) -> RunView:
        """Goes on with a run whose process died."""
        ...

    def why(self, run: str, step: str, index: tuple[int, ...] = ()) -> Why: ...

    def value_items(self, value: Value) -> list[Value]:
        """The items of a list value, whether it travels as one or is a list artifact."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Housekeeping(Protocol):
    """What an engine that keeps its own state offers beside `EngineClient`. The embedded client has both."""

    def spec(self, run: str) -> bytes:
        """The canonical bytes of the pipeline that the run executes.

        :raises InvalidInput: no such run.
        """
        ...

    def cache_stats(self) -> CacheStats: ...

    def cache_clear(self, *, pipeline: str | None = None, step: str | None = None) -> int:
        """Forgets cache entries (all, or those of a pipeline or step) and says how many. Artifacts stay until collected."""
        ...

    def remove_run(self, run: str) -> None:
        """Forgets a terminal run; its cache entries and artifacts stay until collected.

        :raises InvalidInput: no such run, or it is not terminal.
        """
        ...

    def collect_garbage(self, *, older_than_seconds: float = 0.0, dry_run: bool = False) -> Collected:
        """Frees what neither a run nor a cache entry younger than that uses, and leftovers of dead processes."""
        ...

    def health(self) -> Health: ...


@runtime_checkable
class Publishing(Protocol):
    """What an engine that keeps published pipelines and components offers beside `EngineClient`. Those that we ship do.

    :raises InvalidInput: from each: it can't be published so, or nothing of that name is published.
    """

    def publish(self, request: "PublishRequest") -> "VersionView": ...

    def publish_component(self, request: "PublishComponentRequest") -> "VersionView": ...

    def component(self, reference: str) -> "PublishedVersion":
        """What `name`, `name@version` or `name@alias` stands for."""
        ...


def connect(engine: str = "embedded", **settings: object) -> EngineClient:
    """The client of an engine that is installed under that name.

    :raises InvalidInput: no such engine is installed.
    """
    installed = {point.name: point for point in entry_points(group="penstock.engines")}
    if engine not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise InvalidInput(f"no engine named {engine!r} is installed (installed: {known})")
    client: EngineClient = installed[engine].load()(**settings)
    return client
