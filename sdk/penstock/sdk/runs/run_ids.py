"""Run ids: UUIDv7 as 26 characters of Crockford base32 in lower case, so that they sort by time."""

import os
import time

from penstock.contracts.names import RunId

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def new_run_id() -> RunId:
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    number = (milliseconds << 80) | (0x7 << 76) | ((random >> 68 & 0xFFF) << 64) | (0b10 << 62) | (random & ((1 << 62) - 1))
    return RunId("".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5)))
