"""A step outlasts the broker's patience and two of its restarts. `python -m tests.faults long-step` does so for ten minutes."""

from pathlib import Path

import pytest

from tests.faults.long_step import LongStep, run_long_step
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.timeout(400)
"""A machine with other work takes its time to start clusters."""


def test_a_long_step_runs_once_under_an_impatient_broker_that_is_restarted_twice(tmp_path: Path, postgres: PostgresServer) -> None:
    run_long_step(tmp_path, LongStep(seconds=None, consumer_timeout=4.0, check_seconds=1.0), say=lambda _: None, database=postgres)
