"""A command line that is connected to a fake engine and to pipelines that need no tracing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import Compare, FromItem, FromNode, FromParameter, Literal_
from penstock.contracts.spec import CollectSpec, EachSpec, FunctionTarget, Identity, OutputSpec, ParameterSpec, PipelineSpec, StepSpec
from penstock.deploy.cli.application import app
from penstock.deploy.cli.targets import Target
from penstock.deploy.cli.wiring import Wiring
from penstock.sdk.drawing.traced import Traced
from tests.deploy.fakes import FakeEngine

Invoke = Callable[..., Result]


def a_step(name: str, **fields: object) -> StepSpec:
    return StepSpec.model_validate(
        {
            "name": name,
            "run": FunctionTarget(module="p", function=name),
            "code": Identity(digest=f"sha256:{name}"),
            "environment": Identity(digest="sha256:environment"),
            "outputs": (OutputSpec(),),
            **fields,
        }
    )


def retrain_spec() -> PipelineSpec:
    """Split, train for every depth, evaluate item by item, join, gate."""
    integers = {"type": "array", "items": {"type": "integer"}}
    return PipelineSpec(
        name="retrain",
        doc="Trains again.",
        parameters=(
            ParameterSpec(name="raw", type="File", read="file", doc="The table."),
            ParameterSpec(name="depths", type="Sequence[int]", schema=integers, required=False, default=inline([3, 5])),
            ParameterSpec(name="floor", type="float", schema={"type": "number"}, required=False, default=inline(0.6)),
            ParameterSpec(name="label", type="str", read="text", required=False, default=inline("y")),
        ),
        nodes=(
            a_step("split", inputs={"raw": FromParameter(parameter="raw")}, outputs=(OutputSpec(name="train"), OutputSpec(name="test"))),
            EachSpec(name="each-depth", each=(FromParameter(parameter="depths"),)),
            a_step(
                "train",
                inputs={"data": FromNode(node="split", output="train"), "depth": FromItem(item="each-depth")},
                scope=("each-depth",),
                pool="gpu",
            ),
            a_step(
                "evaluate",
                inputs={"model": FromNode(node="train"), "test": FromNode(node="split", output="test")},
                scope=("each-depth",),
            ),
            CollectSpec(name="collect-model", collect=FromNode(node="train"), over="each-depth"),
            CollectSpec(name="collect-score", collect=FromNode(node="evaluate"), over="each-depth"),
            a_step("pick_best", inputs={"models": FromNode(node="collect-model"), "scores": FromNode(node="collect-score")}),
            a_step("final", inputs={"model": FromNode(node="pick_best"), "test": FromNode(node="split", output="test")}),
            a_step(
                "deploy",
                inputs={"model": FromNode(node="pick_best")},
                when=(Compare(compare=">", left=FromNode(node="final"), right=Literal_(value=inline(0.6))),),
            ),
        ),
        outputs={"result": FromNode(node="pick_best")},
        output_types={"result": "Model"},
    )


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(home=tmp_path / "home")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline file and a table, as the current one; its state folder is private."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text("import penstock.sdk\n")
    (folder / "wine.csv").write_text("x,y\n1,0\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def traces() -> list[Target]:
    """Every target that the tracer was asked for."""
    return []


@pytest.fixture
def penstock(engine: FakeEngine, project: Path, traces: list[Target]) -> Invoke:
    """Calls the command line as `penstock("run", "pipeline.py")`."""

    def trace(target: Target) -> Traced:
        traces.append(target)
        return Traced(spec=retrain_spec(), notes=("split reads the variable REGION",))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), obj=Wiring(connect=lambda home: engine, trace=trace))

    return invoke
