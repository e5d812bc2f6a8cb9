"""Events while a coordinator and the database are killed. `python -m tests.faults events` sends ten thousand, and kills the broker too."""

import sys
from pathlib import Path

import pytest

from tests.faults.events import events_with_kills
from tests.faults.trial import trial
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

EVENTS = 150

pytestmark = pytest.mark.timeout(400)
"""A machine with other work takes its time to start clusters."""


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def test_each_event_causes_one_run_whoever_is_killed(tmp_path: Path, rabbitmq: RabbitServer, postgres: PostgresServer) -> None:
    with trial(tmp_path, coordinators=2, runners=[{"cpu": 4}], broker=rabbitmq, database=postgres, has_api=True) as started:
        report = events_with_kills(started, EVENTS, tell, victims=["coordinator-1", "database"])

    assert report.kills == {"coordinator": 1, "database": 1}
