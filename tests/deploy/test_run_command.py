"""`penstock run`: parameters, output, exit codes."""

import json
from pathlib import Path

import pytest

from penstock.contracts.artifacts import ArtifactRef, inline
from penstock.contracts.messages import Failure
from penstock.contracts.states import FailureKind, StepState
from penstock.contracts.views import StepRunView
from penstock.deploy.cli.targets import Target
from tests.deploy.conftest import Invoke
from tests.deploy.fakes import FakeEngine


def test_a_run_that_succeeds_exits_with_0_and_says_what_was_executed(penstock: Invoke) -> None:
    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv")

    assert result.exit_code == 0, result.output
    assert "retrain-1 succeeded" in result.output
    assert "6 executed, 0 hits" in result.output


def test_the_header_shows_parameters_and_the_sizes_of_fan_outs(penstock: Invoke) -> None:
    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv", "-p", "depths=[2, 4, 8]")

    assert "depths = [2, 4, 8]" in result.output
    assert "train: 3" in result.output


def test_values_are_read_by_their_declared_type(penstock: Invoke, engine: FakeEngine) -> None:
    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv", "-p", "depths=3", "-p", "depths=7", "-p", "floor=0.5", "-p", "label=12")

    assert result.exit_code == 0, result.output
    (request,) = engine.submitted
    values = {name: value.json_value() for name, value in request.parameters.items() if isinstance(value, ArtifactRef) and value.is_inline}
    assert values == {"depths": [3, 7], "floor": 0.5, "label": "12"}
    raw = request.parameters["raw"]
    assert isinstance(raw, ArtifactRef)
    assert raw.suffix == ".csv"


def test_parameters_come_from_a_file_and_the_command_line_goes_first(penstock: Invoke, engine: FakeEngine, project: Path) -> None:
    (project / "nightly.yaml").write_text("raw: wine.csv\nfloor: 0.1\ndepths: [1]\n")

    penstock("run", "pipeline.py", "--params", "nightly.yaml", "-p", "floor=0.2")

    (request,) = engine.submitted
    assert request.parameters["floor"] == inline(0.2)
    assert request.parameters["depths"] == inline([1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs a value for raw (File)"),
        (("-p", "raw=wine.csv", "-p", "depth=3"), "no parameter 'depth'; did you mean 'depths'?"),
        (("-p", "raw=wine.csv", "-p", "floor=high"), "'floor' wants float; \"high\" does not fit"),
        (("-p", "raw=beer.csv"), "there is nothing at"),
        (("-p", "raw=wine.csv", "--rerun", "tarin"), "no step 'tarin'; did you mean 'train'?"),
        (("-p", "raw=wine.csv", "--save", "model=x"), "no output 'model'"),
        (("-p", "raw"), "name=value"),
        (("-p", "raw=wine.csv", "--set", "train.memory=3"), "--set train.pool=gpu"),
    ],
)
def test_a_wrong_parameter_exits_with_2_and_names_it(penstock: Invoke, engine: FakeEngine, arguments: tuple[str, ...], said: str) -> None:
    result = penstock("run", "pipeline.py", *arguments)

    assert result.exit_code == 2
    assert said in result.output
    assert not engine.submitted


def test_a_file_that_is_not_there_exits_with_2_and_names_the_nearest(penstock: Invoke) -> None:
    result = penstock("run", "pipelin.py")

    assert result.exit_code == 2
    assert "did you mean 'pipeline.py'?" in result.output


def test_a_failed_run_exits_with_1_and_shows_the_users_traceback_first(penstock: Invoke, engine: FakeEngine) -> None:
    traceback = 'File "pipeline.py", line 3, in split\nValueError: no rows'
    failure = Failure(kind=FailureKind.ERROR, message="ValueError: no rows", traceback=traceback)
    engine.scripted["split"] = [StepRunView(step="split", state=StepState.FAILED, failure=failure)]
    engine.scripted["train"] = [StepRunView(step="train", state=StepState.SKIPPED, reason="split failed")]

    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv")

    assert result.exit_code == 1
    assert result.output.index("line 3, in split") < result.output.index("penstock debug split") < result.output.index("retrain-1 failed")
    assert "split failed" in result.output


def test_the_last_line_of_json_is_the_run(penstock: Invoke, engine: FakeEngine) -> None:
    engine.outputs = {"result": inline(0.9)}
    engine.scripted["train"] = [StepRunView(step="train", index=(i,), state=StepState.SUCCEEDED, hit=i == 0) for i in (0, 1)]

    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv", "--json")

    document = json.loads(result.stdout.splitlines()[-1])
    assert document["state"] == "succeeded"
    assert document["name"] == "retrain-1"
    assert document["outputs"] == {"result": 0.9}
    trains = [step for step in document["steps"] if step["name"] == "train"]
    assert [(step["index"], step["hit"]) for step in trains] == [([0], True), ([1], False)]


def test_an_output_is_saved_where_it_is_wanted(penstock: Invoke, engine: FakeEngine, project: Path) -> None:
    engine.outputs = {"result": engine.put_bytes(b"<html>", media_type="text/html", suffix=".html")}

    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv", "--save", "result=out/report.html")

    assert result.exit_code == 0, result.output
    assert (project / "out" / "report.html").read_bytes() == b"<html>"


def test_help_of_a_file_lists_its_parameters(penstock: Invoke, engine: FakeEngine) -> None:
    result = penstock("run", "pipeline.py", "--help")

    assert result.exit_code == 0
    assert "raw" in result.output
    assert "The table." in result.output
    assert "default [3, 5]" in result.output
    assert not engine.submitted


def test_the_second_run_does_not_trace_again(penstock: Invoke, traces: list[Target]) -> None:
    penstock("run", "pipeline.py", "-p", "raw=wine.csv")
    penstock("run", "pipeline.py", "-p", "raw=wine.csv")

    assert len(traces) == 1


def test_an_edited_pipeline_file_is_traced_again(penstock: Invoke, traces: list[Target], project: Path) -> None:
    penstock("run", "pipeline.py", "-p", "raw=wine.csv")
    (project / "pipeline.py").write_text("import penstock.sdk as sdk\n")
    penstock("run", "pipeline.py", "-p", "raw=wine.csv")

    assert len(traces) == 2


def test_without_a_terminal_there_are_lines_and_no_control_codes(penstock: Invoke) -> None:
    result = penstock("run", "pipeline.py", "-p", "raw=wine.csv")

    assert "\x1b" not in result.output
    assert any(line.split()[:2] == ["split", "succeeded"] for line in result.output.splitlines())
