"""Runs on an engine, through its client: what is stored and submitted, and how results and failures come back."""

from collections.abc import Generator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.contracts.artifacts import ArtifactRef, Value, inline
from penstock.contracts.errors import GraphError, InvalidInput, RunFailed
from penstock.contracts.messages import Failure, SubmitRun
from penstock.contracts.spec import PipelineSpec, decode_spec
from penstock.contracts.states import FailureKind, RunState, StepState
from penstock.contracts.views import RunView, StepRunView
from penstock.sdk import File, collect, each, pipeline, step
from penstock.sdk.context import guest_import
from penstock.sdk.runs.run_ids import new_run_id
from penstock.sdk.runs.state_home import project_folder, using_engine
from tests.sdk.recording_engine import RecordingEngine, view_of


class Halves(NamedTuple):
    left: int
    right: int


@step
def halve(number: int) -> Halves:
    return Halves(number // 2, number - number // 2)


@step
def tally(file: File, days: Sequence[date]) -> int:
    return 1


@pipeline
def halves(number: int = 4) -> Halves:
    return halve(number)


@pipeline
def counting(file: File, days: Sequence[date]) -> int:
    return tally(file, days)


@pipeline
def many(numbers: list[int]) -> list[Halves]:
    return collect(halve(each(numbers)))


@pytest.fixture
def engine(tmp_path: Path) -> Generator[RecordingEngine]:
    engine = RecordingEngine(tmp_path / "home", succeed)
    with using_engine(engine):
        yield engine


def succeed(spec: PipelineSpec, request: SubmitRun) -> tuple[RunView, list[StepRunView]]:
    outputs: dict[str, Value] = {name: inline(i) for i, name in enumerate(spec.outputs)}
    step_runs = [
        StepRunView(step=node.name, state=StepState.SUCCEEDED, outputs={output.name: inline(i) for i, output in enumerate(node.outputs)})
        for node in spec.steps
    ]
    return view_of(spec, request, RunState.SUCCEEDED, outputs), step_runs


def fail(spec: PipelineSpec, request: SubmitRun) -> tuple[RunView, list[StepRunView]]:
    failure = Failure(kind=FailureKind.ERROR, message="ValueError: seven", traceback='File "flow.py", line 7, in halve\n', hint="use eight")
    return view_of(spec, request, RunState.FAILED, {}), [StepRunView(step="halve", state=StepState.FAILED, failure=failure)]


def interrupted(spec: PipelineSpec, request: SubmitRun) -> tuple[RunView, list[StepRunView]]:
    """A run that is still running, whose user loses patience."""
    return view_of(spec, request, RunState.RUNNING, {}), []


def test_a_result_of_several_outputs_comes_back_as_its_type(engine: RecordingEngine) -> None:
    run = halves.run(9)

    assert run.state is RunState.SUCCEEDED
    assert run.result() == Halves(0, 1)
    assert run[halve].result() == Halves(0, 1)
    assert run["halve"][0].result().right == 1


def test_parameters_travel_as_values_and_defaults_are_sent(engine: RecordingEngine) -> None:
    halves.run()

    assert engine.requests[0].parameters == {"number": inline(4)}


def test_the_snapshot_holds_the_projects_module(engine: RecordingEngine) -> None:
    halves.run()

    snapshot = decode_spec(engine.requests[0].spec).snapshot
    assert snapshot is not None
    assert "test_runs.py" in engine.local(snapshot).read_text()


def test_a_file_and_dates_are_stored_and_travel(engine: RecordingEngine, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")

    counting.run(File(tmp_path / "a.csv"), [date(2026, 11, 20)])

    file, days = engine.requests[0].parameters["file"], engine.requests[0].parameters["days"]
    assert isinstance(file, ArtifactRef)
    assert isinstance(days, ArtifactRef)
    assert (file.suffix, engine.local(file).read_text()) == (".csv", "x")
    assert days.json_value() == ["2026-11-20"]


def test_a_list_too_large_to_be_inline_is_a_list_of_inline_items(engine: RecordingEngine) -> None:
    many.run(list(range(5000)))

    value = engine.requests[0].parameters["numbers"]
    assert isinstance(value, ArtifactRef)
    assert value.kind == "list"
    assert engine.value_items(value)[4999] == inline(4999)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"number": "many"}, r"'number' takes int"),
        ({"nunber": 3}, r"did you mean 'number'"),
        ({"number": None}, r"'number' takes int"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(engine: RecordingEngine, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        halves.run(**arguments)

    assert engine.requests == []


def test_text_for_a_file_says_what_to_write(engine: RecordingEngine) -> None:
    arguments: dict[str, Any] = {"file": "wine.csv", "days": []}

    with pytest.raises(InvalidInput, match=r"write File\('wine\.csv'\)"):
        counting.run(**arguments)


def test_a_missing_file_and_a_folder_for_a_file_are_refused(engine: RecordingEngine, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing is there"):
        counting.run(File(tmp_path / "gone.csv"), [])
    with pytest.raises(InvalidInput, match=r"write Directory\(\.\.\.\)"):
        counting.run(File(tmp_path), [])


def test_a_failed_run_raises_with_the_users_traceback_first(engine: RecordingEngine) -> None:
    engine.answer = fail

    with pytest.raises(RunFailed) as caught:
        halves.run()

    text = str(caught.value)
    assert text.index('File "flow.py", line 7, in halve') < text.index("halve failed (error): ValueError: seven") < text.index("use eight")
    assert caught.value.run_id == engine.requests[0].run_id


def test_a_submitted_run_that_fails_can_be_looked_at(engine: RecordingEngine) -> None:
    engine.answer = fail

    run = halves.submit().wait()

    assert run.state is RunState.FAILED
    assert run["halve"].state is StepState.FAILED
    with pytest.raises(RunFailed, match="seven"):
        run["halve"].result()
    with pytest.raises(RunFailed, match="seven"):
        run.result()


async def test_a_run_can_be_awaited(engine: RecordingEngine) -> None:
    run = await halves.arun(3)

    assert run.result() == Halves(0, 1)


def test_options_of_a_run_are_submitted(engine: RecordingEngine) -> None:
    halves.options(name="mine", tags={"a": "b"}, experiment="e", rerun="halve", until="halve", keep_going=True, timeout="1m").run()

    (request,) = engine.requests
    assert (request.name, request.tags, request.experiment) == ("mine", {"a": "b"}, "e")
    assert (request.options.rerun, request.options.until, request.options.keep_going) == (("halve",), "halve", True)
    assert request.options.timeout_seconds == 60


def test_overrides_change_a_steps_options_for_this_run(engine: RecordingEngine) -> None:
    halves.options(overrides={"halve": {"pool": "gpu", "retries": 3}}).run()

    (spec,) = decode_spec(engine.requests[0].spec).steps
    assert (spec.pool, spec.retries.limit) == ("gpu", 3)


@pytest.mark.parametrize("option", [{"rerun": "havle"}, {"until": "havle"}, {"overrides": {"havle": {}}}])
def test_an_option_that_names_no_step_is_refused_with_the_nearest(engine: RecordingEngine, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"no step 'havle'; did you mean 'halve'"):
        halves.options(**option).run()


def test_an_unknown_run_option_is_refused_with_the_nearest() -> None:
    option: dict[str, Any] = {"tag": {}}

    with pytest.raises(GraphError, match=r"did you mean 'tags'"):
        halves.options(**option)


def test_an_unknown_step_of_a_run_is_refused_with_the_nearest(engine: RecordingEngine) -> None:
    run = halves.run()

    with pytest.raises(InvalidInput, match=r"no step 'havle'; did you mean 'halve'"):
        run["havle"]


def test_several_step_runs_must_be_told_apart(engine: RecordingEngine) -> None:
    run = halves.run()
    engine.step_run_views = [StepRunView(step="halve", index=(i,), state=StepState.SUCCEEDED) for i in range(3)]

    assert [step_run.index for step_run in run["halve"]] == [(0,), (1,), (2,)]
    with pytest.raises(InvalidInput, match=r"3 step runs; take one of them: run\['halve'\]\[0\]\.result\(\)"):
        run["halve"].result()


def test_why_and_cancel_reach_the_engine(engine: RecordingEngine) -> None:
    run = halves.run()

    run.cancel("enough")

    assert run.why("halve").verdict == "told by a test"
    assert engine.cancelled == [run.run_id]


def test_an_interrupt_cancels_the_run_and_waits_for_that(engine: RecordingEngine) -> None:
    engine.answer = interrupted

    with pytest.raises(KeyboardInterrupt):
        halves.run()

    assert engine.cancelled == [engine.requests[0].run_id]
    assert engine.views[engine.cancelled[0]].state is RunState.CANCELLED


def test_a_run_shows_itself_in_a_notebook(engine: RecordingEngine) -> None:
    html = halves.options(name="<b>").run()._repr_html_()  # notebooks call it  # pyright: ignore[reportPrivateUsage]

    assert "&lt;b&gt;" in html
    assert "halve" in html


def test_a_run_while_a_guest_imports_the_module_shows_the_guard(engine: RecordingEngine) -> None:
    with guest_import("flow"), pytest.raises(InvalidInput, match=r'if __name__ == "__main__":'):
        halves.run()


def test_replacing_a_step_needs_inline(engine: RecordingEngine) -> None:
    with pytest.raises(InvalidInput, match="inline=True"):
        halves.options(replace={"halve": halve.fn}).run()


def test_the_project_of_a_file_is_the_nearest_marked_folder(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert project_folder(tmp_path / "a" / "b" / "flow.py") == tmp_path


def test_run_ids_are_26_characters_and_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(50)]

    assert all(len(run_id) == 26 and run_id == run_id.lower() for run_id in ids)
    assert len(set(ids)) == 50
    assert [run_id[:9] for run_id in ids] == sorted(run_id[:9] for run_id in ids)
