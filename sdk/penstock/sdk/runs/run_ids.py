"""Run ids: UUIDv7 as 26 characters of Crockford base32 in lower case, so that they sort by time."""

import os
import time

from penstock.contracts.names import RunId, run_id_at


def new_run_id() -> RunId:
    return run_id_at(time.time_ns() // 1_000_000, os.urandom(10))
