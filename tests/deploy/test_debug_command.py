"""`penstock debug`: the step's function in this process, with the inputs it had, and a debugger where it raises."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import FromParameter
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.contracts.states import StepState
from penstock.contracts.views import StepRunView
from penstock.deploy.cli.application import app
from penstock.deploy.cli.targets import Target
from penstock.deploy.cli.wiring import Wiring
from penstock.sdk.drawing.traced import Traced
from tests.deploy.conftest import a_step
from tests.deploy.fakes import FakeEngine

STEPS = """
import os
from penstock.sdk import step

@step
def double(x: int) -> int:
    if x == 13:
        raise ValueError("no 13")
    print("in", os.listdir())
    return 2 * x
"""


@pytest.fixture
def debug(engine: FakeEngine, project: Path) -> Iterator[FakeEngine]:
    """An engine whose last run had the steps of a module that only this project has."""
    (project / "pipeline_to_debug.py").write_text(STEPS)
    spec = PipelineSpec(
        name="p",
        parameters=(ParameterSpec(name="x"),),
        nodes=(a_step("double", inputs={"x": FromParameter(parameter="x")}),),
    )
    step = spec.steps[0].model_copy(update={"run": spec.steps[0].run.model_copy(update={"module": "pipeline_to_debug"})})
    spec = spec.model_copy(update={"nodes": (step,)})
    assert called(engine, spec, "run", "pipeline_to_debug.py", "-p", "x=1").exit_code == 0
    yield engine
    sys.modules.pop("pipeline_to_debug", None)


def called(engine: FakeEngine, spec: PipelineSpec, *arguments: str, typed: str = "") -> Result:
    def trace(target: Target) -> Traced:
        return Traced(spec=spec)

    return CliRunner().invoke(app, list(arguments), obj=Wiring(connect=lambda home: engine, trace=trace), input=typed)


def ended_with(engine: FakeEngine, x: int) -> None:
    engine.scripted["double"] = [StepRunView(step="double", state=StepState.SUCCEEDED, inputs={"x": inline(x)})]


def test_a_step_that_works_shows_its_inputs_and_what_it_returned(debug: FakeEngine) -> None:
    ended_with(debug, 4)

    result = called(debug, PipelineSpec(name="p"), "debug", "double")

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["x = 4", "in []", "double returned 8"]


def test_a_debugger_opens_where_the_step_raises(debug: FakeEngine) -> None:
    ended_with(debug, 13)

    result = called(debug, PipelineSpec(name="p"), "debug", "double", typed="p x * 1000\nq\n")

    assert result.exit_code == 1
    assert "13000" in result.output
    assert 'raise ValueError("no 13")' in result.output
    assert "debugging.py" not in result.output


def test_the_paths_of_the_project_are_taken_back(debug: FakeEngine, project: Path) -> None:
    ended_with(debug, 4)

    called(debug, PipelineSpec(name="p"), "debug", "double")

    assert str(project) not in sys.path
    assert Path.cwd() == project


def test_a_step_that_never_got_its_inputs_says_why(debug: FakeEngine) -> None:
    debug.scripted["double"] = [StepRunView(step="double", state=StepState.SKIPPED, reason="split failed")]

    result = called(debug, PipelineSpec(name="p"), "debug", "double")

    assert result.exit_code == 2
    assert "never got its inputs: split failed" in result.output
