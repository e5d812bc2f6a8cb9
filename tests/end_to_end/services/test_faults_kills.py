"""kill -9 of a coordinator, a runner, the broker and the database during one run. `python -m tests.faults kills` does more of it."""

import sys
from pathlib import Path

import pytest

from tests.faults.kills import in_turn, run_with_kills
from tests.faults.trial import trial
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

ITEMS = 33

pytestmark = pytest.mark.timeout(400)
"""A machine with other work takes its time to start clusters."""


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def test_each_component_is_killed_during_a_run(tmp_path: Path, rabbitmq: RabbitServer, postgres: PostgresServer) -> None:
    with trial(tmp_path, coordinators=2, runners=[{"cpu": 2}, {"cpu": 2}], broker=rabbitmq, database=postgres) as started:
        report = run_with_kills(started, ITEMS, in_turn(started), milliseconds=100, say=tell)
    for line in report.lines():
        tell(line)

    assert report.steps == 121
    assert len(report.recoveries) == 4
    assert all(recovery.pause_seconds < 60 for recovery in report.recoveries)
