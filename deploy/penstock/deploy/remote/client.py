"""The engine client over HTTP: services elsewhere, asked through their API."""

import os
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from penstock.contracts.artifacts import ArtifactRef, DirectoryManifest, Value
from penstock.contracts.errors import EngineUnavailable, InvalidInput
from penstock.contracts.fleet_views import AppliedPool, PoolView, RunnerView, StatusView
from penstock.contracts.messages import SubmitRun
from penstock.contracts.pools import PoolSpec, checked_pool_name
from penstock.contracts.publishing import PublishComponentRequest, PublishedVersion, PublishRequest, VersionView
from penstock.contracts.spec import decode_spec
from penstock.contracts.views import CacheStats, Collected, Health, RunView, StepRunView, Why
from penstock.deploy.areas.publishing import Publishing
from penstock.deploy.remote.artifacts import RemoteArtifacts
from penstock.deploy.remote.connection import Connection
from penstock.deploy.remote.git_facts import git_facts
from penstock.deploy.remote.live_log import LiveLogCopies
from penstock.deploy.remote.logins import token_source
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.snapshot_root import root_of
from penstock.sdk.runs.state_home import HOME_NAME, make_state_home
from penstock.sdk.values.lists import list_items
from penstock.transport.directories import file_digest

_WAIT_SECONDS = 20.0
"""So long the services wait for a change before they answer that there is none."""
_OUTAGE_SECONDS = 120.0
"""So long a follower waits for services that are away."""
_views = TypeAdapter(list[RunView])
_step_views = TypeAdapter(list[StepRunView])


class HttpClient:
    """`EngineClient` and `Housekeeping` on services. `home` holds copies of what was fetched, nothing else."""

    def __init__(self, home: Path, connection: Connection) -> None:
        self._home = home
        self._connection = connection
        self._artifacts = RemoteArtifacts(connection, home / "remote")
        self._logs = LiveLogCopies(connection, home / "remote" / "logs")
        self._projects: dict[str, tuple[Path, tuple[str, ...]]] = {}
        """Snapshot digest to the folder it was taken from, and its files."""

    @property
    def home(self) -> Path:
        return self._home

    @property
    def url(self) -> str:
        """Where the services are."""
        return self._connection.url

    @property
    def connection(self) -> Connection:
        """To their API."""
        return self._connection

    # Artifacts

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        self._make_home()
        return self._artifacts.put_bytes(data, media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        self._make_home()
        return self._artifacts.put_path(path)

    def holds(self, ref: ArtifactRef) -> bool:
        return self._artifacts.holds(ref)

    def put_snapshot(self, files: dict[str, Path]) -> ArtifactRef:
        self._make_home()
        entries = [{"path": name, "digest": file_digest(path), "size": path.stat().st_size} for name, path in sorted(files.items())]
        manifest = DirectoryManifest.model_validate({"files": entries})
        ref = self._artifacts.put_directory(manifest, {entry.digest: files[entry.path] for entry in manifest.files})
        root = root_of(files)
        if root is not None:
            self._projects[ref.digest] = (root, tuple(files))
        return ref

    def local(self, ref: ArtifactRef) -> Path:
        self._make_home()
        return self._artifacts.local(ref)

    def value_items(self, value: Value) -> list[Value]:
        return list_items(value, self.local)

    def _make_home(self) -> None:
        make_state_home(self._home)

    # Runs

    def submit(self, request: SubmitRun) -> RunView:
        spec = decode_spec(request.spec)
        tags = {**self._code_tags(spec.snapshot), **request.tags}
        body: dict[str, Any] = request.model_dump(
            mode="json", exclude_defaults=True, exclude={"type", "version", "workspace", "owner", "spec", "tags"}
        )
        body |= {
            "spec": TypeAdapter(dict[str, Any]).validate_json(request.spec),
            "tags": tags,
            "cause": request.cause.model_dump(mode="json"),
        }
        return RunView.model_validate_json(self._connection.ask("POST", "/runs", json=body).content)

    def _code_tags(self, snapshot: ArtifactRef | None) -> dict[str, str]:
        """The commit that the code is from; the diff to it is stored as an artifact."""
        if snapshot is None or snapshot.digest not in self._projects:
            return {}
        facts = git_facts(*self._projects[snapshot.digest])
        if facts is None:
            return {}
        tags = {"git.commit": facts.commit, "git.branch": facts.branch, "git.dirty": "true" if facts.is_dirty else "false"}
        if facts.diff is None:
            return tags | {"git.diff": "too large"}
        return tags | {"git.diff": self.put_bytes(facts.diff, media_type="text/x-diff", suffix=".diff").digest} if facts.diff else tags

    def run(self, run: str) -> RunView:
        return RunView.model_validate_json(self._connection.get(_path(run)).content)

    def runs(self, *, pipeline: str | None = None, limit: int = 20) -> list[RunView]:
        return _views.validate_python(self._connection.get("/runs", pipeline=pipeline, limit=limit).json()["runs"])

    def step_runs(self, run: str, step: str | None = None, *, limit: int = 1000) -> list[StepRunView]:
        answer = self._connection.get(f"{_path(run)}/steps", step=step, limit=min(limit, 1_000_000)).json()
        views = _step_views.validate_python(answer["step_runs"])
        return self._logs.with_copies(_path(run), run, views) if step is not None else views

    def follow(self, run: str) -> Iterator[RunView]:
        path = _path(run)
        version: str | None = None
        while True:
            answer = self._latest(path, version)
            if answer.status_code == HTTPStatus.NOT_MODIFIED:
                continue
            version = answer.headers.get("Penstock-Run-Version")
            view = RunView.model_validate_json(answer.content)
            yield view
            if view.state.is_terminal:
                return
            path = _path(view.run_id)

    def _latest(self, path: str, version: str | None) -> httpx.Response:
        """The run once it is not at `version` any more; services that are started anew meanwhile are waited for."""
        deadline = time.monotonic() + _OUTAGE_SECONDS
        while True:
            try:
                return self._connection.get(path, after=version, wait=_WAIT_SECONDS if version is not None else None)
            except EngineUnavailable:
                if version is None or time.monotonic() > deadline:
                    raise

    def cancel(self, run: str, reason: str = "") -> None:
        # Asked twice, a run would not even wait for its `on_exit` steps.
        self._connection.ask("POST", f"{_path(run)}/cancel", json={"reason": reason}, is_repeatable=False)

    def resume(self, run: str) -> RunView:
        return RunView.model_validate_json(self._connection.ask("POST", f"{_path(run)}/resume").content)

    def why(self, run: str, step: str, index: tuple[int, ...] = ()) -> Why:
        return Why.model_validate_json(self._connection.get(f"{_path(run)}/why", step=step, index=list(index)).content)

    # Publishing

    def publish(self, request: PublishRequest) -> VersionView:
        return self._published("pipeline").publish(request)

    def publish_component(self, request: PublishComponentRequest) -> VersionView:
        return self._published("component").publish_component(request)

    def component(self, reference: str) -> PublishedVersion:
        return self._published("component").version(reference)

    def _published(self, family: Literal["pipeline", "component"]) -> Publishing:
        return Publishing(self.connection, family)

    # Housekeeping

    def spec(self, run: str) -> bytes:
        return self._connection.get(f"{_path(run)}/spec").content

    def cache_stats(self) -> CacheStats:
        return CacheStats.model_validate_json(self._connection.get("/cache").content)

    def cache_clear(self, *, pipeline: str | None = None, step: str | None = None) -> int:
        cleared = self._connection.ask("DELETE", "/cache", parameters={"pipeline": pipeline, "step": step}).json()
        return int(cleared["entries"])

    def remove_run(self, run: str) -> None:
        self._connection.ask("DELETE", _path(run), is_repeatable=False)

    def collect_garbage(self, *, older_than_seconds: float = 0.0, dry_run: bool = False) -> Collected:
        raise InvalidInput(f"the artifacts of the services at {self.url} are shared; whoever operates them collects them there")

    def health(self) -> Health:
        return Health.model_validate_json(self._connection.get("/health").content)

    # Services

    def pools(self) -> list[PoolView]:
        """Pools and lanes, with what waits for them."""
        return [PoolView.model_validate(view) for view in self._connection.get("/pools").json()["pools"]]

    def pool(self, name: str) -> PoolView:
        return PoolView.model_validate_json(self._connection.get(_pool_path(name)).content)

    def apply_pool(self, spec: PoolSpec) -> AppliedPool:
        plain = spec.model_dump(mode="json", exclude_defaults=True, exclude={"is_draining"}) | {"name": spec.name}
        return AppliedPool.model_validate_json(self._connection.ask("PUT", _pool_path(spec.name), json=plain).content)

    def drain_pool(self, name: str, *, is_draining: bool) -> PoolSpec:
        answer = self._connection.ask("POST", f"{_pool_path(name)}/drain", json={"is_draining": is_draining})
        return PoolSpec.model_validate_json(answer.content)

    def scale_pool(self, name: str, *, least: int | None, most: int | None) -> PoolSpec:
        answer = self._connection.ask("POST", f"{_pool_path(name)}/scale", json={"min_runners": least, "max_runners": most})
        return PoolSpec.model_validate_json(answer.content)

    def remove_pool(self, name: str) -> None:
        self._connection.ask("DELETE", _pool_path(name), is_repeatable=False)

    def runners(self) -> list[RunnerView]:
        """Runners that live."""
        return [RunnerView.model_validate(view) for view in self._connection.get("/runners").json()["runners"]]

    def status(self) -> StatusView:
        """All at a glance."""
        return StatusView.model_validate_json(self._connection.get("/status").content)

    def close(self) -> None:
        self._connection.close()


def _path(run: str) -> str:
    """The address of a run.

    :raises InvalidInput: no run can be called so.
    """
    if not run or "/" in run or run in (".", ".."):
        raise InvalidInput(f"there is no run {run!r}: names of runs have no slashes")
    return f"/runs/{quote(run, safe='')}"


def _pool_path(name: str) -> str:
    return f"/pools/{quote(checked_pool_name(name), safe='')}"


def connect(home: Path | str, url: str | None = None, token: str | None = None, profile: str | None = None) -> HttpClient:
    """The services that `url` names, else `PENSTOCK_API_URL`, else the profile of the project's `penstock.toml`.

    :raises InvalidInput: nothing names them, or a setting can't be used.
    """
    folder = Path(home)
    flags = {"api_url": url, "api_token": token, "profile": profile}
    # A state folder that was named says nothing of the project.
    is_beside_project = folder.name == HOME_NAME and not os.environ.get("PENSTOCK_HOME")
    settings = ServiceSettings.read(flags, start=folder.parent if is_beside_project else Path.cwd())
    return HttpClient(folder, connection_to(settings))


def connection_to(settings: ServiceSettings) -> Connection:
    """To the services of the settings, with the token that is given, else as whoever is logged in there.

    :raises InvalidInput: nothing names them.
    """
    url = settings.needed("api_url")
    token = settings.api_token.get_secret_value() if settings.api_token is not None else token_source(url)
    # A workspace that nobody named is that of the token.
    return Connection(url, token, workspace=settings.workspace if "workspace" in settings.model_fields_set else None)
