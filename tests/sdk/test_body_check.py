"""The body of a pipeline is checked when it is decorated."""

import time
import uuid
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from penstock.sdk import GraphError, pipeline
from tests.sdk.graph_steps import make


def asks_for_none(n: int | None) -> Any:
    if n is None:
        return make(1)
    return make(2)


def asks_a_result_for_none(n: int) -> Any:
    made: Any = make(n)
    return make(1) if made is not None else made


def tries(n: int) -> Any:
    try:
        return make(n)
    except ValueError:
        return make(1)


def reads_the_day(n: int) -> Any:
    return make(date.today().day)  # noqa: DTZ011  # that is the point


def reads_the_clock(n: int) -> Any:
    return make(int(time.time()))


def now_as_default(n: int, when: datetime = datetime.now()) -> Any:  # noqa: B008, DTZ005  # that is the point
    return make(n)


def draws_by_chance(n: int) -> Any:
    return make.options(name=str(uuid.uuid4()))(n)


def yields(n: int) -> Any:
    yield make(n)


async def waits(n: int) -> Any:
    return make(n)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (asks_for_none, r"no value exists yet.*X \| None"),
        (asks_a_result_for_none, r"no value exists yet.*X \| None"),
        (tries, r"fails later, in its run.*allow_failure=True"),
        (reads_the_day, r"date\.today\(\).*parameter"),
        (reads_the_clock, r"time\.time\(\).*cache=False"),
        (now_as_default, r"datetime\.now\(\).*parameter"),
        (draws_by_chance, r"nothing could be reused"),
        (yields, r"only draws the graph"),
        (waits, r"steps may be async"),
    ],
)
def test_what_means_something_else_in_a_body_is_refused_at_decoration(body: Callable[..., Any], why: str) -> None:
    with pytest.raises(GraphError, match=rf"test_body_check\.py:\d+: .*{why}"):
        pipeline(body)


def test_the_line_is_that_of_the_fault() -> None:
    with pytest.raises(GraphError, match=rf"test_body_check\.py:{tries.__code__.co_firstlineno + 1}:"):
        pipeline(tries)


def test_plain_python_over_constants_is_allowed() -> None:
    @pipeline
    def flow(n: int) -> Any:
        last: int | None = None
        for _ in range(3):
            last = make(n) if last is None else make(last)
        return last

    assert len(flow.draw()[1].nodes) == 3


def test_source_that_can_not_be_found_is_not_checked() -> None:
    space: dict[str, Any] = {"make": make}
    exec("def flow(n: int):\n    return make(n)", space)  # noqa: S102  # as a prompt does

    assert len(pipeline(space["flow"]).draw()[1].nodes) == 1
