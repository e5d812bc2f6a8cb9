"""What a binding makes of parameters, outputs and items."""

from typing import Any

import pytest

from penstock.contracts.artifacts import (
    INLINE_LIMIT,
    ArtifactRef,
    DirectoryEntry,
    DirectoryManifest,
    ListValue,
    RecordValue,
    SelectedValue,
    TemplateValue,
    Value,
    inline,
)
from penstock.contracts.bindings import (
    Binding,
    Compare,
    Either,
    Files,
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
from penstock.contracts.errors import ContractError
from penstock.contracts.spec import OutputSpec, PipelineSpec, encode_spec
from penstock.contracts.states import StepState
from penstock.engine.core.plan import plan_of
from penstock.engine.core.resolve import Surroundings
from penstock.engine.core.rows import StepRow
from penstock.engine.core.wants import ManifestsNeeded
from tests.engine.small_pipelines import step

BLOB = ArtifactRef(uri="cas:sha256:a", digest="sha256:a", size=9000, media_type="application/octet-stream")
FOLDER = ArtifactRef(uri="cas:sha256:f", digest="sha256:f", size=90, kind="directory")
PATHS = ("a.csv", "deep/b.csv", "deep/er/c.csv", "deep/er/.hidden", "README")
SPEC = PipelineSpec(
    name="p",
    nodes=(
        step("made"),
        step("skipped"),
        step("several").model_copy(update={"outputs": (OutputSpec(name="model"), OutputSpec(name="score"))}),
    ),
)


def ended(node: int, state: StepState, **outputs: Value) -> StepRow:
    row = StepRow(node=node, item=0, parent_item=0, state=state, waiting=0)
    row.set_outputs(outputs)
    return row


def value_of(binding: Binding, **parameters: Value) -> Value | None:
    rows = (
        ended(0, StepState.SUCCEEDED, result=inline({"deep": [1, 2]})),
        ended(1, StepState.SKIPPED),
        ended(2, StepState.SUCCEEDED, model=BLOB, score=inline(0.5)),
    )
    manifest = DirectoryManifest(files=tuple(DirectoryEntry(path=path, digest=f"sha256:{path}", size=1) for path in PATHS))
    surroundings = Surroundings(plan_of(encode_spec(SPEC)), parameters, {row.place: row for row in rows}, {}, {FOLDER.digest: manifest})
    return surroundings.resolve(binding, (0,))


def constant(value: Any) -> Literal_:
    return Literal_(value=inline(value))


SKIPPED = FromNode(node="skipped")
MODEL = FromNode(node="several", output="model")
X = FromParameter(parameter="x")


def test_a_constant_a_parameter_and_an_output_are_what_they_are() -> None:
    assert value_of(constant(3)) == inline(3)
    assert value_of(X, x=inline("text")) == inline("text")
    assert value_of(FromNode(node="made")) == inline({"deep": [1, 2]})


def test_a_step_with_several_outputs_is_a_record_as_a_whole() -> None:
    assert value_of(FromNode(node="several", output=None)) == RecordValue(record={"model": BLOB, "score": inline(0.5)})


@pytest.mark.parametrize("binding", [SKIPPED, FromNode(node="several", output="none of them")])
def test_what_was_skipped_or_not_written_is_no_value(binding: Binding) -> None:
    assert value_of(binding) is None


@pytest.mark.parametrize(
    "binding",
    [
        Select(select=("x",), of=SKIPPED),
        Files(of=SKIPPED, glob="*"),
        Not(negate=SKIPPED),
        Compare(compare="<", left=SKIPPED, right=constant(1)),
        Compare(compare="<", left=constant(1), right=SKIPPED),
        ListOf(list=(constant(1), SKIPPED)),
        RecordOf(record={"a": constant(1), "b": SKIPPED}),
        Template(template=("a", TemplatePart(of=SKIPPED))),
        Either(either=(SKIPPED, SKIPPED)),
    ],
)
def test_what_is_made_of_no_value_is_no_value(binding: Binding) -> None:
    assert value_of(binding) is None


def test_either_is_the_first_that_is_there() -> None:
    assert value_of(Either(either=(SKIPPED, constant(2), constant(3)))) == inline(2)


# Parts


def test_parts_of_plain_values_are_taken_out() -> None:
    assert value_of(Select(select=("deep", -1), of=FromNode(node="made"))) == inline(2)


def test_parts_of_records_and_lists_of_values_are_taken_out() -> None:
    both = RecordValue(record={"pair": ListValue(list=(inline(1), BLOB))})

    assert value_of(Select(select=("pair", 1), of=X), x=both) == BLOB


def test_parts_of_stored_values_are_left_to_the_reader() -> None:
    assert value_of(Select(select=("deep", 0), of=MODEL)) == SelectedValue(select=("deep", 0), of=BLOB)


@pytest.mark.parametrize("path", [("missing",), ("deep", 7), ("deep", "x"), ("deep", 0, "x")])
def test_a_part_that_is_not_there_is_named(path: tuple[str | int, ...]) -> None:
    with pytest.raises(ContractError, match="the value has no part"):
        value_of(Select(select=path, of=FromNode(node="made")))


def test_lists_and_records_of_small_plain_values_become_one() -> None:
    assert value_of(ListOf(list=(constant(1), constant("a")))) == inline([1, "a"])
    assert value_of(RecordOf(record={"a": constant(None)})) == inline({"a": None})


def test_lists_and_records_with_stored_values_stay_apart() -> None:
    assert value_of(ListOf(list=(constant(1), MODEL))) == ListValue(list=(inline(1), BLOB))
    assert value_of(RecordOf(record={"m": MODEL})) == RecordValue(record={"m": BLOB})


def test_plain_values_that_are_too_large_together_stay_apart() -> None:
    half = "x" * (INLINE_LIMIT // 2)

    assert value_of(ListOf(list=(constant(half), constant(half)))) == ListValue(list=(inline(half), inline(half)))


# Conditions


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("==", False), ("!=", True), ("<", True), ("<=", True), (">", False), (">=", False)],
)
def test_values_are_compared(operator: Any, expected: bool) -> None:
    assert value_of(Compare(compare=operator, left=constant(1), right=constant(2))) == inline(expected)


def test_lists_and_records_are_compared_as_plain_data() -> None:
    listed, record = ListValue(list=(inline(1),)), RecordValue(record={"a": inline(1)})

    assert value_of(Compare(compare="==", left=X, right=constant([1])), x=listed) == inline(True)
    assert value_of(Compare(compare="==", left=X, right=constant({"a": 1})), x=record) == inline(True)


@pytest.mark.parametrize(("value", "expected"), [(0, True), ([], True), (1, False), ("a", False)])
def test_not_turns_what_counts_as_true(value: object, expected: bool) -> None:
    assert value_of(Not(negate=constant(value))) == inline(expected)


def test_what_can_not_be_ordered_says_so() -> None:
    with pytest.raises(ContractError, match="a condition compares 1 with 'a'"):
        value_of(Compare(compare="<", left=constant(1), right=constant("a")))


def test_a_condition_over_stored_bytes_says_what_it_can_look_at() -> None:
    with pytest.raises(ContractError, match="small plain values only"):
        value_of(Not(negate=MODEL))


# Text


def test_a_template_of_plain_values_is_text() -> None:
    template = Template(template=("lr=", TemplatePart(of=constant(0.125), format=".2f"), "/", TemplatePart(of=constant("x"))))

    assert value_of(template) == inline("lr=0.12/x")


def test_a_template_with_stored_values_is_put_together_by_the_reader() -> None:
    template = Template(template=("--model=", TemplatePart(of=MODEL), TemplatePart(of=constant(1))))

    assert value_of(template) == TemplateValue(template=("--model=", BLOB, "1"))


def test_a_format_that_does_not_fit_says_so() -> None:
    with pytest.raises(ContractError, match="'a' can't be formatted with 'd'"):
        value_of(Template(template=(TemplatePart(of=constant("a"), format="d"),)))


# Files


def found(pattern: str) -> list[str]:
    value = value_of(Files(of=X, glob=pattern), x=FOLDER)
    assert isinstance(value, ListValue)
    return [ref.digest.removeprefix("sha256:") for ref in value.list if isinstance(ref, ArtifactRef)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.csv", "README"]),
        ("*.csv", ["a.csv"]),
        ("*/*.csv", ["deep/b.csv"]),
        ("**/*.csv", ["a.csv", "deep/b.csv", "deep/er/c.csv"]),
        ("deep/**/*.csv", ["deep/b.csv", "deep/er/c.csv"]),
        ("nothing", []),
    ],
)
def test_files_of_a_directory_are_found_by_pattern(pattern: str, expected: list[str]) -> None:
    assert found(pattern) == expected


@pytest.mark.parametrize(
    ("path", "suffix", "name"), [("deep/b.csv", ".csv", "b.csv"), ("README", "", "README"), ("deep/er/.hidden", "", ".hidden")]
)
def test_one_file_of_a_directory_keeps_its_name_and_suffix(path: str, suffix: str, name: str) -> None:
    ref = value_of(Files(of=X, file=path), x=FOLDER)

    assert isinstance(ref, ArtifactRef)
    assert (ref.uri, ref.suffix, ref.name) == (f"cas:sha256:{path}", suffix, name)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ContractError, match=r"the directory has no file 'z\.csv'"):
        value_of(Files(of=X, file="z.csv"), x=FOLDER)


def test_files_of_what_is_no_directory_are_refused() -> None:
    with pytest.raises(ContractError, match="not a directory"):
        value_of(Files(of=X, glob="*"), x=BLOB)


def test_a_directory_that_was_not_read_yet_is_asked_for() -> None:
    unread = FOLDER.model_copy(update={"digest": "sha256:g"})

    with pytest.raises(ManifestsNeeded) as needed:
        value_of(Files(of=X, glob="*"), x=unread)

    assert needed.value.digests == {"sha256:g"}
