"""The embedded engine as the SDK and the command line see it."""

import asyncio
import atexit
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import Connection

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryManifest, Value, manifest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.fleet_views import PoolView, RunnerView, StatusView
from penstock.contracts.messages import SubmitRun
from penstock.contracts.names import DEFAULT_WORKSPACE
from penstock.contracts.spec import encode_spec
from penstock.contracts.states import RunState, StepState
from penstock.contracts.views import CacheStats, Collected, Health, RunView, StepRunView, Why
from penstock.deploy.embedded.approvals import LocalApprovals
from penstock.deploy.embedded.collection import delete, find_garbage, summary
from penstock.deploy.embedded.complaints import log_to_stderr
from penstock.deploy.embedded.engine import LOCAL_POOL, EmbeddedEngine, now
from penstock.deploy.embedded.incarnation import incarnations, is_alive
from penstock.deploy.embedded.local_pools import local_pools, local_views
from penstock.deploy.embedded.shelf import NOT_SHARED, SharedArtifacts, shared_artifacts
from penstock.deploy.snapshot_root import root_of
from penstock.engine.core.plan import plan_of
from penstock.engine.core.wants import Stop
from penstock.engine.demand import live_run_counts, pool_views
from penstock.engine.housekeeping import (
    cache_clear,
    cache_stats,
    checked_terminal,
    drop_old_entries,
    forget_artifacts,
    live_runs,
    remove_run,
    roots,
)
from penstock.engine.migration import NEWEST, version_of
from penstock.engine.pools import check_pools
from penstock.engine.queries import find_run, newest_runs, plan_of_run, run_view, step_run_views
from penstock.engine.runs import ask_to_cancel, own
from penstock.engine.why import why
from penstock.runners.log_file import log_path
from penstock.sdk.values.lists import list_items
from penstock.transport.directories import file_digest, materialise_file, materialise_shared, scan_directory

if TYPE_CHECKING:
    from penstock.contracts.publishing import PublishComponentRequest, PublishedVersion, PublishRequest, VersionView
    from penstock.deploy.areas.publishing import Publishing
    from penstock.deploy.remote.connection import Connection as ApiConnection

T = TypeVar("T")

_LOOK_SECONDS = 0.2
"""Between two looks at a run that somebody follows."""
_OWNER = 17
"""Where the row of a run has its owner."""


class EmbeddedClient:
    """`EngineClient` on an engine in this process. Runs of other processes that share the state folder are read from its rows."""

    def __init__(self, home: Path, slots: int | None = None, shared: SharedArtifacts = NOT_SHARED) -> None:
        self._engine = EmbeddedEngine(home, slots, shared)
        self._workspace = DEFAULT_WORKSPACE
        self._is_closed = False
        atexit.register(self.close)

    @property
    def home(self) -> Path:
        return self._engine.home

    @cached_property
    def connection(self) -> "ApiConnection":
        """To the API of this engine: what can be asked of services can be asked of a laptop.

        :raises InvalidInput: what that takes is not installed.
        """
        try:
            from penstock.deploy.embedded.local_api import local_connection  # noqa: PLC0415 -- a run needs no API
        except ModuleNotFoundError as error:
            raise InvalidInput(
                f"this needs more than is installed here ({error.name} is missing): pip install 'penstock[services]'"
            ) from error
        return local_connection(self._engine)

    @property
    def approvals(self) -> LocalApprovals:
        """What its runs ask people."""
        return LocalApprovals(self._engine, self._workspace)

    # Artifacts

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        digest = self._engine.shelf.write(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        if path.is_dir():
            manifest, sources = scan_directory(path)
            return self._put_directory(manifest, sources)
        if not path.is_file():
            raise InvalidInput(f"{path} is not a file or a folder" if path.exists() else f"there is no file or folder {path}")
        digest = file_digest(path)
        self._put_file(path, digest)
        return ArtifactRef(
            uri=f"cas:{digest}", digest=digest, size=path.stat().st_size, media_type="application/octet-stream", suffix=path.suffix
        )

    def holds(self, ref: ArtifactRef) -> bool:
        if self._engine.shelf.lost([ref.digest]):
            return False
        if ref.kind != "directory":
            return True
        manifest = DirectoryManifest.model_validate_json(self._engine.shelf.local(ref.digest).read_bytes())
        return not self._engine.shelf.lost([entry.digest for entry in manifest.files])

    def put_snapshot(self, files: dict[str, Path]) -> ArtifactRef:
        entries = [{"path": name, "digest": file_digest(path), "size": path.stat().st_size} for name, path in sorted(files.items())]
        manifest = DirectoryManifest.model_validate({"files": entries})
        ref = self._put_directory(manifest, {entry.digest: files[entry.path] for entry in manifest.files})
        root = root_of(files)
        if root is not None:
            self._engine.projects[ref.digest] = root
        return ref

    def _put_directory(self, manifest: DirectoryManifest, sources: dict[str, Path]) -> ArtifactRef:
        for entry in manifest.files:
            self._put_file(sources[entry.digest], entry.digest)
        data = manifest_bytes(manifest)
        digest = self._engine.shelf.write(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), kind="directory", media_type=DIRECTORY)

    def _put_file(self, path: Path, digest: str) -> None:
        shelf = self._engine.shelf
        if not shelf.lost([digest]):
            return
        staged = shelf.staging / f"put-{now()}-{digest[-16:]}"
        materialise_file(path, staged)
        shelf.take(staged, digest)

    def local(self, ref: ArtifactRef) -> Path:
        shelf = self._engine.shelf
        if ref.is_inline:
            return shelf.local(shelf.write(ref.inline_bytes()))
        path = shelf.local(ref.digest)
        if ref.kind != "directory":
            return path
        target = self.home / "directories" / ref.digest.rsplit(":", 1)[-1]
        if not target.exists():
            manifest = DirectoryManifest.model_validate_json(path.read_bytes())
            materialise_shared(manifest, shelf.local, target)
        return target

    def value_items(self, value: Value) -> list[Value]:
        return list_items(value, self.local)

    # Runs

    def submit(self, request: SubmitRun) -> RunView:
        if pools := local_pools(self.home):
            check_pools(pools, plan_of(request.spec).spec, {"pools": request.options.pools})
        self._engine.submit(request)
        return self.run(request.run_id)

    def run(self, run: str) -> RunView:
        return self._read(lambda connection: self._view(connection, find_run(connection, self._workspace, run)))

    def _view(self, connection: Connection, row: tuple[Any, ...]) -> RunView:
        view = run_view(connection, row, now())
        is_owned = view.state.is_terminal or (row[_OWNER] is not None and is_alive(self.home, row[_OWNER]))
        progress = self._progress(connection, row) if self._engine.runner is not None and not view.state.is_terminal else {}
        steps = tuple(count.model_copy(update={"progress": progress.get(count.name)}) for count in view.steps) if progress else view.steps
        return view.model_copy(update={"is_owned_by_live_process": is_owned, "steps": steps})

    def _progress(self, connection: Connection, row: tuple[Any, ...]) -> dict[str, tuple[float, float | None, str]]:
        """What the steps of a run of this process say, by step: the sum over its step runs, and the newest text."""
        assert self._engine.runner is not None  # noqa: S101 - asked for where there is one only
        nodes = plan_of_run(connection, row).nodes
        found: dict[str, tuple[float, float | None, str]] = {}
        for told in self._engine.runner.progress:
            if told.attempt.run_no == row[0]:
                done, total, _ = found.get(nodes[told.attempt.step_no].name, (0.0, 0.0, ""))
                both = None if total is None or told.total is None else total + told.total
                found[nodes[told.attempt.step_no].name] = (done + told.done, both, told.text)
        return found

    def runs(self, *, pipeline: str | None = None, limit: int = 20) -> list[RunView]:
        return self._read(lambda connection: newest_runs(connection, self._workspace, pipeline, limit, now()))

    def step_runs(self, run: str, step: str | None = None, *, limit: int = 1000) -> list[StepRunView]:
        def function(connection: Connection) -> list[StepRunView]:
            row = find_run(connection, self._workspace, run)
            views = step_run_views(connection, row, step, limit, now())
            return [self._with_live_logs(view, row[1]) if view.state is StepState.RUNNING else view for view in views]

        return self._read(function)

    def _with_live_logs(self, view: StepRunView, run_id: str) -> StepRunView:
        paths = [log_path(self.home, run_id, view.step, view.index, attempt.number) for attempt in view.attempts]
        attempts = tuple(
            attempt.model_copy(update={"log_path": str(path)}) if attempt.log is None and path.exists() else attempt
            for attempt, path in zip(view.attempts, paths, strict=True)
        )
        return view.model_copy(update={"attempts": attempts})

    def why(self, run: str, step: str, index: tuple[int, ...] = ()) -> Why:
        return self._read(lambda connection: why(connection, self._workspace, run, step, index, now()))

    def follow(self, run: str) -> Iterator[RunView]:
        run_no = self._row(run)[0]
        previous: RunView | None = None
        while True:
            began = time.monotonic()
            view = self.run(str(run_no))
            # Counting the step runs of a large run takes a while: it gets a tenth of the time.
            pause = max(_LOOK_SECONDS, 10 * (time.monotonic() - began))
            if view != previous:
                yield view
            if view.state.is_terminal:
                return
            previous = view
            self._wait(run_no, pause)

    def _wait(self, run_no: int, seconds: float) -> None:
        coordinator = self._engine.coordinator
        if coordinator is not None:
            self._engine.call(coordinator.ended(run_no, seconds))
        else:
            self._engine.call(asyncio.sleep(seconds))

    def cancel(self, run: str, reason: str = "") -> None:
        row = self._row(run)
        if row[10] is not None:
            return
        owner = row[_OWNER]
        if owner is not None and owner != self._own_name() and is_alive(self.home, owner):
            self._engine.call(self._engine.store.transaction(lambda connection: ask_to_cancel(connection, row[0], now())))
            return
        if owner != self._own_name():
            self._take_over(row)
        coordinator = self._engine.serve()
        stop = Stop("cancelled", reason or "it was cancelled", leaves_hooks=row[7] == RunState.FINISHING.value)
        self._engine.call(coordinator.take_in(row[0], stop))

    def resume(self, run: str) -> RunView:
        row = self._row(run)
        if row[10] is not None:
            raise InvalidInput(f"the run {row[3]} has ended ({row[7]}): a new run of it is `penstock rerun {row[3]}`")
        if row[_OWNER] not in (None, self._own_name()) and is_alive(self.home, row[_OWNER]):
            raise InvalidInput(f"the run {row[3]} is driven by process {row[_OWNER].split('-')[0]}, which is alive")
        self._take_over(row)
        return self.run(row[1])

    def _take_over(self, row: tuple[Any, ...]) -> None:
        coordinator = self._engine.serve()
        name = self._own_name()
        if name is None or not self._engine.call(
            self._engine.store.transaction(lambda connection: own(connection, row[0], name, row[_OWNER]))
        ):
            raise InvalidInput(f"another process has just taken the run {row[3]} over")
        self._engine.call(coordinator.take_over(row[0], name))

    # Publishing

    def publish(self, request: "PublishRequest") -> "VersionView":
        return self._published("pipeline").publish(request)

    def publish_component(self, request: "PublishComponentRequest") -> "VersionView":
        return self._published("component").publish_component(request)

    def component(self, reference: str) -> "PublishedVersion":
        return self._published("component").version(reference)

    def _published(self, family: Literal["pipeline", "component"]) -> "Publishing":
        from penstock.deploy.areas.publishing import Publishing  # noqa: PLC0415 -- a run needs none of it

        return Publishing(self.connection, family)

    # Housekeeping

    def spec(self, run: str) -> bytes:
        return self._read(lambda connection: encode_spec(plan_of_run(connection, find_run(connection, self._workspace, run)).spec))

    def cache_stats(self) -> CacheStats:
        return self._read(lambda connection: cache_stats(connection, self._workspace))

    def cache_clear(self, *, pipeline: str | None = None, step: str | None = None) -> int:
        return self._write(lambda connection: cache_clear(connection, self._workspace, pipeline, step))

    def remove_run(self, run: str) -> None:
        row = self._row(run)
        checked_terminal(row[3], row[7], row[10])
        self._write(lambda connection: remove_run(connection, row[0]))
        shutil.rmtree(self.home / "logs" / row[1], ignore_errors=True)

    def collect_garbage(self, *, older_than_seconds: float = 0.0, dry_run: bool = False) -> Collected:
        """Frees what neither a run nor a cache entry uses; cache entries unused for `older_than_seconds` (0: none) go first."""
        folder = self._engine.opened.own_folder
        if folder is None:
            raise InvalidInput("artifacts are kept where others keep theirs too (PENSTOCK_ARTIFACTS_URL): what they use is not known here")
        before = now() - int(older_than_seconds * 1_000_000) if older_than_seconds else 0
        live = [
            name
            for name, owner in self._read(lambda connection: live_runs(connection, self._workspace))
            if owner and is_alive(self.home, owner)
        ]
        if live:
            raise InvalidInput(f"{live[0]} is running: collect when nothing runs, so that nothing is taken from it")

        def collect(connection: Connection) -> Collected:
            # Inside the transaction: whoever wants to submit a run waits until the bytes are gone.
            entries = drop_old_entries(connection, self._workspace, before, dry_run=dry_run)
            garbage = find_garbage(self.home, folder, roots(connection, self._workspace, before), is_quiet=True)
            found = summary(garbage, entries)
            if not dry_run:
                delete(folder, garbage)
                forget_artifacts(connection, list(garbage.blobs))
            return found

        return self._write(collect)

    def health(self) -> Health:
        path = self.home / "penstock.sqlite"
        live = self._read(lambda connection: live_runs(connection, self._workspace))
        processes = [
            process.model_copy(update={"runs": tuple(name for name, owner in live if owner == process.incarnation)})
            for process in incarnations(self.home)
        ]
        return Health(
            engine="embedded",
            schema_found=self._read(version_of) or "none",
            schema_expected=NEWEST,
            database_bytes=path.stat().st_size,
            processes=tuple(processes),
        )

    # Pools

    def pools(self) -> tuple[PoolView, ...]:
        """The local slots, which stand for every pool, and the pools that the project declares."""
        local = PoolView(name=LOCAL_POOL, slots=self._engine.slots, runners=1)
        found = self._read(lambda connection: pool_views(connection, self._workspace, {LOCAL_POOL: [self._engine.slots]}, now()))
        return local_views(self.home, next((view for view in found if view.name == LOCAL_POOL), local))

    def runners(self) -> tuple[RunnerView, ...]:
        """The processes that drive runs of this home."""
        living = [process for process in incarnations(self.home) if process.is_alive]
        return tuple(RunnerView(name=process.incarnation, pools={LOCAL_POOL: self._engine.slots}) for process in living)

    def status(self) -> StatusView:
        runs = self._read(lambda connection: live_run_counts(connection, self._workspace))
        return StatusView(software=version("penstock"), runs=runs, pools=self.pools(), runners=self.runners())

    def _write(self, function: Callable[[Connection], T]) -> T:
        return self._engine.call(self._engine.store.transaction(function))

    def _own_name(self) -> str | None:
        return self._engine.incarnation.name if self._engine.incarnation is not None else None

    def _row(self, run: str) -> tuple[Any, ...]:
        return self._read(lambda connection: find_run(connection, self._workspace, run))

    def _read(self, function: Callable[[Connection], T]) -> T:
        return self._engine.call(self._engine.store.read(function))

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            atexit.unregister(self.close)
            if "connection" in self.__dict__:
                self.connection.close()
            self._engine.close()


def connect(home: Path | str, slots: int | None = None) -> EmbeddedClient:
    """The engine on the state folder `home`; its artifacts are where `PENSTOCK_ARTIFACTS_URL` says, if it says so.

    :raises StateTooNew: a newer Penstock wrote it.
    :raises InvalidInput: a variable can't be used.
    """
    log_to_stderr()
    return EmbeddedClient(Path(home), slots, shared_artifacts(os.environ))
