"""The same flow with a broker and a database behind the API."""

import asyncio
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.states import RunState
from penstock.deploy.embedded.client import connect as connect_embedded
from penstock.deploy.remote.client import connect
from penstock.engine.stores.postgres import PostgresStore
from penstock.sdk.client import EngineClient
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.run import Run
from penstock.sdk.runs.state_home import using_engine
from penstock.sdk.types import File
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.topology import topology
from tests.deploy.served_engine import POOL, TOKEN, ServedEngine, until
from tests.deploy.test_remote_client import FLOW
from tests.sdk.written_project import WrittenProject
from tests.servers.rabbitmq import RabbitServer
from tests.transport.rabbit import declared


class OnServers(ServedEngine):
    """Its bus is RabbitMQ, its store PostgreSQL."""

    def __init__(self, folder: Path, broker: str, database: str) -> None:
        super().__init__(folder)
        self._broker = broker
        self._database = database

    @override
    async def _main(self) -> None:
        await self.store.close()
        self.store = PostgresStore(self._database)
        async with RabbitBus(self._broker, name="served-engine") as self.bus:
            await super()._main()


@pytest.fixture
def engine(tmp_path: Path, rabbitmq: RabbitServer, database: str) -> Iterator[ServedEngine]:
    with rabbitmq.virtual_host() as vhost:
        asyncio.run(declared(vhost.url, topology([("default", POOL)])))
        engine = OnServers(tmp_path / "services", vhost.url, database)
        engine.start()
        yield engine
        engine.stop()


def digest(run: Run[Any]) -> str:
    assert run.state is RunState.SUCCEEDED, run.view.error
    value = run.view.outputs["result"]
    assert isinstance(value, ArtifactRef)
    return value.digest


def test_a_pipeline_runs_and_is_cancelled_on_servers_as_it_is_here(
    engine: ServedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    project = WrittenProject(tmp_path / "project", monkeypatch)
    project.write("pipeline.py", FLOW)
    project.write("raw.txt", "1\n2\n39\n")
    module = importlib.import_module("pipeline")
    raw = File(project.root / "raw.txt")
    remote, here = connect(private_home, engine.url, TOKEN), connect_embedded(tmp_path / "embedded", slots=2)

    def submitted(client: EngineClient, pipeline: Pipeline[..., Any], **parameters: object) -> Run[Any]:
        with using_engine(client):
            return pipeline.submit(**parameters)

    there = submitted(remote, module.flow, raw=raw).wait()
    assert digest(there) == digest(submitted(here, module.flow, raw=raw).wait())
    again = submitted(remote, module.flow, raw=raw).wait()
    assert all(one.is_hit for step_runs in again.steps.values() for one in step_runs if one.view.key)
    waiting = submitted(remote, module.waiting, path="/nowhere/at/all")
    until(lambda: waiting.state is RunState.RUNNING)
    waiting.cancel("enough")
    assert (waiting.wait().state, waiting.view.error) == (RunState.CANCELLED, "enough")
    assert [(pool.name, pool.demand) for pool in remote.pools()] == [("cpu", 0)]
    remote.close()
    here.close()
    project.forget()
