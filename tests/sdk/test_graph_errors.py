"""What can't be built is refused when it is drawn, with the line and the mend in the text."""

import re
from collections.abc import Callable
from typing import Any

import pytest

import penstock.sdk
from penstock.sdk import (
    File,
    GraphError,
    InvalidInput,
    Output,
    Pipeline,
    ScriptStep,
    otherwise,
    pipeline,
    step,
    transfer,
)
from tests.sdk import graph_steps

# Handles are used here as no type checker would let pass.
make: Any = graph_steps.make
parts: Any = graph_steps.parts
total: Any = graph_steps.total
add: Any = graph_steps.add
say: Any = graph_steps.say
folder: Any = graph_steps.folder
read: Any = graph_steps.read
numbers: Any = graph_steps.numbers
collect: Any = penstock.sdk.collect
each: Any = penstock.sdk.each
either: Any = penstock.sdk.either
when: Any = penstock.sdk.when
not_: Any = penstock.sdk.not_
CommandStep: Any = penstock.sdk.CommandStep


def drawn(body: Callable[..., Any]) -> Pipeline[..., Any]:
    """`body` as a pipeline that was drawn."""
    made = pipeline(body)
    made.draw()
    return made


MISUSES: list[tuple[Callable[[Any, Any], object], str]] = [
    (lambda n, xs: 1 if make(n) else 0, r"with when\(make\)"),
    (lambda n, xs: not make(n), r"not_\(\.\.\.\)"),
    (lambda n, xs: 0 < make(n) < 5, r"commas for `and`"),
    (lambda n, xs: [make(x) for x in xs], r"each\(\.\.\.\)"),
    (lambda n, xs: len(xs), r"len\(\.\.\.\) in a step"),
    (lambda n, xs: 3 in xs, r"in a step"),
    (lambda n, xs: make(n) + 1, r"write a step that computes it"),
    (lambda n, xs: -make(n), r"write a step that computes it"),
    (lambda n, xs: str(make(n)), r"f-string"),
    (lambda n, xs: {make(n)}, r"keep it in a list"),
    (lambda n, xs: make(n).real, r"read it in a step"),
    (lambda n, xs: parts(n).lefft, r"did you mean 'left'"),
    (lambda n, xs: parts(n)[2], r"has 2 parts"),
    (lambda n, xs: make(n)(), r"can't be called"),
    (lambda n, xs: setattr(make(n), "x", 1), r"make the changed value in a step"),
    (lambda n, xs: folder(n).files(f"{n}.csv"), r"constant names only"),
    (lambda n, xs: make(nmber=n), r"did you mean 'number'"),
    (lambda n, xs: make("3"), r"takes int, and got '3'"),
    (lambda n, xs: make(parts(n)), r"did you mean parts\.left\?"),
    (lambda n, xs: make(numbers()), r"each\(numbers\)"),
    (lambda n, xs: total(make(n)), r"\[make\]"),
    (lambda n, xs: total(make(each(xs))), r"collect\(make\)"),
    (lambda n, xs: read("a.csv"), r"write File\('a\.csv'\)"),
    (lambda n, xs: make(say(n)), r"after=say"),
    (lambda n, xs: add(make(each(xs)), make(each(xs))), r"each\(a, b\).*collect"),
    (lambda n, xs: collect(make(n)), r"no item of a fan-out"),
    (lambda n, xs: collect(3), r"no item of a fan-out"),
    (lambda n, xs: collect(make(each(xs)), at_least=2.0), r"between 0 and 1"),
    (lambda n, xs: make(each(xs)), r"collect\(make\)"),
    (lambda n, xs: make(each(3)), r"takes a list"),
    (lambda n, xs: each([1], [1, 2]), r"one length"),
    (lambda n, xs: make(each(xs, batch=0)), r"at least one item"),
    (lambda n, xs: make.options(pol="gpu"), r"did you mean 'pool'"),
    (lambda n, xs: make.options(name=f"make-{n}")(n), r"can't depend on a value"),
    (lambda n, xs: make.options(name="a b")(n), r"letters, digits"),
    (lambda n, xs: make.options(version=f"{n}")(n), r"can't depend on a value of the run"),
    (lambda n, xs: make.options(isolation="vm")(n), r"the option 'isolation'.*'vm'"),
    (lambda n, xs: make.options(pool=3)(n), r"the option 'pool'.*3"),
    (lambda n, xs: make(each(n)), r"each\(...\) takes a list, and n is int"),
    (lambda n, xs: make.options(timeout="soon")(n), r"'10m'"),
    (lambda n, xs: make.options(after="make")(n), r"what a step call gave"),
    (lambda n, xs: make.options(after=make(each(xs)))(n), r"after=collect\(make\)"),
    (lambda n, xs: either(1, 2), r"none of these is one"),
    (lambda n, xs: either(make(n)), r"two values"),
    (lambda n, xs: when(), r"needs a condition"),
    (lambda n, xs: when(True), r"plain `if`"),
    (lambda n, xs: when(make(n)), r"compare it"),
    (lambda n, xs: otherwise(), r"no `with when"),
    (lambda n, xs: not_(make(n)), r"compare it"),
    (lambda n, xs: CommandStep("echo hello"), r"list of arguments"),
    (lambda n, xs: CommandStep(["echo", n], isolation="docker"), r"needs an image: environment=Environment.from_image"),
    (lambda n, xs: CommandStep(["echo", n])[Output("x", File)], r"not among the arguments"),
    (lambda n, xs: CommandStep(["echo", Output("x", File), Output("x", File)]), r"two outputs are named 'x'"),
    (lambda n, xs: ScriptStep("nowhere.py"), r"no script 'nowhere\.py'"),
    (lambda n, xs: transfer(n, to="s3://x"), r"no transfer"),
    (lambda n, xs: make(lambda: 1), r"takes int"),
]


@pytest.mark.parametrize(("misuse", "mend"), MISUSES)
def test_a_misuse_is_refused_with_its_line_and_its_mend(misuse: Callable[[Any, Any], object], mend: str) -> None:
    def wrong(n: int, xs: list[int]) -> Any:
        return misuse(n, xs)

    with pytest.raises((GraphError, InvalidInput), match=f"(?s){mend}") as caught:
        drawn(wrong)

    assert re.search(r"test_graph_errors\.py:\d+|returns make", str(caught.value)), caught.value


def test_a_condition_of_another_fan_out_does_not_line_up() -> None:
    def wrong(n: int, xs: list[int]) -> Any:
        item = make(each(xs))
        with when(make(each(xs)) > 1):
            collect(item)

    with pytest.raises(GraphError, match=r"two independent fan-outs"):
        drawn(wrong)


def test_collecting_under_the_items_own_condition_is_refused() -> None:
    def wrong(n: int, xs: list[int]) -> Any:
        item = make(each(xs))
        with when(item > 1):
            return collect(item)

    with pytest.raises(GraphError, match=r"each item decides for itself"):
        drawn(wrong)


def test_a_sub_pipeline_can_not_collect_what_its_caller_opened() -> None:
    @pipeline
    def inner(x: int) -> Any:
        return collect(make(x))

    def outer(n: int, xs: list[int]) -> Any:
        return collect(inner(each(xs)))

    with pytest.raises(GraphError, match=r"no item of a fan-out"):
        drawn(outer)


def test_calling_a_pipeline_outside_of_one_says_how_to_run_it() -> None:
    @pipeline
    def flow(n: int) -> Any:
        return make(n)

    with pytest.raises(GraphError, match=r"flow\.run\(\.\.\.\)"):
        flow(3)


def test_a_handle_of_a_drawing_that_is_over_is_refused() -> None:
    kept: list[Any] = []

    def flow(n: int) -> Any:
        kept.append(make(n))
        return make(n)

    drawn(flow)

    with pytest.raises(GraphError, match=r"had been drawn"):
        f"{kept[0]}"


def test_text_cut_out_of_a_template_is_refused() -> None:
    def flow(n: int) -> Any:
        return read(f"{n}.csv"[1:])

    with pytest.raises(GraphError, match=r"one f-string"):
        drawn(flow)


def test_an_unknown_option_of_a_step_names_the_nearest() -> None:
    options: dict[str, Any] = {"retires": 2}

    with pytest.raises(GraphError, match=r"did you mean 'retries'"):
        step(**options)


def test_a_pipelines_name_must_stand_in_routes() -> None:
    with pytest.raises(InvalidInput, match=r"the pipeline's name 'Sales daily'"):
        pipeline(name="Sales daily")(make.fn)


def test_a_generator_is_no_step() -> None:
    def many() -> Any:
        yield 1

    with pytest.raises(GraphError, match=r"return a list"):
        step(many)


def test_a_step_in_a_function_can_not_be_traced_but_says_inline() -> None:
    @step
    def local(n: int) -> int:
        return n

    def flow(n: int) -> int:
        return local(n)

    with pytest.raises(GraphError, match=r"inline=True"):
        drawn(flow).trace()
