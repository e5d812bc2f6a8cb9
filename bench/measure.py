"""What is measured of a piece of work: wall time, CPU time of this process and of the processes under it, peak memory."""

import os
import resource
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """`steps` step runs took `seconds`. The engine's CPU time is this process's; the guests' includes their zygote's."""

    name: str
    steps: int
    seconds: float
    engine_cpu_seconds: float
    guests_cpu_seconds: float
    peak_bytes: int


def environment(home: Path) -> dict[str, str]:
    """The variables of a process that is measured: without what would make the interpreter slower or faster than a user's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"PENSTOCK_HOME": str(home)}


class Notebook:
    """Collects the measurements of one process."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []

    @contextmanager
    def measured(self, name: str, steps: int) -> Generator[None]:
        engine, guests, started = own_cpu_seconds(), cpu_seconds_below(), time.perf_counter()
        yield
        measurement = Measurement(
            name=name,
            steps=steps,
            seconds=time.perf_counter() - started,
            engine_cpu_seconds=own_cpu_seconds() - engine,
            guests_cpu_seconds=cpu_seconds_below() - guests,
            peak_bytes=peak_bytes(),
        )
        self.measurements.append(measurement)


def own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_seconds_below() -> float:
    """Of all processes under this one, ended ones included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            # It has just ended: its zygote's time includes it.
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_bytes() -> int:
    """The most resident memory that this process has had, as the kernel keeps it: nothing between two samples is missed."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
