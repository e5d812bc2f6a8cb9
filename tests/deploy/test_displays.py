"""How a run's progress is shown: lines where no terminal is, a table with bars where one is."""

import io

from rich.console import Console

from penstock.contracts.states import RunState, StepState
from penstock.contracts.views import RunView, StepCount
from penstock.deploy.cli.durations import age_text, seconds_text, size_text
from penstock.deploy.cli.live_table import table
from penstock.deploy.cli.plain_lines import PlainLines
from penstock.deploy.cli.progress import rows, state_text
from tests.deploy.fakes import SECOND

SIX_TRAINS = StepCount(
    name="train", total=6, states={StepState.SUCCEEDED: 3, StepState.RUNNING: 2, StepState.WAITING: 1}, hits=1, attempts=4
)


def a_view(*steps: StepCount) -> RunView:
    return RunView(run_id="r", number=1, name="p-1", pipeline="p", spec_digest="d", state=RunState.RUNNING, created_at=0, steps=steps)


def test_a_fan_out_in_motion_says_how_far_it_is() -> None:
    assert state_text(SIX_TRAINS) == "3/6 done, 2 running"


def test_a_fan_out_that_ended_says_how_much_was_hit() -> None:
    ended = SIX_TRAINS.model_copy(update={"states": {StepState.SUCCEEDED: 5, StepState.FAILED: 1}})

    assert state_text(ended) == "1 hit, 4 succeeded, 1 failed"


def test_a_fan_out_whose_size_is_not_known_says_so() -> None:
    assert state_text(StepCount(name="train", states={StepState.RUNNING: 1})) == "0/? done, 1 running"


def test_a_hit_shows_its_age() -> None:
    (row,) = rows(a_view(StepCount(name="split", total=1, states={StepState.SUCCEEDED: 1}, hits=1, oldest_hit_seconds=200.0)), {}, 0)

    assert (row.state, row.note, row.took) == ("hit", "made 3 min 20 s ago", "")


def test_lines_are_written_once_for_each_change() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, clock=lambda: 0)
    waiting = StepCount(name="split", total=1, states={StepState.WAITING: 1})
    running = StepCount(name="split", total=1, states={StepState.RUNNING: 1}, started_at=0)
    ended = StepCount(name="split", total=1, states={StepState.SUCCEEDED: 1}, started_at=0, ended_at=2 * SECOND, attempts=1)

    for step in (waiting, running, running, ended, ended):
        lines.update(a_view(step))

    assert stream.getvalue() == "split  running\nsplit  succeeded (2.0 s)\n"


def test_a_step_that_tells_its_progress_gets_a_bar() -> None:
    fit = StepCount(name="fit", total=1, states={StepState.RUNNING: 1}, attempts=1, started_at=0, progress=(3, 10, "epochs"))
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)

    console.print(table(rows(a_view(fit, SIX_TRAINS), {}, 3 * SECOND)))

    drawn = console.file
    assert isinstance(drawn, io.StringIO)
    assert "3/10 epochs" in drawn.getvalue()
    assert drawn.getvalue().count("━") > 10


def test_times_and_sizes_read_well() -> None:
    assert [seconds_text(value) for value in (0.04, 12.4, 60, 200, 7500, 250_000)] == [
        "0.0 s",
        "12 s",
        "1 min",
        "3 min 20 s",
        "2 h 5 min",
        "2 days",
    ]
    assert [age_text(value) for value in (0.2, 4, 90)] == ["just now", "4.0 s ago", "1 min 30 s ago"]
    assert [size_text(value) for value in (812, 3200, 2**31, 2**41)] == ["812 B", "3.1 KiB", "2.0 GiB", "2.0 TiB"]
