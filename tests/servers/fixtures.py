"""Fixtures for private servers: one of a kind a worker, started by the first test that asks; each test gets something of its own in it."""

from collections.abc import Iterator

import pytest

from tests.servers import rabbitmq_4
from tests.servers.rabbitmq import RabbitServer, VirtualHost


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
