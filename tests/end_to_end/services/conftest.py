"""A cluster that the fault tests of a module share: it gives up on a silent runner soon."""

from collections.abc import Iterator

import pytest

from tests.faults.trial import Trial, trial
from tests.faults.workload import lasting
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

PATIENCE_SECONDS = 8.0


@pytest.fixture(scope="module")
def shared_trial(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq_of_worker: RabbitServer, postgres_of_worker: PostgresServer
) -> Iterator[Trial]:
    rabbitmq_of_worker.recover()
    with trial(
        tmp_path_factory.mktemp("trial"),
        coordinators=2,
        runners=[{"cpu": 2}, {"cpu": 2}],
        broker=rabbitmq_of_worker,
        database=postgres_of_worker,
        settings={"PENSTOCK_PATIENCE_SECONDS": str(PATIENCE_SECONDS)},
    ) as shared:
        # Coordinators have heard of the runners once something was executed.
        shared.cluster.run(lasting, label="first", journal=str(shared.journal("first").path), seconds=0.0)
        yield shared
