"""Inline runs: conditions, failures, skips and hooks in this process, as an engine would have them."""

import asyncio
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.contracts.errors import GraphError, InvalidInput, RunFailed
from penstock.contracts.states import RunState, StepState
from penstock.sdk import (
    CommandStep,
    Directory,
    File,
    Output,
    RunSummary,
    collect,
    current_run,
    each,
    either,
    otherwise,
    pipeline,
    step,
    when,
)
from tests.sdk.graph_steps import make, total

told: list[RunSummary] = []


class Pair(NamedTuple):
    left: int
    right: list[str]


@step
def pair(number: int) -> Pair:
    return Pair(number, [str(number)])


@step
def text(value: str) -> str:
    return value


@step
def fails(number: int) -> int:
    raise ValueError(f"number {number}")


@step
def odd_fails(number: int) -> int:
    if number % 2:
        raise ValueError("odd")
    return number


@step
def known(numbers: list[int | None]) -> int:
    return sum(number is not None for number in numbers)


@step
def optional(number: int | None = None) -> int:
    return -1 if number is None else number


@step
async def later(number: int) -> int:
    await asyncio.sleep(0)
    return number


@step
def written(content: str) -> File:
    Path("out.txt").write_text(content)
    return File("out.txt")


@step
def content_of(file: File) -> str:
    return file.path.read_text()


@step
def where() -> tuple[str, str]:
    return current_run().run_id, str(Path.cwd())


@step
def tell(run: RunSummary) -> None:
    told.append(run)


@pipeline
def branching(n: int, floor: int = 3) -> str:
    with when(make(n) >= floor, n < 10):
        high = text(f"high {n}")
    with otherwise():
        low = text(f"low {n:03d}")
    return either(high, low)


@pipeline(on_failure=tell, on_exit=tell)
def failing(n: int) -> int:
    return make(fails(n))


@pipeline
def tolerant(numbers: list[int]) -> tuple[int, int]:
    item = each(numbers)
    return total(collect(odd_fails(item), missing="drop", at_least=0.5)), known(collect(odd_fails(item), missing="none"))


@pytest.mark.parametrize(("n", "result"), [(5, "high 5"), (1, "low 001"), (12, "low 012")])
def test_one_branch_happens_and_either_is_its_value(n: int, result: str) -> None:
    run = branching.options(inline=True).run(n)

    assert run.result() == result
    assert sorted(step_run.state for step_run in (run["text"][0], run["text-2"][0])) == [StepState.SKIPPED, StepState.SUCCEEDED]


def test_a_failure_raises_with_the_users_frames_only() -> None:
    with pytest.raises(RunFailed) as caught:
        failing.options(inline=True).run(7)

    text = str(caught.value)
    assert text.splitlines()[1] == "Traceback (most recent call last):"
    assert "inline_steps.py" not in text
    assert "fails failed (error): ValueError: number 7" in text


@step(env_vars={"PENSTOCK_TEST_REGION": "eu"})
def region() -> str | None:
    return os.environ.get("PENSTOCK_TEST_REGION")


@pipeline
def regional() -> str | None:
    return region()


def test_a_step_has_its_variables_and_nobody_else_has_them() -> None:
    assert regional.options(inline=True).run().result() == "eu"
    assert "PENSTOCK_TEST_REGION" not in os.environ


def test_hooks_are_told_how_the_run_ended() -> None:
    told.clear()

    run = failing.options(inline=True).submit(7)

    assert run.state is RunState.FAILED
    assert [(summary.state, summary.error) for summary in told] == [("failed", "fails failed: ValueError: number 7")] * 2


def test_items_that_may_be_missing_are_dropped_or_none() -> None:
    assert tolerant.options(inline=True).run([1, 2, 3, 4]).result() == (6, 2)


def test_too_few_items_fail_the_run() -> None:
    with pytest.raises(RunFailed, match="1 of 3 items are there, at least 50% were asked for"):
        tolerant.options(inline=True).run([1, 2, 3])


def test_an_allowed_failure_is_none_to_who_accepts_it() -> None:
    @pipeline
    def flow(n: int) -> int:
        return optional(fails.options(allow_failure=True)(n))

    assert flow.options(inline=True).run(1).result() == -1


def test_async_steps_zips_and_selections_run() -> None:
    @pipeline
    def flow(xs: list[int], ys: list[int]) -> list[int]:
        x, y = each(xs, ys)
        made = pair(x)
        return collect(later(total([made.left, y, 1])))

    assert flow.options(inline=True).run([1, 2], [10, 20]).result() == [12, 23]


def test_lists_of_different_length_do_not_zip() -> None:
    @pipeline
    def flow(xs: list[int], ys: list[int]) -> list[int]:
        x, y = each(xs, ys)
        return collect(total([x, y]))

    with pytest.raises(InvalidInput, match="1 and 2"):
        flow.options(inline=True).run([1], [10, 20])


def test_a_returned_file_is_that_of_the_steps_own_folder() -> None:
    @pipeline
    def flow() -> str:
        return content_of(written("hello"))

    assert flow.options(inline=True).run().result() == "hello"


def test_every_step_has_a_folder_of_its_own_and_knows_its_run() -> None:
    @pipeline
    def flow() -> tuple[tuple[str, str], tuple[str, str]]:
        return where(), where()

    run = flow.options(inline=True).run()
    (first_id, first), (second_id, second) = run.result()

    assert first_id == second_id == run.run_id
    assert len({first, second, str(Path.cwd())}) == 3


def test_a_constant_too_large_for_the_spec_reaches_its_step() -> None:
    @pipeline
    def flow() -> int:
        return total(list(range(5000)))

    assert flow.options(inline=True).run().result() == sum(range(5000))


def test_a_program_that_fails_fails_the_run() -> None:
    @pipeline
    def flow() -> Directory:
        out = Output("out", Directory)
        return CommandStep(["false", out])[out]

    with pytest.raises(RunFailed, match="exit status 1"):
        flow.options(inline=True).run()


def test_replacing_an_unknown_step_names_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'fails'"):
        failing.options(inline=True, replace={"fail": make.fn}).run(1)


def test_running_inside_of_a_body_is_refused() -> None:
    @pipeline
    def flow(n: int) -> Any:
        return branching.run(n)

    with pytest.raises((GraphError, InvalidInput), match=r"branching\(\.\.\.\)"):
        flow.options(inline=True).run(1)


def test_files_of_a_finished_run_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    branching.options(inline=True).run(1)

    assert list(tmp_path.iterdir()) == []
