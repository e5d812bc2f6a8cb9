"""Functions in containers: they are guests as in processes, in an image that has Python and nothing of Penstock."""

import asyncio
import sysconfig
import textwrap
from pathlib import Path

import pytest

from penstock.contracts.artifacts import DIRECTORY, LIST, ArtifactRef, DirectoryEntry, DirectoryManifest, ListManifest, manifest_bytes
from penstock.contracts.spec import OutputSpec, ResourcesSpec, SecretRef
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.docker.software import software_folder
from penstock.runners.log_file import log_path
from tests.runners.docker_bench import DockerBench
from tests.runners.workbench import an_order, unheard, until
from tests.servers.docker import IMAGE, DockerEngine
from tests.servers.docker_image import python_archive


async def test_a_function_gets_files_and_values_and_gives_its_output(containers: DockerBench) -> None:
    code = """
        import os
        from pathlib import Path
        from penstock.sdk import File, step

        @step
        def main(table: File, times: int) -> File:
            print("as", os.getuid(), "in", os.getcwd())
            assert table.path.name == "table.csv"
            Path("upper.txt").write_text(table.path.read_text().upper() * times)
            return File("upper.txt")
        """
    inputs = {"table": await containers.bench.file("text", ".csv"), "times": 2}

    completed = await containers.call(code, inputs, outputs=(OutputSpec(kind="file"),))

    assert "in /penstock/box/work\n" in await containers.said(completed)
    assert await containers.bench.text(completed.outputs["result"]) == "TEXTTEXT"
    assert not any(containers.artifacts.staging.rglob("*.txt")), "nothing of the attempt is left"


async def test_what_it_says_is_told(containers: DockerBench) -> None:
    code = """
        from penstock.sdk import current_run

        def main() -> int:
            run = current_run()
            run.log_metric("loss", 0.25, step=2)
            run.attach("raw.bin", b"bytes")
            return run.attempt
        """

    completed = await containers.call(code)

    assert containers.bench.value(completed) == 1
    assert [(metric.name, metric.value) for metric in completed.metrics] == [("loss", 0.25)]
    assert await containers.bench.text(completed.attachments["raw.bin"]) == "bytes"


async def test_the_users_frames_are_the_traceback(containers: DockerBench) -> None:
    completed = await containers.call("def main() -> None:\n    raise ValueError('wrong depth')", outputs=())

    assert completed.failure is not None
    assert completed.failure.message == "ValueError: wrong depth"
    assert 'File "flow.py", line 2, in main' in completed.failure.traceback
    assert "/penstock/" not in completed.failure.traceback


async def test_folders_and_lists_are_read_part_by_part(containers: DockerBench) -> None:
    files = [await containers.bench.file(f"text {i}", ".txt") for i in range(3)]
    entries = tuple(DirectoryEntry(path=f"{i}.txt", digest=ref.digest, size=ref.size) for i, ref in enumerate(files[:2]))
    folder = await _stored(containers, DirectoryManifest(files=entries), "directory")
    listed = await _stored(containers, ListManifest(items=tuple(files)), "list")
    code = """
        from penstock.sdk import Directory, File

        def main(folder: Directory, files: list[File]) -> list[str]:
            return [file.path.read_text() for file in [*folder.files(), *files]]
        """

    completed = await containers.call(code, {"folder": folder, "files": listed})

    assert containers.bench.value(completed) == ["text 0", "text 1", "text 0", "text 1", "text 2"]


async def test_bytes_that_belong_to_no_input_are_not_given(containers: DockerBench) -> None:
    other = await containers.bench.file("of somebody else", ".txt")
    code = f"""
        import gc
        from penstock.contracts.artifacts import ArtifactRef
        from penstock.runners.guest import Attempt

        def main() -> str:
            (attempt,) = [thing for thing in gc.get_objects() if isinstance(thing, Attempt)]
            ref = ArtifactRef(uri="", digest="{other.digest}", size=1)
            try:
                return attempt._local(ref).read_text()
            except OSError as error:
                return str(error)
        """

    assert "belongs to no input" in containers.bench.value(await containers.call(code))


async def test_an_output_can_not_name_what_the_step_was_not_given(containers: DockerBench) -> None:
    other = await containers.bench.file("of somebody else", ".txt")
    code = f"""
        from penstock.runners.guest import Attempt

        def main() -> int:
            Attempt._outputs = lambda *_: {{"result": {{"uri": "cas:{other.digest}", "digest": "{other.digest}", "size": 16}}}}
            return 1
        """

    completed = await containers.call(code)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.OUTPUT
    assert "neither made nor was given" in completed.failure.message


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/passwd", "not below the folder of the attempt"),
        ("/penstock/box/../inputs/x", "not below the folder of the attempt"),
        ("/penstock/box/work/link/passwd", "is a link"),
        ("/penstock/box/work/link2", "is a link"),
        ("/penstock/box/work/forged", "is not what the guest said it is"),
    ],
)
async def test_a_file_that_it_offers_must_be_its_own(containers: DockerBench, path: str, message: str) -> None:
    code = f"""
        import os
        from penstock.runners.guest import Attempt

        def main() -> int:
            os.symlink("/etc", "link")
            os.symlink("/etc/passwd", "link2")
            open("forged", "w").close()
            said = Attempt._said
            def forged(self):
                self._files.append(("{path}", "sha256:" + "0" * 64))
                return said(self)
            Attempt._said = forged
            return 1
        """

    completed = await containers.call(code)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.OUTPUT
    assert message in completed.failure.message


async def test_secrets_are_in_its_variables_and_nowhere_on_the_engine(containers: DockerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "hunter-22")
    code = """
        import os, time
        def main() -> bool:
            print(os.environ["TOKEN"], os.environ["REGION"])
            while not os.path.exists("/penstock/inputs/seen"):
                time.sleep(0.01)
            return os.environ["TOKEN"] == "hunter-22"
        """
    step = containers.function(env_vars={"TOKEN": SecretRef(secret="token"), "REGION": "eu"})
    order = an_order(step, await containers.bench.snapshot(code))
    log = log_path(containers.bench.folder / "state", order.run_id, step.name, order.index, order.attempt.attempt_no)

    executing = asyncio.create_task(containers.launcher.execute(order, step, unheard))
    await until(lambda: log.exists() and "***" in log.read_text())
    (container,) = containers.containers()
    inspected = containers.engine.docker("inspect", container).stdout
    (inputs,) = containers.artifacts.staging.rglob("inputs")
    (inputs / "seen").touch()
    completed = await executing

    assert containers.bench.value(completed) is True
    assert "REGION=eu" in inspected
    assert "hunter" not in inspected
    assert "*** eu\n" in await containers.said(completed)


async def test_a_function_is_stopped_at_its_timeout(containers: DockerBench) -> None:
    completed = await containers.call("import time\ndef main() -> None:\n    print('begun')\n    time.sleep(600)", timeout_seconds=0.3)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.TIMEOUT
    assert "begun\n" in await containers.bench.log(completed)


async def test_a_cancelled_function_leaves_no_container(containers: DockerBench) -> None:
    step = containers.function()
    code = "import time\ndef main() -> int:\n    print('begun')\n    time.sleep(600)\n    return 1"
    order = an_order(step, await containers.bench.snapshot(code))
    log = log_path(containers.bench.folder / "state", order.run_id, step.name, order.index, order.attempt.attempt_no)
    executing = asyncio.create_task(containers.launcher.execute(order, step, unheard))
    await until(lambda: log.exists() and "begun" in log.read_text())

    executing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await executing
    assert containers.containers() == []


async def test_a_function_over_its_memory_fails_for_that(containers: DockerBench) -> None:
    code = "def main() -> int:\n    return len(bytearray(400 << 20))"

    completed = await containers.call(code, resources=ResourcesSpec(memory_bytes=128 * 2**20))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.MEMORY


async def test_a_function_that_kills_its_process_is_told_by_the_signal(containers: DockerBench) -> None:
    completed = await containers.call("import os, signal\ndef main() -> None:\n    os.kill(os.getpid(), signal.SIGSEGV)", outputs=())

    assert completed.failure is not None
    assert (completed.failure.kind, completed.failure.message) == (FailureKind.SIGNAL, "killed by SIGSEGV")


async def test_processes_that_a_function_leaves_end_with_it(containers: DockerBench) -> None:
    code = """
        import os, time
        def main() -> int:
            if os.fork() == 0:
                os.setsid()
                time.sleep(600)
            return 1
        """
    async with asyncio.timeout(60):
        completed = await containers.call(code)

    assert containers.bench.value(completed) == 1


async def test_a_checkpoint_outlives_a_failed_attempt(containers: DockerBench) -> None:
    code = """
        from pathlib import Path
        from penstock.sdk import current_run

        def main() -> str:
            checkpoint = current_run().checkpoint
            saved = checkpoint.load()
            if saved is not None:
                return saved.read_text()
            Path("state").write_text("from before")
            checkpoint.save("state")
            raise RuntimeError("at first")
        """
    step, snapshot = containers.function(), await containers.bench.snapshot(code)

    first = await containers.execute(step, snapshot, seed="the same")
    second = await containers.execute(step, snapshot, seed="the same")

    assert first.outcome == AttemptState.FAILED
    assert containers.bench.value(second) == "from before"


async def test_penstock_in_the_image_comes_before_the_runners(docker: DockerEngine, containers: DockerBench, tmp_path: Path) -> None:
    container = docker.docker("create", IMAGE, "sh").stdout.strip()
    copied = docker.docker("cp", f"{software_folder(tmp_path / 'state')}/.", f"{container}:{sysconfig.get_path('stdlib')}/site-packages")
    assert copied.returncode == 0, copied.stderr
    docker.docker("commit", container, "penstock-test:with-penstock")
    docker.docker("rm", container)
    code = "import penstock.contracts, sys\ndef main() -> list[str]:\n    return [*penstock.contracts.__path__, *sys.path]"

    places = containers.bench.value(await containers.call(code, image="penstock-test:with-penstock"))

    assert places[0].endswith("/site-packages/penstock/contracts")
    assert "/penstock/software" not in places


async def test_an_image_with_another_python_says_so(docker: DockerEngine, containers: DockerBench, tmp_path: Path) -> None:
    wrapper = tmp_path / "python3"
    wrapper.write_text(
        textwrap.dedent("""\
            #!/bin/sh
            shift
            exec /usr/local/bin/python -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])' "$1"
            """)
    )
    wrapper.chmod(0o755)
    container = docker.docker("create", IMAGE, "sh").stdout.strip()
    docker.docker("cp", str(wrapper), f"{container}:/bin/python3")
    docker.docker("commit", "--change", "ENV PATH=/bin", container, "penstock-test:other-python")
    docker.docker("rm", container)

    completed = await containers.call("def main() -> int:\n    return 1", image="penstock-test:other-python")

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ENVIRONMENT
    assert "it has Python 3.9" in completed.failure.message


async def test_an_image_without_python_says_so(docker: DockerEngine, containers: DockerBench) -> None:
    docker.docker("import", "--change", "ENV PATH=/nowhere", str(python_archive()), "penstock-test:no-python")

    completed = await containers.call("def main() -> int:\n    return 1", image="penstock-test:no-python")

    assert completed.failure is not None
    assert (completed.failure.kind, completed.failure.message) == (FailureKind.ENVIRONMENT, "'python3' is not in the image")
    assert "needs Python" in completed.failure.hint


async def _stored(containers: DockerBench, manifest: DirectoryManifest | ListManifest, kind: str) -> ArtifactRef:
    data = manifest_bytes(manifest)
    digest = await containers.artifacts.write(data)
    media_type = DIRECTORY if kind == "directory" else LIST
    return ArtifactRef.model_validate({"uri": f"cas:{digest}", "digest": digest, "size": len(data), "kind": kind, "media_type": media_type})
