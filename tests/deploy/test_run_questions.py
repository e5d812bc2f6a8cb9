"""What can be asked of runs that were: why, logs, runs, artifacts, cache, gc, doctor."""

import json
from pathlib import Path

import pytest

from penstock.contracts.artifacts import ListValue, inline
from penstock.contracts.messages import Metric
from penstock.contracts.states import StepState
from penstock.contracts.views import AttemptView, Difference, StepRunView, Why
from tests.deploy.conftest import Invoke
from tests.deploy.fakes import FakeEngine


@pytest.fixture
def ran(penstock: Invoke, engine: FakeEngine) -> FakeEngine:
    """An engine with one run, in which `train` was fanned out and `split` had two outputs."""
    log = engine.put_bytes(b"62 rows\n", media_type="text/plain")
    table = engine.put_bytes(b"parquet", media_type="application/vnd.apache.parquet", suffix=".parquet")
    engine.scripted["split"] = [
        StepRunView(
            step="split",
            state=StepState.SUCCEEDED,
            outputs={"train": table, "test": inline([1])},
            attempts=(AttemptView(number=1, state="succeeded", log=log, seconds=0.5),),
        )
    ]
    engine.scripted["train"] = [
        StepRunView(
            step="train",
            index=(i,),
            state=StepState.SUCCEEDED,
            key=f"key-{i}",
            inputs={"data": table, "depth": inline(i)},
            outputs={"result": inline(i * 10)},
            metrics=(Metric(name="accuracy", value=0.9 + i / 100),),
        )
        for i in (0, 1)
    ]
    engine.scripted["pick_best"] = [
        StepRunView(
            step="pick_best",
            state=StepState.SUCCEEDED,
            inputs={"models": ListValue(list=(inline(0), inline(10)))},
            outputs={"result": inline(10)},
        )
    ]
    engine.reasons["train"] = Why(
        step="train",
        state=StepState.SUCCEEDED,
        verdict="executed: input data changed",
        compared_with="retrain-0",
        differences=(Difference(component="input data", before="sha256:a", after="sha256:b"),),
    )
    penstock("run", "pipeline.py", "-p", "raw=wine.csv")
    return engine


@pytest.mark.usefixtures("ran")
def test_why_of_a_fan_out_is_one_line_where_the_reason_is_one(penstock: Invoke) -> None:
    result = penstock("why", "train")

    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "train/0 … 1 (2)  executed: input data changed"
    assert result.output.splitlines()[1].startswith("compared with retrain-0")


@pytest.mark.usefixtures("ran")
def test_why_alone_answers_for_every_step_of_the_last_run(penstock: Invoke) -> None:
    result = penstock("why")

    assert [line.split()[0] for line in result.output.splitlines()[:-1]] == ["split", "train/0", "evaluate", "pick_best", "final", "deploy"]


@pytest.mark.usefixtures("ran")
def test_why_in_full_shows_both_values_of_what_differs(penstock: Invoke) -> None:
    assert "    input data: sha256:a -> sha256:b" in penstock("why", "retrain-1", "train/1", "--full").output


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize("words", [("tarin",), ("retrain-1", "tarin/0")])
def test_a_wrong_step_exits_with_2_and_names_the_nearest(penstock: Invoke, words: tuple[str, ...]) -> None:
    result = penstock("why", *words)

    assert result.exit_code == 2
    assert "did you mean 'train'?" in result.output


def test_a_question_before_the_first_run_exits_with_2(penstock: Invoke) -> None:
    assert penstock("why", "train").exit_code == 2


@pytest.mark.usefixtures("ran")
def test_logs_are_what_the_step_printed(penstock: Invoke) -> None:
    assert penstock("logs", "split").output == "62 rows\n"
    assert penstock("runs", "logs", "retrain-1", "split", "-f").output == "62 rows\n"


@pytest.mark.usefixtures("ran")
def test_logs_of_an_attempt_that_was_not_made_exit_with_2(penstock: Invoke) -> None:
    result = penstock("logs", "split", "--attempt", "7")

    assert result.exit_code == 2
    assert "no attempt 7 (there are: 1)" in result.output


@pytest.mark.usefixtures("ran")
def test_runs_are_listed_as_a_table_and_as_json(penstock: Invoke) -> None:
    assert "retrain-1" in penstock("runs", "ls").output
    assert json.loads(penstock("runs", "ls", "--json").output)["name"] == "retrain-1"


@pytest.mark.usefixtures("ran")
def test_a_run_is_shown_with_its_steps(penstock: Invoke) -> None:
    output = penstock("runs", "show").output

    assert "retrain-1 succeeded" in output
    assert "2 succeeded" in output


def test_two_runs_are_compared_step_by_step(penstock: Invoke, ran: FakeEngine) -> None:
    penstock("run", "pipeline.py", "-p", "raw=wine.csv", "-p", "floor=0.9")

    output = penstock("runs", "compare", "retrain-1", "retrain-2").output

    assert "floor" in output
    assert "0.6" in output
    assert "-> 0.9" in output
    assert "train/0" not in output
    assert len(ran.submitted) == 2


def test_a_removed_run_is_gone(penstock: Invoke, ran: FakeEngine) -> None:
    assert penstock("runs", "rm", "retrain-1").exit_code == 0
    assert ran.ended == []


@pytest.mark.usefixtures("ran")
def test_artifacts_are_listed_by_step_and_output(penstock: Invoke) -> None:
    lines = penstock("artifacts", "ls").output.splitlines()

    assert any(line.startswith("split.train") and ".parquet" in line for line in lines)
    assert any(line.startswith("train/1.result") for line in lines)


@pytest.mark.usefixtures("ran")
def test_an_artifact_is_copied_out_under_the_name_of_its_step(penstock: Invoke, project: Path) -> None:
    result = penstock("artifacts", "get", "split.train")

    assert result.exit_code == 0, result.output
    assert (project / "split.parquet").read_bytes() == b"parquet"


@pytest.mark.usefixtures("ran")
def test_a_value_is_copied_out_as_json(penstock: Invoke, project: Path) -> None:
    penstock("artifacts", "get", "retrain-1", "train/1", "-o", "one.json")

    assert json.loads((project / "one.json").read_text()) == 10


@pytest.mark.usefixtures("ran")
def test_an_artifact_of_several_outputs_needs_the_name_of_one(penstock: Invoke) -> None:
    result = penstock("artifacts", "get", "split")

    assert result.exit_code == 2
    assert "train, test" in result.output


@pytest.mark.usefixtures("ran")
def test_lineage_leads_back_through_the_steps_that_made_it(penstock: Invoke) -> None:
    output = penstock("artifacts", "lineage", "pick_best").output

    assert output.splitlines()[0] == "pick_best (executed)"
    assert "  models <- train (2 step runs)" in output
    assert "    data <- split (executed)" in output
    assert "    depth = 0  (parameter depths)" in output


def test_housekeeping_speaks_of_sizes(penstock: Invoke) -> None:
    assert "3 entries, used 7 times, 1 min 15 s" in penstock("cache", "stats").output
    assert "forgot 1 entries" in penstock("cache", "clear", "--step", "train").output
    assert "would free 4.0 KiB: 2 artifacts" in penstock("gc", "--dry-run", "--older-than", "30d").output


def test_an_age_that_is_none_exits_with_2(penstock: Invoke) -> None:
    assert penstock("gc", "--older-than", "soon").exit_code == 2


def test_rerun_from_a_step_is_a_new_run_pinned_to_the_old_one(penstock: Invoke, ran: FakeEngine) -> None:
    result = penstock("rerun", "--from", "train")

    assert result.exit_code == 0, result.output
    old, new = ran.submitted
    assert new.options.rerun == ("train",)
    assert new.options.pinned_from == old.run_id
    assert new.cause.of == old.run_id
    assert new.parameters == old.parameters


def test_rerun_of_everything_pins_nothing(penstock: Invoke, ran: FakeEngine) -> None:
    penstock("rerun", "retrain-1")

    assert ran.submitted[-1].options.rerun == ("all",)
    assert ran.submitted[-1].options.pinned_from is None


@pytest.mark.usefixtures("ran")
def test_a_run_that_ended_is_not_resumed(penstock: Invoke) -> None:
    result = penstock("resume")

    assert result.exit_code == 2
    assert "penstock rerun retrain-1" in result.output


@pytest.mark.usefixtures("project")
def test_doctor_looks_at_this_machine(penstock: Invoke) -> None:
    result = penstock("doctor")

    assert result.exit_code == 0, result.output
    assert {"Python", "SQLite", "fork", "disk"} <= {line.split()[1] for line in result.output.splitlines()}
