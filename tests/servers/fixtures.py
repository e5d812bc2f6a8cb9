"""Fixtures for private servers: one of a kind a worker, started by the first test that asks; each test gets something of its own in it."""

from collections.abc import Iterator

import pytest

from tests.servers import rabbitmq_4
from tests.servers.docker import IS_OPTIONAL, DockerEngine
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerNotStarted
from tests.servers.rabbitmq import RabbitServer, VirtualHost
from tests.servers.s3 import S3Bucket, S3Server


@pytest.fixture(scope="session")
def rabbitmq_of_worker() -> Iterator[RabbitServer]:
    with RabbitServer() as server:
        yield server.start()


@pytest.fixture(scope="session")
def rabbitmq_4_of_worker() -> Iterator[RabbitServer]:
    if reason := rabbitmq_4.why_not():
        pytest.skip(reason)
    rabbitmq_4.build()
    with rabbitmq_4.RabbitServer4() as server:
        yield server.start()


@pytest.fixture
def rabbitmq(rabbitmq_of_worker: RabbitServer) -> RabbitServer:
    """The worker's broker, running. A test may kill it and set alarms: the next one finds it well again."""
    rabbitmq_of_worker.recover()
    return rabbitmq_of_worker


@pytest.fixture(params=["rabbitmq_of_worker", "rabbitmq_4_of_worker"], ids=["rabbitmq-3", "rabbitmq-4"])
def each_rabbitmq(request: pytest.FixtureRequest) -> RabbitServer:
    """One after the other the brokers of both versions that are tested. Version 4 is skipped where it is not built."""
    server: RabbitServer = request.getfixturevalue(request.param)
    server.recover()
    return server


@pytest.fixture
def vhost(rabbitmq: RabbitServer) -> Iterator[VirtualHost]:
    """A fresh virtual host and a user of it; `vhost.url` is the amqp address."""
    with rabbitmq.virtual_host() as vhost:
        yield vhost


@pytest.fixture
def each_vhost(each_rabbitmq: RabbitServer) -> Iterator[VirtualHost]:
    """As `vhost`, on each version."""
    with each_rabbitmq.virtual_host() as vhost:
        yield vhost


@pytest.fixture(scope="session")
def docker_of_worker() -> Iterator[DockerEngine]:
    with DockerEngine() as engine:
        try:
            engine.start()
        except ServerNotStarted as error:
            if not IS_OPTIONAL:
                raise
            pytest.skip(str(error))
        engine.make_image()
        yield engine


@pytest.fixture
def docker(docker_of_worker: DockerEngine) -> DockerEngine:
    """The worker's Docker engine, running, with the image `IMAGE`."""
    if not docker_of_worker.is_running:
        docker_of_worker.start()
    return docker_of_worker


@pytest.fixture(scope="session")
def postgres_of_worker() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server.start()


@pytest.fixture
def postgres(postgres_of_worker: PostgresServer) -> PostgresServer:
    """The worker's PostgreSQL, running. A test may kill it: the next one finds it well again."""
    if not postgres_of_worker.is_running:
        postgres_of_worker.start()
    return postgres_of_worker


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database of the test's own, without a schema."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database of the test's own with the newest schema."""
    with postgres.database(migrated=True) as url:
        yield url


@pytest.fixture(scope="session")
def s3_of_worker() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server.start()


@pytest.fixture
def s3(s3_of_worker: S3Server) -> S3Server:
    """The worker's S3 server, running. A test may kill it: the next one finds it well again."""
    if not s3_of_worker.is_running:
        s3_of_worker.start()
    return s3_of_worker


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A fresh bucket, with this process's variables leading to it; `bucket.url` is the address of an artifact store in it."""
    with s3.bucket() as bucket:
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        yield bucket
