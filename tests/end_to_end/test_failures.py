"""What happens when steps fail, hang or are stopped."""

from itertools import pairwise
from pathlib import Path

import pytest

from penstock.contracts.errors import RunFailed
from penstock.contracts.states import RunState, StepState
from penstock.deploy.embedded.client import EmbeddedClient
from tests.end_to_end.pipelines import failing
from tests.end_to_end.user_project import begun, ended, failure_of, until


def test_a_failing_step_is_tried_again_with_growing_pauses(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.trying, path=str(tmp_path / "count"), good_attempt=3)

    assert run.result() == 3
    attempts = run["flaky"].attempts
    assert [attempt.state for attempt in attempts] == ["failed", "failed", "succeeded"]
    pauses = [(after.started_at or 0) - (before.ended_at or 0) for before, after in pairwise(attempts)]
    assert pauses[0] >= 50_000
    assert pauses[1] >= 100_000


def test_a_step_fails_when_its_retries_are_used_up(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.trying, path=str(tmp_path / "count"), good_attempt=99)

    assert run.state is RunState.FAILED
    assert len(run["flaky"].attempts) == 4
    assert "ConnectionError: attempt 4" in failure_of(run, "flaky")


def test_retries_may_be_for_some_kinds_of_failure_only(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.choosing, path=str(tmp_path / "count"))

    assert run.state is RunState.FAILED
    assert (tmp_path / "count").read_text() == "x"


def test_the_users_traceback_comes_first_and_has_their_frames_only(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = begun(shared_client, failing.choosing, path=str(tmp_path / "count"))

    with pytest.raises(RunFailed) as caught:
        run.result()

    lines = str(caught.value).strip().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "failing.py" in lines[1]
    assert 'raise ValueError("not worth another try")' in lines[2]


def test_every_attempt_keeps_its_log(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.trying, path=str(tmp_path / "count"), good_attempt=2)

    logs = [attempt.log for attempt in run["flaky"].attempts]
    assert [shared_client.local(log).read_text() for log in logs if log is not None] == ["this is attempt 1\n", "this is attempt 2\n"]


def test_a_step_that_takes_too_long_is_stopped(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, failing.timing_out)

    assert run.state is RunState.FAILED
    assert "timeout" in failure_of(run, "hanging")
    assert "0.4" in failure_of(run, "hanging")


def test_a_run_that_takes_too_long_is_stopped(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.gated, {"timeout": 0.5}, folder=str(tmp_path))

    assert run.state is RunState.FAILED
    assert "0.5" in (run.view.error or "")


def test_the_next_attempt_goes_on_from_the_checkpoint(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, failing.continuing, steps=10)

    assert run.result() == [6, 10]


def test_a_checkpoint_is_gone_when_its_step_has_succeeded(shared_client: EmbeddedClient) -> None:
    first = ended(shared_client, failing.continuing, steps=6)
    second = ended(shared_client, failing.continuing, {"rerun": "all"}, steps=6)

    assert first.result() == second.result() == [4, 6]


def test_a_cancelled_run_stops_what_runs(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = begun(shared_client, failing.gated, folder=str(tmp_path))
    until((tmp_path / "started").exists)

    run.cancel("had enough")

    assert run.wait().state is RunState.CANCELLED
    assert run["waiting"][0].state is StepState.CANCELLED
    with pytest.raises(RunFailed, match="had enough"):
        run.result()


def test_a_failure_stops_the_other_branches_at_once(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.beside_each_other, folder=str(tmp_path))

    assert run.state is RunState.FAILED
    assert run["waiting"][0].state is StepState.CANCELLED
    assert run["beside"][0].state is StepState.CANCELLED


def test_keep_going_finishes_what_does_not_need_the_failed_step(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = begun(shared_client, failing.beside_each_other, {"keep_going": True}, folder=str(tmp_path))
    until(lambda: run["fails_after"] and run["fails_after"][0].state is StepState.FAILED)
    (tmp_path / "gate").touch()
    run.wait()

    assert run.state is RunState.FAILED
    assert run["beside"][0].state is StepState.SUCCEEDED
    assert run["below_failure"][0].state is StepState.SKIPPED


def test_hooks_of_a_success(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.succeeding_with_hooks, {"tags": {"folder": str(tmp_path)}}, x=1)

    assert run.result() == 1
    assert (tmp_path / "hooks").read_text() == "succeeding_with_hooks succeeded None []\n"
    assert (tmp_path / "exit").read_text() == "succeeded"


def test_hooks_of_a_failure(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = ended(shared_client, failing.failing_with_hooks, {"tags": {"folder": str(tmp_path)}}, x=1)

    assert run.state is RunState.FAILED
    assert (tmp_path / "hooks").read_text() == "failing_with_hooks failed fails: ValueError: no 1 ['fails']\n"
    assert (tmp_path / "exit").read_text() == "failed"


def test_a_cancelled_run_has_its_exit_hook_too(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    run = begun(shared_client, failing.gated_with_hooks, {"tags": {"folder": str(tmp_path)}}, folder=str(tmp_path))
    until((tmp_path / "started").exists)

    run.cancel()

    assert run.wait().state is RunState.CANCELLED
    assert (tmp_path / "exit").read_text() == "cancelled"
    assert not (tmp_path / "hooks").exists()
