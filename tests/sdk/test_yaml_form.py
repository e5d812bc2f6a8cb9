"""Pipelines as YAML documents."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from penstock.contracts.errors import GraphError
from penstock.contracts.spec import spec_digest
from penstock.sdk import Directory, RunSummary, collect, each, either, otherwise, pipeline, step, when
from penstock.sdk.drawing.yaml_form import from_yaml, to_yaml
from tests.sdk.graph_steps import folder, make, read, say, total
from tests.sdk.test_acceptance_pipelines import FOLDER, PIPELINES


@step
def told(run: RunSummary) -> None:
    """Tells."""


@step
def words(text: str) -> str:
    return text


@pipeline(on_failure=told)
def everything(n: int, images: Directory, xs: tuple[int, ...] = (1, 2)) -> int:
    """Uses what there is."""
    item = make(each(xs))
    many = total(collect(item, missing="drop", at_least=0.5, until=item >= 3))
    with when(many > 3):
        one = make.options(pool="gpu", retries=2, timeout="10m", env_vars={"A": "b"})(n)
    with otherwise():
        one = make.options(after=say(n))(many)
    words(f"{many:.2f} of {n}")
    read(folder(n).file("a.csv"))
    return either(one, many)


@pytest.mark.parametrize(("module", "name"), PIPELINES)
def test_a_document_of_an_acceptance_pipeline_has_its_digest(module: str, name: str, tmp_path: Path) -> None:
    flow = getattr(import_module(f"tests.sdk.surface.pipelines.{module}"), name)
    # Beside the scripts, so that it can name them.
    document = FOLDER / f"{name}-{tmp_path.name}.yaml"
    try:
        document.write_text(to_yaml(flow, FOLDER))
        again = from_yaml(document)
    finally:
        document.unlink(missing_ok=True)

    assert spec_digest(again.spec) == spec_digest(flow.trace().spec)


def test_a_document_with_every_kind_of_value_has_the_same_digest_and_files(tmp_path: Path) -> None:
    document = tmp_path / "penstock.yaml"
    document.write_text(to_yaml(everything, tmp_path))

    again = from_yaml(document)

    assert again.spec == everything.trace().spec
    assert set(again.files) == set(everything.trace().files)
    assert str(document) in again.sources


WRITTEN = """
name: small
parameters:
- {name: n, type: int}
nodes:
- name: make
  function: tests.sdk.graph_steps:make
  inputs:
    number: {parameter: n}
  pool: cpu
outputs:
  result: {node: make}
output_types:
  result: int
"""


def test_a_document_written_by_hand_needs_neither_types_nor_digests(tmp_path: Path) -> None:
    document = tmp_path / "penstock.yaml"
    document.write_text(WRITTEN)

    (made,) = from_yaml(document).spec.steps

    assert made.types == {"number": "int"}
    assert made.code.digest


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replaced("pool: cpu", "pol: cpu"), r"nodes\[0\]: unknown key 'pol'; did you mean 'pool'"),
        (replaced("outputs:", "output:"), r"unknown key 'output'; did you mean 'outputs'"),
        (replaced("{parameter: n}", "{parametr: n}"), r"inputs\.number: a value is written as"),
        (replaced("{parameter: n}", "{parameter: m}"), r"needs the parameter 'm'"),
        (replaced("{node: make}", "{node: make, outpt: x}"), r"outputs\.result: unknown key 'outpt'; did you mean 'output'"),
        (replaced("graph_steps:make", "graph_steps:mak"), r"there is no function"),
        (replaced("graph_steps:make", "graph_steps"), r"'module:name'"),
        (replaced("  function: tests.sdk.graph_steps:make\n", ""), r"either a function"),
        (replaced("pool: cpu", "timeout_seconds: soon"), r"timeout_seconds"),
        (replaced("name: small", "name: [small"), r"no YAML"),
        (replaced(WRITTEN, "- 1"), r"a mapping is wanted"),
    ],
)
def test_a_wrong_document_is_refused_with_the_place(change: Callable[[str], str], told: str, tmp_path: Path) -> None:
    document = tmp_path / "penstock.yaml"
    document.write_text(change(WRITTEN))

    with pytest.raises(GraphError, match=told):
        from_yaml(document)


def test_a_constant_that_is_no_json_can_not_be_written(tmp_path: Path) -> None:
    @pipeline
    def flow() -> int:
        return total(list(range(5000)))

    with pytest.raises(GraphError, match="make it a parameter"):
        to_yaml(flow, tmp_path)
