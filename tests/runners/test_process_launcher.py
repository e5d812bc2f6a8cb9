"""Steps in real processes: what they get, what they give, what they print."""

import asyncio
import textwrap
from contextlib import suppress

import pytest

from penstock.contracts.artifacts import ListValue
from penstock.contracts.spec import CommandArgument, CommandTarget, OutputSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.log_file import log_path
from tests.runners.workbench import Workbench, an_order, unheard, until


async def test_a_function_gets_its_inputs_and_gives_its_output(workbench: Workbench) -> None:
    completed = await workbench.run("def main(a: int, b: int = 2) -> int:\n    return a + b", inputs={"a": 3})

    assert workbench.value(completed) == 5


async def test_an_async_function_is_awaited(workbench: Workbench) -> None:
    code = """
        import asyncio
        async def main() -> str:
            await asyncio.sleep(0)
            return "awaited"
        """

    assert workbench.value(await workbench.run(code)) == "awaited"


async def test_garbage_is_collected_in_steps_though_not_while_their_module_is_imported(workbench: Workbench) -> None:
    code = """
        import gc
        at_import = gc.get_threshold()[0]
        def main() -> list[bool]:
            return [at_import > 0, gc.isenabled() and gc.get_threshold()[0] > 0]
        """

    assert workbench.value(await workbench.run(code)) == [False, True]


async def test_what_a_step_prints_is_its_log(workbench: Workbench) -> None:
    completed = await workbench.run("import sys\ndef main() -> None:\n    print('out')\n    print('err', file=sys.stderr)", output=None)

    assert await workbench.log(completed) == "out\nerr\n"


async def test_the_users_frames_are_the_traceback(workbench: Workbench) -> None:
    completed = await workbench.run("def main() -> None:\n    raise ValueError('wrong depth')", output=None)

    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ERROR
    assert completed.failure.message == "ValueError: wrong depth"
    assert 'File "flow.py", line 2, in main' in completed.failure.traceback
    assert "penstock" not in completed.failure.traceback


async def test_a_file_input_has_the_parameters_name_and_a_returned_file_is_kept(workbench: Workbench) -> None:
    code = """
        from pathlib import Path
        from penstock.sdk import File

        def main(table: File) -> File:
            assert table.path.name == "table.csv"
            Path("out.txt").write_text(table.path.read_text().upper())
            return File("out.txt")
        """

    completed = await workbench.run(
        code, inputs={"table": await workbench.file("text", ".csv")}, output=OutputSpec(type="File", kind="file")
    )

    assert await workbench.text(completed.outputs["result"]) == "TEXT"


async def test_a_named_tuple_makes_one_output_a_field(workbench: Workbench) -> None:
    code = """
        from typing import NamedTuple

        class Parts(NamedTuple):
            left: int
            right: str

        def main() -> Parts:
            return Parts(1, "two")
        """
    step = workbench.step().model_copy(update={"outputs": (OutputSpec(name="left"), OutputSpec(name="right"))})

    completed = await workbench.execute(step, await workbench.snapshot(code))

    assert [workbench.value(completed, name) for name in ("left", "right")] == [1, "two"]


async def test_a_data_frame_comes_back_as_it_went(workbench: Workbench) -> None:
    code = """
        import pandas as pd

        def main() -> pd.DataFrame:
            return pd.DataFrame({"x": [1, 2]})

        def total(frame: pd.DataFrame) -> int:
            return int(frame["x"].sum())
        """
    made = await workbench.run(code)

    completed = await workbench.run(code, function="total", inputs={"frame": made.outputs["result"]})

    assert workbench.value(completed) == 3


async def test_each_attempt_has_an_empty_directory(workbench: Workbench) -> None:
    code = """
        import os

        def main(name: str) -> list[str]:
            if name:
                open(name, "w").close()
            return sorted(os.listdir("."))
        """
    step, snapshot = workbench.step(), await workbench.snapshot(code)

    left = [workbench.value(await workbench.execute(step, snapshot, inputs={"name": name})) for name in ("a", "b", "", "c", "")]

    assert left == [["a"], ["b"], [], ["c"], []]
    await workbench.launcher.close()
    assert list(workbench.artifacts.staging.iterdir()) == []


async def test_what_a_step_says_is_told(workbench: Workbench) -> None:
    code = """
        from pathlib import Path
        from penstock.sdk import current_run

        def main() -> None:
            run = current_run()
            run.log_metric("loss", 0.5, step=1)
            run.log_metric("loss", 0.25, step=2)
            run.tag(told="yes")
            run.emit("model.trained", {"rows": 3})
            Path("plot.html").write_text("<p>")
            run.attach("plot", "plot.html")
            run.attach("raw.bin", b"bytes")
        """

    completed = await workbench.run(code, output=None)

    assert [(metric.name, metric.value, metric.step) for metric in completed.metrics] == [("loss", 0.5, 1), ("loss", 0.25, 2)]
    assert completed.tags == {"told": "yes"}
    assert completed.emitted == ({"type": "model.trained", "data": {"rows": 3}},)
    assert await workbench.text(completed.attachments["plot"]) == "<p>"
    assert await workbench.text(completed.attachments["raw.bin"]) == "bytes"
    assert not completed.saw_identity


@pytest.mark.parametrize("read", ["run_id", "index", "attempt", "cause"])
async def test_reading_who_asks_is_noticed(workbench: Workbench, read: str) -> None:
    code = f"from penstock.sdk import current_run\ndef main() -> str:\n    return str(current_run().{read})"

    completed = await workbench.run(code)

    assert completed.saw_identity


async def test_a_checkpoint_outlives_the_attempt(workbench: Workbench) -> None:
    code = """
        from pathlib import Path
        from penstock.sdk import current_run

        def main() -> str:
            earlier = current_run().checkpoint.load()
            if earlier is not None:
                return earlier.read_text()
            Path("state.txt").write_text("half way")
            current_run().checkpoint.save("state.txt")
            raise RuntimeError("died")
        """

    await workbench.run(code, order={"seed": "same"})

    assert workbench.value(await workbench.run(code, order={"seed": "same"})) == "half way"


async def test_progress_is_told_while_the_step_runs(workbench: Workbench) -> None:
    told: list[tuple[float, float | None, str]] = []

    def hear(done: float, total: float | None, text: str) -> None:
        told.append((done, total, text))

    code = "from penstock.sdk import current_run\ndef main() -> None:\n    current_run().progress(3, 3, 'done')"
    step, snapshot = workbench.step(output=None), await workbench.snapshot(code)

    await workbench.launcher.execute(an_order(step, snapshot), step, hear)

    assert told == [(3.0, 3.0, "done")]


async def test_the_log_is_readable_while_the_step_runs(workbench: Workbench) -> None:
    code = "import time\ndef main() -> None:\n    print('begun')\n    time.sleep(1000)"
    step, snapshot = workbench.step(output=None), await workbench.snapshot(code)
    path = log_path(workbench.folder / "state", "run-1", "main", (), 1)

    task = asyncio.create_task(workbench.launcher.execute(an_order(step, snapshot), step, unheard))
    await until(lambda: path.exists() and path.read_text() == "begun\n")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_program_reads_its_inputs_and_writes_its_outputs(workbench: Workbench) -> None:
    script = """
        import sys
        from pathlib import Path
        source, times, out, model = sys.argv[1:]
        print("working in", Path.cwd().name)
        Path(out).write_text(Path(source).read_text() * int(times))
        (Path(model) / "weights").write_text("w")
        """
    snapshot = await workbench.snapshot("", **{"scripts/fit/fit.py": textwrap.dedent(script)})
    step = workbench.step().model_copy(
        update={
            "run": CommandTarget(
                command=(
                    CommandArgument(text="python"),
                    CommandArgument(text="fit.py"),
                    CommandArgument(input="data"),
                    CommandArgument(input="times"),
                    CommandArgument(output="report"),
                    CommandArgument(output="model"),
                ),
                workdir="scripts/fit",
            ),
            "outputs": (OutputSpec(name="report", kind="file", path="report.txt"), OutputSpec(name="model", kind="directory")),
        }
    )

    completed = await workbench.execute(step, snapshot, inputs={"data": await workbench.file("ab", ".txt"), "times": 2})

    assert completed.outcome == AttemptState.SUCCEEDED, completed.failure
    assert await workbench.text(completed.outputs["report"]) == "abab"
    assert "weights" in await workbench.text(completed.outputs["model"])
    assert "working in" in await workbench.log(completed)


@pytest.mark.parametrize(
    ("program", "kind", "message"),
    [
        ("import sys; print('what went wrong'); sys.exit(4)", FailureKind.ERROR, "exit status 4"),
        ("pass", FailureKind.OUTPUT, "the output 'report' was not written"),
    ],
)
async def test_a_program_that_fails_shows_its_output(workbench: Workbench, program: str, kind: FailureKind, message: str) -> None:
    command = tuple(CommandArgument(text=text) for text in ("python", "-c", program))
    step = workbench.step().model_copy(update={"run": CommandTarget(command=command), "outputs": (OutputSpec(name="report", kind="file"),)})

    completed = await workbench.execute(step, None)

    assert completed.failure is not None
    assert completed.failure.kind == kind
    assert message in completed.failure.message
    assert completed.failure.traceback == ("what went wrong\n" if "print" in program else "")


async def test_items_of_a_list_are_read_when_they_are_asked_for(workbench: Workbench) -> None:
    code = """
        from collections.abc import Sequence
        from penstock.sdk import File

        def main(files: Sequence[File]) -> str:
            return files[1].path.read_text()
        """
    items = ListValue(list=tuple([await workbench.file(text, ".txt") for text in ("a", "b")]))
    step = workbench.step()
    order = an_order(step, await workbench.snapshot(code)).model_copy(update={"inputs": {"files": items}})

    assert workbench.value(await workbench.launcher.execute(order, step, unheard)) == "b"


async def test_threads_of_a_step_may_tell_their_progress_at_once(workbench: Workbench) -> None:
    code = """
        import threading
        from penstock.sdk import current_run

        def main() -> int:
            def work() -> None:
                for i in range(200):
                    current_run().progress(i, i, "x" * 500)
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return 1
        """

    assert workbench.value(await workbench.run(code)) == 1
