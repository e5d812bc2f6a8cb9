"""Steps that break in every way."""

import ctypes
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.sdk import File, Resources, current_run, pipeline, step


@step
def prints(megabytes: int) -> int:
    line = b"x" * 1023 + b"\n"
    os.write(1, b"the beginning\n")
    for _ in range(megabytes):
        sys.stdout.buffer.write(line * 1024)
    sys.stdout.buffer.write(b"the end\n")
    return megabytes


@pipeline
def printing(megabytes: int) -> int:
    return prints(megabytes)


@step
def reads_address_zero() -> int:
    print("about to crash", flush=True)
    return len(ctypes.string_at(0))


@pipeline
def crashing() -> int:
    return reads_address_zero()


@step(resources=Resources(memory="150MiB"))
def takes_memory(megabytes: int) -> int:
    held = bytearray(megabytes * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(30)
    return len(held)


@pipeline
def hoarding(megabytes: int) -> int:
    return takes_memory(megabytes)


@step
def leaves() -> int:
    sys.exit(3)


@pipeline
def leaving() -> int:
    return leaves()


@step
def returns_code() -> Callable[[], int]:
    return lambda: 1


@pipeline
def storing_code() -> Callable[[], int]:
    return returns_code()


@step
def returns_missing_file() -> File:
    return File("nowhere.csv")


@pipeline
def storing_nothing() -> File:
    return returns_missing_file()


@step
def promises_a_number(x: int) -> int:
    wrong: Any = f"{x}"
    return wrong  # type: ignore[no-any-return]  # what a step promises and what it does may differ


@step
def adds_one(x: int) -> int:
    return x + 1


@pipeline
def lying(x: int) -> int:
    return adds_one(promises_a_number(x))


@step
def writes(megabytes: int) -> File:
    with Path("large.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(2**20))
    return File("large.bin")


@step
def size(file: File) -> int:
    return file.path.stat().st_size


@pipeline
def filling(megabytes: int) -> int:
    return size(writes(megabytes))


@step
def reads(data: File) -> int:
    return len(data.path.read_bytes())


@step(cache=False)
def waits(gate: str) -> None:
    Path(gate + ".waiting").touch()
    while not Path(gate).exists():
        time.sleep(0.01)


@pipeline
def reading_later(data: File, gate: str) -> int:
    return reads.options(after=waits(gate))(data)


@step
def diverges() -> float:
    current_run().log_metric("loss", float("nan"))
    return float("nan")


@step
def is_nan(x: float) -> bool:
    return math.isnan(x)


@pipeline
def diverging() -> tuple[float, bool]:
    loss = diverges()
    return loss, is_nan(loss)
