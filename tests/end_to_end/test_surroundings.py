"""What steps see, and that what they say is kept."""

from pathlib import Path

import pytest

from penstock.contracts.states import RunState
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.sdk import Directory, File
from penstock.sdk.runs.run import StepRun
from tests.end_to_end.pipelines import surroundings
from tests.end_to_end.user_project import begun, ended, failure_of, until


def log_of(client: EmbeddedClient, step_run: StepRun[object]) -> str:
    (attempt,) = step_run.attempts
    assert attempt.log is not None
    return client.local(attempt.log).read_text()


def test_a_step_sees_the_variables_that_it_declares_and_no_others(shared_client: EmbeddedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "s3cret-token")
    monkeypatch.setenv("COLOUR", "blue")
    monkeypatch.setenv("UNDECLARED", "seen")

    run = ended(shared_client, surroundings.showing_variables)

    assert run.result() == {"REGION": "eu", "COLOUR": "blue", "UNDECLARED": None, "length": "12"}


def test_a_secret_is_masked_in_logs(shared_client: EmbeddedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "s3cret-token")

    run = ended(shared_client, surroundings.showing_variables)

    assert log_of(shared_client, run["variables"][0]) == "the token is ***\nthe token is ***\n"


def test_a_secret_is_masked_in_failures(shared_client: EmbeddedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "s3cret-token")

    run = ended(shared_client, surroundings.leaking)

    assert "refused ***" in failure_of(run, "failing_with_secret")
    assert "s3cret" not in failure_of(run, "failing_with_secret") + (run.view.error or "")


def test_a_secret_that_is_not_there_is_named_with_what_to_do(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, surroundings.leaking)

    assert run.state is RunState.FAILED
    assert "set the variable PENSTOCK_SECRET_TOKEN" in failure_of(run, "failing_with_secret")


def test_metrics_attachments_and_logs_are_kept(shared_client: EmbeddedClient) -> None:
    step_run = ended(shared_client, surroundings.talking, x=1)["talkative"][0]

    assert step_run.metrics == {"loss": [1.0, 1 / 2, 1 / 3]}
    assert [metric.step for metric in step_run.view.metrics] == [0, 1, 2]
    assert log_of(shared_client, step_run) == "said by the step\nand to the other stream\nand past Python\n"
    assert shared_client.local(step_run.view.attachments["notes.txt"]).read_text() == "kept"
    assert shared_client.local(step_run.view.attachments["raw.bin"]).read_bytes() == b"\x00\x01"


def test_a_hit_shows_metrics_attachments_and_logs_of_what_it_stands_for(shared_client: EmbeddedClient) -> None:
    ended(shared_client, surroundings.talking, x=2)

    step_run = ended(shared_client, surroundings.talking, x=2)["talkative"][0]

    assert step_run.is_hit
    assert step_run.metrics == {"loss": [1.0, 1 / 2, 1 / 3]}
    assert sorted(step_run.view.attachments) == ["notes.txt", "raw.bin"]
    assert "said by the step" in log_of(shared_client, step_run)


def test_a_step_tags_its_run(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, surroundings.talking, x=3).view.tags["best"] == "yes"


def test_progress_and_output_are_seen_while_the_step_runs(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = begun(shared_client, surroundings.in_progress, gate=str(tmp_path / "gate"))
    try:
        until(lambda: any(count.progress for count in run.view.steps))
        (count,) = [count for count in run.view.steps if count.kind == "step"]
        assert count.progress == (3.0, 10.0, "three of ten")
        # Progress may be heard of before the beginning is written down.
        until(lambda: run["reporting"].attempts[0].log_path)
        path = Path(run["reporting"].attempts[0].log_path or "")
        until(lambda: path.exists() and path.read_text() == "in the middle\n")
    finally:
        (tmp_path / "gate").touch()
    assert run.result() == 1


def test_every_attempt_has_an_empty_working_directory_of_its_own(shared_client: EmbeddedClient) -> None:
    assert [ended(shared_client, surroundings.working_alone, x=x).result() for x in range(3)] == [["True"]] * 3


def test_files_and_directories_travel_whole(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("abcdef")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.md").write_text("one")

    run = ended(shared_client, surroundings.of_files, data=File(tmp_path / "data.txt"), folder=Directory(tmp_path / "folder"))

    assert run.result() == ["half.txt", "abc", "one.md", "tool.sh", "0o111"]
