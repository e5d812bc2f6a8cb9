"""Whatever goes wrong in a step is told in its author's terms."""

from pathlib import Path

import pytest

from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import OutputSpec, SecretRef
from penstock.contracts.states import AttemptState, FailureKind
from tests.runners.workbench import Workbench


def failure_of(completed: Completed) -> Failure:
    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    return completed.failure


async def test_a_segmentation_fault_is_named_with_the_python_stack(workbench: Workbench) -> None:
    completed = await workbench.run("import ctypes\ndef main() -> None:\n    ctypes.string_at(0)", output=None)

    assert failure_of(completed).kind == FailureKind.SIGNAL
    assert failure_of(completed).message == "killed by SIGSEGV"
    assert "in main" in failure_of(completed).traceback


async def test_leaving_the_process_is_a_failure(workbench: Workbench) -> None:
    completed = await workbench.run("import os\ndef main() -> None:\n    os._exit(3)", output=None)

    assert "exit status 3" in failure_of(completed).message


async def test_sys_exit_is_a_failure_that_says_what_to_do(workbench: Workbench) -> None:
    completed = await workbench.run("import sys\ndef main() -> None:\n    sys.exit(0)", output=None)

    assert "sys.exit" in failure_of(completed).hint


async def test_a_module_that_is_not_installed_is_named(workbench: Workbench) -> None:
    completed = await workbench.run("import nowhere_to_be_found\ndef main() -> None: ...", output=None)

    assert failure_of(completed).kind == FailureKind.ENVIRONMENT
    assert "install nowhere_to_be_found" in failure_of(completed).hint


async def test_reading_a_file_beside_the_module_that_is_not_declared_gives_the_hint(workbench: Workbench) -> None:
    code = """
        from pathlib import Path
        def main() -> str:
            return (Path(__file__).parent / "sql" / "index.sql").read_text()
        """

    completed = await workbench.run(code)

    assert failure_of(completed).kind == FailureKind.UNDECLARED
    assert '@step(files=["sql/index.sql"])' in failure_of(completed).hint


async def test_reading_a_project_file_by_a_relative_path_gives_the_hint(workbench: Workbench) -> None:
    (workbench.folder / "project").mkdir()
    (workbench.folder / "project" / "table.csv").write_text("1")

    def project_of(order: Order) -> Path:
        return workbench.folder / "project"

    workbench.settings["project_of"] = project_of

    completed = await workbench.run("def main() -> str:\n    return open('table.csv').read()")

    assert failure_of(completed).kind == FailureKind.UNDECLARED
    assert '@step(files=["table.csv"])' in failure_of(completed).hint


async def test_a_file_that_the_step_itself_did_not_write_is_its_own_error(workbench: Workbench) -> None:
    def project_of(order: Order) -> Path:
        return workbench.folder

    workbench.settings["project_of"] = project_of

    completed = await workbench.run("from pathlib import Path\ndef main() -> str:\n    return (Path.cwd() / 'mine.csv').read_text()")

    assert failure_of(completed).kind == FailureKind.ERROR


async def test_a_declared_file_lies_beside_the_module(workbench: Workbench) -> None:
    code = "from pathlib import Path\ndef main() -> str:\n    return (Path(__file__).parent / 'q.sql').read_text()"
    spec = workbench.step(files={"q.sql": "sha256:0"})

    completed = await workbench.execute(spec, await workbench.snapshot(code, **{"q.sql": "select 1"}))

    assert completed.outcome == AttemptState.SUCCEEDED


async def test_a_declared_file_that_is_not_there_fails_the_attempt(workbench: Workbench) -> None:
    completed = await workbench.run("def main():\n    return None", output=OutputSpec(type="File", kind="file"))

    assert failure_of(completed).kind == FailureKind.OUTPUT
    assert "return a file" in failure_of(completed).hint


async def test_a_file_that_was_not_written_fails_the_attempt(workbench: Workbench) -> None:
    code = "from penstock.sdk import File\ndef main() -> File:\n    return File('nothing.csv')"

    completed = await workbench.run(code, output=OutputSpec(type="File", kind="file"))

    assert failure_of(completed).kind == FailureKind.OUTPUT
    assert "nothing.csv" in failure_of(completed).message


async def test_a_secret_reaches_the_step_and_is_masked_everywhere(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_HF", "s3cr3t-value")
    code = """
        import os, sys
        def main() -> None:
            token = os.environ["HF_TOKEN"]
            sys.stdout.write("half s3cr3t")
            sys.stdout.flush()
            print("-value", len(token))
            raise ValueError(token)
        """

    completed = await workbench.run(code, output=None, env_vars={"HF_TOKEN": SecretRef(secret="hf")})

    assert "half *** 12" in await workbench.log(completed)
    assert "s3cr3t-value" not in completed.model_dump_json()
    assert failure_of(completed).message == "ValueError: ***"


async def test_what_a_step_tells_of_itself_shows_no_secret(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    key = 'first line of "it"\nsecond line of it'
    monkeypatch.setenv("PENSTOCK_SECRET_KEY", key)
    code = """
        import json, os
        from penstock.sdk import current_run
        def main() -> None:
            key, run = os.environ["KEY"], current_run()
            run.tag(plain=key, **{"the " + key: "1"})
            run.log_metric(key, 1.0)
            run.emit("told", {"key": [key]})
            for text in (repr(key), json.dumps(key), *key.splitlines()):
                print(text)
            raise LookupError([key])
        """

    completed = await workbench.run(code, output=None, env_vars={"KEY": SecretRef(secret="key")})

    told = completed.model_dump_json() + await workbench.log(completed)
    assert completed.tags == {"plain": "***", "the ***": "1"}
    assert "line of" not in told


async def test_a_missing_secret_says_where_to_set_it(workbench: Workbench) -> None:
    completed = await workbench.run("def main() -> None: ...", output=None, env_vars={"T": SecretRef(secret="hf")})

    assert "PENSTOCK_SECRET_HF" in failure_of(completed).message


async def test_a_variable_that_is_not_declared_can_not_be_observed(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "eu")
    monkeypatch.setenv("STAGE", "test")
    code = (
        "import os\ndef main() -> list[str]:\n    return [os.environ.get('REGION', '-'), os.environ.get('STAGE', '-'), os.environ['FIXED']]"
    )

    completed = await workbench.run(code, pass_env=("STAGE",), env_vars={"FIXED": "yes"})

    assert workbench.value(completed) == ["-", "test", "yes"]


async def test_a_variable_is_there_while_the_module_is_imported(workbench: Workbench) -> None:
    completed = await workbench.run(
        "import os\nREGION = os.environ['REGION']\ndef main() -> str:\n    return REGION", env_vars={"REGION": "eu"}
    )

    assert workbench.value(completed) == "eu"


async def test_a_step_that_prints_without_end_keeps_its_first_and_last_words(workbench: Workbench) -> None:
    workbench.settings["log_limit_bytes"] = 20_000
    code = """
        def main() -> int:
            print("first words")
            for _ in range(1000):
                print("x" * 10_000)
            print("last words")
            return 1
        """

    completed = await workbench.run(code)

    log = await workbench.log(completed)
    assert workbench.value(completed) == 1
    assert log.startswith("first words")
    assert log.endswith("last words\n")
    assert "bytes dropped" in log
    assert len(log) < 21_000


async def test_an_input_that_is_gone_is_told_as_lost(workbench: Workbench) -> None:
    code = "from penstock.sdk import File\ndef main(data: File) -> None: ..."
    ref = await workbench.file("gone", ".csv")
    await workbench.artifacts.delete(ref.digest)

    completed = await workbench.run(code, inputs={"data": ref}, output=None)

    assert completed.outcome == AttemptState.INPUT_LOST
    assert completed.lost_digest == ref.digest


async def test_an_event_that_is_no_plain_data_fails_at_the_users_line(workbench: Workbench) -> None:
    completed = await workbench.run(
        "from penstock.sdk import current_run\ndef main() -> None:\n    current_run().emit('done', {'by': object()})", output=None
    )

    assert "not JSON serializable" in failure_of(completed).message


async def test_numbers_too_large_for_the_wire_fail_with_a_message(workbench: Workbench) -> None:
    completed = await workbench.run(
        "from penstock.sdk import current_run\ndef main() -> None:\n    current_run().emit('done', {'rows': 2**70})", output=None
    )

    assert "can't be sent" in failure_of(completed).message
