"""Fixtures for private servers: one of a kind a worker, started by the first test that asks; each test gets something of its own in it."""

from collections.abc import Iterator

import pytest

from tests.servers.rabbitmq import RabbitServer, VirtualHost


@pytest.fixture(scope="session")
def rabbitmq_of_worker() -> Iterator[RabbitServer]:
    with RabbitServer() as server:
        yield server.start()


@pytest.fixture
def rabbitmq(rabbitmq_of_worker: RabbitServer) -> RabbitServer:
    """The worker's broker, running. A test may kill it and set alarms: the next one finds it well again."""
    rabbitmq_of_worker.recover()
    return rabbitmq_of_worker


@pytest.fixture
def vhost(rabbitmq: RabbitServer) -> Iterator[VirtualHost]:
    """A fresh virtual host and a user of it; `vhost.url` is the amqp address."""
    vhost = rabbitmq.add_vhost()
    yield vhost
    rabbitmq.recover()
    rabbitmq.delete_vhost(vhost)
