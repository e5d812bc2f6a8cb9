"""A whole cluster of real processes: broker, database, coordinators and runners, each of which can be killed, paused and started.

with Cluster(tmp_path, coordinators=2, runners=[{"cpu": 2}] * 3, has_s3=True) as cluster:
    run = cluster.run(pipeline, raw=File("wine.csv"))     # waits
    cluster.kill("runner-1")
    cluster.start("runner-1")
"""

import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from penstock.deploy.remote.client import HttpClient, connect
from penstock.sdk.client import EngineClient
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.run import Run
from penstock.sdk.runs.state_home import using_engine
from tests.servers.cluster_client import ClusterClient
from tests.servers.postgres import PostgresServer
from tests.servers.process import Server, free_port, wait_until
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server
from tests.servers.service import PROGRAM, Service

READY_SECONDS = 60.0
SHOWN_CHARACTERS = 6000


class Cluster:
    """`folder` holds the artifacts and the runners' caches. A `broker` and a `database` that run already are shared: the cluster takes a
    virtual host and a database of its own in them, and leaves them running. `settings` are more variables for every service.

    Artifacts are in a folder, with `has_s3` in a bucket of a server named `s3`. With `has_api` (implied by `has_s3`) runs go to the API.
    """

    def __init__(  # noqa: PLR0913 - each has a default
        self,
        folder: Path,
        *,
        coordinators: int = 2,
        runners: Sequence[Mapping[str, int]] = ({"cpu": 2}, {"cpu": 2}, {"cpu": 2}),
        broker: RabbitServer | None = None,
        database: PostgresServer | None = None,
        has_s3: bool = False,
        has_api: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._has_s3, self._has_api = has_s3, has_api or has_s3
        self._http: HttpClient | None = None
        self._stack = ExitStack()
        self._given = broker, database
        self._wanted = coordinators, [dict(pools) for pools in runners]
        self._more = dict(settings or {})
        self._bus: ClusterClient | None = None
        self.services: dict[str, Service] = {}
        """By name: coordinator-1, runner-1 and so on."""
        self.servers: dict[str, Server] = {}
        """`broker`, `database` and, if there is one, `s3`."""
        self._database: PostgresServer | None = None
        self.settings: dict[str, str] = {}

    @property
    def client(self) -> ClusterClient:
        """A client on the bus and in the database: for messages of a test's own, and for looking at rows."""
        assert self._bus is not None, "the cluster is not started"
        return self._bus

    @property
    def engine(self) -> EngineClient:
        """Whom runs are handed to: the API if there is one, else the bus."""
        return self._http if self._http is not None else self.client

    def __enter__(self) -> Self:
        try:
            self._start_servers()
            self._prepare()
            coordinators, runners = self._wanted
            if self._has_api:
                self.add_api()
            for _ in range(coordinators):
                self.add_coordinator()
            for pools in runners:
                self.add_runner(pools)
            self.wait_ready()
            self._connect()
        except BaseException:
            self.show_logs()
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.show_logs()
        self._stack.close()

    # Starting

    def _start_servers(self) -> None:
        given_broker, given_database = self._given
        broker = given_broker or self._stack.enter_context(RabbitServer())
        database = given_database or self._stack.enter_context(PostgresServer())
        self.servers = {"broker": broker, "database": database}
        self._database = database
        for server in self.servers.values():
            if not server.is_running:
                server.launch()
        for server in self.servers.values():
            server.wait_until_ready()
        vhost = self._stack.enter_context(broker.virtual_host())
        self.settings = {
            "PENSTOCK_BROKER_URL": vhost.url,
            "PENSTOCK_BROKER_MANAGEMENT_URL": vhost.management_url,
            "PENSTOCK_DATABASE_URL": database.create_database(),
            "PENSTOCK_CACHE_FOLDER": str(self.folder / "cache"),
            "PENSTOCK_SIGNING_KEY": secrets.token_hex(32),
            "PENSTOCK_API_TOKEN": secrets.token_urlsafe(32),
            **self._artifact_settings(),
            **self._more,
        }

    def _artifact_settings(self) -> dict[str, str]:
        if not self._has_s3:
            return {"PENSTOCK_ARTIFACTS_URL": (self.folder / "artifacts").as_uri()}
        s3 = self._stack.enter_context(S3Server())
        self.servers["s3"] = s3.start()
        bucket = self._stack.enter_context(s3.bucket())
        return {"PENSTOCK_ARTIFACTS_URL": bucket.url, **bucket.environment}

    def _prepare(self) -> None:
        """What an operator does once: the schema, and the broker's exchanges, queues and policies."""
        pools = sorted({pool for wanted in self._wanted[1] for pool in wanted} | {"cpu"})
        for arguments in (["db", "upgrade"], ["topology", "apply", *(part for pool in pools for part in ("--pool", pool))]):
            self.command(*arguments)

    def command(self, *arguments: str, expected: int = 0, settings: Mapping[str, str] | None = None) -> str:
        """What `penstock <arguments>` prints in the surroundings of the services. It must end with that exit code."""
        variables = {**Service.surroundings(), **self.settings, **(settings or {})}
        done = subprocess.run(
            [*PROGRAM, *arguments], cwd=self.folder, env=variables, capture_output=True, text=True, check=False, timeout=READY_SECONDS
        )
        assert done.returncode == expected, f"penstock {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}"
        return done.stdout

    def _connect(self) -> None:
        self._bus = ClusterClient(self.folder, self.settings["PENSTOCK_BROKER_URL"], self.settings["PENSTOCK_DATABASE_URL"])
        self._stack.callback(self._bus.close)
        if self._has_api:
            home = self.folder / "home"
            self._http = connect(home, self.settings["PENSTOCK_API_URL"], self.settings["PENSTOCK_API_TOKEN"])
            self._stack.callback(self._http.close)

    def add_api(self) -> Service:
        port = free_port()
        self.settings["PENSTOCK_API_URL"] = f"http://127.0.0.1:{port}"
        return self._add("api", ["api", "--port", str(port)], {})

    def add_coordinator(self, **settings: str) -> Service:
        return self._add("coordinator", ["coordinator"], settings)

    def add_runner(self, pools: Mapping[str, int], **settings: str) -> Service:
        """Starts one more; wait for it with `wait_ready`."""
        return self._add("runner", ["runner", *(part for pool, slots in pools.items() for part in ("--pool", f"{pool}={slots}"))], settings)

    def add_service(self, target: str, *options: str, **settings: str) -> Service:
        """A runner that serves the steps of a file (`/folder/flow.py:step`)."""
        return self._add("service", ["runner", "serve", target, *options], settings)

    def _add(self, kind: str, arguments: list[str], settings: Mapping[str, str]) -> Service:
        # Numbers are not used again: a name says which log is meant.
        number = 1 + sum(name.startswith(f"{kind}-") for name in self.services)
        service = Service(f"{kind}-{number}", arguments, {**self.settings, **settings})
        self._stack.callback(service.close)
        self.services[service.name] = service
        service.launch()
        return service

    def wait_ready(self, *names: str) -> None:
        """Returns when the services of these names (all that run) are ready, and servers serve."""
        for server in self.servers.values():
            server.wait_until_ready()
        for name, service in self.services.items():
            if name in names or (not names and service.is_running):
                service.wait_until_ready()

    def create_database(self) -> str:
        """The URL of one more database, an empty one."""
        assert self._database is not None, "the cluster is not started"
        return self._database.create_database()

    # What happens to them

    def named(self, name: str) -> Server:
        """A service by its name, or `broker`, or `database`."""
        return self.services[name] if name in self.services else self.servers[name]

    def kill(self, name: str) -> None:
        self.named(name).kill()

    def stop(self, name: str) -> None:
        """SIGTERM, and waits for the end."""
        self.named(name).stop()

    def start(self, name: str) -> None:
        """Starts it again, with its data, and waits until it is ready."""
        self.named(name).start()

    def pause(self, name: str) -> None:
        self.named(name).pause()

    def resume(self, name: str) -> None:
        self.named(name).resume()

    # Runs

    def submit(self, pipeline: Pipeline[..., Any], **parameters: Any) -> Run[Any]:
        """A run that has just been accepted."""
        with using_engine(self.engine):
            return pipeline.submit(**parameters)

    def run(self, pipeline: Pipeline[..., Any], **parameters: Any) -> Run[Any]:
        """A run that has ended, however."""
        return self.submit(pipeline, **parameters).wait()

    def until(self, condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """:raises TimeoutError: `what` has not happened."""
        wait_until(condition, seconds=seconds, what=what)

    def show_logs(self) -> None:
        """The ends of all logs on stderr, where pytest shows them for a test that failed."""
        for name, server in {**self.servers, **self.services}.items():
            state = "running" if server.is_running else "not running"
            sys.stderr.write(f"\n===== {name} ({state})\n{server.log_text()[-SHOWN_CHARACTERS:]}\n")
