"""`penstock graph` and `penstock check`: pictures are golden files, whose change is looked at."""

from pathlib import Path

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import (
    Binding,
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
from penstock.contracts.diagrams import as_mermaid
from penstock.contracts.drawing import as_text, expression, value_text
from penstock.contracts.named_artifacts import unresolved
from penstock.contracts.spec import PipelineSpec
from tests.deploy.conftest import Invoke, a_step

GRAPHS = Path(__file__).parent / "graphs"


@pytest.mark.parametrize(("form", "golden"), [("text", "retrain.txt"), ("mermaid", "retrain.mmd"), ("dot", "retrain.dot")])
def test_a_graph_is_drawn_as_its_golden_file(penstock: Invoke, form: str, golden: str) -> None:
    result = penstock("graph", "pipeline.py", "--format", form)

    assert result.exit_code == 0, result.output
    assert result.output == (GRAPHS / golden).read_text()


@pytest.mark.parametrize(
    ("binding", "text"),
    [
        (Literal_(value=inline("a")), '"a"'),
        (Select(select=("auc", 0, "a b"), of=FromNode(node="fit")), 'fit.auc[0]["a b"]'),
        (Files(of=FromParameter(parameter="day"), glob="*.csv"), 'day.files("*.csv")'),
        (Files(of=FromParameter(parameter="day"), file="a.csv"), 'day.file("a.csv")'),
        (ListOf(list=(FromNode(node="a"), FromNode(node="b", output="c"))), "[a, b.c]"),
        (RecordOf(record={"x": FromNode(node="a")}), "{x: a}"),
        (Template(template=("run-", TemplatePart(of=FromParameter(parameter="day")))), 'f"run-{day}"'),
        (Either(either=(FromNode(node="a"), FromNode(node="b"))), "either(a, b)"),
        (Not(negate=FromNode(node="a")), "not (a)"),
    ],
)
def test_a_binding_reads_as_its_author_wrote_it(binding: Binding, text: str) -> None:
    nodes = {name: a_step(name) for name in ("a", "b", "fit")}

    assert expression(binding, dict(nodes)) == text


def test_a_long_constant_is_cut() -> None:
    assert len(value_text(inline("x" * 200))) == 40


def test_a_named_artifact_is_shown_by_its_name() -> None:
    assert value_text(unresolved("churn@prod")) == "artifact://churn@prod"


def test_an_empty_pipeline_is_its_signature() -> None:
    assert as_text(PipelineSpec(name="nothing")) == "nothing()"


def test_names_that_differ_in_one_sign_stay_apart_in_mermaid() -> None:
    spec = PipelineSpec(name="p", nodes=(a_step("a-b"), a_step("a_b"), a_step("a.b")))

    lines = as_mermaid(spec).splitlines()[1:]

    assert len({line.split("[")[0].strip() for line in lines}) == 3


def test_check_shows_the_signature_and_warns(penstock: Invoke) -> None:
    result = penstock("check", "pipeline.py")

    assert result.exit_code == 0
    assert result.output.startswith("retrain(raw: File, depths: Sequence[int] = [3, 5]")
    assert "warning: split reads the variable REGION" in result.output
    assert "pool 'gpu' (train) is not declared here" in result.output


def test_check_of_nothing_says_what_to_name(penstock: Invoke) -> None:
    result = penstock("check")

    assert result.exit_code == 2
    assert "name a pipeline file" in result.output
