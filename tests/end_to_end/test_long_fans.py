"""Fan-outs longer than a page of step runs."""

from collections.abc import Sequence

from penstock.deploy.embedded.client import EmbeddedClient
from penstock.sdk import collect, each, pipeline, step
from tests.end_to_end.user_project import ended


@step
def plus_one(number: int) -> int:
    return number + 1


@step
def total(numbers: Sequence[int]) -> int:
    return sum(numbers)


@pipeline
def long_fan(numbers: Sequence[int]) -> int:
    return total(collect(plus_one(each(numbers))))


def test_every_step_run_of_a_long_fan_out_can_be_read(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, long_fan, numbers=list(range(1001)))

    assert len(run["plus_one"]) == 1001
    assert run["plus_one"][1000].index == (1000,)
    assert run["total"][0].result() == sum(range(1002))
