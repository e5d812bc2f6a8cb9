"""What was measured on: the line above each table."""

import os
import platform
from datetime import UTC, datetime

import psutil


def machine(runs: int) -> str:
    """Date, machine, load: what a reader needs to compare."""
    cores, load, memory = len(os.sched_getaffinity(0)), os.getloadavg()[0], psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}; medians of {runs}; load average at the end {load:.1f}."
        + " Other work was running: read the CPU times, not the wall times."
        * (load > 2 * cores)
    )
