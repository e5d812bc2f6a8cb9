"""What becomes of a pipeline's body: nodes, scopes, bindings, names."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import (
    Compare,
    Either,
    Files,
    FromItem,
    FromNode,
    FromParameter,
    ListOf,
    Literal_,
    Not,
    RecordOf,
    Select,
    Template,
    TemplatePart,
)
from penstock.contracts.encoding import canonical
from penstock.contracts.spec import CollectSpec, EachSpec, FunctionTarget, PipelineSpec, StepSpec, encode_spec
from penstock.sdk import (
    CommandStep,
    Directory,
    File,
    Output,
    RunSummary,
    collect,
    each,
    either,
    not_,
    otherwise,
    pipeline,
    step,
    when,
)
from tests.sdk.graph_steps import add, folder, make, numbers, parts, read, say, total

GOLDEN = Path(__file__).parent / "golden" / "pipeline.v1.json"


class Settings(BaseModel):
    rate: float
    names: list[str] = []


@dataclass
class Pair:
    first: int
    second: str


class Two(NamedTuple):
    a: int
    b: int


@step
def settings() -> Settings:
    return Settings(rate=1)


@step
def pair() -> Pair:
    return Pair(1, "")


@step
def fixed() -> tuple[int, str]:
    return 1, ""


@step
def table() -> dict[str, int]:
    return {}


@step
def text(value: str) -> str:
    return value


@step
def check(number: int) -> bool:
    return number > 0


@step
def maybe(number: int | None = None) -> int:
    return number or 0


@step
def tell(run: RunSummary) -> None: ...


@step
async def fetch(url: str) -> File:
    return File(url)


def spec_of(body: Callable[..., Any], **options: Any) -> PipelineSpec:
    return pipeline(**options)(body).draw()[1]


def step_named(spec: PipelineSpec, name: str) -> StepSpec:
    return next(node for node in spec.steps if node.name == name)


def test_a_step_has_its_types_outputs_and_target() -> None:
    def flow(n: int) -> Any:
        return parts(n)

    (node,) = spec_of(flow).steps
    assert node.run == FunctionTarget(module="tests.sdk.graph_steps", function="parts")
    assert node.types == {"number": "int"}
    assert [(output.name, output.type, output.kind) for output in node.outputs] == [("left", "int", "value"), ("right", "str", "value")]


@pytest.mark.parametrize(
    ("source", "names"),
    [(parts, ["left", "right"]), (pair, ["first", "second"]), (fixed, ["0", "1"]), (settings, ["result"]), (numbers, ["result"])],
)
def test_fields_become_outputs_of_a_named_tuple_dataclass_or_fixed_tuple_only(source: Any, names: list[str]) -> None:
    def flow() -> Any:
        return source(1) if source is parts else source()

    (node,) = spec_of(flow).steps
    assert [output.name for output in node.outputs] == names


def test_kinds_of_outputs_follow_the_annotation() -> None:
    def flow() -> Any:
        folder(1)
        fetch("u")
        numbers()
        table()

    assert [node.outputs[0].kind for node in spec_of(flow).steps] == ["directory", "file", "list", "value"]


def test_a_field_is_an_output_and_a_field_of_a_value_is_a_selection() -> None:
    def flow() -> Any:
        chosen = settings()
        text(parts(1).right)
        text(pair().second)
        text(fixed()[1])
        make(table()["k"])
        text(chosen.names[0])

    found = [next(iter(node.inputs.values())) for node in spec_of(flow).steps if node.name.startswith(("text", "make"))]
    assert found == [
        FromNode(node="parts", output="right"),
        FromNode(node="pair", output="second"),
        FromNode(node="fixed", output="1"),
        Select(select=("k",), of=FromNode(node="table")),
        Select(select=("names", 0), of=FromNode(node="settings")),
    ]


def test_tuples_unpack_and_whole_results_are_records() -> None:
    @step
    def whole(value: Two) -> int:
        return value.a

    @step
    def two() -> Two:
        return Two(1, 2)

    def flow() -> Any:
        both = two()
        a, b = both
        add(a, b)
        whole(both)

    spec = spec_of(flow)
    assert step_named(spec, "add").inputs == {"a": FromNode(node="two", output="a"), "b": FromNode(node="two", output="b")}
    assert step_named(spec, "whole").inputs == {"value": FromNode(node="two", output=None)}


def test_lists_and_dicts_of_handles_and_files_of_directories_are_bindings() -> None:
    @step
    def take(items: list[int], named: dict[str, int], images: Sequence[File], one: File) -> int:
        return 1

    def flow(n: int, images: Directory) -> Any:
        return take([make(n), 3], {"a": n}, images.files("*.jpg"), folder(n).file("x"))

    node = step_named(spec_of(flow), "take")
    assert node.inputs["items"] == ListOf(list=(FromNode(node="make"), Literal_(value=inline(3))))
    assert node.inputs["named"] == RecordOf(record={"a": FromParameter(parameter="n")})
    assert node.inputs["images"] == Files(of=FromParameter(parameter="images"), glob="*.jpg")
    assert node.inputs["one"] == Files(of=FromNode(node="folder"), file="x")


def test_an_f_string_is_a_template_with_its_format() -> None:
    def flow(n: int, share: float) -> Any:
        return text(f"run {n} at {share:.2f}!")

    (node,) = spec_of(flow).steps
    assert node.inputs["value"] == Template(
        template=(
            "run ",
            TemplatePart(of=FromParameter(parameter="n")),
            " at ",
            TemplatePart(of=FromParameter(parameter="share"), format=".2f"),
            "!",
        )
    )


def test_zipped_lists_are_fields_of_one_item() -> None:
    def flow(xs: list[int], ys: list[int]) -> Any:
        x, y = each(xs, ys)
        return collect(add(x, y))

    spec = spec_of(flow)
    (opened,) = [node for node in spec.nodes if isinstance(node, EachSpec)]
    assert opened.each == (FromParameter(parameter="xs"), FromParameter(parameter="ys"))
    assert step_named(spec, "add").inputs == {"a": FromItem(item="each-add.a", field=0), "b": FromItem(item="each-add.a", field=1)}


def test_a_fan_out_over_a_fan_outs_result_is_nested_in_it() -> None:
    def flow(xs: list[int]) -> Any:
        @step
        def spread(x: int) -> list[int]:
            return [x]

        return collect(collect(make(each(spread(each(xs))))))

    spec = spec_of(flow)
    assert step_named(spec, "make").scope == ("each-spread.x", "each-make.number")


def test_what_is_not_mapped_broadcasts_into_a_fan_out() -> None:
    def flow(n: int, xs: list[int]) -> Any:
        return collect(add(make(n), each(xs)))

    assert step_named(spec_of(flow), "add").scope == ("each-add.b",)


def test_collect_says_what_a_missing_item_does_and_when_to_end() -> None:
    def flow(xs: list[int]) -> Any:
        item = make(each(xs))
        return total(collect(item, missing="drop", at_least=0.5, until=item >= 3))

    (node,) = [node for node in spec_of(flow).nodes if isinstance(node, CollectSpec)]
    assert (node.missing, node.at_least, node.over, node.scope) == ("drop", 0.5, "each-make.number", ())
    assert node.until == Compare(compare=">=", left=FromNode(node="make"), right=Literal_(value=inline(3)))


def test_conditions_hold_for_every_node_in_their_block() -> None:
    def flow(n: int, floor: float) -> Any:
        score = make(n)
        with when(score >= floor, check(n)):
            good = text("good")
            with when(not_(check(score))):
                say(n)
        with otherwise():
            bad = text("bad")
        return either(good, bad)

    spec = spec_of(flow)
    enough = Compare(compare=">=", left=FromNode(node="make"), right=FromParameter(parameter="floor"))
    assert step_named(spec, "text").when == (enough, FromNode(node="check"))
    assert step_named(spec, "say").when == (enough, FromNode(node="check"), Not(negate=FromNode(node="check-2")))
    both = ListOf(list=(enough, FromNode(node="check")))
    assert step_named(spec, "text-2").when == (Compare(compare="!=", left=both, right=Literal_(value=inline([True, True]))),)
    assert spec.outputs == {"result": Either(either=(FromNode(node="text"), FromNode(node="text-2")))}


def test_an_optional_parameter_accepts_none() -> None:
    def flow(n: int) -> Any:
        return maybe(make.options(allow_failure=True)(n))

    spec = spec_of(flow)
    assert step_named(spec, "maybe").accepts_none == ("number",)
    assert step_named(spec, "make").allow_failure


def test_a_step_without_a_result_is_not_cached_and_can_be_waited_for() -> None:
    def flow(n: int) -> Any:
        done = say(n)
        say.options(cache=True)(n)
        return make.options(after=[done])(n)

    spec = spec_of(flow)
    assert step_named(spec, "say").outputs == ()
    assert not step_named(spec, "say").cache
    assert step_named(spec, "say-2").cache
    assert step_named(spec, "make").after == ("say",)


def test_a_sub_pipeline_is_part_of_its_caller_under_its_name() -> None:
    @pipeline(defaults={"pool": "inner"})
    def inner(n: int) -> int:
        return add(make(n), n)

    def flow(n: int) -> Any:
        inner(inner(n))
        make(n)

    spec = spec_of(flow)
    assert [node.name for node in spec.nodes] == ["inner/make", "inner/add", "inner-2/make", "inner-2/add", "make"]
    assert step_named(spec, "inner-2/make").inputs == {"number": FromNode(node="inner/add")}
    assert [node.pool for node in spec.steps] == ["inner"] * 4 + ["cpu"]


def test_outputs_are_named_by_what_is_returned() -> None:
    def record(n: int) -> Two:
        return Two(make(n), 3)

    def fixed_pair(n: int) -> tuple[int, int]:
        return make(n), make(n)

    def nothing(n: int) -> None:
        make(n)

    assert spec_of(record).outputs == {"a": FromNode(node="make"), "b": Literal_(value=inline(3))}
    assert spec_of(fixed_pair).outputs == {"0": FromNode(node="make"), "1": FromNode(node="make-2")}
    assert spec_of(nothing).outputs == {}


def test_parameters_say_how_text_becomes_a_value() -> None:
    def flow(
        raw: File, images: Directory, name: str, depths: Sequence[int] = (3, 5), chosen: Settings | None = None, thing: Any = None
    ) -> None:
        """Flows.

        :param raw: the sales
        """

    parameters = {parameter.name: parameter for parameter in spec_of(flow).parameters}
    assert {name: parameter.read for name, parameter in parameters.items()} == {
        "raw": "file",
        "images": "directory",
        "name": "text",
        "depths": "json",
        "chosen": "json",
        "thing": "json",
    }
    assert parameters["depths"].default == inline([3, 5])
    assert parameters["depths"].type == "Sequence[int]"
    assert parameters["raw"].required
    assert parameters["raw"].doc == "the sales"


def test_hooks_are_steps_of_a_run_summary() -> None:
    def flow(n: int) -> Any:
        return make(n)

    spec = spec_of(flow, on_failure=tell, on_exit=tell.options(name="bye"))
    assert {kind: hook.name for kind, hook in spec.hooks.items()} == {"on_failure": "tell", "on_exit": "bye"}
    assert spec.hooks["on_failure"].types == {"run": "RunSummary"}


def test_a_pipelines_name_is_dashed_and_a_steps_is_kept() -> None:
    def Train_Model(n: int) -> Any:  # noqa: N802  # users write such names
        return make.options(name="Final.Step")(n)

    spec = spec_of(Train_Model)
    assert spec.name == "train_model"
    assert spec.steps[0].name == "Final.Step"


def test_a_loop_over_constants_unrolls() -> None:
    def flow(n: int) -> Any:
        for _ in range(3):
            n = make(n)
        return n

    assert [node.name for node in spec_of(flow).nodes] == ["make", "make-2", "make-3"]


def test_a_command_takes_handles_as_inputs_and_outputs_by_their_path() -> None:
    def flow(data: File, epochs: int) -> Any:
        model = Output("model", Directory)
        fit = CommandStep(["fit", "--data-dir", data, "--epochs", epochs, f"--name=run-{epochs}", "--out", model], name="train", pool="gpu")
        return fit[model]

    spec = spec_of(flow)
    (node,) = spec.steps
    assert set(node.inputs) == {"data_dir", "epochs", "argument_5"}
    assert node.outputs[0].kind == "directory"
    assert spec.outputs == {"result": FromNode(node="train", output="model")}


def test_a_step_pickles_by_its_name() -> None:
    again = pickle.loads(pickle.dumps(make))  # noqa: S301  # our own bytes
    optioned = pickle.loads(pickle.dumps(make.options(pool="gpu")))  # noqa: S301  # our own bytes

    assert again is make
    assert optioned.declared == {"pool": "gpu"}


def test_a_step_outside_of_a_pipeline_is_its_function() -> None:
    assert make(3) == 3
    assert make.fn(3) == 3


def test_the_graph_does_not_depend_on_when_it_is_drawn() -> None:
    def flow(n: int, xs: list[int]) -> Any:
        return collect(add(n, each(xs)))

    assert encode_spec(spec_of(flow)) == encode_spec(spec_of(flow))


def test_the_spec_of_a_known_pipeline_is_as_agreed() -> None:
    def known(raw: File, depths: Sequence[int] = (3, 5), floor: float = 0.8) -> list[int]:
        content = read(raw)
        models = make.options(pool="gpu", retries=2, timeout="10m")(each(depths))
        best = total(collect(models))
        with when(best >= floor):
            say.options(name="deploy")(best)
        text(f"{content}: {best:.1f}")
        return collect(models)

    found = canonical(spec_of(known).model_dump(mode="json", exclude_defaults=True))

    # Change it together with the version of specs, or not at all: a digest of it names a pipeline.
    assert found.decode() + "\n" == GOLDEN.read_text()
