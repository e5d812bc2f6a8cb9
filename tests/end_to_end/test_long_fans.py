"""Fan-outs longer than a page of step runs."""

from collections.abc import Sequence

from penstock.sdk import collect, each, pipeline, step


@step
def plus_one(number: int) -> int:
    return number + 1


@step
def total(numbers: Sequence[int]) -> int:
    return sum(numbers)


@pipeline
def long_fan(numbers: Sequence[int]) -> int:
    return total(collect(plus_one(each(numbers))))


def test_every_step_run_of_a_long_fan_out_can_be_read() -> None:
    run = long_fan.run(numbers=list(range(1001)))

    assert len(run["plus_one"]) == 1001
    assert run["plus_one"][1000].index == (1000,)
    assert run["total"][0].result() == sum(range(1002))
