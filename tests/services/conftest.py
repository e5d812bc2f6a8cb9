"""One cluster for all tests of this folder on a worker, and a receiver of the traces that its services send."""

import importlib
import linecache
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.sdk.pipelines import Pipeline
from tests.sdk.written_project import WrittenProject
from tests.servers.cluster import Cluster
from tests.services.trace_receiver import TraceReceiver


@pytest.fixture(scope="session")
def traces() -> Iterator[TraceReceiver]:
    with TraceReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def cluster_of_worker(tmp_path_factory: pytest.TempPathFactory, traces: TraceReceiver) -> Iterator[Cluster]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "PENSTOCK_PATIENCE_SECONDS": "8",
        "PENSTOCK_CACHE_SHARED": "read-write",
        "PENSTOCK_WEBHOOK_ALLOW": "127.0.0.1",
    }
    runners = [{"cpu": 1}, {"cpu": 1}, {"cpu": 1, "gpu": 1}]
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(folder, coordinators=2, runners=runners, has_s3=True, has_api=True, settings=settings) as cluster:
        yield cluster


@pytest.fixture
def cluster(cluster_of_worker: Cluster) -> Cluster:
    """The worker's cluster, with all its services at work. A test may end some: the next one finds them again."""
    for service in cluster_of_worker.services.values():
        if not service.is_running:
            service.launch()
    cluster_of_worker.wait_ready()
    return cluster_of_worker


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenProject]:
    """A user's project that the test writes; its folder is the current one."""
    found = WrittenProject(tmp_path / "project", monkeypatch)
    found.write("penstock.toml", "")
    monkeypatch.chdir(found.root)
    yield found
    found.forget()


@pytest.fixture
def written(project: WrittenProject) -> Callable[[str], Pipeline[..., Any]]:
    """Writes a module with a pipeline called `flow`, and gives that."""

    def write(source: str) -> Pipeline[..., Any]:
        project.write("flows.py", source)
        project.forget()
        linecache.checkcache()
        found: Pipeline[..., Any] = importlib.import_module("flows").flow
        return found

    return write
