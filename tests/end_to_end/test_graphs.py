"""Graphs of every shape give what their code says."""

from pathlib import Path

from penstock.contracts.states import RunState, StepState
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.sdk import File
from tests.end_to_end.pipelines import graphs
from tests.end_to_end.user_project import ended, executed, step_runs


def test_a_failed_item_fails_what_collects_it(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.strict, {"keep_going": True}, xs=[1, 2, 3, 4])

    assert run.state is RunState.FAILED
    assert [step_run.state for step_run in run["no_thirds"]] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert run["total"][0].state is StepState.SKIPPED


def test_missing_drop_leaves_failed_items_out(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.dropping, xs=[1, 2, 3, 4]).result() == [1, 2, 4]


def test_missing_none_keeps_their_places(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.filling, xs=[1, 2, 3, 4]).result() == [1, 2, None, 4]


def test_at_least_lets_a_few_items_fail(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.most, xs=[1, 2, 3]).result() == 3


def test_at_least_fails_where_too_many_items_failed(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.most, xs=[1, 3, 6])

    assert run.state is RunState.FAILED
    assert "1 of 3 items are there, 60% were asked for (first missing: no_thirds/1 failed)" in (run.view.error or "")


def test_an_empty_fan_out_collects_an_empty_list(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.strict, xs=[]).result() == 0


def test_until_cancels_the_rest_at_the_first_good_item(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.first_good, xs=[2, 1, 3, 4])

    assert run.result() == [1]
    assert [step_run.state for step_run in run["after_seconds"]] == ["cancelled", "succeeded", "cancelled", "cancelled"]


def test_two_each_make_a_grid(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.grid, names=["a", "b"], numbers=[1, 2])

    assert run.result() == [["a1", "a2"], ["b1", "b2"]]
    assert [step_run.index for step_run in run["join"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_two_lists_in_one_each_are_zipped(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.zipped, names=["a", "b"], numbers=[1, 2]).result() == ["a1", "b2"]


def test_zipped_lists_of_different_lengths_are_an_error_that_says_so(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.zipped, names=["a", "b"], numbers=[1])

    assert run.state is RunState.FAILED
    assert "lists of different lengths: 2, 1" in (run.view.error or "")


def test_fan_outs_nest_with_different_sizes(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.triangle, sizes=[0, 1, 4]).result() == [0, 0, 14]


def test_a_batch_takes_several_items_at_a_time(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.batched, xs=list(range(8))).result() == [3, 3, 2]


def test_a_fan_out_of_thousands_is_collected_in_order(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.batched, xs=list(range(3300))).result() == [3] * 1100


def test_sub_pipelines_are_part_of_the_run(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.of_pipelines, left=[1, 2], right=[3])

    assert run.result() == [25, 81]
    assert any(step_run.step.startswith("squared_sum") for step_run in step_runs(run))


def test_a_condition_takes_one_branch_and_skips_the_other(shared_client: EmbeddedClient) -> None:
    above, below = ended(shared_client, graphs.branching, x=5), ended(shared_client, graphs.branching, x=2)

    assert above.result() == ("high 25", "told high 25")
    assert below.result() == ("low 4", "told None")
    assert below["high"][0].state is StepState.SKIPPED
    assert "skipped" in below.why("high").verdict


def test_conditions_with_a_comma_must_all_hold(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.branching, x=4).result() == ("low 16", "told None")


def test_an_allowed_failure_gives_none(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.tolerant, x=3)

    assert run.result() == "told None"
    assert run["no_thirds"][0].state is StepState.FAILED


def test_parts_of_values_and_templates_reach_their_steps(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.parts, x=4).result() == "p4 and second/8/[('p', 4)]/[4, 4]"


def test_an_async_step_is_awaited(shared_client: EmbeddedClient) -> None:
    assert ended(shared_client, graphs.asynchronous, x=4).result() == 5


def test_a_fan_out_over_the_files_of_a_directory(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.of_files, names=["b.txt", "a.txt", "deep/c.txt", "d.csv"])

    assert [text.partition("=")[2] for text in run.result()] == ["a.txt", "b.txt", "deep/c.txt"]


def test_files_come_from_directories_and_from_outside(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text("outside")

    run = ended(shared_client, graphs.one_file, names=["a.txt"], given=File(tmp_path / "given.csv"))

    assert run.result() == ("a.txt=a.txt", "file.csv=outside")


def test_after_orders_steps_that_pass_nothing_on(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    assert ended(shared_client, graphs.in_order, path=str(tmp_path / "mark")).result() is True


def test_a_run_until_a_step_executes_that_and_what_it_needs(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, graphs.grid, {"until": "join"}, names=["u"], numbers=[1])
    shorter = ended(shared_client, graphs.parts, {"until": "table"}, x=77)

    assert run.state is shorter.state is RunState.SUCCEEDED
    assert executed(run) == ["join/0/0"]
    assert executed(shorter) == ["table"]
