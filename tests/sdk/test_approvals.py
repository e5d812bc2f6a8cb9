"""`approval(...)` and `register(...)`: how they are drawn, written down, and answered in inline runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.contracts.bindings import FromNode, Select, Template
from penstock.contracts.errors import GraphError, InvalidInput
from penstock.contracts.named_artifacts import unresolved
from penstock.contracts.spec import StepSpec, decode_spec, encode_spec, spec_digest
from penstock.contracts.targets import ApprovalTarget, RegisterTarget
from penstock.sdk import Decision, Directory, File, approval, each, pipeline, register, step, when
from penstock.sdk.drawing.yaml_form import drawn_yaml, from_yaml, to_yaml
from penstock.sdk.pipelines import Pipeline
from tests.sdk.graph_steps import make, say

DEFAULT = File("artifact://churn@prod")


@step
def told(decision: Decision) -> str:
    return f"{decision.approved} by {decision.by}"


@pipeline
def gated(n: int) -> str:
    score = make(n)
    decision = approval(
        f"Deploy {score}?", approvers=["ml-leads", "ada"], timeout="2d", on_timeout="fail", evidence=[score, f"of {n}"], name="deploy-ok"
    )
    with when(decision.approved):
        register(score, "churn", alias="candidate")
    return told(decision)


@pipeline
def by_region(regions: list[str]) -> None:
    approval(f"Deploy to {each(regions)}?")
    approval("All of them?")


@pipeline
def from_name(model: File = DEFAULT) -> None:
    register(model, "copy")


def drawn(flow: Pipeline[..., Any], name: str) -> StepSpec:
    return next(node for node in flow.trace().spec.steps if node.name == name)


def test_an_approval_is_a_step_that_nobody_executes() -> None:
    node = drawn(gated, "deploy-ok")

    assert node.run == ApprovalTarget(approvers=("ml-leads", "ada"), timeout_seconds=172800, on_timeout="fail")
    assert isinstance(node.inputs["question"], Template)
    assert list(node.inputs) == ["question", "make", "evidence-2"]
    assert (node.is_dispatched, node.cache) == (False, False)


def test_a_field_of_the_decision_is_a_condition() -> None:
    node = drawn(gated, "register-churn")

    assert node.run == RegisterTarget(name="churn", alias="candidate")
    assert node.when == (Select(select=("approved",), of=FromNode(node="deploy-ok")),)


def test_under_a_fan_out_every_item_is_asked_for() -> None:
    assert drawn(by_region, "approval").scope == ("each-approval.question",)
    assert drawn(by_region, "approval-2").scope == ()


def test_its_spec_and_its_document_keep_its_identity(tmp_path: Path) -> None:
    spec = gated.trace().spec
    document = tmp_path / "gated.yaml"
    document.write_text(to_yaml(gated, tmp_path))

    assert decode_spec(encode_spec(spec)) == spec
    assert spec_digest(from_yaml(document).spec) == spec_digest(spec)
    assert "deploy-ok(question=" in gated.text


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("{name: ok, approval: {approver: [ada]}, inputs: {question: {value: Go}}}", "unknown key 'approver'; did you mean 'approvers'"),
        ("{name: ok, approval: {on_timeout: never}, inputs: {question: {value: Go}}}", "on_timeout"),
        ("{name: ok, approval: {}}", "'ok' has no input 'question'"),
        ("{name: ok, register: {name: A}, inputs: {artifact: {value: 1}}}", "name"),
        ("{name: ok, register: {name: a}, function: 'm:f', inputs: {artifact: {value: 1}}}", "a step is one of"),
    ],
)
def test_a_document_with_a_wrong_approval_is_refused(tmp_path: Path, node: str, message: str) -> None:
    document = tmp_path / "flow.yaml"
    document.write_text(f"name: flow\nnodes:\n- {node}\n")

    with pytest.raises(GraphError, match=message):
        drawn_yaml(document)


def loosely(value: object) -> Any:
    """A value of the wrong type, as people give it who check no types."""
    return value


MISUSES: list[tuple[Callable[[Any], object], str]] = [
    (lambda n: approval(n), r"the question is text"),
    (lambda n: approval("Go?", approvers="ada"), r"\['ml-leads'\]"),
    (lambda n: approval("Go?", on_timeout=loosely("never")), r"on_timeout"),
    (lambda n: approval("Go?", evidence=n), r"a list of results"),
    (lambda n: approval("Go?", name=f"ask {n}"), r"can't depend on a value of the run"),
    (lambda n: register(3, "churn"), r"no result of a step"),
    (lambda n: register(n, "Churn"), r"name: String should match pattern"),
    (lambda n: register(n, "churn", alias="3"), r"alias: String should match pattern"),
    (lambda n: register(say(n), "churn"), r"returns nothing"),
    (lambda n: told(loosely(File("artifact://churn@prod"))), r"takes Decision"),
    (lambda n: make(loosely([File("artifact://churn@prod")])), r"takes int|parameter of the pipeline|remote"),
]


@pytest.mark.parametrize(("misuse", "mend"), MISUSES)
def test_a_misuse_is_refused_with_its_mend(misuse: Callable[[Any], object], mend: str) -> None:
    def wrong(n: int) -> Any:
        return misuse(n)

    with pytest.raises(GraphError, match=mend):
        pipeline(wrong).trace()


CALLS: list[Callable[[], object]] = [lambda: approval("Go?"), lambda: register(1, "churn")]


@pytest.mark.parametrize("call", CALLS)
def test_outside_of_a_pipeline_they_have_no_meaning(call: Callable[[], object]) -> None:
    with pytest.raises(GraphError, match=r"only in the body of a function under @pipeline"):
        call()


def test_a_named_artifact_as_a_default_is_looked_up_by_the_engine() -> None:
    assert from_name.trace().spec.parameters[0].default == unresolved("churn@prod")


def test_an_inline_run_is_answered_by_a_replacement_and_registers_nothing() -> None:
    def answer(question: str) -> Decision:
        return Decision(approved=question == "Deploy 1?", by="the test")

    run = gated.options(inline=True, replace={"deploy-ok": answer, "make": unchanged}).run(1)

    assert run.result() == "True by the test"
    assert run["register-churn"].state == "succeeded"
    assert "gives nothing a name" in run.why("register-churn").verdict


def test_an_inline_run_without_an_answer_says_how_to_give_one() -> None:
    with pytest.raises(
        InvalidInput, match=r"nobody to ask; answer with replace=\{'deploy-ok': lambda question: Decision\(approved=True\)\}"
    ):
        gated.options(inline=True).run(1)


@pytest.mark.parametrize("given", [File("artifact://churn@prod"), Directory("artifact://churn")])
def test_an_inline_run_has_no_named_artifacts(given: File | Directory) -> None:
    with pytest.raises(InvalidInput, match=r"needs an engine"):
        pipeline(anything).options(inline=True).run(given)


def unchanged(number: int) -> int:
    return number


def anything(value: Any) -> Any:
    return told.options(name="told")(value)
