"""Pools that grow from nothing with demand and shrink to nothing again, on real services: runners as processes, and as containers."""

import json
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.sdk.pipelines import Pipeline
from tests.sdk.written_project import WrittenProject
from tests.servers.cluster import Cluster
from tests.servers.docker import DockerEngine
from tests.servers.docker_image import python_archive
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.service import PROGRAM, Service

_SYSTEM = ("/usr", "/lib", "/lib64", sys.base_prefix)
ROOT = Path(__file__).parents[2]
FLOW = """
    import time
    from penstock.sdk import collect, each, pipeline, step

    @step(pool="cpu")
    def work(number: int) -> int:
        time.sleep(0.7)
        return number * number

    @step(pool="cpu")
    def total(squares: list[int]) -> int:
        return sum(squares)

    @pipeline
    def flow(numbers: list[int]) -> int:
        return total(collect(work(each(numbers))))
    """


@dataclass
class Scaled:
    """A cluster without runners, and the autoscaler that brings them."""

    cluster: Cluster
    autoscaler: Service

    def figure(self, name: str) -> int:
        return int(self.autoscaler.metric(f"penstock_autoscaler_{name}", pool="cpu"))

    def runners(self) -> list[dict[str, Any]]:
        settings = self.cluster.settings
        headers = {"Authorization": f"Bearer {settings['PENSTOCK_API_TOKEN']}"}
        answer = httpx.get(f"{settings['PENSTOCK_API_URL']}/v1/runners", headers=headers, trust_env=False)
        return list(answer.raise_for_status().json()["runners"])


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline[..., Any]]:
    project = WrittenProject(tmp_path / "project", monkeypatch)
    project.write("penstock.toml", "")
    project.write("growing.py", FLOW)
    monkeypatch.chdir(project.root)
    import growing  # type: ignore[import-not-found]  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  # it was just written

    yield growing.flow  # pyright: ignore[reportUnknownMemberType]  # it was just written
    project.forget()


@pytest.fixture(scope="module")
def cluster(
    rabbitmq_of_worker: RabbitServer, postgres_of_worker: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("autoscaled")
    with Cluster(folder, coordinators=1, runners=[], broker=rabbitmq_of_worker, database=postgres_of_worker, has_api=True) as found:
        yield found


@contextmanager
def autoscaled(cluster: Cluster, host: str, definitions: dict[str, Any] | None, **settings: str) -> Generator[Scaled]:
    """Without definitions the pools are those that the API knows."""
    path = cluster.folder / "pools.yaml"
    path.write_text(json.dumps(definitions))
    config = ["--config", str(path)] if definitions is not None else []
    arguments = ["autoscaler", *config, "--host", host, "--look-seconds", "0.3", "--drain-at-end"]
    service = Service("autoscaler", arguments, {**cluster.settings, **settings})
    with service:
        try:
            yield Scaled(cluster, service.start())
        except BaseException:
            cluster.show_logs()
            sys.stderr.write(f"\n===== autoscaler\n{service.log_text()[-4000:]}\n")
            raise
        finally:
            service.stop()


def a_pool(**more: Any) -> dict[str, Any]:
    return {"cpu": {"slots_per_runner": 2, "max_runners": 3, "idle": "2s", **more}}


def grows_and_shrinks(scaled: Scaled, flow: Pipeline[..., Any], numbers: range) -> None:
    run = scaled.cluster.submit(flow, numbers=list(numbers))
    scaled.cluster.until(lambda: len(scaled.runners()) == 3, "three runners are heard")

    assert run.result() == sum(number * number for number in numbers)
    attempts = [attempt for step_runs in run.steps.values() for step_run in step_runs for attempt in step_run.attempts]
    assert len(attempts) == len(numbers) + 1, "nothing was lost"
    assert len({attempt.runner for attempt in attempts}) == 3
    scaled.cluster.until(lambda: all(runner["is_draining"] for runner in scaled.runners()), "all runners are drained")
    scaled.cluster.until(lambda: 'penstock_autoscaler_runners{pool="cpu"} 0' in scaled.autoscaler.page("/metrics")[1], "all have ended")
    log = [json.loads(line) for line in scaled.autoscaler.log_text().splitlines() if line.startswith("{")]
    assert not [entry for entry in log if entry["event"] in ("runner.failed", "runner.not_started")]


def test_local_runners_come_with_demand_and_go_after_it(cluster: Cluster, written: Pipeline[..., Any]) -> None:
    path = cluster.folder / "applied.yaml"
    path.write_text(json.dumps({"pools": a_pool()}))
    cluster.command("pools", "apply", str(path))
    with autoscaled(cluster, "local", None) as scaled:
        grows_and_shrinks(scaled, written, range(30))


def test_an_autoscaler_that_is_killed_finds_its_runners_again(cluster: Cluster) -> None:
    with autoscaled(cluster, "local", {"pools": a_pool(min_runners=1)}) as scaled:
        cluster.until(lambda: len(scaled.runners()) == 1, "a runner is heard")
        scaled.autoscaler.signal(signal.SIGKILL)
        scaled.autoscaler.wait()
        [before] = scaled.runners()
        scaled.autoscaler.start()
        cluster.until(lambda: scaled.figure("wanted") == 1, "it has looked")

        assert scaled.figure("runners") == 1
        assert [runner["name"] for runner in scaled.runners()] == [before["name"]]


# Containers

IMAGE = "penstock-test:runner"


def make_runner_image(engine: DockerEngine) -> None:
    """Hardly anything but an entry point: system, Python and project come from this machine."""
    made = engine.docker("import", "--change", f"ENTRYPOINT {json.dumps(PROGRAM)}", str(python_archive()), IMAGE)
    assert made.returncode == 0, made.stderr


def containers(engine: DockerEngine, *options: str) -> list[str]:
    return engine.docker("ps", "--filter", "label=penstock.pool=cpu", "--format", "{{.Names}}", *options).stdout.split()


def template(cluster: Cluster) -> dict[str, Any]:
    read_only = [f"{place}:{place}:ro" for place in (*_SYSTEM, str(ROOT))]
    return {"mounts": [*read_only, f"{cluster.folder}:{cluster.folder}"], "environment": {"PENSTOCK_CACHE_FOLDER": "/var/cache/penstock"}}


def test_containers_come_with_demand_and_go_after_it(cluster: Cluster, written: Pipeline[..., Any], docker: DockerEngine) -> None:
    make_runner_image(docker)
    definitions = {"pools": a_pool(image=IMAGE), "runners": template(cluster)}
    with autoscaled(cluster, "docker", definitions, DOCKER_HOST=docker.url, PENSTOCK_AUTOSCALER_NETWORK="host") as scaled:
        grows_and_shrinks(scaled, written, range(100, 130))

    assert containers(docker, "--all") == []


def test_an_image_that_is_not_there_is_named_in_log_and_readiness(cluster: Cluster, docker: DockerEngine) -> None:
    definitions = {"pools": a_pool(image="localhost:1/no/such:image", min_runners=1)}
    with autoscaled(cluster, "docker", definitions, DOCKER_HOST=docker.url) as scaled:
        told = "pool cpu: the image 'localhost:1/no/such:image' is not on the Docker engine, and can't be pulled"
        cluster.until(lambda: told in scaled.autoscaler.page("/readyz")[1], "readiness tells of it")

        assert scaled.figure("failing") == 1
        assert '"event": "runner.not_started"' in scaled.autoscaler.log_text()
