"""The pipelines that are measured: steps that do nothing but pass a number, in a module that imports nothing heavy."""

import time
from collections.abc import Sequence

from penstock.sdk import collect, each, pipeline, step


@step
def plus_one(number: int) -> int:
    return number + 1


@step
def last(numbers: Sequence[int]) -> int:
    return numbers[-1]


@pipeline
def single(number: int) -> int:
    return plus_one(number)


@pipeline
def chain_of_5(number: int) -> int:
    for position in range(5):
        number = plus_one.options(name=f"plus_{position}")(number)
    return number


@pipeline
def chain_of_100(number: int) -> int:
    for position in range(100):
        number = plus_one.options(name=f"plus_{position}")(number)
    return number


@pipeline
def fan(numbers: Sequence[int]) -> int:
    return last(collect(plus_one(each(numbers))))


@step(isolation="reuse")
def plus_one_reused(number: int) -> int:
    return number + 1


@pipeline
def fan_reused(numbers: Sequence[int]) -> int:
    return last(collect(plus_one_reused(each(numbers))))


@step(isolation="reuse")
def note_times(before: list[float]) -> list[float]:
    """The clock when the step's own code begins and ends, after those of the steps before it."""
    began = time.time()
    return [*before, began, time.time()]


@pipeline
def relay(before: list[float]) -> list[float]:
    for position in range(30):
        before = note_times.options(name=f"note_{position}")(before)
    return before
