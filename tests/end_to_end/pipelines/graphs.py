"""Pipelines of every shape: fan-outs, joins, branches, parts of values."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from penstock.sdk import Directory, File, collect, each, either, otherwise, pipeline, step, when


@step
def no_thirds(x: int) -> int:
    if x % 3 == 0:
        raise ValueError(f"{x} is a third")
    return x


@step
def total(xs: Sequence[int | None]) -> int:
    return sum(x or 0 for x in xs)


@step
def count(xs: Sequence[object]) -> int:
    return len(xs)


@pipeline
def strict(xs: Sequence[int]) -> int:
    return total(collect(no_thirds(each(xs))))


@pipeline
def dropping(xs: Sequence[int]) -> list[int]:
    return collect(no_thirds(each(xs)), missing="drop", at_least=0.0)


@pipeline
def filling(xs: Sequence[int]) -> list[int | None]:
    return collect(no_thirds(each(xs)), missing="none")


@pipeline
def most(xs: Sequence[int]) -> int:
    return total(collect(no_thirds(each(xs)), missing="drop", at_least=0.6))


@step
def after_seconds(x: int) -> int:
    time.sleep(0 if x == 1 else 60)
    return x


@pipeline
def first_good(xs: Sequence[int]) -> list[int]:
    found = after_seconds(each(xs))
    return collect(found, until=found == 1)


@step
def join(left: str, right: int) -> str:
    return f"{left}{right}"


@pipeline
def grid(names: Sequence[str], numbers: Sequence[int]) -> list[list[str]]:
    return collect(collect(join(each(names), each(numbers))))


@pipeline
def zipped(names: Sequence[str], numbers: Sequence[int]) -> list[str]:
    left, right = each(names, numbers)
    return collect(join(left, right))


@step
def upto(x: int) -> list[int]:
    return list(range(x))


@pipeline
def triangle(sizes: Sequence[int]) -> list[int]:
    return collect(total(collect(square(each(upto(each(sizes)))))))


@step
def square(x: int) -> int:
    return x * x


@pipeline
def batched(xs: Sequence[int]) -> list[int]:
    return collect(count(each(xs, batch=3)))


@pipeline
def squared_sum(xs: Sequence[int]) -> int:
    return total(collect(square(each(xs))))


@pipeline
def of_pipelines(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return collect(square(each([squared_sum(left), squared_sum(right)])))


@step
def low(x: int) -> str:
    return f"low {x}"


@step
def high(x: int) -> str:
    return f"high {x}"


@step
def told(text: str | None) -> str:
    return f"told {text}"


@pipeline
def branching(x: int, limit: int = 10) -> tuple[str, str]:
    value = square(x)
    with when(value > limit, value != 16):
        above = high(value)
    with otherwise():
        below = low(value)
    return either(above, below), told(above)


@pipeline
def tolerant(x: int) -> str:
    return told(text_of(no_thirds.options(allow_failure=True)(x)))


@step
def text_of(x: int | None) -> str:
    return f"{x}"


class Point(NamedTuple):
    x: int
    name: str


@step
def point(x: int) -> Point:
    return Point(x, f"p{x}")


@step
def table(x: int) -> dict[str, int]:
    return {"a": x, "b": 2 * x}


@step
def pair(x: int) -> tuple[int, str]:
    return x, "second"


@step
def said(text: str, value: int, others: dict[str, int], listed: list[int]) -> str:
    return f"{text}/{value}/{sorted(others.items())}/{listed}"


@pipeline
def parts(x: int) -> str:
    p, t = point(x), table(x)
    first, second = pair(x)
    return said(f"{p.name} and {second}", t["b"], {"p": p.x}, [first, t["a"]])


@step
async def slept(x: int) -> int:
    await asyncio.sleep(0.01)
    return x + 1


@pipeline
def asynchronous(x: int) -> int:
    return slept(x)


@step
def written(names: Sequence[str]) -> Directory:
    for name in names:
        path = Path("out") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Directory("out")


@step
def read(file: File) -> str:
    return f"{file.path.name}={file.path.read_text()}"


@pipeline
def of_files(names: Sequence[str]) -> list[str]:
    return collect(read(each(written(names).files("**/*.txt"))))


@pipeline
def one_file(names: Sequence[str], given: File) -> tuple[str, str]:
    return read(written(names).file("a.txt")), read(given)


@step
def mark(path: str) -> None:
    Path(path).touch()


@step
def sees(path: str) -> bool:
    return Path(path).exists()


@pipeline
def in_order(path: str) -> bool:
    marked = mark(path)
    return sees.options(after=marked)(path)
